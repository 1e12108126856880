//! Whether a device computes what the processor computes: a small drawn model goes through every kind of
//! computation that stages do, on both.

use anyhow::Context;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};

use super::answer::decode;
use super::backward::Backward;
use super::batch::{Batch, Padding};
use super::config::LlavaConfig;
use super::conversation::{Encoded, IGNORE};
use super::device::{Compute, Job, on};
use super::gradient::{Adapters, Extraction, Projector};
use super::initial::{self, Draw};
use super::kernels::{Kernels, projection};
use super::kmeans::KMeans;
use super::llava::{Llava, host};
use super::lora;
use super::loss::{Targets, log_probabilities, sum_of_sample_losses};
use super::optimizer::{AdamW, Collect, Gradients, Mark, Step, Trained};
use super::precision::Precision;
use super::projection::Projection;
use super::samples::Inputs;
use super::weights::Checkpoint;
use crate::devices::Device;

/// How far a device is from the processor in one kind of computation.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// What was computed.
    pub what: &'static str,
    /// ‖device − processor‖ / ‖processor‖.
    pub error: f64,
    /// The greatest error that is accepted.
    pub tolerance: f64,
}

impl Agreement {
    /// Whether the device may be used for it.
    pub fn holds(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// Compares `device` with the processor.
///
/// # Errors
///
/// If the device cannot be used.
pub fn compare(device: Device) -> anyhow::Result<Vec<Agreement>> {
    let expected = on(Device::Cpu, Figures)?;
    let found = on(device, Figures)?;
    let compare = |(expected, found): (&Figure, &Figure)| Agreement {
        what: expected.what,
        error: distance(&found.values, &expected.values),
        tolerance: expected.tolerance,
    };
    Ok(expected.iter().zip(&found).map(compare).collect())
}

fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    match (found.len() == expected.len(), norm(&mut expected.iter().map(|value| f64::from(*value)))) {
        (false, _) => f64::INFINITY,
        (true, 0.0) => difference,
        (true, size) => difference / size,
    }
}

/// The numbers of one kind of computation.
struct Figure {
    what: &'static str,
    /// For f32, what remains if a device multiplies matrices with 10 bits of mantissa (TF32).
    tolerance: f64,
    values: Vec<f32>,
}

/// The computations.
struct Figures;

const CONFIG: &str = r#"{
    "model_type": "llava", "image_token_index": 3, "pad_token_id": 4, "bos_token_id": 1, "eos_token_id": 2,
    "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "projector_hidden_act": "gelu",
    "text_config": {"model_type": "llama", "vocab_size": 256, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}
}"#;
const IMAGE: u32 = 3;
const PAD: u32 = 4;
const RANK: usize = 4;
const DIMENSIONS: usize = 128;

impl Job for Figures {
    type Output = Vec<Figure>;

    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<Vec<Figure>> {
        let checkpoint = checkpoint()?;
        let inputs = inputs(&samples());
        let targets = Targets::of(&inputs.text);
        let mut figures = Vec::new();
        let mut figure = |what, tolerance, values| figures.push(Figure { what, tolerance, values });
        for (precision, what, tolerance) in
            [(Precision::F32, "log-probabilities in f32", 1e-3), (Precision::Bf16, "log-probabilities in bf16", 2e-2)]
        {
            let model = Llava::<B>::load(&checkpoint, precision, device)?;
            figure(what, tolerance, host(log_probabilities(&model, model.forward(&inputs, None, None), &targets)));
        }
        let model = Llava::<B>::load(&checkpoint, Precision::F32, device)?;
        let mut adapted = model.differentiable::<B::Differentiable>();
        let adapters = adapt(&mut adapted);
        let extraction = Extraction { layers: vec![1, 2], scale: 2.0, checkpointing: false };
        let extracted = extraction.run(&adapted, &adapters, &inputs)?;
        figure("gradients of each sample", 5e-3, host(extracted.gradients.clone()));
        figure("hidden states", 1e-3, extracted.hidden.concat());
        let again = Extraction { checkpointing: true, ..extraction };
        figure("gradients with checkpointing", 5e-3, host(again.run(&adapted, &adapters, &inputs)?.gradients));
        let mut projector = Projector::<B>::new(Projection { seed: 5, dimensions: DIMENSIONS }, device);
        let projected = host(projector.project(extracted.gradients));
        let clusters = KMeans { clusters: 3, spherical: true, restarts: 3, iterations: 50, seed: 0 };
        let labels = clusters.fit(&projected, DIMENSIONS)?.labels;
        figure("projected gradients", 5e-3, projected);
        figure("clusters of the projected gradients", 0.0, labels.into_iter().map(|label| label as f32).collect());
        figure(
            "a projection matrix",
            0.0,
            host(projection::<B>(&Projection { seed: 9, dimensions: 100 }, 7..70, device)),
        );
        let prompt = Batch::new(&[&prompt()], Padding::Right, PAD, Some(IMAGE));
        let decoded = decode(&model, &Inputs { text: prompt, pixels: vec![] }, 2, 12).concat();
        figure("greedy decoding", 0.0, decoded.into_iter().map(|token| token as f32).collect());
        figure("weights after training adapters", 1e-3, train(adapted, &inputs));
        Ok(figures)
    }
}

