//! Budgets as the authors' code weighs and rounds them. The shares may sum to a little more or less than the
//! budget, and where that code divides by zero there is no result.

use crate::selection::vectors::squared_distance;

/// The density weight of every cluster in the authors' code (`get_dbp_probs`): `d_inter · d_intra`, where
/// `d_inter` is the Frobenius norm of the differences between its centroid and all others, and
/// `d_intra` the mean distance of its members to its centroid. Sparse clusters far from the others
/// weigh most.
///
/// Density-based pruning as published ([`super::density`]) takes cosine distances to the 20 nearest
/// centroids and a softmax of the product, and is made for hundreds of clusters; over ten or so every
/// centroid is near and the linear weight needs no temperature. The authors round every share down and
/// give clusters more than they have ([`proportional`]); [`super::weighted`] settles that.
///
/// `centroids` is row-major `[clusters, dimensions]`, `rows` yields each sample's vector with its
/// cluster.
pub fn density<'a>(
    centroids: &[f32],
    dimensions: usize,
    rows: impl IntoIterator<Item = (usize, &'a [f32])>,
) -> Vec<f64> {
    let centroids: Vec<&[f32]> = centroids.chunks_exact(dimensions.max(1)).collect();
    let mut distances = vec![0.0; centroids.len()];
    let mut members = vec![0usize; centroids.len()];
    for (cluster, row) in rows {
        distances[cluster] += squared_distance(row, centroids[cluster]).sqrt();
        members[cluster] += 1;
    }
    let weight = |cluster: usize| {
        let inter: f64 = centroids.iter().map(|other| squared_distance(centroids[cluster], other)).sum();
        inter.sqrt() * distances[cluster] / members[cluster].max(1) as f64
    };
    (0..centroids.len()).map(weight).collect()
}

/// Equal shares, rounded up; a smaller cluster raises the share of those after it, rounded up
/// again. None close to and above the number of samples, where the largest cluster is smaller
/// than its share.
pub fn uniform(sizes: &[usize], budget: usize) -> Option<Vec<usize>> {
    let count = sizes.len();
    let mut share = budget.div_ceil(count.max(1));
    let smallest = sizes.iter().min().copied().unwrap_or(0);
    if smallest * count >= budget {
        return Some(vec![share; count]);
    }
    let mut shares = vec![0; count];
    for (rank, cluster) in smallest_first(sizes).into_iter().enumerate() {
        if sizes[cluster] >= share {
            shares[cluster] = share;
            continue;
        }
        shares[cluster] = sizes[cluster];
        let later = count - rank - 1;
        if later == 0 {
            return None;
        }
        share += (share - sizes[cluster]).div_ceil(later);
    }
    Some(shares)
}

/// Shares in proportion to the weights, rounded down; what a full cluster cannot take is split
/// equally over the larger ones. None without any weight.
pub fn weighted(sizes: &[usize], weights: &[f64], budget: usize) -> Option<Vec<usize>> {
    let mut shares = weights.to_vec();
    let mut counts = proportional(weights, budget)?;
    let total: f64 = weights.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total);
    let order = smallest_first(sizes);
    for (rank, cluster) in order.iter().copied().enumerate() {
        if sizes[cluster] >= counts[cluster] {
            continue;
        }
        let larger = &order[rank + 1..];
        let surplus = shares[cluster] - sizes[cluster] as f64 / budget as f64;
        for other in larger {
            shares[*other] += surplus / larger.len() as f64;
            counts[*other] = (shares[*other] * budget as f64) as usize;
        }
        counts[cluster] = sizes[cluster];
    }
    Some(counts)
}

/// Shares in proportion to the weights, rounded down, whatever the clusters have. None without any
/// weight.
pub fn proportional(weights: &[f64], budget: usize) -> Option<Vec<usize>> {
    let total: f64 = weights.iter().sum();
    let share = |weight: &f64| (weight / total * budget as f64) as usize;
    (total > 0.0).then(|| weights.iter().map(share).collect())
}

fn smallest_first(sizes: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|cluster| sizes[*cluster]);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `assign_budget_to_cluster` returns.
    #[test]
    fn equal_shares_are_those_of_the_authors_code() {
        assert_eq!(uniform(&[5, 10, 1000, 2000], 1000).unwrap(), [5, 10, 493, 493]);
        assert_eq!(uniform(&[3, 3, 3, 3], 6).unwrap(), [2, 2, 2, 2]);
        assert_eq!(uniform(&[100, 200, 300, 400], 500).unwrap(), [100, 134, 134, 134]);
        assert_eq!(uniform(&[7, 50, 50, 50], 100).unwrap(), [7, 31, 31, 31]);
        let sizes = [50000, 1200, 90000, 300, 20000, 700, 45000, 8000, 2500, 60000];
        let expected = [3386, 1200, 3386, 300, 3386, 700, 3386, 3386, 2500, 3386];
        assert_eq!(uniform(&sizes, 25000).unwrap(), expected);
    }

    #[test]
    fn near_the_size_of_the_pool_the_authors_code_divides_by_zero() {
        for budget in [9, 10, 11] {
            assert_eq!(uniform(&[1, 2, 3, 4], budget), None);
        }
        assert_eq!(uniform(&[10, 10, 10], 31), None);
    }

    #[test]
    fn density_weights_are_those_of_the_authors() {
        let centroids = [0.0, 0.0, 3.0, 0.0, 0.0, 4.0];
        let points: [(usize, [f32; 2]); 6] =
            [(0, [0.0, 1.0]), (0, [0.0, -1.0]), (1, [3.0, 1.0]), (1, [3.0, 0.0]), (2, [0.0, 4.0]), (2, [0.0, 6.0])];
        let weights = density(&centroids, 2, points.iter().map(|(cluster, point)| (*cluster, point.as_slice())));
        let total: f64 = weights.iter().sum();
        for (weight, expected) in weights.iter().zip([0.3491961460, 0.2036145929, 0.4471892612]) {
            assert!((weight / total - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn weighted_shares_lose_what_the_authors_code_loses() {
        assert_eq!(weighted(&[2, 2, 2], &[0.5, 1.0, 2.0], 6).unwrap(), [0, 1, 2]);
        assert_eq!(weighted(&[2, 2, 2], &[0.5, 1.0, 2.0], 12).unwrap(), [1, 2, 2]);
        assert_eq!(weighted(&[2, 2], &[0.0, 0.0], 2), None);
        assert_eq!(proportional(&[1.0, 2.0], 100).unwrap(), [33, 66]);
    }
}
