//! Which samples of a cluster are drawn, given their scores. Every sampler returns indices in
//! ascending order: as many as the budget, or all. Scores must be numbers.

use super::ascending;
use super::budget;
use super::random::Draws;
use super::vectors::typicality;

/// The highest scores, the first of equal ones.
pub fn top(scores: &[f64], budget: usize) -> Vec<usize> {
    let opposite: Vec<f64> = scores.iter().map(|score| -score).collect();
    low(&opposite, budget)
}

/// The lowest scores, the first of equal ones.
pub fn low(scores: &[f64], budget: usize) -> Vec<usize> {
    ranks(scores, 0, budget)
}

/// The samples whose directions are farthest from the mean direction, the first of equal ones: the far
/// side of their cluster, or with `nearest` the samples nearest to its centroid. (What density-based
/// pruning calls keeping the hard and the easy ones.)
pub fn by_distance(rows: &[&[f32]], nearest: bool, budget: usize) -> Vec<usize> {
    let typical = typicality(rows);
    if nearest { top(&typical, budget) } else { low(&typical, budget) }
}

/// The scores in the middle by rank; where that is not symmetric, one more at the upper side.
pub fn middle(scores: &[f64], budget: usize) -> Vec<usize> {
    ranks(scores, scores.len().saturating_sub(budget).div_ceil(2), budget)
}

fn ranks(scores: &[f64], start: usize, count: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = ascending(scores).into_iter().skip(start).take(count).collect();
    chosen.sort_unstable();
    chosen
}

/// Coverage-centric sampling (Zheng et al. 2023, with a symmetric cut): the share `cut` of the
/// samples with the lowest and with the highest scores is left out, the range of the others is
/// divided into `strata` equal intervals, the budget is shared equally over them
/// ([`budget::uniform`]) and drawn from each uniformly.
///
/// The cut gives way where it would leave fewer samples than the budget, so that the result always
/// has `min(budget, scores.len())`.
pub fn coverage(scores: &[f64], strata: usize, cut: f64, budget: usize, draws: &mut Draws) -> Vec<usize> {
    let order = ascending(scores);
    let outliers = ((cut * scores.len() as f64) as usize).min(scores.len().saturating_sub(budget) / 2);
    let inner = &order[outliers..order.len() - outliers];
    let (Some(first), Some(last)) = (inner.first(), inner.last()) else { return Vec::new() };
    let (least, most) = (scores[*first], scores[*last]);
    draw_strata(scores, inner, least, most, strata, budget, draws)
}

/// Shares the budget over equal intervals of the scores from `least` to `most`, and draws from the
/// `inner` samples in each.
fn draw_strata(
    scores: &[f64],
    inner: &[usize],
    least: f64,
    most: f64,
    strata: usize,
    budget: usize,
    draws: &mut Draws,
) -> Vec<usize> {
    let mut members = vec![Vec::new(); strata];
    for index in inner {
        // Constant scores make this NaN, which the cast turns into the first stratum.
        let place = (scores[*index] - least) / (most - least) * strata as f64;
        members[(place as usize).min(strata - 1)].push(*index);
    }
    let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
    let shares = budget::uniform(&sizes, budget);
    let mut chosen: Vec<usize> =
        members.iter().zip(shares).flat_map(|(members, share)| draws.sample(members, share)).collect();
    chosen.sort_unstable();
    chosen
}

/// Coverage-centric sampling as its authors have it (Zheng et al. 2023): the share `hard` of the samples
/// with the highest scores, which are taken for mislabelled, is left out, `strata` equal intervals
/// reach over the scores of the others, and the budget is shared equally over them, the smallest
/// first, and drawn from each uniformly. Their code tunes the share with the budget: 0.3 for a tenth of
/// CIFAR-10.
///
/// Two things differ from that code. Its last interval ends at 1.0001 times the highest score, which
/// loses the sample that has it where it is negative; here it ends as far above it. And the cut gives
/// way where it would leave fewer samples than the budget, so that the result always has
/// `min(budget, scores.len())`.
pub fn original_coverage(scores: &[f64], strata: usize, hard: f64, budget: usize, draws: &mut Draws) -> Vec<usize> {
    let order = ascending(scores);
    let left_out = ((hard * scores.len() as f64) as usize).min(scores.len().saturating_sub(budget));
    let inner = &order[..order.len() - left_out];
    let (Some(first), Some(last)) = (inner.first(), inner.last()) else { return Vec::new() };
    let (least, most) = (scores[*first], scores[*last]);
    draw_strata(scores, inner, least, most + 1e-4 * most.abs(), strata, budget, draws)
}

