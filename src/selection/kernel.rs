//! The Gaussian kernel of a cluster: how dense it is, and which few of its samples stand for all of
//! them (COINCIDE, Lee et al. 2024; the greedy choice is that of MMD-critic, Kim et al. 2016).
//!
//! K(x, y) = exp(−‖x − y‖² / 2σ²), in f64: the authors found results in half precision to differ
//! widely. The matrix of a cluster is never held: means and columns are computed as they are needed.

use rayon::prelude::*;

use super::vectors::squared_distance;

/// Rows that are compared with all later ones in one go, while they stay in the cache.
const TILE: usize = 16;

/// The Gaussian kernel of some vectors.
pub struct Kernel<'a> {
    rows: Vec<&'a [f32]>,
    /// −1 / 2σ².
    exponent: f64,
    /// For each vector the mean of K over all vectors.
    means: Vec<f64>,
}

impl<'a> Kernel<'a> {
    /// The kernel of width `sigma` between `rows`. Takes a pass over all pairs.
    ///
    /// # Panics
    ///
    /// If the width is not positive.
    pub fn new(rows: Vec<&'a [f32]>, sigma: f64) -> Kernel<'a> {
        assert!(sigma > 0.0, "BUG: a kernel of the width {sigma}");
        let mut kernel = Kernel { means: vec![0.0; rows.len()], rows, exponent: -0.5 / sigma.powi(2) };
        kernel.means = kernel.means_of_columns();
        kernel
    }

    /// The density of the vectors: the mean of K over all pairs, each vector with itself included. 1
    /// where all are equal, for a single one, and for none.
    pub fn density(&self) -> f64 {
        if self.means.is_empty() { 1.0 } else { self.means.iter().sum::<f64>() / self.means.len() as f64 }
    }

    /// `budget` vectors chosen one after the other, each so that the maximum mean discrepancy between
    /// the chosen ones and all is least, as ascending indices; of equally good ones the first.
    ///
    /// With m chosen, A = Σ K within them, a(c) = Σ K of a candidate c with them, μ(c) the mean of K of c
    /// with all vectors and B = Σ μ within them, adding c makes the squared discrepancy, but for a
    /// constant, (A + 2 a(c) + K(c, c)) / (m + 1)² − 2 (B + μ(c)) / (m + 1). Only a(c) / (m + 1) − μ(c)
    /// differs between candidates, so that a step takes one column of the matrix instead of all of it.
    pub fn greedy(&self, budget: usize) -> Vec<usize> {
        let count = self.rows.len();
        if budget >= count {
            return (0..count).collect();
        }
        let mut with_chosen = vec![0.0f64; count];
        let mut is_chosen = vec![false; count];
        for size in 1..=budget {
            let change = |candidate: usize| with_chosen[candidate] / size as f64 - self.means[candidate];
            let candidates = (0..count).filter(|candidate| !is_chosen[*candidate]);
            let best = candidates.min_by(|left, right| change(*left).total_cmp(&change(*right)));
            let Some(best) = best else { break };
            is_chosen[best] = true;
            let sums = with_chosen.par_iter_mut().enumerate().with_min_len(4 * TILE);
            sums.for_each(|(other, sum)| *sum += self.at(best, other));
        }
        (0..count).filter(|index| is_chosen[*index]).collect()
    }

    fn at(&self, left: usize, right: usize) -> f64 {
        (squared_distance(self.rows[left], self.rows[right]) * self.exponent).exp()
    }

    fn means_of_columns(&self) -> Vec<f64> {
        let count = self.rows.len();
        let mut means = vec![0.0f64; count];
        means.par_chunks_mut(TILE).enumerate().for_each(|(tile, means)| {
            for other in 0..count {
                for (lane, sum) in means.iter_mut().enumerate() {
                    *sum += self.at(tile * TILE + lane, other);
                }
            }
            means.iter_mut().for_each(|sum| *sum /= count as f64);
        });
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::testing::{fixture, slices};
    use proptest::prelude::*;
    use serde::Deserialize;

    /// Densities and greedy choices; see `tests/fixtures/selection.py`.
    #[test]
    fn densities_and_choices_are_those_of_the_whole_matrix() {
        #[derive(Deserialize)]
        struct Case {
            rows: Vec<Vec<f32>>,
            sigma: f64,
            density: f64,
            chosen: Vec<Vec<usize>>,
        }
        for case in fixture::<Vec<Case>>("kernel") {
            let kernel = Kernel::new(slices(&case.rows), case.sigma);
            assert!((kernel.density() / case.density - 1.0).abs() < 1e-12);
            for (budget, chosen) in case.chosen.iter().enumerate() {
                assert_eq!(&kernel.greedy(budget), chosen, "{budget} of {}", case.rows.len());
            }
        }
    }

    #[test]
    fn the_first_to_stand_for_a_group_is_in_the_thick_of_it() {
        let rows = [[0.0f32], [5.0], [5.1], [5.2], [9.0]];
        let kernel = Kernel::new(rows.iter().map(|row| row.as_slice()).collect(), 1.0);
        assert_eq!(kernel.greedy(1), [2]);
        assert_eq!(kernel.greedy(2), [2, 4], "what is near to the first adds less than what is not");
        assert_eq!(kernel.greedy(9), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn no_vector_one_and_equal_ones_have_density_one() {
        let row: &[f32] = &[0.3, 0.1];
        assert_eq!(Kernel::new(vec![row], 1.0).density(), 1.0);
        assert_eq!(Kernel::new(vec![row; 40], 1.0).density(), 1.0);
        assert_eq!(Kernel::new(Vec::new(), 1.0).density(), 1.0);
    }

    /// The squared discrepancy of a choice from all vectors, from the definition.
    fn discrepancy(rows: &[Vec<f32>], chosen: &[usize], sigma: f64) -> f64 {
        let at = |left: usize, right: usize| {
            let squares = rows[left].iter().zip(&rows[right]).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            (-squares.sum::<f64>() / (2.0 * sigma * sigma)).exp()
        };
        let all: Vec<usize> = (0..rows.len()).collect();
        let mean = |left: &[usize], right: &[usize]| {
            let sum: f64 = left.iter().map(|left| right.iter().map(|right| at(*left, *right)).sum::<f64>()).sum();
            sum / (left.len() * right.len()) as f64
        };
        mean(&all, &all) + mean(chosen, chosen) - 2.0 * mean(&all, chosen)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_step_is_the_best_that_there_is(
            rows in prop::collection::vec(prop::collection::vec(-2.0f32..2.0, 3), 2..14),
            sigma in 0.3..3.0f64,
        ) {
            let kernel = Kernel::new(slices(&rows), sigma);
            let mut before: Vec<usize> = Vec::new();
            for budget in 1..rows.len() {
                let chosen = kernel.greedy(budget);
                prop_assert!(before.iter().all(|index| chosen.contains(index)));
                let best = (0..rows.len())
                    .filter(|candidate| !before.contains(candidate))
                    .map(|candidate| discrepancy(&rows, &[before.as_slice(), &[candidate]].concat(), sigma))
                    .fold(f64::INFINITY, f64::min);
                prop_assert!((discrepancy(&rows, &chosen, sigma) - best).abs() < 1e-12);
                before = chosen;
            }
        }

        #[test]
        fn threads_change_nothing(rows in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 5), 1..200)) {
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let kernel = Kernel::new(slices(&rows), 1.0);
                    (kernel.density().to_bits(), kernel.greedy(rows.len() / 3))
                })
            };
            prop_assert_eq!(on(1), on(3));
        }
    }
}
