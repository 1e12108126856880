//! Semantic duplicates (SemDeDup, Abbas et al. 2023): how redundant each sample of a cluster is, and
//! what is left without the most redundant ones, by a threshold or down to a budget.

use rayon::prelude::*;

use super::random::Draws;
use super::vectors::{inverse_norm, typicality};

/// The order in which samples are compared: each with those before it, so that of two duplicates the
/// earlier one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By the distance of their directions to the mean direction, farthest first: of two duplicates
    /// the less typical is kept (*keep hard*). Does not depend on the order of the samples.
    FarthestFirst,
    /// The same, nearest first (*keep easy*).
    NearestFirst,
    /// Random (*keep random*).
    Random,
    /// As given, with similarities below 0 counted as 0, as in the authors' code of Adapt-∞.
    AsGiven,
}

/// A sample of a cluster and how redundant it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Its index in the cluster.
    pub row: usize,
    /// Its place in the order of comparison.
    pub place: usize,
    /// Its largest cosine similarity to a sample before it, `M` in the publication; -1 for the first.
    /// The publication counts similarities below 0 as 0, which no threshold can tell apart; here they
    /// settle which of such samples goes first.
    pub redundancy: f32,
}

/// All of `rows`, least redundant first; of equally redundant ones the one compared earlier. A row of
/// zeros is similar to nothing. Components must be numbers. Only the order `Random` draws.
pub fn rank(rows: &[&[f32]], order: Order, draws: &mut Draws) -> Vec<Ranked> {
    let mut compared: Vec<usize> = (0..rows.len()).collect();
    match order {
        Order::FarthestFirst => {
            let typical = typicality(rows);
            compared.sort_by(|left, right| typical[*left].total_cmp(&typical[*right]));
        }
        Order::NearestFirst => {
            let typical = typicality(rows);
            compared.sort_by(|left, right| typical[*right].total_cmp(&typical[*left]));
        }
        Order::Random => draws.shuffle(&mut compared),
        Order::AsGiven => {}
    }
    let ordered: Vec<&[f32]> = compared.iter().map(|index| rows[*index]).collect();
    let scales: Vec<f32> = ordered.iter().map(|row| inverse_norm(row) as f32).collect();
    let mut redundancy = redundancy(&ordered, &scales);
    if order == Order::AsGiven {
        redundancy.iter_mut().for_each(|similarity| *similarity = similarity.max(0.0));
    }
    let ranked = |(place, row): (usize, usize)| Ranked { row, place, redundancy: redundancy[place] };
    let mut ranking: Vec<Ranked> = compared.into_iter().enumerate().map(ranked).collect();
    ranking.sort_by(|left, right| left.redundancy.total_cmp(&right.redundancy));
    ranking
}

/// How many of a ranking are left when those more redundant than 1 − `epsilon` go; all without one.
pub fn left(ranking: &[Ranked], epsilon: Option<f64>) -> usize {
    let Some(epsilon) = epsilon else { return ranking.len() };
    ranking.partition_point(|sample| f64::from(sample.redundancy) <= 1.0 - epsilon)
}

/// How many samples of each cluster are left when the most redundant ones of all clusters together
/// go: those more redundant than 1 − `epsilon`, if it is given, and then, one by one, as many as are
/// too many for the budget. That is what the ε for exactly this budget leaves, found by order instead
/// of by search; of equally redundant samples the one compared earlier in its cluster stays, then the
/// one of the first cluster.
///
/// The shares sum to the budget, unless fewer are left.
pub fn shares(rankings: &[Vec<Ranked>], epsilon: Option<f64>, budget: usize) -> Vec<usize> {
    let mut shares: Vec<usize> = rankings.iter().map(|ranking| left(ranking, epsilon)).collect();
    if shares.iter().sum::<usize>() <= budget {
        return shares;
    }
    let mut all: Vec<(f32, usize, usize)> = Vec::new();
    for (cluster, (ranking, share)) in rankings.iter().zip(&mut shares).enumerate() {
        all.extend(ranking[..*share].iter().map(|sample| (sample.redundancy, sample.place, cluster)));
        *share = 0;
    }
    all.sort_by(|left, right| left.0.total_cmp(&right.0).then((left.1, left.2).cmp(&(right.1, right.2))));
    for (_, _, cluster) in &all[..budget] {
        shares[*cluster] += 1;
    }
    shares
}

