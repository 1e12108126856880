//! What a model computes from a checkpoint in each layout: hidden states, logits, losses, scores, and what it
//! answers.

use std::collections::BTreeMap;

use runner::ml::answer::{decode, would_answer_right};
use runner::ml::config::LlavaConfig;
use runner::ml::language::{Kept, Watch};
use runner::ml::llava::{Llava, host};
use runner::ml::loss::{Targets, sum_of_sample_losses};
use runner::ml::samples::Inputs;
use runner::ml::score::{answers, entropies};
use runner::ml::tensors::Tensor;
use runner::selection::scorers::{self, Formulas, Version};
use serde::Deserialize;

use super::support::{
    Arrays, Plain, Row, arrays, assert_close, checkpoint, inputs, json, model, pixels_of, relative_error,
    without_padding,
};

#[derive(Deserialize)]
struct Cases {
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    rows: Vec<Row>,
    generation: Generation,
}

/// Prompts, and what transformers answers to them in one left-padded batch.
#[derive(Deserialize)]
struct Generation {
    prompts: Vec<Vec<u32>>,
    images: Vec<usize>,
    most: usize,
    answers: Vec<Vec<i64>>,
}

/// Largest relative error of logits, losses and hidden states in f32.
const TOLERANCE: f64 = 1e-4;

/// Checks everything that is known of a checkpoint.
fn check(name: &str) {
    let checkpoint = checkpoint(name);
    let (model, config) = (model::<Plain>(&checkpoint), &checkpoint.config);
    let expected = arrays(&format!("models/{name}/cases.safetensors"));
    let cases: Cases = json(&format!("models/{name}/cases.json"));
    for (case, Case { rows, generation }) in &cases.cases {
        let pixels = expected.get(&format!("{case}.pixels")).map_or(&[][..], |pixels| &pixels.values);
        let known = Known { name: format!("{name}, {case}"), case, arrays: &expected };
        let inputs = inputs(rows, pixels, config);
        known.check_hidden_states(&model, config, &inputs);
        known.check_logits_and_losses(&model, &inputs);
        known.check_scores(&model, &inputs);
        if rows.len() > 1 {
            known.check_samples_alone(&model, config, rows, pixels);
        }
        check_answers(&known.name, &model, config, generation, pixels);
    }
}

/// The cases of one sample of a checkpoint.
pub fn single(name: &str) -> Vec<(String, Vec<Row>)> {
    let cases: Cases = json(&format!("models/{name}/cases.json"));
    let cases = cases.cases.into_iter().map(|(case, known)| (case, known.rows));
    cases.filter(|(_, rows)| rows.len() == 1).collect()
}

/// What transformers says of one case.
struct Known<'a> {
    name: String,
    case: &'a str,
    arrays: &'a Arrays,
}

impl Known<'_> {
    fn of(&self, what: &str) -> &[f32] {
        let array = self.arrays.get(&format!("{}.{what}", self.case));
        &array.unwrap_or_else(|| panic!("there is no `{what}` of {}", self.name)).values
    }

    fn close(&self, what: &str, ours: &[f32], tolerance: f64) {
        assert_close(&format!("{}: {what}", self.name), ours, self.of(what), tolerance);
    }

    /// The embedded tokens, the output of every layer but the last, and the last one's after the norm.
    fn check_hidden_states(&self, model: &Llava<Plain>, config: &LlavaConfig, inputs: &Inputs) {
        let mut states = without_padding(&host(model.embed(inputs)), &inputs.text);
        for layer in 0..config.text.layers - 1 {
            let mut watch = Watch { outputs: Kept::of(vec![layer]), ..Watch::default() };
            model.forward(inputs, None, Some(&mut watch));
            let hidden = host(watch.outputs.states.pop().expect("the layer is in the model"));
            states.extend(without_padding(&hidden, &inputs.text));
        }
        states.extend(without_padding(&host(model.forward(inputs, None, None)), &inputs.text));
        let theirs = self.of("hidden");
        let size = theirs.len() / (config.text.layers + 1);
        for (layer, (ours, theirs)) in states.chunks_exact(size).zip(theirs.chunks_exact(size)).enumerate() {
            assert_close(&format!("{}: hidden states {layer}", self.name), ours, theirs, TOLERANCE);
        }
        assert_eq!(states.len(), theirs.len());
    }

    fn check_logits_and_losses(&self, model: &Llava<Plain>, inputs: &Inputs) {
        let hidden = model.forward(inputs, None, None);
        let logits = host(model.language.logits(hidden.clone()));
        self.close("logits", &without_padding(&logits, &inputs.text), TOLERANCE);
        let targets = Targets::of(&inputs.text);
        let sum = host(sum_of_sample_losses(model, hidden, &targets));
        let theirs = [self.of("losses").iter().sum()];
        assert_close(&format!("{}: sum of losses", self.name), &sum, &theirs, TOLERANCE);
    }

    fn check_scores(&self, model: &Llava<Plain>, inputs: &Inputs) {
        let hidden = model.forward(inputs, None, None);
        let mut evidence = answers(model, hidden.clone(), &inputs.text, false);
        for (evidence, entropies) in evidence.iter_mut().zip(entropies(model, hidden, &inputs.text)) {
            evidence.everywhere = entropies;
        }
        let scores = |name: &str, formulas: Formulas| -> Vec<f32> {
            let scorer = scorers::named(name).expect("it is a scorer");
            evidence.iter().map(|evidence| scorer.score(evidence, &formulas)).collect()
        };
        let paper = Formulas::default();
        let reference = Formulas { perplexity: Version::Reference, positions: Version::Reference };
        let perplexity = scores("perplexity", paper);
        let logs: Vec<f32> = perplexity.iter().map(|value| value.ln()).collect();
        self.close("losses", &logs, TOLERANCE);
        self.close("perplexity", &perplexity, 10.0 * TOLERANCE);
        self.close("el2n", &scores("el2n", paper), TOLERANCE);
        self.close("entropy", &scores("entropy", paper), TOLERANCE);
        self.close("reference_perplexity", &scores("perplexity", reference), 10.0 * TOLERANCE);
        self.close("entropy_all", &scores("entropy", reference), TOLERANCE);
        // The loss that transformers returns is the mean over the tokens of all samples.
        let targets = Targets::of(&inputs.text);
        let weighted = logs.iter().zip(&targets.counts).map(|(loss, count)| loss * *count as f32).sum::<f32>();
        self.close("loss", &[weighted / targets.tokens.len() as f32], TOLERANCE);
    }

    /// A sample gives alone what it gives in a batch, whichever side of it is filled up there.
    fn check_samples_alone(&self, model: &Llava<Plain>, config: &LlavaConfig, rows: &[Row], pixels: &[f32]) {
        let mut logits = Vec::new();
        for (row, pixels) in rows.iter().zip(pixels_of(rows, pixels, config)) {
            let hidden = model.forward(&inputs(std::slice::from_ref(row), pixels, config), None, None);
            logits.extend(host(model.language.logits(hidden)));
        }
        self.close("logits", &logits, TOLERANCE);
        self.close("left_logits", &logits, TOLERANCE);
    }
}

