//! Margin: how much more probable the first choice is than the second.

use super::{Evidence, Formulas, Need, Scorer, mean};

/// See its documentation.
pub struct Margin;

impl Scorer for Margin {
    fn name(&self) -> &'static str {
        "margin"
    }

    fn doc(&self) -> &'static str {
        "Mean over the answer tokens of the probability of the most probable token minus that of the next."
    }

    fn needs(&self, _: &Formulas) -> &'static [Need] {
        &[Need::Answer, Need::Distributions]
    }

    fn score(&self, sample: &Evidence, _: &Formulas) -> f32 {
        let vocabulary = sample.distributions.len() / sample.answer.tokens.len();
        let margin = |row: &[f32]| {
            let least = f32::NEG_INFINITY;
            let (first, second) = row.iter().fold((least, least), |(first, second), log| match *log {
                log if log > first => (log, first),
                log => (first, second.max(log)),
            });
            first.exp() - second.exp()
        };
        mean(&sample.distributions.chunks_exact(vocabulary).map(margin).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::evidence;
    use super::*;

    #[test]
    fn the_margin_is_between_the_two_most_probable_tokens() {
        let margin = Margin.score(&evidence(), &Formulas::default());
        assert!((margin - ((0.5 - 0.25) + (0.4 - 0.3)) / 2.0).abs() < 1e-6, "{margin}");
    }
}
