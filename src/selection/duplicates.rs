//! Semantic duplicates (SemDeDup, Abbas et al. 2023) removed down to a budget.

use rayon::prelude::*;

/// The order in which samples are compared: each with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By the distance of their directions to the mean direction, farthest first, so that of two
    /// duplicates the less typical is kept. Does not depend on the order of the samples.
    FarthestFirst,
    /// As given, with similarities below 0 counted as 0, as in the authors' code.
    AsGiven,
}

/// The `budget` least redundant of `rows`, as ascending indices. The redundancy of a row is its
/// largest cosine similarity to a row before it in `order`; of equally redundant rows the earlier
/// is kept. A row of zeros is similar to nothing. Components must be numbers.
pub fn keep(rows: &[&[f32]], budget: usize, order: Order) -> Vec<usize> {
    if budget >= rows.len() {
        return (0..rows.len()).collect();
    }
    let scales: Vec<f32> = rows.iter().map(|row| inverse_norm(row)).collect();
    let mut compared: Vec<usize> = (0..rows.len()).collect();
    if order == Order::FarthestFirst {
        let typical = typicality(rows, &scales);
        compared.sort_by(|left, right| typical[*left].total_cmp(&typical[*right]));
    }
    let ordered: Vec<&[f32]> = compared.iter().map(|index| rows[*index]).collect();
    let scales: Vec<f32> = compared.iter().map(|index| scales[*index]).collect();
    let mut redundancy = redundancy(&ordered, &scales);
    if order == Order::AsGiven {
        redundancy.iter_mut().for_each(|similarity| *similarity = similarity.max(0.0));
    }
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.sort_by(|left, right| redundancy[*left].total_cmp(&redundancy[*right]));
    let mut kept: Vec<usize> = places[..budget].iter().map(|place| compared[*place]).collect();
    kept.sort_unstable();
    kept
}

/// For every row its largest cosine similarity to a row before it, -1 for the first; `scales` are
/// the inverse norms. In parallel over tiles of rows: beside the result, no memory that grows with
/// the number of rows, and every number the same for any number of threads.
fn redundancy(rows: &[&[f32]], scales: &[f32]) -> Vec<f32> {
    let dimensions = rows.first().map_or(0, |row| row.len());
    // A tile that stays in the cache while all earlier rows stream by.
    let tile = (65_536 / dimensions.max(1)).clamp(4, 64);
    let mut largest = vec![-1.0f32; rows.len()];
    largest.par_chunks_mut(tile).enumerate().for_each(|(number, largest)| {
        let start = number * tile;
        for earlier in 0..start + largest.len() - 1 {
            let first = (earlier + 1).saturating_sub(start);
            for block in (first..largest.len()).step_by(4) {
                let later = |lane: usize| start + (block + lane).min(largest.len() - 1);
                let products = dots(rows[earlier], std::array::from_fn(|lane| rows[later(lane)]));
                for (lane, product) in products.into_iter().enumerate().take(largest.len() - block) {
                    let similarity = product * (scales[earlier] * scales[start + block + lane]);
                    largest[block + lane] = largest[block + lane].max(similarity);
                }
            }
        }
    });
    largest
}

/// The products of one row with four others, each summed in eight lanes that compile to vector
/// instructions.
fn dots(row: &[f32], others: [&[f32]; 4]) -> [f32; 4] {
    const LANES: usize = 8;
    let whole = row.len() - row.len() % LANES;
    let mut sums = [[0.0f32; LANES]; 4];
    for start in (0..whole).step_by(LANES) {
        let left = &row[start..start + LANES];
        for (sums, other) in sums.iter_mut().zip(others) {
            let right = &other[start..start + LANES];
            for lane in 0..LANES {
                sums[lane] += left[lane] * right[lane];
            }
        }
    }
    std::array::from_fn(|which| {
        let rest: f32 = row[whole..].iter().zip(&others[which][whole..]).map(|(left, right)| left * right).sum();
        sums[which].iter().sum::<f32>() + rest
    })
}

fn inverse_norm(row: &[f32]) -> f32 {
    let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 { (1.0 / norm) as f32 } else { 0.0 }
}

