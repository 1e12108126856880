//! Per-sample gradients of LoRA matrices, in batches.
//!
//! For a linear layer with output gradient δ and adapter input x, the loss of sample i has
//! `∂L/∂B = s · Σₜ δₜ (A xₜ)ᵀ` and `∂L/∂A = s · Σₜ (Bᵀ δₜ) xₜᵀ` over the sample's positions: two
//! batched products, once x and δ are captured (the sum of the losses of a batch has, at the
//! positions of a sample, that sample's δ). The backward pass stops at the lowest tapped layer,
//! because nothing below it is tracked.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};

use super::backward::{through, upstream};
use super::batch::Batch;
use super::factors::Factors;
use super::hidden::{Readout, detached};
use super::kernels::{Kernels, projection};
use super::language::Watch;
use super::linear::{Tap, Taps};
use super::llava::Llava;
use super::loss::{Targets, sum_of_sample_losses};
use super::optimizer::{BETAS, EPSILON};
use super::precision::single;
use super::projection::Projection;
use super::samples::Inputs;

/// The adapters of the linear layers by name: A `[in, rank]` and B `[rank, out]`.
pub type Adapters<B> = BTreeMap<String, (Tensor<B, 2>, Tensor<B, 2>)>;

/// What to extract from each sample.
#[derive(Debug, Clone)]
pub struct Extraction {
    /// Decoder layers whose adapters' gradients are wanted, ascending.
    pub layers: Vec<usize>,
    /// Alpha over rank of the adapters.
    pub scale: f64,
    /// Whether activations are computed again in the backward pass, which needs less memory.
    pub checkpointing: bool,
}

/// The gradients and hidden vectors of a batch.
#[derive(Debug)]
pub struct Extracted<B: Backend> {
    /// Unprojected gradients in f32, `[batch, parameters]`: layer by layer; q, k, v, o, gate, up, down; A
    /// `[rank, in]` before B `[out, rank]`, each row by row. Where the projection is factorised, what it
    /// left of each matrix, in the same order.
    pub gradients: Tensor<B, 2>,
    /// What the readout read, `[batch, …]`.
    pub hidden: Vec<Vec<f32>>,
}

impl Extraction {
    /// Extracts the gradients of one batch, and the mean hidden states of the last chosen layer.
    ///
    /// # Errors
    ///
    /// As [`Extraction::read`].
    pub fn run<B: Kernels + AutodiffBackend>(
        &self,
        model: &Llava<B>,
        adapters: &Adapters<B::InnerBackend>,
        inputs: &Inputs,
    ) -> anyhow::Result<Extracted<B::InnerBackend>>
    where
        B::InnerBackend: Kernels,
    {
        let layer = *self.layers.last().context("no layer is chosen")?;
        self.read(model, adapters, inputs, &Readout::Mean { layer }, None)
    }

    /// Extracts from one batch, and reads hidden vectors off the same forward pass. The adapters are
    /// those that `model`'s weights already include (or whose B is zero): they are not added again. With
    /// `factors` the gradient of each matrix is projected as it is formed.
    ///
    /// # Errors
    ///
    /// If an adapter or a layer is missing.
    pub fn read<B: Kernels + AutodiffBackend>(
        &self,
        model: &Llava<B>,
        adapters: &Adapters<B::InnerBackend>,
        inputs: &Inputs,
        readout: &Readout,
        mut factors: Option<&mut Factors<B::InnerBackend>>,
    ) -> anyhow::Result<Extracted<B::InnerBackend>>
    where
        B::InnerBackend: Kernels,
    {
        let batch = &inputs.text;
        let targets = Targets::of(batch);
        let lowest = *self.layers.first().context("no layer is chosen")?;
        let mut part =
            |taps: Taps<B>, found: &B::Gradients| self.of_samples(taps, adapters, batch, found, factors.as_deref_mut());
        if !self.checkpointing {
            let mut watch = Watch { taps: Taps::of(self.layers.clone()), ..readout.watch() };
            let hidden = model.forward(inputs, None, Some(&mut watch));
            let found = sum_of_sample_losses(model, hidden, &targets).backward();
            let taps = std::mem::replace(&mut watch.taps, Taps::of(vec![]));
            let gradients = Tensor::cat(part(taps, &found)?, 1);
            let hidden = readout.vectors(detached(readout.states(watch)), batch)?;
            return Ok(Extracted { gradients, hidden });
        }
        let mut watch = readout.watch();
        let mut states = model.language.states(model.embed(inputs).inner(), batch.samples, Some(&mut watch));
        let kept = readout.states(watch);
        let mut state =
            || Tensor::<B, 2>::from_inner(states.pop().expect("BUG: there is a state per layer")).require_grad();
        let top = state();
        let sum = sum_of_sample_losses(model, model.language.normed(top.clone()), &targets);
        let mut above = upstream(&top, &sum.backward());
        let mut parts = Vec::new();
        for index in (lowest..model.language.depth()).rev() {
            let input = state();
            let chosen = self.layers.contains(&index);
            let mut watch = chosen.then(|| Watch { taps: Taps::of(vec![index]), ..Watch::default() });
            let output = model.language.layer(index, input.clone(), batch.samples, None, watch.as_mut());
            let found = through(output, above).backward();
            if let Some(watch) = watch {
                parts.splice(0..0, part(watch.taps, &found)?);
            }
            above = upstream(&input, &found);
        }
        Ok(Extracted { gradients: Tensor::cat(parts, 1), hidden: readout.vectors(kept, batch)? })
    }

