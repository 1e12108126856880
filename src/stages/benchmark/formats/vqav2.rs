//! VQA v2 (Goyal et al. 2017) and OK-VQA: `v2_OpenEnded_mscoco_val2014_questions.json` with
//! `v2_mscoco_val2014_annotations.json`.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::Source;
use crate::stages::benchmark::layout;
use crate::stages::benchmark::prompt::{SHORT, about_image, instructed, plain};
use crate::stages::benchmark::question::{Expected, Question};

const QUESTIONS: &str =
    r#"{"data_subtype": "val2014", "questions": [{"question_id": …, "image_id": …, "question": …}, …]}"#;
const ANNOTATIONS: &str = r#"{"annotations": [{"question_id": …, "answers": [{"answer": …}, …]}, …]}"#;

#[derive(Deserialize)]
struct Questions {
    data_subtype: String,
    questions: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    question_id: u64,
    image_id: u64,
    question: String,
}

#[derive(Deserialize)]
struct Annotations {
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    question_id: u64,
    answers: Vec<Answer>,
    answer_type: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    answer: String,
}

/// Images are `COCO_{subtype}_{id of 12 digits}.jpg`, in the folder or in its folder of the subtype.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let file = source.entry.annotations(source.suite).context(
        "the format `vqav2` needs `annotations`, the file of the answers\nhint: a split without public answers, such as \
         test-dev, cannot be scored",
    )?;
    let asked: Questions = layout::json(&source.file()?, QUESTIONS)?;
    let annotations: Annotations = layout::json(&file, ANNOTATIONS)?;
    let mut annotations: HashMap<u64, Annotation> =
        annotations.annotations.into_iter().map(|annotation| (annotation.question_id, annotation)).collect();
    // The questions of the split test-dev are about images of test.
    let subtype = if asked.data_subtype.starts_with("test") { "test2015" } else { &asked.data_subtype };
    let instruction = source.entry.prompt(SHORT);
    let question = |asked: Asked| {
        let annotation = annotations.remove(&asked.question_id);
        let annotation =
            annotation.with_context(|| format!("`{}` has no question {}", file.display(), asked.question_id))?;
        let answers = ten(annotation.answers.into_iter().map(|answer| answer.answer).collect())
            .with_context(|| format!("`{}`, question {}", file.display(), asked.question_id))?;
        let name = format!("COCO_{subtype}_{:012}.jpg", asked.image_id);
        let image = source.pictures.first_of(&[name.clone(), format!("{subtype}/{name}")])?;
        let text = about_image(&instructed(&plain(&asked.question), instruction));
        let question = Question::new(source.id(asked.question_id), text, vec![image], answers);
        Ok(question.in_groups(annotation.answer_type.map(|kind| format!("answer/{kind}"))))
    };
    asked.questions.into_iter().map(question).collect()
}

/// The answers of ten people: the accuracy is defined for no other number.
pub fn ten(answers: Vec<String>) -> anyhow::Result<Expected> {
    ensure!(answers.len() == 10, "it has {} answers, and its accuracy is defined for 10", answers.len());
    Ok(Expected::Annotators(answers))
}
