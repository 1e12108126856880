//! The model, its gradients and its decoding against independent computations.

use std::collections::BTreeMap;

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};

use super::answer::{decode, would_answer_right};
use super::backward::Backward;
use super::batch::{Batch, Padding};
use super::config::LlavaConfig;
use super::conversation::{Encoded, IGNORE};
use super::factors::Factors;
use super::gradient::{Adapters, Extraction, Preconditioner, Projector};
use super::hidden::Readout;
use super::initial::{self, Draw};
use super::kmeans::KMeans;
use super::language::{Kept, Watch};
use super::linear::Adapter;
use super::llava::{Llava, host};
use super::loss::{Targets, sum_of_sample_losses};
use super::lora;
use super::moments::Moments;
use super::names;
use super::optimizer::{AdamW, Collect, Gradients, Mark, Step, Trained};
use super::precision::Precision;
use super::projection::Projection;
use super::samples::Inputs;
use super::tensors;
use super::weights::{Checkpoint, Weights};
use super::zeroth::Perturbation;

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

/// A model whose weights include its adapters, with them.
fn merged(checkpoint: &Checkpoint) -> (Llava<Compute>, Llava<Differentiable>, Adapters<Compute>) {
    let mut model = adapted(checkpoint);
    let adapters = lora::attached(&mut model).into_iter();
    let adapters = adapters.map(|(name, (a, b))| (name, (a.inner(), b.inner()))).collect();
    lora::merge(&mut model, 2, 4.0, 0.0);
    let mut merged = checkpoint.clone();
    model.store(&mut merged.weights);
    let plain = Llava::load(&merged, Precision::F32, &Default::default()).expect("the checkpoint is whole");
    (plain, model, adapters)
}

#[test]
fn differences_of_losses_are_the_projected_gradient() {
    let (mut plain, model, adapters) = merged(&checkpoint());
    let projection = Projection { seed: 9, dimensions: 70 };
    let layers = vec![1, 2];
    let extraction = Extraction { layers: layers.clone(), scale: 2.0, checkpointing: false };
    let gradients = extraction.run(&model, &adapters, &inputs(&samples())).expect("there are adapters").gradients;
    let expected = host(Projector::new(projection, &Default::default()).project(gradients.clone()));
    let perturbation = Perturbation::new(&mut plain, &adapters, layers, 2.0, 1e-2).expect("there are adapters");
    assert_eq!(perturbation.parameters(), gradients.dims()[1]);
    let before = host(loss(&plain, &inputs(&samples())));
    let found = perturbation.derivatives(&mut plain, &perturbation.probes(projection), &inputs(&samples()));
    assert_close(&found.concat(), &expected, 5e-3);
    assert_eq!(host(loss(&plain, &inputs(&samples()))), before, "the model is as it was");

    // One sample's own directions: the estimate is its projection onto them.
    let own = inputs(&samples()[..1]);
    let probes = perturbation.probes(Projection { seed: 4, dimensions: 3 });
    let derivatives = perturbation.derivatives(&mut plain, &probes, &own).remove(0);
    let estimate = perturbation.estimate(&mut plain, &probes, &own);
    let matrix = Projection { seed: 4, dimensions: 3 }.block(0..estimate.len());
    let along = |row: &[f32]| row.iter().zip(&derivatives).map(|(element, derivative)| element * derivative).sum();
    let expected: Vec<f32> = matrix.chunks_exact(3).map(along).collect();
    assert_close(&estimate, &expected, 1e-4);
}

