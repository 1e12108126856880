//! Tables: what an experiment says of them.
//!
//! Unaware of where numbers come from: of stages, the plan and the cache.

mod spec;

pub use spec::{Column, Mistake, Over, Rows, TableSpec};
