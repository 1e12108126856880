//! One cell of a table: the replicates of one value.

use serde::{Deserialize, Serialize};

use crate::selection::metrics;

/// The replicates of one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Their mean; none where nothing is known.
    pub mean: Option<f64>,
    /// Their standard deviation (of a sample, divisor n − 1); none for fewer than two.
    pub deviation: Option<f64>,
    /// How many are known.
    pub n: usize,
    /// The values, one per seed; a single one where it does not depend on the run.
    pub values: Vec<Option<f64>>,
}

impl Cell {
    /// Aggregates the values of one cell.
    pub fn of(values: Vec<Option<f64>>) -> Cell {
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let (mean, deviation) = (metrics::mean(&known), metrics::sample_deviation(&known));
        Cell { mean, deviation, n: known.len(), values }
    }

    /// `95.2 ± 1.3`, `95.2` where there is one value, `–` where nothing is known.
    pub(super) fn text(&self, digits: usize) -> String {
        match (self.mean, self.deviation) {
            (None, _) => "–".to_string(),
            (Some(mean), None) => format!("{mean:.digits$}"),
            (Some(mean), Some(deviation)) => format!("{mean:.digits$} ± {deviation:.digits$}"),
        }
    }
}
