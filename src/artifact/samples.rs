//! A pool as a stream: samples are read and written one after the other, so that memory does not grow
//! with the pool.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{read_json, write_json, write_summary};
use super::pool::{Drop, Sample};
use crate::digest::Digest;

/// `pool.json`: everything about a pool but its samples.
#[derive(Default, Serialize, Deserialize)]
struct Head {
    samples: usize,
    roots: Vec<Digest>,
    drops: Vec<Drop>,
    samples_by_dataset: BTreeMap<String, usize>,
    samples_by_skill: BTreeMap<String, usize>,
    /// Dataset → source → samples.
    samples_by_source: BTreeMap<String, BTreeMap<String, usize>>,
}

/// A pool or subset that is read sample by sample.
pub struct PoolReader {
    head: Head,
    file: PathBuf,
}

impl PoolReader {
    /// Reads `pool.json` in `directory`.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn open(directory: &Path) -> anyhow::Result<PoolReader> {
        Ok(PoolReader { head: read_json(&directory.join("pool.json"))?, file: directory.join("samples.jsonl") })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.head.samples
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.head.samples == 0
    }

    /// The content digests of the folders and files that images are in.
    pub fn roots(&self) -> &[Digest] {
        &self.head.roots
    }

    /// What was dropped on the way.
    pub fn drops(&self) -> &[Drop] {
        &self.head.drops
    }

    /// Dataset → samples of it.
    pub fn datasets(&self) -> &BTreeMap<String, usize> {
        &self.head.samples_by_dataset
    }

    /// Dataset → source → samples of it.
    pub fn sources(&self) -> &BTreeMap<String, BTreeMap<String, usize>> {
        &self.head.samples_by_source
    }

    /// The samples in the order of the pool.
    ///
    /// # Errors
    ///
    /// If the file of samples cannot be opened; each item, if it cannot be read.
    pub fn samples(&self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Sample>> + use<>> {
        let problem = |file: &Path| format!("cannot read `{}`", file.display());
        let file = self.file.clone();
        let mut reader = BufReader::with_capacity(BUFFER, File::open(&file).with_context(|| problem(&file))?);
        let mut line = Vec::new();
        let mut number = 0;
        Ok(std::iter::from_fn(move || {
            line.clear();
            number += 1;
            match reader.read_until(b'\n', &mut line).with_context(|| problem(&file)) {
                Ok(0) => None,
                Ok(_) => Some(
                    serde_json::from_slice(&line)
                        .with_context(|| format!("`{}`, line {number}, is not as expected", file.display())),
                ),
                Err(error) => Some(Err(error)),
            }
        }))
    }
}

/// Bytes that are read or written together.
const BUFFER: usize = 1 << 20;
/// Samples that are put into words together, by one thread.
const PIECE: usize = 256;

/// A pool or subset in the making. Nothing counts before [`PoolWriter::finish`].
pub struct PoolWriter {
    directory: PathBuf,
    head: Head,
    samples: BufWriter<File>,
}

impl PoolWriter {
    /// Starts `samples.jsonl` in `directory`.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn create(directory: &Path) -> anyhow::Result<PoolWriter> {
        let path = directory.join("samples.jsonl");
        let file = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        let samples = BufWriter::with_capacity(BUFFER, file);
        Ok(PoolWriter { directory: directory.to_path_buf(), head: Head::default(), samples })
    }

    /// The index of a root, which is added if it is new.
    pub fn root(&mut self, digest: Digest) -> usize {
        let roots = &mut self.head.roots;
        roots.iter().position(|known| *known == digest).unwrap_or_else(|| {
            roots.push(digest);
            roots.len() - 1
        })
    }

    /// Takes over a whole pool as the first part of this one. Its lines are copied as they are: its roots
    /// come first here too, so that every index stays what it was.
    ///
    /// # Errors
    ///
    /// If the pool cannot be read, or has another number of samples than it says.
    pub fn begin_with(&mut self, pool: PoolReader) -> anyhow::Result<()> {
        assert!(self.head.samples == 0 && self.head.roots.is_empty(), "BUG: a pool is taken over in the middle");
        let problem = || format!("cannot copy `{}`", pool.file.display());
        let mut file = File::open(&pool.file).with_context(problem)?;
        let mut buffer = vec![0; BUFFER];
        let mut lines = 0;
        loop {
            let read = file.read(&mut buffer).with_context(problem)?;
            if read == 0 {
                break;
            }
            lines += memchr::memchr_iter(b'\n', &buffer[..read]).count();
            self.samples.write_all(&buffer[..read]).with_context(|| self.problem())?;
        }
        ensure!(
            lines == pool.head.samples,
            "`{}` has {lines} samples, and `pool.json` beside it says {}",
            pool.file.display(),
            pool.head.samples
        );
        self.head = pool.head;
        Ok(())
    }

    /// Appends samples, whose images refer to roots of this pool.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn push(&mut self, samples: &[Sample]) -> anyhow::Result<()> {
        let written: Vec<serde_json::Result<Vec<u8>>> = samples.par_chunks(PIECE).map(lines).collect();
        for piece in written {
            self.samples.write_all(&piece?).with_context(|| self.problem())?;
        }
        self.head.samples += samples.len();
        for sample in samples {
            count(&mut self.head.samples_by_dataset, &sample.dataset);
            if let Some(skill) = &sample.skill {
                count(&mut self.head.samples_by_skill, skill);
            }
            let sources = &mut self.head.samples_by_source;
            if !sources.contains_key(&sample.dataset) {
                sources.insert(sample.dataset.clone(), BTreeMap::new());
            }
            count(sources.get_mut(&sample.dataset).expect("BUG: it was just added"), sample.source());
        }
        Ok(())
    }

    /// Adds to what was dropped on the way.
    pub fn drops(&mut self, drops: impl IntoIterator<Item = Drop>) {
        self.head.drops.extend(drops);
    }

    /// Writes `pool.json` and the summary.
    ///
    /// # Errors
    ///
    /// If something cannot be written.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.samples.flush().with_context(|| self.problem())?;
        write_json(&self.directory.join("pool.json"), &self.head)?;
        let dropped: usize = self.head.drops.iter().map(|drop| drop.count).sum();
        let datasets = self.head.samples_by_dataset.len();
        write_summary(
            &self.directory,
            &[("samples", json!(self.head.samples)), ("datasets", json!(datasets)), ("dropped", json!(dropped))],
        )
    }

    fn problem(&self) -> String {
        format!("cannot write `{}`", self.directory.join("samples.jsonl").display())
    }
}

