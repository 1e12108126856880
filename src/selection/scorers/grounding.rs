//! Image grounding: how much the image helps.

use super::perplexity::{self, Perplexity};
use super::{Evidence, Formulas, Need, Scorer};

/// See its documentation.
pub struct Grounding;

impl Scorer for Grounding {
    fn name(&self) -> &'static str {
        "grounding"
    }

    fn doc(&self) -> &'static str {
        "Perplexity without the image over the perplexity with it; 1 for a sample without images."
    }

    fn needs(&self, _: &Formulas) -> &'static [Need] {
        &[Need::Answer, Need::Blind]
    }

    fn score(&self, sample: &Evidence, formulas: &Formulas) -> f32 {
        match &sample.blind {
            Some(losses) => perplexity::of(losses) / Perplexity.score(sample, formulas),
            None => 1.0,
        }
    }
}
