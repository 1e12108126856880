//! GQA (Hudson and Manning 2019): `testdev_balanced_questions.json`.

use indexmap::IndexMap;
use serde::Deserialize;

use super::Source;
use crate::stages::benchmark::layout;
use crate::stages::benchmark::prompt::{SHORT, about_image, instructed, plain};
use crate::stages::benchmark::question::{Expected, Question};

const QUESTIONS: &str = r#"{"<question id>": {"imageId": …, "question": …, "answer": …, "types": {…}}, …}"#;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    image_id: String,
    question: String,
    answer: String,
    types: Option<Types>,
}

#[derive(Deserialize)]
struct Types {
    structural: String,
    semantic: String,
}

/// Images are `{imageId}.jpg`. As in the official evaluation, a question of the structure `query` is open
/// and any other is binary.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let asked: IndexMap<String, Asked> = layout::json(&source.file()?, QUESTIONS)?;
    let instruction = source.entry.prompt(SHORT);
    let question = |(id, asked): (String, Asked)| {
        let image = source.pictures.named(&format!("{}.jpg", asked.image_id))?;
        let text = about_image(&instructed(&plain(&asked.question), instruction));
        let groups = asked.types.map(|types| {
            let answers = if types.structural == "query" { "open" } else { "binary" };
            [
                format!("answer/{answers}"),
                format!("structure/{}", types.structural),
                format!("meaning/{}", types.semantic),
            ]
        });
        let question = Question::new(source.id(id), text, vec![image], Expected::Text(asked.answer));
        Ok(question.in_groups(groups.into_iter().flatten()))
    };
    asked.into_iter().map(question).collect()
}
