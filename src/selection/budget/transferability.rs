//! The budget of COINCIDE (Lee et al. 2024): clusters whose skill helps others, and whose samples are
//! not all alike, get more of it.
//!
//! Transferability T is the mean cosine similarity of a cluster's centroid to the others, density D the
//! mean of the Gaussian kernel in the cluster ([`Kernel::density`](crate::selection::kernel::Kernel)),
//! and the softmax of T / D over a temperature says which part of the budget a cluster gets.

use std::ops::Range;

use rayon::prelude::*;

use crate::selection::vectors::{dot, inverse_norm};

/// Centroids that are more similar than this are the same skill, and count as neither near nor far.
const SAME: f64 = 0.9;

/// T of every cluster: the mean cosine similarity of its centroid to all others, but for those above
/// 0.9, itself among them. 0 where no other is left (the authors' code divides by zero).
pub fn transferability(centroids: &[Vec<f32>]) -> Vec<f64> {
    let scales: Vec<f64> = centroids.iter().map(|centroid| inverse_norm(centroid)).collect();
    let of = |cluster: usize| {
        let similarity = |other: usize| dot(&centroids[cluster], &centroids[other]) * scales[cluster] * scales[other];
        let different = (0..centroids.len()).map(similarity).filter(|similarity| *similarity <= SAME);
        let (sum, count) = different.fold((0.0, 0usize), |(sum, count), similarity| (sum + similarity, count + 1));
        sum / count.max(1) as f64
    };
    (0..centroids.len()).into_par_iter().map(of).collect()
}

/// The language halves of concept vectors in `centroids`, row-major `[clusters, dimensions]`: `halves` says
/// where they lie in a vector, one for each layer.
pub fn language(centroids: &[f32], dimensions: usize, halves: &[Range<usize>]) -> Vec<Vec<f32>> {
    let texts = |centroid: &[f32]| halves.iter().flat_map(|half| centroid[half.clone()].iter().copied()).collect();
    centroids.chunks_exact(dimensions).map(texts).collect()
}

/// Shares `budget` by the softmax of `scores` / `temperature`: clusters are visited from the highest
/// score down, the first of equal ones first, each gets its part, among those not yet visited, of what
/// is left, rounded (half to even), and no more than it has, so that what it lacks goes to the later
/// ones. If the last ones cannot take what is left, further rounds share it over the clusters with room,
/// and where rounding would never spend it, one by one.
///
/// The shares sum to `min(budget, Σ sizes)`.
pub fn shares(sizes: &[usize], scores: &[f64], temperature: f64, budget: usize) -> Vec<usize> {
    let budget = budget.min(sizes.iter().sum());
    let mut shares = vec![0; sizes.len()];
    let mut left = budget;
    while left > 0 {
        let room: Vec<usize> = sizes.iter().zip(&shares).map(|(size, share)| size - share).collect();
        let given = round(&room, scores, temperature, left);
        let spent: usize = given.iter().sum();
        shares.iter_mut().zip(&given).for_each(|(share, given)| *share += given);
        left -= spent;
        if spent == 0 {
            let mut order = descending(scores);
            order.retain(|cluster| room[*cluster] > 0);
            for cluster in order.into_iter().take(left) {
                shares[cluster] += 1;
                left -= 1;
            }
        }
    }
    shares
}

/// One round of [`shares`], which is the authors' code: of the budget it leaves what the last clusters
/// cannot take.
pub fn one_round(sizes: &[usize], scores: &[f64], temperature: f64, budget: usize) -> Vec<usize> {
    let mut shares = vec![0; sizes.len()];
    let order = descending(scores);
    // Over the clusters from each one on, Σ exp((score − the score of that one) / temperature): at least
    // 1, however far the scores are apart.
    let mut totals = vec![0.0f64; order.len()];
    let mut later: Option<(f64, f64)> = None;
    for (place, cluster) in order.iter().enumerate().rev() {
        let score = scores[*cluster];
        let total = later.map_or(1.0, |(total, next)| 1.0 + total * ((next - score) / temperature).exp());
        totals[place] = total;
        later = Some((total, score));
    }
    let mut left = budget;
    for (cluster, total) in order.into_iter().zip(totals) {
        shares[cluster] = ((left as f64 / total).round_ties_even() as usize).min(sizes[cluster]);
        left -= shares[cluster];
    }
    shares
}

