//! The stage kind `gradient`: gradient vectors and hidden vectors of every sample.

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::preparation::{adapters, encode, items};
use crate::artifact::{Pool, Vectors};
use crate::ml::batch::batches_by_length;
use crate::ml::device::{self, Differentiable};
use crate::ml::gradient::{Extraction, Projector, normalized};
use crate::ml::llava::{Llava, host};
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
        let params: Params = context.params()?;
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let pool = Pool::read(context.input("pool")?)?;
        let samples = encode(context, &checkpoint, &items(context, &pool)?, params.max_length)?;
        let layers = chosen_layers(params.layers, checkpoint.config.text.layers)?;
        let adapted = adapters(&checkpoint, params.rank, params.alpha, params.seed)?;
        let extraction = Extraction { layers, scale: adapted.scale };
        let device = device::default();
        let model = Llava::<Differentiable>::load(&checkpoint, &device);
        let mut projector = Projector::new(Projection { seed: params.seed, dimensions: params.dimensions }, &device);

        let mut gradient = vec![Vec::new(); samples.len()];
        let mut hidden = vec![Vec::new(); samples.len()];
        let mut done = 0;
        for indices in batches_by_length(&samples.lengths(), context.execution().micro_batch) {
            let inputs = samples.batch(&indices)?;
            let extracted = extraction.run(&model, &adapted.adapters, &inputs)?;
            let gradients = match params.gradient {
                Kind::Sgd => extracted.gradients,
                Kind::Sign => extracted.gradients.sign(),
            };
            let projected = host(projector.project(gradients));
            let rows = projected.chunks_exact(params.dimensions).zip(extracted.hidden);
            for (index, (row, mean)) in indices.iter().zip(rows) {
                let finish = |vector: Vec<f32>| {
                    ensure!(vector.iter().all(|value| value.is_finite()), "it is not finite");
                    if params.normalize { normalized(vector) } else { Ok(vector) }
                };
                let id = &pool.samples[*index].id;
                gradient[*index] = finish(row.to_vec()).with_context(|| format!("the gradient of sample `{id}`"))?;
                hidden[*index] = finish(mean).with_context(|| format!("the hidden state of sample `{id}`"))?;
            }
            done += indices.len();
            context.progress(done, samples.len(), "samples");
        }

        let ids: Vec<String> = pool.samples.iter().map(|sample| sample.id.clone()).collect();
        let width = checkpoint.config.text.hidden_size;
        Vectors { ids: ids.clone(), dimensions: params.dimensions, values: gradient.concat() }
            .write(context.output("gradient")?)?;
        Vectors { ids, dimensions: width, values: hidden.concat() }.write(context.output("hidden")?)
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
