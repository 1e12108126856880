//! The stage kinds: one file per kind, thin: read the inputs, call `ml` or [`crate::selection`],
//! write the outputs. Unaware of the plan, the cache and the scheduler.

mod alignment;
#[cfg(feature = "ml")]
mod cluster;
#[cfg(feature = "ml")]
mod gradient;
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
pub use cluster::Cluster;
#[cfg(feature = "ml")]
pub use gradient::Gradient;
pub use prune::Prune;
#[cfg(feature = "ml")]
pub use score::Score;
pub use select::Select;
#[cfg(feature = "ml")]
pub use train::Train;
