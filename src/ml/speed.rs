//! How fast a device is at what stages spend their time on: scoring, per-sample gradients and LoRA training of
//! a drawn model on drawn samples. Unaware of stages and files.

use std::time::Instant;

use super::backward::Backward;
use super::batch::{Batch, Padding};
use super::config::LlavaConfig;
use super::conversation::{Encoded, IGNORE};
use super::device::{Compute, Job, on};
use super::gradient::{Extraction, Projector};
use super::initial::{self, Draw};
use super::llava::{Llava, host};
use super::lora;
use super::loss::{Targets, sum_of_sample_losses};
use super::optimizer::{AdamW, Collect, Gradients, Mark, Step, Trained};
use super::precision::Precision;
use super::projection::Projection;
use super::samples::Inputs;
use super::score::answers;
use crate::devices::Device;

/// What is measured with.
#[derive(Debug, Clone)]
pub struct Load {
    /// The architecture.
    pub config: LlavaConfig,
    /// Samples of a batch, each with one image where the model sees.
    pub batch: usize,
    /// Text tokens of a sample; a quarter of them is the answer.
    pub tokens: usize,
    /// Numbers of weights and activations.
    pub precision: Precision,
    /// Rank of the adapter.
    pub rank: usize,
    /// Dimensions of the projection.
    pub dimensions: usize,
    /// Whether activations are computed again in backward passes.
    pub checkpointing: bool,
    /// Timed batches, of which the median counts.
    pub repeats: usize,
}

/// How fast one kind of work is.
#[derive(Debug, Clone, PartialEq)]
pub struct Speed {
    /// The work.
    pub what: &'static str,
    /// Samples per second, by the median batch.
    pub samples_per_second: f64,
}

/// Measures `device` under `load`.
///
/// # Errors
///
/// If the device cannot be used, or runs out of memory.
pub fn measure(device: Device, load: &Load) -> anyhow::Result<Vec<Speed>> {
    on(device, Measurement { load })
}

struct Measurement<'a> {
    load: &'a Load,
}

impl Job for Measurement<'_> {
    type Output = Vec<Speed>;

    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<Vec<Speed>> {
        let Load { config, rank, dimensions, checkpointing, precision, .. } = self.load;
        let checkpoint = initial::drawn(config.clone(), 0, Default::default());
        let inputs = inputs(self.load);
        let targets = Targets::of(&inputs.text);
        let model = Llava::<B>::load(&checkpoint, *precision, device)?;
        let mut speeds = vec![];
        speeds.push(self.time("scores", || {
            answers(&model, model.forward(&inputs, None, None), &inputs.text, false);
            Ok(())
        })?);

        let adapters = lora::fresh::<B>(&config.text, *rank, 0, device);
        let layers = vec![(config.text.layers - 1).div_ceil(2)];
        let extraction = Extraction { layers, scale: 2.0, checkpointing: *checkpointing };
        let mut projector = Projector::<B>::new(Projection { seed: 0, dimensions: *dimensions }, device);
        let differentiable = model.differentiable::<B::Differentiable>();
        speeds.push(self.time("projected gradients of the middle layer", || {
            let extracted = extraction.run(&differentiable, &adapters, &inputs)?;
            host(projector.project(extracted.gradients));
            Ok(())
        })?);

        let mut trained = differentiable;
        lora::attach(&mut trained, *rank, 2.0 * *rank as f64, 0.05, 0);
        trained.visit(&mut Mark(Trained::Adapters));
        let mut optimizer = AdamW::<B::Differentiable>::new(0.0);
        speeds.push(self.time("training of adapters", || {
            let mut gradients = Gradients::<B::Differentiable>::new();
            let divisor = self.load.batch as f32;
            let backward =
                Backward { checkpointing: *checkpointing, divisor, reaches_embeddings: !inputs.pixels.is_empty() };
            let objective = |model: &Llava<B::Differentiable>, hidden| sum_of_sample_losses(model, hidden, &targets);
            backward.run(&mut trained, &inputs, objective, |model, found| {
                model.visit(&mut Collect { found, sum: &mut gradients });
            });
            optimizer.advance();
            let optimizer = &mut optimizer;
            let (learning_rate, projector_learning_rate) = (1e-4, 1e-5);
            trained.visit(&mut Step { optimizer, gradients, factor: 1.0, learning_rate, projector_learning_rate });
            B::sync(device).map_err(|error| anyhow::anyhow!("the device failed: {error:?}"))
        })?);
        Ok(speeds)
    }
}

impl Measurement<'_> {
    /// Runs `work` once to warm up, and then as often as is asked for.
    fn time(&self, what: &'static str, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Speed> {
        work()?;
        let mut seconds = Vec::new();
        for _ in 0..self.load.repeats.max(1) {
            let start = Instant::now();
            work()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        Ok(Speed { what, samples_per_second: self.load.batch as f64 / seconds[seconds.len() / 2] })
    }
}

fn inputs(load: &Load) -> Inputs {
    let (text, vision) = (&load.config.text, load.config.vision.as_ref());
    let mut draw = Draw::new(1);
    // The lowest ids are special tokens.
    let word = |draw: &mut Draw| 8 + (draw.uniform() * (text.vocab_size - 8) as f64) as u32;
    let image = vision.map_or(vec![], |vision| vec![vision.image_token; vision.image_tokens()]);
    let sample = |draw: &mut Draw| {
        let mut ids = image.clone();
        ids.extend((0..load.tokens).map(|_| match word(draw) {
            token if vision.is_some_and(|vision| vision.image_token == token) => 8,
            token => token,
        }));
        let answer = ids.len() - load.tokens.div_ceil(4);
        let labels = ids.iter().enumerate().map(|(at, id)| if at < answer { IGNORE } else { i64::from(*id) }).collect();
        Encoded { ids, labels, images: usize::from(vision.is_some()), cut: 0 }
    };
    let samples: Vec<Encoded> = (0..load.batch).map(|_| sample(&mut draw)).collect();
    let image_token = vision.map(|vision| vision.image_token);
    let text = Batch::new(&samples.iter().collect::<Vec<_>>(), Padding::Right, load.config.pad_token, image_token);
    let pixels = vision.map_or(0, |vision| 3 * vision.image_size * vision.image_size) * load.batch;
    Inputs { text, pixels: (0..pixels).map(|_| (draw.uniform() * 2.0 - 1.0) as f32).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_work_has_a_speed() {
        let config = r#"{"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24,
            "num_hidden_layers": 2, "num_attention_heads": 2}"#;
        let load = Load {
            config: LlavaConfig::parse(config).unwrap(),
            batch: 2,
            tokens: 8,
            precision: Precision::F32,
            rank: 2,
            dimensions: 8,
            checkpointing: true,
            repeats: 1,
        };
        let speeds = measure(Device::Cpu, &load).unwrap();
        assert_eq!(speeds.len(), 3);
        assert!(speeds.iter().all(|speed| speed.samples_per_second > 0.0), "{speeds:?}");
    }
}
