//! Weights to start from: a model drawn from a seed, and fresh adapters.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::config::LlavaConfig;
use super::kernels::Kernels;
use super::linear::Adapter;
use super::llava::Llava;
use super::weights::{Tensor as Host, Weights};

/// A model drawn from `seed`: linear and embedding weights from a normal distribution with the
/// standard deviation 1/√inputs, norms of one, biases of zero.
pub fn weights(config: &LlavaConfig, seed: u64) -> Weights {
    let mut draw = Draw { generator: ChaCha8Rng::seed_from_u64(seed), spare: None };
    let mut weights = Weights::new();
    for (name, shape) in config.shapes() {
        let size: usize = shape.iter().product();
        let values = if name.ends_with("bias") {
            vec![0.0; size]
        } else if shape.len() == 1 && !name.ends_with("class_embedding") {
            vec![1.0; size]
        } else {
            // An embedding is read by products over its width, a convolution by products over all
            // but its first dimension, a linear layer likewise.
            let inputs: usize = shape[1..].iter().product::<usize>().max(1);
            let deviation = if shape.len() == 1 { 0.02 } else { 1.0 / (inputs as f64).sqrt() };
            (0..size).map(|_| (draw.normal() * deviation) as f32).collect()
        };
        weights.insert(name, Host { shape, values });
    }
    weights
}

/// Gives every linear layer of the decoder a fresh adapter: A uniform in ±1/√inputs (Kaiming with
/// slope √5, as PEFT draws it), B zero.
pub fn attach_adapters<B: Kernels>(model: &mut Llava<B>, rank: usize, alpha: f64, dropout: f64, seed: u64) {
    let mut draw = Draw { generator: ChaCha8Rng::seed_from_u64(seed), spare: None };
    let device = model.device().clone();
    for linear in model.language.adapted_mut() {
        let [inputs, outputs] = linear.weight.dims();
        let (a, b) = fresh::<B>(inputs, outputs, rank, &mut draw, &device);
        linear.adapter = Some(Adapter { a, b, scale: alpha / rank as f64, dropout });
    }
}

fn fresh<B: Backend>(
    inputs: usize,
    outputs: usize,
    rank: usize,
    draw: &mut Draw,
    device: &B::Device,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let bound = 1.0 / (inputs as f64).sqrt();
    let values: Vec<f32> = (0..inputs * rank).map(|_| ((draw.uniform() * 2.0 - 1.0) * bound) as f32).collect();
    let a = Tensor::from_data(TensorData::new(values, [inputs, rank]), device);
    (a, Tensor::zeros([rank, outputs], device))
}

struct Draw {
    generator: ChaCha8Rng,
    spare: Option<f64>,
}

impl Draw {
    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller's method.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}
