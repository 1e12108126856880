//! Numbers per sample: vectors, cluster labels and scores, as safetensors beside the sample ids.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, ensure};
use indexmap::IndexMap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{read_json, write_json, write_summary};

/// One vector per sample, row-major `[samples, dimensions]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// The samples, a row each.
    pub ids: Vec<String>,
    /// Length of a row.
    pub dimensions: usize,
    /// The rows, one after the other.
    pub values: Vec<f32>,
}

/// In the summary of concept vectors, of how many layers they are.
pub(super) const CONCEPT_LAYERS: &str = "concept_layers";

/// A partition of the samples into pseudo-tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// The samples.
    pub ids: Vec<String>,
    /// The cluster of each sample, below the number of clusters.
    pub labels: Vec<usize>,
    /// Length of a centroid.
    pub dimensions: usize,
    /// The centroids, row-major `[clusters, dimensions]`.
    pub centroids: Vec<f32>,
    /// Within-cluster sum of squared distances.
    pub within_sum_of_squares: f64,
    /// The numbers of clusters that were tried, ascending, where the number was chosen.
    pub sweep: Option<Vec<SweepPoint>>,
}

/// How well a number of clusters fits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Number of clusters.
    pub clusters: usize,
    /// Within-cluster sum of squared distances.
    pub within_sum_of_squares: f64,
}

/// Importance scores of the samples by scorer.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// The samples.
    pub ids: Vec<String>,
    /// Scorer name → one score per sample.
    pub columns: IndexMap<String, Vec<f32>>,
}

impl Vectors {
    /// The vector of the sample at `index`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..(index + 1) * self.dimensions]
    }

    /// Reads the vectors of those samples that `wanted` says of, in their order, and nothing else of the
    /// file: it may be larger than the memory.
    pub fn read_some(directory: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vectors> {
        let ids: Vec<String> = read_json(&directory.join("ids.json"))?;
        let path = directory.join("vectors.safetensors");
        let problem = || format!("cannot read `{}`", path.display());
        let file = fs::File::open(&path).with_context(problem)?;
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0).with_context(problem)?;
        let length = u64::from_le_bytes(length);
        let end = length.checked_add(8).filter(|end| file.metadata().is_ok_and(|found| *end <= found.len()));
        end.with_context(|| format!("`{}` is damaged", path.display()))?;
        let mut header = vec![0; length as usize];
        file.read_exact_at(&mut header, 8).with_context(problem)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).with_context(|| format!("`{}` is damaged", path.display()))?;
        let info = metadata.info("vectors").context("no tensor `vectors`")?;
        let shape = &info.shape;
        ensure!(shape.len() == 2 && shape[0] == ids.len(), "`vectors` has the shape {shape:?}, not one row per id");
        ensure!(info.dtype == Dtype::F32, "`vectors` in `{}` is not f32", path.display());
        let (start, width) = (8 + length + info.data_offsets.0 as u64, 4 * shape[1]);
        let mut vectors = Vectors { ids: Vec::new(), dimensions: shape[1], values: Vec::new() };
        let mut bytes = vec![0; width];
        for (row, id) in ids.into_iter().enumerate().filter(|(_, id)| wanted(id)) {
            file.read_exact_at(&mut bytes, start + (row * width) as u64).with_context(problem)?;
            let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            vectors.values.extend(bytes.chunks_exact(4).map(number));
            vectors.ids.push(id);
        }
        Ok(vectors)
    }

    /// Reads the artifact.
    pub fn read(directory: &Path) -> anyhow::Result<Vectors> {
        let ids: Vec<String> = read_json(&directory.join("ids.json"))?;
        let mut tensors = read_tensors(&directory.join("vectors.safetensors"))?;
        let (shape, values) = tensors.swap_remove("vectors").context("no tensor `vectors`")?;
        ensure!(shape.len() == 2 && shape[0] == ids.len(), "`vectors` has the shape {shape:?}, not one row per id");
        ensure!(
            shape[1] > 0 || ids.is_empty(),
            "the vectors have no numbers\nhint: a gradient stage with `gradient: none` makes hidden vectors only"
        );
        Ok(Vectors { ids, dimensions: shape[1], values })
    }

    /// The coordinates of the language halves of concept vectors (COINCIDE), a range for each layer; none
    /// where the artifact holds vectors of another kind. The coordinates between them are the image halves.
    pub fn language_halves(directory: &Path) -> anyhow::Result<Option<Vec<Range<usize>>>> {
        let summary: serde_json::Map<String, serde_json::Value> = read_json(&directory.join("summary.json"))?;
        let number = |name: &str| summary.get(name).and_then(serde_json::Value::as_u64).map(|number| number as usize);
        let (Some(layers), Some(dimensions)) = (number(CONCEPT_LAYERS), number("dimensions")) else { return Ok(None) };
        ensure!(
            layers > 0 && dimensions % (2 * layers) == 0,
            "{dimensions} dimensions are not those of {layers} layers"
        );
        let half = dimensions / (2 * layers);
        Ok(Some((0..layers).map(|layer| (2 * layer + 1) * half..(2 * layer + 2) * half).collect()))
    }

    /// Writes the artifact.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let shape = vec![self.ids.len(), self.dimensions];
        write_json(&directory.join("ids.json"), &self.ids)?;
        write_tensors(&directory.join("vectors.safetensors"), &[("vectors", shape, &self.values)])?;
        let entries = [("samples", json!(self.ids.len())), ("dimensions", json!(self.dimensions))];
        write_summary(directory, &entries)
    }
}