/// Samples of two groups: the one answers with one token, the other with another.
#[test]
fn shared_directions_tell_groups_apart_and_directions_of_each_sample_do_not() {
    let (mut plain, _, adapters) = merged(&checkpoint());
    let groups: Vec<Encoded> = (0..16)
        .map(|number| {
            let mut sample = encoded(0, 9, 40 + number);
            let token = if number % 2 == 0 { 7 } else { 19 };
            for at in sample.ids.len() - 3..sample.ids.len() {
                sample.ids[at] = token;
                sample.labels[at] = i64::from(token);
            }
            sample
        })
        .collect();
    let perturbation = Perturbation::new(&mut plain, &adapters, vec![1], 2.0, 1e-3).expect("there are adapters");
    let all = inputs(&groups);
    let shared = perturbation.probes(Projection { seed: 1, dimensions: 16 });
    let shared = perturbation.derivatives(&mut plain, &shared, &all);
    let own: Vec<Vec<f32>> = (0..groups.len())
        .map(|number| {
            let probes = perturbation.probes(Projection { seed: 100 + number as u64, dimensions: 1 });
            perturbation.estimate(&mut plain, &probes, &inputs(&groups[number..number + 1]))
        })
        .collect();
    // The share of pairs on whose being of one group two clusters agree with the truth.
    let agreement = |vectors: &[Vec<f32>]| {
        let kmeans = KMeans { clusters: 2, spherical: true, restarts: 5, iterations: 50, seed: 0 };
        let labels = kmeans.fit(&vectors.concat(), vectors[0].len()).expect("they are finite").labels;
        let pairs: Vec<(usize, usize)> =
            (0..16).flat_map(|one| (0..one).map(move |other| (one, other))).collect();
        let agrees = |(one, other): &&(usize, usize)| (labels[*one] == labels[*other]) == (one % 2 == other % 2);
        pairs.iter().filter(agrees).count() as f64 / pairs.len() as f64
    };
    let (shared, own) = (agreement(&shared), agreement(&own));
    assert_eq!(shared, 1.0);
    assert!(own < 0.7, "{own}");
}

#[test]
fn factorised_projections_are_products_with_both_sides_and_keep_inner_products_on_average() {
    let (_, model, adapters) = merged(&checkpoint());
    let inputs = inputs(&samples());
    let extraction = Extraction { layers: vec![1], scale: 2.0, checkpointing: false };
    let readout = Readout::Mean { layer: 1 };
    let project = |seed, side| {
        let mut factors = Factors::new(seed, side);
        host(extraction.read(&model, &adapters, &inputs, &readout, Some(&mut factors)).expect("it is whole").gradients)
    };
    let full = host(extraction.run(&model, &adapters, &inputs).expect("it is whole").gradients);
    // A side that is not longer than the projection is left, so this one changes nothing.
    assert_close(&project(0, 64), &full, 1e-5);
    let shapes = super::language::adapted(&checkpoint().config.text)[..7].to_vec();
    let shapes = shapes.into_iter().flat_map(|(_, [inputs, outputs])| [[2, inputs], [outputs, 2]]);
    assert_eq!(project(0, 4).len(), 3 * super::factors::dimensions(shapes, 4));
    let inner = |rows: &[f32]| {
        let width = rows.len() / 3;
        let row = |sample: usize| rows[sample * width..(sample + 1) * width].iter();
        let product = |one, other| row(one).zip(row(other)).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        [product(0, 0), product(0, 1), product(1, 2)]
    };
    let expected = inner(&full);
    let seeds = 300;
    let mut means = [0.0; 3];
    for seed in 0..seeds {
        let found = inner(&project(seed, 4));
        means.iter_mut().zip(found).for_each(|(mean, found)| *mean += found / seeds as f64);
    }
    let scale = expected[0];
    for (mean, expected) in means.iter().zip(expected) {
        assert!((mean - expected).abs() < 0.1 * scale, "{means:?} against {expected:?}");
    }
}

#[test]
fn adam_preconditions_a_gradient_by_the_published_formula() {
    let (first, second) = (vec![0.5f32, -0.25, 0.0], vec![0.04f32, 1e-6, 0.0]);
    let preconditioner = Preconditioner::<Compute>::new(first.clone(), second.clone(), &Default::default());
    let gradients = [[0.1f32, -0.2, 0.0], [-1.0, 0.0, 1e-5]];
    let data = TensorData::new(gradients.concat(), [2, 3]);
    let found = host(preconditioner.apply(Tensor::from_data(data, &Default::default())));
    let expected = gradients.iter().flat_map(|row| {
        row.iter().zip(&first).zip(&second).map(|((g, m), v)| {
            let (g, m, v) = (f64::from(*g), f64::from(*m), f64::from(*v));
            ((0.9 * m + 0.1 * g) / (0.999 * v + 0.001 * g * g + 1e-8).sqrt()) as f32
        })
    });
    assert_close(&found, &expected.collect::<Vec<_>>(), 1e-5);
}

