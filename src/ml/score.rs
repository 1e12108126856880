//! What scorers are given of a batch: predictions at answer tokens, at all positions, and without images.
//! The formulas are those of [`crate::selection::scorers`].

use burn::tensor::{Tensor, activation::log_softmax};

use super::batch::Batch;
use super::kernels::Kernels;
use super::llava::{Llava, host};
use super::loss::{Targets, log_probabilities, token_losses};
use super::precision::single;
use crate::selection::scorers::Evidence;

/// The predictions at the answer tokens of each sample, given the final hidden states of the batch; with
/// `distributions` those of the whole vocabulary too.
pub fn answers<B: Kernels>(
    model: &Llava<B>,
    hidden: Tensor<B, 2>,
    batch: &Batch,
    distributions: bool,
) -> Vec<Evidence> {
    let targets = Targets::of(batch);
    let logs = log_probabilities(model, hidden, &targets);
    let vocabulary = logs.dims()[1];
    let losses = host(token_losses(logs.clone(), &targets));
    let probabilities = logs.clone().exp();
    let squares = host((probabilities.clone() * probabilities.clone()).sum_dim(1));
    let entropies = host((probabilities * logs.clone()).sum_dim(1).neg());
    let rows = if distributions { host(logs) } else { vec![] };
    let mut evidence = vec![Evidence::default(); batch.samples];
    for (index, sample) in targets.samples.iter().enumerate() {
        let Evidence { answer, distributions: own, .. } = &mut evidence[*sample];
        answer.tokens.push(targets.tokens[index] as u32);
        answer.losses.push(losses[index]);
        answer.squares.push(squares[index]);
        answer.entropies.push(entropies[index]);
        if distributions {
            own.extend_from_slice(&rows[index * vocabulary..(index + 1) * vocabulary]);
        }
    }
    evidence
}

/// The negative log-likelihoods of the answer tokens of each sample.
pub fn losses<B: Kernels>(model: &Llava<B>, hidden: Tensor<B, 2>, batch: &Batch) -> Vec<Vec<f32>> {
    let targets = Targets::of(batch);
    let losses = host(token_losses(log_probabilities(model, hidden, &targets), &targets));
    let mut each = vec![Vec::new(); batch.samples];
    targets.samples.iter().zip(losses).for_each(|(sample, loss)| each[*sample].push(loss));
    each
}

/// The entropies of the predictions at all positions of each sample, nats.
pub fn entropies<B: Kernels>(model: &Llava<B>, hidden: Tensor<B, 2>, batch: &Batch) -> Vec<Vec<f32>> {
    let logs = log_softmax(single(model.language.logits(hidden)), 1);
    let entropies = host((logs.clone().exp() * logs).sum_dim(1).neg());
    let samples = entropies.chunks_exact(batch.tokens).zip(&batch.lengths);
    samples.map(|(row, length)| row[..*length].to_vec()).collect()
}