fn lines(samples: &[Sample]) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    for sample in samples {
        serde_json::to_writer(&mut text, sample)?;
        text.push(b'\n');
    }
    Ok(text)
}

fn count(counts: &mut BTreeMap<String, usize>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => drop(counts.insert(name.to_string(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ImageReference, Pool, Turn, read_json};
    use super::*;
    use crate::images::Part;

    fn pool(root: &str, dataset: &str) -> Pool {
        let image = ImageReference { root: 0, path: "coco/a.png".into(), part: Part::Whole };
        let sample = Sample {
            id: format!("{dataset}/0"),
            source_id: Some(json!(7)),
            dataset: dataset.into(),
            skill: Some("attribute".into()),
            source: None,
            images: vec![image],
            turns: vec![Turn { question: "<image>\nWhat is it?".into(), answer: "A cat".into() }],
        };
        let lost = Drop { dataset: dataset.into(), reason: "image is missing".into(), count: 2, examples: vec![] };
        Pool { roots: vec![Digest::of(root.as_bytes())], samples: vec![sample], drops: vec![lost] }
    }

    fn written(pool: &Pool) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        pool.write(directory.path()).unwrap();
        directory
    }

    #[test]
    fn what_is_written_is_read_back_whole_or_sample_by_sample() {
        let pool = pool("one", "first");
        let directory = written(&pool);
        assert_eq!(Pool::read(directory.path()).unwrap(), pool);
        let reader = PoolReader::open(directory.path()).unwrap();
        assert_eq!((reader.len(), reader.is_empty()), (1, false));
        let samples: Vec<Sample> = reader.samples().unwrap().map(Result::unwrap).collect();
        assert_eq!(samples, pool.samples);
    }

    #[test]
    fn a_pool_that_takes_over_another_keeps_its_images_under_their_roots_and_adds_the_counts() {
        let before = written(&pool("one", "first"));
        let directory = tempfile::tempdir().unwrap();
        let mut writer = PoolWriter::create(directory.path()).unwrap();
        writer.begin_with(PoolReader::open(before.path()).unwrap()).unwrap();
        for (root, dataset) in [("two", "second"), ("one", "third")] {
            let mut arrival = pool(root, dataset);
            arrival.samples[0].images[0].root = writer.root(arrival.roots[0]);
            writer.push(&arrival.samples).unwrap();
            writer.drops(arrival.drops);
        }
        writer.finish().unwrap();
        let all = Pool::read(directory.path()).unwrap();
        let roots: Vec<usize> = all.samples.iter().map(|sample| sample.images[0].root).collect();
        assert_eq!(roots, [0, 1, 0]);
        assert_eq!((all.roots.len(), all.drops.len()), (2, 3));
        let head: serde_json::Value = read_json(&directory.path().join("pool.json")).unwrap();
        assert_eq!(head["samples"], 3);
        assert_eq!(head["samples_by_skill"], json!({"attribute": 3}));
        assert_eq!(head["samples_by_source"]["second"], json!({"coco": 1}));
        let summary: serde_json::Value = read_json(&directory.path().join("summary.json")).unwrap();
        assert_eq!(summary, json!({"samples": 3, "datasets": 3, "dropped": 6}));
    }

    #[test]
    fn a_pool_that_lost_samples_is_refused() {
        let before = written(&pool("one", "first"));
        std::fs::write(before.path().join("samples.jsonl"), "").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut writer = PoolWriter::create(directory.path()).unwrap();
        let problem = writer.begin_with(PoolReader::open(before.path()).unwrap()).unwrap_err().to_string();
        assert!(problem.ends_with("has 0 samples, and `pool.json` beside it says 1"), "{problem}");
    }
}
