//! Short trainings against PyTorch's AdamW with the schedule of transformers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runner::ml::adapter::StoredAdapter;
use runner::ml::conversation::Labelled;
use runner::ml::llava::Llava;
use runner::ml::lora;
use runner::ml::optimizer::Trained;
use runner::ml::samples::{Encoding, Item, Samples};
use runner::ml::train::{Progress, Training};
use runner::ml::weights::{Checkpoint, Weights};
use serde::Deserialize;

use super::support::{Differentiable, arrays, assert_close, checkpoint, fixture, json, model};

/// The samples, and several runs on them.
#[derive(Deserialize)]
pub struct Known {
    batch: usize,
    epochs: f64,
    limit: usize,
    items: Vec<KnownItem>,
    pub runs: BTreeMap<String, Run>,
}

#[derive(Deserialize)]
struct KnownItem {
    name: String,
    turns: Vec<(String, String)>,
    images: Vec<PathBuf>,
}

/// How one run is set, and its steps.
#[derive(Deserialize)]
pub struct Run {
    warmup: f64,
    clip: f64,
    rate: f64,
    projector_rate: f64,
    decay: f64,
    steps: Vec<KnownStep>,
}

#[derive(Deserialize)]
struct KnownStep {
    loss: f32,
    rate: f64,
}

/// What PyTorch did.
pub fn known() -> Known {
    json("training/training.json")
}

/// The start of all runs. Its conversations have no system prompt.
fn start() -> Checkpoint {
    let mut checkpoint = checkpoint("trained");
    checkpoint.config.system = String::new();
    checkpoint
}

fn samples(known: &Known, checkpoint: &Checkpoint) -> Samples {
    let images = fixture("training/images");
    let item = |item: &KnownItem| Item {
        name: item.name.clone(),
        turns: item.turns.clone(),
        images: item.images.iter().map(|image| images.join(image).into()).collect(),
    };
    let items: Vec<Item> = known.items.iter().map(item).collect();
    let how = Encoding { labelled: Labelled::All, max_length: known.limit };
    let samples = Samples::encode(&checkpoint.companions, &checkpoint.config, &items, how).unwrap();
    assert_eq!(samples.cut(), 0);
    samples
}

fn training(known: &Known, run: &Run, trained: Trained, micro_batch: usize) -> Training {
    Training {
        trained,
        epochs: known.epochs,
        until: None,
        batch: known.batch,
        micro_batch,
        learning_rate: run.rate,
        projector_learning_rate: run.projector_rate,
        warmup: run.warmup,
        weight_decay: run.decay,
        clip: run.clip,
        grouped: false,
        seed: 0,
        checkpointing: micro_batch < known.batch,
    }
}

fn check_curve(run: &Run, curve: &[Progress]) {
    assert_eq!(curve.len(), run.steps.len());
    for (ours, theirs) in curve.iter().zip(&run.steps) {
        assert!((ours.learning_rate - theirs.rate).abs() < 1e-9 * run.rate, "{ours:?} instead of {}", theirs.rate);
    }
    let ours: Vec<f32> = curve.iter().map(|progress| progress.loss).collect();
    let theirs: Vec<f32> = run.steps.iter().map(|step| step.loss).collect();
    assert_close("losses", &ours, &theirs, 1e-4);
}

/// Fails if training changed a tensor by something else than it should, by more than a hundredth of the change.
fn check_change(name: &str, before: &[f32], ours: &[f32], theirs: &[f32]) {
    let change = |after: &[f32]| after.iter().zip(before).map(|(after, before)| after - before).collect::<Vec<f32>>();
    assert_close(&format!("changes of `{name}`"), &change(ours), &change(theirs), 1e-2);
}

/// A run of LoRA: where it started, the samples, the model with its adapters, and the curve.
pub struct Learnt {
    pub checkpoint: Checkpoint,
    pub samples: Samples,
    pub before: StoredAdapter,
    pub model: Llava<Differentiable>,
    curve: Vec<Progress>,
}

pub fn learn(known: &Known, run: &Run, micro_batch: usize) -> Learnt {
    let checkpoint = start();
    let samples = samples(known, &checkpoint);
    let before = StoredAdapter::find(&checkpoint.companions).unwrap().expect("it has an adapter");
    let mut model = model::<Differentiable>(&checkpoint);
    lora::restore(&mut model, &before).unwrap();
    let mut curve = Vec::new();
    let training = training(known, run, Trained::Adapters, micro_batch);
    training.run(&mut model, &samples, |progress| curve.push(progress)).unwrap();
    Learnt { checkpoint, samples, before, model, curve }
}

fn check_lora(name: &str, micro_batch: usize) {
    let known = known();
    let run = &known.runs[name];
    let Learnt { checkpoint, before, mut model, curve, .. } = learn(&known, run, micro_batch);
    check_curve(run, &curve);

    let mut expected = arrays(&format!("training/{name}.safetensors"));
    let after = lora::merge(&mut model, before.rank, before.alpha, 0.0);
    for (layer, after) in &after.layers {
        let before = &before.layers[layer];
        for (matrix, before, after) in [("lora_A", &before.a, &after.a), ("lora_B", &before.b, &after.b)] {
            let name = format!("{layer}.{matrix}");
            let theirs = expected.remove(&name).unwrap_or_else(|| panic!("`{name}` was not trained"));
            check_change(&name, &before.values, &after.values, &theirs.values);
        }
    }
    let mut weights = checkpoint.weights.clone();
    model.store(&mut weights);
    for (name, theirs) in &expected {
        assert!(name.starts_with("multi_modal_projector."), "`{name}` was trained");
        let (before, after) = (checkpoint.weights.fetch(name, &theirs.shape), weights.fetch(name, &theirs.shape));
        check_change(name, &before.unwrap(), &after.unwrap(), &theirs.values);
    }
    assert_eq!(expected.len(), 4);
}

#[test]
fn lora_learns_what_it_learns_in_pytorch() {
    check_lora("lora", 4);
}

#[test]
fn warming_up_parts_of_a_batch_and_computing_activations_again_change_nothing() {
    check_lora("lora_warmup", 3);
}

/// The Trainer also decays the class embedding, whose name is neither that of a bias nor of a norm; here vectors are
/// never decayed. A bias of keys moves all scores of a query alike, so its gradient is zero but for rounding, of
/// which Adam makes steps of full size.
const EXCEPTIONS: [&str; 2] = ["class_embedding", "k_proj.bias"];

#[test]
fn training_everything_with_weight_decay_is_that_of_pytorch() {
    let known = known();
    let (checkpoint, run) = (start(), &known.runs["full"]);
    let samples = samples(&known, &checkpoint);
    let mut model = model::<Differentiable>(&checkpoint);
    let mut curve = Vec::new();
    let training = training(&known, run, Trained::Everything, 4);
    training.run(&mut model, &samples, |progress| curve.push(progress)).unwrap();
    check_curve(run, &curve);

    let mut ours = checkpoint.weights.clone();
    model.store(&mut ours);
    let theirs = Weights::open(&fixture("training/full")).unwrap();
    let mut changed = 0;
    for (name, theirs) in theirs.iter() {
        let before = &checkpoint.weights.fetch(name, theirs.shape()).unwrap();
        let ours = &ours.fetch(name, theirs.shape()).unwrap();
        let theirs = &theirs.fetch().unwrap();
        if before == theirs {
            assert_eq!(ours, before, "`{name}` takes no part");
        } else if !EXCEPTIONS.iter().any(|end| name.ends_with(end)) {
            check_change(name, before, ours, theirs);
            changed += 1;
        }
    }
    assert_eq!(changed, 43);
}
