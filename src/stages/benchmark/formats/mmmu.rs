//! MMMU (Yue et al. 2024): the Parquet files of the Hugging Face dataset `MMMU/MMMU`, or the same fields as JSON or
//! JSON Lines, an image being a path, base64, or an object with either.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::{Source, stem};
use crate::selection::answers::options::letter;
use crate::stages::benchmark::layout;
use crate::stages::benchmark::pictures::Pictures;
use crate::stages::benchmark::prompt::{LETTER, MARK, SHORT, about_image, plain};
use crate::stages::benchmark::question::{Expected, Question};

const ROW: &str = r#"{"id": …, "question": …, "options": […], "answer": …, "question_type": "multiple-choice" or "open", "image_1": …}"#;

/// One row, whatever kind of file it was in.
#[derive(Deserialize)]
pub struct Row {
    id: String,
    question: String,
    /// A list, or the text of a Python list.
    options: Texts,
    /// A letter; of an open question one text or several, as a list or the text of a Python list.
    answer: Texts,
    question_type: String,
    image_1: Option<Image>,
    image_2: Option<Image>,
    image_3: Option<Image>,
    image_4: Option<Image>,
    image_5: Option<Image>,
    image_6: Option<Image>,
    image_7: Option<Image>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Image {
    Text(String),
    Object { bytes: Option<String>, path: Option<String> },
}

/// All rows of all files; where a split is named, of those whose names begin with it, such as
/// `validation-00000-of-00001.parquet`.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    let mut files = source.files()?;
    if let Some(split) = source.entry.split() {
        let of_split = |rest: &str| rest.starts_with(['-', '_', '.']);
        files.retain(|file| stem(file).strip_prefix(split).is_some_and(|rest| rest.is_empty() || of_split(rest)));
        ensure!(!files.is_empty(), "no file is of the split `{split}`: none has a name that begins with it");
    }
    for file in files {
        for row in layout::rows::<Row>(&file, ROW)? {
            let id = row.id.clone();
            let place = || format!("`{}`, question `{id}`", file.display());
            questions.push(question(source, row).with_context(place)?);
        }
    }
    Ok(questions)
}

/// One question. Several images stay where the text names them, as in training; the authors of the
/// method join them to one wide image here, though not in training.
fn question(source: &Source<'_>, row: Row) -> anyhow::Result<Question> {
    let options = row.options.list();
    let subject = subject(&row.id);
    let id = source.id(&row.id);
    let choice = row.question_type == "multiple-choice";
    ensure!(choice || row.question_type == "open", "its `question_type` is `{}`", row.question_type);
    let mut text = plain(&row.question);
    if choice {
        let lines = options.iter().enumerate().map(|(number, option)| format!("({}) {option}\n", letter(number)));
        text = format!("{text}\n\n{}", plain(&lines.collect::<String>()));
    }
    let instruction = source.entry.prompt(if choice { LETTER } else { SHORT });
    // With a list of options, the published prompt has two empty lines before the instruction.
    let text = match (instruction, choice) {
        ("", _) => text,
        (_, true) => format!("{text}\n\n\n{instruction}"),
        (_, false) => format!("{text}\n\n{instruction}"),
    };
    let expected = if choice {
        let answers = row.answer.list();
        let right =
            answers.first().and_then(|answer| (0..options.len()).find(|number| *answer == letter(*number).to_string()));
        let right =
            right.with_context(|| format!("its answer is {answers:?}, and it has {} options", options.len()))?;
        Expected::Option { right, options }
    } else {
        let answers = row.answer.list();
        ensure!(!answers.is_empty(), "it has no answer");
        Expected::AnyOf(answers)
    };
    let fields = [row.image_1, row.image_2, row.image_3, row.image_4, row.image_5, row.image_6, row.image_7];
    let images: Vec<Option<PathBuf>> = fields
        .into_iter()
        .map(|image| image.map(|image| image.file(source.pictures)).transpose().map(Option::flatten))
        .collect::<anyhow::Result<_>>()?;
    let (text, images) = placed(text, &images)?;
    let kind = if choice { "multiple-choice" } else { "open" };
    let groups = subject.map(|subject| format!("subject/{subject}")).into_iter().chain([format!("question/{kind}")]);
    Ok(Question::new(id, text, images, expected).in_groups(groups))
}

