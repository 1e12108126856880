//! What a running stage is given: directories in, directories out, params, and a way to report
//! progress.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Period, Resources, Task};
use crate::devices::Device;
use crate::digest::Digest;

/// How a stage runs. Nothing here may change its result, and nothing here is part of its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Execution {
    /// Threads that the stage computes with.
    pub threads: usize,
    /// Samples that pass through the model together, where a stage reads a pool.
    pub micro_batch: usize,
    /// What the stage computes on. Where an experiment says nothing, the scheduler chooses it.
    pub device: Device,
    /// Whether a backward pass computes the activations of a layer again instead of keeping them: less
    /// memory, about a third more time, the same numbers.
    pub gradient_checkpointing: bool,
    /// How long one attempt may take before it is stopped, which counts as a failure.
    pub timeout: Option<Period>,
    /// How often a stage that failed is tried again before it counts as failed.
    pub retries: u32,
    /// The pause before the first retry; each further one is twice as long, up to ten minutes.
    pub backoff: Period,
    /// What its job asks for on a Slurm cluster, besides what the site says.
    pub slurm: Resources,
    /// Into how many parts the stage is split, each of which is a process of its own and kept on its own:
    /// they run at the same time as far as there are free slots and devices.
    pub shards: usize,
    /// How often the stage saves how far it is, so that an execution that is cut off is gone on with.
    /// A kind without a default does not do that.
    pub checkpoint_every: Option<Period>,
}

impl Default for Execution {
    fn default() -> Execution {
        Execution {
            threads: 1,
            micro_batch: 32,
            device: Device::Cpu,
            gradient_checkpointing: false,
            timeout: None,
            retries: 0,
            backoff: Period::seconds(10),
            slurm: Resources::default(),
            shards: 1,
            checkpoint_every: None,
        }
    }
}

/// A file or directory outside the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// The digest of its content.
    pub digest: Digest,
}

/// One execution of a stage, as data: what a child process is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// The stage kind.
    pub kind: String,
    /// All params, resolved. A path param holds the digest of what it names.
    pub params: serde_json::Map<String, serde_json::Value>,
    /// The artifact directory of each input slot that is used.
    pub inputs: BTreeMap<String, PathBuf>,
    /// The empty directory of each output slot.
    pub outputs: BTreeMap<String, PathBuf>,
    /// What each path param names.
    pub externals: BTreeMap<String, External>,
    /// Where everything outside the store is that this stage or a stage upstream read: an artifact
    /// names such a thing by digest, this says where it is on this machine.
    pub locations: BTreeMap<Digest, PathBuf>,
    /// How to run.
    pub execution: Execution,
    /// What of the stage's work is to be done.
    #[serde(default)]
    pub task: Task,
    /// A directory, which need not be there, whose content survives an execution that comes to no result:
    /// the next one with the same key finds it.
    #[serde(default)]
    pub kept: Option<PathBuf>,
}

/// News from a running stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Update {
    /// `done` of `total` `unit`s (a plural noun, such as `samples`) are done.
    Progress { done: u64, total: u64, unit: String },
    /// Something that the user should know, though the stage goes on.
    Warning(String),
}

/// Takes the news of a running stage.
pub trait Progress: Sync {
    /// Called from any thread, often: it must be quick.
    fn update(&self, update: Update);
}

/// Takes no news.
pub struct Silent;

impl Progress for Silent {
    fn update(&self, _: Update) {}
}

/// What a running stage is given.
pub struct Context<'a> {
    call: &'a Call,
    progress: &'a dyn Progress,
}

impl<'a> Context<'a> {
    /// The context of one execution.
    pub fn new(call: &'a Call, progress: &'a dyn Progress) -> Context<'a> {
        Context { call, progress }
    }

    /// The params as the kind's own type.
    pub fn params<P: DeserializeOwned>(&self) -> anyhow::Result<P> {
        serde_json::from_value(serde_json::Value::Object(self.call.params.clone()))
            .with_context(|| format!("cannot read the params of `{}`", self.call.kind))
    }

    /// The directory of the artifact in an input slot.
    pub fn input(&self, slot: &str) -> anyhow::Result<&'a Path> {
        self.optional_input(slot).with_context(|| format!("input `{slot}` is missing"))
    }

    /// The directory of the artifact in an input slot, if the slot is used.
    pub fn optional_input(&self, slot: &str) -> Option<&'a Path> {
        self.call.inputs.get(slot).map(PathBuf::as_path)
    }

    /// The directory to fill for an output slot: it exists and is empty.
    pub fn output(&self, slot: &str) -> anyhow::Result<&'a Path> {
        self.call.outputs.get(slot).map(PathBuf::as_path).with_context(|| format!("output `{slot}` is not declared"))
    }

    /// What a path param names, if it is set.
    pub fn external(&self, param: &str) -> Option<&'a External> {
        self.call.externals.get(param)
    }

    /// Where the content with this digest is on this machine.
    pub fn location(&self, digest: &Digest) -> anyhow::Result<&'a Path> {
        match self.call.locations.get(digest) {
            Some(path) => Ok(path),
            None => bail!("no stage upstream names a file or folder with the digest {digest}"),
        }
    }

    /// The directory for what the next execution goes on with if this one is cut off, where the stage is to
    /// save that. It need not be there.
    pub fn kept(&self) -> Option<&'a Path> {
        self.call.kept.as_deref()
    }

    /// How to run.
    pub fn execution(&self) -> &'a Execution {
        &self.call.execution
    }

    /// Says that `done` of `total` `unit`s are done.
    pub fn progress(&self, done: usize, total: usize, unit: &str) {
        let (done, total) = (done as u64, total as u64);
        self.progress.update(Update::Progress { done, total, unit: unit.to_string() });
    }

    /// Says something that the user should know, though the stage goes on.
    pub fn warn(&self, message: impl Into<String>) {
        self.progress.update(Update::Warning(message.into()));
    }
}
