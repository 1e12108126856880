//! One entry of `benchmarks.json`, and what each format has to say in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::metric::Metric;
use crate::selection::answers::boxes::Frame;
use crate::stages::files::below;
use crate::text;

/// The layout of a benchmark's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// LLaVA-style JSON, whose last answer of each conversation is the right one.
    #[default]
    Llava,
    /// VQA v2, OK-VQA: a file of questions and one of annotations.
    Vqav2,
    /// GQA: an object of questions.
    Gqa,
    /// ScienceQA: problems and the lists of its splits.
    ScienceQa,
    /// TextVQA: one file.
    TextVqa,
    /// POPE: a file of JSON Lines for each category.
    Pope,
    /// MMBench: a table with embedded images.
    MmBench,
    /// MMMU: Parquet, JSON or JSON Lines.
    Mmmu,
    /// MMLU: a table for each subject.
    Mmlu,
    /// RefCOCO, RefCOCO+, RefCOCOg.
    RefCoco,
    /// COCO-CN, Flickr8k-CN: captions by image.
    #[serde(rename = "coco_cn")]
    CocoCn,
}

/// What the coordinates of an answer are shares of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerFrame {
    /// The square that the image is padded to.
    #[default]
    Square,
    /// The image itself.
    Image,
}

/// How a file writes a box.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxLayout {
    /// Left, top, width, height: COCO's.
    #[default]
    Xywh,
    /// Left, top, right, bottom.
    Xyxy,
}

/// One path, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Several(Vec<String>),
}

/// One entry of `benchmarks.json`. Paths are relative to its folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name in tables.
    pub name: String,
    /// The skill that it measures.
    pub skill: String,
    /// The layout of its files.
    #[serde(default)]
    pub format: Format,
    metric: Option<Metric>,
    file: Paths,
    annotations: Option<String>,
    images: Option<String>,
    split: Option<String>,
    prompt: Option<String>,
    ocr: Option<String>,
    answer_frame: Option<AnswerFrame>,
    box_layout: Option<BoxLayout>,
    /// Longest answer in tokens.
    pub max_new_tokens: Option<usize>,
}

impl Format {
    /// Its name in `benchmarks.json`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Llava => "llava",
            Format::Vqav2 => "vqav2",
            Format::Gqa => "gqa",
            Format::ScienceQa => "scienceqa",
            Format::TextVqa => "textvqa",
            Format::Pope => "pope",
            Format::MmBench => "mmbench",
            Format::Mmmu => "mmmu",
            Format::Mmlu => "mmlu",
            Format::RefCoco => "refcoco",
            Format::CocoCn => "coco_cn",
        }
    }

    /// The metric that is official for it.
    fn metric(self) -> Option<Metric> {
        match self {
            Format::Llava => None,
            Format::Vqav2 => Some(Metric::Vqa),
            Format::Gqa => Some(Metric::Gqa),
            Format::ScienceQa => Some(Metric::ScienceQa),
            Format::TextVqa => Some(Metric::TextVqa),
            Format::Pope => Some(Metric::Pope),
            Format::MmBench => Some(Metric::MmBench),
            Format::Mmmu => Some(Metric::Mmmu),
            Format::Mmlu => Some(Metric::Mmlu),
            Format::RefCoco => Some(Metric::RefCoco),
            Format::CocoCn => Some(Metric::CharacterBleu),
        }
    }

    /// The optional fields that mean something to it.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Format::Llava => &["images"],
            Format::Vqav2 => &["annotations", "images", "prompt"],
            Format::Gqa | Format::Pope => &["images", "prompt"],
            Format::Mmmu => &["images", "split", "prompt"],
            Format::ScienceQa => &["annotations", "images", "split", "prompt"],
            Format::TextVqa => &["images", "prompt", "ocr"],
            Format::MmBench => &["split", "prompt"],
            Format::Mmlu => &["prompt"],
            Format::RefCoco => &["images", "prompt", "answer_frame", "box_layout"],
            Format::CocoCn => &["annotations", "images", "prompt"],
        }
    }
}

