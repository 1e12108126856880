//! Density-based pruning as published (Abbas et al. 2024, arXiv 2401.04578): clusters that are spread
//! out and far from others get more of the budget.
//!
//! A cluster's weight is d_inter · d_intra: the mean cosine distance of its centroid to the nearest
//! other centroids, and of its members to its centroid. A softmax of the weights makes shares of the
//! budget, and as a cluster can give neither less than nothing nor more than it has, the nearest
//! possible shares are taken: the quadratic programme min ½‖x − P·N‖², Σx = N, l ≤ x ≤ u. The authors
//! solve it with OSQP and round the result; here it is solved exactly ([`nearest`]).

use crate::selection::vectors::{cosine, dot, inverse_norm};

/// d_inter · d_intra of every cluster, with the `neighbours` nearest other centroids (20 in the
/// publication), or as many as there are; 0 for a cluster without members or without others.
///
/// `centroids` is row-major `[clusters, dimensions]`, `rows` yields each sample's vector with its
/// cluster.
pub fn weights<'a>(
    centroids: &[f32],
    dimensions: usize,
    neighbours: usize,
    rows: impl IntoIterator<Item = (usize, &'a [f32])>,
) -> Vec<f64> {
    let centroids: Vec<&[f32]> = centroids.chunks_exact(dimensions.max(1)).collect();
    let mut intra = vec![0.0; centroids.len()];
    let mut members = vec![0usize; centroids.len()];
    for (cluster, row) in rows {
        intra[cluster] += 1.0 - cosine(row, centroids[cluster]);
        members[cluster] += 1;
    }
    let scales: Vec<f64> = centroids.iter().map(|centroid| inverse_norm(centroid)).collect();
    let inter = |cluster: usize| {
        let others = (0..centroids.len()).filter(|other| *other != cluster);
        let product = |other: usize| dot(centroids[cluster], centroids[other]);
        let mut distances: Vec<f64> =
            others.map(|other| 1.0 - product(other) * scales[cluster] * scales[other]).collect();
        distances.sort_by(f64::total_cmp);
        distances.truncate(neighbours);
        distances.iter().sum::<f64>() / distances.len().max(1) as f64
    };
    (0..centroids.len()).map(|cluster| inter(cluster) * intra[cluster] / members[cluster].max(1) as f64).collect()
}

