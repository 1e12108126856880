//! The miniature suites, made from a seed, so that every experiment runs in minutes on two cores: six
//! small datasets with pictures, benchmarks, validation samples and the architectures of two models for
//! them; and the same for text alone ([`language`]).
//!
//! A picture is two rows of two cells ([`scene`]), each with nothing, an object or a glyph. What is
//! written is as any dataset is: PNG files and LLaVA-style JSON; nothing that reads it knows that it
//! was made. [`datasets`] says what each dataset holds. Scenes and questions of what is held out
//! ([`held_out`]) occur in no dataset. Unaware of experiments, stages and models.

mod architecture;
mod datasets;
mod dice;
mod held_out;
mod language;
mod picture;
mod scene;
mod skills;
mod tokenizer;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use datasets::{DATASETS, Picture, Row};
use dice::Dice;
use held_out::{BENCHMARK_ROWS, SMALL_BENCHMARK_ROWS, benchmark};
use skills::Skill;

/// Raised whenever anything that [`make`] writes changes. Another part changes nothing that was there.
pub const VERSION: u32 = 1;

/// What [`make`] makes: the datasets in the order of their arrival, what is held out of them, and the
/// architectures that `experiments/suites/mini` has copies of; then the same without pictures.
pub const NAMES: [&str; 21] = [
    "llava",
    "m3it",
    "minigpt4",
    "mantis",
    "lamm",
    "vision_flan",
    "benchmarks",
    "benchmarks-small",
    "validation",
    "visual-chat",
    "architecture",
    "proxy-architecture",
    "natural_instructions",
    "alpaca_cot",
    "xp3",
    "ultrachat",
    "firefly",
    "language-benchmarks",
    "language-benchmarks-small",
    "language-validation",
    "language-architecture",
];

/// Makes the part `name` of the suite in `directory`, unless the directory is there: it appears at
/// once and whole, so what is there was made by this function.
///
/// A dataset is `samples.json` and, with pictures, `images/`, as validation samples are; benchmarks are
/// `benchmarks.json`, a JSON file each and `images/`; an architecture is config.json, tokenizer.json and
/// their companions.
///
/// # Errors
///
/// If there is no part of this name, or something cannot be written.
pub fn make(name: &str, directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let unfinished = sibling(directory)?;
    fs::create_dir_all(&unfinished)?;
    let made = write(name, &unfinished).and_then(|()| fs::rename(&unfinished, directory));
    if made.is_err() {
        fs::remove_dir_all(&unfinished)?;
    }
    // Another process may have been first.
    if directory.is_dir() { Ok(()) } else { made }
}

/// A directory beside `directory` that only this process uses.
fn sibling(directory: &Path) -> io::Result<PathBuf> {
    let name = directory.file_name().ok_or_else(|| io::Error::other("a suite cannot be made in a root"))?;
    Ok(directory.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id())))
}

fn write(name: &str, directory: &Path) -> io::Result<()> {
    match name {
        "benchmarks" => write_benchmarks(BENCHMARK_ROWS, directory),
        "benchmarks-small" => write_benchmarks(SMALL_BENCHMARK_ROWS, directory),
        "validation" => write_samples("validation", &held_out::validation(), directory),
        "visual-chat" => write_visual_chat(directory),
        "architecture" => write_files(architecture::base(), directory),
        "proxy-architecture" => write_files(architecture::proxy(), directory),
        "language-benchmarks" => write_language_benchmarks(BENCHMARK_ROWS, directory),
        "language-benchmarks-small" => write_language_benchmarks(SMALL_BENCHMARK_ROWS, directory),
        "language-validation" => write_rows(&directory.join(SAMPLES), name, &language::validation()),
        "language-architecture" => write_files(architecture::of_language(), directory),
        _ => {
            let pictured = DATASETS.iter().find(|dataset| dataset.name == name);
            let of_language = language::DATASETS.iter().find(|dataset| dataset.name == name);
            match (pictured, of_language) {
                (Some(dataset), _) => {
                    let rows: Vec<Row> = (0..dataset.rows).map(|index| dataset.row(index)).collect();
                    write_samples(name, &rows, directory)
                }
                (None, Some(dataset)) => {
                    let rows: Vec<Row> = (0..dataset.rows).map(|index| dataset.row(index)).collect();
                    write_rows(&directory.join(SAMPLES), name, &rows)
                }
                (None, None) => {
                    let known = crate::text::ticked_list(NAMES);
                    Err(io::Error::other(format!("the miniature suite has no `{name}`; it has {known}")))
                }
            }
        }
    }
}

/// The file of a dataset.
const SAMPLES: &str = "samples.json";

