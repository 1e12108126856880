//! How files of datasets and benchmarks are found and opened. Unaware of what is in them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use parquet::file::reader::SerializedFileReader;

/// Folders that may lie in each other.
const DEPTH: usize = 8;
/// With what a Parquet file begins.
pub const PARQUET: &[u8] = b"PAR1";

/// The files of a folder and of the folders in it, without those files and folders whose names are not `wanted`.
///
/// # Errors
///
/// If a folder cannot be read, or folders are nested too deeply.
pub fn below(folder: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if depth > DEPTH {
            return Err(io::Error::other(format!("`{}` is nested too deeply", folder.display())));
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if !wanted(&entry.file_name().to_string_lossy()) {
                continue;
            }
            if path.is_dir() { folders.push((path, depth + 1)) } else { files.push(path) }
        }
    }
    Ok(files)
}

/// Opens a Parquet file.
///
/// # Errors
///
/// If it cannot be read or is none.
pub fn parquet(path: &Path) -> anyhow::Result<SerializedFileReader<File>> {
    let problem = || format!("cannot read `{}`", path.display());
    SerializedFileReader::new(File::open(path).with_context(problem)?).with_context(problem)
}
