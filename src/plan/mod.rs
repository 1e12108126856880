//! Resolves an experiment and the signatures of the stage kinds to a frozen acyclic graph.
//!
//! Unaware of keys, of the cache and of how stages are run.

mod build;
mod check;
mod execution;
mod externals;
mod figures;
mod graph;
mod instance;
mod params;
mod phases;
mod report;
mod tables;
mod wiring;

pub use build::plan;
pub use externals::{Externals, Refusal};
pub use graph::{NameError, Output, Plan, Planned, PlannedItem, ReportRun, Source, StageIndex};
pub use params::Params;
pub use phases::{phases, trained};
pub use tables::METRICS;
