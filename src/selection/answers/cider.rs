//! CIDEr-D (Vedantam et al. 2015): how alike captions are in n-grams, weighted by how few images have them.
//!
//! Equal to `CiderScorer` of pycocoevalcap 1.2, on the same tokens.

use std::collections::{HashMap, HashSet};

use super::bleu::counts;

/// The longest n-grams.
const ORDERS: usize = 4;
/// The standard deviation, in tokens, of the penalty for another length.
const SIGMA: f64 = 6.0;
/// What similarities from 0 to 1 are multiplied by.
const SCALE: f64 = 10.0;

type Gram<'b, 'a> = &'b [&'a str];

/// A caption as weights of its n-grams.
struct Weighted<'b, 'a> {
    /// By order.
    grams: [HashMap<Gram<'b, 'a>, f64>; ORDERS],
    /// The Euclidean norm of each order.
    norms: [f64; ORDERS],
    /// How many pairs of neighbours it has: what the published code takes as its length.
    length: f64,
}

/// The CIDEr-D of each answer against the references of its image, from 0 to 10. How rare an n-gram is
/// follows from the references of all images, so that answers are scored together.
pub fn cider(references: &[Vec<Vec<&str>>], answered: &[Vec<&str>]) -> Vec<f64> {
    let mut images: HashMap<Gram<'_, '_>, usize> = HashMap::new();
    for captions in references {
        let grams = captions.iter().flat_map(|tokens| (1..=ORDERS).flat_map(|order| tokens.windows(order)));
        for gram in grams.collect::<HashSet<_>>() {
            *images.entry(gram).or_default() += 1;
        }
    }
    let all = (references.len() as f64).ln();
    let weigh = |tokens| weighted(tokens, |gram| all - (images.get(gram).copied().unwrap_or(1) as f64).ln());
    let scores = references.iter().zip(answered).map(|(captions, answered)| {
        let answered = weigh(answered.as_slice());
        let alike: f64 = captions.iter().map(|caption| similarity(&answered, &weigh(caption.as_slice()))).sum();
        SCALE * alike / captions.len().max(1) as f64
    });
    scores.collect()
}

fn weighted<'b, 'a>(tokens: &'b [&'a str], rarity: impl Fn(Gram<'b, 'a>) -> f64) -> Weighted<'b, 'a> {
    let grams: [HashMap<Gram<'b, 'a>, f64>; ORDERS] = std::array::from_fn(|index| {
        counts(tokens, index + 1).into_iter().map(|(gram, count)| (gram, count as f64 * rarity(gram))).collect()
    });
    let norms = std::array::from_fn(|index| {
        // In a fixed order: a sum of floating-point numbers depends on it.
        let mut squares: Vec<f64> = grams[index].values().map(|weight| weight * weight).collect();
        squares.sort_by(f64::total_cmp);
        squares.iter().sum::<f64>().sqrt()
    });
    Weighted { grams, norms, length: tokens.len().saturating_sub(1) as f64 }
}

/// The mean over orders of the cosine, each weight of the answer cut to that of the reference, with the
/// penalty for another length.
fn similarity(answered: &Weighted<'_, '_>, reference: &Weighted<'_, '_>) -> f64 {
    let penalty = (-(answered.length - reference.length).powi(2) / (2.0 * SIGMA * SIGMA)).exp();
    let cosines = (0..ORDERS).map(|index| {
        let known = |gram: &Gram<'_, '_>| reference.grams[index].get(gram).copied().unwrap_or(0.0);
        let mut products: Vec<f64> =
            answered.grams[index].iter().map(|(gram, weight)| weight.min(known(gram)) * known(gram)).collect();
        products.sort_by(f64::total_cmp);
        let norms = answered.norms[index] * reference.norms[index];
        let product: f64 = products.iter().sum();
        if norms > 0.0 { product / norms } else { product }
    });
    penalty * cosines.sum::<f64>() / ORDERS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_equal_to_its_only_reference_scores_ten() {
        let references = [vec![vec!["a", "red", "dog", "runs"]], vec![vec!["two", "cats", "sit", "there"]]];
        let answered = [references[0][0].clone(), references[0][0].clone()];
        let scores = cider(&references, &answered);
        assert!((scores[0] - 10.0).abs() < 1e-9, "{}", scores[0]);
        assert_eq!(scores[1], 0.0, "nothing in common with the second image");
    }

    #[test]
    fn what_every_image_has_weighs_nothing() {
        let references = [vec![vec!["a", "dog"]], vec![vec!["a", "cat"]]];
        let scores = cider(&references, &[vec!["a"], vec!["cat"]]);
        assert_eq!(scores[0], 0.0);
        assert!(scores[1] > 0.0);
    }
}
