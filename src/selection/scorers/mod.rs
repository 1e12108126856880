//! Importance scores of samples, a file for each, on what a model made of a sample.
//!
//! A new scorer is a file here that implements [`Scorer`], and its line in [`SCORERS`]. Its name then is a
//! value of every param that takes one, its documentation is in `runner stages`, and the stage `score`
//! makes the passes over the model that it [needs](Scorer::needs), once for all scorers together.
//!
//! Unaware of models: the numbers are given. All in f32, summed in f64.

mod el2n;
mod entropy;
mod grand;
mod grounding;
pub mod influence;
mod margin;
mod perplexity;

/// All scorers. Of scorers that serve equally well the first is preferred.
pub const SCORERS: &[&dyn Scorer] = &[
    &perplexity::Perplexity,
    &el2n::El2n,
    &entropy::Entropy,
    &grounding::Grounding,
    &grand::Grand,
    &influence::Influence,
    &margin::Margin,
];

/// A way to score samples.
pub trait Scorer: Sync {
    /// What experiments call it.
    fn name(&self) -> &'static str;

    /// Its formula, and whose it is.
    fn doc(&self) -> &'static str;

    /// What must be known of a sample.
    fn needs(&self, formulas: &Formulas) -> &'static [Need];

    /// The score of a sample, of which everything that is needed is known.
    fn score(&self, sample: &Evidence, formulas: &Formulas) -> f32;

    /// The score on the scale on which scores are compared: in histograms and strata.
    fn scaled(&self, score: f32) -> f64 {
        f64::from(score)
    }
}

/// Something that can be known of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// [`Evidence::answer`].
    Answer,
    /// [`Evidence::distributions`]: the whole vocabulary at each answer token comes to the host.
    Distributions,
    /// [`Evidence::blind`]: another forward pass.
    Blind,
    /// [`Evidence::everywhere`]: logits at every position.
    Everywhere,
    /// [`Evidence::gradient`]: a backward pass.
    Gradient,
    /// [`Evidence::influences`]: vectors, and no model.
    Influences,
}

/// What is known of a sample. What no scorer needs is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// What the model predicts at the answer tokens.
    pub answer: Answer,
    /// Log-probabilities of all tokens at the answer tokens, `[targets, vocabulary]`.
    pub distributions: Vec<f32>,
    /// Negative log-likelihoods of the answer tokens without the images, where there are images.
    pub blind: Option<Vec<f32>>,
    /// Entropies of the predictions at all positions, nats.
    pub everywhere: Vec<f32>,
    /// Norm of the gradient with respect to the adapters.
    pub gradient: f32,
    /// Influence on each target task, summed over checkpoints.
    pub influences: Vec<f64>,
}

/// Predictions at the answer tokens of a sample, an element per token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Their negative log-likelihoods, nats.
    pub losses: Vec<f32>,
    /// Σ p² over the vocabulary.
    pub squares: Vec<f32>,
    /// −Σ p log p over the vocabulary, nats.
    pub entropies: Vec<f32>,
}

/// What the paper says, or what the authors' code does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// The paper.
    #[default]
    Paper,
    /// The authors' code.
    Reference,
}

/// Which formula, where there are two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Formulas {
    /// Perplexity: exp of the mean, or mean of the exponentials.
    pub perplexity: Version,
    /// Entropy: at the answer tokens, or at all positions.
    pub positions: Version,
}

/// The scorer of this name.
pub fn named(name: &str) -> Option<&'static dyn Scorer> {
    SCORERS.iter().copied().find(|scorer| scorer.name() == name)
}

/// The place of a scorer among all; after them, if it is none.
pub fn place(name: &str) -> usize {
    SCORERS.iter().position(|scorer| scorer.name() == name).unwrap_or(SCORERS.len())
}

/// The list of scorers that a declaration calls `list`: `@scorers` are all, `@model-scorers` those that need a
/// model, `@vector-scorers` those that need vectors instead.
pub fn list(list: &str) -> Option<Vec<&'static str>> {
    let by_vectors = |scorer: &dyn Scorer| scorer.needs(&Formulas::default()).contains(&Need::Influences);
    let wanted: fn(bool) -> bool = match list {
        "@scorers" => |_| true,
        "@model-scorers" => |by_vectors| !by_vectors,
        "@vector-scorers" => |by_vectors| by_vectors,
        _ => return None,
    };
    Some(SCORERS.iter().filter(|scorer| wanted(by_vectors(**scorer))).map(|scorer| scorer.name()).collect())
}

/// The mean of numbers, in f64; NaN of none.
fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample of two answer tokens out of a vocabulary of four.
    pub fn evidence() -> Evidence {
        let rows = [[0.5f32, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4]];
        let tokens = [0usize, 2];
        let each =
            |of: &dyn Fn(&[f32; 4], usize) -> f32| rows.iter().zip(tokens).map(|(row, token)| of(row, token)).collect();
        Evidence {
            answer: Answer {
                tokens: tokens.iter().map(|token| *token as u32).collect(),
                losses: each(&|row, token| -row[token].ln()),
                squares: each(&|row, _| row.iter().map(|p| p * p).sum()),
                entropies: each(&|row, _| -row.iter().map(|p| p * p.ln()).sum::<f32>()),
            },
            distributions: rows.iter().flatten().map(|p| p.ln()).collect(),
            blind: Some(vec![2.0, 3.0]),
            everywhere: vec![0.5, 1.0, 1.5],
            gradient: 2.5,
            influences: vec![-0.5, 0.75],
        }
    }

    fn near(name: &str, formulas: &Formulas, expected: f32) {
        let score = named(name).unwrap().score(&evidence(), formulas);
        assert!((score - expected).abs() < 1e-5 * expected.abs(), "{name}: {score}, not {expected}");
    }

    #[test]
    fn scores_follow_their_formulas() {
        let paper = Formulas::default();
        let reference = Formulas { perplexity: Version::Reference, positions: Version::Reference };
        let perplexity = (1.0f32 / (0.5 * 0.3)).sqrt();
        near("perplexity", &paper, perplexity);
        near("perplexity", &reference, (2.0 + 1.0 / 0.3) / 2.0);
        let first = (0.25f32 + 0.0625 + 2.0 * 0.015_625).sqrt();
        near("el2n", &paper, (first + (0.01f32 + 0.04 + 0.49 + 0.16).sqrt()) / 2.0);
        near("entropy", &paper, (1.213_008 + 1.279_854) / 2.0);
        near("entropy", &reference, 1.0);
        near("grounding", &paper, 2.5f32.exp() / perplexity);
        near("grand", &paper, 2.5);
        near("influence", &paper, 0.75);
    }

    #[test]
    fn without_images_grounding_is_one() {
        let evidence = Evidence { blind: None, ..evidence() };
        assert_eq!(named("grounding").unwrap().score(&evidence, &Formulas::default()), 1.0);
    }

    #[test]
    fn every_scorer_has_a_name_of_its_own_and_a_place_in_one_of_two_lists() {
        let all = list("@scorers").unwrap();
        let mut both = list("@model-scorers").unwrap();
        both.extend(list("@vector-scorers").unwrap());
        let mut sorted = all.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), all.len());
        both.sort_unstable();
        assert_eq!(both, sorted);
        assert_eq!(list("@others"), None);
        assert!(
            SCORERS.iter().all(|scorer| scorer.doc().ends_with('.') && !scorer.needs(&Formulas::default()).is_empty())
        );
    }
}
