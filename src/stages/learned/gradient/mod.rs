//! The stage kind `gradient`: gradient vectors and hidden vectors of every sample.

mod way;

use anyhow::{Context as _, ensure};
use burn::tensor::Tensor;
use serde::Deserialize;

use super::preparation::{Windows, encode};
use crate::artifact::VectorsWriter;
use crate::ml::batch::batches_by_length;
use crate::ml::device::{self, Compute, Job};
use crate::ml::gradient::{Projector, normalized};
use crate::ml::hidden::Readout;
use crate::ml::llava::host;
use crate::ml::precision::Precision;
use crate::ml::projection::Projection;
use crate::ml::weights::Checkpoint;
use crate::stage::{Context, Stage};
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
        device::on(context.execution().device, Extract { context, params: context.params()? })
    }
}

struct Extract<'a> {
    context: &'a Context<'a>,
    params: Params,
}

impl Job for Extract<'_> {
    type Output = ();

    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<()> {
        let Extract { context, params } = self;
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let pool = Windows::open(context, "pool")?;
        let text = &checkpoint.config.text;
        let layers = chosen_layers(params.layers.clone(), text.layers)?;
        let readout = readout(&params, &layers, text.layers)?;
        let (mut way, form) = Way::<B>::new(context, &params, &checkpoint, layers, device)?;
        let (dimensions, mut projector) = match form {
            Form::Absent => (0, None),
            Form::Final(dimensions) => (dimensions, None),
            Form::Raw(dimensions) => {
                (dimensions, Some(Projector::new(Projection { seed: params.seed, dimensions }, device)))
            }
        };

        let (count, width) = (pool.len(), text.hidden_size);
        let mut gradients = VectorsWriter::create(context.output("gradient")?, count, dimensions)?;
        let mut hiddens = VectorsWriter::create(context.output("hidden")?, count, readout.dimensions(width))?;
        if let Readout::Concept { layers } = &readout {
            hiddens = hiddens.of_concepts(layers.len());
        }
        let mut done = 0;
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
            let mut waiting: (Vec<usize>, Vec<Tensor<B, 2>>) = Default::default();
            for (number, indices) in batches.iter().enumerate() {
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
                if let Some(raw) = found.gradients {
                    let together = projector.as_ref().map_or(1, |projector| projector.together(raw.dims()[1]));
                    waiting.0.extend(indices);
                    waiting.1.push(raw);
                    if waiting.0.len() >= together || number + 1 == batches.len() {
                        let (indices, raw) = std::mem::take(&mut waiting);
                        let raw = Tensor::cat(raw, 0);
                        let vectors = host(match &mut projector {
                            Some(projector) => projector.project(raw),
                            None => raw,
                        });
                        for (index, row) in indices.iter().zip(vectors.chunks_exact(dimensions)) {
                            gradient[*index] = finish(row, "gradient", *index)?;
                        }
                    }
                }
                done += indices.len();
                context.progress(done, count, "samples");
            }
            let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
            gradients.append(&ids, &gradient.concat())?;
            hiddens.append(&ids, &hidden.concat())?;
        }
        gradients.finish()?;
        hiddens.finish()
    }
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
