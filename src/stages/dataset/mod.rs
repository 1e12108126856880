//! The reader of instruction-tuning datasets: conversations about images, in the layouts that the six
//! datasets of the paper and their like are published in.
//!
//! A dataset is read as a stream of samples, a batch at a time, so memory does not grow with it. JSON is
//! cut into rows ([`split`]) which are parsed in parallel ([`row`]); Parquet is read row by row ([`table`]).
//! What a row means in its layout ([`format`]) is for [`sample`] to say, and [`check`] looks at the images.
//! A file that is not what it seems to be is refused with its place; what to do with a sample that cannot
//! be used is the caller's choice. Unaware of the pool that the samples join.

mod check;
mod format;
mod row;
mod sample;
mod shards;
mod split;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{anyhow, bail};
use indexmap::IndexMap;
use rayon::prelude::*;
use serde::Deserialize;

pub use self::check::Check;
use self::check::Checker;
pub use self::format::Format;
use self::row::{Picture, Row};
use self::sample::{Made, Maker, Origin, Reason};
use self::shards::{Container, Shard, shards};
use self::split::{Batch, Element, Position, Shape, SplitError};
use self::table::Rows;
use crate::artifact::{Drop, Pool, Sample};
use crate::images::Part;
use crate::text;

/// The root that images in files of their own refer to: the folder of images.
pub const IMAGES: usize = 0;
/// The root that images inside the dataset's own files refer to: the dataset.
pub const SHARDS: usize = 1;

/// How many samples with a problem are named.
const EXAMPLES: usize = 5;
/// Rows and bytes of a Parquet file that are looked at together.
const ROWS: usize = 512;
const BYTES: usize = 32 << 20;

/// What a sample that cannot be used does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnProblem {
    /// The whole dataset is refused.
    Refuse,
    /// It is left out and counted in [`Pool::drops`].
    Drop,
}

/// A dataset, and how it is read.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The dataset's name; the first part of its sample ids.
    pub name: &'a str,
    /// Its file, or the folder of its files.
    pub path: &'a Path,
    /// The folder that image paths are relative to; without it, the folder of its files.
    pub images: Option<&'a Path>,
    /// Its layout; without it, that of its first row.
    pub format: Option<Format>,
    /// What a sample that cannot be used does.
    pub on_problem: OnProblem,
    /// How closely images are looked at.
    pub check: Check,
    /// The least side of an image in pixels.
    pub min_side: u32,
    /// Seed of the questions that are drawn for samples that have none.
    pub seed: u64,
}

/// Samples on their way.
#[derive(Debug)]
pub struct Arrivals {
    /// In the order of the dataset. Their images refer to [`IMAGES`] and [`SHARDS`].
    pub samples: Vec<Sample>,
    /// Bytes of the dataset's files up to here.
    pub read: u64,
    /// Bytes of all its files.
    pub total: u64,
}

/// Reads a dataset whole.
///
/// The result's samples refer to [`IMAGES`] and [`SHARDS`]; which content that is, the caller must say:
/// [`Pool::roots`] is empty.
///
/// # Errors
///
/// As [`stream`].
#[cfg_attr(not(feature = "ml"), allow(dead_code, reason = "benchmarks are read whole, datasets are not"))]
pub fn read(name: &str, file: &Path, images: Option<&Path>, on_problem: OnProblem) -> anyhow::Result<Pool> {
    let source =
        Source { name, path: file, images, format: None, on_problem, check: Check::Header, min_side: 1, seed: 0 };
    let mut samples = Vec::new();
    let drops = stream(&source, |mut arrivals| {
        samples.append(&mut arrivals.samples);
        Ok(())
    })?;
    Ok(Pool { roots: vec![], samples, drops })
}

