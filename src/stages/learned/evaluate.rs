//! The stage kind `evaluate`: results on every benchmark of a suite.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::dealing::Deal;
use crate::artifact::{Metrics, read_json_lines, write_json_lines, write_summary};
use crate::images::Place;
use crate::ml::answer::{decode, would_answer_right};
use crate::ml::batch::batches_by_length;
use crate::ml::conversation::{Labelled, Tokenizer};
use crate::ml::device::{self, Compute, Job};
use crate::ml::llava::Llava;
use crate::ml::precision::Precision;
use crate::ml::samples::{Encoding, Item, Samples};
use crate::ml::weights::Checkpoint;
use crate::stage::{Context, SHARD, Shard, Sharded, Stage};
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
        device::on(context.execution().device, Run { context, params: context.params()?, shard: None })
    }

    fn sharded(&self) -> Option<&dyn Sharded> {
        Some(self)
    }
}

impl Sharded for Evaluate {
    fn shard(&self, context: &Context<'_>, shard: Shard) -> anyhow::Result<()> {
        device::on(context.execution().device, Run { context, params: context.params()?, shard: Some(shard) })
    }

    fn merge(&self, context: &Context<'_>, shards: &[PathBuf]) -> anyhow::Result<()> {
        let scratch = scratch()?;
        let benchmarks = benchmarks(context, scratch.path())?;
        let mut replies: Vec<Vec<Option<Reply>>> =
            benchmarks.iter().map(|benchmark| vec![None; benchmark.questions.len()]).collect();
        for shard in shards {
            let path = shard.join(REPLIES);
            for Replied { benchmark, question, reply } in read_json_lines(&path)? {
                let place = replies.get_mut(benchmark).and_then(|replies| replies.get_mut(question));
                let place = place.with_context(|| format!("`{}` answers what is not asked", path.display()))?;
                ensure!(place.replace(reply).is_none(), "`{}` answers what another shard answers", path.display());
            }
        }
        let each = benchmarks.iter().zip(replies).map(|(benchmark, replies)| {
            let replies: Option<Vec<Reply>> = replies.into_iter().collect();
            Ok((benchmark, replies.with_context(|| format!("no shard answers all of `{}`", benchmark.name))?))
        });
        write(context, &each.collect::<anyhow::Result<Vec<_>>>()?)
    }
}

/// The file of a shard.
const REPLIES: &str = "replies.jsonl";

/// A line of it.
#[derive(Serialize, Deserialize)]
struct Replied {
    /// The number of the benchmark in its suite.
    benchmark: usize,
    /// The number of the question in its benchmark.
    question: usize,
    reply: Reply,
}

struct Run<'a> {
    context: &'a Context<'a>,
    params: Params,
    /// What of the questions is to be asked; all of them without one.
    shard: Option<Shard>,
}

fn scratch() -> anyhow::Result<tempfile::TempDir> {
    tempfile::tempdir().context("cannot make a folder for embedded images")
}

/// All benchmarks, so that a bad file is told before hours of computing, not after.
fn benchmarks(context: &Context<'_>, scratch: &Path) -> anyhow::Result<Vec<Benchmark>> {
    let suite = &context.external("benchmarks").context("the param `benchmarks` names no folder")?.path;
    let entries = benchmark::entries(suite)?;
    entries.iter().map(|entry| benchmark::read(suite, entry, scratch)).collect()
}

/// Writes what the replies to all benchmarks come to.
fn write(context: &Context<'_>, replies: &[(&Benchmark, Vec<Reply>)]) -> anyhow::Result<()> {
    let mut metrics = Metrics::default();
    let mut answers = Vec::new();
    for (benchmark, replies) in replies {
        let judged = judge(benchmark, replies);
        metrics.benchmarks.insert(benchmark.name.clone(), judged.result);
        answers.extend(judged.answers);
    }
    metrics.write(context.output("metrics")?)?;
    let directory = context.output("answers")?;
    write_summary(directory, &[("answers", serde_json::json!(answers.len()))])?;
    write_json_lines(&directory.join("answers.jsonl"), &answers)
}

