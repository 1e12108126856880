//! What a run gained and forgot, over the matrix `P[t][b]`: the result on benchmark `b` after time
//! step `t`, where step 0 is the model before the first dataset arrives. Results are in any unit in
//! which more is better and nothing is below zero; all rates are in percent.
//!
//! The metrics are those of InsCL (Wang et al. 2024) and Scialom et al. 2022. Averages are taken
//! within each skill first and then over skills, so that a skill with many benchmarks does not
//! count for more. A ratio over a best result that is no better than chance would measure noise: such a
//! benchmark was never learnt, and is left out of averages.

use indexmap::IndexMap;

/// The best result on every benchmark over the time steps: `max_t P[t][b]`.
pub fn best(steps: &[Vec<f64>]) -> Vec<f64> {
    let mut steps = steps.iter();
    let first = steps.next().cloned().unwrap_or_default();
    steps.fold(first, |best, step| best.iter().zip(step).map(|(best, value)| best.max(*value)).collect())
}

/// `100 · P[t][b] / U[b]` for every benchmark: results in percent of an upper bound, which is the
/// best result over time of sequential training. More than 100 is possible. `chance` is what
/// guessing gets.
pub fn relative_gain(results: &[f64], upper: &[f64], chance: &[f64]) -> Vec<Option<f64>> {
    let benchmarks = results.iter().zip(upper).zip(chance);
    benchmarks.map(|((result, upper), chance)| (upper > chance).then(|| 100.0 * result / upper)).collect()
}

/// `100 · (M[b] − P[T][b]) / M[b]` for every benchmark, where `T` is the last time step and `M` the
/// best result before it: what is lost of the best that the run could do. Negative where the last
/// step is the best; the forgetting rate counts that as zero. With one time step, nothing is
/// known. `chance` is what guessing gets.
pub fn forgetting(steps: &[Vec<f64>], chance: &[f64]) -> Vec<Option<f64>> {
    let Some((last, earlier)) = steps.split_last() else { return Vec::new() };
    if earlier.is_empty() {
        return vec![None; last.len()];
    }
    let benchmarks = best(earlier).into_iter().zip(last).zip(chance);
    benchmarks.map(|((best, last), chance)| (best > *chance).then(|| 100.0 * (best - last) / best)).collect()
}

/// The result that a reference would have at a `cost`, where `points` are its costs and results: linear
/// in the logarithm of the cost between the two nearest points, for results grow about so with what is
/// spent on training. Beyond the dearest and the cheapest point it is the result of that point, and the
/// second value is true. Nothing where there are no points, or a cost is not above zero.
pub fn at_equal_cost(points: &[(f64, f64)], cost: f64) -> Option<(f64, bool)> {
    if cost <= 0.0 || points.iter().any(|(cost, _)| *cost <= 0.0) {
        return None;
    }
    let mut points = points.to_vec();
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    let (cheapest, dearest) = (points.first()?, points.last()?);
    if cost < cheapest.0 {
        return Some((cheapest.1, true));
    }
    let Some(above) = points.iter().position(|(known, _)| *known > cost) else {
        return Some((dearest.1, cost > dearest.0));
    };
    let ((low, from), (high, to)) = (points[above - 1], points[above]);
    let share = (cost.ln() - low.ln()) / (high.ln() - low.ln());
    Some((from + share * (to - from), false))
}

/// The mean of each skill's benchmarks, in the order in which `skills`, one per benchmark, first
/// names them. A skill of which nothing is known is left out.
pub fn by_skill<'a>(skills: &[&'a str], values: &[Option<f64>]) -> IndexMap<&'a str, f64> {
    let mut known: IndexMap<&str, Vec<f64>> = IndexMap::new();
    for (skill, value) in skills.iter().zip(values) {
        known.entry(skill).or_default().extend(value);
    }
    known.into_iter().filter_map(|(skill, values)| Some((skill, mean(&values)?))).collect()
}

/// The mean over skills of the mean over each skill's benchmarks.
pub fn over_skills(skills: &[&str], values: &[Option<f64>]) -> Option<f64> {
    let means: Vec<f64> = by_skill(skills, values).into_values().collect();
    mean(&means)
}

