//! From artifacts to what `ml` works on: the samples of a pool, and the checkpoint's adapters.

use std::path::Path;

use crate::artifact::{PoolReader, Sample};
use crate::digest::Digest;
use crate::ml::adapter::StoredAdapter;
use crate::ml::conversation::Labelled;
use crate::ml::gradient::Adapters;
use crate::ml::kernels::Kernels;
use crate::ml::lora;
use crate::ml::samples::{Encoding, Item, Samples};
use crate::ml::weights::Checkpoint;
use crate::stage::Context;

/// Samples as items, with the images where they are on this machine.
pub fn items(context: &Context<'_>, roots: &[Digest], samples: &[Sample]) -> anyhow::Result<Vec<Item>> {
    let roots = roots.iter().map(|root| context.location(root)).collect::<anyhow::Result<Vec<&Path>>>()?;
    let item = |sample: &Sample| Item {
        name: sample.id.clone(),
        turns: sample.turns.iter().map(|turn| (turn.question.clone(), turn.answer.clone())).collect(),
        images: sample.images.iter().map(|image| image.place(&roots)).collect(),
    };
    Ok(samples.iter().map(item).collect())
}

/// Samples that are encoded together. What a stage holds at a time does not depend on how many windows
/// there are.
pub const WINDOW: usize = 8192;

/// The samples of an input, window by window.
pub struct Windows<'a> {
    context: &'a Context<'a>,
    pool: PoolReader,
}

impl<'a> Windows<'a> {
    /// The samples of the pool in an input slot.
    pub fn open(context: &'a Context<'a>, slot: &str) -> anyhow::Result<Windows<'a>> {
        Ok(Windows { context, pool: PoolReader::open(context.input(slot)?)? })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// The windows in the order of the pool, with the samples as items.
    pub fn windows(&self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<(Vec<Sample>, Vec<Item>)>>> {
        let mut samples = self.pool.samples()?;
        Ok(std::iter::from_fn(move || {
            let window: anyhow::Result<Vec<Sample>> = samples.by_ref().take(WINDOW).collect();
            match window {
                Ok(window) if window.is_empty() => None,
                Ok(window) => Some(items(self.context, self.pool.roots(), &window).map(|items| (window, items))),
                Err(error) => Some(Err(error)),
            }
        }))
    }
}

/// The items encoded for a checkpoint, with all answers labelled; says how many were cut.
pub fn encode(
    context: &Context<'_>,
    checkpoint: &Checkpoint,
    items: &[Item],
    max_length: usize,
) -> anyhow::Result<Samples> {
    let how = Encoding { labelled: Labelled::All, max_length };
    let samples = Samples::encode(&checkpoint.companions, &checkpoint.config, items, how)?;
    if samples.cut() > 0 {
        context.warn(format!("{} of {} samples were cut at {max_length} tokens", samples.cut(), samples.len()));
    }
    Ok(samples)
}

/// The adapters that a checkpoint was last trained with, or fresh ones; and their scale.
pub struct Adapted<B: Kernels> {
    /// By layer name.
    pub adapters: Adapters<B>,
    /// Alpha over rank.
    pub scale: f64,
}

/// Reads the adapter beside a checkpoint, or draws a fresh one of this rank from the seed.
pub fn adapters<B: Kernels>(
    checkpoint: &Checkpoint,
    rank: usize,
    alpha: f64,
    seed: u64,
    device: &B::Device,
) -> anyhow::Result<Adapted<B>> {
    if let Some(stored) = StoredAdapter::find(&checkpoint.companions)? {
        return Ok(Adapted { scale: stored.scale(), adapters: lora::loaded(&stored, device)? });
    }
    let adapters = lora::fresh(&checkpoint.config.text, rank, seed, device);
    Ok(Adapted { scale: alpha / rank as f64, adapters })
}
