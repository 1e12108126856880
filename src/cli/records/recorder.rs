//! Writes the record of the run of this process, and its timeline where one is asked for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use super::board::Board;
use super::events::tell;
use super::state::State;
use crate::cli::failure::{Exit, Failure};
use crate::cli::trace::Trace;
use crate::console;
use crate::digest::Digest;
use crate::plan::Plan;
use crate::scheduler::{Event, Outcome};
use crate::text::now;

/// The variable that says from which level on events are written down.
const LEVEL: &str = "RUNNER_LOG";
/// Experiment → its stages that are done, each with the key of its result.
type Results = BTreeMap<String, Vec<(String, Digest)>>;

/// Writes the record of the run of this process.
pub struct Recorder {
    /// The folder of the run.
    directory: PathBuf,
    level: LevelFilter,
    /// Whether the run has a name, so that it leaves a record even if nothing is to be done.
    named: bool,
    board: Board,
    begun: Option<Begun>,
    results: Results,
    trace: Option<(PathBuf, Trace)>,
}

/// A record that is being written.
struct Begun {
    writer: Option<JoinHandle<()>>,
    _lock: Option<File>,
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
        let state = State::begin(name);
        Ok(Recorder {
            directory: work.join("runs").join(&state.id),
            level,
            named: name.is_some(),
            board: Board::new(state),
            begun: None,
            results: Results::new(),
            trace: trace.map(|path| (path.to_path_buf(), Trace::default())),
        })
    }

    /// Takes note of an event.
    pub fn event(&mut self, event: &Event) {
        if self.begun.is_none() && (self.named || is_work(event)) {
            self.begun = Some(begin(&self.directory, self.level, &self.board).unwrap_or_else(|error| {
                unwritten(&self.directory, &error);
                Begun { writer: None, _lock: None }
            }));
        }
        tell(event);
        if let Some((_, trace)) = &mut self.trace {
            trace.event(event, now());
        }
        self.board.change(|state| state.note(event));
    }

    /// Takes note of what an experiment came to.
    pub fn results(&mut self, plan: &Plan, outcome: &Outcome) {
        let done = plan.order().filter_map(|stage| Some((stage, outcome.fingerprint(stage)?)));
        let named = done.flat_map(|(stage, key)| plan[stage].names.iter().map(move |name| (name.clone(), key)));
        self.results.entry(plan.experiment.clone()).or_default().extend(named);
    }

    /// Ends the record. The timeline is an error if it cannot be written: it was asked for.
    pub fn end(mut self, exit: Exit) -> Result<(), Failure> {
        self.board.end(exit);
        if let Some(writer) = self.begun.as_mut().and_then(|begun| begun.writer.take()) {
            let keyed = |stages: &Vec<(String, Digest)>| stages.iter().cloned().collect::<BTreeMap<_, _>>();
            let results: BTreeMap<_, _> = self.results.iter().map(|(name, stages)| (name, keyed(stages))).collect();
            if let Err(error) = replace(&self.directory.join("results.json"), &results) {
                unwritten(&self.directory, &error);
            }
            // A writer that panicked has said so.
            let _ = writer.join();
        }
        if let Some((path, trace)) = &self.trace {
            let written = replace(path, &trace.json(now()));
            written.with_context(|| format!("cannot write the trace `{}`", path.display()))?;
            console::note(&format!("trace written to `{}`; ui.perfetto.dev shows it", path.display()));
        }
        Ok(())
    }
}

/// A run is not given up because its record cannot be written.
fn unwritten(directory: &Path, error: &io::Error) {
    console::note(&format!("warning: cannot write the record of this run to `{}`: {error}", directory.display()));
}

/// Whether an event says that something is to be done.
fn is_work(event: &Event) -> bool {
    match event {
        Event::Planned { run, maybe, .. } => run + maybe > 0,
        Event::Fetching { .. } => true,
        _ => false,
    }
}

/// Makes the folder of a run, with its state and all events from now on written to files in it.
fn begin(directory: &Path, level: LevelFilter, board: &Board) -> io::Result<Begun> {
    fs::create_dir_all(directory)?;
    let lock = File::create(directory.join("lock"))?;
    // Where there are no locks, `status` goes by the process.
    let _ = lock.lock();
    if level != LevelFilter::OFF {
        let events = Mutex::new(File::options().create(true).append(true).open(directory.join("events.jsonl"))?);
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_span_list(false);
        let subscriber = lines.with_max_level(level).with_writer(events).finish();
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    }
    let (board, directory) = (board.clone(), directory.to_path_buf());
    let writer = thread::Builder::new().name("record".to_string()).spawn(move || {
        board.write_down(|state| replace(&directory.join("state.json"), state)).unwrap_or_else(|error| {
            unwritten(&directory, &error);
        });
    })?;
    Ok(Begun { writer: Some(writer), _lock: Some(lock) })
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
