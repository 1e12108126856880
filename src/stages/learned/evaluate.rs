//! The stage kind `evaluate`: results on every benchmark of a suite.

use anyhow::Context as _;
use serde::Deserialize;

use crate::artifact::{Metrics, write_json_lines, write_summary};
use crate::images::Place;
use crate::ml::answer::{decode, would_answer_right};
use crate::ml::batch::batches_by_length;
use crate::ml::conversation::{Labelled, Tokenizer};
use crate::ml::device::{self, Compute, Job};
use crate::ml::llava::Llava;
use crate::ml::precision::Precision;
use crate::ml::samples::{Encoding, Item, Samples};
use crate::ml::weights::Checkpoint;
use crate::stage::{Context, Stage};
use crate::stages::benchmark::{self, Benchmark, Question, Reply, judge};

/// See `stages/evaluate.yaml`.
pub struct Evaluate;

#[derive(Deserialize)]
struct Params {
    max_new_tokens: usize,
    max_length: usize,
    precision: Precision,
}

impl Stage for Evaluate {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/evaluate.yaml")
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
        let suite = &context.external("benchmarks").context("the param `benchmarks` names no folder")?.path;
        let scratch = tempfile::tempdir().context("cannot make a folder for embedded images")?;
        // All first: a bad file is to be told before hours of computing, not after.
        let entries = benchmark::entries(suite)?;
        let read = entries.iter().map(|entry| benchmark::read(suite, entry, scratch.path()));
        let benchmarks: Vec<Benchmark> = read.collect::<anyhow::Result<_>>()?;
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let model = Llava::<B>::load(&checkpoint, params.precision, device)?;
        let mut respondent = Respondent {
            context,
            params: &params,
            checkpoint: &checkpoint,
            model: &model,
            asked: 0,
            questions: benchmarks.iter().map(|benchmark| benchmark.questions.len()).sum(),
        };
        let mut metrics = Metrics::default();
        let mut answers = Vec::new();
        for benchmark in &benchmarks {
            let replies = respondent.reply(benchmark).with_context(|| format!("benchmark `{}`", benchmark.name))?;
            let judged = judge(benchmark, &replies);
            metrics.benchmarks.insert(benchmark.name.clone(), judged.result);
            answers.extend(judged.answers);
        }
        metrics.write(context.output("metrics")?)?;
        let directory = context.output("answers")?;
        write_summary(directory, &[("answers", serde_json::json!(answers.len()))])?;
        write_json_lines(&directory.join("answers.jsonl"), &answers)
    }
}

/// A question with a right answer, as the model's samples are.
fn item(question: &Question) -> Item {
    let history = question.history.iter().map(|turn| (turn.question.clone(), turn.answer.clone()));
    let last = (question.text.clone(), question.expected.target());
    Item {
        name: question.id.clone(),
        turns: history.chain([last]).collect(),
        images: question.images.iter().cloned().map(Place::from).collect(),
    }
}

/// The model that is asked.
struct Respondent<'a, B: Compute> {
    context: &'a Context<'a>,
    params: &'a Params,
    checkpoint: &'a Checkpoint,
    model: &'a Llava<B>,
    /// Questions that are done.
    asked: usize,
    /// Questions of all benchmarks.
    questions: usize,
}

impl<B: Compute> Respondent<'_, B> {
    fn reply(&mut self, benchmark: &Benchmark) -> anyhow::Result<Vec<Reply>> {
        let items: Vec<Item> = benchmark.questions.iter().map(item).collect();
        if benchmark.metric.is_exact() {
            self.judge_without_decoding(&items)
        } else {
            self.decoded(&items, benchmark.max_new_tokens.unwrap_or(self.params.max_new_tokens))
        }
    }

    fn judge_without_decoding(&mut self, items: &[Item]) -> anyhow::Result<Vec<Reply>> {
        let how = Encoding { labelled: Labelled::Last, max_length: self.params.max_length };
        let samples = Samples::encode(&self.checkpoint.companions, &self.checkpoint.config, items, how)?;
        let mut replies = vec![Reply::WouldBeRight(false); samples.len()];
        for indices in batches_by_length(&samples.lengths(), self.context.execution().micro_batch) {
            let right = would_answer_right(self.model, &samples.batch(&indices)?);
            for (index, right) in indices.iter().zip(right) {
                replies[*index] = Reply::WouldBeRight(right);
            }
            self.done(indices.len());
        }
        Ok(replies)
    }

    fn decoded(&mut self, items: &[Item], longest: usize) -> anyhow::Result<Vec<Reply>> {
        let config = &self.checkpoint.config;
        let tokenizer = Tokenizer::read(&self.checkpoint.companions, config)?;
        let samples = Samples::prompts(&self.checkpoint.companions, config, items)?;
        let mut replies = vec![Reply::Text(String::new()); samples.len()];
        let lengths = samples.lengths();
        for indices in batches_of_equal_length(&lengths, self.context.execution().micro_batch) {
            let inputs = samples.batch(&indices)?;
            let most = longest.min(config.text.max_positions.saturating_sub(lengths[indices[0]]));
            let decoded = decode(self.model, &inputs, i64::from(config.eos_token), most);
            for (index, tokens) in indices.iter().zip(decoded) {
                let tokens: Vec<u32> = tokens.into_iter().map(|token| token as u32).collect();
                replies[*index] = Reply::Text(tokenizer.decode(&tokens)?);
            }
            self.done(indices.len());
        }
        Ok(replies)
    }

    fn done(&mut self, questions: usize) {
        self.asked += questions;
        self.context.progress(self.asked, self.questions, "questions");
    }
}

/// Batches of samples that are exactly equally long.
fn batches_of_equal_length(lengths: &[usize], size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| lengths[*index]);
    let equal = order.chunk_by(|left, right| lengths[*left] == lengths[*right]);
    equal.flat_map(|group| group.chunks(size.max(1)).map(<[usize]>::to_vec)).collect()
}