#[test]
fn what_adam_knows_is_kept_beside_the_adapter() {
    let (mut model, inputs) = (adapted(&checkpoint()), inputs(&samples()));
    let mut optimizer = AdamW::<Differentiable>::new(0.0);
    model.visit(&mut Mark(Trained::Adapters));
    let found = loss(&model, &inputs).backward();
    let mut gradients = Gradients::<Differentiable>::new();
    model.visit(&mut Collect { found: &found, sum: &mut gradients });
    let expected = host(gradients["language_model.model.layers.1.mlp.up_proj.lora_A"].clone());
    optimizer.advance();
    let (optimizer_, learning_rate, projector_learning_rate) = (&mut optimizer, 1e-3, 1e-3);
    model.visit(&mut Step { optimizer: optimizer_, gradients, factor: 1.0, learning_rate, projector_learning_rate });
    let moments = lora::moments(&mut model, &optimizer);
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(Moments::find(folder.path()).expect("nothing is damaged"), None);
    lora::merge(&mut model, 2, 4.0, 0.0).write(folder.path()).expect("it is written");
    moments.write(folder.path()).expect("it is written");
    let read = Moments::find(folder.path()).expect("it was written").expect("it is there");
    assert_eq!(read, moments);
    let [first, second] = &read.matrices["language_model.model.layers.1.mlp.up_proj.lora_A"];
    assert_eq!(first.shape, [2, 16], "as the adapter's file has it");
    // After one step from nothing the averages are a tenth and a thousandth.
    let turned: Vec<f32> = (0..32).map(|at| expected[at % 16 * 2 + at / 16]).collect();
    assert_close(&first.values, &turned.iter().map(|g| 0.1 * g).collect::<Vec<_>>(), 1e-5);
    assert_close(&second.values, &turned.iter().map(|g| 0.001 * g * g).collect::<Vec<_>>(), 1e-5);
    let name = "language_model.model.layers.0.self_attn.q_proj.lora_B".to_string();
    assert_eq!(read.of(&[(name, 32)]).expect("it is there")[0].len(), 32);
    assert!(read.of(&[("another".to_string(), 1)]).is_err());
}

/// Against the definition, from the states of one sample at a time.
#[test]
fn concept_vectors_are_pooled_by_modality_and_of_unit_length() {
    let model = Llava::<Compute>::load(&checkpoint(), Precision::F32, &Default::default()).expect("the checkpoint is whole");
    let layers = vec![0, 2];
    let readout = Readout::Concept { layers: layers.clone() };
    let found = readout.run(&model, &inputs(&samples())).expect("the layers are there");
    let mut expected = Vec::new();
    for sample in samples() {
        let mut watch = Watch { attentions: Kept::of(layers.clone()), ..Watch::default() };
        model.forward(&inputs(&[sample.clone()]), None, Some(&mut watch));
        for state in watch.attentions.states {
            let rows = host(state);
            for image in [true, false] {
                let of = |(_, id): &(&[f32], &u32)| (**id == IMAGE) == image;
                let rows: Vec<&[f32]> = rows.chunks_exact(16).zip(&sample.ids).filter(of).map(|(row, _)| row).collect();
                let mean = |at: usize| rows.iter().map(|row| f64::from(row[at])).sum::<f64>() / rows.len().max(1) as f64;
                let bent: Vec<f64> = (0..16).map(|at| mean(at).tanh()).collect();
                let norm = bent.iter().map(|value| value * value).sum::<f64>().sqrt();
                let unit = |value: &f64| if norm > 0.0 { (value / norm / 2.0) as f32 } else { 0.0 };
                expected.extend(bent.iter().map(unit));
            }
        }
    }
    assert_close(&found.concat(), &expected, 1e-5);
    let lengths: Vec<f64> = found.iter().map(|vector| super::gradient::length(vector)).collect();
    // The second sample has no image: its image halves are zero.
    assert!((lengths[0] - 1.0).abs() < 1e-6 && (lengths[1] - 0.5f64.sqrt()).abs() < 1e-6, "{lengths:?}");
    assert!(found[1][..16].iter().chain(&found[1][32..48]).all(|value| *value == 0.0));

    // The same from a backward pass, at once and layer by layer.
    let (_, model, adapters) = merged(&checkpoint());
    for checkpointing in [false, true] {
        let extraction = Extraction { layers: vec![1], scale: 2.0, checkpointing };
        let read = extraction.read(&model, &adapters, &inputs(&samples()), &readout, None).expect("it is whole");
        let (plain, _, _) = merged(&checkpoint());
        let alone = readout.run(&plain, &inputs(&samples())).expect("the layers are there");
        assert_close(&read.hidden.concat(), &alone.concat(), 1e-5);
    }
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
