//! k-means and spherical k-means: Lloyd's iterations from k-means++ starts, with restarts.
//!
//! Spherical k-means is k-means of unit vectors with centroids of unit length: the squared distance is
//! then 2 − 2·cosine. Distances are sums of squared differences in f32, everything that is summed over
//! samples is f64 in a fixed order, so the result does not depend on the number of threads. Unaware of
//! sample ids.

use std::ops::Range;

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// How to cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KMeans {
    /// Number of clusters; fewer are made where there are fewer distinct vectors.
    pub clusters: usize,
    /// Whether vectors and centroids are scaled to unit length. A vector of zeros stays one.
    pub spherical: bool,
    /// Starts, of which the best result is kept.
    pub restarts: usize,
    /// Most iterations of a start.
    pub iterations: usize,
    /// Seed of the starts.
    pub seed: u64,
}

/// A partition of vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// The cluster of each vector. No cluster is empty.
    pub labels: Vec<usize>,
    /// The centroids, row-major `[clusters, dimensions]`.
    pub centroids: Vec<f32>,
    /// The sum over vectors of the squared distance to their centroid.
    pub within_sum_of_squares: f64,
}

/// Vectors that cannot be clustered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KMeansError {
    /// Some have NaN or infinite values.
    #[error("some vectors have values that are not finite")]
    NotFinite {
        /// Their indices.
        rows: Vec<usize>,
    },
    /// There are none.
    #[error("there is nothing to cluster")]
    Empty,
}

/// Fewest vectors that one thread works on at a time.
const CHUNK: usize = 512;
/// Most partial sums over vectors, which are added up in the order of the vectors.
const PARTS: usize = 64;

impl KMeans {
    /// Clusters the vectors in `values`, row-major `[vectors, dimensions]`.
    ///
    /// # Errors
    ///
    /// If there are no vectors, or some are not finite.
    ///
    /// # Panics
    ///
    /// If `values` is not a whole number of vectors.
    pub fn fit(&self, values: &[f32], dimensions: usize) -> Result<Clustering, KMeansError> {
        if values.is_empty() {
            return Err(KMeansError::Empty);
        }
        assert!(values.len().is_multiple_of(dimensions), "the values are not vectors of {dimensions} dimensions");
        let is_finite = |row: &[f32]| row.iter().all(|value| value.is_finite());
        let rows: Vec<usize> = values
            .chunks_exact(dimensions)
            .enumerate()
            .filter(|(_, row)| !is_finite(row))
            .map(|(row, _)| row)
            .collect();
        if !rows.is_empty() {
            return Err(KMeansError::NotFinite { rows });
        }
        let unit: Vec<f32>;
        let values = if self.spherical {
            unit = to_unit_length(values, dimensions);
            &unit
        } else {
            values
        };
        let vectors = Vectors { values, dimensions };
        let mut best = self.start(&vectors, 0);
        for restart in 1..self.restarts.max(1) {
            let other = self.start(&vectors, restart as u64);
            if other.within_sum_of_squares < best.within_sum_of_squares {
                best = other;
            }
        }
        Ok(best)
    }

    fn start(&self, vectors: &Vectors<'_>, restart: u64) -> Clustering {
        let mut generator = ChaCha8Rng::from_seed(blake3::derive_key("runner k-means", &self.seed.to_le_bytes()));
        generator.set_stream(restart);
        let mut centroids = plus_plus(vectors, self.clusters, &mut generator);
        let mut labels: Vec<usize> = Vec::new();
        for _ in 0..self.iterations {
            let mut nearest = vectors.assign(&centroids);
            reseed_empty(&mut nearest, centroids.len() / vectors.dimensions);
            let next: Vec<usize> = nearest.iter().map(|(label, _)| *label).collect();
            if next == labels {
                break;
            }
            labels = next;
            self.update(vectors, &labels, &mut centroids);
        }
        drop_empty(vectors, &centroids)
    }

