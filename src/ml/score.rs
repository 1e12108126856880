//! Importance scores of samples under a model; the stage kind `score` documents the formulas.

use burn::tensor::{Tensor, activation::log_softmax};

use super::batch::Batch;
use super::kernels::Kernels;
use super::llava::{Llava, host};
use super::loss::{Targets, log_probabilities, token_losses};
use super::precision::single;

/// Which perplexity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Perplexity {
    /// exp of the mean negative log-likelihood.
    Paper,
    /// Mean of the exponentials.
    Reference,
}

/// Scores of a batch that one forward pass gives, one value per sample each.
#[derive(Debug, Clone, PartialEq)]
pub struct Likelihood {
    /// Perplexity of the answer.
    pub perplexity: Vec<f32>,
    /// Error vector norm.
    pub el2n: Vec<f32>,
    /// Entropy at the answer tokens, nats.
    pub entropy: Vec<f32>,
}

/// Scores a batch in one forward pass.
pub fn likelihood<B: Kernels>(
    model: &Llava<B>,
    hidden: Tensor<B, 2>,
    batch: &Batch,
    perplexity: Perplexity,
) -> Likelihood {
    let targets = Targets::of(batch);
    let logs = log_probabilities(model, hidden, &targets);
    let losses = host(token_losses(logs.clone(), &targets));
    let probabilities = logs.clone().exp();
    let squares = host((probabilities.clone() * probabilities.clone()).sum_dim(1));
    let entropy = host((probabilities * logs).sum_dim(1).neg());
    // ‖p − onehot(y)‖² = Σp² − 2p_y + 1, which rounding may take just below zero.
    let error = |(squares, loss): (&f32, &f32)| (squares - 2.0 * (-loss).exp() + 1.0).max(0.0).sqrt();
    let el2n: Vec<f32> = squares.iter().zip(&losses).map(error).collect();
    let perplexity = match perplexity {
        Perplexity::Paper => targets.means(&losses).into_iter().map(f32::exp).collect(),
        Perplexity::Reference => targets.means(&losses.iter().map(|loss| loss.exp()).collect::<Vec<_>>()),
    };
    Likelihood { perplexity, el2n: targets.means(&el2n), entropy: targets.means(&entropy) }
}

/// Mean entropy over all positions of each sample, as the authors' code has it; nats.
pub fn entropy_of_all_positions<B: Kernels>(model: &Llava<B>, hidden: Tensor<B, 2>, batch: &Batch) -> Vec<f32> {
    let logs = log_softmax(single(model.language.logits(hidden)), 1);
    let entropies = host((logs.clone().exp() * logs).sum_dim(1).neg());
    let samples = entropies.chunks_exact(batch.tokens).zip(&batch.lengths);
    samples.map(|(row, length)| row[..*length].iter().sum::<f32>() / *length as f32).collect()
}
