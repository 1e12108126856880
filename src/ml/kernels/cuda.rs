//! The operations on NVIDIA GPUs.

use std::ops::Range;

use burn::backend::Cuda;
use burn::tensor::ops::FloatTensor;

use super::{Heads, Kernels, composed};
use crate::ml::projection::Projection;

type Primitive = FloatTensor<Cuda>;

impl Kernels for Cuda {
    fn rms_norm(x: Primitive, weight: Primitive, epsilon: f32) -> Primitive {
        composed::rms_norm::<Cuda>(x, weight, epsilon)
    }

    fn rms_norm_backward(x: Primitive, weight: Primitive, gradient: Primitive, epsilon: f32) -> [Primitive; 2] {
        composed::rms_norm_backward::<Cuda>(x, weight, gradient, epsilon)
    }

    fn swiglu(gate: Primitive, up: Primitive) -> Primitive {
        composed::swiglu::<Cuda>(gate, up)
    }

    fn swiglu_backward(gate: Primitive, up: Primitive, gradient: Primitive) -> [Primitive; 2] {
        composed::swiglu_backward::<Cuda>(gate, up, gradient)
    }

    fn grouped_attention(query: Primitive, key: Primitive, value: Primitive, heads: Heads) -> Primitive {
        composed::grouped_attention::<Cuda>(query, key, value, heads)
    }

    fn grouped_attention_backward(
        query: Primitive,
        key: Primitive,
        value: Primitive,
        gradient: Primitive,
        heads: Heads,
    ) -> [Primitive; 3] {
        composed::grouped_attention_backward::<Cuda>(query, key, value, gradient, heads)
    }

    fn projection(projection: &Projection, rows: Range<usize>, device: &Self::Device) -> Primitive {
        composed::projection::<Cuda>(projection, rows, device)
    }

    fn sum_of_squares(x: Primitive) -> f64 {
        composed::sum_of_squares::<Cuda>(x)
    }
}
