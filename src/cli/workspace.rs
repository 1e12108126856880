//! The work directory of a command: the cache, opened when it is first needed, and the files outside
//! of it that experiments name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use crate::cache::{Cache, CacheError};
use crate::console;
use crate::digest::Digest;
use crate::hub::{self, Hub, HubError, Located, Reason, Step};
use crate::mini;
use crate::plan::{self, Externals, Plan, Refusal};
use crate::scheduler::{Event, Verdict, examine};
use crate::spec::{self, Document, Overrides, Problems};
use crate::stage::Registry;

use super::failure::Failure;
use super::remote;

/// What paths that the miniature suite makes start with.
const MINI: &str = "mini:";

/// The work directory of a command.
pub struct Workspace {
    directory: PathBuf,
    cache: Option<Cache>,
    /// Why the cache could not be opened while an experiment was planned.
    trouble: Option<CacheError>,
    hub: Hub,
}

impl Workspace {
    /// The work directory `directory`, which need not be there yet.
    pub fn new(directory: &Path) -> Workspace {
        let hub = Hub::new(&directory.join("hub"));
        Workspace { directory: directory.to_path_buf(), cache: None, trouble: None, hub }
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

    /// Whether the cache was opened.
    pub fn is_open(&self) -> bool {
        self.cache.is_some()
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
        let plan = plan::plan(&document, registry, self, problems).map_err(Failure::Problems);
        // The experiment is not to blame for a work directory that cannot be used.
        self.trouble.take().map_or(plan, |trouble| Err(trouble.into()))
    }

    /// Brings here what the stages that are to run read from the Hub. Returns false if `interrupt`
    /// became true meanwhile.
    pub fn fetch(
        &mut self,
        plan: &Plan,
        events: &mut dyn FnMut(Event),
        interrupt: &AtomicBool,
    ) -> Result<bool, Failure> {
        if self.hub.is_unused() {
            return Ok(true);
        }
        // What the remote has need not be made from files of the Hub.
        if let Some(remote) = self.cache()?.remote() {
            remote::pull_plan(self.cache()?, &remote, plan, interrupt)?;
        }
        let examination = examine(plan, self.cache()?)?;
        let running = plan.order().filter(|stage| examination[*stage].verdict != Verdict::Fresh);
        let needed: BTreeSet<&Path> = running.flat_map(|stage| plan.read_by(stage)).collect();
        let needed: Vec<Rc<Located>> = needed.into_iter().filter_map(|path| self.hub.at(path)).collect();
        self.hub.check_room(&needed).map_err(anyhow::Error::from)?;
        for located in needed {
            match self.hub.fetch(&located, interrupt, &mut |step| events(event(&located, step))) {
                Ok(()) => {}
                Err(HubError { reason: Reason::Interrupted, .. }) => return Ok(false),
                Err(error) => return Err(anyhow::Error::from(error).into()),
            }
        }
        // The digest of such a path is not that of its bytes, but of the Hub's listing of them.
        let files = self.cache()?.files();
        for path in plan.order().flat_map(|stage| plan.locations(stage).into_values()).collect::<BTreeSet<_>>() {
            if let Some(located) = self.hub.at(&path) {
                files.vouch(&path, located.digest)?;
            }
        }
        Ok(true)
    }

    /// Finds what a value of the Hub names.
    fn locate_on_hub(&self, value: &str) -> Result<Rc<Located>, Refusal> {
        self.hub.locate(value).map_err(|error| Refusal { reason: error.to_string(), hint: error.hint() })
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

/// A workspace for those who only look: what is not there, or cannot be asked for now, is noted and
/// stands for itself.
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
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, Refusal> {
        if hub::is_hub(value) {
            return match self.workspace.hub.locate(value) {
                Err(HubError { reason: Reason::Offline | Reason::Unreachable { .. }, .. }) => Ok(PathBuf::from(value)),
                _ => self.workspace.locate(value, relative_to),
            };
        }
        // What is not there has a place too.
        let place = || Ok(std::path::absolute(relative_to.join(value)).map_err(|error| error.to_string())?);
        self.workspace.locate(value, relative_to).or_else(|_| place())
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, Refusal> {
        let reason = match path.to_str().filter(|path| hub::is_hub(path)) {
            Some(value) => match self.workspace.hub.locate(value) {
                Err(error) => error.reason.to_string(),
                Ok(located) => return Ok(located.digest),
            },
            None if self.workspace.hub.at(path).is_some() => return self.workspace.digest(path),
            None => match path.try_exists() {
                Ok(true) => return self.workspace.digest(path),
                Ok(false) => "there is no such file or folder".to_string(),
                Err(error) => error.to_string(),
            },
        };
        self.missing.insert(path.to_path_buf(), reason);
        Ok(Digest::of(format!("missing: {}", path.display()).as_bytes()))
    }

    fn names(&self, path: &Path) -> Result<Option<Vec<String>>, Refusal> {
        match self.missing.contains_key(path) {
            // It is not blamed for what it lacks.
            true => Ok(Some(["config.json", "model.safetensors"].map(str::to_string).to_vec())),
            false => self.workspace.names(path),
        }
    }
}

impl Externals for Workspace {
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, Refusal> {
        if hub::is_hub(value) {
            let located = self.locate_on_hub(value)?;
            if let Some(note) = &located.note {
                console::note(&format!("note: {note}"));
            }
            return Ok(located.path.clone());
        }
        let path = match value.strip_prefix(MINI) {
            Some(part) => self.make(part)?,
            None => relative_to.join(value),
        };
        let absolute = std::path::absolute(&path).map_err(|error| error.to_string())?;
        match absolute.try_exists() {
            Ok(true) => Ok(absolute),
            Ok(false) => Err(format!("there is no file or folder `{}`", path.display()).into()),
            Err(error) => Err(format!("cannot look for `{}`: {error}", path.display()).into()),
        }
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, Refusal> {
        if let Some(located) = self.hub.at(path) {
            return Ok(located.digest);
        }
        let cache = match self.cache() {
            Ok(cache) => cache,
            Err(error) => return Err(self.trouble.insert(error).to_string().into()),
        };
        Ok(cache.digest(path).map_err(|error| error.to_string())?)
    }

    fn names(&self, path: &Path) -> Result<Option<Vec<String>>, Refusal> {
        if let Some(located) = self.hub.at(path) {
            return Ok(located.names.clone());
        }
        if !path.is_dir() {
            return Ok(None);
        }
        let unreadable = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
        let entries = path.read_dir().map_err(unreadable)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(Some(names.collect::<std::io::Result<_>>().map_err(unreadable)?))
    }
}

/// A step of fetching, as an event of the run.
fn event(located: &Located, step: Step) -> Event {
    let what = located.value.clone();
    match step {
        Step::Started { files, bytes, missing } => Event::Fetching { what, files, bytes, missing },
        Step::Moved { done } => Event::FetchProgress { what, done },
        Step::Ended { missing, wall } => Event::Fetched { what, bytes: missing, wall },
    }
}
