//! The one place where the library's generic code meets a backend.

use burn::backend::{Autodiff, Flex};
use burn::tensor::Device;

/// What models compute with.
pub type Compute = Flex;
/// The same with automatic differentiation.
pub type Differentiable = Autodiff<Compute>;

/// The device that models compute on.
pub fn default() -> Device<Compute> {
    Default::default()
}