/// Gives the model adapters with a B that is not zero, and returns them.
fn adapt<B>(model: &mut Llava<B>) -> Adapters<B::InnerBackend>
where
    B: Kernels + AutodiffBackend,
{
    lora::attach(model, RANK, 2.0 * RANK as f64, 0.0, 1);
    let mut draw = Draw::new(2);
    let device = model.device().clone();
    for linear in model.language.adapted_mut() {
        let adapter = linear.adapter.as_mut().expect("BUG: it was just attached");
        let shape = adapter.b.dims();
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| (draw.uniform() - 0.5) as f32 * 0.1).collect();
        adapter.b = Tensor::from_data(TensorData::new(values, shape), &device);
    }
    let adapters = lora::attached(model).into_iter();
    adapters.map(|(name, (a, b))| (name, (a.inner(), b.inner()))).collect()
}

/// The merged weights of one layer after a few steps.
fn train<B>(mut model: Llava<B>, inputs: &Inputs) -> Vec<f32>
where
    B: Kernels + AutodiffBackend,
    B::InnerBackend: Kernels,
{
    let targets = Targets::of(&inputs.text);
    let mut optimizer = AdamW::<B>::new(0.0);
    model.visit(&mut Mark(Trained::Adapters));
    for _ in 0..4 {
        let mut gradients = Gradients::<B>::new();
        let backward = Backward { checkpointing: true, divisor: 4.0, reaches_embeddings: true };
        let objective = |model: &Llava<B>, hidden| sum_of_sample_losses(model, hidden, &targets);
        backward.run(&mut model, inputs, objective, |model, found| {
            model.visit(&mut Collect { found, sum: &mut gradients });
        });
        optimizer.advance();
        let (learning_rate, projector_learning_rate) = (1e-3, 1e-3);
        let optimizer = &mut optimizer;
        model.visit(&mut Step { optimizer, gradients, factor: 1.0, learning_rate, projector_learning_rate });
    }
    lora::merge(&mut model, RANK, 2.0 * RANK as f64, 0.0);
    let layer = model.language.adapted_mut().nth(9).expect("BUG: there are 28");
    host(layer.weight.clone())
}

fn checkpoint() -> anyhow::Result<Checkpoint> {
    let config = LlavaConfig::parse(CONFIG).context("BUG: the config is one")?;
    Ok(initial::drawn(config, 3, Default::default()))
}

/// Conversations in drawn tokens, of several lengths, with up to two images and some without.
fn samples() -> Vec<Encoded> {
    let mut draw = Draw::new(4);
    let sample = |number: usize| {
        let images = number % 3;
        let mut ids = vec![1];
        ids.extend(std::iter::repeat_n(IMAGE, images * 4));
        ids.extend((0..6 + number % 5).map(|_| 5 + (draw.uniform() * 251.0) as u32));
        let answer = ids.len() - 4;
        let labels = ids.iter().enumerate().map(|(at, id)| if at < answer { IGNORE } else { i64::from(*id) }).collect();
        Encoded { ids, labels, images, cut: 0 }
    };
    (0..12).map(sample).collect()
}

fn prompt() -> Encoded {
    Encoded { ids: vec![1, 20, 30, 40, 50], labels: vec![IGNORE; 5], images: 0, cut: 0 }
}

fn inputs(samples: &[Encoded]) -> Inputs {
    let mut draw = Draw::new(6);
    let images: usize = samples.iter().map(|sample| sample.images).sum();
    let pixels = (0..images * 3 * 28 * 28).map(|_| (draw.uniform() * 2.0 - 1.0) as f32).collect();
    Inputs { text: Batch::new(&samples.iter().collect::<Vec<_>>(), Padding::Right, PAD, Some(IMAGE)), pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_agrees_with_itself_in_everything() {
        let agreements = compare(Device::Cpu).unwrap();
        assert_eq!(agreements.len(), 10);
        assert!(agreements.iter().all(|agreement| agreement.error == 0.0), "{agreements:?}");
    }

    #[test]
    fn a_device_that_is_off_is_told_apart() {
        assert_eq!(distance(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((distance(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-6);
        assert_eq!(distance(&[1.0], &[1.0, 2.0]), f64::INFINITY);
        assert!(!Agreement { what: "x", error: f64::NAN, tolerance: 1.0 }.holds());
    }
}