/// A round over the clusters that have room.
fn round(room: &[usize], scores: &[f64], temperature: f64, budget: usize) -> Vec<usize> {
    let open: Vec<usize> = (0..room.len()).filter(|cluster| room[*cluster] > 0).collect();
    let sizes: Vec<usize> = open.iter().map(|cluster| room[*cluster]).collect();
    let open_scores: Vec<f64> = open.iter().map(|cluster| scores[*cluster]).collect();
    let mut shares = vec![0; room.len()];
    for (cluster, share) in open.iter().zip(one_round(&sizes, &open_scores, temperature, budget)) {
        shares[*cluster] = share;
    }
    shares
}

fn descending(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::testing::fixture;
    use proptest::prelude::*;
    use serde::Deserialize;

    /// As `Vectors::language_halves` says where they are.
    fn halves(dimensions: usize, layers: usize) -> Vec<Range<usize>> {
        let half = dimensions / (2 * layers);
        (0..layers).map(|layer| (2 * layer + 1) * half..(2 * layer + 2) * half).collect()
    }

    /// See `tests/fixtures/selection.py`.
    #[test]
    fn transferability_leaves_out_what_is_the_same_skill() {
        #[derive(Deserialize)]
        struct Case {
            centroids: Vec<Vec<f32>>,
            layers: usize,
            transferability: Vec<f64>,
        }
        for case in fixture::<Vec<Case>>("transferability") {
            let dimensions = case.centroids[0].len();
            let texts = language(&case.centroids.concat(), dimensions, &halves(dimensions, case.layers));
            for (found, expected) in transferability(&texts).iter().zip(&case.transferability) {
                assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
            }
        }
        assert_eq!(transferability(&[vec![1.0, 0.0], vec![1.0, 0.1]]), [0.0, 0.0], "one skill alone");
    }

    #[test]
    fn shares_are_those_of_a_walk_from_the_best_cluster_down() {
        #[derive(Deserialize)]
        struct Case {
            sizes: Vec<usize>,
            scores: Vec<f64>,
            temperature: f64,
            budget: usize,
            shares: Vec<usize>,
        }
        for case in fixture::<Vec<Case>>("walk") {
            let walked = one_round(&case.sizes, &case.scores, case.temperature, case.budget);
            assert_eq!(walked, case.shares, "{:?} for {}", case.scores, case.budget);
        }
    }

    #[test]
    fn scores_far_apart_leave_no_cluster_without_a_number() {
        assert_eq!(one_round(&[5, 100, 100], &[500.0, 0.0, -900.0], 0.1, 50), [5, 45, 0]);
        assert_eq!(shares(&[60, 5], &[0.0, 0.0], 0.1, 40), [35, 5], "the second cannot take its half");
    }

    #[test]
    fn a_layer_has_an_image_half_and_a_text_half() {
        let centroids = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        assert_eq!(language(&centroids, 8, &halves(8, 2)), [vec![3.0, 4.0, 7.0, 8.0]]);
        assert_eq!(language(&centroids, 4, &halves(4, 1)), [vec![3.0, 4.0], vec![7.0, 8.0]]);
    }

    proptest! {
        #[test]
        fn a_budget_is_spent_exactly(
            clusters in prop::collection::vec((0usize..200, -3.0..3.0f64), 1..20),
            temperature in 0.01..2.0f64,
            budget in 0usize..4000,
        ) {
            let (sizes, scores): (Vec<usize>, Vec<f64>) = clusters.into_iter().unzip();
            let spent = shares(&sizes, &scores, temperature, budget);
            prop_assert_eq!(spent.iter().sum::<usize>(), budget.min(sizes.iter().sum()));
            prop_assert!(spent.iter().zip(&sizes).all(|(share, size)| share <= size));
            let once = one_round(&sizes, &scores, temperature, budget);
            prop_assert!(once.iter().sum::<usize>() <= budget);
        }
    }
}