impl Clusters {
    /// The number of clusters.
    pub fn count(&self) -> usize {
        self.centroids.len().checked_div(self.dimensions).unwrap_or(0)
    }

    /// The indices of the samples of each cluster, in the order of the samples.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.count()];
        for (index, label) in self.labels.iter().enumerate() {
            members[*label].push(index);
        }
        members
    }

    /// Reads the artifact.
    pub fn read(directory: &Path) -> anyhow::Result<Clusters> {
        let ids: Vec<String> = read_json(&directory.join("ids.json"))?;
        let mut tensors = read_tensors(&directory.join("clusters.safetensors"))?;
        let (_, labels) = tensors.swap_remove("labels").context("no tensor `labels`")?;
        let (shape, centroids) = tensors.swap_remove("centroids").context("no tensor `centroids`")?;
        let (_, squares) = tensors.swap_remove("within_sum_of_squares").context("no `within_sum_of_squares`")?;
        ensure!(labels.len() == ids.len(), "{} labels for {} ids", labels.len(), ids.len());
        let labels: Vec<usize> = labels.into_iter().map(|label| label as usize).collect();
        ensure!(labels.iter().all(|label| *label < shape[0]), "a label is not below the number of clusters");
        let within_sum_of_squares = f64::from(squares.first().copied().unwrap_or(0.0));
        let sweep = directory.join("sweep.json");
        let sweep = if sweep.exists() { Some(read_json(&sweep)?) } else { None };
        Ok(Clusters { ids, labels, dimensions: shape[1], centroids, within_sum_of_squares, sweep })
    }

    /// Writes the artifact. Labels are stored as f32, which is exact below 16 million clusters.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let labels: Vec<f32> = self.labels.iter().map(|label| *label as f32).collect();
        let squares = [self.within_sum_of_squares as f32];
        write_json(&directory.join("ids.json"), &self.ids)?;
        write_tensors(
            &directory.join("clusters.safetensors"),
            &[
                ("centroids", vec![self.count(), self.dimensions], &self.centroids),
                ("labels", vec![labels.len()], &labels),
                ("within_sum_of_squares", vec![1], &squares),
            ],
        )?;
        if let Some(sweep) = &self.sweep {
            write_json(&directory.join("sweep.json"), sweep)?;
        }
        let sizes: Vec<usize> = self.members().iter().map(Vec::len).collect();
        let least = sizes.iter().min().copied().unwrap_or(0);
        let most = sizes.iter().max().copied().unwrap_or(0);
        write_summary(
            directory,
            &[
                ("samples", json!(self.ids.len())),
                ("clusters", json!(self.count())),
                ("smallest", json!(least)),
                ("largest", json!(most)),
                ("within_sum_of_squares", json!(self.within_sum_of_squares)),
            ],
        )
    }
}

impl Scores {
    /// Reads the artifact.
    pub fn read(directory: &Path) -> anyhow::Result<Scores> {
        let ids: Vec<String> = read_json(&directory.join("ids.json"))?;
        let tensors = read_tensors(&directory.join("scores.safetensors"))?;
        let columns: IndexMap<_, _> = tensors.into_iter().map(|(name, (_, values))| (name, values)).collect();
        for (name, values) in &columns {
            ensure!(values.len() == ids.len(), "scorer `{name}` has {} scores for {} ids", values.len(), ids.len());
        }
        Ok(Scores { ids, columns })
    }

    /// Writes the artifact.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        write_json(&directory.join("ids.json"), &self.ids)?;
        let tensors: Vec<(&str, Vec<usize>, &[f32])> =
            self.columns.iter().map(|(name, values)| (name.as_str(), vec![values.len()], values.as_slice())).collect();
        write_tensors(&directory.join("scores.safetensors"), &tensors)?;
        let mean =
            |values: &[f32]| values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64;
        let mut entries = vec![("samples", json!(self.ids.len()))];
        entries.extend(self.columns.iter().map(|(name, values)| (name.as_str(), json!(mean(values)))));
        write_summary(directory, &entries)
    }
}

