//! Fine-tuning: the loop, its order of samples and its learning rates. Unaware of files.

use anyhow::{bail, ensure};
use burn::tensor::backend::AutodiffBackend;

use super::backward::Backward;
use super::kernels::Kernels;
use super::llava::Llava;
use super::loss::{Targets, sum_of_sample_losses};
use super::optimizer::{AdamW, Collect, Gradients, Mark, Step, Trained, norm};
use super::samples::Samples;
use super::saves::Saves;
use crate::selection::random::Draws;

/// How to train; the params of the stage kind `train` say what each means.
#[derive(Debug, Clone)]
pub struct Training {
    /// What is trained.
    pub trained: Trained,
    /// Passes over the samples.
    pub epochs: f64,
    /// Passes after which it stops, with the rate as it then is; all of them without a number.
    pub until: Option<usize>,
    /// Samples per optimiser step.
    pub batch: usize,
    /// Samples per forward pass; gradients of a step are summed over them.
    pub micro_batch: usize,
    /// Peak rate of the language model.
    pub learning_rate: f64,
    /// Peak rate of the projector.
    pub projector_learning_rate: f64,
    /// Share of the steps with a rising rate.
    pub warmup: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of a step's gradient; 0 for no limit.
    pub clip: f64,
    /// Whether batches are of like length, in random order; else in the order given.
    pub grouped: bool,
    /// Seed of the order and of dropout.
    pub seed: u64,
    /// Whether activations are computed again in the backward pass, which needs less memory.
    pub checkpointing: bool,
}

/// What one optimiser step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done before it.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Mean loss over its samples.
    pub loss: f32,
    /// Its learning rate.
    pub learning_rate: f64,
}

/// Batches whose samples are sorted by length together.
const WINDOW: usize = 16;

impl Training {
    /// Trains `model` on `samples` and calls `report` after every optimiser step. Gives the optimiser as the
    /// last step left it.
    ///
    /// # Errors
    ///
    /// If there is nothing to train on, a sample has no answer left within the maximal length, an
    /// image cannot be read, or a loss is not finite: the samples are named.
    pub fn run<B: Kernels + AutodiffBackend>(
        &self,
        model: &mut Llava<B>,
        samples: &Samples,
        report: impl FnMut(Progress),
    ) -> anyhow::Result<AdamW<B>>
    where
        B::InnerBackend: Kernels,
    {
        self.run_saved(model, samples, None, report)
    }

    /// The same, which goes on from the newest of `saves`, and is saved there. Steps that were done before are
    /// reported again.
    ///
    /// # Errors
    ///
    /// As [`Training::run`].
    pub fn run_saved<B: Kernels + AutodiffBackend>(
        &self,
        model: &mut Llava<B>,
        samples: &Samples,
        mut saves: Option<Saves<'_>>,
        mut report: impl FnMut(Progress),
    ) -> anyhow::Result<AdamW<B>>
    where
        B::InnerBackend: Kernels,
    {
        ensure!(!samples.is_empty(), "there are no samples to train on");
        let mut dropout = Draws::new(self.seed, "dropout");
        model.visit(&mut Mark(self.trained));
        let lengths = samples.lengths();
        let batches = self.batches(&lengths, self.epochs);
        // Whole passes are drawn one after the other, so the batches of fewer are the first of all.
        let steps = match self.until {
            Some(until) if (until as f64) < self.epochs => self.batches(&lengths, until as f64).len(),
            _ => batches.len(),
        };
        let mut optimizer = AdamW::<B>::new(self.weight_decay);
        let mut losses = match &saves {
            Some(saves) => saves.restore(model, &mut optimizer, steps),
            None => Vec::new(),
        };
        let micro_batch = self.micro_batch.max(1);
        let rate = |step: usize| schedule(step, batches.len(), self.warmup);
        for (step, (loss, indices)) in losses.iter().zip(&batches).enumerate() {
            for _ in indices.chunks(micro_batch) {
                dropout.seed();
            }
            report(Progress { step, steps, loss: *loss, learning_rate: self.learning_rate * rate(step) });
        }
        for (step, indices) in batches[..steps].iter().enumerate().skip(losses.len()) {
            let mut gradients = Gradients::<B>::new();
            let mut loss = 0.0;
            for part in indices.chunks(micro_batch) {
                let inputs = samples.batch(part)?;
                let targets = Targets::of(&inputs.text);
                model.language.dropout_seed = dropout.seed();
                let backward = Backward {
                    checkpointing: self.checkpointing,
                    divisor: indices.len() as f32,
                    reaches_embeddings: self.trained == Trained::Everything || !inputs.pixels.is_empty(),
                };
                let objective = |model: &Llava<B>, hidden| sum_of_sample_losses(model, hidden, &targets);
                let value = backward.run(model, &inputs, objective, |model, found| {
                    model.visit(&mut Collect { found, sum: &mut gradients });
                });
                if !value.is_finite() {
                    bail!("the loss is not finite at step {step}, in a batch of the samples {}", samples.names(part));
                }
                loss += value;
            }
            let norm = norm::<B>(&gradients);
            if !norm.is_finite() {
                bail!(
                    "the gradient is not finite at step {step}, in a batch of the samples {}",
                    samples.names(indices)
                );
            }
            let schedule = rate(step);
            optimizer.advance();
            model.visit(&mut Step {
                optimizer: &mut optimizer,
                gradients,
                factor: if self.clip > 0.0 && norm > self.clip { self.clip / norm } else { 1.0 },
                learning_rate: self.learning_rate * schedule,
                projector_learning_rate: self.projector_learning_rate * schedule,
            });
            let loss = loss / indices.len() as f32;
            losses.push(loss);
            report(Progress { step, steps, loss, learning_rate: self.learning_rate * schedule });
            if let Some(saves) = &mut saves {
                saves.after_step(model, &optimizer, &losses)?;
            }
        }
        Ok(optimizer)
    }

