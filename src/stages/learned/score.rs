//! The stage kind `score`: importance scores of every sample under a model.

use anyhow::bail;
use indexmap::IndexMap;
use serde::Deserialize;

use super::gradient::chosen_layers;
use super::preparation::{Adapted, adapters, encode, items};
use crate::artifact::{Pool, Scores};
use crate::ml::batch::batches_by_length;
use crate::ml::device::{self, Compute, Differentiable};
use crate::ml::gradient::{Extraction, length};
use crate::ml::llava::{Llava, host};
use crate::ml::samples::{Inputs, Samples};
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

/// The model, once for each way of using it.
struct Models {
    plain: Llava<Compute>,
    grand: Option<(Llava<Differentiable>, Adapted, Extraction)>,
}

impl Stage for Score {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/score.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let params: Params = context.params()?;
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let pool = Pool::read(context.input("pool")?)?;
        let items = items(context, &pool)?;
        let samples = encode(context, &checkpoint, &items, params.max_length)?;
        let removed = params.scorers.contains(&Scorer::Grounding) && params.blind_image == BlindImage::Removed;
        let blind = match removed {
            true => {
                let items: Vec<_> = items.iter().map(|item| item.without_images()).collect();
                Some(encode(context, &checkpoint, &items, params.max_length)?)
            }
            false => None,
        };
        let models = models(&params, &checkpoint)?;

        let mut columns: IndexMap<Scorer, Vec<f32>> =
            params.scorers.iter().map(|scorer| (*scorer, vec![f32::NAN; samples.len()])).collect();
        let mut done = 0;
        for indices in batches_by_length(&samples.lengths(), context.execution().micro_batch) {
            let scored = score(&params, &models, &samples, blind.as_ref(), &indices)?;
            for (column, values) in columns.values_mut().zip(scored) {
                for (index, value) in indices.iter().zip(values) {
                    column[*index] = value;
                }
            }
            done += indices.len();
            context.progress(done, samples.len(), "samples");
        }

        for (scorer, values) in &columns {
            let wrong: Vec<usize> = (0..values.len()).filter(|index| !values[*index].is_finite()).collect();
            if !wrong.is_empty() {
                bail!("the {} is not finite for the samples {}", scorer.name(), samples.names(&wrong));
            }
        }
        let ids = pool.samples.iter().map(|sample| sample.id.clone()).collect();
        let columns = columns.into_iter().map(|(scorer, values)| (scorer.name().to_string(), values)).collect();
        Scores { ids, columns }.write(context.output("scores")?)
    }
}

fn models(params: &Params, checkpoint: &Checkpoint) -> anyhow::Result<Models> {
    let device = device::default();
    let grand = match params.scorers.contains(&Scorer::Grand) {
        true => {
            let layers = chosen_layers(params.layers.clone(), checkpoint.config.text.layers)?;
            let adapted = adapters(checkpoint, params.rank, params.alpha, params.seed)?;
            let extraction = Extraction { layers, scale: adapted.scale };
            Some((Llava::load(checkpoint, &device), adapted, extraction))
        }
        false => None,
    };
    Ok(Models { plain: Llava::load(checkpoint, &device), grand })
}

/// One column per scorer of one batch.
fn score(
    params: &Params,
    models: &Models,
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
fn grounding(
    model: &Llava<Compute>,
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
