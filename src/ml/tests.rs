//! The model, its gradients and its decoding against independent computations.

use std::collections::BTreeMap;

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};

use super::answer::{decode, would_answer_right};
use super::backward::Backward;
use super::batch::{Batch, Padding};
use super::config::LlavaConfig;
use super::conversation::{Encoded, IGNORE};
use super::gradient::Extraction;
use super::initial::{self, Draw};
use super::linear::Adapter;
use super::llava::{Llava, host};
use super::loss::{Targets, sum_of_sample_losses};
use super::lora;
use super::names;
use super::optimizer::{AdamW, Collect, Gradients, Mark, Step, Trained};
use super::precision::Precision;
use super::samples::Inputs;
use super::tensors;
use super::weights::{Checkpoint, Weights};

const CONFIG: &str = r#"{
    "model_type": "llava", "image_token_index": 3, "pad_token_id": 4, "bos_token_id": 1, "eos_token_id": 2,
    "vision_feature_layer": -1, "vision_feature_select_strategy": "default", "projector_hidden_act": "gelu",
    "tie_word_embeddings": true,
    "text_config": {"model_type": "llama", "vocab_size": 24, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
        "max_position_embeddings": 64, "tie_word_embeddings": true},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 8, "intermediate_size": 12,
        "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 4, "patch_size": 2}
}"#;

type Compute = Flex;
type Differentiable = Autodiff<Flex>;

const IMAGE: u32 = 3;
const PAD: u32 = 4;

/// A model of random weights, norms and biases included.
fn checkpoint() -> Checkpoint {
    let config = LlavaConfig::parse(CONFIG).expect("the config is one");
    let mut draw = Draw::new(3);
    let mut weights = Weights::default();
    for (name, shape) in names::shapes(&config) {
        let size = shape.iter().product();
        let values = (0..size).map(|_| (draw.uniform() - 0.5) as f32).collect();
        weights.insert(name, tensors::Tensor::new(shape, values));
    }
    Checkpoint { config, weights, companions: Default::default() }
}

/// A sample of `words` text tokens after `images` images, whose last three tokens are the answer.
fn encoded(images: usize, words: usize, seed: u64) -> Encoded {
    let mut draw = Draw::new(seed);
    let mut ids = vec![1];
    ids.extend(std::iter::repeat_n(IMAGE, images * 4));
    ids.extend((0..words).map(|_| 5 + (draw.uniform() * 19.0) as u32));
    let labels = ids.iter().enumerate().map(|(at, id)| if at + 3 < ids.len() { IGNORE } else { i64::from(*id) });
    Encoded { labels: labels.collect(), ids, images, cut: 0 }
}

fn inputs(samples: &[Encoded]) -> Inputs {
    let images: usize = samples.iter().map(|sample| sample.images).sum();
    let pixels = samples.iter().flat_map(|sample| {
        let mut draw = Draw::new(sample.ids.len() as u64);
        (0..sample.images * 48).map(move |_| (draw.uniform() - 0.5) as f32).collect::<Vec<_>>()
    });
    let pixels: Vec<f32> = pixels.collect();
    assert_eq!(pixels.len(), images * 48);
    Inputs { text: Batch::new(&samples.iter().collect::<Vec<_>>(), Padding::Right, PAD, Some(IMAGE)), pixels }
}

fn samples() -> Vec<Encoded> {
    vec![encoded(1, 6, 1), encoded(0, 9, 2), encoded(2, 5, 3)]
}

/// A model with adapters whose B is not zero.
fn adapted(checkpoint: &Checkpoint) -> Llava<Differentiable> {
    let mut model = Llava::<Differentiable>::load(checkpoint, Precision::F32, &Default::default()).expect("the checkpoint is whole");
    lora::attach(&mut model, 2, 4.0, 0.0, 5);
    let mut draw = Draw::new(6);
    for linear in model.language.adapted_mut() {
        let adapter = linear.adapter.as_mut().expect("an adapter was attached");
        let shape = adapter.b.dims();
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| (draw.uniform() - 0.5) as f32).collect();
        adapter.b = Tensor::from_data(TensorData::new(values, shape), &Default::default());
    }
    model
}

/// All values by name.
fn values(weights: &Weights) -> BTreeMap<String, Vec<f32>> {
    weights.iter().map(|(name, tensor)| (name.to_string(), tensor.fetch().expect("it is in memory"))).collect()
}

fn loss<B: super::kernels::Kernels>(model: &Llava<B>, inputs: &Inputs) -> Tensor<B, 1> {
    sum_of_sample_losses(model, model.forward(inputs, None, None), &Targets::of(&inputs.text))
}

fn assert_close(left: &[f32], right: &[f32], tolerance: f32) {
    assert_eq!(left.len(), right.len());
    let most = right.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    assert!(most > 1e-4, "there is something to compare");
    for (index, (a, b)) in left.iter().zip(right).enumerate() {
        assert!((a - b).abs() <= tolerance * most, "element {index}: {a} against {b}");
    }
}

