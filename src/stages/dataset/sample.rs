//! From the fields of a row to a sample, or to the reason why it is none: what each layout's fields mean,
//! who speaks, and where the marks of images go.

use std::path::{Component, Path};

use super::format::Format;
use super::row::{Loose, Message, Picture, Row};
use crate::artifact::{ImageReference, Sample, Turn};
use crate::images::Part;
use crate::selection::random::Draws;

/// Stands for an image in a question.
const MARK: &str = "<image>";

/// Why a row is no sample.
pub type Reason = &'static str;

/// Whose samples are made.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    /// The dataset.
    pub name: &'a str,
    /// Its layout.
    pub format: Format,
    /// Seed of the questions that are drawn for samples that have none.
    pub seed: u64,
    /// Folder of the images of MiniGPT4, with its slash.
    pub captioned: &'a str,
}

/// Where a row was found.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Its number in the dataset, counted from 0.
    pub index: usize,
    /// The path of its file below the dataset's folder.
    pub file: &'a str,
    /// The part of the dataset that its file's folder names.
    pub source: Option<&'a str>,
    /// The kind of task that the folder above that names.
    pub task: Option<&'a str>,
}

/// Questions for captions that come without one (MiniGPT4's second stage).
const QUESTIONS: [&str; 8] = [
    "Describe this picture in detail.",
    "What can be seen here? Give a full account.",
    "Write a detailed description of the image.",
    "Look closely at the photo and say what is in it.",
    "Tell me everything that the image shows.",
    "Explain in several sentences what is going on in this picture.",
    "How would you describe this scene to someone who cannot see it?",
    "Please give a thorough caption for the image.",
];

/// What [`Maker::sample`] makes: a sample, and the images of it that are in the row's own file.
pub type Made<'a> = (Sample, Vec<Picture<'a>>);

impl Maker<'_> {
    /// The sample that a row is. Its images refer to [`super::IMAGES`] or [`super::SHARDS`]; `part` says
    /// which part of the row's file a picture is, by its number in the row.
    ///
    /// # Errors
    ///
    /// The reason why it is none.
    pub fn sample<'r>(
        &self,
        mut row: Row<'r>,
        origin: &Origin<'_>,
        part: impl Fn(usize, &Picture<'r>) -> Part,
    ) -> Result<Made<'r>, Reason> {
        let mut images = Vec::new();
        let mut inside = Vec::new();
        if let (Format::Minigpt4, Some(id)) = (self.format, row.image_id.text()) {
            images.push(reference(&format!("{}{id}.jpg", self.captioned))?);
        }
        for (number, picture) in row.take_pictures().into_iter().enumerate() {
            if let Picture::File(path) = &picture {
                images.push(reference(path)?);
                continue;
            }
            if picture == Picture::Nothing {
                return Err("image is missing");
            }
            let part = part(number, &picture);
            images.push(ImageReference { root: super::SHARDS, path: origin.file.to_string(), part });
            inside.push(picture);
        }
        let turns = with_marks(self.turns(&row, origin)?, images.len())?;
        let own = |field: &Loose<'_>| field.text().map(str::to_string);
        let skill = own(&row.skill).or_else(|| match self.format {
            Format::Lamm => own(&row.task_type),
            Format::M3it => origin.task.map(str::to_string),
            _ => None,
        });
        let source = own(&row.source).or_else(|| origin.source.map(str::to_string));
        let id = format!("{}/{}", self.name, origin.index);
        let source_id = Some(row.id).filter(|id| id.is_string() || id.is_number());
        let dataset = self.name.to_string();
        Ok((Sample { id, source_id, dataset, skill, source, images, turns }, inside))
    }

    fn turns(&self, row: &Row<'_>, origin: &Origin<'_>) -> Result<Vec<Turn>, Reason> {
        let single = |question: String, answer: &Loose<'_>| {
            let answer = answer.or_empty();
            answer_is_one(answer)?;
            Ok(vec![Turn { question, answer: answer.to_string() }])
        };
        match self.format {
            Format::Llava | Format::Mantis | Format::Lamm | Format::VisionFlan | Format::Sharegpt => {
                let messages = row.conversations.as_deref().ok_or(self.format.no_row())?;
                conversation(messages, self.format == Format::Sharegpt)
            }
            Format::M3it | Format::Alpaca => {
                if row.instruction.text().is_none() && row.input.text().is_none() {
                    return Err(self.format.no_row());
                }
                let parts: Vec<&str> = [&row.instruction, &row.input].iter().filter_map(|part| part.text()).collect();
                single(parts.join("\n"), &row.output)
            }
            Format::Minigpt4 => {
                if row.image_id.text().is_none() {
                    return Err(self.format.no_row());
                }
                let drawn = Draws::new(self.seed, &format!("question of row {}", origin.index)).below(QUESTIONS.len());
                single(QUESTIONS[drawn].to_string(), &row.caption)
            }
        }
    }
}

