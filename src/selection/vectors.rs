//! Directions of vectors: what cosine similarities and distances are made of.

use rayon::prelude::*;

/// 1 / ‖row‖; 0 for a row of zeros, which makes it similar to nothing.
pub(super) fn inverse_norm(row: &[f32]) -> f64 {
    let norm = dot(row, row).sqrt();
    if norm > 0.0 { 1.0 / norm } else { 0.0 }
}

/// The product of two vectors, summed in f64.
pub(super) fn dot(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
}

/// The cosine similarity of two vectors; 0 where one has no direction.
pub(super) fn cosine(left: &[f32], right: &[f32]) -> f64 {
    dot(left, right) * inverse_norm(left) * inverse_norm(right)
}

/// ‖left − right‖². Eight running sums, which the compiler keeps in vector registers.
pub(super) fn squared_distance(left: &[f32], right: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0f64; LANES];
    let (lefts, rights) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let square = |left: f32, right: f32| (f64::from(left) - f64::from(right)).powi(2);
    let rest: f64 = lefts.remainder().iter().zip(rights.remainder()).map(|(left, right)| square(*left, *right)).sum();
    for (left, right) in lefts.zip(rights) {
        for lane in 0..LANES {
            sums[lane] += square(left[lane], right[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The product of every row's direction with the mean of all directions. Directions have equal
/// length, so that the smallest product is the farthest from the mean: it is the order of cosine
/// distances to the centroid that spherical k-means gives these rows.
pub fn typicality(rows: &[&[f32]]) -> Vec<f64> {
    let scales: Vec<f32> = rows.iter().map(|row| inverse_norm(row) as f32).collect();
    let mut mean = vec![0.0f64; rows.first().map_or(0, |row| row.len())];
    for (row, scale) in rows.iter().zip(&scales) {
        for (sum, value) in mean.iter_mut().zip(*row) {
            *sum += f64::from(value * scale);
        }
    }
    let product = |row: &[f32], scale: f32| -> f64 {
        row.iter().zip(&mean).map(|(value, mean)| f64::from(value * scale) * mean).sum()
    };
    rows.par_iter().zip(&scales).map(|(row, scale)| product(row, *scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_know_directions_only() {
        assert!((cosine(&[3.0, 0.0], &[1.0, 1.0]) - 0.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), 0.0);
    }

    #[test]
    fn distances_of_any_length_are_whole() {
        let (left, right): (Vec<f32>, Vec<f32>) = ((0..19).map(|x| x as f32).collect(), vec![1.0; 19]);
        assert_eq!(squared_distance(&left, &right), (0..19).map(|x| (f64::from(x) - 1.0).powi(2)).sum::<f64>());
    }

    #[test]
    fn the_odd_one_out_is_least_typical() {
        let rows: [&[f32]; 4] = [&[1.0, 0.0], &[5.0, 0.5], &[-1.0, 1.0], &[2.0, 0.1]];
        let typical = typicality(&rows);
        assert_eq!(super::super::ascending(&typical)[0], 2);
    }
}
