//! JSON and JSON Lines with the file's name in every error.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, BufWriter, IntoInnerError, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("`{}` is not as expected", path.display()))
}

/// Writes a JSON file, indented, with a final newline.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Writes a file whole or not at all; whoever may read any new file may read it.
///
/// # Errors
///
/// If it cannot be written, or `write` fails.
pub fn write_whole<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let problem = || format!("cannot write `{}`", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(".export-").permissions(mode).tempfile_in(folder);
    let mut file = BufWriter::new(file.with_context(problem)?);
    let written = write(&mut file).with_context(problem)?;
    file.into_inner().map_err(IntoInnerError::into_error).with_context(problem)?.persist(path).with_context(problem)?;
    Ok(written)
}

/// Reads a JSON Lines file.
pub fn read_json_lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let file = fs::File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let parse = |(number, line): (usize, std::io::Result<String>)| {
        let line = line.with_context(|| format!("cannot read `{}`", path.display()))?;
        serde_json::from_str(&line)
            .with_context(|| format!("`{}`, line {}, is not as expected", path.display(), number + 1))
    };
    BufReader::new(file).lines().enumerate().map(parse).collect()
}

/// Writes a JSON Lines file.
pub fn write_json_lines<T: Serialize>(path: &Path, items: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
    let problem = || format!("cannot write `{}`", path.display());
    let mut file = BufWriter::new(fs::File::create(path).with_context(problem)?);
    for item in items {
        serde_json::to_writer(&mut file, &item).with_context(problem)?;
        file.write_all(b"\n").with_context(problem)?;
    }
    file.flush().with_context(problem)
}

/// Writes `summary.json`: the few numbers and words that listings and tables show of an artifact,
/// a flat map.
pub fn write_summary(directory: &Path, entries: &[(&str, serde_json::Value)]) -> anyhow::Result<()> {
    let map: serde_json::Map<String, serde_json::Value> =
        entries.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    write_json(&directory.join("summary.json"), &map)
}
