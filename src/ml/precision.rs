//! The numbers that a model computes with. In bf16 the weights and activations are bf16, while norms,
//! softmax, losses, trained parameters and everything that is summed over samples stay in f32.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, FloatDType, Tensor};

use super::tensors::Numbers;

/// The type of weights and activations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16: the range of f32 with 8 bits of precision, at half the memory.
    Bf16,
}

impl Precision {
    /// As burn names it.
    pub fn number_type(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        }
    }

    /// As files have it.
    pub fn numbers(self) -> Numbers {
        match self {
            Precision::F32 => Numbers::F32,
            Precision::Bf16 => Numbers::Bf16,
        }
    }
}

/// `tensor` in single precision.
pub fn single<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    as_type(tensor, DType::F32)
}

/// `tensor` in another type; the same tensor where it has that type already.
pub fn as_type<B: Backend, const D: usize>(tensor: Tensor<B, D>, number_type: DType) -> Tensor<B, D> {
    match number_type {
        same if same == tensor.dtype() => tensor,
        DType::BF16 => tensor.cast(FloatDType::BF16),
        _ => tensor.cast(FloatDType::F32),
    }
}