/// Greedy decoding, token for token; and the same answers as the teacher-forced pass judges them.
fn check_answers(name: &str, model: &Llava<Plain>, config: &LlavaConfig, known: &Generation, pixels: &[f32]) {
    let row =
        |(ids, images): (&Vec<u32>, &usize)| Row { ids: ids.clone(), labels: vec![-100; ids.len()], images: *images };
    let prompts: Vec<Row> = known.prompts.iter().zip(&known.images).map(row).collect();
    let end = i64::from(config.eos_token);
    for ((prompt, pixels), answer) in prompts.iter().zip(pixels_of(&prompts, pixels, config)).zip(&known.answers) {
        let given = inputs(std::slice::from_ref(prompt), pixels, config);
        assert_eq!(decode(model, &given, end, known.most), [answer.as_slice()], "{name}");

        let mut whole = prompt.clone();
        let ended = (answer.len() < known.most).then_some(end);
        for token in answer.iter().copied().chain(ended) {
            whole.ids.push(token as u32);
            whole.labels.push(token);
        }
        assert_eq!(would_answer_right(model, &inputs(&[whole], pixels, config)), [true], "{name}");
    }
}

#[test]
fn a_checkpoint_as_transformers_saves_it_today() {
    check("untied");
}

#[test]
fn grouped_queries_a_tied_head_wide_heads_and_the_class_token() {
    check("grouped");
}

#[test]
fn shards_with_an_index_in_bf16() {
    check("sharded");
}

#[test]
fn the_names_and_the_sparse_config_of_the_first_published_checkpoints() {
    check("older");
}

#[test]
fn the_names_in_which_the_head_is_beside_the_model() {
    check("between");
}

#[test]
fn a_vocabulary_that_was_resized() {
    check("resized");
}

#[test]
fn a_model_that_reads_text_only() {
    check("text");
}

#[test]
fn a_model_that_reads_text_only_and_has_a_tied_head() {
    check("text_tied");
}

/// The checks can fail: another weight is another model.
#[test]
fn a_changed_weight_is_seen() {
    let mut changed = checkpoint("untied");
    let name = "vision_tower.vision_model.encoder.layers.1.mlp.fc2.bias";
    let bias = changed.weights.fetch(name, &[32]).unwrap();
    changed.weights.insert(name, Tensor::new([32], bias.iter().map(|value| value * 1.01).collect()));
    let cases: Cases = json("models/untied/cases.json");
    let expected = arrays("models/untied/cases.safetensors");
    let inputs = inputs(&cases.cases["one_image"].rows, &expected["one_image.pixels"].values, &changed.config);
    let model = model::<Plain>(&changed);
    let logits = host(model.language.logits(model.forward(&inputs, None, None)));
    assert!(relative_error(&logits, &expected["one_image.logits"].values) > 1e-4);
}
