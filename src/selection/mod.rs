//! The paper's algorithms on plain slices: which scorer rules a cluster, how clusters share a
//! budget, which samples are drawn, which are duplicates, what a run gained and forgot, and whether two
//! runs differ.
//!
//! Everything is pure: equal arguments give equal results, whatever the number of threads; draws
//! come from a [`random::Draws`] keyed by seed and purpose. Where the authors' code
//! (github.com/adymaharana/adapt-inf) does not compute what the paper says, the right computation
//! is the default and the authors' is a function or value called *reference*.
//!
//! Unaware of files, of artifacts and of where scores and vectors come from.

pub mod agreement;
pub mod answers;
pub mod budget;
pub mod duplicates;
pub mod entropy;
pub mod maps;
pub mod metrics;
pub mod random;
pub mod sampler;
pub mod significance;

/// The indices of `values` in ascending order of value; equal values keep their order.
fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    order
}

/// Mean and standard deviation (of the population) of `values`.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}
