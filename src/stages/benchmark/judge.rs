//! A benchmark's replies summed up.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::Benchmark;
use super::details::details;
use super::metric::Scored;
use super::question::{Expected, Question};
use crate::artifact;

/// What a model did when it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Whether it would have given exactly the right answer; for [`super::Metric::is_exact`] alone.
    WouldBeRight(bool),
    /// What it answered.
    Text(String),
}

/// The result of a benchmark and every answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The result.
    pub result: artifact::Benchmark,
    /// In the order of the questions.
    pub answers: Vec<artifact::Answer>,
}

/// Judges the replies to all questions of a benchmark, in their order.
pub fn judge(benchmark: &Benchmark, replies: &[Reply]) -> Judged {
    let Benchmark { metric, questions, .. } = benchmark;
    let score = |(question, reply): (&Question, &Reply)| match reply {
        Reply::WouldBeRight(right) => Scored { score: f64::from(u8::from(*right)), read_as: None, readable: true },
        Reply::Text(text) => metric.score(&question.expected, text),
    };
    let scored: Vec<Scored> = questions.iter().zip(replies).map(score).collect();
    let all: Vec<(&Question, f64)> = questions.iter().zip(scored.iter().map(|scored| scored.score)).collect();
    let result = artifact::Benchmark {
        skill: benchmark.skill.clone(),
        metric: metric.name().to_string(),
        value: value(&all),
        chance: chance(benchmark),
        samples: questions.len(),
        details: details(benchmark, replies, &scored),
    };
    let answer = |(question, (reply, scored)): (&Question, (&Reply, Scored))| artifact::Answer {
        benchmark: benchmark.name.clone(),
        id: question.id.clone(),
        question: question.text.clone(),
        expected: question.expected.target(),
        answered: match reply {
            Reply::Text(text) => Some(text.clone()),
            Reply::WouldBeRight(_) => None,
        },
        read_as: scored.read_as,
        score: scored.score,
    };
    let answers = questions.iter().zip(replies.iter().zip(scored)).map(answer).collect();
    Judged { result, answers }
}

/// The mean score in percent; questions in a circle count as one, with the least of their scores.
pub(super) fn value(scores: &[(&Question, f64)]) -> f64 {
    let mut circles: BTreeMap<u64, f64> = BTreeMap::new();
    let mut single = Vec::with_capacity(scores.len());
    for (question, score) in scores {
        match question.circle {
            Some(circle) => {
                let least = circles.entry(circle).or_insert(*score);
                *least = least.min(*score);
            }
            None => single.push(*score),
        }
    }
    single.extend(circles.into_values());
    100.0 * single.iter().sum::<f64>() / single.len().max(1) as f64
}

/// What always giving the commonest answer would score, in percent; of equally common ones, the
/// first in the benchmark.
fn chance(benchmark: &Benchmark) -> f64 {
    let targets: Vec<String> = benchmark.questions.iter().map(|question| question.expected.target()).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for target in &targets {
        *counts.entry(target).or_default() += 1;
    }
    let most = counts.values().max().copied();
    let Some(commonest) = targets.iter().find(|target| counts.get(target.as_str()).copied() == most) else {
        return 0.0;
    };
    let score = |expected: &Expected| benchmark.metric.score(expected, commonest).score;
    let scores: Vec<(&Question, f64)> =
        benchmark.questions.iter().map(|question| (question, score(&question.expected))).collect();
    value(&scores)
}
