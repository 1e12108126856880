//! The stage kinds: one file per kind, thin: read the inputs, call `ml` or [`crate::selection`],
//! write the outputs. Unaware of the plan, the cache and the scheduler.

mod alignment;
mod dataset;
#[cfg(feature = "ml")]
mod gradient;
mod ingest;
#[cfg(feature = "ml")]
mod preparation;
mod prune;
#[cfg(feature = "ml")]
mod score;
mod select;
#[cfg(test)]
mod testing;
#[cfg(feature = "ml")]
mod train;

#[cfg(feature = "ml")]
pub use gradient::Gradient;
pub use ingest::Ingest;
pub use prune::Prune;
#[cfg(feature = "ml")]
pub use score::Score;
pub use select::Select;
#[cfg(feature = "ml")]
pub use train::Train;
