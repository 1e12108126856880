//! The stage kinds that need the mathematics of `ml`.

mod cluster;
mod dealing;
mod evaluate;
mod gradient;
mod preparation;
mod score;
mod train;

use crate::stage::Stage;

/// In the order of the method.
pub const KINDS: [&dyn Stage; 5] =
    [&gradient::Gradient, &cluster::Cluster, &score::Score, &train::Train, &evaluate::Evaluate];