/// The first `count` of a ranking, as ascending indices of the cluster.
pub fn least_redundant(ranking: &[Ranked], count: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = ranking[..count.min(ranking.len())].iter().map(|sample| sample.row).collect();
    kept.sort_unstable();
    kept
}

/// For every row its largest cosine similarity to a row before it, -1 for the first; `scales` are
/// the inverse norms. In parallel over tiles of rows: beside the result, no memory that grows with
/// the number of rows, and every number the same for any number of threads.
fn redundancy(rows: &[&[f32]], scales: &[f32]) -> Vec<f32> {
    let dimensions = rows.first().map_or(0, |row| row.len());
    // A tile that stays in the cache while all earlier rows stream by.
    let tile = (65_536 / dimensions.max(1)).clamp(4, 64);
    let mut largest = vec![-1.0f32; rows.len()];
    largest.par_chunks_mut(tile).enumerate().for_each(|(number, largest)| {
        let start = number * tile;
        for earlier in 0..start + largest.len() - 1 {
            let first = (earlier + 1).saturating_sub(start);
            for block in (first..largest.len()).step_by(4) {
                let later = |lane: usize| start + (block + lane).min(largest.len() - 1);
                let products = dots(rows[earlier], std::array::from_fn(|lane| rows[later(lane)]));
                for (lane, product) in products.into_iter().enumerate().take(largest.len() - block) {
                    let similarity = product * (scales[earlier] * scales[start + block + lane]);
                    largest[block + lane] = largest[block + lane].max(similarity);
                }
            }
        }
    });
    largest
}

