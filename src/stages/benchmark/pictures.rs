//! The images of a benchmark, as files. The only place that knows where a format keeps them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ImageReader;
use rayon::prelude::*;

use super::question::Question;
use crate::digest::Digest;
use crate::text;

/// How many missing images are named.
const SHOWN: usize = 5;

/// Finds the images of one benchmark.
pub struct Pictures {
    folder: PathBuf,
    scratch: PathBuf,
}

impl Pictures {
    /// Images below `folder`; those embedded in a file go to `scratch`.
    pub fn new(folder: PathBuf, scratch: &Path) -> Pictures {
        Pictures { folder, scratch: scratch.to_path_buf() }
    }

    /// The image with this path below the folder.
    ///
    /// # Errors
    ///
    /// If the path leaves the folder.
    pub fn named(&self, path: &str) -> anyhow::Result<PathBuf> {
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        ensure!(inside && !path.is_empty(), "the image path `{path}` leaves the folder of images");
        Ok(self.folder.join(path))
    }

    /// The first of these paths that is there; if none is, the first.
    ///
    /// # Errors
    ///
    /// If a path leaves the folder.
    pub fn first_of(&self, paths: &[String]) -> anyhow::Result<PathBuf> {
        let files = paths.iter().map(|path| self.named(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let there = files.iter().find(|file| file.is_file());
        there.or(files.first()).cloned().context("BUG: an image has no path at all")
    }

    /// An image whose bytes are in a text in base64, as a file in the scratch folder; the same text gives
    /// the same file.
    ///
    /// # Errors
    ///
    /// If the text is not base64, or the file cannot be written.
    pub fn embedded(&self, base64: &str) -> anyhow::Result<PathBuf> {
        let file = self.scratch.join(Digest::of(base64.as_bytes()).to_string());
        if !file.is_file() {
            let bytes = STANDARD.decode(base64.trim()).context("its image is not base64")?;
            fs::write(&file, bytes).with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        Ok(file)
    }
}

/// Checks that the images of all questions are there and begin as images do.
///
/// # Errors
///
/// If some do not: the first few are named.
pub fn check(questions: &[Question]) -> anyhow::Result<()> {
    let files: BTreeSet<&PathBuf> = questions.iter().flat_map(|question| &question.images).collect();
    let problem = |file: &PathBuf| {
        let reader = ImageReader::open(file).and_then(ImageReader::with_guessed_format);
        match reader.map(ImageReader::into_dimensions) {
            Ok(Ok(_)) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!("`{}` is missing", file.display())),
            _ => Some(format!("`{}` is unreadable", file.display())),
        }
    };
    let problems: Vec<String> = files.into_par_iter().filter_map(problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let more = if problems.len() > SHOWN { "\n  …" } else { "" };
    bail!(
        "{} cannot be used:\n  {}{more}\nhint: the entry's `images` is the folder that they are in",
        text::count(problems.len(), "image"),
        problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ")
    );
}
