//! Vectors of samples that a forward pass alone gives: mean hidden states, and the concept vectors of
//! COINCIDE (Lee et al. 2024).
//!
//! Unaware of gradients, and of how many samples there are.

use anyhow::Context;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};

use super::batch::Batch;
use super::gradient::length;
use super::kernels::Kernels;
use super::language::{Kept, Watch};
use super::llava::{Llava, host};
use super::precision::single;
use super::samples::Inputs;

/// What is read off a forward pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readout {
    /// The mean over all of a sample's positions of the output of one decoder layer.
    Mean {
        /// The layer.
        layer: usize,
    },
    /// For each layer and each modality, the mean over the image positions, or over all others, of what
    /// attention adds to the residual stream; its hyperbolic tangent, scaled to the length
    /// 1/√(2 · layers). They are joined as [layer: image, text, next layer: …], which has unit length
    /// for a sample with images. Without images the image halves are zero.
    Concept {
        /// The layers, ascending.
        layers: Vec<usize>,
    },
}

impl Readout {
    /// Length of a vector of a model whose hidden states have this width.
    pub fn dimensions(&self, width: usize) -> usize {
        match self {
            Readout::Mean { .. } => width,
            Readout::Concept { layers } => 2 * layers.len() * width,
        }
    }

    /// What a forward pass has to keep.
    pub fn watch<B: Backend>(&self) -> Watch<B> {
        match self {
            Readout::Mean { layer } => Watch { outputs: Kept::of(vec![*layer]), ..Watch::default() },
            Readout::Concept { layers } => Watch { attentions: Kept::of(layers.clone()), ..Watch::default() },
        }
    }

    /// What a watched forward pass kept.
    pub fn states<B: Backend>(&self, watch: Watch<B>) -> Vec<Tensor<B, 2>> {
        match self {
            Readout::Mean { .. } => watch.outputs.states,
            Readout::Concept { .. } => watch.attentions.states,
        }
    }

    /// The vectors of a batch from what was kept, one per sample.
    ///
    /// # Errors
    ///
    /// If a layer is not in the model.
    pub fn vectors<B: Kernels>(&self, states: Vec<Tensor<B, 2>>, batch: &Batch) -> anyhow::Result<Vec<Vec<f32>>> {
        match self {
            Readout::Mean { .. } => {
                let state = states.into_iter().next().context("the chosen layer is not in the model")?;
                Ok(means(&host(state), batch))
            }
            Readout::Concept { layers } => {
                anyhow::ensure!(states.len() == layers.len(), "not all chosen layers are in the model");
                Ok(concepts(states, batch))
            }
        }
    }

    /// The vectors of a batch by a forward pass.
    ///
    /// # Errors
    ///
    /// If a layer is not in the model.
    pub fn run<B: Kernels>(&self, model: &Llava<B>, inputs: &Inputs) -> anyhow::Result<Vec<Vec<f32>>> {
        let highest = match self {
            Readout::Mean { layer } => *layer,
            Readout::Concept { layers } => layers.iter().copied().max().context("no layer is chosen")?,
        };
        anyhow::ensure!(highest < model.language.depth(), "layer {highest} is not in the model");
        let mut watch = self.watch();
        // Nothing above the highest layer is needed.
        model.language.through(0..highest + 1, model.embed(inputs), inputs.text.samples, None, Some(&mut watch));
        self.vectors(self.states(watch), &inputs.text)
    }
}

/// Tensors away from their graph.
pub(super) fn detached<B: AutodiffBackend>(states: Vec<Tensor<B, 2>>) -> Vec<Tensor<B::InnerBackend, 2>> {
    states.into_iter().map(Tensor::inner).collect()
}

/// The mean over each sample's positions of `rows` `[batch · tokens, width]`.
fn means(rows: &[f32], batch: &Batch) -> Vec<Vec<f32>> {
    let width = rows.len() / (batch.samples * batch.tokens);
    let samples = rows.chunks_exact(batch.tokens * width).zip(&batch.lengths);
    let mean = |(rows, length): (&[f32], &usize)| {
        let mut sum = vec![0.0f32; width];
        for row in rows.chunks_exact(width).take(*length) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += value;
            }
        }
        sum.iter().map(|value| value / *length as f32).collect()
    };
    samples.map(mean).collect()
}

/// Concept vectors from the attention outputs of some layers.
fn concepts<B: Backend>(states: Vec<Tensor<B, 2>>, batch: &Batch) -> Vec<Vec<f32>> {
    let scale = 1.0 / (2.0 * states.len() as f64).sqrt();
    let mut vectors = vec![Vec::new(); batch.samples];
    for state in states {
        let width = state.dims()[1];
        let weights = TensorData::new(weights(batch), [batch.samples, 2, batch.tokens]);
        let weights = Tensor::<B, 3>::from_data(weights, &state.device());
        let pooled = weights.matmul(single(state).reshape([batch.samples, batch.tokens, width]));
        for (vector, halves) in vectors.iter_mut().zip(host(pooled).chunks_exact(2 * width)) {
            for half in halves.chunks_exact(width) {
                let bent: Vec<f32> = half.iter().map(|value| value.tanh()).collect();
                let factor = match length(&bent) {
                    0.0 => 0.0,
                    norm => scale / norm,
                };
                vector.extend(bent.iter().map(|value| (f64::from(*value) * factor) as f32));
            }
        }
    }
    vectors
}

/// For each sample, the weights of its positions in the mean over images, and in that over text:
/// `[samples, 2, tokens]`.
fn weights(batch: &Batch) -> Vec<f32> {
    let mut is_image = vec![false; batch.samples * batch.tokens];
    batch.image_positions.iter().for_each(|position| is_image[*position] = true);
    let mut weights = vec![0.0; 2 * is_image.len()];
    for sample in 0..batch.samples {
        let own = batch.starts[sample]..batch.starts[sample] + batch.lengths[sample];
        let row = &is_image[sample * batch.tokens..(sample + 1) * batch.tokens];
        for (modality, wanted) in [true, false].into_iter().enumerate() {
            let positions: Vec<usize> = own.clone().filter(|position| row[*position] == wanted).collect();
            let start = (2 * sample + modality) * batch.tokens;
            positions.iter().for_each(|position| weights[start + position] = 1.0 / positions.len() as f32);
        }
    }
    weights
}