/// The product of every row's direction with the mean direction. Directions have equal length, so
/// the smallest product is the farthest from the mean.
fn typicality(rows: &[&[f32]], scales: &[f32]) -> Vec<f64> {
    let mut mean = vec![0.0f64; rows.first().map_or(0, |row| row.len())];
    for (row, scale) in rows.iter().zip(scales) {
        for (sum, value) in mean.iter_mut().zip(*row) {
            *sum += f64::from(value * scale);
        }
    }
    let product = |row: &[f32], scale: f32| -> f64 {
        row.iter().zip(&mean).map(|(value, mean)| f64::from(value * scale) * mean).sum()
    };
    rows.par_iter().zip(scales).map(|(row, scale)| product(row, *scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::random::Draws;
    use proptest::prelude::*;

    const POINTS: [[f32; 2]; 6] = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 1.0], [-1.0, 0.0]];

    fn slices<const N: usize>(rows: &[[f32; N]]) -> Vec<&[f32]> {
        rows.iter().map(|row| row.as_slice()).collect()
    }

    /// What `semdedup` returns.
    #[test]
    fn in_the_given_order_the_authors_choice_is_made() {
        let rows = slices(&POINTS);
        let scales: Vec<f32> = rows.iter().map(|row| inverse_norm(row)).collect();
        let expected = [-1.0, 0.995_037_14, 0.099_503_72, 0.995_037_14, 0.773_957_25, 0.0];
        for (redundancy, expected) in redundancy(&rows, &scales).into_iter().zip(expected) {
            assert!((redundancy - expected).abs() < 1e-6, "{redundancy} for {expected}");
        }
        assert_eq!(keep(&rows, 1, Order::AsGiven), [0]);
        assert_eq!(keep(&rows, 3, Order::AsGiven), [0, 2, 5]);
        assert_eq!(keep(&rows, 5, Order::AsGiven), [0, 1, 2, 4, 5]);
        let permuted = [4, 0, 1, 2, 3, 5].map(|index: usize| POINTS[index]);
        let kept: Vec<[f32; 2]> =
            keep(&slices(&permuted), 3, Order::AsGiven).into_iter().map(|index| permuted[index]).collect();
        assert_eq!(kept, [POINTS[4], POINTS[0], POINTS[5]]);
    }

    #[test]
    fn of_two_duplicates_one_goes_first() {
        let rows = [[1.0, 0.0, 0.0f32], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        let kept = keep(&slices(&rows), 3, Order::FarthestFirst);
        assert_eq!(kept.iter().filter(|index| **index % 2 == 0).count(), 1, "{kept:?}");
        assert!(kept.contains(&1) && kept.contains(&3));
    }

    #[test]
    fn rows_of_zeros_are_no_duplicates() {
        let rows = [[0.0, 0.0f32], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]];
        assert_eq!(keep(&slices(&rows), 3, Order::FarthestFirst), [0, 1, 2]);
    }

    fn random_rows(count: usize, dimensions: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut draws = Draws::new(seed, "rows");
        (0..count).map(|_| (0..dimensions).map(|_| draws.below(2001) as f32 / 1000.0 - 1.0).collect()).collect()
    }

    #[test]
    fn tiles_find_what_a_plain_loop_finds_on_any_number_of_threads() {
        let rows = random_rows(150, 19, 0);
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let scales: Vec<f32> = rows.iter().map(|row| inverse_norm(row)).collect();
        let tiled = redundancy(&rows, &scales);
        for later in 0..rows.len() {
            let cosine = |earlier: usize| {
                let product: f64 =
                    rows[earlier].iter().zip(rows[later]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                product * f64::from(scales[earlier]) * f64::from(scales[later])
            };
            let plain = (0..later).map(cosine).fold(-1.0, f64::max);
            assert!((f64::from(tiled[later]) - plain).abs() < 1e-5);
        }
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| redundancy(&rows, &scales)), tiled);
    }

    proptest! {
        #[test]
        fn farthest_first_does_not_depend_on_the_order_of_the_samples(seed in 0u64..50, budget in 1usize..60) {
            let rows = random_rows(60, 9, seed);
            let mut order: Vec<usize> = (0..rows.len()).collect();
            Draws::new(seed, "order").shuffle(&mut order);
            let plain: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let moved: Vec<&[f32]> = order.iter().map(|index| plain[*index]).collect();
            let mut back: Vec<usize> =
                keep(&moved, budget, Order::FarthestFirst).into_iter().map(|index| order[index]).collect();
            back.sort_unstable();
            prop_assert_eq!(keep(&plain, budget, Order::FarthestFirst), back);
        }
    }
}