/// A file below the folder of images.
fn reference(path: &str) -> Result<ImageReference, Reason> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy()),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err("image path leaves the folder of images");
            }
        }
    }
    match parts.is_empty() {
        true => Err("image path is empty"),
        false => Ok(ImageReference { root: super::IMAGES, path: parts.join("/"), part: Part::Whole }),
    }
}

fn answer_is_one(answer: &str) -> Result<(), Reason> {
    if answer.trim().is_empty() {
        return Err("answer is empty");
    }
    if answer.contains(MARK) {
        return Err("answer has an image mark");
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Speaker {
    Human,
    Assistant,
    System,
    Unknown,
}

fn speaker(message: &Message<'_>) -> Speaker {
    match message.from.or_empty() {
        "human" | "user" => Speaker::Human,
        "gpt" | "assistant" => Speaker::Assistant,
        "system" => Speaker::System,
        _ => Speaker::Unknown,
    }
}

/// Questions and answers in turn. Nothing is learnt of what comes before the first question, so an
/// assistant's greeting is left out, as LLaVA's own reader does. `open` is for conversations as they were
/// recorded: a system message becomes the beginning of the first question, and what comes after the last
/// answer is left out.
fn conversation(messages: &[Message<'_>], open: bool) -> Result<Vec<Turn>, Reason> {
    if messages.is_empty() {
        return Err("conversation is empty");
    }
    let mut rest = messages;
    let mut system = None;
    if let [first, after @ ..] = rest
        && open
        && speaker(first) == Speaker::System
    {
        system = first.value.text();
        rest = after;
    }
    if let [greeting, question, _, ..] = rest
        && speaker(greeting) == Speaker::Assistant
        && speaker(question) == Speaker::Human
    {
        rest = &rest[1..];
    }
    let mut turns = Vec::with_capacity(rest.len() / 2);
    for pair in rest.chunks(2) {
        let [human, assistant] = pair else {
            if open && !turns.is_empty() {
                break;
            }
            return Err("conversation ends with a question");
        };
        if speaker(human) != Speaker::Human || speaker(assistant) != Speaker::Assistant {
            return Err("turns are not from `human` and `gpt` in alternation");
        }
        let answer = assistant.value.or_empty();
        answer_is_one(answer)?;
        turns.push(Turn { question: human.value.or_empty().to_string(), answer: answer.to_string() });
    }
    if let (Some(system), Some(first)) = (system, turns.first_mut()) {
        first.question = format!("{system}\n\n{}", first.question);
    }
    if turns.is_empty() { Err("conversation is empty") } else { Ok(turns) }
}

/// The turns with as many marks in the questions as there are images.
fn with_marks(mut turns: Vec<Turn>, images: usize) -> Result<Vec<Turn>, Reason> {
    let marks: usize = turns.iter().map(|turn| turn.question.matches(MARK).count()).sum();
    match (images, marks) {
        // The mark of an only image starts its question on a line of its own, and may be left out.
        (1, 0 | 1) => {
            let place = turns.iter().position(|turn| turn.question.contains(MARK)).unwrap_or(0);
            let question = &mut turns[place].question;
            *question = match marks {
                0 => format!("{MARK}\n{}", question.trim()),
                _ => format!("{MARK}\n{}", question.replacen(MARK, "", 1).trim()),
            };
        }
        _ if images == marks => {}
        // Where no text says which image comes where, all come first, each on a line of its own.
        (_, 0) => turns[0].question = format!("{}{}", format!("{MARK}\n").repeat(images), turns[0].question.trim()),
        _ => return Err("image marks and images differ in number"),
    }
    Ok(turns)
}
