//! Projections of gradients of linear layers from both sides (LoGra, Choe et al. 2024).
//!
//! The gradient of a matrix is a sum of outer products, `G = Σₜ uₜ vₜᵀ`. With two Rademacher matrices
//! L and R its projection `Lᵀ G R = Σₜ (Lᵀuₜ)(Rᵀvₜ)ᵀ` takes products with the factors only: G itself is
//! never made. As a map of G that is the Kronecker product of L and R, whose elements are ±1 over the
//! root of the dimensions too, so inner products are kept on average, with more variance than under
//! independent elements. A side that is no longer than its projection is left as it is: the rank of an
//! adapter often is.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::kernels::{Kernels, projection};
use super::projection::Projection;
use crate::selection::random::Draws;

/// The sides of all projections, made as they are needed.
pub struct Factors<B: Backend> {
    seed: u64,
    side: usize,
    sides: BTreeMap<String, Tensor<B, 2>>,
}

impl<B: Kernels> Factors<B> {
    /// Projections of every matrix to `side` × `side` at most.
    pub fn new(seed: u64, side: usize) -> Factors<B> {
        Factors { seed, side, sides: BTreeMap::new() }
    }

    /// Projects the factors of a matrix's gradient: `[positions, rows]` and `[positions, columns]`.
    pub fn project(&mut self, matrix: &str, left: Tensor<B, 2>, right: Tensor<B, 2>) -> [Tensor<B, 2>; 2] {
        [("left", left), ("right", right)].map(|(side, factor)| {
            let [_, long] = factor.dims();
            if long <= self.side {
                return factor;
            }
            let name = format!("{side} factor of {matrix}");
            let (seed, dimensions) = (self.seed, self.side);
            let made = self.sides.entry(name).or_insert_with_key(|name| {
                let seed = Draws::new(seed, name).seed();
                projection(&Projection { seed, dimensions }, 0..long, &factor.device())
            });
            factor.matmul(made.clone())
        })
    }
}

/// The longest side with which `matrices` projections fit into so many dimensions; none, if not even one
/// number for each does.
pub fn side(dimensions: usize, matrices: usize) -> Option<usize> {
    let side = (dimensions / matrices.max(1)).isqrt();
    (side > 0).then_some(side)
}

/// Length of the projected vector of matrices of these shapes.
pub fn dimensions(shapes: impl Iterator<Item = [usize; 2]>, side: usize) -> usize {
    shapes.map(|[rows, columns]| rows.min(side) * columns.min(side)).sum()
}
