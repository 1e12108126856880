//! How the content of two directories differs: by their bytes, and where those differ, by what they mean.
//!
//! Tensors of safetensors files are compared number by number, JSON by path, JSON Lines line by line; of
//! anything else the first byte that differs is told. Files are read in blocks, so they may be larger than
//! the memory. Unaware of what the directories hold and where they come from.
//!
//! Two numbers a and b are *close* with the tolerance T if |a − b| ≤ T · max(1, |a|, |b|): a relative
//! tolerance for large numbers and an absolute one for small ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Serialize;
use serde_json::Value;

/// Bytes that are read of each file at a time; a multiple of the size of every number.
const BLOCK: usize = 1 << 20;
/// So many differing values of a JSON file are kept, and so many lines of a JSON Lines file.
const KEPT: usize = 100;
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

/// A safetensors file.
struct Tensors {
    file: File,
    metadata: Metadata,
    /// Where the numbers begin.
    start: u64,
}

impl Tensors {
    /// `None` if it is no such file after all.
    fn open(path: &Path) -> anyhow::Result<Option<Tensors>> {
        let problem = || format!("cannot read `{}`", path.display());
        let file = File::open(path).with_context(problem)?;
        let size = file.metadata().with_context(problem)?.len();
        let mut length = [0; 8];
        if file.read_exact_at(&mut length, 0).is_err() {
            return Ok(None);
        }
        let length = u64::from_le_bytes(length);
        let Some(start) = length.checked_add(8).filter(|start| *start <= size) else { return Ok(None) };
        let mut header = vec![0; length as usize];
        file.read_exact_at(&mut header, 8).with_context(problem)?;
        let metadata = serde_json::from_slice::<Metadata>(&header).ok();
        let whole = |metadata: &Metadata| start + metadata.data_len() as u64 == size;
        Ok(metadata.filter(whole).map(|metadata| Tensors { file, metadata, start }))
    }
}

fn tensors(one: &Path, other: &Path, tolerance: f64) -> anyhow::Result<Option<(Difference, bool)>> {
    let (Some(ours), Some(theirs)) = (Tensors::open(one)?, Tensors::open(other)?) else { return Ok(None) };
    let left: BTreeMap<String, &TensorInfo> = ours.metadata.tensors().into_iter().collect();
    let right: BTreeMap<String, &TensorInfo> = theirs.metadata.tensors().into_iter().collect();
    let pairs: Vec<(&String, &TensorInfo, &TensorInfo)> =
        left.iter().filter_map(|(name, info)| Some((name, *info, *right.get(name)?))).collect();
    let compare = |(name, info, also): &(&String, &TensorInfo, &TensorInfo)| {
        tensor(name, (&ours, info), (&theirs, also), tolerance).with_context(|| format!("cannot read `{name}`"))
    };
    let differing: Vec<Option<TensorDifference>> = pairs.par_iter().map(compare).collect::<anyhow::Result<_>>()?;
    let differing: Vec<TensorDifference> = differing.into_iter().flatten().collect();
    let only = |these: &BTreeMap<String, &TensorInfo>, those: &BTreeMap<String, &TensorInfo>| {
        these.keys().filter(|name| !those.contains_key(*name)).cloned().collect::<Vec<String>>()
    };
    let (only_first, only_later) = (only(&left, &right), only(&right, &left));
    let close = only_first.is_empty()
        && only_later.is_empty()
        && differing.iter().all(|tensor| tensor.form.is_none() && tensor.numbers.beyond == 0);
    Ok(Some((Difference::Tensors { common: pairs.len(), differing, only_first, only_later }, close)))
}

