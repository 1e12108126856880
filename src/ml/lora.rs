//! LoRA (Hu et al. 2021) on the linear layers of the decoder: fresh adapters, adapters read from and
//! kept beside a checkpoint, merging.

use anyhow::{Context, ensure};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};

use super::adapter::{LowRank, StoredAdapter};
use super::config::TextConfig;
use super::gradient::Adapters;
use super::initial::Draw;
use super::kernels::Kernels;
use super::language;
use super::linear::Adapter;
use super::llava::{Llava, host};
use super::moments::Moments;
use super::optimizer::AdamW;
use super::parameters::transposed;
use super::tensors;
use crate::text::ticked_list;

/// Gives every linear layer of the decoder a fresh adapter: A uniform in ±1/√inputs (Kaiming's bound
/// with slope √5, as PEFT draws it), B zero.
pub fn attach<B: Kernels>(model: &mut Llava<B>, rank: usize, alpha: f64, dropout: f64, seed: u64) {
    let mut draw = Draw::new(seed);
    let device = model.device().clone();
    for linear in model.language.adapted_mut() {
        let (a, b) = drawn(linear.weight.dims(), rank, &mut draw, &device);
        linear.adapter = Some(Adapter { a, b, scale: alpha / rank as f64, dropout });
    }
}

/// The adapters that [`attach`] would give to a model of this architecture, by layer name.
pub fn fresh<B: Kernels>(config: &TextConfig, rank: usize, seed: u64, device: &B::Device) -> Adapters<B> {
    let mut draw = Draw::new(seed);
    let layers = language::adapted(config);
    layers.into_iter().map(|(name, shape)| (name, drawn(shape, rank, &mut draw, device))).collect()
}

fn drawn<B: Backend>(
    [inputs, outputs]: [usize; 2],
    rank: usize,
    draw: &mut Draw,
    device: &B::Device,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let bound = 1.0 / (inputs as f64).sqrt();
    let values: Vec<f32> = (0..inputs * rank).map(|_| ((draw.uniform() * 2.0 - 1.0) * bound) as f32).collect();
    (Tensor::from_data(TensorData::new(values, [inputs, rank]), device), Tensor::zeros([rank, outputs], device))
}

/// Gives every layer that a stored adapter names that update.
///
/// # Errors
///
/// If the adapter names a layer that the model does not have, or does not fit one.
pub fn restore<B: Kernels>(model: &mut Llava<B>, stored: &StoredAdapter) -> anyhow::Result<()> {
    let mut adapters = loaded::<B>(stored, model.device())?;
    for linear in model.language.adapted_mut() {
        let Some((a, b)) = adapters.remove(&linear.name) else { continue };
        let ([inputs, outputs], [from, _], [_, to]) = (linear.weight.dims(), a.dims(), b.dims());
        ensure!(
            (inputs, outputs) == (from, to),
            "the adapter of `{}` is for {from} inputs and {to} outputs, and the layer has {inputs} and {outputs}",
            linear.name
        );
        linear.adapter = Some(Adapter { a, b, scale: stored.scale(), dropout: stored.dropout });
    }
    ensure!(adapters.is_empty(), "the adapter is for layers that the model lacks: {}", ticked_list(adapters.keys()));
    Ok(())
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

/// What the optimiser knows of the adapters of a model, as it is kept.
pub fn moments<B: Kernels + AutodiffBackend>(model: &mut Llava<B>, optimizer: &AdamW<B>) -> Moments {
    let mut moments = Moments::default();
    for linear in model.language.adapted_mut() {
        let Some(Adapter { a, b, .. }) = &linear.adapter else { continue };
        for (end, matrix) in [("lora_A", a), ("lora_B", b)] {
            let name = format!("{}.{end}", linear.name);
            if let Some(found) = optimizer.moments(&name) {
                let shaped = found.clone().map(|moment| stored_matrix(moment.reshape(matrix.dims())));
                moments.matrices.insert(name, shaped);
            }
        }
    }
    moments
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
