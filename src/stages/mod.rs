//! The stage kinds: one file per kind, thin: read the inputs, call `ml` or [`crate::selection`],
//! write the outputs. [`benchmark`] reads what `evaluate` asks and judges the answers. Unaware of the plan, the cache and the scheduler.

mod alignment;
pub mod benchmark;
mod dataset;
pub mod estimate;
mod ingest;
mod keep;
#[cfg(feature = "ml")]
mod learned;
#[cfg(not(feature = "ml"))]
#[path = "unlearned.rs"]
mod learned;
mod prune;
mod select;
#[cfg(test)]
mod testing;

use crate::stage::{Registry, Stage};

/// All stage kinds of this build, in the order of the method.
pub fn registry() -> Registry {
    let own: [&dyn Stage; 3] = [&ingest::Ingest, &select::Select, &prune::Prune];
    Registry::new(&[own.as_slice(), &learned::KINDS].concat())
}
