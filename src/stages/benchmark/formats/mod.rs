//! One reader for each layout in which benchmarks are published.

mod coco_cn;
mod gqa;
mod llava;
mod mmbench;
mod mmlu;
mod mmmu;
mod pope;
mod refcoco;
mod scienceqa;
mod textvqa;
mod vqav2;

use std::path::{Path, PathBuf};

use super::entry::{Entry, Format};
use super::pictures::Pictures;
use super::question::Question;

/// Where a benchmark is read from.
pub struct Source<'a> {
    /// The folder of `benchmarks.json`.
    pub suite: &'a Path,
    /// What it says.
    pub entry: &'a Entry,
    /// Its images.
    pub pictures: &'a Pictures,
}

impl Source<'_> {
    /// The id of a question in the suite.
    fn id(&self, own: impl std::fmt::Display) -> String {
        format!("{}/{own}", self.entry.name)
    }

    fn file(&self) -> anyhow::Result<PathBuf> {
        self.entry.file(self.suite)
    }

    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        self.entry.files(self.suite)
    }
}

/// The questions of a benchmark.
///
/// # Errors
///
/// If a file cannot be read or has another layout.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    match source.entry.format {
        Format::Llava => llava::read(source),
        Format::Vqav2 => vqav2::read(source),
        Format::Gqa => gqa::read(source),
        Format::ScienceQa => scienceqa::read(source),
        Format::TextVqa => textvqa::read(source),
        Format::Pope => pope::read(source),
        Format::MmBench => mmbench::read(source),
        Format::Mmmu => mmmu::read(source),
        Format::Mmlu => mmlu::read(source),
        Format::RefCoco => refcoco::read(source),
        Format::CocoCn => coco_cn::read(source),
    }
}

/// The name of a file without its ending.
fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
