//! The miniature suite: six small datasets, benchmarks and the architecture of a model for them, made
//! from a seed, so that every experiment runs in minutes on two cores.
//!
//! A picture is two rows of two cells ([`scene`]), each with nothing, an object or a glyph. What is
//! written is as any dataset is: PNG files and LLaVA-style JSON; nothing that reads it knows that it
//! was made. [`datasets`] says what each dataset holds. Scenes and questions of the benchmarks occur
//! in no dataset. Unaware of experiments, stages and models.

mod architecture;
mod datasets;
mod dice;
mod picture;
mod scene;
mod skills;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use datasets::{BENCHMARK_ROWS, DATASETS, Dataset, Picture, Row, SMALL_BENCHMARK_ROWS, benchmark};
use dice::Dice;
use skills::Skill;

/// Raised whenever anything that [`make`] writes changes.
pub const VERSION: u32 = 1;

/// What [`make`] makes: the datasets in the order of their arrival, the benchmarks, and the
/// architecture that `experiments/suites/mini/architecture` is a copy of.
pub const NAMES: [&str; 9] =
    ["llava", "m3it", "minigpt4", "mantis", "lamm", "vision_flan", "benchmarks", "benchmarks-small", "architecture"];

/// Makes the part `name` of the suite in `directory`, unless the directory is there: it appears at
/// once and whole, so what is there was made by this function.
///
/// A dataset is `samples.json` and `images/`; benchmarks are `benchmarks.json`, a JSON file each and
/// `images/`; the architecture is config.json, tokenizer.json and their companions.
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
        "architecture" => {
            architecture::files().into_iter().try_for_each(|(file, text)| fs::write(directory.join(file), text))
        }
        _ => match DATASETS.iter().find(|dataset| dataset.name == name) {
            Some(dataset) => write_dataset(dataset, directory),
            None => {
                let known = crate::text::ticked_list(NAMES);
                Err(io::Error::other(format!("the miniature suite has no `{name}`; it has {known}")))
            }
        },
    }
}

fn write_dataset(dataset: &Dataset, directory: &Path) -> io::Result<()> {
    let rows: Vec<Row> = (0..dataset.rows).map(|index| dataset.row(index)).collect();
    write_rows(&directory.join("samples.json"), dataset.name, &rows)?;
    write_pictures(&directory.join("images"), dataset.name, &rows)
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
    let mut text = serde_json::to_string_pretty(&list)?;
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
    sample["skill"] = json!(row.skill.name());
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
