//! LLaVA-style JSON: conversations, each with the right answer at its end.

use std::path::PathBuf;

use anyhow::Context as _;

use super::Source;
use crate::artifact::{ImageReference, Sample};
use crate::stages::benchmark::question::{Expected, Question};
use crate::stages::dataset::{self, OnProblem};

/// A sample with a problem is refused.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let folder = source.entry.images_in(source.suite);
    let pool = dataset::read(&source.entry.name, &source.file()?, Some(&folder), OnProblem::Refuse)?;
    let question = |sample: Sample| {
        let mut history = sample.turns;
        let last = history.pop();
        let (text, answer) = last.map(|turn| (turn.question, turn.answer)).unwrap_or_default();
        let whole = |image: &ImageReference| image.part.is_whole().then(|| folder.join(&image.path));
        let images: Option<Vec<PathBuf>> = sample.images.iter().map(whole).collect();
        let images =
            images.with_context(|| format!("`{}` has images inside, and must name files", source.entry.name))?;
        Ok(Question { history, ..Question::new(sample.id, text, images, Expected::Text(answer)) })
    };
    pool.samples.into_iter().map(question).collect()
}
