//! The reader of LLaVA-style JSON: a list of conversations about images.
//!
//! The file is read as a stream, so that only the samples are held in memory. A file that is not JSON
//! is refused with its line and column; what to do with a sample that cannot be used is the caller's
//! choice. Unaware of the pool that the samples join.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path};

use anyhow::{Context, bail};
use image::ImageReader;
use indexmap::IndexMap;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::artifact::{Drop, ImageReference, Pool, Sample, Turn};
use crate::text;

/// Stands for an image in a question.
const MARK: &str = "<image>";
/// How many samples with a problem are named.
const EXAMPLES: usize = 5;

/// What a sample that cannot be used does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnProblem {
    /// The whole dataset is refused.
    Refuse,
    /// It is left out and counted in [`Pool::drops`].
    Drop,
}

/// Reads the dataset `name` from `file`, with images below the folder `images`.
///
/// The result's samples refer to the folder as the first root; which content that is, the caller
/// must say: [`Pool::roots`] is empty.
///
/// # Errors
///
/// If the file cannot be read or is not a JSON list (with line and column), a sample has an image
/// though there is no folder, or a sample cannot be used and problems are refused.
pub fn read(name: &str, file: &Path, images: Option<&Path>, on_problem: OnProblem) -> anyhow::Result<Pool> {
    let mut rows = parse(name, file)?;
    if let Some(folder) = images {
        check_images(&mut rows, folder);
    } else if let Some(row) = rows.iter().find(|row| row.sample.as_ref().is_ok_and(|sample| !sample.images.is_empty()))
    {
        bail!("{row} of `{}` has an image, but no folder of images is given\nhint: set `images`", file.display());
    }
    let mut problems: IndexMap<&str, Drop> = IndexMap::new();
    let mut samples = Vec::with_capacity(rows.len());
    for row in rows {
        let place = row.to_string();
        match row.sample {
            Ok(sample) => samples.push(sample),
            Err(reason) => {
                let none = || Drop { dataset: name.into(), reason: reason.into(), count: 0, examples: vec![] };
                let drop = problems.entry(reason).or_insert_with(none);
                drop.count += 1;
                if drop.examples.len() < EXAMPLES {
                    drop.examples.push(place);
                }
            }
        }
    }
    let drops: Vec<Drop> = problems.into_values().collect();
    if on_problem == OnProblem::Refuse && !drops.is_empty() {
        let unusable: usize = drops.iter().map(|drop| drop.count).sum();
        let reasons: Vec<String> = drops.iter().map(|drop| format!("  {}", describe(drop))).collect();
        bail!(
            "`{}` has {} that cannot be used:\n{}\nhint: mend them or take them out; an ingestion can also leave \
             them out, with `on_problem: drop`",
            file.display(),
            text::count(unusable, "sample"),
            reasons.join("\n")
        );
    }
    Ok(Pool { roots: vec![], samples, drops })
}

/// `3 samples: image is missing (row 0, line 2; …)`.
pub fn describe(drop: &Drop) -> String {
    let more = if drop.count > drop.examples.len() { "; …" } else { "" };
    format!("{}: {} ({}{more})", text::count(drop.count, "sample"), drop.reason, drop.examples.join("; "))
}

/// An element of the list: a sample, or why it is none.
struct Row {
    /// Counted from 0.
    index: usize,
    /// The line that it starts in, counted from 1.
    line: usize,
    sample: Result<Sample, &'static str>,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "row {}, line {}", self.index, self.line)
    }
}

/// Marks the samples whose images cannot be read. Only the header of an image is decoded.
fn check_images(rows: &mut [Row], folder: &Path) {
    let images = |row: &Row| row.sample.as_ref().map_or(vec![], |sample| sample.images.clone());
    let paths: BTreeSet<String> = rows.iter().flat_map(images).map(|image| image.path).collect();
    let verdict = |path: String| {
        let file = folder.join(&path);
        let reader = ImageReader::open(&file).and_then(ImageReader::with_guessed_format);
        match reader.map(ImageReader::into_dimensions) {
            Ok(Ok(_)) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some((path, "image is missing")),
            _ => Some((path, "image is unreadable")),
        }
    };
    let bad: BTreeMap<String, &'static str> = paths.into_par_iter().filter_map(verdict).collect();
    for row in rows {
        if let Some(reason) = images(row).iter().find_map(|image| bad.get(&image.path)) {
            row.sample = Err(reason);
        }
    }
}

