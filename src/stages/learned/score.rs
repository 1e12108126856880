//! The stage kind `score`: importance scores of every sample under a model.

use anyhow::bail;
use serde::Deserialize;

use super::gradient::chosen_layers;
use super::preparation::{Adapted, Windows, adapters, encode};
use crate::artifact::ScoresWriter;
use crate::ml::batch::batches_by_length;
use crate::ml::device::{self, Compute, Job};
use crate::ml::gradient::{Extraction, length};
use crate::ml::llava::{Llava, host};
use crate::ml::precision::Precision;
use crate::ml::samples::{Inputs, Item, Samples};
use crate::ml::score::{Likelihood, Perplexity, entropy_of_all_positions, likelihood};
use crate::ml::weights::Checkpoint;
use crate::stage::{Context, Stage};

/// See `stages/score.yaml`.
pub struct Score;

#[derive(Deserialize)]
struct Params {
    scorers: Vec<Scorer>,
    perplexity: Perplexity,
    positions: Positions,
    blind_image: BlindImage,
    layers: Option<Vec<usize>>,
    rank: usize,
    alpha: f64,
    max_length: usize,
    precision: Precision,
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scorer {
    Perplexity,
    El2n,
    Entropy,
    Grounding,
    Grand,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Positions {
    Paper,
    Reference,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BlindImage {
    Zero,
    Removed,
}

impl Stage for Score {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/score.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        device::on(context.execution().device, Run { context, params: context.params()? })
    }
}

struct Run<'a> {
    context: &'a Context<'a>,
    params: Params,
}

/// The model, and what GraNd needs besides.
struct Models<B: Compute> {
    plain: Llava<B>,
    grand: Option<(Llava<B::Differentiable>, Adapted<B>, Extraction)>,
}

impl Job for Run<'_> {
    type Output = ();

    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<()> {
        let Run { context, params } = self;
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let pool = Windows::open(context, "pool")?;
        let models = models::<B>(context, &params, &checkpoint, device)?;
        let removed = params.scorers.contains(&Scorer::Grounding) && params.blind_image == BlindImage::Removed;
        let names: Vec<&str> = params.scorers.iter().map(|scorer| scorer.name()).collect();
        let mut scores = ScoresWriter::create(context.output("scores")?, pool.len(), &names)?;
        let mut done = 0;
        for window in pool.windows()? {
            let (samples, items) = window?;
            let encoded = encode(context, &checkpoint, &items, params.max_length)?;
            let blind = removed.then(|| {
                let items: Vec<_> = items.iter().map(Item::without_images).collect();
                encode(context, &checkpoint, &items, params.max_length)
            });
            let blind = blind.transpose()?;
            let mut columns = vec![vec![f32::NAN; samples.len()]; params.scorers.len()];
            for indices in batches_by_length(&encoded.lengths(), context.execution().micro_batch) {
                let scored = score(&params, &models, &encoded, blind.as_ref(), &indices)?;
                for (column, values) in columns.iter_mut().zip(scored) {
                    for (index, value) in indices.iter().zip(values) {
                        column[*index] = value;
                    }
                }
                done += indices.len();
                context.progress(done, pool.len(), "samples");
            }
            for (name, values) in names.iter().zip(&columns) {
                let wrong: Vec<usize> = (0..values.len()).filter(|index| !values[*index].is_finite()).collect();
                if !wrong.is_empty() {
                    bail!("the {name} is not finite for the samples {}", encoded.names(&wrong));
                }
            }
            let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
            scores.append(&ids, &columns.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        }
        scores.finish()
    }
}

fn models<B: Compute>(
    context: &Context<'_>,
    params: &Params,
    checkpoint: &Checkpoint,
    device: &B::Device,
) -> anyhow::Result<Models<B>> {
    let plain = Llava::load(checkpoint, params.precision, device)?;
    let grand = match params.scorers.contains(&Scorer::Grand) {
        true => {
            let layers = chosen_layers(params.layers.clone(), checkpoint.config.text.layers)?;
            let adapted = adapters(checkpoint, params.rank, params.alpha, params.seed, device)?;
            let checkpointing = context.execution().gradient_checkpointing;
            let extraction = Extraction { layers, scale: adapted.scale, checkpointing };
            Some((plain.differentiable(), adapted, extraction))
        }
        false => None,
    };
    Ok(Models { plain, grand })
}

/// One column per scorer of one batch.
fn score<B: Compute>(
    params: &Params,
    models: &Models<B>,
    samples: &Samples,
    blind: Option<&Samples>,
    indices: &[usize],
) -> anyhow::Result<Vec<Vec<f32>>> {
    let inputs = samples.batch(indices)?;
    let model = &models.plain;
    let hidden = model.forward(&inputs, None, None);
    let seen = likelihood(model, hidden.clone(), &inputs.text, params.perplexity);
    let mut column = |scorer: &Scorer| {
        anyhow::Ok(match scorer {
            Scorer::Perplexity => seen.perplexity.clone(),
            Scorer::El2n => seen.el2n.clone(),
            Scorer::Entropy => match params.positions {
                Positions::Paper => seen.entropy.clone(),
                Positions::Reference => entropy_of_all_positions(model, hidden.clone(), &inputs.text),
            },
            Scorer::Grounding => grounding(model, blind.unwrap_or(samples), &inputs, &seen, indices)?,
            Scorer::Grand => {
                let (model, adapted, extraction) = models.grand.as_ref().expect("BUG: GraNd has its model");
                let gradients = extraction.run(model, &adapted.adapters, &inputs)?.gradients;
                let width = gradients.dims()[1];
                host(gradients).chunks_exact(width).map(|row| length(row) as f32).collect()
            }
        })
    };
    params.scorers.iter().map(&mut column).collect()
}

/// Perplexity without the images over perplexity with them. Without images: 1. `unsighted` are the
/// samples as the blind pass sees them, but for images of zeros.
fn grounding<B: Compute>(
    model: &Llava<B>,
    unsighted: &Samples,
    inputs: &Inputs,
    seen: &Likelihood,
    indices: &[usize],
) -> anyhow::Result<Vec<f32>> {
    let mut column = vec![1.0; indices.len()];
    let sighted: Vec<usize> = (0..indices.len()).filter(|place| inputs.text.images[*place] > 0).collect();
    if sighted.is_empty() {
        return Ok(column);
    }
    let asked: Vec<usize> = sighted.iter().map(|place| indices[*place]).collect();
    let blind = unsighted.batch(&asked)?.blind();
    let unseen = likelihood(model, model.forward(&blind, None, None), &blind.text, Perplexity::Paper);
    for (place, numerator) in sighted.into_iter().zip(unseen.perplexity) {
        column[place] = numerator / seen.perplexity[place];
    }
    Ok(column)
}

impl Scorer {
    fn name(self) -> &'static str {
        match self {
            Scorer::Perplexity => "perplexity",
            Scorer::El2n => "el2n",
            Scorer::Entropy => "entropy",
            Scorer::Grounding => "grounding",
            Scorer::Grand => "grand",
        }
    }
}
