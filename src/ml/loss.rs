//! The training loss and what it is made of: negative log-likelihoods of answer tokens.

use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::batch::Batch;
use super::conversation::IGNORE;
use super::kernels::Kernels;
use super::llava::{Llava, integers};
use super::precision::single;

/// Where a batch has answer tokens to predict.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// The row of `[batch · tokens]` whose hidden state predicts the target: the position before it.
    pub rows: Vec<i64>,
    /// The token to predict.
    pub tokens: Vec<i64>,
    /// The sample of the batch it belongs to; ascending.
    pub samples: Vec<usize>,
    /// Targets of each sample.
    pub counts: Vec<usize>,
}

impl Targets {
    /// The targets of a batch.
    pub fn of(batch: &Batch) -> Targets {
        let mut targets = Targets { rows: vec![], tokens: vec![], samples: vec![], counts: vec![0; batch.samples] };
        for (row, label) in batch.labels.iter().enumerate() {
            let (sample, position) = (row / batch.tokens, row % batch.tokens);
            if *label != IGNORE && position > 0 {
                targets.rows.push(row as i64 - 1);
                targets.tokens.push(*label);
                targets.samples.push(sample);
                targets.counts[sample] += 1;
            }
        }
        targets
    }

    /// For each target, `1 / targets of its sample`: the weights of a mean within each sample.
    fn weights<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1> {
        let weights: Vec<f32> = self.samples.iter().map(|sample| 1.0 / self.counts[*sample] as f32).collect();
        Tensor::from_data(TensorData::new(weights, [self.samples.len()]), device)
    }

    /// The mean of `values`, one per target, within each sample; NaN for a sample without targets.
    pub fn means(&self, values: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0f64; self.counts.len()];
        for (sample, value) in self.samples.iter().zip(values) {
            sums[*sample] += f64::from(*value);
        }
        sums.iter().zip(&self.counts).map(|(sum, count)| (sum / *count as f64) as f32).collect()
    }
}

/// Log-probabilities at the targets in f32, `[targets, vocabulary]`, of final hidden states.
pub fn log_probabilities<B: Kernels>(model: &Llava<B>, hidden: Tensor<B, 2>, targets: &Targets) -> Tensor<B, 2> {
    let rows = hidden.select(0, integers(&targets.rows, model.device()));
    log_softmax(single(model.language.logits(rows)), 1)
}

/// The negative log-likelihood of each target, `[targets]`, in nats.
pub fn token_losses<B: Backend>(log_probabilities: Tensor<B, 2>, targets: &Targets) -> Tensor<B, 1> {
    let device = log_probabilities.device();
    let index = integers(&targets.tokens, &device).unsqueeze_dim::<2>(1);
    log_probabilities.gather(1, index).squeeze_dim::<1>(1).neg()
}

/// The sum over samples of the mean negative log-likelihood over each sample's targets, `[1]`.
pub fn sum_of_sample_losses<B: Kernels>(model: &Llava<B>, hidden: Tensor<B, 2>, targets: &Targets) -> Tensor<B, 1> {
    let losses = token_losses(log_probabilities(model, hidden, targets), targets);
    (losses * targets.weights(model.device())).sum()
}
