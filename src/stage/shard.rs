//! The parts that the work of a stage is split into, for kinds that can be split.
//!
//! A kind deals its *units* of work out to the shards in turn. A unit is what must be computed together
//! for a result to be the same number by number: samples that pass through the model in one batch. So
//! how many shards there are changes nothing in the result.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Context;

/// One of the parts of a stage's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, counted from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl Shard {
    /// All of the work.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Whether the unit of work with this number, counted from 0, is its own.
    pub fn has(self, unit: usize) -> bool {
        unit % self.count == self.index
    }

    /// How many of `number` things that the whole stage does are its own, about.
    pub fn share(self, number: usize) -> usize {
        number.div_ceil(self.count)
    }
}

/// Counts from 1, for people: `2/4`.
impl fmt::Display for Shard {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.index + 1, self.count)
    }
}

/// What an execution of a stage is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// All: inputs to outputs.
    #[default]
    Whole,
    /// This part, into the output [`SHARD`].
    Shard(Shard),
    /// The outputs, from what the shards left in these directories, in their order.
    Merge(Vec<PathBuf>),
}

/// The output slot of a shard, and the kind of the artifact that it leaves there. Nothing but merging
/// reads it.
pub const SHARD: &str = "shard";

/// What a stage kind does beside [`Stage::run`](super::Stage::run) whose work can be split.
pub trait Sharded: Sync {
    /// Does the units of work that are the shard's own, and leaves what merging needs in the output
    /// [`SHARD`]. There may be none for it.
    ///
    /// # Errors
    ///
    /// As [`Stage::run`](super::Stage::run).
    fn shard(&self, context: &Context<'_>, shard: Shard) -> anyhow::Result<()>;

    /// Fills the output directories from what all shards left, with the same bytes as the whole stage
    /// would.
    ///
    /// # Errors
    ///
    /// As [`Stage::run`](super::Stage::run), and if the shards do not fit together.
    fn merge(&self, context: &Context<'_>, shards: &[PathBuf]) -> anyhow::Result<()>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_unit_belongs_to_one_shard_and_none_has_more_than_its_share(units in 0usize..60, count in 1usize..9) {
            let shards: Vec<Shard> = (0..count).map(|index| Shard { index, count }).collect();
            let own = |shard: &Shard| (0..units).filter(|unit| shard.has(*unit)).count();
            prop_assert_eq!(shards.iter().map(own).sum::<usize>(), units);
            prop_assert!(shards.iter().all(|shard| own(shard) <= shard.share(units)));
        }
    }
}