/// The influence of samples on target tasks, beside the scores that were made of it: what the scores of the
/// next checkpoint add to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Influences {
    /// Task → the sum over checkpoints, one per sample, in the order of the scores' ids.
    pub tasks: IndexMap<String, Vec<f32>>,
}

impl Influences {
    const FILE: &str = "influences.safetensors";

    /// Writes them into an artifact of scores.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let tensors: Vec<(&str, Vec<usize>, &[f32])> =
            self.tasks.iter().map(|(task, values)| (task.as_str(), vec![values.len()], values.as_slice())).collect();
        write_tensors(&directory.join(Influences::FILE), &tensors)
    }

    /// Reads those of an artifact of scores, with the ids of its samples.
    ///
    /// # Errors
    ///
    /// Beside those of reading, if the scores were made without.
    pub fn read(directory: &Path) -> anyhow::Result<(Vec<String>, Influences)> {
        let path = directory.join(Influences::FILE);
        ensure!(
            path.exists(),
            "no influences in `{}`: the scorer `influence` was not among its scorers",
            directory.display()
        );
        let ids: Vec<String> = read_json(&directory.join("ids.json"))?;
        let tensors = read_tensors(&path)?;
        let tasks: IndexMap<_, _> = tensors.into_iter().map(|(task, (_, values))| (task, values)).collect();
        let fits = tasks.values().all(|values| values.len() == ids.len());
        ensure!(fits, "`{}` has not one number per sample", path.display());
        Ok((ids, Influences { tasks }))
    }
}

/// For each of `wanted`, its index in `ids`.
///
/// # Errors
///
/// If one is missing; `what` names the artifact that should have it.
pub fn align(wanted: &[String], ids: &[String], what: &str) -> anyhow::Result<Vec<usize>> {
    let index: HashMap<&str, usize> = ids.iter().enumerate().map(|(index, id)| (id.as_str(), index)).collect();
    wanted
        .iter()
        .map(|id| index.get(id.as_str()).copied().with_context(|| format!("the {what} have nothing for sample `{id}`")))
        .collect()
}

type Tensors = IndexMap<String, (Vec<usize>, Vec<f32>)>;

fn read_tensors(path: &Path) -> anyhow::Result<Tensors> {
    let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| format!("`{}` is damaged", path.display()))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        ensure!(view.dtype() == Dtype::F32, "`{name}` in `{}` is not f32", path.display());
        let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let values = view.data().chunks_exact(4).map(number).collect();
        tensors.insert(name.to_string(), (view.shape().to_vec(), values));
    }
    Ok(tensors)
}

fn write_tensors(path: &Path, tensors: &[(&str, Vec<usize>, &[f32])]) -> anyhow::Result<()> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    safetensors::serialize_to_file(views, None, path).with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_back_as_written() {
        let directory = tempfile::tempdir().unwrap();
        let ids = vec!["a/0".to_string(), "a/1".to_string(), "b/0".to_string()];
        let scores = Scores {
            ids: ids.clone(),
            columns: IndexMap::from([
                ("entropy".into(), vec![0.5, 1.0, 2.0]),
                ("perplexity".into(), vec![3.0, 2.5, 1.5]),
            ]),
        };
        scores.write(directory.path()).unwrap();
        assert_eq!(Scores::read(directory.path()).unwrap(), scores);

        let vectors = Vectors { ids: ids.clone(), dimensions: 2, values: (0..6u8).map(f32::from).collect() };
        vectors.write(directory.path()).unwrap();
        assert_eq!(Vectors::read(directory.path()).unwrap(), vectors);
        let some = Vectors::read_some(directory.path(), |id| id != "a/1").unwrap();
        assert_eq!((some.ids, some.values), (vec!["a/0".into(), "b/0".into()], vec![0.0, 1.0, 4.0, 5.0]));

        let clusters = Clusters {
            ids,
            labels: vec![1, 0, 1],
            dimensions: 2,
            centroids: vec![0.0, 1.0, 1.0, 0.0],
            within_sum_of_squares: 0.25,
            sweep: None,
        };
        clusters.write(directory.path()).unwrap();
        assert_eq!(Clusters::read(directory.path()).unwrap(), clusters);
        let point = |clusters, within_sum_of_squares| SweepPoint { clusters, within_sum_of_squares };
        let swept = Clusters { sweep: Some(vec![point(1, 2.5), point(2, 0.25)]), ..clusters.clone() };
        swept.write(directory.path()).unwrap();
        assert_eq!(Clusters::read(directory.path()).unwrap(), swept);
        assert_eq!(clusters.members(), [vec![1], vec![0, 2]]);
    }
}