fn write_files(files: Vec<architecture::File>, directory: &Path) -> io::Result<()> {
    files.into_iter().try_for_each(|(file, text)| fs::write(directory.join(file), text))
}

/// Rows with their pictures.
fn write_samples(name: &str, rows: &[Row], directory: &Path) -> io::Result<()> {
    write_rows(&directory.join(SAMPLES), name, rows)?;
    write_pictures(&directory.join("images"), name, rows)
}

fn write_benchmarks(count: usize, directory: &Path) -> io::Result<()> {
    let mut list = Vec::new();
    fs::create_dir(directory.join("images"))?;
    for skill in Skill::ALL {
        let name = skill.benchmark();
        let file = format!("{name}.json");
        let rows = &benchmark(skill)[..count];
        write_rows(&directory.join(&file), name, rows)?;
        write_pictures(directory, &format!("benchmark {name}"), rows)?;
        list.push(json!({"name": name, "skill": skill.name(), "metric": skill.metric(), "file": file}));
    }
    write_list(&list, directory)
}

/// One benchmark whose answers are decoded, right or wrong.
fn write_visual_chat(directory: &Path) -> io::Result<()> {
    let (name, file, rows) = ("visual_chat", "visual_chat.json", held_out::visual_chat());
    fs::create_dir(directory.join("images"))?;
    write_rows(&directory.join(file), name, &rows)?;
    write_pictures(directory, name, &rows)?;
    write_list(&[json!({"name": name, "skill": name, "metric": "rouge_l", "file": file})], directory)
}

/// The benchmarks without pictures. That with choices is laid out as MMLU is.
fn write_language_benchmarks(count: usize, directory: &Path) -> io::Result<()> {
    let mut list = Vec::new();
    for skill in language::Skill::ALL {
        let name = skill.benchmark();
        if skill == language::Skill::Choices {
            let file = format!("{name}.jsonl");
            let lines = language::choices().into_iter().take(count).map(|choice| {
                let language::Choice { subject, question, choices, answer } = choice;
                format!("{}\n", json!({"question": question, "subject": subject, "choices": choices, "answer": answer}))
            });
            fs::write(directory.join(&file), lines.collect::<String>())?;
            let prompt = language::LETTER;
            list.push(json!({"name": name, "skill": skill.name(), "format": "mmlu", "file": file, "prompt": prompt}));
            continue;
        }
        let file = format!("{name}.json");
        write_rows(&directory.join(&file), name, &language::benchmark(skill)[..count])?;
        list.push(json!({"name": name, "skill": skill.name(), "metric": skill.metric(), "file": file}));
    }
    write_list(&list, directory)
}

/// `benchmarks.json`.
fn write_list(list: &[Value], directory: &Path) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(list)?;
    text.push('\n');
    fs::write(directory.join("benchmarks.json"), text)
}

/// A JSON list with a row on each line.
fn write_rows(path: &Path, dataset: &str, rows: &[Row]) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for (index, row) in rows.iter().enumerate() {
        file.write_all(if index == 0 { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut file, &sample(dataset, index, row))?;
    }
    file.write_all(b"\n]\n")?;
    file.flush()
}

/// A row in the LLaVA layout.
fn sample(dataset: &str, index: usize, row: &Row) -> Value {
    let mut sample = json!({"id": format!("{dataset}-{index:06}")});
    match row.pictures.as_slice() {
        [] => {}
        [picture] => sample["image"] = json!(picture.file),
        pictures => sample["image"] = pictures.iter().map(|picture| picture.file.as_str()).collect(),
    }
    let marks = "<image>\n".repeat(row.pictures.len());
    let turn = |(number, (question, answer)): (usize, &(String, String))| {
        let marks = if number == 0 { marks.as_str() } else { "" };
        [json!({"from": "human", "value": format!("{marks}{question}")}), json!({"from": "gpt", "value": answer})]
    };
    sample["conversations"] = row.turns.iter().enumerate().flat_map(turn).collect();
    sample["dataset"] = json!(dataset);
    sample["skill"] = json!(row.skill);
    sample
}

/// Writes each picture of `rows` once; its noise depends on `purpose` and its place among them.
fn write_pictures(directory: &Path, purpose: &str, rows: &[Row]) -> io::Result<()> {
    let pictures: BTreeMap<&str, &Picture> =
        rows.iter().flat_map(|row| &row.pictures).map(|picture| (picture.file.as_str(), picture)).collect();
    fs::create_dir_all(directory)?;
    for (file, picture) in pictures {
        let mut dice = Dice::new(&format!("{purpose} picture {file}"), 0);
        let pixels = picture::paint(&picture.scene, picture.tint, &mut dice);
        pixels.save(directory.join(file)).map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
