//! JSON by path, and JSON Lines line by line. Unaware of other files.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::{Difference, Spread, ValueDifference};

/// So many differing values of a JSON file are kept, and so many lines of a JSON Lines file.
const KEPT: usize = 100;

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

/// How two JSON files differ, and whether that is within the tolerance; `None` if one is none.
pub(super) fn values(one: &Path, other: &Path, tolerance: f64) -> anyhow::Result<Option<(Difference, bool)>> {
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

/// How two files of JSON Lines differ, and whether that is within the tolerance.
pub(super) fn lines(one: &Path, other: &Path, tolerance: f64) -> anyhow::Result<(Difference, bool)> {
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
