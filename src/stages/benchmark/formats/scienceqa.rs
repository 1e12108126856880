//! ScienceQA (Lu et al. 2022): `problems.json` with `pid_splits.json`.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::Source;
use crate::selection::answers::options::letter;
use crate::stages::benchmark::layout;
use crate::stages::benchmark::prompt::{LETTER, about_image, instructed, plain};
use crate::stages::benchmark::question::{Expected, Question};
use crate::text;

const PROBLEMS: &str = r#"{"<id>": {"question": …, "choices": […], "answer": 0, "hint": …, "image": …}, …}"#;
const SPLITS: &str = r#"{"test": ["<id>", …], …}"#;

#[derive(Deserialize)]
struct Problem {
    question: String,
    choices: Vec<String>,
    answer: usize,
    #[serde(default)]
    hint: String,
    image: Option<String>,
    subject: Option<String>,
    grade: Option<String>,
}

/// The split is `test` unless the entry says otherwise. Images are `{split}/{id}/{image}` or `{id}/{image}`.
/// Questions are worded in the order context, question, options that LLaVA-1.5 is evaluated with.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let file = source.entry.annotations(source.suite);
    let file = file.context("the format `scienceqa` needs `annotations`, the file `pid_splits.json`")?;
    let mut splits: HashMap<String, Vec<String>> = layout::json(&file, SPLITS)?;
    let split = source.entry.split().unwrap_or("test");
    let ids = splits.remove(split).with_context(|| {
        let mut known: Vec<&String> = splits.keys().collect();
        known.sort();
        format!("`{}` has no split `{split}`; it has {}", file.display(), text::ticked_list(known))
    })?;
    let problems: HashMap<String, Problem> = layout::json(&source.file()?, PROBLEMS)?;
    let instruction = source.entry.prompt(LETTER);
    let question = |id: &String| {
        let problem = problems.get(id).with_context(|| format!("there is no problem `{id}` of the split `{split}`"))?;
        let count = problem.choices.len();
        ensure!(
            problem.answer < count && count <= 5,
            "problem `{id}` has {}, of which number {} is right",
            text::count(count, "choice"),
            problem.answer
        );
        let image = |name: &String| source.pictures.first_of(&[format!("{split}/{id}/{name}"), format!("{id}/{name}")]);
        let images: Vec<_> = problem.image.iter().map(image).collect::<anyhow::Result<_>>()?;
        let text = instructed(&worded(problem), instruction);
        let text = if images.is_empty() { text } else { about_image(&text) };
        let expected = Expected::Option { right: problem.answer, options: problem.choices.clone() };
        Ok(Question::new(source.id(id), text, images, expected).in_groups(groups(problem)))
    };
    ids.iter().map(question).collect()
}

fn worded(problem: &Problem) -> String {
    let hint = plain(&problem.hint);
    let context = if hint.is_empty() { "N/A" } else { &hint };
    let choices = problem.choices.iter().enumerate();
    let choices: Vec<String> =
        choices.map(|(number, choice)| format!("({}) {}", letter(number), plain(choice))).collect();
    format!("Context: {context}\nQuestion: {}\nOptions: {}", plain(&problem.question), choices.join(" "))
}

/// The eight classes that the paper reports: three subjects, three contexts, two ranges of grades.
fn groups(problem: &Problem) -> Vec<String> {
    let mut groups: Vec<String> = problem.subject.iter().map(|subject| format!("subject/{subject}")).collect();
    let (text, image) = (!problem.hint.trim().is_empty(), problem.image.is_some());
    let contexts = [(text, "text"), (image, "image"), (!text && !image, "none")];
    groups.extend(contexts.iter().filter(|(is, _)| *is).map(|(_, context)| format!("context/{context}")));
    let grade = problem.grade.as_ref().and_then(|grade| grade.strip_prefix("grade")?.parse::<u32>().ok());
    groups.extend(grade.map(|grade| String::from(if grade <= 6 { "grade/1-6" } else { "grade/7-12" })));
    groups
}
