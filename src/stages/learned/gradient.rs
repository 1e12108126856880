//! The stage kind `gradient`: gradient vectors and hidden vectors of every sample.

use anyhow::{Context as _, ensure};
use burn::tensor::Tensor;
use serde::Deserialize;

use super::preparation::{Windows, adapters, encode};
use crate::artifact::VectorsWriter;
use crate::ml::batch::batches_by_length;
use crate::ml::device::{self, Compute, Job};
use crate::ml::gradient::{Extraction, Projector, normalized};
use crate::ml::llava::{Llava, host};
use crate::ml::precision::Precision;
use crate::ml::projection::Projection;
use crate::ml::weights::Checkpoint;
use crate::stage::{Context, Stage};

/// See `stages/gradient.yaml`.
pub struct Gradient;

#[derive(Deserialize)]
struct Params {
    layers: Option<Vec<usize>>,
    dimensions: usize,
    gradient: Kind,
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
    Sgd,
    Sign,
}

impl Stage for Gradient {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/gradient.yaml")
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
        let layers = chosen_layers(params.layers.clone(), checkpoint.config.text.layers)?;
        let adapted = adapters::<B>(&checkpoint, params.rank, params.alpha, params.seed, device)?;
        let checkpointing = context.execution().gradient_checkpointing;
        let extraction = Extraction { layers, scale: adapted.scale, checkpointing };
        let model = Llava::<B::Differentiable>::load(&checkpoint, params.precision, device)?;
        let mut projector = Projector::new(Projection { seed: params.seed, dimensions: params.dimensions }, device);

        let (count, width) = (pool.len(), checkpoint.config.text.hidden_size);
        let mut gradients = VectorsWriter::create(context.output("gradient")?, count, params.dimensions)?;
        let mut means = VectorsWriter::create(context.output("hidden")?, count, width)?;
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
                let extracted = extraction.run(&model, &adapted.adapters, &encoded.batch(indices)?)?;
                for (index, mean) in indices.iter().zip(extracted.hidden) {
                    hidden[*index] = finish(&mean, "hidden state", *index)?;
                }
                let together = projector.together(extracted.gradients.dims()[1]);
                waiting.0.extend(indices);
                waiting.1.push(match params.gradient {
                    Kind::Sgd => extracted.gradients,
                    Kind::Sign => extracted.gradients.sign(),
                });
                if waiting.0.len() >= together || number + 1 == batches.len() {
                    let (indices, raw) = std::mem::take(&mut waiting);
                    let projected = host(projector.project(Tensor::cat(raw, 0)));
                    for (index, row) in indices.iter().zip(projected.chunks_exact(params.dimensions)) {
                        gradient[*index] = finish(row, "gradient", *index)?;
                    }
                }
                done += indices.len();
                context.progress(done, count, "samples");
            }
            let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
            gradients.append(&ids, &gradient.concat())?;
            means.append(&ids, &hidden.concat())?;
        }
        gradients.finish()?;
        means.finish()
    }
}

/// The layers asked for, ascending and each once; by default the middle one of `count`.
pub fn chosen_layers(asked: Option<Vec<usize>>, count: usize) -> anyhow::Result<Vec<usize>> {
    let mut layers = asked.unwrap_or_else(|| vec![(count - 1).div_ceil(2)]);
    layers.sort_unstable();
    layers.dedup();
    ensure!(!layers.is_empty(), "`layers` is empty");
    let last = layers[layers.len() - 1];
    ensure!(last < count, "layer {last} is not in the model, whose decoder has {count} layers counted from 0");
    Ok(layers)
}
