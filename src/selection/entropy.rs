//! Which scorer rules a cluster: the one whose scores have the largest entropy there, because
//! scores that spread over many values tell samples apart (section 4 of the paper).

use super::mean_and_deviation;

/// How far from the mean the histogram reaches, in standard deviations.
const REACH: f64 = 4.0;

/// Entropy, in bits, of the histogram of the standardised scores: `bins` equal bins over ±4
/// standard deviations, what lies outside counted in the outermost. It depends on the shape of the
/// distribution only, not on the unit of the scores. Constant scores have entropy 0.
pub fn of_shape(scores: &[f64], bins: usize) -> f64 {
    let (mean, deviation) = mean_and_deviation(scores);
    if deviation == 0.0 {
        return 0.0;
    }
    let mut counts = vec![0usize; bins];
    for score in scores {
        let place = ((score - mean) / deviation + REACH) / (2.0 * REACH) * bins as f64;
        // The cast saturates: what is below the first bin is counted there.
        counts[(place as usize).min(bins - 1)] += 1;
    }
    let total = scores.len() as f64;
    counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / total).map(|p| -p * p.log2()).sum()
}

/// The same as in the authors' code (`get_dist_entropy`): the scores are standardised, but the bins
/// reach over ±4 standard deviations of the raw scores, what lies outside is dropped, and the first
/// of the `bins` is never filled. So the scorer with the smallest unit wins. Infinite where that
/// code computes NaN, which wins its comparison: for constant scores.
pub fn reference(scores: &[f64], bins: usize) -> f64 {
    let (mean, deviation) = mean_and_deviation(scores);
    let low = -REACH * deviation;
    let width = 2.0 * REACH * deviation / (bins.max(2) - 1) as f64;
    let edge = |index: usize| low + index as f64 * width;
    let mut counts = vec![0usize; bins];
    for score in scores {
        let place = (score - mean) / deviation;
        let guess = (place - low) / width;
        if !guess.is_finite() || guess < -1.0 {
            continue;
        }
        // Division and multiplication round differently: the edges decide, the guess is near.
        let near = (guess as usize).saturating_sub(1)..=guess as usize + 1;
        if let Some(left) = near.into_iter().find(|left| place > edge(*left) && place <= edge(left + 1))
            && left + 1 < bins
        {
            counts[left + 1] += 1;
        }
    }
    let total: usize = counts.iter().sum();
    if total == 0 {
        return f64::INFINITY;
    }
    let share = |count: usize| if count == 0 { f64::EPSILON } else { count as f64 / total as f64 };
    counts.into_iter().map(share).map(|p| -p * p.log2()).sum()
}

/// The index of the largest entropy, the first of equal ones.
pub fn largest(entropies: &[f64]) -> usize {
    let mut best = 0;
    for (index, entropy) in entropies.iter().enumerate() {
        if *entropy > entropies[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn linspace(low: f64, high: f64, count: usize) -> Vec<f64> {
        let step = (high - low) / (count - 1) as f64;
        (0..count).map(|index| low + index as f64 * step).collect()
    }

    /// What `get_dist_entropy` returns.
    #[test]
    fn the_reference_is_that_of_the_authors_code() {
        let sine = |factor: f64| (0..1000).map(|x| factor * f64::from(x).sin()).collect::<Vec<f64>>();
        let cases = [
            (linspace(0.0, 1.0, 1000), 5.6138017023),
            (linspace(0.0, 10.0, 1000), 2.9933649119),
            (linspace(-2.0, 2.0, 1000), 4.2396111356),
            (sine(1.0), 4.4567334889),
            (sine(0.1), 5.4489297653),
            (sine(10.0), 1.5710250497),
        ];
        for (scores, expected) in cases {
            let entropy = reference(&scores, 50);
            assert!((entropy - expected).abs() < 1e-9, "{entropy} for {expected}");
        }
    }

    #[test]
    fn constant_scores_never_win_but_in_the_authors_code() {
        assert_eq!(of_shape(&[3.0; 20], 50), 0.0);
        assert_eq!(of_shape(&[], 50), 0.0);
        assert_eq!(largest(&[reference(&linspace(0.0, 1.0, 20), 50), reference(&[3.0; 20], 50)]), 1);
        assert_eq!(largest(&[of_shape(&linspace(0.0, 1.0, 20), 50), of_shape(&[3.0; 20], 50)]), 0);
    }

    #[test]
    fn a_uniform_distribution_has_more_entropy_than_one_with_an_outlier() {
        let mut outlier = linspace(0.0, 0.01, 999);
        outlier.push(100.0);
        let entropies = [of_shape(&outlier, 50), of_shape(&linspace(0.0, 1.0, 1000), 50)];
        assert!(entropies[0] < 0.1 && entropies[1] > 4.0, "{entropies:?}");
        assert_eq!(largest(&entropies), 1);
    }

    #[test]
    fn of_equal_entropies_the_first_wins() {
        assert_eq!(largest(&[1.0, 2.0, 2.0]), 1);
    }

    proptest! {
        #[test]
        fn neither_the_unit_nor_the_zero_of_the_scores_matters(
            scores in prop::collection::vec(-100i32..100, 64),
            power in -20i32..20,
            offset in -50i32..50,
        ) {
            // 64 integers times a power of two: mean and variance have no rounding error, so that
            // equality is exact.
            let plain: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
            let moved: Vec<f64> =
                plain.iter().map(|score| (score + f64::from(offset)) * 2f64.powi(power)).collect();
            prop_assert_eq!(of_shape(&plain, 50), of_shape(&moved, 50));
        }

        #[test]
        fn entropy_is_between_zero_and_that_of_full_bins(scores in prop::collection::vec(-1e3..1e3f64, 1..300)) {
            let entropy = of_shape(&scores, 50);
            prop_assert!((0.0..=50f64.log2()).contains(&entropy));
        }
    }
}
