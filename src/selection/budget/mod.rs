//! How clusters share a budget: equally ([`uniform`]), by weight ([`weighted`]), by [`density`] or by
//! [`transferability`], always exactly and never more than a cluster has; [`reference`] holds what the
//! authors of Adapt-∞ compute instead.

pub mod density;
pub mod reference;
pub mod transferability;

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

/// Shares `budget` over the samples of the newest dataset and the older ones (experience replay): the
/// part `new_share` of it to the newest, the rest to the others; what one side lacks the other gets. The
/// shares, older first, sum to `min(budget, older + newest)`.
pub fn replay(older: usize, newest: usize, new_share: f64, budget: usize) -> [usize; 2] {
    let budget = budget.min(older + newest);
    let wanted = ((budget as f64 * new_share).round() as usize).min(newest);
    let replayed = (budget - wanted).min(older);
    [replayed, budget - replayed]
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
    fn what_one_side_of_a_replay_lacks_the_other_gets() {
        assert_eq!(replay(100, 50, 0.5, 60), [30, 30]);
        assert_eq!(replay(100, 10, 0.5, 60), [50, 10], "all new data, and more of the old");
        assert_eq!(replay(20, 50, 0.5, 60), [20, 40]);
        assert_eq!(replay(20, 50, 0.5, 100), [20, 50]);
        assert_eq!(replay(0, 50, 0.2, 10), [0, 10]);
        assert_eq!(replay(100, 50, 0.25, 10), [7, 3], "a half is rounded up");
        assert_eq!(replay(100, 50, 0.0, 10), [10, 0]);
        assert_eq!(replay(100, 50, 1.0, 10), [0, 10]);
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
        fn a_replay_spends_its_budget(older in 0usize..99, newest in 0usize..99, share in 0.0..=1.0f64, budget in 0usize..250) {
            let [replayed, new] = replay(older, newest, share, budget);
            prop_assert_eq!(replayed + new, budget.min(older + newest));
            prop_assert!(replayed <= older && new <= newest);
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
