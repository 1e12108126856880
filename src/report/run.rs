//! What the runs of an experiment bring to a table, and why they may not make one.

use std::collections::BTreeMap;

use super::cost::Cost;
use crate::artifact::Metrics;

/// What one replicate of one arm brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// The arm, where the experiment has arms.
    pub arm: Option<String>,
    /// The seed, where the experiment has seeds.
    pub seed: Option<u64>,
    /// The results after each time step, first to last.
    pub steps: Vec<Metrics>,
    /// Column name → number, for each column of the table that shows a size or a summary.
    pub values: BTreeMap<String, f64>,
    /// What the stages cost that the results depend on, where the table asks for it, by phase and kind.
    pub costs: Vec<Cost>,
}

impl Run {
    /// The run in words, for messages.
    pub(super) fn words(&self) -> String {
        match (&self.arm, self.seed) {
            (Some(arm), Some(seed)) => format!("arm `{arm}` with seed {seed}"),
            (Some(arm), None) => format!("arm `{arm}`"),
            (None, Some(seed)) => format!("the run with seed {seed}"),
            (None, None) => "the run".to_string(),
        }
    }
}

/// Why there is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is nothing to show.
    #[error("table `{0}` has no runs")]
    NoRuns(String),
    /// A run was never evaluated.
    #[error("{0} has no results")]
    NoResults(String),
    /// Runs or time steps cannot be compared.
    #[error("{run} has other benchmarks after time step {step} than the first run at its start")]
    OtherBenchmarks {
        /// Which run.
        run: String,
        /// Which time step, counted from 0.
        step: usize,
    },
    /// The arm that others are compared with was not run with the same seed.
    #[error("{run} cannot be compared with arm `{arm}`, which has no run with the same seed")]
    NoReference {
        /// Which run.
        run: String,
        /// The arm named in `relative_to` or `compute_reference`.
        arm: String,
    },
    /// A run lacks what a column shows.
    #[error("{run} brings no `{column}`")]
    Missing {
        /// Which run.
        run: String,
        /// The column.
        column: String,
    },
}