/// How a tensor differs; `None` if it does not.
fn tensor(
    name: &str,
    (ours, info): (&Tensors, &TensorInfo),
    (theirs, also): (&Tensors, &TensorInfo),
    tolerance: f64,
) -> std::io::Result<Option<TensorDifference>> {
    let size = info.shape.iter().product::<usize>() as u64;
    let difference = |form, numbers| Some(TensorDifference { name: name.to_string(), form, size, numbers });
    let form = |info: &TensorInfo| format!("{:?} {:?}", info.dtype, info.shape);
    if info.dtype != also.dtype || info.shape != also.shape {
        return Ok(difference(Some([form(info), form(also)]), Spread::default()));
    }
    let begin = ours.start + info.data_offsets.0 as u64;
    let also_begin = theirs.start + also.data_offsets.0 as u64;
    let length = info.data_offsets.1 - info.data_offsets.0;
    let (mut left, mut right) = (vec![0; BLOCK.min(length)], vec![0; BLOCK.min(length)]);
    let mut numbers = Spread::default();
    for done in (0..length).step_by(BLOCK) {
        let now = BLOCK.min(length - done);
        ours.file.read_exact_at(&mut left[..now], begin + done as u64)?;
        theirs.file.read_exact_at(&mut right[..now], also_begin + done as u64)?;
        if left[..now] != right[..now] {
            numbers = numbers.add(block(info.dtype, &left[..now], &right[..now], tolerance));
        }
    }
    Ok(if numbers.differing > 0 { difference(None, numbers) } else { None })
}

/// How far the numbers of two blocks lie apart.
fn block(kind: Dtype, left: &[u8], right: &[u8], tolerance: f64) -> Spread {
    fn each<const N: usize>(left: &[u8], right: &[u8], tolerance: f64, read: impl Fn([u8; N]) -> f64) -> Spread {
        let mut spread = Spread::default();
        let exact = |bytes: &[u8]| <[u8; N]>::try_from(bytes).expect("chunks are exact");
        for (one, other) in left.chunks_exact(N).zip(right.chunks_exact(N)).filter(|(one, other)| one != other) {
            let (one, other) = (read(exact(one)), read(exact(other)));
            // Zero has two signs, and there are many ways to be no number.
            if one != other && !(one.is_nan() && other.is_nan()) {
                spread.note(one, other, tolerance);
            }
        }
        spread
    }
    match kind {
        Dtype::F64 => each(left, right, tolerance, f64::from_le_bytes),
        Dtype::F32 => each(left, right, tolerance, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Dtype::F16 => each(left, right, tolerance, |bytes| half(u16::from_le_bytes(bytes))),
        Dtype::BF16 => {
            each(left, right, tolerance, |bytes| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)))
        }
        Dtype::I64 => each(left, right, tolerance, |bytes| i64::from_le_bytes(bytes) as f64),
        Dtype::U64 => each(left, right, tolerance, |bytes| u64::from_le_bytes(bytes) as f64),
        Dtype::I32 => each(left, right, tolerance, |bytes| f64::from(i32::from_le_bytes(bytes))),
        Dtype::U32 => each(left, right, tolerance, |bytes| f64::from(u32::from_le_bytes(bytes))),
        Dtype::I16 => each(left, right, tolerance, |bytes| f64::from(i16::from_le_bytes(bytes))),
        Dtype::U16 => each(left, right, tolerance, |bytes| f64::from(u16::from_le_bytes(bytes))),
        Dtype::I8 => each(left, right, tolerance, |bytes| f64::from(i8::from_le_bytes(bytes))),
        // Numbers of a byte, of whatever kind, count by their bits.
        _ => each(left, right, tolerance, |bytes: [u8; 1]| f64::from(bytes[0])),
    }
}

/// A number of IEEE 754 half precision: a sign, 5 bits of exponent and 10 of fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

/// What differs between JSON values.
#[derive(Default)]
struct Walk {
    tolerance: f64,
    kept: Vec<ValueDifference>,
    numbers: Spread,
    others: u64,
}

impl Walk {
    fn new(tolerance: f64) -> Walk {
        Walk { tolerance, ..Walk::default() }
    }

    fn is_close(&self) -> bool {
        self.numbers.beyond == 0 && self.others == 0
    }

