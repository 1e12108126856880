//! Benchmarks from local files: what a model is asked, and how right its answers are.
//!
//! A suite of benchmarks is a folder with `benchmarks.json`, a list of [`Entry`]s. The files of a
//! benchmark are those that its authors publish; [`formats`] has a reader for each layout, which makes
//! [`Question`]s of them. A [`Metric`] scores the reply to each, and [`judge`] sums a benchmark up.
//! `stages/evaluate.yaml` documents all of it for the user. Unaware of models.

mod details;
mod entry;
mod formats;
mod judge;
mod layout;
mod metric;
mod pictures;
mod prompt;
mod question;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, ensure};

pub use entry::{Entry, Format};
pub use judge::{Judged, Reply, judge};
pub use metric::{Metric, Scored};
pub use question::{Expected, Question, Region};

use crate::artifact::read_json;
use formats::Source;
use pictures::Pictures;

/// A benchmark, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Benchmark {
    /// Its name in the suite.
    pub name: String,
    /// The skill that it measures.
    pub skill: String,
    /// How replies are scored.
    pub metric: Metric,
    /// Longest answer in tokens, where the entry says so.
    pub max_new_tokens: Option<usize>,
    /// In the order of its files. Never empty.
    pub questions: Vec<Question>,
}

/// The benchmarks that a suite lists.
///
/// # Errors
///
/// If `benchmarks.json` cannot be read, two entries have one name, or an entry contradicts its format.
pub fn entries(suite: &Path) -> anyhow::Result<Vec<Entry>> {
    let file = suite.join("benchmarks.json");
    let entries: Vec<Entry> = read_json(&file)?;
    let mut names = BTreeSet::new();
    for entry in &entries {
        ensure!(names.insert(&entry.name), "`{}` has two benchmarks with the name `{}`", file.display(), entry.name);
        entry.check().with_context(|| format!("benchmark `{}`", entry.name))?;
    }
    Ok(entries)
}

/// Reads a benchmark of the suite in the folder `suite`. Images that are embedded in a file are written
/// to the folder `scratch`, which has to last as long as the questions are used.
///
/// # Errors
///
/// If a file cannot be read or is laid out otherwise, an image is missing or unreadable, there is no
/// question, or the metric cannot score what the format expects.
pub fn read(suite: &Path, entry: &Entry, scratch: &Path) -> anyhow::Result<Benchmark> {
    let read = || {
        let metric = entry.metric()?;
        let pictures = Pictures::new(entry.images_in(suite), scratch);
        let source = Source { suite, entry, pictures: &pictures };
        let questions = formats::read(&source)?;
        ensure!(!questions.is_empty(), "it has no question");
        for question in &questions {
            metric.check(&question.expected).with_context(|| format!("question `{}`", question.id))?;
        }
        // The reader of LLaVA-style JSON has looked at its images.
        if entry.format != Format::Llava {
            pictures::check(&questions)?;
        }
        let Entry { name, skill, max_new_tokens, .. } = entry.clone();
        Ok(Benchmark { name, skill, metric, max_new_tokens, questions })
    };
    read().with_context(|| format!("benchmark `{}`", entry.name))
}

#[cfg(test)]
mod tests;