#[test]
fn batched_gradients_of_merged_adapters_are_those_of_a_loop_over_the_samples() {
    let checkpoint = checkpoint();
    let mut model = adapted(&checkpoint);
    let layers = vec![1, 2];

    // One sample at a time, by automatic differentiation with respect to A and B themselves.
    let mut expected = Vec::new();
    for sample in samples() {
        for linear in model.language.adapted_mut() {
            let Adapter { a, b, scale, dropout } = linear.adapter.take().expect("an adapter was attached");
            let (a, b) = (a.detach().require_grad(), b.detach().require_grad());
            linear.adapter = Some(Adapter { a, b, scale, dropout });
        }
        let found = loss(&model, &inputs(&[sample])).backward();
        let mut row = Vec::new();
        for linear in model.language.adapted_mut().skip(7) {
            let adapter = linear.adapter.as_ref().expect("an adapter was attached");
            for matrix in [&adapter.a, &adapter.b] {
                let gradient = matrix.grad(&found).expect("the loss depends on every adapter");
                row.extend(host(gradient.transpose()));
            }
        }
        expected.extend(row);
    }

    let adapters = lora::attached(&mut model).into_iter();
    let adapters = adapters.map(|(name, (a, b))| (name, (a.inner(), b.inner()))).collect();
    lora::merge(&mut model, 2, 4.0, 0.0);
    let extraction = Extraction { layers, scale: 2.0, checkpointing: false };
    let extracted = extraction.run(&model, &adapters, &inputs(&samples())).expect("every layer has an adapter");
    let gradients = host(extracted.gradients);
    assert_close(&gradients, &expected, 1e-3);

    let again = Extraction { checkpointing: true, ..extraction };
    let again = again.run(&model, &adapters, &inputs(&samples())).expect("every layer has an adapter");
    assert_eq!((host(again.gradients), again.hidden), (gradients, extracted.hidden), "computed layer by layer");
}

#[test]
fn gradients_agree_with_finite_differences() {
    let checkpoint = checkpoint();
    let inputs = inputs(&samples());
    let mut model = adapted(&checkpoint);
    let name = "language_model.model.layers.1.mlp.gate_proj";
    for linear in model.language.adapted_mut().filter(|linear| linear.name == name) {
        linear.weight = linear.weight.clone().detach().require_grad();
    }
    let found = loss(&model, &inputs).backward();
    for place in [0usize, 37, 101] {
        let shifted = |step: f32| {
            let mut model = adapted(&checkpoint);
            for linear in model.language.adapted_mut().filter(|linear| linear.name == name) {
                let mut values = host(linear.weight.clone());
                values[place] += step;
                linear.weight = Tensor::from_data(TensorData::new(values, linear.weight.dims()), &Default::default());
            }
            f64::from(host(loss(&model, &inputs))[0])
        };
        let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
        let linear = model.language.adapted_mut().find(|linear| linear.name == name).expect("the layer exists");
        let exact = f64::from(host(linear.weight.grad(&found).expect("it was marked"))[place]);
        assert!((numeric - exact).abs() < 2e-3 + 0.02 * exact.abs(), "{numeric} against {exact} at {place}");
    }
}

#[test]
fn a_sample_scores_the_same_alone_and_in_any_batch() {
    let model = Llava::<Compute>::load(&checkpoint(), Precision::F32, &Default::default()).expect("the checkpoint is whole");
    let alone: Vec<f32> =
        samples().into_iter().map(|sample| host(loss(&model, &inputs(&[sample])))[0]).collect();
    let together = host(loss(&model, &inputs(&samples())))[0];
    assert!((alone.iter().sum::<f32>() - together).abs() < 1e-4);
}

#[test]
fn decoding_with_a_cache_gives_what_full_passes_call_most_probable() {
    let model = Llava::<Compute>::load(&checkpoint(), Precision::F32, &Default::default()).expect("the checkpoint is whole");
    let prompt = encoded(1, 6, 4);
    let end = 2;
    let answer = decode(&model, &inputs(&[prompt.clone()]), end, 6).remove(0);
    assert!(!answer.is_empty());
    let mut continued = prompt;
    continued.labels = vec![IGNORE; continued.ids.len()];
    for token in &answer {
        continued.ids.push(*token as u32);
        continued.labels.push(*token);
    }
    assert_eq!(would_answer_right(&model, &inputs(&[continued.clone()])), [true]);
    let last = continued.labels.len() - 1;
    continued.labels[last] = (continued.labels[last] + 1) % 24;
    assert_eq!(would_answer_right(&model, &inputs(&[continued])), [false]);
}

#[test]
fn what_a_model_stores_is_what_it_was_loaded_from() {
    let mut checkpoint = checkpoint();
    let original = values(&checkpoint.weights);
    let mut model = Llava::<Compute>::load(&checkpoint, Precision::F32, &Default::default()).expect("the checkpoint is whole");
    model.store(&mut checkpoint.weights);
    assert_eq!(values(&checkpoint.weights), original);
}

