//! Writing numbers per sample as the samples come, in memory that does not grow with their number.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::json;

use super::columns::CONCEPT_LAYERS;
use super::files::write_summary;

/// Writes `vectors.safetensors`, `ids.json` and the summary: what [`Vectors`](super::Vectors) reads.
pub struct VectorsWriter {
    rows: Rows,
    dimensions: usize,
    concept_layers: Option<usize>,
}

/// Writes `scores.safetensors`, `ids.json` and the summary: what [`Scores`](super::Scores) reads.
pub struct ScoresWriter {
    rows: Rows,
    names: Vec<String>,
    /// The sum of each column so far.
    sums: Vec<f64>,
}

impl VectorsWriter {
    /// Starts an artifact of `count` vectors.
    pub fn create(directory: &Path, count: usize, dimensions: usize) -> anyhow::Result<VectorsWriter> {
        let tensors = [("vectors".to_string(), vec![count, dimensions])];
        let rows = Rows::create(directory, "vectors.safetensors", count, &tensors)?;
        Ok(VectorsWriter { rows, dimensions, concept_layers: None })
    }

    /// Says that the vectors are concept vectors of so many layers: equal parts, each with the image half
    /// before the language half.
    pub fn of_concepts(mut self, layers: usize) -> VectorsWriter {
        self.concept_layers = Some(layers);
        self
    }

    /// Appends the vectors of the next samples, one after the other.
    pub fn append(&mut self, ids: &[&str], values: &[f32]) -> anyhow::Result<()> {
        self.rows.append(ids, &[values])
    }

    /// Writes what is left to write.
    ///
    /// # Errors
    ///
    /// If there were not as many vectors as announced, or on a full disk.
    pub fn finish(self) -> anyhow::Result<()> {
        let mut entries = vec![("samples", json!(self.rows.count)), ("dimensions", json!(self.dimensions))];
        entries.extend(self.concept_layers.map(|layers| (CONCEPT_LAYERS, json!(layers))));
        write_summary(&self.rows.directory.clone(), &entries)?;
        self.rows.finish()
    }
}

impl ScoresWriter {
    /// Starts an artifact of `count` samples with a column for each name.
    pub fn create(directory: &Path, count: usize, names: &[&str]) -> anyhow::Result<ScoresWriter> {
        let tensors: Vec<_> = names.iter().map(|name| (name.to_string(), vec![count])).collect();
        let rows = Rows::create(directory, "scores.safetensors", count, &tensors)?;
        Ok(ScoresWriter { rows, names: names.iter().map(ToString::to_string).collect(), sums: vec![0.0; names.len()] })
    }

    /// Appends the scores of the next samples: a column per name, in the order of the names.
    pub fn append(&mut self, ids: &[&str], columns: &[&[f32]]) -> anyhow::Result<()> {
        for (sum, column) in self.sums.iter_mut().zip(columns) {
            column.iter().for_each(|value| *sum += f64::from(*value));
        }
        self.rows.append(ids, columns)
    }

    /// Writes what is left to write.
    ///
    /// # Errors
    ///
    /// As [`VectorsWriter::finish`].
    pub fn finish(self) -> anyhow::Result<()> {
        let count = self.rows.count;
        let mut entries = vec![("samples", json!(count))];
        let means =
            self.names.iter().zip(&self.sums).map(|(name, sum)| (name.as_str(), json!(sum / count.max(1) as f64)));
        entries.extend(means);
        write_summary(&self.rows.directory.clone(), &entries)?;
        self.rows.finish()
    }
}

/// A safetensors file of f32 tensors with a row per sample, and the list of the samples' ids.
struct Rows {
    directory: PathBuf,
    path: PathBuf,
    file: File,
    /// Where each tensor starts in the file, and the length of its rows.
    tensors: Vec<(u64, usize)>,
    ids: BufWriter<File>,
    count: usize,
    written: usize,
}

