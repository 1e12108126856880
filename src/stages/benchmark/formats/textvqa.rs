//! TextVQA (Singh et al. 2019): `TextVQA_0.5.1_val.json`, and the text that was recognised in the images,
//! `TextVQA_Rosetta_OCR_v0.2_val.json`.

use std::collections::HashMap;

use anyhow::Context;
use serde::Deserialize;

use super::Source;
use super::vqav2::ten;
use crate::stages::benchmark::layout::{self, Id};
use crate::stages::benchmark::prompt::{SHORT, about_image, instructed, plain};
use crate::stages::benchmark::question::Question;

const QUESTIONS: &str = r#"{"data": [{"question_id": …, "image_id": …, "question": …, "answers": […]}, …]}"#;
const TOKENS: &str = r#"{"data": [{"image_id": …, "ocr_tokens": […]}, …]}"#;

#[derive(Deserialize)]
struct File<T> {
    data: Vec<T>,
}

#[derive(Deserialize)]
struct Asked {
    question_id: Id,
    image_id: String,
    question: String,
    answers: Vec<String>,
}

#[derive(Deserialize)]
struct Recognised {
    image_id: String,
    ocr_tokens: Vec<String>,
}

/// Images are `{image_id}.jpg`. With the recognised text, questions hold it as LLaVA's do; published
/// results of LLaVA are with it (haotian-liu/LLaVA#976).
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let asked: File<Asked> = layout::json(&source.file()?, QUESTIONS)?;
    let recognised: Option<HashMap<String, Vec<String>>> = match source.entry.ocr(source.suite) {
        None => None,
        Some(file) => {
            let tokens: File<Recognised> = layout::json(&file, TOKENS)?;
            Some(tokens.data.into_iter().map(|image| (image.image_id, image.ocr_tokens)).collect())
        }
    };
    let instruction = source.entry.prompt(SHORT);
    let question = |asked: Asked| {
        let answers = ten(asked.answers).with_context(|| format!("question {}", asked.question_id))?;
        let image = source.pictures.named(&format!("{}.jpg", asked.image_id))?;
        let mut text = capitalised(&plain(&asked.question));
        if let Some(recognised) = &recognised {
            let tokens = recognised.get(&asked.image_id).map(|tokens| tokens.join(", ")).unwrap_or_default();
            text = format!("{text}\nReference OCR token: {}", plain(&tokens));
        }
        let text = about_image(&instructed(&text, instruction));
        Ok(Question::new(source.id(asked.question_id), text, vec![image], answers))
    };
    asked.data.into_iter().map(question).collect()
}

/// The file has its questions in lower case, LLaVA's prompts have them with a capital.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