/// Reads a dataset and gives its samples to `take` as they come; returns what was dropped.
///
/// # Errors
///
/// If a file cannot be read, is not JSON (with line and column) or is in no known layout, a sample has an
/// image though there is no folder, a sample cannot be used and problems are refused, or `take` fails.
pub fn stream(source: &Source<'_>, take: impl FnMut(Arrivals) -> anyhow::Result<()>) -> anyhow::Result<Vec<Drop>> {
    let shards = shards(source.path)?;
    let format = match source.format {
        Some(format) => format,
        None => detect(&shards)?,
    };
    let folder = source.images.or_else(|| source.path.is_dir().then_some(source.path));
    let captioned = folder.is_some_and(|folder| folder.join("image").is_dir());
    let maker =
        Maker { name: source.name, format, seed: source.seed, captioned: if captioned { "image/" } else { "" } };
    let sizes = shards.iter().map(|shard| shard.path.metadata().map_or(0, |metadata| metadata.len()));
    let sizes: Vec<u64> = sizes.collect();
    let mut reading = Reading {
        maker,
        checker: Checker::new(source.check, source.min_side, folder),
        folder,
        take,
        problems: IndexMap::new(),
        index: 0,
        total: sizes.iter().sum(),
    };
    let mut before = 0;
    for (shard, size) in shards.iter().zip(sizes) {
        match shard.container {
            Container::Json(shape, from) => reading.json(shard, shape, from, before)?,
            Container::Parquet => reading.parquet(shard, before + size)?,
        }
        before += size;
    }
    let drops: Vec<Drop> = reading.problems.into_values().collect();
    if source.on_problem == OnProblem::Refuse && !drops.is_empty() {
        let unusable: usize = drops.iter().map(|drop| drop.count).sum();
        let reasons: Vec<String> = drops.iter().map(|drop| format!("  {}", describe(drop))).collect();
        bail!(
            "`{}` has {} that cannot be used:\n{}\nhint: mend them or take them out; an ingestion can also leave \
             them out, with `on_problem: drop`",
            source.path.display(),
            text::count(unusable, "sample"),
            reasons.join("\n")
        );
    }
    Ok(drops)
}

/// `3 samples: image is missing (row 0, line 2; …)`.
pub fn describe(drop: &Drop) -> String {
    let more = if drop.count > drop.examples.len() { "; …" } else { "" };
    format!("{}: {} ({}{more})", text::count(drop.count, "sample"), drop.reason, drop.examples.join("; "))
}

/// The layout of the first row.
fn detect(shards: &[Shard]) -> anyhow::Result<Format> {
    for shard in shards {
        let told = match shard.container {
            Container::Parquet => ("it", Format::of_columns(&table::columns(&shard.path)?)),
            Container::Json(shape, from) => {
                let first = shard.split(shape, from)?.next().map_err(|error| malformed(shard, shape, error))?;
                match first {
                    Some(batch) => {
                        let text = batch.text(&batch.elements[0]);
                        if let Err(error) = Row::parse(text).map(drop) {
                            located(shard, shape, &batch.elements[0], &error)?;
                        }
                        ("its first row", Format::of_json(text))
                    }
                    None => continue,
                }
            }
        };
        return told.1.map_err(|seen| {
            anyhow!(
                "`{}` is in no known layout: {} {seen}\nhint: these are known, by their keys:\n{}",
                shard.path.display(),
                told.0,
                Format::known()
            )
        });
    }
    Ok(Format::Llava)
}

/// The error of a file that cannot be cut into rows.
fn malformed(shard: &Shard, shape: Shape, error: SplitError) -> anyhow::Error {
    match error {
        SplitError::Io(error) => anyhow!(error).context(format!("cannot read `{}`", shard.path.display())),
        SplitError::Malformed { what, at } => not_json(shard, shape, at.line, at.column, what),
    }
}

fn not_json(shard: &Shard, shape: Shape, line: usize, column: usize, what: &str) -> anyhow::Error {
    let expected = match shape {
        Shape::List | Shape::ListInside => "a JSON list of samples",
        Shape::Lines => "a JSON list of samples or JSON Lines",
    };
    anyhow!("{}:{line}:{column}: not {expected}: {what}", shard.path.display())
}

/// Fails if a row is not JSON, with the place in its file.
fn located(shard: &Shard, shape: Shape, element: &Element, error: &serde_json::Error) -> anyhow::Result<()> {
    if error.is_data() {
        return Ok(());
    }
    let line = element.at.line + error.line().max(1) - 1;
    let column = if error.line() <= 1 { element.at.column - 1 + error.column() } else { error.column() };
    // The place is part of serde_json's text too, at its end.
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    Err(not_json(shard, shape, line, column.max(1), what))
}

/// The reading of a dataset.
struct Reading<'a, T> {
    maker: Maker<'a>,
    checker: Checker<'a>,
    folder: Option<&'a Path>,
    take: T,
    problems: IndexMap<Reason, Drop>,
    /// Rows so far.
    index: usize,
    /// Bytes of all files.
    total: u64,
}

