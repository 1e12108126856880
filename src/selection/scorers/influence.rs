//! Influence on validation samples (LESS, Xia et al. 2024).

use indexmap::IndexMap;

use super::{Evidence, Formulas, Need, Scorer};

/// See its documentation.
pub struct Influence;

impl Scorer for Influence {
    fn name(&self) -> &'static str {
        "influence"
    }

    fn doc(&self) -> &'static str {
        "The largest, over target tasks, of the sum over checkpoints of weight · mean cosine of the gradient with those of the samples of the task (LESS, Xia et al. 2024)."
    }

    fn needs(&self, _: &Formulas) -> &'static [Need] {
        &[Need::Influences]
    }

    fn score(&self, sample: &Evidence, _: &Formulas) -> f32 {
        sample.influences.iter().copied().fold(f64::NEG_INFINITY, f64::max) as f32
    }
}

/// For each target task the mean of the unit vectors of its samples, in the order in which tasks are met. The
/// mean of a vector's products with them is its product with their mean.
pub fn directions<'a>(samples: impl Iterator<Item = (&'a str, &'a [f32])>) -> IndexMap<String, Vec<f64>> {
    let mut tasks: IndexMap<String, (Vec<f64>, usize)> = IndexMap::new();
    for (task, vector) in samples {
        let (sum, count) = tasks.entry(task.to_string()).or_insert_with(|| (vec![0.0; vector.len()], 0));
        let factor = over(1.0, length(vector));
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value) * factor);
        *count += 1;
    }
    let mean = |(sum, count): (Vec<f64>, usize)| sum.iter().map(|sum| sum / count as f64).collect();
    tasks.into_iter().map(|(task, sums)| (task, mean(sums))).collect()
}

/// The influence of a sample on a task: the mean cosine of its vector with those of the task's samples.
pub fn on(direction: &[f64], vector: &[f32]) -> f64 {
    let product: f64 = direction.iter().zip(vector).map(|(direction, value)| direction * f64::from(*value)).sum();
    over(product, length(vector))
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// A quotient; 0 over 0.
fn over(value: f64, length: f64) -> f64 {
    if length > 0.0 { value / length } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn influence_is_the_mean_cosine_with_the_samples_of_a_task() {
        let targets: [(&str, &[f32]); 3] =
            [("counting", &[3.0, 0.0]), ("reading", &[0.0, -2.0]), ("counting", &[0.0, 0.5])];
        let directions = directions(targets.into_iter());
        let vector = [0.6f32, 0.8];
        let influences: Vec<f64> = directions.values().map(|direction| on(direction, &vector)).collect();
        assert_eq!(directions.keys().collect::<Vec<_>>(), ["counting", "reading"]);
        assert!((influences[0] - 0.7).abs() < 1e-6 && (influences[1] + 0.8).abs() < 1e-6, "{influences:?}");
        assert_eq!(on(&directions["counting"], &[0.0, 0.0]), 0.0, "a vector of zeros has no direction");
    }
}