    fn value(&mut self, path: &str, one: Option<&Value>, other: Option<&Value>) {
        match (one, other) {
            (Some(one), Some(other)) if one == other => {}
            (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
                let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
                for key in keys {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.value(&path, ours.get(key), theirs.get(key));
                }
            }
            (Some(Value::Array(ours)), Some(Value::Array(theirs))) => {
                for place in 0..ours.len().max(theirs.len()) {
                    self.value(&format!("{path}[{place}]"), ours.get(place), theirs.get(place));
                }
            }
            (one, other) => {
                match (one.and_then(Value::as_f64), other.and_then(Value::as_f64)) {
                    // `1` and `1.0` are one number.
                    (Some(one), Some(other)) if one == other => return,
                    (Some(one), Some(other)) => self.numbers.note(one, other, self.tolerance),
                    _ => self.others += 1,
                }
                if self.kept.len() < KEPT {
                    let (first, later) = (one.cloned(), other.cloned());
                    self.kept.push(ValueDifference { path: path.to_string(), first, later });
                }
            }
        }
    }
}

fn values(one: &Path, other: &Path, tolerance: f64) -> anyhow::Result<Option<(Difference, bool)>> {
    let read = |path: &Path| -> anyhow::Result<Option<Value>> {
        let text = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(serde_json::from_slice(&text).ok())
    };
    let (Some(ours), Some(theirs)) = (read(one)?, read(other)?) else { return Ok(None) };
    let mut walk = Walk::new(tolerance);
    walk.value("", Some(&ours), Some(&theirs));
    let close = walk.is_close();
    Ok(Some((Difference::Values { values: walk.kept, numbers: walk.numbers, others: walk.others }, close)))
}

