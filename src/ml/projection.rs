//! Random projections that are never stored: every element of the matrix is a function of the seed, its
//! row and its column alone.
//!
//! The elements are ±1/√dimensions with equal probability (Achlioptas 2003), so that inner products are
//! kept on average, with the variance (‖x‖²‖y‖² + ⟨x,y⟩² − 2·Σxᵢ²yᵢ²) / dimensions. Rows belong to what is
//! projected, columns to what comes out. Unaware of where the products are computed.

use std::ops::Range;

use rayon::prelude::*;

/// A matrix of `dimensions` columns and as many rows as needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Matrices of different seeds are independent.
    pub seed: u64,
    /// Length of a projected vector.
    pub dimensions: usize,
}

/// Step of the counter of SplitMix64 (Steele, Lea and Flood 2014): 2⁶⁴ over the golden ratio, odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Columns whose signs are the bits of one word.
pub const WORD: usize = 64;

impl Projection {
    /// These rows of the matrix, row-major `[rows, dimensions]`.
    pub fn block(&self, rows: Range<usize>) -> Vec<f32> {
        let runs = self.runs();
        let mut values = vec![0.0; rows.len() * self.dimensions];
        values.par_chunks_exact_mut(self.dimensions.max(1)).with_min_len(64).zip(rows).for_each(|(values, row)| {
            for (bits, values) in self.words(row).zip(values.chunks_mut(WORD)) {
                for (byte, values) in bits.to_le_bytes().into_iter().zip(values.chunks_mut(8)) {
                    values.copy_from_slice(&runs[usize::from(byte)][..values.len()]);
                }
            }
        });
        values
    }

    /// The signs of these rows, row by row in words of 64 columns: a set bit is a minus, the lowest one
    /// comes first.
    pub fn signs(&self, rows: Range<usize>) -> Vec<u64> {
        rows.into_par_iter().flat_map_iter(|row| self.words(row)).collect()
    }

    fn words(&self, row: usize) -> impl Iterator<Item = u64> + use<> {
        let key = mix(mix(self.seed.wrapping_add(STEP)) ^ mix(row as u64));
        (0..self.dimensions.div_ceil(WORD)).map(move |word| mix(key.wrapping_add(STEP.wrapping_mul(word as u64 + 1))))
    }

    /// The eight elements that each byte stands for: a set bit is a minus, the lowest one comes first.
    fn runs(&self) -> Vec<[f32; 8]> {
        let magnitude = (1.0 / (self.dimensions as f64).sqrt()) as f32;
        let element = |byte: usize, bit: usize| if byte >> bit & 1 == 1 { -magnitude } else { magnitude };
        (0..256).map(|byte| std::array::from_fn(|bit| element(byte, bit))).collect()
    }
}

/// The output function of SplitMix64: a bijection in which every bit depends on every other.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn project(projection: &Projection, vector: &[f64]) -> Vec<f64> {
        let block = projection.block(0..vector.len());
        let mut projected = vec![0.0; projection.dimensions];
        for (value, row) in vector.iter().zip(block.chunks_exact(projection.dimensions)) {
            projected.iter_mut().zip(row).for_each(|(sum, element)| *sum += value * f64::from(*element));
        }
        projected
    }

    fn inner(x: &[f64], y: &[f64]) -> f64 {
        x.iter().zip(y).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn the_matrix_is_the_same_forever() {
        let signs = |seed, rows| -> String {
            let block = Projection { seed, dimensions: 16 }.block(rows);
            block.iter().map(|value| if *value > 0.0 { '+' } else { '-' }).collect()
        };
        insta::assert_snapshot!(signs(0, 0..2), @"++--+----+-+++++++--+--+-+---+++");
        insta::assert_snapshot!(signs(1, 1_000_000_000_000..1_000_000_000_002), @"-++-+--++-+----+----+-+++-+-----");
    }

    #[test]
    fn signs_are_balanced_in_rows_columns_and_between_seeds() {
        let (rows, dimensions) = (512, 512);
        let projection = Projection { seed: 3, dimensions };
        let block = projection.block(0..rows);
        let magnitude = 1.0 / (dimensions as f32).sqrt();
        assert!(block.iter().all(|value| value.abs() == magnitude));
        // Each of these sums is approximately normal with a variance of its number of terms; six
        // standard deviations are allowed.
        let limit = |terms: usize| 6.0 * (terms as f32).sqrt() * magnitude;
        assert!(block.iter().sum::<f32>().abs() < limit(rows * dimensions));
        for row in block.chunks_exact(dimensions) {
            assert!(row.iter().sum::<f32>().abs() < limit(dimensions));
        }
        for column in 0..dimensions {
            let sum: f32 = block.iter().skip(column).step_by(dimensions).sum();
            assert!(sum.abs() < limit(rows));
        }
        let other = Projection { seed: 4, dimensions }.block(0..rows);
        let agreement: f32 = block.iter().zip(&other).map(|(a, b)| a * b / magnitude).sum();
        assert!(agreement.abs() < limit(rows * dimensions));
    }

    #[test]
    fn inner_products_have_the_mean_and_the_variance_of_the_theory() {
        let (length, dimensions, seeds) = (40, 64, 2000);
        let x: Vec<f64> = (0..length).map(|index| f64::from(index * 7 % 11) - 4.0).collect();
        let y: Vec<f64> = (0..length).map(|index| f64::from(index * 5 % 13) - 6.5).collect();
        let products: Vec<f64> = (0..seeds)
            .map(|seed| {
                let projection = Projection { seed, dimensions };
                inner(&project(&projection, &x), &project(&projection, &y))
            })
            .collect();
        let mean = products.iter().sum::<f64>() / seeds as f64;
        let variance = products.iter().map(|product| (product - mean).powi(2)).sum::<f64>() / (seeds - 1) as f64;
        let fourth: f64 = x.iter().zip(&y).map(|(x, y)| x * x * y * y).sum();
        let expected = (inner(&x, &x) * inner(&y, &y) + inner(&x, &y).powi(2) - 2.0 * fourth) / dimensions as f64;
        assert!((mean - inner(&x, &y)).abs() < 5.0 * (expected / seeds as f64).sqrt(), "mean {mean}");
        assert!((variance / expected - 1.0).abs() < 0.2, "variance {variance}, expected {expected}");
    }

    proptest! {
        #[test]
        fn blocks_fit_together(seed: u64, dimensions in 1usize..200, cut in 0usize..50, start in 0usize..1000) {
            let projection = Projection { seed, dimensions };
            let whole = projection.block(start..start + 50);
            let mut parts = projection.block(start..start + cut);
            parts.extend(projection.block(start + cut..start + 50));
            prop_assert_eq!(whole, parts);
        }
    }
}
