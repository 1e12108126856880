//! What an evaluation found, and what a training went through.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{read_json, write_json, write_summary};

/// The result on one benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// The skill that it measures; several benchmarks may share one.
    pub skill: String,
    /// How answers are scored, such as `exact_match`.
    pub metric: String,
    /// The result in percent, higher is better.
    pub value: f64,
    /// What always giving the commonest answer would score, in percent.
    pub chance: f64,
    /// How many samples it has.
    pub samples: usize,
    /// Further figures of the benchmark, such as `f1` or `category/random`, in percent; `unreadable` is
    /// the number of answers in which the metric found nothing that it looks for.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub details: IndexMap<String, f64>,
}

/// The results of one checkpoint, by benchmark.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Benchmark name → result, in the order of the suite.
    pub benchmarks: IndexMap<String, Benchmark>,
}

/// One answer of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The benchmark.
    pub benchmark: String,
    /// The sample.
    pub id: String,
    /// The last question.
    pub question: String,
    /// The right answer.
    pub expected: String,
    /// What the model answered; absent where the metric only asks whether it would have answered
    /// right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// What the metric took the answer to be, such as `B`; absent where it takes the text as it is, or
    /// found nothing that it looks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_as: Option<String>,
    /// The score of this answer, from 0 to 1.
    pub score: f64,
}

/// One optimiser step of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Optimiser steps done before this one.
    pub step: usize,
    /// Mean loss of the batch, nats per answer token averaged over samples.
    pub loss: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

impl Metrics {
    /// Reads the artifact.
    pub fn read(directory: &Path) -> anyhow::Result<Metrics> {
        read_json(&directory.join("metrics.json"))
    }

    /// Writes the artifact.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        write_json(&directory.join("metrics.json"), self)?;
        write_summary(directory, &[("benchmarks", json!(self.benchmarks.len())), ("average", json!(self.average()))])
    }

    /// The mean over skills of the mean over each skill's benchmarks, in percent.
    pub fn average(&self) -> f64 {
        let mut skills: IndexMap<&str, Vec<f64>> = IndexMap::new();
        for benchmark in self.benchmarks.values() {
            skills.entry(&benchmark.skill).or_default().push(benchmark.value);
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let means: Vec<f64> = skills.values().map(|values| mean(values)).collect();
        mean(&means)
    }
}
