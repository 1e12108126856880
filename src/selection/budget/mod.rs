//! How clusters share a budget: equally ([`uniform`]) or by weight ([`weighted`]), always exactly
//! and never more than a cluster has; [`reference`] holds the authors' rounding.

pub mod reference;

use super::mean_and_deviation;

/// Shares `budget` equally over clusters of these sizes: every cluster gets the same number, except
/// that a smaller one gives what it lacks to the others (water-filling). What cannot be split
/// equally goes, one each, to the largest clusters, the first of equal ones.
///
/// The shares sum to `min(budget, Σ sizes)` and grow with the budget.
pub fn uniform(sizes: &[usize], budget: usize) -> Vec<usize> {
    let mut smallest_first: Vec<usize> = (0..sizes.len()).collect();
    smallest_first.sort_by_key(|cluster| (sizes[*cluster], std::cmp::Reverse(*cluster)));
    let mut shares = vec![0; sizes.len()];
    let mut left = budget.min(sizes.iter().sum());
    for (rank, cluster) in smallest_first.iter().enumerate() {
        // Rounding down leaves the rest to those that come later: the largest.
        shares[*cluster] = sizes[*cluster].min(left / (sizes.len() - rank));
        left -= shares[*cluster];
    }
    shares
}

/// Shares `budget` over clusters of these sizes in proportion to non-negative `weights`: what a
/// full cluster cannot take goes to the others in proportion, fractions are settled by the largest
/// remainder, then the larger weight, then the first. Clusters without weight share equally what
/// is left once all others are full.
///
/// The shares sum to `min(budget, Σ sizes)`.
///
/// # Panics
///
/// If a weight is negative or not finite.
pub fn weighted(sizes: &[usize], weights: &[f64], budget: usize) -> Vec<usize> {
    assert!(weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0), "BUG: weights are {weights:?}");
    let heavy: Vec<usize> = (0..sizes.len()).filter(|cluster| weights[*cluster] > 0.0).collect();
    let capacity: usize = heavy.iter().map(|cluster| sizes[*cluster]).sum();
    if capacity < budget {
        let mut shares: Vec<usize> = sizes.to_vec();
        let weightless: Vec<usize> = (0..sizes.len()).filter(|cluster| weights[*cluster] == 0.0).collect();
        let rest: Vec<usize> = weightless.iter().map(|cluster| sizes[*cluster]).collect();
        for (cluster, share) in weightless.iter().zip(uniform(&rest, budget - capacity)) {
            shares[*cluster] = share;
        }
        return shares;
    }

    // Clusters fill up in the order of size / weight; the first that does not fill ends it.
    let mut shares = vec![0; sizes.len()];
    let mut open = heavy;
    open.sort_by(|a, b| (sizes[*a] as f64 / weights[*a]).total_cmp(&(sizes[*b] as f64 / weights[*b])));
    let mut left = budget;
    while let Some(first) = open.first().copied() {
        let total: f64 = open.iter().map(|cluster| weights[*cluster]).sum();
        if (sizes[first] as f64) > left as f64 * weights[first] / total {
            break;
        }
        shares[first] = sizes[first].min(left);
        left -= shares[first];
        open.remove(0);
    }

    let total: f64 = open.iter().map(|cluster| weights[*cluster]).sum();
    let quota = |cluster: usize| left as f64 * weights[cluster] / total;
    for cluster in &open {
        shares[*cluster] = (quota(*cluster) as usize).min(sizes[*cluster]);
    }
    open.sort_by(|a, b| {
        let remainder = |cluster: usize| quota(cluster).fract();
        remainder(*b).total_cmp(&remainder(*a)).then(weights[*b].total_cmp(&weights[*a])).then(a.cmp(b))
    });
    let mut missing = left - open.iter().map(|cluster| shares[*cluster]).sum::<usize>();
    for cluster in open.iter().cycle().take(open.len() * 2) {
        if missing > 0 && shares[*cluster] < sizes[*cluster] {
            shares[*cluster] += 1;
            missing -= 1;
        }
    }
    shares
}

/// The spread of a cluster's scores: their standard deviation. A cluster whose samples differ more
/// deserves more of the budget.
pub fn spread(scores: &[f64]) -> f64 {
    mean_and_deviation(scores).1
}

/// The density weight of every cluster: `d_inter · d_intra`, where `d_inter` is the Frobenius norm
/// of the differences between its centroid and all others, and `d_intra` the mean distance of its
/// members to its centroid. Sparse clusters far from the others weigh most.
///
/// This is the weight of the authors' code. Density-based pruning as published (Abbas et al. 2024)
/// takes cosine distances to the 20 nearest centroids and a softmax of the product, and is made for
/// hundreds of clusters; over the ten or so of this method every centroid is near and the linear
/// weight needs no temperature. What is not kept of the authors' code is that it rounds every share
/// down and gives clusters more than they have: [`weighted`] settles that.
///
/// `centroids` is row-major `[clusters, dimensions]`, `rows` yields each sample's vector with its
/// cluster.
pub fn density<'a>(
    centroids: &[f32],
    dimensions: usize,
    rows: impl IntoIterator<Item = (usize, &'a [f32])>,
) -> Vec<f64> {
    let centroids: Vec<&[f32]> = centroids.chunks_exact(dimensions.max(1)).collect();
    let mut distances = vec![0.0; centroids.len()];
    let mut members = vec![0usize; centroids.len()];
    for (cluster, row) in rows {
        distances[cluster] += squared_distance(row, centroids[cluster]).sqrt();
        members[cluster] += 1;
    }
    let weight = |cluster: usize| {
        let inter: f64 = centroids.iter().map(|other| squared_distance(centroids[cluster], other)).sum();
        inter.sqrt() * distances[cluster] / members[cluster].max(1) as f64
    };
    (0..centroids.len()).map(weight).collect()
}

