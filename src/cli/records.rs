//! The record of a run, for whoever looks from another terminal or later.
//!
//! ```text
//! .runner/runs/<id>/
//!   state.json     what runs, since when, on what, and how much is done; replaced as a whole
//!   results.json   experiment → stage → key, of all that is done at the end
//!   events.jsonl   what happened, a line each; `RUNNER_LOG` says from which level on
//!   lock           held for as long as the process of the run lives
//! ```
//!
//! A run that finds everything in the cache leaves no record, unless it has a name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::{debug, error, info, trace, warn};

use super::failure::{Exit, Failure};
use super::trace::Trace;
use crate::artifact::read_json;
use crate::console;
use crate::devices::Device;
use crate::digest::Digest;
use crate::plan::Plan;
use crate::scheduler::{Event, Outcome, host};
use crate::text::timestamp;

/// The variable that says from which level on events are written down.
const LEVEL: &str = "RUNNER_LOG";
/// The state is written no more often than this.
const PAUSE: Duration = Duration::from_millis(500);

/// Experiment → stage → key of its result.
type Results = BTreeMap<String, BTreeMap<String, Digest>>;

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

/// Writes the record of the run of this process.
pub struct Recorder {
    runs: PathBuf,
    level: LevelFilter,
    state: State,
    results: Results,
    trace: Option<(PathBuf, Trace)>,
    begun: Option<Begun>,
    written: Instant,
    /// Whether a record could not be written, which is said once.
    broken: bool,
}

/// A record that is being written.
struct Begun {
    directory: PathBuf,
    _lock: File,
}

impl Recorder {
    /// A recorder for a run in the work directory `work`; `trace` is a file for its timeline.
    pub fn new(work: &Path, name: Option<&str>, trace: Option<&Path>) -> Result<Recorder, Failure> {
        let level = match std::env::var(LEVEL) {
            Ok(word) => word.parse().map_err(|_| {
                let message = format!("`{LEVEL}={word}` is no level");
                Failure::usage(message, Some("write `error`, `warn`, `info`, `debug`, `trace` or `off`"))
            })?,
            Err(_) => LevelFilter::INFO,
        };
        let started = now();
        let unique = Digest::of(format!("{started} {}", std::process::id()).as_bytes()).hex();
        let digits: String = timestamp(started).chars().filter(char::is_ascii_digit).collect();
        let state = State {
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
            failed: Vec::new(),
            remaining: None,
        };
        Ok(Recorder {
            runs: work.join("runs"),
            level,
            state,
            results: Results::new(),
            trace: trace.map(|path| (path.to_path_buf(), Trace::default())),
            begun: None,
            written: Instant::now(),
            broken: false,
        })
    }

    /// Takes note of an event.
    pub fn event(&mut self, event: &Event) {
        if self.begun.is_none() && !self.broken && (self.state.name.is_some() || is_work(event)) {
            let begun = begin(&self.runs.join(&self.state.id), self.level);
            self.begun = begun.map_err(|error| self.give_up(&error)).ok();
        }
        tell(event);
        if let Some((_, trace)) = &mut self.trace {
            trace.event(event, now());
        }
        let important = self.state.note(event);
        if important && (self.written.elapsed() >= PAUSE || matches!(event, Event::Planned { .. } | Event::Ended(_))) {
            self.write();
        }
    }

    /// Takes note of what an experiment came to.
    pub fn results(&mut self, plan: &Plan, outcome: &Outcome) {
        let done = plan.order().filter_map(|stage| Some((stage, outcome.fingerprint(stage)?)));
        let named = done.flat_map(|(stage, key)| plan[stage].names.iter().map(move |name| (name.clone(), key)));
        self.results.entry(plan.experiment.clone()).or_default().extend(named);
    }

    /// Ends the record. The timeline is an error if it cannot be written: it was asked for.
    pub fn end(mut self, exit: Exit) -> Result<(), Failure> {
        self.state.ended = Some(now());
        let word = match exit {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::Wrong => "wrong",
            Exit::Differs => "differs",
            Exit::Interrupted => "interrupted",
        };
        self.state.exit = Some(word.to_string());
        self.state.remaining = None;
        if let Some(Begun { directory, .. }) = &self.begun {
            let written = replace(&directory.join("results.json"), &self.results);
            if let Err(error) = written {
                self.give_up(&error);
            }
        }
        self.write();
        if let Some((path, trace)) = &self.trace {
            let written = replace(path, &trace.json(now()));
            written.with_context(|| format!("cannot write the trace `{}`", path.display()))?;
            console::note(&format!("trace written to `{}`; ui.perfetto.dev shows it", path.display()));
        }
        Ok(())
    }

    fn write(&mut self) {
        let Some(Begun { directory, .. }) = &self.begun else { return };
        self.written = Instant::now();
        self.state.updated = now();
        if let Err(error) = replace(&directory.join("state.json"), &self.state) {
            self.give_up(&error);
        }
    }

    /// A run is not given up because its record cannot be written.
    fn give_up(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.broken, true) {
            console::note(&format!(
                "warning: cannot write the record of this run below `{}`: {error}",
                self.runs.display()
            ));
        }
    }
}

/// Whether an event says that something is to be done.
fn is_work(event: &Event) -> bool {
    match event {
        Event::Planned { run, maybe, .. } => run + maybe > 0,
        Event::Fetching { .. } => true,
        _ => false,
    }
}

