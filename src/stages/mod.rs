//! The stage kinds: one file per kind, thin: read the inputs, call `ml` or [`crate::selection`],
//! write the outputs. Unaware of the plan, the cache and the scheduler.

mod alignment;
mod prune;
mod select;
#[cfg(test)]
mod testing;

pub use prune::Prune;
pub use select::Select;