    /// Moves every centroid to the mean of its members; one without members stays.
    fn update(&self, vectors: &Vectors<'_>, labels: &[usize], centroids: &mut [f32]) {
        let dimensions = vectors.dimensions;
        let clusters = centroids.len() / dimensions;
        let sums = vectors.sum(labels, clusters);
        let mut sizes = vec![0usize; clusters];
        labels.iter().for_each(|label| sizes[*label] += 1);
        for ((centroid, sum), size) in
            centroids.chunks_exact_mut(dimensions).zip(sums.chunks_exact(dimensions)).zip(sizes)
        {
            let scale =
                if self.spherical { sum.iter().map(|value| value * value).sum::<f64>().sqrt() } else { size as f64 };
            if size > 0 && scale > 0.0 {
                centroid.iter_mut().zip(sum).for_each(|(value, sum)| *value = (sum / scale) as f32);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Vectors<'a> {
    values: &'a [f32],
    dimensions: usize,
}

impl<'a> Vectors<'a> {
    fn count(&self) -> usize {
        self.values.len() / self.dimensions
    }

    fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.dimensions..(row + 1) * self.dimensions]
    }

    /// For each vector the nearest centroid, the first of equally near ones, and the squared distance.
    fn assign(&self, centroids: &[f32]) -> Vec<(usize, f32)> {
        let nearest = |row: &[f32]| {
            let distances = centroids.chunks_exact(self.dimensions).map(|centroid| squared_distance(row, centroid));
            let closer = |best: (usize, f32), other: (usize, f32)| if other.1 < best.1 { other } else { best };
            distances.enumerate().fold((0, f32::INFINITY), closer)
        };
        self.values.par_chunks_exact(self.dimensions).with_min_len(CHUNK).map(nearest).collect()
    }

    /// The sum of the vectors of each cluster.
    fn sum(&self, labels: &[usize], clusters: usize) -> Vec<f64> {
        let of_chunk = |rows: Range<usize>| {
            let mut sums = vec![0.0; clusters * self.dimensions];
            for row in rows {
                let sum = &mut sums[labels[row] * self.dimensions..(labels[row] + 1) * self.dimensions];
                sum.iter_mut().zip(self.row(row)).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            sums
        };
        let chunk = CHUNK.max(self.count().div_ceil(PARTS));
        let chunks = (0..self.count()).into_par_iter().step_by(chunk);
        let parts: Vec<Vec<f64>> = chunks.map(|start| of_chunk(start..(start + chunk).min(self.count()))).collect();
        parts.into_iter().fold(vec![0.0; clusters * self.dimensions], |mut total, part| {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
            total
        })
    }

    /// The squared distance of each vector to one point.
    fn distances(&self, point: &[f32]) -> Vec<f32> {
        let rows = self.values.par_chunks_exact(self.dimensions).with_min_len(CHUNK);
        rows.map(|row| squared_distance(row, point)).collect()
    }
}

/// ‖a − b‖². Sixteen running sums, which the compiler keeps in vector registers.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn to_unit_length(values: &[f32], dimensions: usize) -> Vec<f32> {
    let mut values = values.to_vec();
    values.par_chunks_exact_mut(dimensions).for_each(|row| {
        let length = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
        }
    });
    values
}

/// Starting centroids: vectors drawn with a probability proportional to their squared distance to the
/// nearest one drawn before (Arthur and Vassilvitskii 2007), each the best of a few draws. Stops early
/// when every vector is a centroid.
fn plus_plus(vectors: &Vectors<'_>, clusters: usize, generator: &mut ChaCha8Rng) -> Vec<f32> {
    let candidates = 2 + (clusters as f64).ln() as usize;
    let first = vectors.row(generator.random_range(0..vectors.count()));
    let mut centroids = first.to_vec();
    let mut nearest = vectors.distances(first);
    while centroids.len() / vectors.dimensions < clusters {
        let total: f64 = nearest.iter().map(|distance| f64::from(*distance)).sum();
        if total == 0.0 {
            break;
        }
        let closer = |candidate: usize| -> (f64, usize, Vec<f32>) {
            let distances = vectors.distances(vectors.row(candidate));
            let both: Vec<f32> = nearest.iter().zip(distances).map(|(old, new)| old.min(new)).collect();
            (both.iter().map(|distance| f64::from(*distance)).sum(), candidate, both)
        };
        let mut best: Option<(f64, usize, Vec<f32>)> = None;
        for _ in 0..candidates {
            let other = closer(draw(&nearest, generator.random::<f64>() * total));
            if best.as_ref().is_none_or(|best| other.0 < best.0) {
                best = Some(other);
            }
        }
        let Some((_, chosen, both)) = best else { break };
        centroids.extend_from_slice(vectors.row(chosen));
        nearest = both;
    }
    centroids
}

/// The first index at which the running sum of `weights` exceeds `target`.
fn draw(weights: &[f32], target: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        sum += f64::from(*weight);
        last = index;
        if sum > target {
            break;
        }
    }
    last
}

/// Gives every cluster without members the vector that is farthest from its own centroid, unless that
/// vector lies on it or is alone in its cluster.
fn reseed_empty(nearest: &mut [(usize, f32)], clusters: usize) {
    let mut sizes = vec![0usize; clusters];
    nearest.iter().for_each(|(label, _)| sizes[*label] += 1);
    for empty in 0..clusters {
        if sizes[empty] > 0 {
            continue;
        }
        let movable = nearest.iter().enumerate().filter(|(_, (label, distance))| *distance > 0.0 && sizes[*label] > 1);
        let farther = |best: (usize, f32), (index, (_, distance)): (usize, &(usize, f32))| {
            if *distance > best.1 { (index, *distance) } else { best }
        };
        let (index, distance) = movable.fold((0, 0.0), farther);
        if distance > 0.0 {
            sizes[nearest[index].0] -= 1;
            sizes[empty] += 1;
            nearest[index] = (empty, 0.0);
        }
    }
}