/// Makes the folder of a run, with all events from now on written to a file in it.
fn begin(directory: &Path, level: LevelFilter) -> io::Result<Begun> {
    fs::create_dir_all(directory)?;
    let lock = File::create(directory.join("lock"))?;
    // Where there are no locks, `status` goes by the process and the time of the last word.
    let _ = lock.lock();
    if level != LevelFilter::OFF {
        let events = Mutex::new(File::options().create(true).append(true).open(directory.join("events.jsonl"))?);
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_span_list(false);
        let subscriber = lines.with_max_level(level).with_writer(events).finish();
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    }
    Ok(Begun { directory: directory.to_path_buf(), _lock: lock })
}

/// Replaces a file by one that is whole.
fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(io::BufWriter::new(&mut file), value)?;
    // Readable for whoever may read the folder, as any other file here.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.persist(path)?;
    Ok(())
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

impl State {
    /// Takes note of an event; whether it changed anything.
    fn note(&mut self, event: &Event) -> bool {
        match event {
            Event::Planned { experiment, stages, fresh, .. } => {
                let (experiment, stages, fresh) = (experiment.clone(), *stages, *fresh);
                self.experiments.push(Share { experiment, stages, fresh, ..Share::default() });
            }
            Event::Started { stage, kind, device, .. } => {
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
            Event::Fresh { .. } => self.share(|share| share.fresh += 1),
            Event::Failed(failure) => {
                self.close(&failure.stage);
                self.share(|share| share.failed += 1);
                let (stage, message) = (failure.stage.clone(), failure.message.clone());
                self.failed.push(Failed { stage, message, log: failure.log.clone() });
            }
            Event::Skipped { .. } => self.share(|share| share.skipped += 1),
            Event::Outlook { remaining } => self.remaining = Some(*remaining),
            Event::Ended(_) => (self.running, self.remaining) = (Vec::new(), None),
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
    }

    fn share(&mut self, change: impl FnOnce(&mut Share)) {
        self.experiments.last_mut().map(change);
    }
}

/// A record, as it was found.
pub struct Record {
    /// Its folder.
    pub directory: PathBuf,
    /// What it says.
    pub state: State,
    /// Whether its process lives, as far as one can tell.
    pub alive: bool,
}

/// All records of a work directory, oldest first. What cannot be read is no record.
pub fn records(work: &Path) -> Vec<Record> {
    let entries = fs::read_dir(work.join("runs")).into_iter().flatten().filter_map(Result::ok);
    let mut records: Vec<Record> = entries.filter_map(|entry| record(&entry.path())).collect();
    records.sort_by(|one, other| one.state.id.cmp(&other.state.id));
    records
}

fn record(directory: &Path) -> Option<Record> {
    let state: State = read_json(&directory.join("state.json")).ok()?;
    let locked = || File::open(directory.join("lock")).is_ok_and(|lock| lock.try_lock_shared().is_err());
    let alive = state.ended.is_none() && locked();
    Some(Record { directory: directory.to_path_buf(), state, alive })
}

/// The run with this id or name, or the start of an id; of several the latest.
pub fn find(records: Vec<Record>, what: &str) -> Result<Record, Failure> {
    let fits = |record: &Record| record.state.name.as_deref() == Some(what) || record.state.id.starts_with(what);
    records.into_iter().rev().find(fits).ok_or_else(|| {
        Failure::usage(
            format!("no run is called `{what}`"),
            Some("`runner status --all` lists the runs that there are"),
        )
    })
}

/// Writes an event down.
fn tell(event: &Event) {
    match event {
        Event::Planned { experiment, stages, fresh, run, maybe, shared } => {
            info!(experiment, stages, fresh, run, maybe, shared, "planned")
        }
        Event::Fetching { what, files, bytes, missing } => info!(what, files, bytes, missing, "fetching"),
        Event::FetchProgress { what, done } => trace!(what, done, "fetch progress"),
        Event::Fetched { what, bytes, wall } => info!(what, bytes, wall, "fetched"),
        Event::Started { stage, kind, device, reasons, fingerprint } => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            info!(stage, kind, %device, key = %fingerprint, reasons = reasons.join("; "), "started")
        }
        Event::Progress { stage, done, total, unit } => trace!(stage, done, total, unit, "progress"),
        Event::Warning { stage, message: said } => warn!(stage, said, "warning"),
        Event::Retrying { stage, attempt, attempts, message: said, pause } => {
            warn!(stage, attempt, attempts, said, pause, "retrying")
        }
        Event::Finished { stage, wall, cpu, memory, device } => {
            info!(stage, wall, cpu, memory, %device, "finished")
        }
        Event::Fresh { stage } => debug!(stage, "fresh"),
        Event::Failed(failure) => {
            let (stage, said, log) = (&failure.stage, &failure.message, failure.log.display());
            error!(stage, said, %log, "failed")
        }
        Event::Skipped { stage, because } => warn!(stage, because, "skipped"),
        Event::Outlook { remaining } => debug!(remaining, "outlook"),
        Event::Stopping => warn!("stopping"),
        Event::Ended(summary) => info!(
            experiment = summary.experiment,
            ran = summary.ran,
            fresh = summary.fresh,
            cut_off = summary.cut_off,
            failed = summary.failed,
            skipped = summary.skipped,
            left = summary.left,
            interrupted = summary.interrupted,
            wall = summary.wall,
            cpu = summary.cpu,
            saved = summary.saved,
            "ended"
        ),
    }
}
