//! The files of a dataset: one, or all of a folder in the order of their names; and how the samples lie in
//! each, which is told from the content. Unaware of layouts.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::split::{Position, Shape, Splitter};
use crate::stages::files::{PARQUET, below};

/// Endings of the files that are read of a folder.
const ENDINGS: [&str; 3] = ["json", "jsonl", "parquet"];
/// Bytes in which the beginning of the samples is looked for.
const WINDOW: u64 = 1 << 20;

/// A file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Where it is.
    pub path: PathBuf,
    /// Path below the dataset's folder, with `/` between its parts; empty, if the dataset is a file.
    pub relative: String,
    /// How its samples lie in it.
    pub container: Container,
}

/// How samples lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// As JSON from a position on.
    Json(Shape, Position),
    /// As rows of a table.
    Parquet,
}

impl Shard {
    /// The name of the folder so many levels above the file, below the dataset's folder: 0 is the file's
    /// own.
    pub fn folder(&self, levels: usize) -> Option<&str> {
        self.relative.rsplit('/').nth(1 + levels)
    }

    /// Cuts a JSON file into samples.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn split(&self, shape: Shape, from: Position) -> anyhow::Result<Splitter<File>> {
        let problem = || format!("cannot read `{}`", self.path.display());
        let mut file = File::open(&self.path).with_context(problem)?;
        file.seek(SeekFrom::Start(from.offset)).with_context(problem)?;
        Ok(Splitter::new(file, shape, from))
    }
}

/// The files of the dataset at `path`.
///
/// # Errors
///
/// If something cannot be read, or a folder has no file of a known ending.
pub fn shards(path: &Path) -> anyhow::Result<Vec<Shard>> {
    let problem = || format!("cannot read `{}`", path.display());
    let mut names = Vec::new();
    if fs::metadata(path).with_context(problem)?.is_dir() {
        let is_known = |end: &OsStr| ENDINGS.iter().any(|known| end == *known);
        let files = below(path, |_| true).with_context(problem)?;
        let files = files.iter().filter(|file| file.extension().is_some_and(is_known));
        let relative = |file: &PathBuf| file.strip_prefix(path).ok().map(|name| name.to_string_lossy().into_owned());
        names.extend(files.filter_map(relative));
        names.sort_unstable();
        ensure!(
            !names.is_empty(),
            "the folder `{}` has no file that ends with .json, .jsonl or .parquet",
            path.display()
        );
    } else {
        names.push(String::new());
    }
    let shard = |relative: String| {
        let path = if relative.is_empty() { path.to_path_buf() } else { path.join(&relative) };
        let container = container(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(Shard { path, relative, container })
    };
    names.into_iter().map(shard).collect()
}

/// Tells from the first bytes of a file how samples lie in it.
fn container(path: &Path) -> anyhow::Result<Container> {
    let mut head = Vec::new();
    BufReader::new(File::open(path)?).take(WINDOW).read_to_end(&mut head)?;
    if head.starts_with(PARQUET) {
        return Ok(Container::Parquet);
    }
    // Compressed files are common where datasets are published, and look like broken JSON.
    for (magic, name) in [(&b"\x1f\x8b"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "Zstandard"), (b"PK\x03\x04", "zip")] {
        if head.starts_with(magic) {
            bail!("it is compressed by {name}\nhint: unpack it");
        }
    }
    let start = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let blank = head[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let first = start + blank;
    Ok(match head.get(first) {
        Some(b'{') => match list_of_annotations(&head, first) {
            Some(bracket) => Container::Json(Shape::ListInside, position(&head, bracket)),
            None => Container::Json(Shape::Lines, position(&head, first)),
        },
        _ => Container::Json(Shape::List, position(&head, first)),
    })
}

fn position(head: &[u8], at: usize) -> Position {
    let line_start = memchr::memrchr(b'\n', &head[..at]).map_or(0, |newline| newline + 1);
    let line = 1 + memchr::memchr_iter(b'\n', &head[..at]).count();
    Position { offset: at as u64, line, column: at - line_start + 1 }
}

/// The bracket of the list `annotations` in the object that begins at `start`.
fn list_of_annotations(head: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut depth = 0usize;
    while at < head.len() {
        match head[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return None,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let text = at + 1;
                at = end_of_text(head, text)?;
                if depth == 1 && &head[text..at] == b"annotations" {
                    let rest = &head[at + 1..];
                    let value = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b':')?;
                    let key = rest[..value].contains(&b':');
                    if key && rest[value] == b'[' {
                        return Some(at + 1 + value);
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The quote that ends the text that begins at `at`.
fn end_of_text(head: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', &head[at..])?;
        if head[at] == b'"' {
            return Some(at);
        }
        at += 2;
        if at > head.len() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Container {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("data");
        fs::write(&file, text).unwrap();
        container(&file).unwrap()
    }

    fn at(offset: u64, line: usize, column: usize) -> Position {
        Position { offset, line, column }
    }

    #[test]
    fn how_samples_lie_in_a_file_is_told_from_its_beginning() {
        assert_eq!(told("\n [{}]"), Container::Json(Shape::List, at(2, 2, 2)));
        assert_eq!(told("\u{feff}[]"), Container::Json(Shape::List, at(3, 1, 4)));
        assert_eq!(told("{\"a\": 1}\n{\"a\": 2}"), Container::Json(Shape::Lines, at(0, 1, 1)));
        assert_eq!(told("PAR1…"), Container::Parquet);
        let wrapped = "{\"info\": {\"annotations\": [1]}, \"b\\\"\": \"annotations\",\n \"annotations\" : [{}]}";
        assert_eq!(told(wrapped), Container::Json(Shape::ListInside, at(wrapped.find("[{}]").unwrap() as u64, 2, 18)));
        assert_eq!(told("{\"a\": \"\\"), Container::Json(Shape::Lines, at(0, 1, 1)));
    }

    #[test]
    fn a_folder_is_all_its_data_files_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("vqa/gqa")).unwrap();
        for name in ["b.jsonl", "a.json", "vqa/gqa/train.jsonl", "notes.txt", "c.png"] {
            fs::write(path(name), "[]").unwrap();
        }
        let found = shards(directory.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|shard| shard.relative.as_str()).collect();
        assert_eq!(names, ["a.json", "b.jsonl", "vqa/gqa/train.jsonl"]);
        assert_eq!((found[2].folder(0), found[2].folder(1), found[2].folder(2)), (Some("gqa"), Some("vqa"), None));
        assert_eq!((found[0].folder(0), shards(&path("b.jsonl")).unwrap()[0].folder(0)), (None, None));
        fs::create_dir(path("empty")).unwrap();
        assert!(shards(&path("empty")).unwrap_err().to_string().contains("has no file that ends with"));
        assert!(shards(&path("gone")).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn a_compressed_file_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("data.json");
        fs::write(&file, b"\x1f\x8b\x08rest").unwrap();
        let problem = format!("{:#}", shards(&file).unwrap_err());
        assert!(problem.ends_with("it is compressed by gzip\nhint: unpack it"), "{problem}");
    }
}
