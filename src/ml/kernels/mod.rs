//! Fused operations with hand-written backward passes.
//!
//! A decoder of small width spends most of its time in chains of element-wise operations; each of
//! these operations is one pass over memory instead of five to ten. [`Kernels`] is the extension of
//! burn's backends: the CPU backend implements it on slices (`flex`), GPU backends as compositions of
//! burn's own operations (`composed`), the autodiff decorator by registering the backward pass
//! (`gradient`). Unaware of models.

#[cfg(any(feature = "cuda", test))]
mod composed;
#[cfg(feature = "cuda")]
mod cuda;
mod flex;
mod gradient;
mod rotation;

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};

use super::projection::Projection;

/// The geometry of an [`grouped_attention`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Sequences in the batch.
    pub batch: usize,
    /// Positions of each sequence that have a key and a value.
    pub tokens: usize,
    /// Positions that have a query: the last ones. Fewer than `tokens` where the rest was computed
    /// before and cached; then there is no backward pass.
    pub queries: usize,
    /// Query heads.
    pub query: usize,
    /// Key and value heads; a divisor of the query heads (grouped-query attention).
    pub key: usize,
    /// Width of a head.
    pub width: usize,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
    /// Base of the rotary position embedding; none where positions are embedded otherwise.
    pub rope: Option<f32>,
}

impl Heads {
    /// How many positions the query at `index` sees.
    fn seen(&self, index: usize) -> usize {
        if self.causal { self.tokens - self.queries + index + 1 } else { self.tokens }
    }
}

/// What a backend must offer beside burn's own operations. Inputs are f32 or bf16; norms, activations and
/// softmax are computed in f32, and results have the type of the inputs.
pub trait Kernels: Backend {
    /// See [`rms_norm`].
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;

    /// The gradients of [`rms_norm`] with respect to `x` and `weight`.
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f32,
    ) -> [FloatTensor<Self>; 2];

    /// See [`swiglu`].
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradients of [`swiglu`] with respect to `gate` and `up`.
    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];

    /// See [`grouped_attention`].
    fn grouped_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self>;

    /// The gradients of [`grouped_attention`] with respect to `query`, `key` and `value`.
    fn grouped_attention_backward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        heads: Heads,
    ) -> [FloatTensor<Self>; 3];

    /// These rows of a projection matrix, `[rows, dimensions]`, in f32.
    fn projection(projection: &Projection, rows: Range<usize>, device: &Self::Device) -> FloatTensor<Self>;

    /// Σ x² over all elements.
    fn sum_of_squares(x: FloatTensor<Self>) -> f64;
}

/// Root-mean-square normalisation (Zhang and Sennrich 2019): `x / sqrt(mean(x²) + ε) · weight` over
/// the last dimension.
///
/// # Shapes
///
/// `x` and the result: `[positions, hidden]`; `weight`: `[hidden]`.
pub fn rms_norm<B: Kernels>(x: Tensor<B, 2>, weight: Tensor<B, 1>, epsilon: f32) -> Tensor<B, 2> {
    wrap(B::rms_norm(unwrap(x), unwrap(weight), epsilon))
}

/// The gated activation of LLaMA (Shazeer 2020): `silu(gate) · up` with `silu(z) = z · σ(z)`.
///
/// # Shapes
///
/// All `[positions, intermediate]`.
pub fn swiglu<B: Kernels>(gate: Tensor<B, 2>, up: Tensor<B, 2>) -> Tensor<B, 2> {
    wrap(B::swiglu(unwrap(gate), unwrap(up)))
}

/// Scaled dot-product attention (Vaswani et al. 2017) with grouped key and value heads, an optional
/// causal mask and optional rotary position embeddings (Su et al. 2021; the half-rotation order of
/// Hugging Face's LLaMA). Positions are counted from 0 in each sequence.
///
/// # Shapes
///
/// `query` and the result: `[batch · queries, query heads · width]`; `key` and `value`:
/// `[batch · tokens, key heads · width]`.
pub fn grouped_attention<B: Kernels>(
    query: Tensor<B, 2>,
    key: Tensor<B, 2>,
    value: Tensor<B, 2>,
    heads: Heads,
) -> Tensor<B, 2> {
    wrap(B::grouped_attention(unwrap(query), unwrap(key), unwrap(value), heads))
}

/// These rows of a projection matrix on a device, `[rows, dimensions]`.
pub fn projection<B: Kernels>(projection: &Projection, rows: Range<usize>, device: &B::Device) -> Tensor<B, 2> {
    wrap(B::projection(projection, rows, device))
}

/// Σ x² over all elements of `x`.
pub fn sum_of_squares<B: Kernels, const D: usize>(x: Tensor<B, D>) -> f64 {
    B::sum_of_squares(unwrap(x))
}

fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

fn wrap<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

#[cfg(test)]
mod tests;
