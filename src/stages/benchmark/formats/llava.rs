//! LLaVA-style JSON: conversations, each with the right answer at its end.

use super::Source;
use crate::artifact::Sample;
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
        let images = sample.images.iter().map(|image| folder.join(&image.path)).collect();
        Question { history, ..Question::new(sample.id, text, images, Expected::Text(answer)) }
    };
    Ok(pool.samples.into_iter().map(question).collect())
}