/// The products of one row with four others, each summed in eight lanes that compile to vector
/// instructions.
fn dots(row: &[f32], others: [&[f32]; 4]) -> [f32; 4] {
    const LANES: usize = 8;
    let whole = row.len() - row.len() % LANES;
    let mut sums = [[0.0f32; LANES]; 4];
    for start in (0..whole).step_by(LANES) {
        let left = &row[start..start + LANES];
        for (sums, other) in sums.iter_mut().zip(others) {
            let right = &other[start..start + LANES];
            for lane in 0..LANES {
                sums[lane] += left[lane] * right[lane];
            }
        }
    }
    std::array::from_fn(|which| {
        let rest: f32 = row[whole..].iter().zip(&others[which][whole..]).map(|(left, right)| left * right).sum();
        sums[which].iter().sum::<f32>() + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    const POINTS: [[f32; 2]; 6] = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 1.0], [-1.0, 0.0]];

    fn keep(rows: &[&[f32]], budget: usize, order: Order) -> Vec<usize> {
        least_redundant(&rank(rows, order, &mut Draws::new(0, "duplicates test")), budget)
    }

    fn slices<const N: usize>(rows: &[[f32; N]]) -> Vec<&[f32]> {
        rows.iter().map(|row| row.as_slice()).collect()
    }

    /// What `semdedup` returns.
    #[test]
    fn in_the_given_order_the_authors_choice_is_made() {
        let rows = slices(&POINTS);
        let scales: Vec<f32> = rows.iter().map(|row| inverse_norm(row) as f32).collect();
        let expected = [-1.0, 0.995_037_14, 0.099_503_72, 0.995_037_14, 0.773_957_25, 0.0];
        for (redundancy, expected) in redundancy(&rows, &scales).into_iter().zip(expected) {
            assert!((redundancy - expected).abs() < 1e-6, "{redundancy} for {expected}");
        }
        assert_eq!(keep(&rows, 1, Order::AsGiven), [0]);
        assert_eq!(keep(&rows, 3, Order::AsGiven), [0, 2, 5]);
        assert_eq!(keep(&rows, 5, Order::AsGiven), [0, 1, 2, 4, 5]);
        let permuted = [4, 0, 1, 2, 3, 5].map(|index: usize| POINTS[index]);
        let kept: Vec<[f32; 2]> =
            keep(&slices(&permuted), 3, Order::AsGiven).into_iter().map(|index| permuted[index]).collect();
        assert_eq!(kept, [POINTS[4], POINTS[0], POINTS[5]]);
    }

    #[test]
    fn of_two_duplicates_one_goes_first() {
        let rows = [[1.0, 0.0, 0.0f32], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        let kept = keep(&slices(&rows), 3, Order::FarthestFirst);
        assert_eq!(kept.iter().filter(|index| **index % 2 == 0).count(), 1, "{kept:?}");
        assert!(kept.contains(&1) && kept.contains(&3));
    }

    #[test]
    fn rows_of_zeros_are_no_duplicates() {
        let rows = [[0.0, 0.0f32], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]];
        assert_eq!(keep(&slices(&rows), 3, Order::FarthestFirst), [0, 1, 2]);
    }

    /// Groups with what is left of them; see `tests/fixtures/selection.py`.
    #[test]
    fn thresholds_and_budgets_leave_what_the_published_algorithm_leaves() {
        #[derive(Deserialize)]
        struct Case {
            clusters: Vec<Vec<Vec<f32>>>,
            keep: String,
            /// For each cluster the redundancy of each row.
            redundancy: Vec<Vec<f64>>,
            by_epsilon: Vec<(f64, Vec<Vec<usize>>)>,
            by_budget: Vec<(usize, Vec<Vec<usize>>)>,
        }
        for case in crate::selection::testing::fixture::<Vec<Case>>("duplicates") {
            let order = if case.keep == "hard" { Order::FarthestFirst } else { Order::NearestFirst };
            let rank = |rows: &Vec<Vec<f32>>| {
                rank(&crate::selection::testing::slices(rows), order, &mut Draws::new(0, "no draw"))
            };
            let rankings: Vec<Vec<Ranked>> = case.clusters.iter().map(rank).collect();
            for (ranking, expected) in rankings.iter().zip(&case.redundancy) {
                for sample in ranking {
                    let published = f64::from(sample.redundancy.max(0.0));
                    assert!((published - expected[sample.row]).abs() < 1e-5, "{sample:?} of {expected:?}");
                }
            }
            let kept = |shares: Vec<usize>| -> Vec<Vec<usize>> {
                rankings.iter().zip(shares).map(|(ranking, share)| least_redundant(ranking, share)).collect()
            };
            for (epsilon, expected) in &case.by_epsilon {
                assert_eq!(&kept(shares(&rankings, Some(*epsilon), usize::MAX)), expected, "ε = {epsilon}");
            }
            for (budget, expected) in &case.by_budget {
                assert_eq!(&kept(shares(&rankings, None, *budget)), expected, "{budget}");
            }
        }
    }

    #[test]
    fn a_threshold_that_leaves_too_many_is_followed_by_the_budget() {
        let rows = [[1.0, 0.0, 0.0f32], [1.0, 0.3, 0.0], [0.0, 0.0, 1.0], [0.0, 0.01, 1.0]];
        let ranking = rank(&slices(&rows), Order::AsGiven, &mut Draws::new(0, "no draw"));
        let rankings = [ranking];
        assert_eq!(shares(&rankings, Some(0.01), 4), [3], "fewer than the budget");
        assert_eq!(shares(&rankings, Some(0.01), 2), [2]);
        assert_eq!(shares(&rankings, None, 4), [4]);
    }

    #[test]
    fn what_is_kept_is_hard_easy_or_random() {
        // Two duplicates far from the rest and one near it.
        let rows = [[1.0, 0.0f32], [1.0, 0.01], [0.8, 0.6], [0.82, 0.58], [0.7, 0.7]];
        assert!(keep(&slices(&rows), 2, Order::FarthestFirst).contains(&0));
        assert!(!keep(&slices(&rows), 1, Order::NearestFirst).contains(&0));
        let random: std::collections::BTreeSet<Vec<usize>> = (0..20)
            .map(|seed| least_redundant(&rank(&slices(&rows), Order::Random, &mut Draws::new(seed, "t")), 1))
            .collect();
        assert!(random.len() > 2, "{random:?}");
    }

    fn random_rows(count: usize, dimensions: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut draws = Draws::new(seed, "rows");
        (0..count).map(|_| (0..dimensions).map(|_| draws.below(2001) as f32 / 1000.0 - 1.0).collect()).collect()
    }

    #[test]
    fn tiles_find_what_a_plain_loop_finds_on_any_number_of_threads() {
        let rows = random_rows(150, 19, 0);
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let scales: Vec<f32> = rows.iter().map(|row| inverse_norm(row) as f32).collect();
        let tiled = redundancy(&rows, &scales);
        for later in 0..rows.len() {
            let cosine = |earlier: usize| {
                let product: f64 =
                    rows[earlier].iter().zip(rows[later]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                product * f64::from(scales[earlier]) * f64::from(scales[later])
            };
            let plain = (0..later).map(cosine).fold(-1.0, f64::max);
            assert!((f64::from(tiled[later]) - plain).abs() < 1e-5);
        }
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| redundancy(&rows, &scales)), tiled);
    }

    proptest! {
        #[test]
        fn what_a_threshold_leaves_has_no_one_more_similar_to_an_earlier_one(seed in 0u64..40, epsilon in 0.001..1.0f64) {
            let rows = random_rows(40, 3, seed);
            let ranking = rank(&crate::selection::testing::slices(&rows), Order::Random, &mut Draws::new(seed, "p"));
            let cosine = |left: &Ranked, right: &Ranked| {
                crate::selection::vectors::cosine(&rows[left.row], &rows[right.row])
            };
            let left = left(&ranking, Some(epsilon));
            for (index, sample) in ranking.iter().enumerate() {
                let before = ranking.iter().filter(|other| other.place < sample.place);
                let largest = before.map(|other| cosine(sample, other)).fold(0.0, f64::max);
                // Equal to a rounding error of f32 decides nothing.
                prop_assert!((largest <= 1.0 - epsilon) == (index < left) || (largest - 1.0 + epsilon).abs() < 1e-5);
            }
        }

        #[test]
        fn shares_are_the_budget_and_grow_with_it(seed in 0u64..40, budget in 0usize..70) {
            let clusters: Vec<Vec<Vec<f32>>> = (0..3).map(|which| random_rows(20, 3, 3 * seed + which)).collect();
            let rank = |rows: &Vec<Vec<f32>>| {
                rank(&crate::selection::testing::slices(rows), Order::FarthestFirst, &mut Draws::new(0, "p"))
            };
            let rankings: Vec<Vec<Ranked>> = clusters.iter().map(rank).collect();
            let (less, more) = (shares(&rankings, None, budget), shares(&rankings, None, budget + 1));
            prop_assert_eq!(less.iter().sum::<usize>(), budget.min(60));
            prop_assert!(less.iter().zip(&more).all(|(less, more)| less <= more));
            // The threshold that this budget is.
            let most = rankings.iter().zip(&less).filter_map(|(ranking, share)| share.checked_sub(1).map(|last| ranking[last].redundancy));
            let threshold = most.fold(-1.0, f32::max);
            for (ranking, share) in rankings.iter().zip(&less) {
                prop_assert!(ranking.get(*share).is_none_or(|next| budget == 0 || next.redundancy >= threshold));
            }
        }

        #[test]
        fn farthest_first_does_not_depend_on_the_order_of_the_samples(seed in 0u64..50, budget in 1usize..60) {
            let rows = random_rows(60, 9, seed);
            let mut order: Vec<usize> = (0..rows.len()).collect();
            Draws::new(seed, "order").shuffle(&mut order);
            let plain: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let moved: Vec<&[f32]> = order.iter().map(|index| plain[*index]).collect();
            let mut back: Vec<usize> =
                keep(&moved, budget, Order::FarthestFirst).into_iter().map(|index| order[index]).collect();
            back.sort_unstable();
            prop_assert_eq!(keep(&plain, budget, Order::FarthestFirst), back);
        }
    }
}
