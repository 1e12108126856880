//! Samples: the pool that grows with every dataset, and the subset that a step trains on.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::samples::{PoolReader, PoolWriter};
use crate::digest::Digest;
use crate::images::{Part, Place};

/// One instruction-tuning sample: a conversation about no, one or several images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Unique in the pool: `<dataset>/<row>`.
    pub id: String,
    /// The `id` that the dataset gives it, if it gives one. Datasets repeat them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<Value>,
    /// The dataset it came from.
    pub dataset: String,
    /// The skill that the dataset says it exercises, if it says so. Nothing selects by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<String>,
    /// Which part of the dataset it came from, if the dataset says so; see [`Sample::source`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The images in the order of the `<image>` marks in the questions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageReference>,
    /// Question and answer, in turn. Never empty.
    pub turns: Vec<Turn>,
}

/// An image outside the store: a file, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReference {
    /// Index into [`Pool::roots`].
    pub root: usize,
    /// Path of the file below the root, with `/` between its parts; empty, if the root is the file.
    pub path: String,
    /// Which part of the file.
    #[serde(default, skip_serializing_if = "Part::is_whole")]
    pub part: Part,
}

/// One exchange of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// What the user says, with an `<image>` mark for each image.
    pub question: String,
    /// What the assistant answers.
    pub answer: String,
}

/// Samples that a dataset held and the pool does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// The dataset.
    pub dataset: String,
    /// Why, such as `image is missing`.
    pub reason: String,
    /// How many.
    pub count: usize,
    /// The rows (counted from 0) or lines (from 1) of the first few.
    pub examples: Vec<String>,
}

/// All data that a step may choose from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pool {
    /// The content digests of the folders and files that images are in.
    pub roots: Vec<Digest>,
    /// The samples, in the order of their arrival.
    pub samples: Vec<Sample>,
    /// What was dropped on the way.
    pub drops: Vec<Drop>,
}

/// Why a sample is in a subset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The sample.
    pub id: String,
    /// Its pseudo-task cluster, where the selection used clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<usize>,
    /// The scorer that ranked it, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scorer: Option<String>,
    /// Its score by that scorer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// What one cluster, or another part of the pool, gave to a subset, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The cluster; absent where the selection used no clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<usize>,
    /// What else it is, where the pool was divided by something else; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Samples in it.
    pub size: usize,
    /// Its part of the budget.
    pub budget: usize,
    /// Samples chosen from it.
    pub chosen: usize,
    /// The scorer that ranked them, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scorer: Option<String>,
    /// Scorer → entropy of its scores in the cluster, in bits, where that decided; `null` where it
    /// is infinite.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub entropies: IndexMap<String, Option<f64>>,
}

impl Sample {
    /// Which part of the dataset it came from: what the dataset says, or else the first folder of its
    /// first image's path (LLaVA-665K: `coco`, `gqa`, `ocr_vqa`…); `images` without such a folder, `text`
    /// without an image.
    pub fn source(&self) -> &str {
        match (&self.source, self.images.first()) {
            (Some(source), _) => source,
            (None, Some(image)) => image.path.split_once('/').map_or("images", |(first, _)| first),
            (None, None) => "text",
        }
    }
}

impl ImageReference {
    /// Where the image is, given where the roots are.
    pub fn place<P: AsRef<Path>>(&self, roots: &[P]) -> Place {
        let root = roots[self.root].as_ref();
        // Joining an empty path would add a slash.
        let file = if self.path.is_empty() { root.to_path_buf() } else { root.join(&self.path) };
        Place { file, part: self.part }
    }
}

impl Pool {
    /// Reads a pool or subset whole. [`PoolReader`] reads it sample by sample.
    pub fn read(directory: &Path) -> anyhow::Result<Pool> {
        let reader = PoolReader::open(directory)?;
        let samples = reader.samples()?.collect::<anyhow::Result<Vec<Sample>>>()?;
        Ok(Pool { roots: reader.roots().to_vec(), samples, drops: reader.drops().to_vec() })
    }

    /// Writes `pool.json`, `samples.jsonl` and the summary.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let mut writer = PoolWriter::create(directory)?;
        for root in &self.roots {
            writer.root(*root);
        }
        writer.push(&self.samples)?;
        writer.drops(self.drops.iter().cloned());
        writer.finish()
    }

    /// The pool of the samples at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Pool {
        let samples = indices.iter().map(|index| self.samples[*index].clone()).collect();
        Pool { roots: self.roots.clone(), samples, drops: self.drops.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: Option<&str>, path: Option<&str>) -> Sample {
        let image = |path: &str| ImageReference { root: 0, path: path.into(), part: Part::Whole };
        Sample {
            id: "d/0".into(),
            source_id: None,
            dataset: "d".into(),
            skill: None,
            source: source.map(String::from),
            images: path.map(image).into_iter().collect(),
            turns: vec![Turn { question: "<image>\nWhat is it?".into(), answer: "A cat".into() }],
        }
    }

    #[test]
    fn a_source_is_what_the_dataset_says_or_the_first_folder_of_the_image() {
        assert_eq!(sample(Some("nlvr2"), Some("a/b.png")).source(), "nlvr2");
        assert_eq!(sample(None, Some("coco/train2017/a.jpg")).source(), "coco");
        assert_eq!(sample(None, Some("a.jpg")).source(), "images");
        assert_eq!(sample(None, None).source(), "text");
    }

    #[test]
    fn a_reference_to_a_file_is_as_short_as_can_be_and_leads_to_its_place() {
        let image = sample(None, Some("coco/a.jpg")).images.remove(0);
        assert_eq!(serde_json::to_string(&image).unwrap(), r#"{"root":0,"path":"coco/a.jpg"}"#);
        assert_eq!(serde_json::from_str::<ImageReference>(r#"{"root":0,"path":"coco/a.jpg"}"#).unwrap(), image);
        assert_eq!(image.place(&["/data"]).file, Path::new("/data/coco/a.jpg"));
        let cell = ImageReference { root: 1, path: String::new(), part: Part::Cell { row: 2, image: 0 } };
        let place = cell.place(&["/data", "/rows.parquet"]);
        assert_eq!((place.file.to_str(), place.part), (Some("/rows.parquet"), cell.part));
    }
}
