//! What a model answers: whether it would answer right, and token-by-token greedy decoding.

use burn::tensor::Tensor;

use super::kernels::Kernels;
use super::language::Cache;
use super::llava::{Llava, host, integers};
use super::loss::Targets;
use super::samples::Inputs;

/// For each sample of a batch, whether greedy decoding of its answer would give exactly the labels:
/// it would if and only if, given the right tokens before, each is the most probable.
pub fn would_answer_right<B: Kernels>(model: &Llava<B>, inputs: &Inputs) -> Vec<bool> {
    let targets = Targets::of(&inputs.text);
    let hidden = model.forward(inputs, None, None);
    let rows = hidden.select(0, integers(&targets.rows, model.device()));
    let answered = most_probable(model.language.logits(rows));
    let mut right = vec![true; inputs.text.samples];
    for ((sample, expected), answered) in targets.samples.iter().zip(&targets.tokens).zip(answered) {
        right[*sample] &= *expected == answered;
    }
    right
}

/// Decodes greedily after prompts of equal length, until `end` or `most` tokens.
///
/// # Panics
///
/// If the prompts differ in length: padding would need masks that nothing else needs.
pub fn decode<B: Kernels>(model: &Llava<B>, prompts: &Inputs, end: i64, most: usize) -> Vec<Vec<i64>> {
    let equal = prompts.text.lengths.iter().all(|length| *length == prompts.text.tokens);
    assert!(equal, "BUG: prompts that are decoded together differ in length");
    let mut cache = Cache::new();
    let mut answers = vec![Vec::new(); prompts.text.samples];
    let mut open = vec![true; prompts.text.samples];
    let mut hidden = model.forward(prompts, Some(&mut cache), None);
    for step in 0..most {
        let tokens = hidden.dims()[0] / prompts.text.samples;
        let last: Vec<i64> = (1..=prompts.text.samples).map(|sample| (sample * tokens) as i64 - 1).collect();
        let next = most_probable(model.language.logits(hidden.select(0, integers(&last, model.device()))));
        for (sample, token) in next.iter().enumerate() {
            open[sample] &= *token != end;
            if open[sample] {
                answers[sample].push(*token);
            }
        }
        if step + 1 == most || !open.contains(&true) {
            break;
        }
        let embedded: Tensor<B, 2> = model.language.embedding.clone().select(0, integers(&next, model.device()));
        hidden = model.language.forward(embedded, prompts.text.samples, Some(&mut cache), None);
    }
    answers
}

/// The most probable token of each row of `logits`; the lower id where two are equal.
fn most_probable<B: Kernels>(logits: Tensor<B, 2>) -> Vec<i64> {
    let width = logits.dims()[1];
    let best = |row: &[f32]| {
        let mut best = 0;
        for (token, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = token;
            }
        }
        best as i64
    };
    host(logits).chunks_exact(width).map(best).collect()
}