/// The softmax of `weights` / `temperature`.
pub fn softmax(weights: &[f64], temperature: f64) -> Vec<f64> {
    let most = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = weights.iter().map(|weight| ((weight - most) / temperature).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

/// The least that each cluster gives: the share `balance` of an equal part of the budget, at least one
/// sample if `balance` is 0, but never all of the cluster (as in the authors' code). Nothing of one
/// that is empty; and nothing of any, where there are more clusters than the budget.
pub fn least(sizes: &[usize], budget: usize, balance: f64) -> Vec<usize> {
    let equal = budget as f64 / sizes.len().max(1) as f64;
    let least = if balance > 0.0 { (equal * balance) as usize } else { usize::from(equal >= 1.0) };
    sizes.iter().map(|size| least.min(size.saturating_sub(1))).collect()
}

/// The point nearest to `wanted` whose parts sum to `total` and lie between `least` and `most`: the
/// exact solution of the quadratic programme. Every part is clip(wanted − λ, least, most) for one λ; the
/// sum falls with λ and is linear between the 2n places where a part meets a limit, so that λ is found
/// between two of them.
///
/// # Panics
///
/// If no point is possible: where `total` is not between the sums of the limits.
pub fn nearest(wanted: &[f64], least: &[usize], most: &[usize], total: usize) -> Vec<f64> {
    let possible = least.iter().sum::<usize>()..=most.iter().sum::<usize>();
    assert!(possible.contains(&total), "BUG: {total} is not in {possible:?}");
    let parts = |lambda: f64| -> Vec<f64> {
        let part =
            |((wanted, least), most): ((&f64, &usize), &usize)| (wanted - lambda).max(*least as f64).min(*most as f64);
        wanted.iter().zip(least).zip(most).map(part).collect()
    };
    let sum = |lambda: f64| parts(lambda).iter().sum::<f64>();
    let limits = least.iter().zip(most).zip(wanted);
    let mut turns: Vec<f64> =
        limits.flat_map(|((least, most), wanted)| [wanted - *most as f64, wanted - *least as f64]).collect();
    turns.sort_by(f64::total_cmp);
    let above = turns.partition_point(|turn| sum(*turn) >= total as f64);
    let Some(left) = above.checked_sub(1).map(|index| turns[index]) else { return parts(f64::NEG_INFINITY) };
    let Some(right) = turns.get(above).copied() else { return parts(left) };
    let (high, low) = (sum(left), sum(right));
    parts(left + (right - left) * (high - total as f64) / (high - low))
}

/// Whole numbers for the parts of a total that is whole, between the same whole limits: all rounded
/// down, then one more for the largest fractions, the first of equal ones.
pub fn whole(parts: &[f64], most: &[usize], total: usize) -> Vec<usize> {
    let mut shares: Vec<usize> = parts.iter().map(|part| *part as usize).collect();
    let mut missing = total.saturating_sub(shares.iter().sum());
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|a, b| parts[*b].fract().total_cmp(&parts[*a].fract()));
    for cluster in order.iter().cycle().take(2 * order.len()) {
        if missing > 0 && shares[*cluster] < most[*cluster] {
            shares[*cluster] += 1;
            missing -= 1;
        }
    }
    shares
}

/// The shares of `budget` that clusters of these sizes have by their `weights`, exactly: they sum to
/// `min(budget, Σ sizes)`.
pub fn shares(sizes: &[usize], weights: &[f64], temperature: f64, balance: f64, budget: usize) -> Vec<usize> {
    let budget = budget.min(sizes.iter().sum());
    let wanted: Vec<f64> = softmax(weights, temperature).into_iter().map(|share| share * budget as f64).collect();
    whole(&nearest(&wanted, &least(sizes, budget, balance), sizes, budget), sizes, budget)
}

/// The same rounded as in the authors' code, each to the nearest whole number (of two equally near, the
/// even one): the sum may be off the budget by a few.
pub fn rounded_shares(sizes: &[usize], weights: &[f64], temperature: f64, balance: f64, budget: usize) -> Vec<usize> {
    let budget = budget.min(sizes.iter().sum());
    let wanted: Vec<f64> = softmax(weights, temperature).into_iter().map(|share| share * budget as f64).collect();
    let parts = nearest(&wanted, &least(sizes, budget, balance), sizes, budget);
    parts.into_iter().map(|part| part.round_ties_even() as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::testing::fixture;
    use proptest::prelude::*;
    use serde::Deserialize;

    /// Clusters with their distances, and programmes with their solutions by scipy; see
    /// `tests/fixtures/selection.py`.
    #[test]
    fn weights_are_products_of_mean_cosine_distances() {
        #[derive(Deserialize)]
        struct Case {
            centroids: Vec<Vec<f32>>,
            rows: Vec<Vec<f32>>,
            labels: Vec<usize>,
            neighbours: usize,
            weights: Vec<f64>,
            temperature: f64,
            shares: Vec<f64>,
        }
        for case in fixture::<Vec<Case>>("density") {
            let rows = case.labels.iter().copied().zip(case.rows.iter().map(Vec::as_slice));
            let weights = weights(&case.centroids.concat(), case.centroids[0].len(), case.neighbours, rows);
            for (weight, expected) in weights.iter().zip(&case.weights) {
                assert!((weight - expected).abs() < 1e-9, "{weights:?} for {:?}", case.weights);
            }
            for (share, expected) in softmax(&weights, case.temperature).iter().zip(&case.shares) {
                assert!((share - expected).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn the_quadratic_programme_is_solved_as_a_solver_does() {
        #[derive(Deserialize)]
        struct Case {
            wanted: Vec<f64>,
            least: Vec<usize>,
            most: Vec<usize>,
            total: usize,
            solution: Vec<f64>,
        }
        for case in fixture::<Vec<Case>>("programme") {
            let parts = nearest(&case.wanted, &case.least, &case.most, case.total);
            for (part, expected) in parts.iter().zip(&case.solution) {
                assert!((part - expected).abs() < 1e-3, "{parts:?} for {:?}", case.solution);
            }
        }
    }

    #[test]
    fn limits_are_those_of_the_authors_code() {
        assert_eq!(least(&[100, 5, 1, 0], 80, 0.5), [10, 4, 0, 0]);
        assert_eq!(least(&[100, 5, 1, 0], 80, 0.0), [1, 1, 0, 0]);
        assert_eq!(least(&[9, 9, 9], 2, 0.0), [0, 0, 0]);
        assert_eq!(rounded_shares(&[10, 10], &[0.0, 0.0], 0.1, 0.5, 5), [2, 2], "2.5 becomes 2");
    }

    proptest! {
        #[test]
        fn the_solution_meets_the_conditions_of_optimality(
            clusters in prop::collection::vec((0.0..50.0f64, 0usize..20, 0usize..30), 1..20),
            part in 0.0..=1.0f64,
        ) {
            let wanted: Vec<f64> = clusters.iter().map(|cluster| cluster.0).collect();
            let least: Vec<usize> = clusters.iter().map(|cluster| cluster.1).collect();
            let most: Vec<usize> = clusters.iter().map(|cluster| cluster.1 + cluster.2).collect();
            let (low, high) = (least.iter().sum::<usize>(), most.iter().sum::<usize>());
            let total = low + ((high - low) as f64 * part) as usize;
            let parts = nearest(&wanted, &least, &most, total);
            prop_assert!((parts.iter().sum::<f64>() - total as f64).abs() < 1e-6);
            // One λ for all that are free; those at a limit would go beyond it.
            let is_at = |part: f64, limit: usize| (part - limit as f64).abs() < 1e-9;
            let free = (0..wanted.len()).find(|at| !is_at(parts[*at], least[*at]) && !is_at(parts[*at], most[*at]));
            if let Some(free) = free {
                let lambda = wanted[free] - parts[free];
                for at in 0..wanted.len() {
                    let clipped = (wanted[at] - lambda).max(least[at] as f64).min(most[at] as f64);
                    prop_assert!((parts[at] - clipped).abs() < 1e-6, "{parts:?} with {lambda}");
                }
            }
            let shares = whole(&parts, &most, total);
            prop_assert_eq!(shares.iter().sum::<usize>(), total);
            for at in 0..shares.len() {
                prop_assert!((least[at]..=most[at]).contains(&shares[at]) && (shares[at] as f64 - parts[at]).abs() < 1.0 + 1e-6);
            }
        }

        #[test]
        fn a_budget_is_spent_exactly(
            clusters in prop::collection::vec((0usize..200, 0.0..2.0f64), 1..20),
            temperature in 0.01..2.0f64,
            balance in prop_oneof![Just(0.0), 0.0..=1.0f64],
            budget in 0usize..4000,
        ) {
            let (sizes, weights): (Vec<usize>, Vec<f64>) = clusters.into_iter().unzip();
            let shares = shares(&sizes, &weights, temperature, balance, budget);
            prop_assert_eq!(shares.iter().sum::<usize>(), budget.min(sizes.iter().sum()));
            let least = least(&sizes, budget.min(sizes.iter().sum()), balance);
            for at in 0..sizes.len() {
                prop_assert!((least[at]..=sizes[at]).contains(&shares[at]));
            }
        }
    }
}
