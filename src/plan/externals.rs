//! Files and directories outside the store, each looked up once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::artifact::checkpoint;
use crate::digest::Digest;
use crate::stage::External;

/// Why a path value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub reason: String,
    /// How to mend it, where there is something to say.
    pub hint: Option<String>,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal { reason, hint: None }
    }
}

/// Finds and digests what path values name.
pub trait Externals {
    /// Where the file or directory is, or will be when a stage reads it, that an experiment calls
    /// `value` in a file of the directory `relative_to`. The error says why there is none.
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, Refusal>;

    /// The digest of a file or directory. The error says why it cannot be read.
    fn digest(&mut self, path: &Path) -> Result<Digest, Refusal>;

    /// The names of everything directly in a directory; none of a file. The error says why it cannot
    /// be read.
    fn names(&self, path: &Path) -> Result<Option<Vec<String>>, Refusal>;
}

/// Remembers what was looked up, failures too.
pub(super) struct Memory<'e> {
    externals: &'e mut dyn Externals,
    known: HashMap<PathBuf, HashMap<String, Result<External, Refusal>>>,
}

impl<'e> Memory<'e> {
    pub(super) fn new(externals: &'e mut dyn Externals) -> Memory<'e> {
        Memory { externals, known: HashMap::new() }
    }

    pub(super) fn get(&mut self, value: &str, relative_to: &Path) -> Result<External, Refusal> {
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

    /// Refuses what cannot be a checkpoint: no model could be read from it later.
    pub(super) fn check_checkpoint(&self, value: &str, external: &External) -> Result<(), Refusal> {
        let names = self.externals.names(&external.path)?;
        checkpoint::check(names.as_deref()).map_err(|malformed| Refusal {
            reason: format!("`{value}` {malformed}"),
            hint: Some(malformed.hint().to_string()),
        })
    }
}
