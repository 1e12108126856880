//! Perplexity of the answer.

use super::{Evidence, Formulas, Need, Scorer, Version, mean};

/// See its documentation.
pub struct Perplexity;

impl Scorer for Perplexity {
    fn name(&self) -> &'static str {
        "perplexity"
    }

    fn doc(&self) -> &'static str {
        "exp(mean ℓ) with ℓ the negative log-likelihoods of the answer tokens (`paper`), or mean exp ℓ (`reference`)."
    }

    fn needs(&self, _: &Formulas) -> &'static [Need] {
        &[Need::Answer]
    }

    fn score(&self, sample: &Evidence, formulas: &Formulas) -> f32 {
        let losses = &sample.answer.losses;
        match formulas.perplexity {
            Version::Paper => of(losses),
            Version::Reference => mean(&losses.iter().map(|loss| loss.exp()).collect::<Vec<_>>()),
        }
    }

    /// Perplexities differ by orders of magnitude; their logarithms, mean negative log-likelihoods, fill
    /// histograms and strata evenly. No order of samples changes.
    fn scaled(&self, score: f32) -> f64 {
        f64::from(score).ln()
    }
}

/// exp(mean ℓ).
pub fn of(losses: &[f32]) -> f32 {
    mean(losses).exp()
}