/// Marks for the images. A single one comes first, and the text goes on calling it `<image 1>`, as in the
/// published evaluation; of several, each stands where it is first named, those without a name first.
fn placed(text: String, images: &[Option<PathBuf>]) -> anyhow::Result<(String, Vec<PathBuf>)> {
    let there: Vec<(String, &PathBuf)> = images
        .iter()
        .enumerate()
        .filter_map(|(number, image)| Some((format!("<image {}>", number + 1), image.as_ref()?)))
        .collect();
    if let [(_, only)] = there.as_slice() {
        return Ok((about_image(&text), vec![(*only).clone()]));
    }
    let mut named: Vec<(usize, &str, &PathBuf)> = Vec::new();
    let mut unnamed = Vec::new();
    for (name, image) in &there {
        match text.find(name) {
            Some(at) => named.push((at, name, image)),
            None => unnamed.push((*image).clone()),
        }
    }
    named.sort();
    let mut marked = text.clone();
    for (at, name, _) in named.iter().rev() {
        marked.replace_range(*at..at + name.len(), MARK);
    }
    let front = format!("{MARK}\n").repeat(unnamed.len());
    unnamed.extend(named.into_iter().map(|(_, _, image)| image.clone()));
    Ok((format!("{front}{marked}"), unnamed))
}

/// `Accounting` of `validation_Accounting_1`.
fn subject(id: &str) -> Option<&str> {
    let (_, rest) = id.split_once('_')?;
    rest.rsplit_once('_').map(|(subject, _)| subject)
}

impl Texts {
    fn list(self) -> Vec<String> {
        match self {
            Texts::Several(texts) => texts,
            Texts::One(text) => python_list(&text).unwrap_or_else(|| vec![text]),
        }
    }
}

impl Image {
    fn file(self, pictures: &Pictures) -> anyhow::Result<Option<PathBuf>> {
        match self {
            Image::Object { bytes: Some(base64), .. } => pictures.embedded(&base64).map(Some),
            Image::Object { path: Some(path), .. } => pictures.named(&path).map(Some),
            Image::Object { .. } => Ok(None),
            Image::Text(text) => match text.strip_prefix("data:").and_then(|rest| rest.split_once("base64,")) {
                Some((_, base64)) => pictures.embedded(base64).map(Some),
                None => pictures.named(&text).map(Some),
            },
        }
    }
}

/// The elements of the text of a Python list of texts, such as `['$6', "it's"]`; none if it is none.
fn python_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|first| ['\'', '"'].contains(first))?;
        let mut element = String::new();
        let mut letters = rest.char_indices().skip(1);
        let end = loop {
            match letters.next()? {
                (at, letter) if letter == quote => break at,
                (_, '\\') => match letters.next()?.1 {
                    'n' => element.push('\n'),
                    't' => element.push('\t'),
                    escaped @ ('\'' | '"' | '\\') => element.push(escaped),
                    other => element.extend(['\\', other]),
                },
                (_, letter) => element.push(letter),
            }
        };
        texts.push(element);
        rest = rest[end + 1..].trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_python_list_is_a_list() {
        assert_eq!(
            python_list(r#"['$6', "it's", 'a\'b', 'x\\y', '\frac']"#).unwrap(),
            ["$6", "it's", "a'b", "x\\y", "\\frac"]
        );
        assert_eq!(python_list("[]").unwrap(), Vec::<String>::new());
        for no in ["B", "[1, 2]", "['a' 'b']", "['a", "['a'] or"] {
            assert_eq!(python_list(no), None, "{no}");
        }
    }

    #[test]
    fn images_stand_where_the_text_first_names_them() {
        let images =
            |count: usize| (0..count).map(|number| Some(PathBuf::from(number.to_string()))).collect::<Vec<_>>();
        let (text, files) = placed("In <image 1>, why?".into(), &images(1)).unwrap();
        assert_eq!((text.as_str(), files.len()), ("<image>\nIn <image 1>, why?", 1));
        let (text, files) = placed("Is <image 2> like <image 1> or <image 2>?".into(), &images(3)).unwrap();
        assert_eq!(text, "<image>\nIs <image> like <image> or <image 2>?");
        assert_eq!(files, [PathBuf::from("2"), PathBuf::from("1"), PathBuf::from("0")]);
        let (text, files) = placed("Why?".into(), &[None, None]).unwrap();
        assert_eq!((text.as_str(), files.len()), ("Why?", 0));
    }
}