impl Job for Run<'_> {
    type Output = ();

    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<()> {
        let Run { context, params, shard } = self;
        let scratch = scratch()?;
        let benchmarks = benchmarks(context, scratch.path())?;
        let questions = benchmarks.iter().map(|benchmark| benchmark.questions.len()).sum();
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let model = Llava::<B>::load(&checkpoint, params.precision, device)?;
        let mut respondent = Respondent {
            context,
            params: &params,
            checkpoint: &checkpoint,
            model: &model,
            deal: Deal::new(context, shard.unwrap_or(Shard::WHOLE), questions, "questions"),
        };
        let mut all = Vec::with_capacity(benchmarks.len());
        for benchmark in &benchmarks {
            let replies = respondent.reply(benchmark).with_context(|| format!("benchmark `{}`", benchmark.name))?;
            all.push((benchmark, replies));
        }
        if shard.is_none() {
            // Every question is the whole stage's own.
            let all = all.into_iter().map(|(benchmark, replies)| (benchmark, replies.into_iter().flatten().collect()));
            return write(context, &all.collect::<Vec<_>>());
        }
        let own = all.into_iter().enumerate().flat_map(|(benchmark, (_, replies))| {
            let replies = replies.into_iter().enumerate();
            replies.filter_map(move |(question, reply)| Some(Replied { benchmark, question, reply: reply? }))
        });
        write_json_lines(&context.output(SHARD)?.join(REPLIES), own)
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
    deal: Deal<'a>,
}

impl<B: Compute> Respondent<'_, B> {
    /// The replies to the questions that are asked here.
    fn reply(&mut self, benchmark: &Benchmark) -> anyhow::Result<Vec<Option<Reply>>> {
        let items: Vec<Item> = benchmark.questions.iter().map(item).collect();
        if benchmark.metric.is_exact() {
            self.judge_without_decoding(&items)
        } else {
            self.decoded(&items, benchmark.max_new_tokens.unwrap_or(self.params.max_new_tokens))
        }
    }

    fn judge_without_decoding(&mut self, items: &[Item]) -> anyhow::Result<Vec<Option<Reply>>> {
        let how = Encoding { labelled: Labelled::Last, max_length: self.params.max_length };
        let samples = Samples::encode(&self.checkpoint.companions, &self.checkpoint.config, items, how)?;
        let mut replies = vec![None; samples.len()];
        for indices in batches_by_length(&samples.lengths(), self.context.execution().micro_batch) {
            if !self.deal.is_own() {
                continue;
            }
            let right = would_answer_right(self.model, &samples.batch(&indices)?);
            for (index, right) in indices.iter().zip(right) {
                replies[*index] = Some(Reply::WouldBeRight(right));
            }
            self.deal.done(indices.len());
        }
        Ok(replies)
    }

    fn decoded(&mut self, items: &[Item], longest: usize) -> anyhow::Result<Vec<Option<Reply>>> {
        let config = &self.checkpoint.config;
        let tokenizer = Tokenizer::read(&self.checkpoint.companions, config)?;
        let samples = Samples::prompts(&self.checkpoint.companions, config, items)?;
        let mut replies = vec![None; samples.len()];
        let lengths = samples.lengths();
        for indices in batches_of_equal_length(&lengths, self.context.execution().micro_batch) {
            if !self.deal.is_own() {
                continue;
            }
            let inputs = samples.batch(&indices)?;
            let most = longest.min(config.text.max_positions.saturating_sub(lengths[indices[0]]));
            let decoded = decode(self.model, &inputs, i64::from(config.eos_token), most);
            for (index, tokens) in indices.iter().zip(decoded) {
                let tokens: Vec<u32> = tokens.into_iter().map(|token| token as u32).collect();
                replies[*index] = Some(Reply::Text(tokenizer.decode(&tokens)?));
            }
            self.deal.done(indices.len());
        }
        Ok(replies)
    }
}

/// Batches of samples that are exactly equally long.
fn batches_of_equal_length(lengths: &[usize], size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| lengths[*index]);
    let equal = order.chunk_by(|left, right| lengths[*left] == lengths[*right]);
    equal.flat_map(|group| group.chunks(size.max(1)).map(<[usize]>::to_vec)).collect()
}
