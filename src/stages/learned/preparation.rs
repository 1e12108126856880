//! From artifacts to what `ml` works on: the samples of a pool, and the checkpoint's adapters.

use std::path::Path;

use crate::artifact::Pool;
use crate::ml::adapter::StoredAdapter;
use crate::ml::conversation::Labelled;
use crate::ml::device::{self, Compute};
use crate::ml::gradient::Adapters;
use crate::ml::llava::Llava;
use crate::ml::lora;
use crate::ml::samples::{Encoding, Item, Samples};
use crate::ml::weights::Checkpoint;
use crate::stage::Context;

/// The samples of a pool as items, with the images where they are on this machine.
pub fn items(context: &Context<'_>, pool: &Pool) -> anyhow::Result<Vec<Item>> {
    let roots = pool.roots.iter().map(|root| context.location(root)).collect::<anyhow::Result<Vec<&Path>>>()?;
    let item = |sample: &crate::artifact::Sample| Item {
        name: sample.id.clone(),
        turns: sample.turns.iter().map(|turn| (turn.question.clone(), turn.answer.clone())).collect(),
        images: sample.images.iter().map(|image| image.place(&roots)).collect(),
    };
    Ok(pool.samples.iter().map(item).collect())
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
pub struct Adapted {
    /// By layer name.
    pub adapters: Adapters<Compute>,
    /// Alpha over rank.
    pub scale: f64,
}

/// Reads the adapter beside a checkpoint, or draws a fresh one of this rank from the seed.
pub fn adapters(checkpoint: &Checkpoint, rank: usize, alpha: f64, seed: u64) -> anyhow::Result<Adapted> {
    let device = device::default();
    if let Some(stored) = StoredAdapter::find(&checkpoint.companions)? {
        return Ok(Adapted { scale: stored.scale(), adapters: lora::loaded(&stored, &device)? });
    }
    let mut model = Llava::<Compute>::load(checkpoint, &device);
    lora::attach(&mut model, rank, alpha, 0.0, seed);
    Ok(Adapted { scale: alpha / rank as f64, adapters: lora::attached(&mut model) })
}
