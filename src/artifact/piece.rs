//! The rows of some samples of a pool, which a shard of a stage leaves, and how the rows of all samples
//! come of several such pieces, in memory that does not grow with their number.
//!
//! A piece is read by the stage kind that wrote it and by nobody else: `piece.json` says what the columns
//! are, and `rows.bin` has for each sample its place in the pool as an unsigned number of 8 bytes, and its
//! values as f32, all little-endian, in the order of the pool.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{read_json, write_json};

const HEAD: &str = "piece.json";
const ROWS: &str = "rows.bin";

/// What the rows of a piece are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    /// Name and width of each column.
    columns: Vec<(String, usize)>,
    /// What merging has to know besides.
    note: Value,
}

impl Head {
    fn width(&self) -> usize {
        self.columns.iter().map(|(_, width)| width).sum()
    }
}

/// Writes a piece.
pub struct PieceWriter {
    path: PathBuf,
    file: BufWriter<File>,
    width: usize,
    next: u64,
}

impl PieceWriter {
    /// Starts a piece with these columns and their widths, and whatever merging has to know besides.
    pub fn create(directory: &Path, columns: &[(&str, usize)], note: impl Serialize) -> anyhow::Result<PieceWriter> {
        let columns = columns.iter().map(|(name, width)| (name.to_string(), *width)).collect();
        let head = Head { columns, note: serde_json::to_value(note)? };
        write_json(&directory.join(HEAD), &head)?;
        let path = directory.join(ROWS);
        let file = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(PieceWriter { file: BufWriter::new(file), path, width: head.width(), next: 0 })
    }

    /// Appends the row of the sample at `place` of the pool: the values of all columns, one after the other.
    ///
    /// # Panics
    ///
    /// If rows do not come in the order of the pool, or are not as wide as announced.
    pub fn append(&mut self, place: usize, values: &[&[f32]]) -> anyhow::Result<()> {
        let problem = || format!("cannot write `{}`", self.path.display());
        let place = place as u64;
        assert!(place >= self.next, "BUG: rows are not in the order of the pool");
        assert_eq!(values.iter().map(|values| values.len()).sum::<usize>(), self.width, "BUG: a row is not as wide");
        self.file.write_all(&place.to_le_bytes()).with_context(problem)?;
        let bytes: Vec<u8> = values.iter().flat_map(|values| values.iter()).flat_map(|v| v.to_le_bytes()).collect();
        self.file.write_all(&bytes).with_context(problem)?;
        self.next = place + 1;
        Ok(())
    }

    /// Writes what is left to write.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}

/// Reads pieces together.
pub struct Pieces {
    head: Head,
    pieces: Vec<Piece>,
    next: u64,
}

struct Piece {
    path: PathBuf,
    file: BufReader<File>,
    /// The place of the next row.
    place: Option<u64>,
}

impl Pieces {
    /// Opens the pieces in these directories.
    ///
    /// # Errors
    ///
    /// Besides those of reading, if they are not of the same columns.
    pub fn open(directories: &[PathBuf]) -> anyhow::Result<Pieces> {
        let first: Head = read_json(&directories.first().context("there are no shards")?.join(HEAD))?;
        let mut pieces = Vec::with_capacity(directories.len());
        for directory in directories {
            let head: Head = read_json(&directory.join(HEAD))?;
            ensure!(head == first, "`{}` has other columns than the first shard", directory.display());
            let path = directory.join(ROWS);
            let file = File::open(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let mut piece = Piece { path, file: BufReader::new(file), place: None };
            piece.advance()?;
            pieces.push(piece);
        }
        Ok(Pieces { head: first, pieces, next: 0 })
    }

    /// Name and width of each column.
    pub fn columns(&self) -> &[(String, usize)] {
        &self.head.columns
    }

    /// What merging has to know besides.
    pub fn note<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_value(self.head.note.clone()).context("a shard says something else than expected")
    }

