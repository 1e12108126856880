//! k-means against the best of ten starts of scikit-learn.

use std::collections::BTreeMap;

use runner::ml::kmeans::KMeans;
use serde::Deserialize;

use super::support::{arrays, json};

#[derive(Deserialize)]
struct Known {
    sets: BTreeMap<String, Set>,
}

#[derive(Deserialize)]
struct Set {
    clusters: usize,
    inertia: f64,
}

/// The sum of squared distances to the means of the clusters, in f64.
fn inertia(values: &[f32], dimensions: usize, labels: &[usize]) -> f64 {
    let clusters = labels.iter().max().expect("there are labels") + 1;
    let mut means = vec![vec![0.0f64; dimensions]; clusters];
    let mut sizes = vec![0usize; clusters];
    for (row, label) in values.chunks_exact(dimensions).zip(labels) {
        sizes[*label] += 1;
        means[*label].iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    for (mean, size) in means.iter_mut().zip(sizes) {
        mean.iter_mut().for_each(|value| *value /= size as f64);
    }
    let distance = |(row, label): (&[f32], &usize)| -> f64 {
        row.iter().zip(&means[*label]).map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum()
    };
    values.chunks_exact(dimensions).zip(labels).map(distance).sum()
}

#[test]
fn ten_starts_are_as_good_as_ten_of_scikit_learn() {
    let known: Known = json("clusters/inertia.json");
    let vectors = arrays("clusters/vectors.safetensors");
    for (name, set) in &known.sets {
        let dimensions = vectors[name].shape[1];
        for seed in 0..3 {
            let kmeans = KMeans { clusters: set.clusters, spherical: false, restarts: 10, iterations: 300, seed };
            let found = kmeans.fit(&vectors[name].values, dimensions).unwrap();
            let ours = inertia(&vectors[name].values, dimensions, &found.labels);
            assert!(ours <= 1.01 * set.inertia, "`{name}` with seed {seed}: {ours} instead of {}", set.inertia);
            let reported = found.within_sum_of_squares;
            assert!((reported - ours).abs() < 1e-3 * ours, "`{name}` reports {reported} and has {ours}");
        }
    }
    assert!(known.sets.len() > 5);
}
