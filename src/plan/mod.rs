//! Resolves an experiment and the signatures of the stage kinds to a frozen acyclic graph.
//!
//! Unaware of keys, of the cache and of how stages are run.

mod graph;

pub use graph::{NameError, Output, Plan, Planned, PlannedTable, Source, StageIndex, TableRun};