    /// For each column the values of the next `count` samples of the pool, one after the other.
    ///
    /// # Errors
    ///
    /// Besides those of reading, if a sample is in no piece or in two.
    pub fn next(&mut self, count: usize) -> anyhow::Result<Vec<Vec<f32>>> {
        let end = self.next + count as u64;
        let mut found = vec![false; count];
        let mut columns: Vec<Vec<f32>> = self.head.columns.iter().map(|(_, width)| vec![0.0; width * count]).collect();
        for piece in &mut self.pieces {
            while let Some(place) = piece.place.filter(|place| *place < end) {
                let row = usize::try_from(place - self.next).context("rows are not in the order of the pool")?;
                ensure!(!std::mem::replace(&mut found[row], true), "sample {place} of the pool is in two shards");
                for ((_, width), values) in self.head.columns.iter().zip(&mut columns) {
                    piece.read(&mut values[row * width..(row + 1) * width])?;
                }
                piece.advance()?;
                let ascending = piece.place.is_none_or(|next| next > place);
                ensure!(ascending, "`{}` is not in the order of the pool", piece.path.display());
            }
        }
        if let Some(missing) = found.iter().position(|found| !found) {
            anyhow::bail!("sample {} of the pool is in no shard", self.next + missing as u64);
        }
        self.next = end;
        Ok(columns)
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    ///
    /// If there are rows of more samples than the pool has.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.pieces.iter().find_map(|piece| Some((piece, piece.place?))) {
            Some((piece, place)) => anyhow::bail!("`{}` has a sample {place}, the pool has not", piece.path.display()),
            None => Ok(()),
        }
    }
}

impl Piece {
    fn advance(&mut self) -> anyhow::Result<()> {
        let problem = || format!("cannot read `{}`", self.path.display());
        let mut bytes = [0; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read(&mut bytes[filled..]).with_context(problem)? {
                0 if filled == 0 => {
                    self.place = None;
                    return Ok(());
                }
                0 => anyhow::bail!("`{}` ends in the middle of a row", self.path.display()),
                read => filled += read,
            }
        }
        self.place = Some(u64::from_le_bytes(bytes));
        Ok(())
    }

    fn read(&mut self, values: &mut [f32]) -> anyhow::Result<()> {
        let mut bytes = vec![0; 4 * values.len()];
        self.file.read_exact(&mut bytes).with_context(|| format!("cannot read `{}`", self.path.display()))?;
        for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
            *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of one narrow and one wide column, with these places each.
    fn written(places: &[Vec<usize>]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let root = tempfile::tempdir().unwrap();
        let mut directories = Vec::new();
        for (number, places) in places.iter().enumerate() {
            let directory = root.path().join(number.to_string());
            std::fs::create_dir(&directory).unwrap();
            let mut writer = PieceWriter::create(&directory, &[("one", 1), ("two", 2)], 7).unwrap();
            for place in places {
                let value = *place as f32;
                writer.append(*place, &[&[value], &[-value, 0.5]]).unwrap();
            }
            writer.finish().unwrap();
            directories.push(directory);
        }
        (root, directories)
    }

    proptest! {
        #[test]
        fn whatever_shard_a_sample_is_in_it_comes_to_its_place(
            owners in prop::collection::vec(0usize..4, 0..40),
            window in 1usize..12,
        ) {
            let places: Vec<Vec<usize>> = (0..4)
                .map(|shard| (0..owners.len()).filter(|place| owners[*place] == shard).collect())
                .collect();
            let (_root, directories) = written(&places);
            let mut pieces = Pieces::open(&directories).unwrap();
            prop_assert_eq!(pieces.note::<u8>().unwrap(), 7);
            let (mut one, mut two) = (Vec::new(), Vec::new());
            let all: Vec<usize> = (0..owners.len()).collect();
            for window in all.chunks(window) {
                let columns = pieces.next(window.len()).unwrap();
                one.extend_from_slice(&columns[0]);
                two.extend_from_slice(&columns[1]);
            }
            pieces.finish().unwrap();
            let values: Vec<f32> = all.iter().map(|place| *place as f32).collect();
            prop_assert_eq!(&one, &values);
            prop_assert_eq!(two, values.iter().flat_map(|value| [-value, 0.5]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pieces_that_do_not_fit_together_are_refused() {
        let merged = |places: &[Vec<usize>], count: usize| {
            let (_root, directories) = written(places);
            let mut pieces = Pieces::open(&directories).unwrap();
            pieces.next(count).and_then(|_| pieces.finish()).unwrap_err().to_string()
        };
        assert_eq!(merged(&[vec![0, 2], vec![3]], 4), "sample 1 of the pool is in no shard");
        assert_eq!(merged(&[vec![0, 1], vec![1]], 2), "sample 1 of the pool is in two shards");
        assert!(merged(&[vec![0, 1], vec![2]], 2).ends_with("has a sample 2, the pool has not"));

        let (_root, directories) = written(&[vec![0], vec![1]]);
        let path = directories[1].join(ROWS);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(Pieces::open(&directories).unwrap().next(2).is_err());
        std::fs::write(&path, [bytes.as_slice(), &[0; 3]].concat()).unwrap();
        let error = Pieces::open(&directories).unwrap().next(2).unwrap_err().to_string();
        assert!(error.ends_with("ends in the middle of a row"), "{error}");
    }
}
