//! Files and directories outside the store, each looked up once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::stage::External;

/// Finds and digests what path values name.
pub trait Externals {
    /// Where the file or directory is that an experiment calls `value` in a file of the directory
    /// `relative_to`. The error says why there is none.
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, String>;

    /// The digest of a file or directory. The error says why it cannot be read.
    fn digest(&mut self, path: &Path) -> Result<Digest, String>;
}

/// Remembers what was looked up, failures too.
pub(super) struct Memory<'e> {
    externals: &'e mut dyn Externals,
    known: HashMap<PathBuf, HashMap<String, Result<External, String>>>,
}

impl<'e> Memory<'e> {
    pub(super) fn new(externals: &'e mut dyn Externals) -> Memory<'e> {
        Memory { externals, known: HashMap::new() }
    }

    pub(super) fn get(&mut self, value: &str, relative_to: &Path) -> Result<External, String> {
        if let Some(known) = self.known.get(relative_to).and_then(|known| known.get(value)) {
            return known.clone();
        }
        let found = self.externals.locate(value, relative_to).and_then(|path| {
            let digest = self.externals.digest(&path)?;
            Ok(External { path, digest })
        });
        self.known.entry(relative_to.to_path_buf()).or_default().insert(value.to_string(), found.clone());
        found
    }
}