/// The arithmetic mean, of something.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation of a sample (divisor `n − 1`), of two values or more.
pub fn sample_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_that_gains_one_skill_and_loses_another() {
        // Two benchmarks of one skill and one of another, over three steps.
        let skills = ["count", "count", "text"];
        let steps = [vec![40.0, 80.0, 0.0], vec![60.0, 40.0, 10.0], vec![30.0, 60.0, 20.0]];
        assert_eq!(best(&steps), [60.0, 80.0, 20.0]);
        let chance = [5.0, 10.0, 0.0];
        let lost = forgetting(&steps, &chance);
        assert_eq!(lost, [Some(50.0), Some(25.0), Some(-100.0)]);
        assert_eq!(over_skills(&skills, &lost), Some((37.5 - 100.0) / 2.0));
        let gain = relative_gain(&steps[2], &[60.0, 80.0, 0.0], &chance);
        assert_eq!(gain, [Some(50.0), Some(75.0), None]);
        assert_eq!(by_skill(&skills, &gain), IndexMap::from([("count", 62.5)]));
    }

    #[test]
    fn what_was_never_learnt_is_neither_gained_nor_forgotten() {
        assert_eq!(relative_gain(&[12.0, 30.0], &[10.0, 60.0], &[10.0, 10.0]), [None, Some(50.0)]);
        assert_eq!(forgetting(&[vec![9.0, 60.0], vec![0.0, 30.0]], &[10.0, 10.0]), [None, Some(50.0)]);
    }

    #[test]
    fn one_step_forgets_nothing_that_could_be_known() {
        assert_eq!(forgetting(&[vec![1.0, 2.0]], &[0.0, 0.0]), [None, None]);
        assert_eq!(over_skills(&["a", "b"], &[None, None]), None);
    }

    #[test]
    fn a_reference_is_interpolated_between_its_costs_and_ends_with_them() {
        let points = [(100.0, 60.0), (10.0, 40.0), (1000.0, 62.0)];
        assert_eq!(at_equal_cost(&points, 10.0), Some((40.0, false)));
        let (between, beyond) = at_equal_cost(&points, 1000f64.sqrt()).unwrap();
        assert!((between - 50.0).abs() < 1e-9 && !beyond, "half way from 10 to 100 by the logarithm");
        assert_eq!(at_equal_cost(&points, 1000.0), Some((62.0, false)));
        assert_eq!(at_equal_cost(&points, 5.0), Some((40.0, true)));
        assert_eq!(at_equal_cost(&points, 5000.0), Some((62.0, true)));
        assert_eq!(at_equal_cost(&[], 5.0), None);
        assert_eq!(at_equal_cost(&points, 0.0), None);
    }

    #[test]
    fn a_deviation_needs_two_values() {
        assert_eq!(sample_deviation(&[1.0]), None);
        assert_eq!(sample_deviation(&[1.0, 3.0]), Some(2f64.sqrt()));
    }

    proptest! {
        #[test]
        fn the_upper_bound_itself_has_a_relative_gain_of_100(
            results in prop::collection::vec(0.01..100.0f64, 1..12),
        ) {
            let skills: Vec<&str> = (0..results.len()).map(|index| ["a", "b", "c"][index % 3]).collect();
            let gain = over_skills(&skills, &relative_gain(&results, &results, &vec![0.0; results.len()])).unwrap();
            prop_assert!((gain - 100.0).abs() < 1e-9);
        }

        #[test]
        fn results_that_never_fall_are_never_forgotten(
            rises in prop::collection::vec(prop::collection::vec(0.0..10.0f64, 4), 2..7),
        ) {
            let mut steps: Vec<Vec<f64>> = vec![vec![1.0; 4]];
            for rise in rises {
                let last = &steps[steps.len() - 1];
                steps.push(last.iter().zip(rise).map(|(last, rise)| last + rise).collect());
            }
            prop_assert!(forgetting(&steps, &[0.0; 4]).iter().all(|lost| lost.unwrap() <= 0.0));
        }

        #[test]
        fn the_unit_of_the_results_does_not_matter(
            steps in prop::collection::vec(prop::collection::vec(1.0..100.0f64, 3), 2..5),
        ) {
            let scaled: Vec<Vec<f64>> = steps.iter().map(|step| step.iter().map(|value| value / 100.0).collect()).collect();
            for (plain, scaled) in forgetting(&steps, &[0.0; 4]).iter().zip(forgetting(&scaled, &[0.0; 4])) {
                prop_assert!((plain.unwrap() - scaled.unwrap()).abs() < 1e-9);
            }
        }
    }
}
