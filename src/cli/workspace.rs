//! The work directory of a command: the cache, opened when it is first needed, and the files outside
//! of it that experiments name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, CacheError};
use crate::console;
use crate::digest::Digest;
use crate::mini;
use crate::plan::{self, Externals, Plan};
use crate::spec::{self, Document, Overrides, Problems};
use crate::stage::Registry;

use super::failure::Failure;

/// What paths that the miniature suite makes start with.
const MINI: &str = "mini:";
/// What names in the Hugging Face hub start with.
const HUB: &str = "hf://";

/// The work directory of a command.
pub struct Workspace {
    directory: PathBuf,
    cache: Option<Cache>,
}

impl Workspace {
    /// The work directory `directory`, which need not be there yet.
    pub fn new(directory: &Path) -> Workspace {
        Workspace { directory: directory.to_path_buf(), cache: None }
    }

    /// The work directory, as the user named it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The cache, which makes the directory where there is none.
    pub fn cache(&mut self) -> Result<&mut Cache, CacheError> {
        if self.cache.is_none() {
            self.cache = Some(Cache::open(&self.directory)?);
        }
        Ok(self.cache.as_mut().expect("it was just opened"))
    }

    /// The cache of a directory that has one already.
    pub fn existing_cache(&mut self) -> Result<&mut Cache, Failure> {
        if !self.directory.is_dir() {
            let message = format!("there is no work directory `{}`", self.directory.display());
            return Err(Failure::usage(message, Some("`runner exec <experiment>` makes one; `--store` names another")));
        }
        Ok(self.cache()?)
    }

    /// The directory of an artifact, if the cache was opened.
    pub fn artifact(&self, digest: &Digest) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.path(digest))
    }

    /// Plans the experiment in a file.
    pub fn plan(&mut self, file: &Path, overrides: &Overrides, registry: &Registry) -> Result<Plan, Failure> {
        let (document, problems) = read(file, overrides)?;
        plan::plan(&document, registry, self, problems).map_err(Failure::Problems)
    }

    /// Makes a part of the miniature suite, unless it is there.
    fn make(&self, value: &str) -> Result<PathBuf, String> {
        let (part, rest) = value.split_once('/').unwrap_or((value, ""));
        let path = self.directory.join("suites").join(format!("mini-{}", mini::VERSION)).join(part);
        if !path.is_dir() {
            console::note(&format!("making `{part}` of the miniature suite"));
        }
        mini::make(part, &path).map_err(|error| error.to_string())?;
        Ok(if rest.is_empty() { path } else { path.join(rest) })
    }
}

/// Reads the experiment in a file, with what is wrong with it so far.
pub fn read(file: &Path, overrides: &Overrides) -> Result<(Document, Problems), Failure> {
    let read = spec::read(file, overrides);
    let (document, problems) = read.map_err(|error| {
        let message = format!("cannot read `{}`: {error}", file.display());
        Failure::usage(message, Some("name the file of an experiment, such as `experiments/table3.yaml`"))
    })?;
    match document {
        Some(document) => Ok((document, problems)),
        None => Err(Failure::Problems(problems.tidy(1))),
    }
}

/// A workspace for those who only look: what is not there is noted, and stands for itself. Nothing is
/// fetched from elsewhere.
pub struct Lenient<'w> {
    workspace: &'w mut Workspace,
    /// What is not there, by its place, and why.
    pub missing: BTreeMap<PathBuf, String>,
}

impl Lenient<'_> {
    /// A lenient view of a workspace.
    pub fn new(workspace: &mut Workspace) -> Lenient<'_> {
        Lenient { workspace, missing: BTreeMap::new() }
    }
}

impl Externals for Lenient<'_> {
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, String> {
        if value.starts_with(HUB) {
            return Ok(PathBuf::from(value));
        }
        // A place is needed for what is not there too.
        let place = || std::path::absolute(relative_to.join(value)).map_err(|error| error.to_string());
        self.workspace.locate(value, relative_to).or_else(|_| place())
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, String> {
        let reason = match path.try_exists() {
            _ if path.starts_with(HUB) => "is fetched when the experiment runs".to_string(),
            Ok(true) => return self.workspace.digest(path),
            Ok(false) => "there is no such file or folder".to_string(),
            Err(error) => error.to_string(),
        };
        self.missing.insert(path.to_path_buf(), reason);
        Ok(Digest::of(format!("missing: {}", path.display()).as_bytes()))
    }
}

impl Externals for Workspace {
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, String> {
        let path = match value.strip_prefix(MINI) {
            Some(part) => self.make(part)?,
            None => relative_to.join(value),
        };
        let absolute = std::path::absolute(&path).map_err(|error| error.to_string())?;
        match absolute.try_exists() {
            Ok(true) => Ok(absolute),
            Ok(false) => Err(format!("there is no file or folder `{}`", path.display())),
            Err(error) => Err(format!("cannot look for `{}`: {error}", path.display())),
        }
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, String> {
        let cache = self.cache().map_err(|error| error.to_string())?;
        cache.digest(path).map_err(|error| error.to_string())
    }
}
