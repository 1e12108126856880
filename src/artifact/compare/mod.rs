//! How the content of two directories differs: by their bytes, and where those differ, by what they mean.
//!
//! Tensors of safetensors files are compared number by number, JSON by path, JSON Lines line by line; of
//! anything else the first byte that differs is told. Files are read in blocks, so they may be larger than
//! the memory. Unaware of what the directories hold and where they come from.
//!
//! Two numbers a and b are *close* with the tolerance T if |a − b| ≤ T · max(1, |a|, |b|): a relative
//! tolerance for large numbers and an absolute one for small ones.

mod tensors;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use tensors::tensors;
use values::{lines, values};

/// Bytes that are read of each file at a time; a multiple of the size of every number.
const BLOCK: usize = 1 << 20;
/// Larger JSON files are compared by their bytes.
const LARGEST_JSON: u64 = 1 << 28;

/// What two directories come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every byte is the same.
    Equal,
    /// Bytes differ, all values are close.
    Close,
    /// A value differs by more than the tolerance, or something is only on one side.
    Differs,
}

/// How two directories differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Files of both together.
    pub files: usize,
    /// The files whose bytes differ, in the order of their names.
    pub differing: Vec<FileDifference>,
}

/// How a file differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileDifference {
    /// Its path below the directories.
    pub name: String,
    /// In what.
    #[serde(flatten)]
    pub difference: Difference,
    /// Whether that is within the tolerance.
    pub close: bool,
}

/// In what a file differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Difference {
    /// Only the first directory has it.
    OnlyFirst,
    /// Only the later directory has it.
    OnlyLater,
    /// Tensors. None may differ: then the file has them in another order, or other words about them.
    Tensors {
        /// How many are in both.
        common: usize,
        /// Those that differ, in the order of their names.
        differing: Vec<TensorDifference>,
        /// Those of the first only.
        only_first: Vec<String>,
        /// Those of the later only.
        only_later: Vec<String>,
    },
    /// Values of a JSON file.
    Values {
        /// The first ones that differ.
        values: Vec<ValueDifference>,
        /// Numbers that differ, over the whole file.
        numbers: Spread,
        /// Differences that are none of numbers.
        others: u64,
    },
    /// Lines of a JSON Lines file.
    Lines {
        /// How many lines each file has.
        lines: [u64; 2],
        /// How many differ, of those that both have.
        differing: u64,
        /// The number of the first one that differs, from 1.
        first: u64,
        /// What differs in it, if both have it.
        values: Vec<ValueDifference>,
        /// Numbers that differ, over the whole file.
        numbers: Spread,
        /// Differences that are none of numbers.
        others: u64,
    },
    /// Bytes that mean nothing here.
    Bytes {
        /// The size of each file.
        sizes: [u64; 2],
        /// The first byte that differs, from 0.
        first: u64,
    },
}

/// A tensor that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorDifference {
    /// Its name.
    pub name: String,
    /// Its kind of numbers and its shape in each file, if they differ; then no number is compared.
    pub form: Option<[String; 2]>,
    /// How many numbers it has.
    pub size: u64,
    /// Those that differ.
    pub numbers: Spread,
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueDifference {
    /// Where it is, such as `benchmarks.vqa.value` or `[3].id`; empty for the whole.
    pub path: String,
    /// The value in the first file, if it is there.
    pub first: Option<Value>,
    /// The value in the later one.
    pub later: Option<Value>,
}

/// How far numbers lie apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many differ.
    pub differing: u64,
    /// How many of these are not close.
    pub beyond: u64,
    /// The largest |a − b|; infinite where one is not a number.
    pub absolute: f64,
    /// The largest |a − b| / max(|a|, |b|).
    pub relative: f64,
}