impl Rows {
    fn create(directory: &Path, name: &str, count: usize, tensors: &[(String, Vec<usize>)]) -> anyhow::Result<Rows> {
        let path = directory.join(name);
        let problem = || format!("cannot write `{}`", path.display());
        let mut end = 0;
        let mut sorted: Vec<&(String, Vec<usize>)> = tensors.iter().collect();
        sorted.sort();
        let infos = sorted.into_iter().map(|(name, shape)| {
            let start = end;
            end += 4 * shape.iter().product::<usize>();
            (name.clone(), TensorInfo { dtype: Dtype::F32, shape: shape.clone(), data_offsets: (start, end) })
        });
        let metadata = Metadata::new(None, infos.collect())?;
        let mut header = serde_json::to_vec(&metadata)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let place = |(name, shape): &(String, Vec<usize>)| {
            let info = metadata.info(name).expect("BUG: it was just described");
            ((8 + header.len() + info.data_offsets.0) as u64, shape[1..].iter().product())
        };
        let tensors = tensors.iter().map(place).collect();
        let mut file = File::create(&path).with_context(problem)?;
        file.write_all(&(header.len() as u64).to_le_bytes()).with_context(problem)?;
        file.write_all(&header).with_context(problem)?;
        file.set_len((8 + header.len() + end) as u64).with_context(problem)?;
        let list = directory.join("ids.json");
        let ids = File::create(&list).with_context(|| format!("cannot write `{}`", list.display()))?;
        let ids = BufWriter::new(ids);
        Ok(Rows { directory: directory.to_path_buf(), path, file, tensors, ids, count, written: 0 })
    }

    fn append(&mut self, ids: &[&str], columns: &[&[f32]]) -> anyhow::Result<()> {
        let problem = || format!("cannot write `{}`", self.path.display());
        ensure!(self.written + ids.len() <= self.count, "{} samples were announced, and there are more", self.count);
        for ((start, width), values) in self.tensors.iter().zip(columns) {
            assert_eq!(values.len(), ids.len() * width, "BUG: a row per sample");
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let place = start + 4 * (self.written * width) as u64;
            self.file.write_all_at(&bytes, place).with_context(problem)?;
        }
        for id in ids {
            let before = if self.written == 0 { "[\n  " } else { ",\n  " };
            self.ids.write_all(before.as_bytes()).with_context(problem)?;
            serde_json::to_writer(&mut self.ids, id).with_context(problem)?;
            self.written += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        ensure!(self.written == self.count, "{} samples were announced, and there are {}", self.count, self.written);
        let end: &[u8] = if self.count == 0 { b"[]\n" } else { b"\n]\n" };
        let written = self.ids.write_all(end).and_then(|()| self.ids.flush());
        written.with_context(|| format!("cannot write `{}`", self.directory.join("ids.json").display()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Scores, Vectors};
    use super::*;

    #[test]
    fn what_comes_piece_by_piece_is_what_is_written_at_once() {
        let (whole, pieces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ids: Vec<String> = (0..5).map(|row| format!("d/{row}")).collect();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let values: Vec<f32> = (0..15).map(|value| value as f32).collect();
        Vectors { ids: ids.clone(), dimensions: 3, values: values.clone() }.write(whole.path()).unwrap();
        let mut writer = VectorsWriter::create(pieces.path(), 5, 3).unwrap();
        writer.append(&names[..2], &values[..6]).unwrap();
        writer.append(&names[2..], &values[6..]).unwrap();
        writer.finish().unwrap();
        for file in ["ids.json", "vectors.safetensors", "summary.json"] {
            assert_eq!(
                fs::read(whole.path().join(file)).unwrap(),
                fs::read(pieces.path().join(file)).unwrap(),
                "{file}"
            );
        }

        let columns = [("perplexity".to_string(), values[..5].to_vec()), ("el2n".to_string(), values[5..10].to_vec())];
        Scores { ids: ids.clone(), columns: columns.into() }.write(whole.path()).unwrap();
        let mut writer = ScoresWriter::create(pieces.path(), 5, &["perplexity", "el2n"]).unwrap();
        writer.append(&names[..4], &[&values[..4], &values[5..9]]).unwrap();
        writer.append(&names[4..], &[&values[4..5], &values[9..10]]).unwrap();
        writer.finish().unwrap();
        for file in ["ids.json", "scores.safetensors", "summary.json"] {
            assert_eq!(
                fs::read(whole.path().join(file)).unwrap(),
                fs::read(pieces.path().join(file)).unwrap(),
                "{file}"
            );
        }
    }

    #[test]
    fn an_artifact_with_samples_missing_is_not_finished() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = VectorsWriter::create(directory.path(), 2, 1).unwrap();
        writer.append(&["d/0"], &[1.0]).unwrap();
        assert_eq!(writer.finish().unwrap_err().to_string(), "2 samples were announced, and there are 1");
    }
}
