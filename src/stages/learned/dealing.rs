//! How the work of a stage is dealt out to its shards, and how what they leave comes together.

use std::path::PathBuf;

use super::preparation::WINDOW;
use crate::artifact::{Pieces, PoolReader, Sample};
use crate::stage::{Context, Shard};

/// The units of work of a stage in their order, of which some are a shard's own.
pub struct Deal<'a> {
    context: &'a Context<'a>,
    shard: Shard,
    /// Units that were asked for.
    units: usize,
    done: usize,
    total: usize,
    what: &'static str,
}

impl<'a> Deal<'a> {
    /// The units of a stage that does so many things in all, shards together.
    pub fn new(context: &'a Context<'a>, shard: Shard, total: usize, what: &'static str) -> Deal<'a> {
        Deal { context, shard, units: 0, done: 0, total: shard.share(total), what }
    }

    /// Whether the next unit is the shard's own.
    pub fn is_own(&mut self) -> bool {
        self.units += 1;
        self.shard.has(self.units - 1)
    }

    /// Says that so many more things are done. That shards have the same number of units does not mean that
    /// they have the same number of things.
    pub fn done(&mut self, number: usize) {
        self.done += number;
        self.context.progress(self.done.min(self.total), self.total, self.what);
    }
}

/// What the shards of a stage left for the samples in an input slot.
pub struct Merging<'a> {
    context: &'a Context<'a>,
    pool: PoolReader,
    /// What they left.
    pub pieces: Pieces,
}

impl<'a> Merging<'a> {
    /// Opens the pool in an input slot, and what the shards left in these directories.
    pub fn open(context: &'a Context<'a>, slot: &str, shards: &[PathBuf]) -> anyhow::Result<Merging<'a>> {
        Ok(Merging { context, pool: PoolReader::open(context.input(slot)?)?, pieces: Pieces::open(shards)? })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// Gives the ids of all samples and the values of each column, window by window.
    ///
    /// # Errors
    ///
    /// Besides those of reading and of `append`, if the shards do not have each sample once.
    pub fn each(mut self, mut append: impl FnMut(&[&str], &[Vec<f32>]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut samples = self.pool.samples()?;
        let mut done = 0;
        loop {
            let window: Vec<Sample> = samples.by_ref().take(WINDOW).collect::<anyhow::Result<_>>()?;
            if window.is_empty() {
                return self.pieces.finish();
            }
            let ids: Vec<&str> = window.iter().map(|sample| sample.id.as_str()).collect();
            append(&ids, &self.pieces.next(ids.len())?)?;
            done += ids.len();
            self.context.progress(done, self.pool.len(), "samples");
        }
    }
}
