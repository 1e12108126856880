//! What is known of a run, as data, and what follows from an event. Unaware of files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::failure::Exit;
use crate::devices::Device;
use crate::digest::Digest;
use crate::scheduler::{Event, host};
use crate::text::{now, timestamp};

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The name of its folder; ids are in the order of time.
    pub id: String,
    /// The name that the user gave it.
    pub name: Option<String>,
    /// The command line.
    pub command: Vec<String>,
    /// The machine.
    pub host: String,
    /// The process on that machine.
    pub process: u32,
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// When this was written.
    pub updated: f64,
    /// When it ended.
    pub ended: Option<f64>,
    /// How it ended: `done`, `failed`, `differs`, `wrong` or `interrupted`.
    pub exit: Option<String>,
    /// Its experiments, as far as it has come.
    pub experiments: Vec<Share>,
    /// The stages that run.
    pub running: Vec<Running>,
    /// The stages that other processes run, whose results are awaited.
    pub awaited: Vec<Awaited>,
    /// The stages that failed.
    pub failed: Vec<Failed>,
    /// Seconds until the end of the present experiment, going by earlier durations, if that can be known.
    pub remaining: Option<f64>,
}

/// How far a run is with an experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The experiment.
    pub experiment: String,
    /// Stages of its plan.
    pub stages: usize,
    /// Stages whose result was in the cache.
    pub fresh: usize,
    /// Stages that ran.
    pub ran: usize,
    /// Stages that failed.
    pub failed: usize,
    /// Stages that could not run because another failed.
    pub skipped: usize,
}

/// A stage that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// The stage.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// What it computes on.
    pub device: Device,
    /// Since when, in seconds since 1970.
    pub since: f64,
    /// The number of the attempt.
    pub attempt: u32,
    /// Units done, units to do, and what they are, where it says so.
    pub progress: Option<(u64, u64, String)>,
}

/// A stage that another process runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Awaited {
    /// The stage.
    pub stage: String,
    /// The machine of that process.
    pub host: String,
    /// The process.
    pub process: u32,
}

/// A stage that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// The stage.
    pub stage: String,
    /// Why.
    pub message: String,
    /// Its log.
    pub log: PathBuf,
}

impl State {
    /// The state of a run of this process that begins now.
    pub(super) fn begin(name: Option<&str>) -> State {
        let started = now();
        let unique = Digest::of(format!("{started} {}", std::process::id()).as_bytes()).hex();
        let digits: String = timestamp(started).chars().filter(char::is_ascii_digit).collect();
        State {
            id: format!("{}-{}-{}", &digits[..8], &digits[8..14], &unique[..7]),
            name: name.map(str::to_string),
            command: std::env::args().collect(),
            host: host(),
            process: std::process::id(),
            started,
            updated: started,
            ended: None,
            exit: None,
            experiments: Vec::new(),
            running: Vec::new(),
            awaited: Vec::new(),
            failed: Vec::new(),
            remaining: None,
        }
    }

    /// The run is over.
    pub(super) fn end(&mut self, exit: Exit) {
        let word = match exit {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::Wrong => "wrong",
            Exit::Differs => "differs",
            Exit::Interrupted => "interrupted",
        };
        (self.ended, self.exit, self.remaining) = (Some(now()), Some(word.to_string()), None);
    }

    /// Takes note of an event; whether it changed anything.
    pub(super) fn note(&mut self, event: &Event) -> bool {
        match event {
            Event::Planned { experiment, stages, fresh, .. } => {
                let (experiment, stages, fresh) = (experiment.clone(), *stages, *fresh);
                self.experiments.push(Share { experiment, stages, fresh, ..Share::default() });
            }
            Event::Started { stage, kind, device, .. } => {
                self.close(stage);
                let (stage, kind, device) = (stage.clone(), kind.clone(), *device);
                self.running.push(Running { stage, kind, device, since: now(), attempt: 1, progress: None });
            }
            Event::Progress { stage, done, total, unit } => {
                let progress = Some((*done, *total, unit.clone()));
                if let Some(running) = self.running(stage) {
                    running.progress = progress;
                }
            }
            Event::Retrying { stage, attempt, pause, .. } => {
                if let Some(running) = self.running(stage) {
                    (running.attempt, running.since, running.progress) = (*attempt, now() + pause, None);
                }
            }
            Event::Finished { stage, .. } => {
                self.close(stage);
                self.share(|share| share.ran += 1);
            }
            Event::Elsewhere { stage, host, process } => {
                self.close(stage);
                self.awaited.push(Awaited { stage: stage.clone(), host: host.clone(), process: *process });
            }
            Event::Fresh { stage } | Event::Pulled { stage, .. } => {
                self.close(stage);
                self.share(|share| share.fresh += 1);
            }
            Event::Failed(failure) => {
                self.close(&failure.stage);
                self.share(|share| share.failed += 1);
                let (stage, message) = (failure.stage.clone(), failure.message.clone());
                self.failed.push(Failed { stage, message, log: failure.log.clone() });
            }
            Event::Skipped { .. } => self.share(|share| share.skipped += 1),
            Event::Outlook { remaining } => self.remaining = Some(*remaining),
            Event::Ended(_) => {
                self.running.clear();
                self.awaited.clear();
                self.remaining = None;
            }
            Event::Fetching { .. } | Event::FetchProgress { .. } | Event::Fetched { .. } => return false,
            Event::Warning { .. } | Event::Stopping => return false,
        }
        true
    }

    fn running(&mut self, stage: &str) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.stage == stage)
    }

    fn close(&mut self, stage: &str) {
        self.running.retain(|running| running.stage != stage);
        self.awaited.retain(|awaited| awaited.stage != stage);
    }

    fn share(&mut self, change: impl FnOnce(&mut Share)) {
        self.experiments.last_mut().map(change);
    }
}
