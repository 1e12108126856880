//! The stage kind `train`: fine-tunes a checkpoint on a pool or subset.

use anyhow::Context as _;
use serde::Deserialize;

use super::preparation::{encode, items};
use crate::artifact::{CurvePoint, Pool, write_json_lines, write_summary};
use crate::ml::adapter::StoredAdapter;
use crate::ml::device::{self, Compute, Job};
use crate::ml::initial;
use crate::ml::llava::Llava;
use crate::ml::lora;
use crate::ml::optimizer::Trained;
use crate::ml::precision::Precision;
use crate::ml::saves::Saves;
use crate::ml::train::Training;
use crate::ml::weights::Checkpoint;
use crate::stage::{Context, Meter, Stage, Stop};

/// See `stages/train.yaml`.
pub struct Train;

#[derive(Deserialize)]
struct Params {
    method: Method,
    rank: usize,
    alpha: f64,
    dropout: f64,
    epochs: f64,
    until: Option<usize>,
    batch: usize,
    learning_rate: f64,
    projector_learning_rate: f64,
    warmup: f64,
    weight_decay: f64,
    clip: f64,
    order: Order,
    keep_optimizer: bool,
    max_length: usize,
    precision: Precision,
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Method {
    Lora,
    Full,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Grouped,
    Given,
}

impl Stage for Train {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/train.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        device::on(context.execution().device, Run { context, params: context.params()? })
    }
}

struct Run<'a> {
    context: &'a Context<'a>,
    params: Params,
}

impl Job for Run<'_> {
    type Output = ();

    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<()> {
        let Run { context, params } = self;
        let mut checkpoint = start(context, params.seed)?;
        let pool = Pool::read(context.input("data")?)?;
        let samples = encode(context, &checkpoint, &items(context, &pool.roots, &pool.samples)?, params.max_length)?;
        let mut model = Llava::<B::Differentiable>::load(&checkpoint, params.precision, device)?;
        let (mut rank, mut alpha) = (params.rank, params.alpha);
        let trained = match params.method {
            Method::Full => Trained::Everything,
            Method::Lora => {
                match context.external("adapter") {
                    Some(folder) => {
                        let stored = StoredAdapter::read(&folder.path)?;
                        lora::restore(&mut model, &stored)
                            .with_context(|| format!("cannot use the adapter `{}`", folder.path.display()))?;
                        (rank, alpha) = (stored.rank, stored.alpha);
                    }
                    None => lora::attach(&mut model, rank, alpha, params.dropout, params.seed),
                }
                Trained::Adapters
            }
        };
        let training = Training {
            trained,
            epochs: params.epochs,
            until: params.until,
            batch: params.batch,
            micro_batch: context.execution().micro_batch,
            learning_rate: params.learning_rate,
            projector_learning_rate: params.projector_learning_rate,
            warmup: params.warmup,
            weight_decay: params.weight_decay,
            clip: params.clip,
            grouped: params.order == Order::Grouped,
            seed: params.seed,
            checkpointing: context.execution().gradient_checkpointing,
        };
        let mut curve = Vec::new();
        let note = |message: String| context.warn(message);
        let kept = context.kept().zip(context.execution().checkpoint_every);
        let stop = kept.map(|_| Stop::listen()).transpose().context("cannot listen for signals")?;
        let is_asked = || stop.as_ref().is_some_and(Stop::is_asked);
        let saves = kept.map(|(kept, every)| Saves::new(kept, every.duration(), &is_asked, &note));
        let mut meter = kept.map(|(kept, every)| Meter::new(kept, every.duration()));
        let optimizer = training.run_saved(&mut model, &samples, saves, |progress| {
            meter.iter_mut().for_each(Meter::tick);
            context.progress(progress.step + 1, progress.steps, "steps");
            let (step, loss, learning_rate) = (progress.step, progress.loss, progress.learning_rate);
            curve.push(CurvePoint { step, loss, learning_rate });
        });
        // Whoever asked the process to stop sees that it did, and not that it failed.
        stop.iter().for_each(Stop::heed);
        let optimizer = optimizer?;
        drop(stop);

        let directory = context.output("model")?;
        let lora = params.method == Method::Lora;
        let moments = (lora && params.keep_optimizer).then(|| lora::moments(&mut model, &optimizer));
        if lora {
            let adapter = lora::merge(&mut model, rank, alpha, params.dropout);
            adapter.write(directory)?;
        }
        if let Some(moments) = moments {
            moments.write(directory)?;
        }
        model.store(&mut checkpoint.weights);
        checkpoint.write(directory, params.precision.numbers()).context("cannot write the trained checkpoint")?;
        let last = curve.last().map_or(f32::NAN, |point| point.loss);
        let steps = serde_json::json!(curve.len());
        write_summary(directory, &[("steps", steps.clone()), ("samples", serde_json::json!(pool.samples.len()))])?;
        let directory = context.output("curve")?;
        write_json_lines(&directory.join("curve.jsonl"), &curve)?;
        write_summary(directory, &[("steps", steps), ("last_loss", serde_json::json!(last))])
    }
}

/// The checkpoint to start from: the input, or a model of `architecture` drawn from the seed.
fn start(context: &Context<'_>, seed: u64) -> anyhow::Result<Checkpoint> {
    if let Some(directory) = context.optional_input("model") {
        return Checkpoint::read(directory);
    }
    let architecture = context.external("architecture");
    let architecture = architecture.context("either the input `model` or the param `architecture` is needed")?;
    initial::checkpoint(&architecture.path, seed)
}
