//! Maps of vectors in the plane, for people to look at.
//!
//! Both maps are the same on every machine up to rounding, and need no seed: [`principal`] starts from a
//! fixed matrix, and [`neighbours`] (t-SNE) from the principal components, which keeps the large distances
//! and makes it reproducible (Kobak and Berens 2019).

use rayon::prelude::*;

/// A point of a map.
pub type Point = [f64; 2];

/// The first two principal components of vectors in rows of `dimensions`, by simultaneous iteration on
/// their covariance. Each points to where its largest value is positive. `explained` is the share of the
/// variance that each has.
pub struct Principal {
    /// A point per row.
    pub points: Vec<Point>,
    /// The share of the variance along each axis.
    pub explained: [f64; 2],
}

/// Iterations of the principal components: enough for pictures even where the third is nearly as large.
const ITERATIONS: usize = 60;

/// See [`Principal`].
pub fn principal(values: &[f32], dimensions: usize) -> Principal {
    let count = values.len().checked_div(dimensions).unwrap_or(0);
    if count == 0 {
        return Principal { points: Vec::new(), explained: [0.0; 2] };
    }
    let mut mean = vec![0.0f64; dimensions];
    for row in values.chunks_exact(dimensions) {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    mean.iter_mut().for_each(|sum| *sum /= count as f64);
    let centred: Vec<Vec<f64>> = values
        .par_chunks_exact(dimensions)
        .map(|row| row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean).collect())
        .collect();
    let total: f64 = centred.iter().flatten().map(|value| value * value).sum();
    // Four directions of a fixed pattern; the two spare ones speed up the first two.
    const DIRECTIONS: usize = 4;
    let pattern = |direction: usize, place: usize| ((place * (2 * direction + 3) + direction) as f64 * 0.7391).sin();
    let mut axes: Vec<Vec<f64>> =
        (0..DIRECTIONS).map(|direction| (0..dimensions).map(|place| pattern(direction, place)).collect()).collect();
    orthonormalise(&mut axes);
    for _ in 0..ITERATIONS {
        let projected: Vec<[f64; DIRECTIONS]> =
            centred.par_iter().map(|row| std::array::from_fn(|axis| dot(row, &axes[axis]))).collect();
        axes.par_iter_mut().enumerate().for_each(|(axis, direction)| {
            direction.iter_mut().for_each(|value| *value = 0.0);
            for (row, shares) in centred.iter().zip(&projected) {
                direction.iter_mut().zip(row).for_each(|(sum, value)| *sum += shares[axis] * value);
            }
        });
        orthonormalise(&mut axes);
    }
    let mut points: Vec<Point> = centred.iter().map(|row| [dot(row, &axes[0]), dot(row, &axes[1])]).collect();
    for axis in 0..2 {
        let largest = points.iter().map(|point| point[axis]).max_by(|left, right| left.abs().total_cmp(&right.abs()));
        if largest.is_some_and(|largest| largest < 0.0) {
            points.iter_mut().for_each(|point| point[axis] = -point[axis]);
        }
    }
    let share = |axis: usize| {
        let along: f64 = points.iter().map(|point| point[axis] * point[axis]).sum();
        if total > 0.0 { along / total } else { 0.0 }
    };
    Principal { explained: [share(0), share(1)], points }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// Makes vectors orthogonal and of length one, the first ones first; one that depends on those before it
/// becomes zero.
fn orthonormalise(vectors: &mut [Vec<f64>]) {
    for place in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(place);
        let vector = &mut rest[0];
        let length = dot(vector, vector).sqrt();
        for other in before.iter() {
            let along = dot(vector, other);
            vector.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
        }
        let left = dot(vector, vector).sqrt();
        let scale = if left > 1e-12 * length.max(1e-300) { 1.0 / left } else { 0.0 };
        vector.iter_mut().for_each(|value| *value *= scale);
    }
}

/// Effective number of neighbours of t-SNE.
const PERPLEXITY: f64 = 30.0;
/// Iterations, and how many of them exaggerate what is near.
const STEPS: (usize, usize) = (750, 250);
/// By how much.
const EXAGGERATION: f64 = 12.0;