/// The fields of a sample that are used.
#[derive(Deserialize)]
struct Fields {
    id: Option<Value>,
    image: Option<Images>,
    conversations: Vec<Message>,
    skill: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Images {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Message {
    from: String,
    value: String,
}

fn sample(name: &str, index: usize, value: Value) -> Result<Sample, &'static str> {
    let fields: Fields = serde_json::from_value(value).map_err(|_| "not an object with conversations")?;
    let paths = match fields.image {
        None => vec![],
        Some(Images::One(path)) => vec![path],
        Some(Images::Several(paths)) => paths,
    };
    let images = paths.iter().map(|path| reference(path)).collect::<Result<Vec<_>, _>>()?;
    let turns = turns(&fields.conversations, images.len())?;
    Ok(Sample {
        id: format!("{name}/{index}"),
        source_id: fields.id.filter(|id| id.is_string() || id.is_number()),
        dataset: name.to_string(),
        skill: fields.skill,
        images,
        turns,
    })
}

fn reference(path: &str) -> Result<ImageReference, &'static str> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err("image path leaves the folder of images");
            }
        }
    }
    if parts.is_empty() { Err("image path is empty") } else { Ok(ImageReference { root: 0, path: parts.join("/") }) }
}

/// Questions and answers in turn, with as many marks in the questions as there are images.
fn turns(messages: &[Message], images: usize) -> Result<Vec<Turn>, &'static str> {
    if messages.is_empty() {
        return Err("conversation is empty");
    }
    let mut turns = Vec::with_capacity(messages.len() / 2);
    for pair in messages.chunks(2) {
        let [human, assistant] = pair else { return Err("conversation ends with a question") };
        if human.from != "human" || assistant.from != "gpt" {
            return Err("turns are not from `human` and `gpt` in alternation");
        }
        if assistant.value.trim().is_empty() {
            return Err("answer is empty");
        }
        if assistant.value.contains(MARK) {
            return Err("answer has an image mark");
        }
        turns.push(Turn { question: human.value.clone(), answer: assistant.value.clone() });
    }
    let marks: usize = turns.iter().map(|turn| turn.question.matches(MARK).count()).sum();
    match (images, marks) {
        // The mark of an only image starts its question on a line of its own, and may be left out.
        (1, 0 | 1) => {
            let place = turns.iter().position(|turn| turn.question.contains(MARK)).unwrap_or(0);
            let question = &mut turns[place].question;
            *question = format!("{MARK}\n{}", question.replace(MARK, "").trim());
        }
        _ if images == marks => {}
        _ => return Err("image marks and images differ in number"),
    }
    Ok(turns)
}

fn parse(name: &str, file: &Path) -> anyhow::Result<Vec<Row>> {
    let line = Cell::new(1);
    let opened = File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let mut deserializer =
        serde_json::Deserializer::from_reader(LineCounter { reader: BufReader::new(opened), line: &line });
    let rows = deserializer.deserialize_seq(Rows { name, line: &line });
    rows.and_then(|rows| deserializer.end().map(|()| rows)).map_err(|error| {
        let place = format!("{}:{}:{}", file.display(), error.line(), error.column().max(1));
        // The place is part of serde_json's text too, at its end.
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or(&text).to_string();
        anyhow::anyhow!("{place}: not a JSON list of samples: {what}")
    })
}

/// Counts the lines of what is read. `serde_json` reads byte by byte, so the count is where it is.
struct LineCounter<'a> {
    reader: BufReader<File>,
    line: &'a Cell<usize>,
}

impl Read for LineCounter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let ends = buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        self.line.set(self.line.get() + ends);
        Ok(read)
    }
}

/// Turns the elements of the list into rows as they come.
struct Rows<'a> {
    name: &'a str,
    line: &'a Cell<usize>,
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = Vec<Row>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Row>, A::Error> {
        let mut rows = Vec::new();
        while let Some((line, value)) = list.next_element_seed(Placed { line: self.line })? {
            let index = rows.len();
            rows.push(Row { index, line, sample: sample(self.name, index, value) });
        }
        Ok(rows)
    }
}

/// A value with the line that it starts in.
struct Placed<'a> {
    line: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Placed<'_> {
    type Value = (usize, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(usize, Value), D::Error> {
        let line = self.line.get();
        Ok((line, Value::deserialize(deserializer)?))
    }
}
