//! A model to start from, drawn from a seed.

use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::config::LlavaConfig;
use super::names;
use super::tensors::Tensor as Host;
use super::weights::{Checkpoint, Weights};

/// A model of the architecture in a folder (config.json and tokenizer.json), drawn from `seed`: linear and embedding weights from a normal distribution with the
/// standard deviation 1/√inputs, norms of one, biases of zero.
///
/// # Errors
///
/// If the config cannot be read.
pub fn checkpoint(architecture: &Path, seed: u64) -> anyhow::Result<Checkpoint> {
    Ok(drawn(LlavaConfig::read(architecture)?, seed, architecture.to_path_buf()))
}

/// The same of a config, with the other files of the checkpoint in the folder `companions`.
pub fn drawn(config: LlavaConfig, seed: u64, companions: PathBuf) -> Checkpoint {
    let mut draw = Draw::new(seed);
    let mut weights = Weights::default();
    for (name, shape) in names::shapes(&config) {
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
    Checkpoint { config, weights, companions }
}

/// Random numbers for weights.
pub struct Draw {
    generator: ChaCha8Rng,
    spare: Option<f64>,
}

impl Draw {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Draw {
        Draw { generator: ChaCha8Rng::seed_from_u64(seed), spare: None }
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
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