/// The result with these centroids, without those that are nearest to no vector.
fn drop_empty(vectors: &Vectors<'_>, centroids: &[f32]) -> Clustering {
    let dimensions = vectors.dimensions;
    let nearest = vectors.assign(centroids);
    let mut used = vec![false; centroids.len() / dimensions];
    nearest.iter().for_each(|(label, _)| used[*label] = true);
    let new_label: Vec<usize> = used
        .iter()
        .scan(0, |next, used| {
            let label = *next;
            *next += usize::from(*used);
            Some(label)
        })
        .collect();
    Clustering {
        labels: nearest.iter().map(|(label, _)| new_label[*label]).collect(),
        centroids: centroids
            .chunks_exact(dimensions)
            .zip(&used)
            .filter(|(_, used)| **used)
            .flat_map(|(centroid, _)| centroid.iter().copied())
            .collect(),
        within_sum_of_squares: nearest.iter().map(|(_, distance)| f64::from(*distance)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::Rng as _;

    use super::*;

    const DEFAULTS: KMeans = KMeans { clusters: 3, spherical: false, restarts: 3, iterations: 100, seed: 0 };

    /// A sum of uniform numbers, near enough to a standard normal one.
    fn normal(generator: &mut ChaCha8Rng) -> f32 {
        (0..12).map(|_| generator.random::<f32>()).sum::<f32>() - 6.0
    }

    /// `count` vectors around each of `centres`.
    fn blobs(centres: &[[f32; 3]], count: usize, spread: f32) -> Vec<f32> {
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        let mut values = Vec::new();
        for _ in 0..count {
            for centre in centres {
                values.extend(centre.iter().map(|value| value + spread * normal(&mut generator)));
            }
        }
        values
    }

    #[test]
    fn separated_blobs_are_found_again() {
        let centres = [[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 5.0]];
        let values = blobs(&centres, 400, 0.5);
        let found = DEFAULTS.fit(&values, 3).unwrap();
        for index in 0..1200 {
            assert_eq!(found.labels[index], found.labels[index % 3]);
        }
        for (label, centre) in found.labels.iter().zip(centres) {
            assert!(squared_distance(&found.centroids[label * 3..label * 3 + 3], &centre) < 0.05);
        }
    }

    #[test]
    fn spherical_clusters_are_directions() {
        let mut values = Vec::new();
        for length in 1..50 {
            let length = length as f32;
            values.extend([length, 0.01 * length, 0.0, 0.0, length, 0.02 * length]);
        }
        let found = KMeans { clusters: 2, spherical: true, ..DEFAULTS }.fit(&values, 3).unwrap();
        assert!((0..98).all(|index| found.labels[index] == found.labels[index % 2]));
        let length = |row: &[f32]| row.iter().map(|value| value * value).sum::<f32>();
        assert!(found.centroids.chunks(3).all(|row| (length(row) - 1.0).abs() < 1e-5));
        assert!(found.within_sum_of_squares < 1e-6);
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let values = blobs(&[[0.0; 3], [1.0; 3]], 2000, 1.0);
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| KMeans { clusters: 7, ..DEFAULTS }.fit(&values, 3).unwrap())
        };
        assert_eq!(fit(1), fit(5));
    }

    #[test]
    fn vectors_that_are_not_finite_are_named() {
        let error = DEFAULTS.fit(&[0.0, 1.0, f32::NAN, 1.0, 2.0, f32::INFINITY], 2).unwrap_err();
        assert_eq!(error, KMeansError::NotFinite { rows: vec![1, 2] });
        assert_eq!(DEFAULTS.fit(&[], 2).unwrap_err(), KMeansError::Empty);
    }

    #[test]
    fn a_cluster_that_is_left_alone_takes_the_farthest_vector() {
        let mut nearest = vec![(0, 1.0), (0, 4.0), (2, 9.0), (0, 2.0)];
        reseed_empty(&mut nearest, 4);
        assert_eq!(nearest, [(0, 1.0), (1, 0.0), (2, 9.0), (3, 0.0)]);
    }

    proptest! {
        #[test]
        fn more_iterations_never_make_it_worse(
            values in prop::collection::vec(-5.0f32..5.0, 40..120),
            clusters in 1usize..6,
            spherical: bool,
            seed: u64,
        ) {
            let values = &values[..values.len() / 4 * 4];
            let mut before = f64::INFINITY;
            for iterations in 1..8 {
                let found = KMeans { clusters, spherical, restarts: 1, iterations, seed }.fit(values, 4).unwrap();
                prop_assert!(found.within_sum_of_squares <= before * (1.0 + 1e-5) + 1e-6);
                before = found.within_sum_of_squares;
            }
        }

        #[test]
        fn every_cluster_has_members_and_labels_are_below_their_number(
            distinct in prop::collection::vec(0u8..4, 1..30),
            clusters in 1usize..12,
        ) {
            let values: Vec<f32> = distinct.iter().map(|value| f32::from(*value)).collect();
            let found = KMeans { clusters, ..DEFAULTS }.fit(&values, 1).unwrap();
            let mut kinds = distinct.clone();
            kinds.sort_unstable();
            kinds.dedup();
            prop_assert_eq!(found.centroids.len(), clusters.min(kinds.len()));
            prop_assert!((0..found.centroids.len()).all(|cluster| found.labels.contains(&cluster)));
            if clusters >= kinds.len() {
                prop_assert_eq!(found.within_sum_of_squares, 0.0);
            }
        }
    }
}