#[test]
fn merged_adapters_leave_the_function_as_it_was() {
    let mut model = adapted(&checkpoint());
    let before = host(loss(&model, &inputs(&samples())))[0];
    let stored = lora::merge(&mut model, 2, 4.0, 0.0);
    assert_eq!(stored.layers.len(), 21);
    let after = host(loss(&model, &inputs(&samples())))[0];
    assert!((before - after).abs() < 1e-4 * before.abs());
}

#[test]
fn a_drawn_model_is_the_same_for_the_same_seed_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("config.json"), CONFIG).expect("the config is written");
    let draw = |seed| values(&initial::checkpoint(folder.path(), seed).expect("the config is one").weights);
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn training_layer_by_layer_gives_the_same_bytes() {
    let train = |trained: Trained, checkpointing: bool| {
        let mut checkpoint = checkpoint();
        let mut model = Llava::<Differentiable>::load(&checkpoint, Precision::F32, &Default::default()).expect("whole");
        if trained == Trained::Adapters {
            lora::attach(&mut model, 2, 4.0, 0.3, 5);
        }
        let inputs = inputs(&samples());
        let mut optimizer = AdamW::<Differentiable>::new(0.0);
        model.visit(&mut Mark(trained));
        for step in 0..3 {
            let mut gradients = Gradients::<Differentiable>::new();
            model.language.dropout_seed = step;
            let backward = Backward { checkpointing, divisor: 3.0, reaches_embeddings: true };
            let targets = Targets::of(&inputs.text);
            let objective = |model: &Llava<Differentiable>, hidden| sum_of_sample_losses(model, hidden, &targets);
            let loss = backward.run(&mut model, &inputs, objective, |model, found| {
                model.visit(&mut Collect { found, sum: &mut gradients });
            });
            assert!(loss > 0.0);
            optimizer.advance();
            let (learning_rate, projector_learning_rate) = (1e-2, 1e-2);
            let optimizer = &mut optimizer;
            model.visit(&mut Step { optimizer, gradients, factor: 1.0, learning_rate, projector_learning_rate });
        }
        lora::merge(&mut model, 2, 4.0, 0.3);
        model.store(&mut checkpoint.weights);
        values(&checkpoint.weights)
    };
    for trained in [Trained::Adapters, Trained::Everything] {
        let whole = train(trained, false);
        assert_ne!(whole, values(&checkpoint().weights), "something was learnt");
        assert_eq!(whole, train(trained, true), "{trained:?}");
    }
}

#[test]
fn bf16_is_the_same_model_with_less_precision() {
    let checkpoint = checkpoint();
    let load = |precision| Llava::<Compute>::load(&checkpoint, precision, &Default::default()).expect("whole");
    let exact = host(loss(&load(Precision::F32), &inputs(&samples())))[0];
    let rounded = host(loss(&load(Precision::Bf16), &inputs(&samples())))[0];
    assert!(exact != rounded && (exact - rounded).abs() < 0.02 * exact, "{exact} and {rounded}");

    let mut model = load(Precision::Bf16).differentiable::<Differentiable>();
    lora::attach(&mut model, 2, 4.0, 0.0, 5);
    let adapters = lora::attached(&mut model).into_iter();
    let adapters = adapters.map(|(name, (a, b))| (name, (a.inner(), b.inner()))).collect();
    let gradients = |model: &Llava<Differentiable>| {
        let extraction = Extraction { layers: vec![1], scale: 2.0, checkpointing: false };
        host(extraction.run(model, &adapters, &inputs(&samples())).expect("there are adapters").gradients)
    };
    let exact = gradients(&load(Precision::F32).differentiable());
    assert_close(&gradients(&model), &exact, 0.05);
}

#[test]
fn a_model_that_reads_text_only_is_the_language_model_of_one_that_sees() {
    let whole = checkpoint();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config: serde_json::Value = serde_json::from_str(CONFIG).expect("it is JSON");
    let mut text = config["text_config"].take();
    for name in ["pad_token_id", "bos_token_id", "eos_token_id"] {
        text[name] = config[name].clone();
    }
    let mut weights = Weights::default();
    for (name, values) in values(&whole.weights).into_iter().filter(|(name, _)| name.starts_with("language_model.")) {
        let shape = whole.weights.shape(&name).expect("it is there");
        weights.insert(name, tensors::Tensor::new(shape, values));
    }
    let config = LlavaConfig::parse(&text.to_string()).expect("a LLaMA config");
    let written = Checkpoint { config, weights, companions: Default::default() };
    written.write(folder.path(), Precision::F32.numbers()).expect("it is written");
    let names = std::fs::read(folder.path().join("model.safetensors")).expect("it was written");
    assert!(String::from_utf8_lossy(&names).contains("\"model.layers.0.mlp.down_proj.weight\""), "as transformers has it");

    let read = Checkpoint::read(folder.path()).expect("it was written");
    let load = |checkpoint| Llava::<Compute>::load(checkpoint, Precision::F32, &Default::default()).expect("whole");
    let text = [encoded(0, 9, 2)];
    let mut inputs = inputs(&text);
    inputs.text = Batch::new(&[&text[0]], Padding::Right, PAD, None);
    assert_eq!(host(loss(&load(&read), &inputs)), host(loss(&load(&whole), &inputs)));
}