fn squared_distance(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(left, right)| (f64::from(*left) - f64::from(*right)).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_clusters_give_their_rest_to_the_others() {
        assert_eq!(uniform(&[5, 10, 1000, 2000], 1000), [5, 10, 492, 493]);
        assert_eq!(uniform(&[3, 3, 3, 3], 6), [2, 2, 1, 1]);
        assert_eq!(uniform(&[1, 2, 3, 4], 9), [1, 2, 3, 3]);
        assert_eq!(uniform(&[10, 10, 10], 31), [10, 10, 10]);
        assert_eq!(uniform(&[], 10), [0usize; 0]);
    }

    #[test]
    fn weights_rule_until_a_cluster_is_full() {
        assert_eq!(weighted(&[100, 100, 100], &[0.5, 1.0, 2.0], 70), [10, 20, 40]);
        assert_eq!(weighted(&[100, 100, 30], &[0.5, 1.0, 2.0], 70), [13, 27, 30]);
        assert_eq!(weighted(&[2, 2, 2], &[0.5, 1.0, 2.0], 12), [2, 2, 2]);
        assert_eq!(weighted(&[5, 5, 5], &[1.0, 0.0, 0.0], 8), [5, 2, 1]);
    }

    #[test]
    fn density_weights_are_those_of_the_authors() {
        let centroids = [0.0, 0.0, 3.0, 0.0, 0.0, 4.0];
        let points: [(usize, [f32; 2]); 6] =
            [(0, [0.0, 1.0]), (0, [0.0, -1.0]), (1, [3.0, 1.0]), (1, [3.0, 0.0]), (2, [0.0, 4.0]), (2, [0.0, 6.0])];
        let weights = density(&centroids, 2, points.iter().map(|(cluster, point)| (*cluster, point.as_slice())));
        let total: f64 = weights.iter().sum();
        for (weight, expected) in weights.iter().zip([0.3491961460, 0.2036145929, 0.4471892612]) {
            assert!((weight / total - expected).abs() < 1e-9);
        }
    }

    fn clusters() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(0usize..200, 1..12)
    }

    proptest! {
        #[test]
        fn a_budget_is_spent_exactly_and_nobody_gets_more_than_there_is(
            sizes in clusters(),
            weights in prop::collection::vec(prop_oneof![1 => Just(0.0), 4 => 1e-6..1e6f64], 12),
            budget in 0usize..3000,
        ) {
            for shares in [uniform(&sizes, budget), weighted(&sizes, &weights[..sizes.len()], budget)] {
                prop_assert_eq!(shares.iter().sum::<usize>(), budget.min(sizes.iter().sum()));
                prop_assert!(shares.iter().zip(&sizes).all(|(share, size)| share <= size));
            }
        }

        #[test]
        fn a_larger_budget_takes_nothing_away(sizes in clusters(), budget in 0usize..2000) {
            let (less, more) = (uniform(&sizes, budget), uniform(&sizes, budget + 1));
            prop_assert!(less.iter().zip(&more).all(|(less, more)| less <= more));
        }

        #[test]
        fn a_cluster_that_fits_its_share_is_taken_whole(sizes in clusters(), budget in 0usize..2000) {
            let share = budget / sizes.len();
            let shares = uniform(&sizes, budget);
            prop_assert!(sizes.iter().zip(shares).all(|(size, given)| *size > share || given == *size));
        }

        #[test]
        fn shares_of_clusters_that_are_not_full_differ_by_one_at_most(sizes in clusters(), budget in 0usize..2000) {
            let shares = uniform(&sizes, budget);
            let most = shares.iter().max().copied().unwrap_or(0);
            prop_assert!(shares.iter().zip(&sizes).all(|(share, size)| share == size || share + 1 >= most));
        }

        #[test]
        fn the_order_of_clusters_does_not_matter(
            sizes in prop::collection::hash_set(1usize..500, 2..10),
            budget in 0usize..2000,
            seed in 0u64..100,
        ) {
            let mut sizes: Vec<usize> = sizes.into_iter().collect();
            sizes.sort_unstable();
            let mut order: Vec<usize> = (0..sizes.len()).collect();
            crate::selection::random::Draws::new(seed, "order").shuffle(&mut order);
            let moved: Vec<usize> = order.iter().map(|cluster| sizes[*cluster]).collect();
            let weights: Vec<f64> = sizes.iter().map(|size| (*size as f64).sqrt()).collect();
            let moved_weights: Vec<f64> = order.iter().map(|cluster| weights[*cluster]).collect();
            let (plain, by_weight) = (uniform(&sizes, budget), weighted(&sizes, &weights, budget));
            let expected: Vec<usize> = order.iter().map(|cluster| plain[*cluster]).collect();
            prop_assert_eq!(uniform(&moved, budget), expected);
            let expected: Vec<usize> = order.iter().map(|cluster| by_weight[*cluster]).collect();
            prop_assert_eq!(weighted(&moved, &moved_weights, budget), expected);
        }
    }
}
