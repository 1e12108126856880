//! How well clusters agree with known classes, such as pseudo-tasks with the skills that samples are
//! of. Labels are any numbers below a small limit; only which samples share one matters.

use std::collections::BTreeMap;

/// Three measures of agreement, each 1 where clusters and classes are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Normalised mutual information `I(U; V) / ((H(U) + H(V)) / 2)` (Strehl and Ghosh 2002, with the
    /// arithmetic mean), from 0. Grows with the number of clusters.
    pub normalised_mutual_information: f64,
    /// Rand index adjusted for chance (Hubert and Arabie 1985): about 0 for random clusters, at most 1.
    pub adjusted_rand_index: f64,
    /// Share of samples that are of the commonest class of their cluster. Grows with the number of
    /// clusters.
    pub purity: f64,
}

/// Compares two partitions of the same samples.
///
/// # Panics
///
/// If they are not of equally many samples.
pub fn agreement(classes: &[usize], clusters: &[usize]) -> Agreement {
    assert_eq!(classes.len(), clusters.len(), "BUG: a class and a cluster for every sample");
    let mut both: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let mut by_class: BTreeMap<usize, u64> = BTreeMap::new();
    let mut by_cluster: BTreeMap<usize, u64> = BTreeMap::new();
    for (class, cluster) in classes.iter().zip(clusters) {
        *both.entry((*cluster, *class)).or_default() += 1;
        *by_class.entry(*class).or_default() += 1;
        *by_cluster.entry(*cluster).or_default() += 1;
    }
    let samples = classes.len() as f64;
    let mut commonest: BTreeMap<usize, u64> = BTreeMap::new();
    let mut information = 0.0;
    for ((cluster, class), count) in &both {
        let most = commonest.entry(*cluster).or_default();
        *most = (*most).max(*count);
        let (count, expected) = (*count as f64, by_class[class] as f64 * by_cluster[cluster] as f64 / samples);
        information += count / samples * (count / expected).ln();
    }
    let entropy = |sizes: &BTreeMap<usize, u64>| -> f64 {
        sizes.values().map(|size| *size as f64 / samples).map(|share| -share * share.ln()).sum()
    };
    let trivial = |sizes: &BTreeMap<usize, u64>| sizes.len() <= 1;
    let normalised_mutual_information = match (trivial(&by_class), trivial(&by_cluster)) {
        // Nothing is to be known, and that is known.
        (true, true) => 1.0,
        (true, false) | (false, true) => 0.0,
        _ => (2.0 * information / (entropy(&by_class) + entropy(&by_cluster))).clamp(0.0, 1.0),
    };
    let pairs = |count: &u64| (*count as f64) * (*count as f64 - 1.0) / 2.0;
    let (together, in_class): (f64, f64) = (both.values().map(pairs).sum(), by_class.values().map(pairs).sum());
    let in_cluster: f64 = by_cluster.values().map(pairs).sum();
    let all = samples * (samples - 1.0) / 2.0;
    let expected = if all > 0.0 { in_class * in_cluster / all } else { 0.0 };
    let most = (in_class + in_cluster) / 2.0;
    let adjusted_rand_index = if most == expected { 1.0 } else { (together - expected) / (most - expected) };
    let purity = if samples > 0.0 { commonest.values().sum::<u64>() as f64 / samples } else { 1.0 };
    Agreement { normalised_mutual_information, adjusted_rand_index, purity }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Known {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        truth: Vec<usize>,
        found: Vec<usize>,
        nmi: f64,
        ari: f64,
        purity: f64,
    }

    #[test]
    fn agreement_is_that_of_scikit_learn() {
        let known: Known = serde_json::from_str(include_str!("../../tests/fixtures/agreement.json")).unwrap();
        assert_eq!(known.cases.len(), 10);
        for (place, case) in known.cases.iter().enumerate() {
            let found = agreement(&case.truth, &case.found);
            let near =
                |left: f64, right: f64| assert!((left - right).abs() < 1e-9, "case {place}: {left} is not {right}");
            near(found.normalised_mutual_information, case.nmi);
            near(found.adjusted_rand_index, case.ari);
            near(found.purity, case.purity);
        }
    }
}
