//! The stage kind `gradient`: gradient vectors and hidden vectors of every sample.

mod way;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use burn::tensor::Tensor;
use serde::Deserialize;

use super::dealing::{Deal, Merging};
use super::preparation::{Windows, encode};
use crate::artifact::{PieceWriter, VectorsWriter};
use crate::ml::batch::batches_by_length;
use crate::ml::device::{self, Compute, Job};
use crate::ml::gradient::{Projector, normalized};
use crate::ml::hidden::Readout;
use crate::ml::llava::host;
use crate::ml::precision::Precision;
use crate::ml::projection::Projection;
use crate::ml::weights::Checkpoint;
use crate::stage::{Context, SHARD, Shard, Sharded, Stage};
use way::{Form, Way};

/// See `stages/gradient.yaml`.
pub struct Gradient;

#[derive(Deserialize)]
struct Params {
    layers: Option<Vec<usize>>,
    dimensions: usize,
    gradient: Kind,
    order: Order,
    probes: usize,
    probes_of: Owner,
    epsilon: f64,
    projection: ProjectionKind,
    hidden: HiddenKind,
    hidden_layer: Option<usize>,
    concept_layers: Option<Vec<usize>>,
    normalize: bool,
    rank: usize,
    alpha: f64,
    max_length: usize,
    precision: Precision,
    seed: u64,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    None,
    Sgd,
    Sign,
    Adam,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    First,
    Zeroth,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Owner {
    Shared,
    Sample,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProjectionKind {
    Rademacher,
    Factorized,
    None,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HiddenKind {
    Mean,
    Concept,
}

impl Stage for Gradient {
    fn declaration(&self) -> &'static str {
        include_str!("../../../../stages/gradient.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let extract = Extract { context, params: context.params()?, shard: None };
        device::on(context.execution().device, extract)
    }

    fn sharded(&self) -> Option<&dyn Sharded> {
        Some(self)
    }
}

impl Sharded for Gradient {
    fn shard(&self, context: &Context<'_>, shard: Shard) -> anyhow::Result<()> {
        let extract = Extract { context, params: context.params()?, shard: Some(shard) };
        device::on(context.execution().device, extract)
    }

    fn merge(&self, context: &Context<'_>, shards: &[PathBuf]) -> anyhow::Result<()> {
        let merging = Merging::open(context, "pool", shards)?;
        let widths = [0, 1].map(|column| merging.pieces.columns()[column].1);
        let mut whole = Whole::create(context, merging.len(), widths, merging.pieces.note()?)?;
        merging.each(|ids, columns| whole.append(ids, &columns[0], &columns[1]))?;
        whole.finish()
    }
}

struct Extract<'a> {
    context: &'a Context<'a>,
    params: Params,
    /// What of the samples is to be done; all of them without one.
    shard: Option<Shard>,
}

/// Where vectors go.
enum Sink {
    Whole(Box<Whole>),
    Shard(PieceWriter),
}

/// The outputs of the whole stage.
struct Whole {
    gradients: VectorsWriter,
    hiddens: VectorsWriter,
}

impl Whole {
    /// The outputs for so many samples, with gradient and hidden vectors of these lengths; hidden vectors that
    /// are concept vectors say of how many layers.
    fn create(
        context: &Context<'_>,
        count: usize,
        [dimensions, width]: [usize; 2],
        concept_layers: Option<usize>,
    ) -> anyhow::Result<Whole> {
        let gradients = VectorsWriter::create(context.output("gradient")?, count, dimensions)?;
        let mut hiddens = VectorsWriter::create(context.output("hidden")?, count, width)?;
        if let Some(layers) = concept_layers {
            hiddens = hiddens.of_concepts(layers);
        }
        Ok(Whole { gradients, hiddens })
    }

    fn append(&mut self, ids: &[&str], gradients: &[f32], hiddens: &[f32]) -> anyhow::Result<()> {
        self.gradients.append(ids, gradients)?;
        self.hiddens.append(ids, hiddens)
    }

    fn finish(self) -> anyhow::Result<()> {
        self.gradients.finish()?;
        self.hiddens.finish()
    }
}

impl Job for Extract<'_> {
    type Output = ();

    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<()> {
        let Extract { context, params, shard } = self;
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let pool = Windows::open(context, "pool")?;
        let text = &checkpoint.config.text;
        let layers = chosen_layers(params.layers.clone(), text.layers)?;
        let readout = readout(&params, &layers, text.layers)?;
        let (mut way, form) = Way::<B>::new(context, &params, &checkpoint, layers, device)?;
        let (dimensions, mut projector, together) = match form {
            Form::Absent => (0, None, 1),
            Form::Final(dimensions) => (dimensions, None, 1),
            Form::Raw { parameters, dimensions } => {
                let projector = Projector::new(Projection { seed: params.seed, dimensions }, device);
                let together = projector.together(parameters);
                (dimensions, Some(projector), together)
            }
        };

        let count = pool.len();
        let concept_layers = match &readout {
            Readout::Concept { layers } => Some(layers.len()),
            Readout::Mean { .. } => None,
        };
        let widths = [dimensions, readout.dimensions(text.hidden_size)];
        let mut sink = match shard {
            None => Sink::Whole(Box::new(Whole::create(context, count, widths, concept_layers)?)),
            Some(_) => {
                let columns = [("gradient", widths[0]), ("hidden", widths[1])];
                Sink::Shard(PieceWriter::create(context.output(SHARD)?, &columns, concept_layers)?)
            }
        };
        let mut deal = Deal::new(context, shard.unwrap_or(Shard::WHOLE), count, "samples");
        let mut first = 0;
        for window in pool.windows()? {
            let (samples, items) = window?;
            let encoded = encode(context, &checkpoint, &items, params.max_length)?;
            let mut gradient = vec![Vec::new(); samples.len()];
            let mut hidden = vec![Vec::new(); samples.len()];
            let finish = |vector: &[f32], what: &str, index: usize| {
                let finished = || {
                    ensure!(vector.iter().all(|value| value.is_finite()), "it is not finite");
                    if params.normalize { normalized(vector.to_vec()) } else { Ok(vector.to_vec()) }
                };
                finished().with_context(|| format!("the {what} of sample `{}`", samples[index].id))
            };
            let batches = batches_by_length(&encoded.lengths(), context.execution().micro_batch);
            for unit in units(batches, together) {
                if !deal.is_own() {
                    continue;
                }
                let mut raws: Vec<Tensor<B, 2>> = Vec::new();
                for indices in &unit {
                    let mut inputs = vec![encoded.batch(indices)?];
                    if way.wants_each() {
                        let each = indices.iter().map(|index| encoded.batch(&[*index]));
                        inputs.extend(each.collect::<anyhow::Result<Vec<_>>>()?);
                    }
                    let names: Vec<&str> = indices.iter().map(|index| samples[*index].id.as_str()).collect();
                    let found = way.run(&inputs, &names, &readout)?;
                    for (index, vector) in indices.iter().zip(found.hidden) {
                        hidden[*index] = finish(&vector, "hidden state", *index)?;
                    }
                    raws.extend(found.gradients);
                    deal.done(indices.len());
                }
                if raws.is_empty() {
                    continue;
                }
                let raw = Tensor::cat(raws, 0);
                let vectors = host(match &mut projector {
                    Some(projector) => projector.project(raw),
                    None => raw,
                });
                for (index, row) in unit.iter().flatten().zip(vectors.chunks_exact(dimensions)) {
                    gradient[*index] = finish(row, "gradient", *index)?;
                }
            }
            match &mut sink {
                Sink::Whole(whole) => {
                    let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
                    whole.append(&ids, &gradient.concat(), &hidden.concat())?;
                }
                Sink::Shard(piece) => {
                    for (place, vectors) in gradient.iter().zip(&hidden).enumerate() {
                        if !vectors.1.is_empty() {
                            piece.append(first + place, &[vectors.0, vectors.1])?;
                        }
                    }
                }
            }
            first += samples.len();
        }
        match sink {
            Sink::Whole(whole) => whole.finish(),
            Sink::Shard(piece) => piece.finish(),
        }
    }
}

/// The batches that are computed as one: as few as have so many samples `together`.
fn units(batches: Vec<Vec<usize>>, together: usize) -> Vec<Vec<Vec<usize>>> {
    let mut units = Vec::new();
    let mut unit: Vec<Vec<usize>> = Vec::new();
    for batch in batches {
        unit.push(batch);
        if unit.iter().map(Vec::len).sum::<usize>() >= together {
            units.push(std::mem::take(&mut unit));
        }
    }
    units.extend((!unit.is_empty()).then_some(unit));
    units
}

/// What is read off the forward pass of a model with `count` decoder layers.
fn readout(params: &Params, layers: &[usize], count: usize) -> anyhow::Result<Readout> {
    match params.hidden {
        HiddenKind::Mean => {
            let layer = params.hidden_layer.unwrap_or(layers[layers.len() - 1]);
            check(layer, count)?;
            Ok(Readout::Mean { layer })
        }
        HiddenKind::Concept => {
            let layers = params.concept_layers.clone().unwrap_or_else(|| concept_layers(count));
            Ok(Readout::Concept { layers: chosen_layers(Some(layers), count).context("`concept_layers`")? })
        }
    }
}

/// Five evenly spaced layers of `count`; all, where there are no more.
fn concept_layers(count: usize) -> Vec<usize> {
    /// What COINCIDE takes of 24 layers: 3, 7, 11, 15 and 19.
    const LAYERS: usize = 5;
    match count <= LAYERS {
        true => (0..count).collect(),
        false => (1..=LAYERS).map(|place| place * count / (LAYERS + 1) - 1).collect(),
    }
}

fn check(layer: usize, count: usize) -> anyhow::Result<()> {
    ensure!(layer < count, "layer {layer} is not in the model, whose decoder has {count} layers counted from 0");
    Ok(())
}

/// The layers asked for, ascending and each once; by default the middle one of `count`.
pub fn chosen_layers(asked: Option<Vec<usize>>, count: usize) -> anyhow::Result<Vec<usize>> {
    let mut layers = asked.unwrap_or_else(|| vec![(count - 1).div_ceil(2)]);
    layers.sort_unstable();
    layers.dedup();
    ensure!(!layers.is_empty(), "`layers` is empty");
    check(layers[layers.len() - 1], count)?;
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_projected_together_until_there_are_enough_samples() {
        let batches = |sizes: &[usize]| sizes.iter().map(|size| vec![0; *size]).collect::<Vec<_>>();
        let sizes =
            |together| -> Vec<usize> { units(batches(&[4, 4, 4, 4, 3]), together).iter().map(Vec::len).collect() };
        assert_eq!((sizes(1), sizes(8), sizes(9), sizes(64)), (vec![1; 5], vec![2, 2, 1], vec![3, 2], vec![5]));
    }
}
