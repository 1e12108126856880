//! Samples: the pool that grows with every dataset, and the subset that a step trains on.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::files::{read_json, read_json_lines, write_json, write_json_lines, write_summary};
use crate::digest::Digest;

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
    /// The images in the order of the `<image>` marks in the questions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageReference>,
    /// Question and answer, in turn. Never empty.
    pub turns: Vec<Turn>,
}

/// An image file outside the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReference {
    /// Index into [`Pool::roots`].
    pub root: usize,
    /// Path below the root, with `/` between its parts.
    pub path: String,
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
    /// The content digests of the image folders.
    pub roots: Vec<Digest>,
    /// The samples, in the order of their arrival.
    pub samples: Vec<Sample>,
    /// What was dropped on the way.
    pub drops: Vec<Drop>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    roots: Vec<Digest>,
    drops: Vec<Drop>,
    samples_by_dataset: BTreeMap<String, usize>,
    samples_by_skill: BTreeMap<String, usize>,
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

/// What one cluster gave to a subset, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The cluster; absent where the whole pool was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<usize>,
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

impl Pool {
    /// Reads a pool or subset.
    pub fn read(directory: &Path) -> anyhow::Result<Pool> {
        let head: Head = read_json(&directory.join("pool.json"))?;
        let samples = read_json_lines(&directory.join("samples.jsonl"))?;
        Ok(Pool { roots: head.roots, samples, drops: head.drops })
    }

    /// Writes `pool.json`, `samples.jsonl` and the summary.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let mut head = Head {
            roots: self.roots.clone(),
            drops: self.drops.clone(),
            samples_by_dataset: BTreeMap::new(),
            samples_by_skill: BTreeMap::new(),
        };
        for sample in &self.samples {
            *head.samples_by_dataset.entry(sample.dataset.clone()).or_default() += 1;
            if let Some(skill) = &sample.skill {
                *head.samples_by_skill.entry(skill.clone()).or_default() += 1;
            }
        }
        write_json(&directory.join("pool.json"), &head)?;
        write_json_lines(&directory.join("samples.jsonl"), &self.samples)?;
        let dropped: usize = self.drops.iter().map(|drop| drop.count).sum();
        let datasets = head.samples_by_dataset.len();
        write_summary(
            directory,
            &[("samples", json!(self.samples.len())), ("datasets", json!(datasets)), ("dropped", json!(dropped))],
        )
    }

    /// The pool of the samples at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Pool {
        let samples = indices.iter().map(|index| self.samples[*index].clone()).collect();
        Pool { roots: self.roots.clone(), samples, drops: self.drops.clone() }
    }

    /// Appends the samples of `other`.
    pub fn merge(&mut self, other: Pool) {
        let mut root = Vec::with_capacity(other.roots.len());
        for digest in &other.roots {
            root.push(self.roots.iter().position(|known| known == digest).unwrap_or_else(|| {
                self.roots.push(*digest);
                self.roots.len() - 1
            }));
        }
        self.samples.extend(other.samples.into_iter().map(|mut sample| {
            for image in &mut sample.images {
                image.root = root[image.root];
            }
            sample
        }));
        self.drops.extend(other.drops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(root: &str, dataset: &str) -> Pool {
        let turn = Turn { question: "<image>\nWhat is it?".into(), answer: "A cat".into() };
        let image = ImageReference { root: 0, path: "a.png".into() };
        let sample = Sample {
            id: format!("{dataset}/0"),
            source_id: Some(json!(7)),
            dataset: dataset.into(),
            skill: Some("attribute".into()),
            images: vec![image],
            turns: vec![turn],
        };
        Pool { roots: vec![Digest::of(root.as_bytes())], samples: vec![sample], drops: vec![] }
    }

    #[test]
    fn merging_keeps_every_image_under_its_own_root() {
        let mut all = pool("one", "first");
        all.merge(pool("two", "second"));
        all.merge(pool("one", "third"));
        let roots: Vec<usize> = all.samples.iter().map(|sample| sample.images[0].root).collect();
        assert_eq!(roots, [0, 1, 0]);
        assert_eq!(all.roots.len(), 2);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let written = pool("one", "first");
        written.write(directory.path()).unwrap();
        assert_eq!(Pool::read(directory.path()).unwrap(), written);
    }
}
