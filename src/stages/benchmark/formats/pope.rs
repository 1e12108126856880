//! POPE (Li et al. 2023): `coco_pope_random.json`, `coco_pope_popular.json` and `coco_pope_adversarial.json`, each of
//! JSON Lines.

use anyhow::bail;
use serde::Deserialize;

use super::{Source, stem};
use crate::stages::benchmark::layout::{self, Id};
use crate::stages::benchmark::prompt::{SHORT, about_image, instructed, plain};
use crate::stages::benchmark::question::{Expected, Question};

const QUESTIONS: &str = r#"{"question_id": …, "image": …, "text": …, "label": "yes" or "no"} on each line"#;

#[derive(Deserialize)]
struct Asked {
    question_id: Id,
    image: String,
    text: String,
    label: String,
}

/// The category is what a file's name has after `_pope_`.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    let instruction = source.entry.prompt(SHORT);
    for file in source.files()? {
        let name = stem(&file);
        let category = name.split_once("_pope_").map_or(name.as_str(), |(_, category)| category);
        for asked in layout::rows::<Asked>(&file, QUESTIONS)? {
            let yes = match asked.label.trim() {
                "yes" => true,
                "no" => false,
                other => bail!("`{}`, question {}: the label is `{other}`", file.display(), asked.question_id),
            };
            let image = source.pictures.named(&asked.image)?;
            let text = about_image(&instructed(&plain(&asked.text), instruction));
            let id = source.id(format!("{category}/{}", asked.question_id));
            let question = Question::new(id, text, vec![image], Expected::YesNo(yes));
            questions.push(question.in_groups([format!("category/{category}")]));
        }
    }
    Ok(questions)
}
