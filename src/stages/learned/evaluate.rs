//! The stage kind `evaluate`: results on every benchmark of a suite.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::artifact::{Answer, Benchmark, Metrics, Pool, Sample, read_json, write_json_lines, write_summary};
use crate::ml::answer::{decode, would_answer_right};
use crate::ml::batch::batches_by_length;
use crate::ml::conversation::{Labelled, Tokenizer};
use crate::ml::device::{self, Compute};
use crate::ml::llava::Llava;
use crate::ml::samples::{Encoding, Item, Samples};
use crate::ml::weights::Checkpoint;
use crate::selection::answers::{overlap_of_boxes, rouge_l};
use crate::stage::{Context, Stage};
use crate::stages::dataset::{self, OnProblem};

/// See `stages/evaluate.yaml`.
pub struct Evaluate;

#[derive(Deserialize)]
struct Params {
    max_new_tokens: usize,
    max_length: usize,
}

/// One entry of `benchmarks.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    skill: String,
    metric: Metric,
    file: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Metric {
    ExactMatch,
    RougeL,
    Iou,
}

impl Stage for Evaluate {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/evaluate.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let params: Params = context.params()?;
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let model = Llava::<Compute>::load(&checkpoint, &device::default());
        let suite = context.external("benchmarks").context("the param `benchmarks` names no folder")?;
        let entries: Vec<Entry> = read_json(&suite.path.join("benchmarks.json"))?;
        let mut metrics = Metrics::default();
        let mut answers = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let pool = read(&suite.path, entry)?;
            // Images are in the suite's folder, or inside the benchmark's own file.
            let roots = [suite.path.clone(), suite.path.join(&entry.file)];
            let items: Vec<Item> = pool.samples.iter().map(|sample| item(&roots, sample)).collect();
            let bench = Bench { context, params: &params, checkpoint: &checkpoint, model: &model, items: &items };
            let answered = match entry.metric {
                Metric::ExactMatch => bench.exact()?,
                Metric::RougeL | Metric::Iou => bench.decoded(entry.metric)?,
            };
            let expected: Vec<&str> = pool.samples.iter().map(last_answer).collect();
            let scores: Vec<f64> = answered.iter().map(|(score, _)| *score).collect();
            metrics.benchmarks.insert(
                entry.name.clone(),
                Benchmark {
                    skill: entry.skill.clone(),
                    metric: entry.metric.name().to_string(),
                    value: percent(&scores),
                    chance: chance(entry.metric, &expected),
                    samples: pool.samples.len(),
                },
            );
            answers.extend(pool.samples.iter().zip(answered).map(|(sample, (score, answered))| Answer {
                benchmark: entry.name.clone(),
                id: sample.id.clone(),
                question: sample.turns.last().map(|turn| turn.question.clone()).unwrap_or_default(),
                expected: last_answer(sample).to_string(),
                answered,
                score,
            }));
            context.progress(index + 1, entries.len(), "benchmarks");
        }
        metrics.write(context.output("metrics")?)?;
        let directory = context.output("answers")?;
        write_summary(directory, &[("answers", serde_json::json!(answers.len()))])?;
        write_json_lines(&directory.join("answers.jsonl"), &answers)
    }
}

/// Reads the samples of a benchmark; a benchmark with a problem is refused.
fn read(suite: &Path, entry: &Entry) -> anyhow::Result<Pool> {
    let read = dataset::read(&entry.name, &suite.join(&entry.file), Some(suite), OnProblem::Refuse);
    read.with_context(|| format!("benchmark `{}`", entry.name))
}

fn item(roots: &[PathBuf], sample: &Sample) -> Item {
    Item {
        name: sample.id.clone(),
        turns: sample.turns.iter().map(|turn| (turn.question.clone(), turn.answer.clone())).collect(),
        images: sample.images.iter().map(|image| image.place(roots)).collect(),
    }
}

struct Bench<'a> {
    context: &'a Context<'a>,
    params: &'a Params,
    checkpoint: &'a Checkpoint,
    model: &'a Llava<Compute>,
    items: &'a [Item],
}

/// A score from 0 to 1, and the answer where it was decoded.
type Answered = (f64, Option<String>);

impl Bench<'_> {
    fn exact(&self) -> anyhow::Result<Vec<Answered>> {
        let how = Encoding { labelled: Labelled::Last, max_length: self.params.max_length };
        let samples = Samples::encode(&self.checkpoint.companions, &self.checkpoint.config, self.items, how)?;
        let mut answered = vec![(0.0, None); samples.len()];
        for indices in batches_by_length(&samples.lengths(), self.context.execution().micro_batch) {
            let right = would_answer_right(self.model, &samples.batch(&indices)?);
            for (index, right) in indices.iter().zip(right) {
                answered[*index].0 = f64::from(u8::from(right));
            }
        }
        Ok(answered)
    }

    fn decoded(&self, metric: Metric) -> anyhow::Result<Vec<Answered>> {
        let config = &self.checkpoint.config;
        let tokenizer = Tokenizer::read(&self.checkpoint.companions, config)?;
        let samples = Samples::prompts(&self.checkpoint.companions, config, self.items)?;
        let mut answered = vec![(0.0, None); samples.len()];
        let lengths = samples.lengths();
        for indices in batches_of_equal_length(&lengths, self.context.execution().micro_batch) {
            let inputs = samples.batch(&indices)?;
            let most = self.params.max_new_tokens.min(config.text.max_positions.saturating_sub(lengths[indices[0]]));
            let decoded = decode(self.model, &inputs, i64::from(config.eos_token), most);
            for (index, tokens) in indices.iter().zip(decoded) {
                let tokens: Vec<u32> = tokens.into_iter().map(|token| token as u32).collect();
                let text = tokenizer.decode(&tokens)?;
                let expected = self.items[*index].turns.last().map(|turn| turn.1.as_str()).unwrap_or_default();
                answered[*index] = (metric.score(expected, &text), Some(text));
            }
        }
        Ok(answered)
    }
}

/// Batches of samples that are exactly equally long.
fn batches_of_equal_length(lengths: &[usize], size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| lengths[*index]);
    let equal = order.chunk_by(|left, right| lengths[*left] == lengths[*right]);
    equal.flat_map(|group| group.chunks(size.max(1)).map(<[usize]>::to_vec)).collect()
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Metric::ExactMatch => "exact_match",
            Metric::RougeL => "rouge_l",
            Metric::Iou => "iou",
        }
    }

    fn score(self, expected: &str, answered: &str) -> f64 {
        match self {
            Metric::ExactMatch => f64::from(u8::from(expected == answered)),
            Metric::RougeL => rouge_l(expected, answered),
            Metric::Iou => {
                f64::from(u8::from(overlap_of_boxes(expected, answered).is_some_and(|overlap| overlap > 0.5)))
            }
        }
    }
}

fn last_answer(sample: &Sample) -> &str {
    sample.turns.last().map(|turn| turn.answer.as_str()).unwrap_or_default()
}

fn percent(scores: &[f64]) -> f64 {
    100.0 * scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

/// What always giving the commonest answer would score, in percent; of equally common ones, the
/// first in the benchmark.
fn chance(metric: Metric, expected: &[&str]) -> f64 {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for answer in expected {
        *counts.entry(answer).or_default() += 1;
    }
    let Some(most) = counts.values().max() else { return 0.0 };
    let Some(commonest) = expected.iter().find(|answer| counts[**answer] == *most) else { return 0.0 };
    percent(&expected.iter().map(|answer| metric.score(answer, commonest)).collect::<Vec<_>>())
}