/// Coverage-centric sampling as in the code of Adapt-∞ (`get_ccs_samples`): strata from the highest
/// scores down, each giving its share of the budget rounded up; a stratum that has fewer gives all
/// and the share of the following ones is computed anew. The least score that the cut leaves is
/// never drawn, and the result may be larger or smaller than the budget. That code stops with an error
/// when it has drawn too many and then meets a small stratum; here the strata after it give nothing.
pub fn reference_coverage(scores: &[f64], strata: usize, cut: f64, budget: usize, draws: &mut Draws) -> Vec<usize> {
    let order = ascending(scores);
    let at = |share: f64| order.get((scores.len() as f64 * share) as usize).map(|index| scores[*index]);
    let (Some(least), Some(most)) = (at(cut), at(1.0 - cut)) else { return Vec::new() };
    let width = (most - least) / strata as f64;
    let mut right = most;
    let mut remaining = budget as i64;
    let mut share = budget.div_ceil(strata) as i64;
    let mut chosen = Vec::new();
    for stratum in 0..strata {
        let left = right - width;
        let members: Vec<usize> =
            (0..scores.len()).filter(|index| scores[*index] > left && scores[*index] <= right).collect();
        let count = members.len() as i64;
        if count < share {
            remaining -= count;
            let later = (strata - stratum - 1) as i64;
            if later > 0 {
                share = (-(-remaining).div_euclid(later)).max(0);
            }
            chosen.extend(members);
        } else {
            remaining -= share;
            chosen.extend(draws.sample(&members, share as usize));
        }
        right = left;
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn draws() -> Draws {
        Draws::new(0, "sampler test")
    }

    fn numbers(count: usize) -> Vec<f64> {
        (0..count).map(|number| number as f64).collect()
    }

    /// A bell-shaped distribution: sums of twelve uniform draws.
    fn bell(count: usize, seed: u64) -> Vec<f64> {
        let mut draws = Draws::new(seed, "bell");
        (0..count).map(|_| (0..12).map(|_| draws.below(1_000_000) as f64 / 1e6).sum::<f64>() - 6.0).collect()
    }

    #[test]
    fn rank_samplers_take_their_part_of_the_order() {
        let scores = [0.3, 0.9, 0.1, 0.7, 0.5];
        assert_eq!(top(&scores, 2), [1, 3]);
        assert_eq!(low(&scores, 2), [0, 2]);
        assert_eq!(middle(&scores, 3), [0, 3, 4]);
        assert_eq!(middle(&scores, 2), [3, 4]);
        assert_eq!(top(&scores, 9), [0, 1, 2, 3, 4]);
        assert_eq!(top(&[1.0, 1.0, 1.0], 1), [0]);
    }

    #[test]
    fn coverage_leaves_out_the_outliers_and_covers_the_rest_evenly() {
        let chosen = coverage(&numbers(1000), 50, 0.05, 50, &mut draws());
        assert!(chosen.iter().all(|index| (50..950).contains(index)));
        for (stratum, index) in chosen.iter().enumerate() {
            assert_eq!((index - 50) * 50 / 900, stratum);
        }
    }

    #[test]
    fn coverage_takes_all_of_a_rare_stratum() {
        // 3 samples far from the other 97: a uniform draw of 10 would mostly miss them.
        let mut scores = vec![0.0; 97];
        scores.extend([10.0, 10.0, 10.0]);
        let chosen = coverage(&scores, 2, 0.0, 10, &mut draws());
        assert_eq!(chosen.iter().filter(|index| **index >= 97).count(), 3);
        assert_eq!(chosen.len(), 10);
    }

    /// How many samples each stratum gives; see `tests/fixtures/selection.py`.
    #[test]
    fn the_original_cuts_the_hard_end_only_and_draws_as_many_from_each_stratum() {
        #[derive(serde::Deserialize)]
        struct Case {
            scores: Vec<f64>,
            hard: f64,
            budget: usize,
            /// The strata from the lowest scores up: how many of their samples are drawn, of which.
            strata: Vec<(usize, Vec<usize>)>,
        }
        for case in crate::selection::testing::fixture::<Vec<Case>>("coverage") {
            let chosen = original_coverage(&case.scores, case.strata.len(), case.hard, case.budget, &mut draws());
            assert_eq!(chosen.len(), case.budget);
            for (count, members) in &case.strata {
                assert_eq!(chosen.iter().filter(|index| members.contains(index)).count(), *count);
            }
        }
    }

    #[test]
    fn the_original_keeps_easy_samples_and_its_cut_gives_way() {
        let chosen = original_coverage(&numbers(1000), 50, 0.3, 50, &mut draws());
        assert!(chosen[0] < 14 && chosen[49] < 700 && chosen[49] >= 686);
        assert_eq!(original_coverage(&numbers(10), 50, 0.9, 7, &mut draws()), [0, 1, 2, 3, 4, 5, 6]);
        let negative = [-3.0, -2.0, -1.0];
        assert_eq!(original_coverage(&negative, 3, 0.0, 3, &mut draws()), [0, 1, 2]);
    }

    #[test]
    fn distances_are_those_to_the_mean_direction() {
        let rows: [&[f32]; 4] = [&[1.0, 0.0], &[5.0, 0.5], &[-1.0, 1.0], &[2.0, 0.1]];
        assert_eq!(by_distance(&rows, false, 1), [2]);
        assert_eq!(by_distance(&rows, true, 3), [0, 1, 3]);
        assert_eq!(by_distance(&rows, true, 9), [0, 1, 2, 3]);
    }

    /// What `get_ccs_samples` returns.
    #[test]
    fn reference_coverage_draws_as_many_as_the_authors_code() {
        let draw = |scores: &[f64], budget| reference_coverage(scores, 50, 0.05, budget, &mut draws());
        for budget in [50, 100, 500, 900] {
            assert_eq!(draw(&numbers(1000), budget).len(), budget);
        }
        let chosen = draw(&numbers(1000), 900);
        assert_eq!((chosen[0], chosen[899]), (51, 950));
        assert_eq!(draw(&numbers(2000), 100).len(), 100);
        let chosen = draw(&numbers(10_000), 2500);
        assert!(chosen.len() == 2500 && chosen[0] > 500 && chosen[2499] <= 9500);
        let sine: Vec<f64> = (0..2000).map(|x| f64::from(x).sin()).collect();
        assert_eq!(draw(&sine, 1500).len(), 1503);
        assert_eq!(draw(&bell(10_000, 0), 10).len(), 50);
        assert_eq!(draw(&bell(10_000, 0), 101).len(), 150);
        assert_eq!(draw(&bell(10_000, 0), 100).len(), 100);
        assert!((7800..8400).contains(&draw(&bell(10_000, 0), 9000).len()));
    }

    /// Where that code asks for a negative number of samples.
    #[test]
    fn reference_coverage_draws_no_more_where_the_authors_code_fails() {
        let chosen = reference_coverage(&bell(200, 1), 50, 0.05, 20, &mut draws());
        assert!((20..=50).contains(&chosen.len()), "one of each stratum until the budget is spent: {}", chosen.len());
        assert!(reference_coverage(&[], 50, 0.05, 20, &mut draws()).is_empty());
    }

    proptest! {
        #[test]
        fn every_sampler_draws_exactly_its_budget_without_repetition(
            scores in prop::collection::vec(prop_oneof![-5.0..5.0f64, Just(1.0)], 0..300),
            budget in 0usize..400,
            cut in 0.0..0.49f64,
            strata in 1usize..60,
        ) {
            let drawn = [
                top(&scores, budget),
                middle(&scores, budget),
                low(&scores, budget),
                coverage(&scores, strata, cut, budget, &mut draws()),
                original_coverage(&scores, strata, cut, budget, &mut draws()),
            ];
            for chosen in drawn {
                prop_assert_eq!(chosen.len(), budget.min(scores.len()));
                prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(chosen.last().is_none_or(|last| *last < scores.len()));
            }
        }

        #[test]
        fn coverage_stays_inside_the_cut_while_there_is_enough(
            scores in prop::collection::hash_set(-10_000i32..10_000, 20..200),
            share in 0.0..0.8f64,
        ) {
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let outliers = (0.1 * scores.len() as f64) as usize;
            let budget = (share * (scores.len() - 2 * outliers) as f64) as usize;
            let order = ascending(&scores);
            let inner = &order[outliers..scores.len() - outliers];
            let chosen = coverage(&scores, 50, 0.1, budget, &mut draws());
            prop_assert!(chosen.iter().all(|index| inner.contains(index)));
        }
    }
}
