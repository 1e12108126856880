//! What happens during a run, as data.

use std::path::PathBuf;

use serde::Serialize;

use crate::devices::Device;
use crate::digest::Digest;
use crate::fingerprint::DirtyReason;

/// Something that happened. Stages are named by their display names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run begins.
    Planned {
        /// The experiment.
        experiment: String,
        /// Stages of the plan.
        stages: usize,
        /// Stages whose result is in the cache.
        fresh: usize,
        /// Stages that must run.
        run: usize,
        /// Stages below those, which may have to run.
        maybe: usize,
        /// Stages of the experiment that are not in the plan because they are equal to one that is.
        shared: usize,
    },
    /// Files from elsewhere are brought here before the stages that read them run.
    Fetching {
        /// What they are, as the experiment names it.
        what: String,
        /// How many files.
        files: usize,
        /// Bytes of them.
        bytes: u64,
        /// How many of these are to be downloaded. The others are here, and are only checked.
        missing: u64,
    },
    /// Some of their bytes are here.
    FetchProgress {
        /// What they are.
        what: String,
        /// Bytes done.
        done: u64,
    },
    /// All of them are here and are what they should be.
    Fetched {
        /// What they are.
        what: String,
        /// Bytes that were downloaded.
        bytes: u64,
        /// How long it took, in seconds.
        wall: f64,
    },
    /// A stage runs now.
    Started {
        /// The stage.
        stage: String,
        /// Its kind.
        kind: String,
        /// What it computes on.
        device: Device,
        /// Why it runs.
        reasons: Vec<DirtyReason>,
        /// The key of its result.
        fingerprint: Digest,
    },
    /// Another process runs this stage; its result will be taken.
    Elsewhere {
        /// The stage.
        stage: String,
        /// The machine of that process.
        host: String,
        /// The process.
        process: u32,
    },
    /// A running stage has done some of its work.
    Progress {
        /// The stage.
        stage: String,
        /// Units done.
        done: u64,
        /// Units to do.
        total: u64,
        /// What is counted, as a plural noun.
        unit: String,
    },
    /// Something that the user should know, though the run goes on.
    Warning {
        /// The stage.
        stage: String,
        /// What it is.
        message: String,
    },
    /// An attempt of a stage failed, and it is tried again after a pause.
    Retrying {
        /// The stage.
        stage: String,
        /// The number of the next attempt; the first of all was 1.
        attempt: u32,
        /// How many attempts there will be at most.
        attempts: u32,
        /// Why the last one failed.
        message: String,
        /// The pause in seconds.
        pause: f64,
    },
    /// A stage ran and its result is in the cache.
    Finished {
        /// The stage.
        stage: String,
        /// How long it took, in seconds.
        wall: f64,
        /// The processor time that it took, in seconds.
        cpu: f64,
        /// The most memory that it had, in bytes, where that is known.
        memory: Option<u64>,
        /// What it computed on.
        device: Device,
    },
    /// The result of a stage that had to run was in the remote, and is in the cache now.
    Pulled {
        /// The stage.
        stage: String,
        /// How many files of it were not here.
        files: usize,
        /// Bytes of them.
        bytes: u64,
        /// How long it took to bring them here, in seconds.
        wall: f64,
    },
    /// The result of a stage that might have had to run was in the cache, or was made by an equal
    /// stage meanwhile.
    Fresh {
        /// The stage.
        stage: String,
    },
    /// A stage failed; nothing of it is kept but its log.
    Failed(StageFailure),
    /// A stage cannot run because another failed.
    Skipped {
        /// The stage.
        stage: String,
        /// The stage that failed.
        because: String,
    },
    /// How long the rest will take, going by earlier durations.
    Outlook {
        /// Seconds.
        remaining: f64,
    },
    /// The run was interrupted: running stages are being stopped.
    Stopping,
    /// The run is over.
    Ended(Summary),
}

/// Why a stage failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageFailure {
    /// The stage.
    pub stage: String,
    /// What happened.
    pub message: String,
    /// The file with all that it wrote to its standard error.
    pub log: PathBuf,
    /// The last lines of that file.
    pub tail: Vec<String>,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// The experiment.
    pub experiment: String,
    /// Stages that ran.
    pub ran: usize,
    /// Stages whose result was in the cache.
    pub fresh: usize,
    /// Those of them that might have had to run, as a stage upstream ran, but whose inputs came out as they
    /// were before.
    pub cut_off: usize,
    /// Stages whose result came from the remote.
    pub pulled: usize,
    /// Stages of the experiment that were equal to one of the plan.
    pub shared: usize,
    /// Stages that failed.
    pub failed: usize,
    /// Stages that could not run because another failed.
    pub skipped: usize,
    /// Stages that were not started, or stopped, because the run ended before.
    pub left: usize,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// How long the run took, in seconds.
    pub wall: f64,
    /// The processor time of the stages that ran, in seconds.
    pub cpu: f64,
    /// The processor time that the results from the cache had taken, in seconds.
    pub saved: f64,
    /// The stages that ran one after another for the longest time, first to last: with any number of
    /// processors the run would have taken that long.
    pub slowest: Vec<Taken>,
}

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taken {
    /// The stage.
    pub stage: String,
    /// Seconds.
    pub wall: f64,
}