/// t-SNE (van der Maaten and Hinton 2008) of vectors in rows, exact, started from `start`: perplexity 30,
/// 250 of 750 iterations with exaggeration 12, learning rate n / 12 but at least 50.
pub fn neighbours(values: &[f32], dimensions: usize, start: &[Point]) -> Vec<Point> {
    let count = start.len();
    if count < 4 {
        return start.to_vec();
    }
    let rows: Vec<&[f32]> = values.chunks_exact(dimensions).collect();
    let affinity = affinities(&rows);
    // As small as the first steps of a random start would be.
    let spread = (start.iter().map(|point| point[0] * point[0]).sum::<f64>() / count as f64).sqrt();
    let scale = if spread > 0.0 { 1e-4 / spread } else { 0.0 };
    let mut points: Vec<Point> = start.iter().map(|point| [point[0] * scale, point[1] * scale]).collect();
    let mut speed = vec![[0.0f64; 2]; count];
    let mut gains = vec![[1.0f64; 2]; count];
    let rate = (count as f64 / EXAGGERATION).max(50.0);
    for step in 0..STEPS.0 {
        let (exaggeration, momentum) = if step < STEPS.1 { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
        let near = |from: &Point, to: &Point| {
            let (right, up) = (from[0] - to[0], from[1] - to[1]);
            1.0 / (1.0 + right * right + up * up)
        };
        // Each row is summed by one thread in its order, and rows in theirs: the same on any machine.
        let row_sums: Vec<f64> =
            points.par_iter().map(|from| points.iter().map(|to| near(from, to)).sum::<f64>() - 1.0).collect();
        let total = row_sums.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let forces: Vec<Point> = points
            .par_iter()
            .enumerate()
            .map(|(place, from)| {
                let mut force = [0.0; 2];
                for (other, to) in points.iter().enumerate() {
                    let near = near(from, to);
                    let pull = exaggeration * affinity[place * count + other] - near / total;
                    force[0] += 4.0 * pull * near * (from[0] - to[0]);
                    force[1] += 4.0 * pull * near * (from[1] - to[1]);
                }
                force
            })
            .collect();
        for place in 0..count {
            for axis in 0..2 {
                let (force, gain) = (forces[place][axis], &mut gains[place][axis]);
                *gain = if (force > 0.0) == (speed[place][axis] > 0.0) { (*gain * 0.8).max(0.01) } else { *gain + 0.2 };
                speed[place][axis] = momentum * speed[place][axis] - rate * *gain * force;
                points[place][axis] += speed[place][axis];
            }
        }
        let middle = [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f64>() / count as f64);
        points.iter_mut().for_each(|point| *point = [point[0] - middle[0], point[1] - middle[1]]);
    }
    points
}

/// Symmetric neighbourhoods: for each pair, the chance that one would choose the other, with a width for
/// each sample that gives it [`PERPLEXITY`] neighbours.
fn affinities(rows: &[&[f32]]) -> Vec<f64> {
    let count = rows.len();
    let wanted = PERPLEXITY.min((count - 1) as f64 / 3.0).max(1.0).ln();
    let conditional: Vec<Vec<f64>> = (0..count)
        .into_par_iter()
        .map(|place| {
            let distance = |other: &&[f32]| -> f64 {
                rows[place].iter().zip(*other).map(|(left, right)| f64::from(left - right).powi(2)).sum()
            };
            let distances: Vec<f64> = rows.iter().map(distance).collect();
            let nearest = distances.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, far)| *far);
            let nearest = nearest.fold(f64::INFINITY, f64::min);
            let mean = distances.iter().sum::<f64>() / (count - 1) as f64;
            let (mut low, mut high, mut precision) = (0.0f64, f64::INFINITY, 1.0 / mean.max(1e-300));
            let mut shares = vec![0.0; count];
            for _ in 0..60 {
                let weight = |(other, far): (usize, &f64)| match other == place {
                    true => 0.0,
                    false => (-(far - nearest) * precision).exp(),
                };
                shares = distances.iter().enumerate().map(weight).collect();
                let sum: f64 = shares.iter().sum();
                shares.iter_mut().for_each(|share| *share /= sum);
                let entropy: f64 = shares.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum();
                if (entropy - wanted).abs() < 1e-5 {
                    break;
                }
                if entropy > wanted {
                    low = precision
                } else {
                    high = precision
                }
                precision = if high.is_finite() { (low + high) / 2.0 } else { precision * 2.0 };
            }
            shares
        })
        .collect();
    let mut affinity = vec![0.0; count * count];
    for (place, shares) in conditional.iter().enumerate() {
        for (other, share) in shares.iter().enumerate() {
            affinity[place * count + other] = (share + conditional[other][place]) / (2.0 * count as f64);
        }
    }
    affinity
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::random::Draws;

    /// Samples of three blobs in eight dimensions, a third of each.
    fn blobs(count: usize) -> Vec<f32> {
        let mut draws = Draws::new(0, "blobs of a test");
        let mut noise = || draws.below(1000) as f32 / 1000.0 - 0.5;
        let row = |sample: usize| {
            let mut row = [0.0f32; 8];
            row.iter_mut().for_each(|value| *value = noise());
            row[sample % 3] += [6.0, 4.0, 2.5][sample % 3];
            row
        };
        (0..count).flat_map(row).collect()
    }

    /// The share of samples whose nearest other sample is of the same blob.
    fn kept(points: &[Point]) -> f64 {
        let far = |left: &Point, right: &Point| (left[0] - right[0]).powi(2) + (left[1] - right[1]).powi(2);
        let same = |place: &usize| {
            let others = (0..points.len()).filter(|other| other != place);
            let nearest = others.min_by(|left, right| {
                far(&points[*left], &points[*place]).total_cmp(&far(&points[*right], &points[*place]))
            });
            nearest.unwrap() % 3 == place % 3
        };
        (0..points.len()).filter(same).count() as f64 / points.len() as f64
    }

    #[test]
    fn principal_components_are_the_directions_of_most_variance() {
        // Rows along (3, 4) / 5 with a little across.
        let values: Vec<f32> = [-2.0f32, -1.0, 0.0, 1.0, 2.0]
            .iter()
            .flat_map(|along| [0.6 * along - 0.8 * 0.1 * along.abs(), 0.8 * along + 0.6 * 0.1 * along.abs(), 7.0])
            .collect();
        let map = principal(&values, 3);
        let expected = [-2.0, -1.0, 0.0, 1.0, 2.0];
        for (point, along) in map.points.iter().zip(expected) {
            assert!((point[0].abs() - f64::abs(along)).abs() < 1e-5, "{point:?}");
        }
        assert!(map.explained[0] > 0.99 && map.explained[0] + map.explained[1] > 0.999_999);
        assert_eq!(principal(&[], 3).points, Vec::<Point>::new());
    }

    #[test]
    fn maps_keep_blobs_apart() {
        let values = blobs(150);
        let flat = principal(&values, 8);
        assert!(kept(&flat.points) > 0.98);
        let map = neighbours(&values, 8, &flat.points);
        assert!(kept(&map) > 0.98);
        assert_eq!(map, neighbours(&values, 8, &flat.points));
        assert!(map.iter().flatten().all(|value| value.is_finite()));
    }
}