    /// The gradients of the tapped adapters for each sample, `[batch, …]` each.
    fn of_samples<B: Kernels + AutodiffBackend>(
        &self,
        taps: Taps<B>,
        adapters: &Adapters<B::InnerBackend>,
        batch: &Batch,
        found: &B::Gradients,
        mut factors: Option<&mut Factors<B::InnerBackend>>,
    ) -> anyhow::Result<Vec<Tensor<B::InnerBackend, 2>>>
    where
        B::InnerBackend: Kernels,
    {
        let mut parts = Vec::new();
        for Tap { name, input, probe } in taps.taps {
            let (a, b) = adapters.get(&name).with_context(|| format!("there is no adapter for `{name}`"))?;
            let split = |x: Tensor<B::InnerBackend, 2>| {
                let width = x.dims()[1];
                x.reshape([batch.samples, batch.tokens, width])
            };
            let delta = probe.grad(found).context("the loss does not depend on a tapped layer")?;
            let delta = single(delta) * self.scale;
            let input = single(input.inner());
            let low = input.clone().matmul(a.clone());
            let back = delta.clone().matmul(b.clone().transpose());
            for (matrix, left, right) in [("A", back, input), ("B", delta, low)] {
                let [left, right] = match &mut factors {
                    Some(factors) => factors.project(&format!("{name}.lora_{matrix}"), left, right),
                    None => [left, right],
                };
                let gradient = split(left).swap_dims(1, 2).matmul(split(right));
                let [samples, rows, columns] = gradient.dims();
                parts.push(gradient.reshape([samples, rows * columns]));
            }
        }
        Ok(parts)
    }
}

/// The running averages of Adam over the parameters whose gradients are extracted, as LESS (Xia et al.
/// 2024) takes them into account: a sample's gradient g becomes `m / √(v + ε)` with
/// `m = 0.9·m₀ + 0.1·g`, `v = 0.999·v₀ + 0.001·g²` and `ε = 10⁻⁸`, without a correction for the start:
/// the update that the optimiser would make for that sample.
pub struct Preconditioner<B: Backend> {
    first: Tensor<B, 2>,
    second: Tensor<B, 2>,
}

impl<B: Backend> Preconditioner<B> {
    /// The averages of the gradients and of their squares, in the order of the gradients.
    pub fn new(first: Vec<f32>, second: Vec<f32>, device: &B::Device) -> Preconditioner<B> {
        let row = |values: Vec<f32>| {
            let width = values.len();
            Tensor::from_data(TensorData::new(values, [1, width]), device)
        };
        Preconditioner { first: row(first), second: row(second) }
    }

    /// Preconditions `gradients` `[batch, parameters]`.
    pub fn apply(&self, gradients: Tensor<B, 2>) -> Tensor<B, 2> {
        let [first, second] = BETAS;
        let mean = self.first.clone() * first + gradients.clone() * (1.0 - first);
        let square = self.second.clone() * second + gradients.clone() * gradients * (1.0 - second);
        mean / (square + EPSILON).sqrt()
    }
}

/// A projection that keeps the blocks of its matrix that fit in memory.
pub struct Projector<B: Backend> {
    projection: Projection,
    blocks: BTreeMap<usize, Tensor<B, 2>>,
    device: B::Device,
}

/// Rows of the projection matrix that are made at a time.
const BLOCK: usize = 4096;
/// Most bytes of vectors that wait to be projected together: 4 GiB.
const WAITING: usize = 4 << 30;
/// Elements of the matrix that are kept: 256 MiB.
const KEPT: usize = 64 << 20;

impl<B: Kernels> Projector<B> {
    /// A projector on `device`.
    pub fn new(projection: Projection, device: &B::Device) -> Projector<B> {
        Projector { projection, blocks: BTreeMap::new(), device: device.clone() }
    }

    /// How many vectors of so many parameters are best projected together: where the matrix is not kept,
    /// making it costs as much as using it for dozens of vectors.
    pub fn together(&self, parameters: usize) -> usize {
        match parameters * self.projection.dimensions <= KEPT {
            true => 1,
            false => (WAITING / (4 * parameters)).clamp(1, 64),
        }
    }

    /// Projects `gradients` `[batch, parameters]` to `[batch, dimensions]`.
    pub fn project(&mut self, gradients: Tensor<B, 2>) -> Tensor<B, 2> {
        let [samples, parameters] = gradients.dims();
        let dimensions = self.projection.dimensions;
        let mut sum = Tensor::<B, 2>::zeros([samples, dimensions], &self.device);
        for start in (0..parameters).step_by(BLOCK) {
            let rows = BLOCK.min(parameters - start);
            let block = match self.blocks.get(&start) {
                Some(block) if block.dims()[0] == rows => block.clone(),
                _ => {
                    let block = projection(&self.projection, start..start + rows, &self.device);
                    if (start + rows) * dimensions <= KEPT {
                        self.blocks.insert(start, block.clone());
                    }
                    block
                }
            };
            sum = sum + gradients.clone().narrow(1, start, rows).matmul(block);
        }
        sum
    }
}

/// Scales a vector to unit length; a zero vector stays zero.
///
/// # Errors
///
/// If a component is not finite.
pub fn normalized(mut vector: Vec<f32>) -> anyhow::Result<Vec<f32>> {
    let norm = length(&vector);
    ensure!(norm.is_finite(), "it is not finite");
    if norm > 0.0 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
    Ok(vector)
}

/// The L2 norm, accumulated in f64.
pub fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt()
}