    /// The samples of every optimiser step of so many passes. A last batch that is not full is kept.
    fn batches(&self, lengths: &[usize], epochs: f64) -> Vec<Vec<usize>> {
        let mut draws = Draws::new(self.seed, "training order");
        let total = (epochs * lengths.len() as f64).round() as usize;
        let mut batches = Vec::new();
        let mut left = total;
        while left > 0 {
            let mut order: Vec<usize> = (0..lengths.len()).collect();
            if self.grouped {
                draws.shuffle(&mut order);
            }
            order.truncate(left);
            left -= order.len();
            let mut epoch: Vec<Vec<usize>> = Vec::new();
            for window in order.chunks_mut(self.batch * WINDOW) {
                if self.grouped {
                    window.sort_by_key(|index| lengths[*index]);
                }
                epoch.extend(window.chunks(self.batch).map(<[usize]>::to_vec));
            }
            if self.grouped {
                draws.shuffle(&mut epoch);
            }
            batches.extend(epoch);
        }
        batches
    }
}

/// The factor on the peak learning rate: a linear rise over the warm-up, then half a cosine to zero.
fn schedule(step: usize, steps: usize, warmup: f64) -> f64 {
    let rising = (warmup * steps as f64).ceil();
    let step = step as f64;
    if step < rising {
        return (step + 1.0) / rising;
    }
    let progress = (step - rising) / (steps as f64 - rising).max(1.0);
    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training(grouped: bool) -> Training {
        Training {
            trained: Trained::Everything,
            epochs: 1.5,
            until: None,
            batch: 4,
            micro_batch: 4,
            learning_rate: 1e-3,
            projector_learning_rate: 1e-3,
            warmup: 0.1,
            weight_decay: 0.0,
            clip: 1.0,
            grouped,
            seed: 7,
            checkpointing: false,
        }
    }

    #[test]
    fn an_epoch_and_a_half_shows_every_sample_once_and_half_of_them_twice() {
        let lengths: Vec<usize> = (0..30).map(|index| 5 + index % 7).collect();
        let mut shown = vec![0; 30];
        for index in training(true).batches(&lengths, 1.5).concat() {
            shown[index] += 1;
        }
        assert_eq!(shown.iter().sum::<usize>(), 45);
        assert!(shown.iter().all(|times| (1..=2).contains(times)));
        assert_eq!(training(true).batches(&lengths, 1.5), training(true).batches(&lengths, 1.5));
        let whole = training(true).batches(&lengths, 4.0);
        assert_eq!(training(true).batches(&lengths, 2.0), whole[..whole.len() / 2], "fewer passes are the first ones");
    }

    #[test]
    fn the_given_order_is_kept_where_it_is_asked_for() {
        assert_eq!(training(false).batches(&[5; 8], 1.5).concat(), [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]);
    }

    #[test]
    fn the_learning_rate_rises_and_falls_to_zero() {
        let rates: Vec<f64> = (0..100).map(|step| schedule(step, 100, 0.1)).collect();
        assert!(rates[0] > 0.0 && rates[9] == 1.0 && rates[99] < 0.01);
        assert!(rates[10..].windows(2).all(|pair| pair[1] < pair[0]));
    }
}
