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
    /// Whether a value was to be looked up beyond a range, and is that of its end.
    #[serde(default, skip_serializing_if = "is_false")]
    pub clamped: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Cell {
    /// Aggregates the values of one cell.
    pub fn of(values: Vec<Option<f64>>) -> Cell {
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let (mean, deviation) = (metrics::mean(&known), metrics::sample_deviation(&known));
        Cell { mean, deviation, n: known.len(), values, clamped: false }
    }

    /// `95.2 ± 1.3`, `95.2` where there is one value, `–` where nothing is known; with a `*` where it is
    /// clamped.
    pub(super) fn text(&self, digits: usize) -> String {
        let star = if self.clamped { "*" } else { "" };
        match (self.mean, self.deviation) {
            (None, _) => "–".to_string(),
            (Some(mean), None) => format!("{}{star}", number(mean, digits)),
            (Some(mean), Some(deviation)) => format!("{}{star} ± {}", number(mean, digits), number(deviation, digits)),
        }
    }
}

/// A number with so many decimal places, and without the sign of a zero.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(positive) if positive.chars().all(|c| matches!(c, '0' | '.')) => positive.to_string(),
        _ => text,
    }
}
