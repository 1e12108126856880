//! Entropy of the predictions.

use super::{Evidence, Formulas, Need, Scorer, Version, mean};

/// See its documentation.
pub struct Entropy;

impl Scorer for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }

    fn doc(&self) -> &'static str {
        "Mean of −Σ p log p in nats over the answer tokens (`paper`), or over all positions of the sequence (`reference`)."
    }

    fn needs(&self, formulas: &Formulas) -> &'static [Need] {
        match formulas.positions {
            Version::Paper => &[Need::Answer],
            Version::Reference => &[Need::Everywhere],
        }
    }

    fn score(&self, sample: &Evidence, formulas: &Formulas) -> f32 {
        let everywhere = &sample.everywhere;
        match formulas.positions {
            Version::Paper => mean(&sample.answer.entropies),
            Version::Reference => everywhere.iter().sum::<f32>() / everywhere.len() as f32,
        }
    }
}