impl<T: FnMut(Arrivals) -> anyhow::Result<()>> Reading<'_, T> {
    fn json(&mut self, shard: &Shard, shape: Shape, from: Position, before: u64) -> anyhow::Result<()> {
        let mut splitter = shard.split(shape, from)?;
        while let Some(batch) = splitter.next().map_err(|error| malformed(shard, shape, error))? {
            let (maker, checker, first) = (&self.maker, &self.checker, self.index);
            let make = |(number, element): (usize, &Element)| match Row::parse(batch.text(element)) {
                Ok(row) => {
                    let made = maker
                        .sample(row, &origin(shard, first + number), |_, picture| within(&batch, element, picture));
                    Ok(looked_at(checker, made))
                }
                Err(error) => located(shard, shape, element, &error).map(|()| Err(maker.format.no_row())),
            };
            let rows: Vec<anyhow::Result<Result<Sample, Reason>>> =
                batch.elements.par_iter().enumerate().map(make).collect();
            // In order, so that of several broken rows the first is told.
            let rows = rows.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
            let read = batch.elements.last().map_or(0, |last| last.at.offset + last.range.len() as u64);
            self.arrive(shard, rows, before + read, |number| format!(", line {}", batch.elements[number].at.line))?;
        }
        Ok(())
    }

    fn parquet(&mut self, shard: &Shard, read: u64) -> anyhow::Result<()> {
        let mut table = Rows::open(&shard.path)?;
        let mut first = 0u64;
        loop {
            let mut rows = Vec::new();
            let mut bytes = 0;
            while rows.len() < ROWS && bytes < BYTES {
                let Some(row) = table.next() else { break };
                let row = row?;
                bytes += row.size();
                rows.push(row);
            }
            if rows.is_empty() {
                return Ok(());
            }
            let (maker, checker, index) = (&self.maker, &self.checker, self.index);
            let make = |(number, row): (usize, Row<'static>)| {
                let cell =
                    |image: usize, _: &Picture<'_>| Part::Cell { row: first + number as u64, image: image as u32 };
                looked_at(checker, maker.sample(row, &origin(shard, index + number), cell))
            };
            let rows: Vec<Result<Sample, Reason>> = rows.into_par_iter().enumerate().map(make).collect();
            let count = rows.len() as u64;
            self.arrive(shard, rows, read, |_| String::new())?;
            first += count;
        }
    }

    /// Takes the rows that were found next in a file; `line` says where in it a row is.
    fn arrive(
        &mut self,
        shard: &Shard,
        rows: Vec<Result<Sample, Reason>>,
        read: u64,
        line: impl Fn(usize) -> String,
    ) -> anyhow::Result<()> {
        let place = |number: usize| {
            let file = if shard.relative.is_empty() { String::new() } else { format!(" of `{}`", shard.relative) };
            format!("row {}{}{file}", self.index + number, line(number))
        };
        let needs_folder = |row: &Result<Sample, Reason>| {
            row.as_ref().is_ok_and(|sample| sample.images.iter().any(|image| image.root == IMAGES))
        };
        if let (None, Some(number)) = (self.folder, rows.iter().position(needs_folder)) {
            bail!(
                "{} of `{}` has an image, but no folder of images is given\nhint: set `images`",
                place(number),
                shard.path.display()
            );
        }
        let samples: Vec<Option<&Sample>> = rows.iter().map(|row| row.as_ref().ok()).collect();
        let flaws = self.checker.files(&samples);
        let count = rows.len();
        let mut arrived = Vec::with_capacity(count);
        for (number, (row, flaw)) in rows.into_iter().zip(flaws).enumerate() {
            let reason = match (row, flaw) {
                (Ok(sample), None) => {
                    arrived.push(sample);
                    continue;
                }
                (Ok(_), Some(flaw)) => flaw,
                (Err(reason), _) => reason,
            };
            let none = || Drop { dataset: self.maker.name.into(), reason: reason.into(), count: 0, examples: vec![] };
            let drop = self.problems.entry(reason).or_insert_with(none);
            drop.count += 1;
            if drop.examples.len() < EXAMPLES {
                drop.examples.push(place(number));
            }
        }
        self.index += count;
        (self.take)(Arrivals { samples: arrived, read, total: self.total })
    }
}

/// Where the row with this number was found, and what the folders above its file say of it.
fn origin(shard: &Shard, index: usize) -> Origin<'_> {
    Origin { index, file: &shard.relative, source: shard.folder(0), task: shard.folder(1) }
}

/// Which part of the file a picture is that lies in a row of it.
fn within(batch: &Batch, element: &Element, picture: &Picture<'_>) -> Part {
    let Picture::Text(text) = picture else { return Part::Whole };
    // The picture is a piece of the row's text, never a copy.
    let inside = text.as_ptr() as usize - batch.text(element).as_ptr() as usize;
    Part::Base64 { offset: element.at.offset + inside as u64, length: text.len() as u64 }
}

/// The sample, if nothing is wrong with the images in its own file.
fn looked_at(checker: &Checker<'_>, made: Result<Made<'_>, Reason>) -> Result<Sample, Reason> {
    let (sample, inside) = made?;
    match checker.inside(&inside) {
        None => Ok(sample),
        Some(reason) => Err(reason),
    }
}