impl Entry {
    /// Whether all that it says means something to its format.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let given = [
            ("annotations", self.annotations.is_some()),
            ("images", self.images.is_some()),
            ("split", self.split.is_some()),
            ("prompt", self.prompt.is_some()),
            ("ocr", self.ocr.is_some()),
            ("answer_frame", self.answer_frame.is_some()),
            ("box_layout", self.box_layout.is_some()),
        ];
        let known = self.format.fields();
        if let Some((field, _)) = given.iter().find(|(field, given)| *given && !known.contains(field)) {
            bail!(
                "`{field}` means nothing to the format `{}`\nhint: besides name, skill, metric, file and max_new_tokens \
                 it knows {}",
                self.format.name(),
                text::ticked_list(known)
            );
        }
        if self.format == Format::Llava && matches!(self.file, Paths::Several(_)) {
            bail!("the format `llava` has one file");
        }
        ensure!(self.max_new_tokens != Some(0), "`max_new_tokens` is 0");
        self.metric().map(|_| ())
    }

    /// How replies are scored.
    pub(super) fn metric(&self) -> anyhow::Result<Metric> {
        self.metric.or(self.format.metric()).with_context(|| {
            let all = text::ticked_list(Metric::ALL.map(Metric::name));
            format!("it has no `metric`\nhint: the format `{}` needs one of {all}", self.format.name())
        })
    }

    /// The file, where there may be only one.
    pub(super) fn file(&self, suite: &Path) -> anyhow::Result<PathBuf> {
        match self.files(suite)?.as_slice() {
            [only] => Ok(only.clone()),
            files => bail!("the format `{}` has one `file`, and {} are given", self.format.name(), files.len()),
        }
    }

    /// The files, those of a folder and the folders in it in the order of their names. What is hidden is left out.
    pub(super) fn files(&self, suite: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let given = match &self.file {
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Several(paths) => paths.as_slice(),
        };
        let mut files = Vec::new();
        for path in given.iter().map(|path| suite.join(path)) {
            if !path.is_dir() {
                files.push(path);
                continue;
            }
            let shown = |name: &str| !name.starts_with('.');
            let inside = below(&path, shown);
            let mut inside = inside.with_context(|| format!("cannot read `{}`", path.display()))?;
            inside.sort();
            ensure!(!inside.is_empty(), "the folder `{}` has no file", path.display());
            files.extend(inside);
        }
        Ok(files)
    }

    /// The second file of a format that has two.
    pub(super) fn annotations(&self, suite: &Path) -> Option<PathBuf> {
        self.annotations.as_ref().map(|path| suite.join(path))
    }

    /// The file of recognised text.
    pub(super) fn ocr(&self, suite: &Path) -> Option<PathBuf> {
        self.ocr.as_ref().map(|path| suite.join(path))
    }

    /// The folder that image paths are relative to.
    pub(super) fn images_in(&self, suite: &Path) -> PathBuf {
        self.images.as_ref().map_or_else(|| suite.to_path_buf(), |path| suite.join(path))
    }

    /// The part of the benchmark that is asked.
    pub(super) fn split(&self) -> Option<&str> {
        self.split.as_deref()
    }

    /// The fixed words of a question, in the entry's wording or the usual one.
    pub(super) fn prompt<'a>(&'a self, usual: &'a str) -> &'a str {
        self.prompt.as_deref().unwrap_or(usual)
    }

    /// What the coordinates of an answer are shares of.
    pub(super) fn answer_frame(&self) -> Frame {
        match self.answer_frame.unwrap_or_default() {
            AnswerFrame::Square => Frame::Square,
            AnswerFrame::Image => Frame::Image,
        }
    }

    /// How the file writes boxes.
    pub(super) fn box_layout(&self) -> BoxLayout {
        self.box_layout.unwrap_or_default()
    }
}
