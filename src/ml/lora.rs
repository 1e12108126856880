//! LoRA (Hu et al. 2021) on the linear layers of the decoder: fresh adapters, adapters read from and
//! kept beside a checkpoint, merging.

use anyhow::Context;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::adapter::{LowRank, StoredAdapter};
use super::gradient::Adapters;
use super::initial::Draw;
use super::kernels::Kernels;
use super::linear::Adapter;
use super::llava::{Llava, host};
use super::parameters::transposed;
use super::tensors;

/// Gives every linear layer of the decoder a fresh adapter: A uniform in ±1/√inputs (Kaiming's bound
/// with slope √5, as PEFT draws it), B zero.
pub fn attach<B: Kernels>(model: &mut Llava<B>, rank: usize, alpha: f64, dropout: f64, seed: u64) {
    let mut draw = Draw::new(seed);
    let device = model.device().clone();
    for linear in model.language.adapted_mut() {
        let [inputs, outputs] = linear.weight.dims();
        let bound = 1.0 / (inputs as f64).sqrt();
        let values: Vec<f32> = (0..inputs * rank).map(|_| ((draw.uniform() * 2.0 - 1.0) * bound) as f32).collect();
        let a = Tensor::from_data(TensorData::new(values, [inputs, rank]), &device);
        let b = Tensor::zeros([rank, outputs], &device);
        linear.adapter = Some(Adapter { a, b, scale: alpha / rank as f64, dropout });
    }
}

/// Merges every adapter into its layer's weight, and returns them as PEFT keeps them.
pub fn merge<B: Kernels>(model: &mut Llava<B>, rank: usize, alpha: f64, dropout: f64) -> StoredAdapter {
    let mut stored = StoredAdapter { rank, alpha, dropout, layers: Default::default() };
    for linear in model.language.adapted_mut() {
        if let Some(Adapter { a, b, .. }) = linear.adapter.clone() {
            let low_rank = LowRank { a: stored_matrix(a), b: stored_matrix(b) };
            stored.layers.insert(linear.name.clone(), low_rank);
            linear.merge();
        }
    }
    stored
}

/// The adapters of a model by layer name, as [`attach`] left them.
pub fn attached<B: Kernels>(model: &mut Llava<B>) -> Adapters<B> {
    let mut adapters = Adapters::new();
    for linear in model.language.adapted_mut() {
        if let Some(Adapter { a, b, .. }) = linear.adapter.clone() {
            adapters.insert(linear.name.clone(), (a, b));
        }
    }
    adapters
}

/// Adapters as they were kept beside a checkpoint, by layer name.
///
/// # Errors
///
/// If a matrix is not one.
pub fn loaded<B: Backend>(stored: &StoredAdapter, device: &B::Device) -> anyhow::Result<Adapters<B>> {
    let matrix = |name: &str, tensor: &tensors::Tensor| {
        let [rows, columns] = <[usize; 2]>::try_from(tensor.shape.clone())
            .ok()
            .with_context(|| format!("the adapter of `{name}` has the shape {:?}", tensor.shape))?;
        let values = transposed(&tensor.values, rows, columns);
        anyhow::Ok(Tensor::from_data(TensorData::new(values, [columns, rows]), device))
    };
    let load = |(name, low_rank): (&String, &LowRank)| {
        Ok((name.clone(), (matrix(name, &low_rank.a)?, matrix(name, &low_rank.b)?)))
    };
    stored.layers.iter().map(load).collect()
}

fn stored_matrix<B: Backend>(matrix: Tensor<B, 2>) -> tensors::Tensor {
    let [rows, columns] = matrix.dims();
    tensors::Tensor::new([columns, rows], transposed(&host(matrix), rows, columns))
}