impl Spread {
    fn note(&mut self, one: f64, other: f64, tolerance: f64) {
        let apart = (one - other).abs();
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        let size = one.abs().max(other.abs());
        self.differing += 1;
        self.beyond += u64::from(apart > tolerance * size.max(1.0) || apart.is_infinite());
        self.absolute = self.absolute.max(apart);
        self.relative = self.relative.max(if size.is_finite() { apart / size } else { f64::INFINITY });
    }

    fn add(self, other: Spread) -> Spread {
        Spread {
            differing: self.differing + other.differing,
            beyond: self.beyond + other.beyond,
            absolute: self.absolute.max(other.absolute),
            relative: self.relative.max(other.relative),
        }
    }
}

impl Comparison {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        match self.differing.iter().map(|file| file.close).collect::<Vec<bool>>().as_slice() {
            [] => Verdict::Equal,
            files if files.iter().all(|close| *close) => Verdict::Close,
            _ => Verdict::Differs,
        }
    }
}

/// Compares all files below two directories but those called `except`.
///
/// # Errors
///
/// If a file cannot be read.
pub fn compare(first: &Path, later: &Path, except: &[&str], tolerance: f64) -> anyhow::Result<Comparison> {
    let of = |directory: &Path| -> anyhow::Result<BTreeMap<String, PathBuf>> {
        let mut found = BTreeMap::new();
        files(directory, "", &mut found)?;
        found.retain(|name, _| !except.contains(&name.as_str()));
        Ok(found)
    };
    let (ours, theirs) = (of(first)?, of(later)?);
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut comparison = Comparison { files: names.len(), differing: Vec::new() };
    for name in names {
        let (difference, close) = match (ours.get(name), theirs.get(name)) {
            (Some(one), Some(other)) => match file(name, one, other, tolerance)? {
                Some(found) => found,
                None => continue,
            },
            (Some(_), None) => (Difference::OnlyFirst, false),
            _ => (Difference::OnlyLater, false),
        };
        comparison.differing.push(FileDifference { name: name.clone(), difference, close });
    }
    Ok(comparison)
}

fn files(directory: &Path, prefix: &str, found: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    let problem = || format!("cannot read `{}`", directory.display());
    for entry in fs::read_dir(directory).with_context(problem)? {
        let entry = entry.with_context(problem)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().with_context(problem)?.is_dir() {
            true => files(&entry.path(), &format!("{name}/"), found)?,
            false => drop(found.insert(name, entry.path())),
        }
    }
    Ok(())
}

/// How two files differ, and whether that is within the tolerance; `None` if they are equal.
fn file(name: &str, one: &Path, other: &Path, tolerance: f64) -> anyhow::Result<Option<(Difference, bool)>> {
    let Some(bytes) = bytes(one, other)? else { return Ok(None) };
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    let small = fs::metadata(one)?.len().max(fs::metadata(other)?.len()) <= LARGEST_JSON;
    let meant = match end {
        "safetensors" => tensors(one, other, tolerance)?,
        "json" if small => values(one, other, tolerance)?,
        "jsonl" => Some(lines(one, other, tolerance)?),
        _ => None,
    };
    Ok(Some(meant.unwrap_or((bytes, false))))
}

/// Where the bytes of two files part.
fn bytes(one: &Path, other: &Path) -> anyhow::Result<Option<Difference>> {
    let open = |path: &Path| File::open(path).with_context(|| format!("cannot read `{}`", path.display()));
    let (mut ours, mut theirs) = (open(one)?, open(other)?);
    let sizes = [ours.metadata()?.len(), theirs.metadata()?.len()];
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut before = 0;
    loop {
        let (read, also) = (fill(&mut ours, &mut left)?, fill(&mut theirs, &mut right)?);
        let common = read.min(also);
        if left[..common] != right[..common] || read != also {
            let parts = left[..common].iter().zip(&right[..common]).position(|(one, other)| one != other);
            return Ok(Some(Difference::Bytes { sizes, first: before + parts.unwrap_or(common) as u64 }));
        }
        if read == 0 {
            return Ok(None);
        }
        before += read as u64;
    }
}

/// Reads until the buffer is full or the file at its end.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}