fn lines(one: &Path, other: &Path, tolerance: f64) -> anyhow::Result<(Difference, bool)> {
    let open = |path: &Path| -> anyhow::Result<_> {
        Ok(BufReader::new(File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?))
    };
    let (mut ours, mut theirs) = (open(one)?, open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (mut lines, mut differing, mut first) = ([0, 0], 0, None);
    let mut all = Walk::new(tolerance);
    let mut of_first = Vec::new();
    loop {
        left.clear();
        right.clear();
        let read = [ours.read_until(b'\n', &mut left)?, theirs.read_until(b'\n', &mut right)?];
        (0..2).for_each(|side| lines[side] += u64::from(read[side] > 0));
        match read {
            [0, 0] => break,
            [0, _] | [_, 0] => drop(first.get_or_insert(lines[0].max(lines[1]))),
            _ if left == right => {}
            _ => {
                differing += 1;
                let mut walk = Walk::new(tolerance);
                match (serde_json::from_slice::<Value>(&left), serde_json::from_slice::<Value>(&right)) {
                    (Ok(ours), Ok(theirs)) => walk.value("", Some(&ours), Some(&theirs)),
                    _ => walk.others += 1,
                }
                all.numbers = all.numbers.add(walk.numbers);
                all.others += walk.others;
                if first.is_none() {
                    (first, of_first) = (Some(lines[0]), walk.kept);
                }
            }
        }
    }
    let close = all.is_close() && lines[0] == lines[1];
    let first = first.unwrap_or(1);
    let (numbers, others) = (all.numbers, all.others);
    Ok((Difference::Lines { lines, differing, first, values: of_first, numbers, others }, close))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use safetensors::tensor::TensorView;

    use super::*;

    /// Two directories with a file each.
    fn differing(name: &str, first: &[u8], later: &[u8], tolerance: f64) -> Comparison {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(one.path().join(name), first).unwrap();
        fs::write(other.path().join(name), later).unwrap();
        compare(one.path(), other.path(), &[], tolerance).unwrap()
    }

    fn difference(name: &str, first: &[u8], later: &[u8], tolerance: f64) -> (Difference, bool) {
        let mut comparison = differing(name, first, later, tolerance);
        let file = comparison.differing.pop().unwrap();
        (file.difference, file.close)
    }

    fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
        let view = |(name, kind, shape, bytes): &(&str, Dtype, &[usize], Vec<u8>)| {
            (name.to_string(), (*kind, shape.to_vec(), bytes.clone()))
        };
        let owned: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)> = tensors.iter().map(view).collect();
        let views: HashMap<&String, TensorView<'_>> = owned
            .iter()
            .map(|(name, (kind, shape, bytes))| (name, TensorView::new(*kind, shape.clone(), bytes).unwrap()))
            .collect();
        safetensors::serialize(views, None).unwrap()
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn equal_directories_have_no_differing_files_however_they_are_nested() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for directory in [one.path(), other.path()] {
            fs::create_dir(directory.join("in")).unwrap();
            fs::write(directory.join("in/a.json"), "[1]").unwrap();
            fs::write(directory.join("b"), "b").unwrap();
        }
        fs::write(one.path().join("manifest.json"), "left out").unwrap();
        let comparison = compare(one.path(), other.path(), &["manifest.json"], 0.0).unwrap();
        assert_eq!((comparison.files, comparison.verdict()), (2, Verdict::Equal));
        let comparison = compare(one.path(), other.path(), &[], 1.0).unwrap();
        assert_eq!(
            (&comparison.differing[0].difference, comparison.verdict()),
            (&Difference::OnlyFirst, Verdict::Differs)
        );
    }

    #[test]
    fn tensors_are_compared_number_by_number() {
        let first = file(&[
            ("same", Dtype::F32, &[2], f32s(&[1.0, 2.0])),
            ("w", Dtype::F32, &[3], f32s(&[1.0, -4.0, 0.0])),
            ("gone", Dtype::U8, &[1], vec![1]),
            ("shaped", Dtype::F32, &[2], f32s(&[1.0, 2.0])),
        ]);
        let later = file(&[
            ("same", Dtype::F32, &[2], f32s(&[1.0, 2.0])),
            ("w", Dtype::F32, &[3], f32s(&[1.5, -4.0, -0.0])),
            ("new", Dtype::U8, &[1], vec![1]),
            ("shaped", Dtype::F32, &[2, 1], f32s(&[1.0, 2.0])),
        ]);
        let (found, close) = difference("m.safetensors", &first, &later, 1.0);
        let Difference::Tensors { common, differing, only_first, only_later } = found else { panic!("{found:?}") };
        assert_eq!((common, only_first, only_later, close), (3, vec!["gone".into()], vec!["new".into()], false));
        let w = Spread { differing: 1, beyond: 0, absolute: 0.5, relative: 0.5 / 1.5 };
        let form = Some(["F32 [2]".to_string(), "F32 [2, 1]".to_string()]);
        assert_eq!(differing[0], TensorDifference { name: "shaped".into(), form, size: 2, numbers: Spread::default() });
        assert_eq!(differing[1], TensorDifference { name: "w".into(), form: None, size: 3, numbers: w });
    }

    #[test]
    fn the_tolerance_is_relative_for_large_numbers_and_absolute_for_small_ones() {
        let pair = |one: f32, other: f32, tolerance| {
            let file = |value| file(&[("w", Dtype::F32, &[1], f32s(&[value]))]);
            difference("m.safetensors", &file(one), &file(other), tolerance).1
        };
        assert!(pair(1000.0, 1001.0, 1e-2));
        assert!(!pair(1000.0, 1001.0, 1e-4));
        assert!(pair(1e-9, 2e-9, 1e-8));
        assert!(!pair(1.0, f32::NAN, 1e9));
        assert!(!pair(1.0, f32::INFINITY, 1e9));
    }

    #[test]
    fn every_kind_of_number_is_read_by_its_value() {
        let bits = |kind, one: Vec<u8>, other: Vec<u8>| block(kind, &one, &other, 0.0).absolute;
        assert_eq!(bits(Dtype::F16, vec![0x00, 0x3c], vec![0x00, 0x40]), 1.0);
        assert_eq!(bits(Dtype::F16, vec![0x01, 0x00], vec![0x00, 0x00]), 2f64.powi(-24));
        assert_eq!(bits(Dtype::BF16, vec![0x80, 0x3f], vec![0x00, 0xc0]), 3.0);
        assert_eq!(bits(Dtype::I64, (-5_i64).to_le_bytes().into(), 2_i64.to_le_bytes().into()), 7.0);
        assert_eq!(bits(Dtype::U8, vec![3], vec![250]), 247.0);
        assert_eq!(bits(Dtype::F64, 1.0_f64.to_le_bytes().into(), 1.5_f64.to_le_bytes().into()), 0.5);
    }

    #[test]
    fn the_same_tensors_under_another_header_are_close() {
        let values = f32s(&[1.0, 2.0]);
        let header = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes(), values.as_slice()].concat();
        let one = header(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#);
        let other = header(r#"{"__metadata__":{"by":"x"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#);
        assert_eq!(differing("m.safetensors", &one, &other, 0.0).verdict(), Verdict::Close);
        assert_eq!(differing("m.safetensors", &one, &one[..20], 0.0).verdict(), Verdict::Differs);
    }

    #[test]
    fn json_differs_by_path() {
        let first = br#"{"benchmarks": {"vqa": {"value": 50.0, "skill": "a"}, "old": 1}, "list": [1, 2]}"#;
        let later = br#"{"benchmarks": {"vqa": {"value": 50.5, "skill": "b"}}, "list": [1.0, 2, 3]}"#;
        let (found, close) = difference("metrics.json", first, later, 0.1);
        let Difference::Values { values, numbers, others } = found else { panic!("{found:?}") };
        let paths: Vec<&str> = values.iter().map(|value| value.path.as_str()).collect();
        assert_eq!(paths, ["benchmarks.vqa.value", "benchmarks.vqa.skill", "benchmarks.old", "list[2]"]);
        assert_eq!((numbers.differing, numbers.beyond, numbers.absolute, others, close), (1, 0, 0.5, 3, false));
        assert_eq!((values[3].first.clone(), values[3].later.clone()), (None, Some(3.into())));
        assert!(difference("metrics.json", br#"{"a": 1}"#, br#"{"a": 1.05}"#, 0.1).1);
        assert!(difference("metrics.json", br#"{"a": 1}"#, br#"{ "a": 1.0 }"#, 0.0).1, "only the writing differs");
    }

    #[test]
    fn json_lines_tell_the_first_line_that_differs_and_count_the_others() {
        let first = b"{\"id\": 1}\n{\"id\": 2, \"loss\": 1.0}\n{\"id\": 3}\n{\"id\": 4}\n";
        let later = b"{\"id\": 1}\n{\"id\": 2, \"loss\": 1.5}\n{\"id\": \"3\"}\n";
        let (found, close) = difference("c.jsonl", first, later, 1.0);
        let Difference::Lines { lines, differing, first, values, numbers, others } = found else { panic!("{found:?}") };
        assert_eq!((lines, differing, first, others, close), ([4, 3], 2, 2, 1, false));
        assert_eq!((values[0].path.as_str(), numbers.differing, numbers.absolute), ("loss", 1, 0.5));
        let longer = difference("c.jsonl", b"1\n", b"1\n2\n", 9.0).0;
        assert!(matches!(longer, Difference::Lines { differing: 0, first: 2, .. }), "{longer:?}");
    }

    #[test]
    fn of_bytes_without_meaning_the_first_that_differs_is_told() {
        let expected = Difference::Bytes { sizes: [4, 5], first: 2 };
        assert_eq!(difference("model.bin", b"abcd", b"abxde", 1.0), (expected, false));
        let expected = Difference::Bytes { sizes: [2, 4], first: 2 };
        assert_eq!(difference("broken.json", b"{]", b"{]}]", 1.0), (expected, false));
    }

    proptest! {
        #[test]
        fn the_spread_is_that_of_a_plain_loop(pairs in prop::collection::vec((-1e6f32..1e6, -1e6f32..1e6), 1..40)) {
            let (one, other): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let spread = block(Dtype::F32, &f32s(&one), &f32s(&other), 1e-3);
            let apart = |(one, other): &(f32, f32)| (f64::from(*one) - f64::from(*other)).abs();
            let largest = pairs.iter().map(apart).fold(0.0, f64::max);
            let far = |pair: &&(f32, f32)| {
                let size = f64::from(pair.0).abs().max(f64::from(pair.1).abs()).max(1.0);
                apart(pair) > 1e-3 * size
            };
            prop_assert_eq!(spread.absolute, largest);
            prop_assert_eq!(spread.beyond, pairs.iter().filter(far).count() as u64);
        }
    }
}
