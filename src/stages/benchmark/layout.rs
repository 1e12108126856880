//! Files of a stated layout, with errors that show what is there instead.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow};
use parquet::record::reader::RowIter;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::stages::files::{self, PARQUET};
use crate::text;

/// How many keys of an object an error shows.
const SHOWN: usize = 12;
/// Rows of a table that are decoded together: images may be in them.
const STEP: usize = 32;

/// An id that some files write as a number and some as a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// Of COCO and what is made of it.
    Number(u64),
    /// Of all others.
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(number) => number.fmt(formatter),
            Id::Text(text) => text.fmt(formatter),
        }
    }
}

/// Reads a JSON file whose layout `needed` describes.
///
/// # Errors
///
/// If it cannot be read, is no JSON, or has another layout: the keys that it has are named.
pub fn json<T: DeserializeOwned>(file: &Path, needed: &str) -> anyhow::Result<T> {
    let bytes = fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| misfit(file, &bytes, &error, needed))
}

/// Reads a file with a JSON list, with a JSON value on each line, or with a Parquet table, whose rows are read as
/// objects and whose bytes as base64.
///
/// # Errors
///
/// As [`json`], with the line.
pub fn rows<T: DeserializeOwned>(file: &Path, needed: &str) -> anyhow::Result<Vec<T>> {
    let problem = || format!("cannot read `{}`", file.display());
    let mut opened = File::open(file).with_context(problem)?;
    let mut bytes = Vec::new();
    opened.by_ref().take(PARQUET.len() as u64).read_to_end(&mut bytes).with_context(problem)?;
    if bytes == PARQUET {
        return table(file, needed);
    }
    opened.read_to_end(&mut bytes).with_context(problem)?;
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return serde_json::from_slice(&bytes).map_err(|error| misfit(file, &bytes, &error, needed));
    }
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let parse = |(number, line): (usize, &[u8])| {
        serde_json::from_slice(line)
            .map_err(|error| misfit(file, line, &error, needed).context(format!("line {}", number + 1)))
    };
    lines.map(parse).collect()
}

fn table<T: DeserializeOwned>(file: &Path, needed: &str) -> anyhow::Result<Vec<T>> {
    let problem = || format!("cannot read `{}`", file.display());
    let rows = RowIter::from_file_into(Box::new(files::parquet(file)?)).with_batch_size(STEP);
    let parse = |(number, record): (usize, parquet::errors::Result<parquet::record::Row>)| {
        let value = record.with_context(problem)?.to_json_value();
        T::deserialize(&value)
            .map_err(|error| another(file, &value, &error, needed).context(format!("row {}", number + 1)))
    };
    rows.enumerate().map(parse).collect()
}

fn misfit(file: &Path, bytes: &[u8], error: &serde_json::Error, needed: &str) -> anyhow::Error {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => another(file, &value, error, needed),
        Err(error) => anyhow!("`{}` is not JSON: {error}; needed is {needed}", file.display()),
    }
}

fn another(file: &Path, value: &Value, error: &serde_json::Error, needed: &str) -> anyhow::Error {
    let (file, outline) = (file.display(), outline(value, 2));
    anyhow!("`{file}` has another layout than its format: {error}\nit is {outline}; needed is {needed}")
}

/// `an object with the keys `a` and `b`, `a` a list of objects with …`: as deep as `depth`.
fn outline(value: &Value, depth: usize) -> String {
    match value {
        Value::Object(map) => {
            let keys = text::ticked_list(map.keys().take(SHOWN));
            let more = if map.len() > SHOWN { " and more" } else { "" };
            let inner = map.iter().find(|(_, value)| value.is_array() || value.is_object()).filter(|_| depth > 0);
            let inner = inner.map(|(key, value)| format!("; its `{key}` is {}", outline(value, depth - 1)));
            format!("an object with {keys}{more}{}", inner.unwrap_or_default())
        }
        Value::Array(list) => match list.first() {
            Some(first) if depth > 0 => format!("a list whose first element is {}", outline(first, depth - 1)),
            Some(_) => String::from("a list"),
            None => String::from("an empty list"),
        },
        Value::String(_) => String::from("a text"),
        Value::Number(_) => String::from("a number"),
        Value::Bool(_) => String::from("true or false"),
        Value::Null => String::from("null"),
    }
}
