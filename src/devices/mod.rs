//! What is computed on: the processor and the accelerators, and which of them this build and this machine have.
//!
//! Unaware of stages and of what is computed on a device.

#[cfg(any(feature = "cuda", test))]
mod cuda;
mod device;

pub use device::{Device, UnknownDevice};

/// An accelerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number among those that the driver shows, counted from 0.
    pub number: usize,
    /// What its maker calls it.
    pub name: String,
    /// Its memory in bytes.
    pub memory: u64,
}

/// Whether this build can compute on CUDA devices.
pub const CUDA: bool = cfg!(feature = "cuda");

/// The CUDA devices that this build and this machine have, by their numbers. None in a build without
/// the feature `cuda`, and none where there is no driver.
pub fn found() -> Vec<Found> {
    #[cfg(feature = "cuda")]
    return cuda::found();
    #[cfg(not(feature = "cuda"))]
    Vec::new()
}
