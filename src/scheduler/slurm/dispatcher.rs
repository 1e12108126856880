//! The one thread that talks to Slurm: takes what stages ask for, or adopts what an earlier process submitted
//! for them, and tells each stage what became of it. How it submits is in `submit.rs`, how it looks after what
//! was submitted in `watch.rs`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use super::batch::{Batch, Exit};
use super::site::Site;
use super::states::State;
use super::tools;
use crate::digest::Digest;
use crate::stage::{Call, Resources};

/// How often exit files are looked for.
const TICK: Duration = Duration::from_millis(250);
/// The queue is first looked at so soon after something happened.
pub(super) const FIRST_POLL: Duration = Duration::from_secs(1);
/// What nobody asks for is removed after this time.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// What stages tell the dispatcher.
pub(super) enum Message {
    /// Execute this.
    Ask(Box<Ask>),
    /// Cancel it.
    Cancel(Digest),
    /// Its outputs were taken.
    Taken(Digest),
    /// No more will come.
    End,
}

/// A stage that wants to be executed.
pub(super) struct Ask {
    pub fingerprint: Digest,
    pub name: String,
    /// How long it will take in seconds, going by earlier ones.
    pub expected: Option<f64>,
    pub call: Call,
    pub tell: Sender<Tell>,
}

/// What the dispatcher tells a stage.
pub(super) enum Tell {
    /// It is submitted: there it writes.
    Directory(PathBuf),
    Warning(String),
    /// It has come to its end.
    Ended(Exit),
    /// It has failed without a word of its own; what its job said.
    Failed(String, String),
    Cancelled,
}

/// A stage on its way.
pub(super) struct Wanted {
    pub ask: Ask,
    pub resources: Resources,
    pub since: Instant,
    /// How often it was submitted again, and how often of these after a preemption.
    pub again: u32,
    pub preempted: u32,
    pub cancelled: Option<Instant>,
}

/// A stage that was submitted.
pub(super) struct Active {
    pub wanted: Wanted,
    pub batch: String,
    pub line: usize,
    /// What was last known of its task, since when it is so.
    pub state: Option<State>,
    pub since: Instant,
    pub warned: bool,
    /// Whether an earlier process submitted it.
    pub adopted: bool,
    /// The exit file tells of a process that was killed: Slurm knows whether memory ran out.
    pub suspect: Option<(Exit, Instant)>,
}

pub(super) struct Dispatcher {
    pub(super) site: Site,
    pub(super) directory: PathBuf,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// The greatest number of tasks of an array.
    pub(super) most: usize,
    pub(super) batches: BTreeMap<String, Batch>,
    /// What earlier processes submitted: key → batch and line.
    pub(super) known: HashMap<Digest, (String, usize)>,
    pub(super) waiting: Vec<Wanted>,
    pub(super) active: BTreeMap<Digest, Active>,
    /// Submitted stages that are not needed any more by this process; when all of a batch are, it goes.
    pub(super) settled: HashMap<String, usize>,
    /// Nothing is submitted before.
    pub(super) next_submission: Instant,
    pub(super) next_poll: Instant,
    pub(super) pause: Duration,
    /// Whether accounting answered when it was last asked.
    pub(super) accounting_after: Instant,
}

impl Dispatcher {
    pub fn new(site: Site, directory: PathBuf, program: PathBuf, arguments: Vec<OsString>) -> Dispatcher {
        let most = tools::array_size().unwrap_or(1000).min(site.array.unwrap_or(usize::MAX));
        let now = Instant::now();
        let mut batches = BTreeMap::new();
        let mut known = HashMap::new();
        for batch in Batch::all(&directory) {
            for (number, line) in batch.manifest.lines.iter().enumerate() {
                // Of several the one that has come to an end well.
                let done = batch.exit(number).is_some_and(|exit| exit.failure.is_none());
                if done || !known.contains_key(&line.fingerprint) {
                    known.insert(line.fingerprint, (batch.name(), number));
                }
            }
            batches.insert(batch.name(), batch);
        }
        Dispatcher {
            site,
            directory,
            program,
            arguments,
            most,
            batches,
            known,
            waiting: Vec::new(),
            active: BTreeMap::new(),
            settled: HashMap::new(),
            next_submission: now,
            next_poll: now,
            pause: FIRST_POLL,
            accounting_after: now,
        }
    }

    /// Works until it is told to end, then removes what is not needed any more.
    pub fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let mut message = match messages.recv_timeout(TICK) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.tidy(),
            };
            let mut cancelled = Vec::new();
            while let Some(now) = message {
                match now {
                    Message::Ask(ask) => self.ask(*ask),
                    Message::Cancel(fingerprint) => cancelled.push(fingerprint),
                    Message::Taken(fingerprint) => self.settle(&fingerprint),
                    Message::End => return self.tidy(),
                }
                message = messages.try_recv().ok();
            }
            self.cancel(&cancelled);
            self.submit();
            self.look_at_exits();
            if !self.active.is_empty() && Instant::now() >= self.next_poll {
                self.poll();
            }
        }
    }

    /// Adopts what an earlier process submitted for this key, or puts it on the list.
    fn ask(&mut self, ask: Ask) {
        let resources = ask.call.execution.slurm.clone();
        let now = Instant::now();
        let wanted = Wanted { ask, resources, since: now, again: 0, preempted: 0, cancelled: None };
        let known = self.known.remove(&wanted.ask.fingerprint);
        let Some((name, line)) = known.filter(|(name, line)| self.usable(name, *line, &wanted.ask.call)) else {
            self.waiting.push(wanted);
            return;
        };
        let _ = wanted.ask.tell.send(Tell::Directory(self.batches[&name].line(line)));
        self.hurry();
        self.activate(wanted, name, line, true);
    }

    /// Whether it is worth while to wait for a line of an earlier process: it has ended well with all its
    /// outputs, or has not ended.
    fn usable(&self, name: &str, line: usize, call: &Call) -> bool {
        let Some(batch) = self.batches.get(name) else { return false };
        match batch.exit(line) {
            Some(exit) => {
                let there = |slot: &String| batch.outputs(line).join(slot).is_dir();
                exit.failure.is_none() && call.outputs.keys().all(there)
            }
            None => true,
        }
    }

    pub(super) fn activate(&mut self, wanted: Wanted, batch: String, line: usize, adopted: bool) {
        let (state, since) = (None, Instant::now());
        let active = Active { wanted, batch, line, state, since, warned: false, adopted, suspect: None };
        self.active.insert(active.wanted.ask.fingerprint, active);
    }

    /// Looks at the queue soon, and again soon after.
    pub(super) fn hurry(&mut self) {
        self.pause = FIRST_POLL.min(Duration::from_secs_f64(self.site.poll));
        self.next_poll = self.next_poll.min(Instant::now() + self.pause);
    }

    pub(super) fn ended(&mut self, fingerprint: &Digest, exit: Exit) {
        let Some(active) = self.active.remove(fingerprint) else { return };
        let name = active.batch.clone();
        let _ = active.wanted.ask.tell.send(Tell::Ended(exit));
        // Settled when it was taken.
        self.known.insert(*fingerprint, (name, active.line));
    }

    fn settle(&mut self, fingerprint: &Digest) {
        if let Some((name, _)) = self.known.remove(fingerprint) {
            *self.settled.entry(name).or_default() += 1;
        }
    }

    /// Nobody waits for this line any more.
    pub(super) fn drop_line(&mut self, fingerprint: &Digest) -> Option<Active> {
        let active = self.active.remove(fingerprint)?;
        *self.settled.entry(active.batch.clone()).or_default() += 1;
        Some(active)
    }

    fn cancel(&mut self, fingerprints: &[Digest]) {
        let now = Instant::now();
        self.waiting.retain(|wanted| {
            let cancelled = fingerprints.contains(&wanted.ask.fingerprint);
            if cancelled {
                let _ = wanted.ask.tell.send(Tell::Cancelled);
            }
            !cancelled
        });
        let mut tasks: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for fingerprint in fingerprints {
            let Some(active) = self.active.get_mut(fingerprint) else { continue };
            active.wanted.cancelled = Some(now);
            let task = self.batches[&active.batch].task(active.line);
            let tasks = tasks.entry(active.batch.clone()).or_default();
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        if tasks.is_empty() {
            return;
        }
        let tasks: Vec<(&Batch, Vec<usize>)> =
            tasks.into_iter().map(|(name, tasks)| (&self.batches[&name], tasks)).collect();
        if let Err(error) = tools::cancel(&tasks) {
            for active in self.active.values().filter(|active| active.wanted.cancelled == Some(now)) {
                let job = self.batches[&active.batch].job().unwrap_or_default();
                warn(&active.wanted, &format!("its job {job} could not be cancelled: {}", error.message));
            }
        }
        self.next_poll = now + FIRST_POLL;
        self.pause = FIRST_POLL;
    }

    /// Removes the batches of which everything was taken or given up, and old ones that nobody asks for.
    fn tidy(self) {
        for (name, batch) in &self.batches {
            let settled = self.settled.get(name).is_some_and(|number| *number >= batch.manifest.lines.len());
            let age = fs::metadata(batch.directory.join("manifest.json")).and_then(|metadata| metadata.modified());
            let age = age.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            let used = self.active.values().any(|active| active.batch == *name);
            if settled || (!used && age.is_some_and(|age| age > FORGOTTEN)) {
                let _ = fs::remove_dir_all(&batch.directory);
            }
        }
        let _ = fs::remove_dir(&self.directory);
    }
}

pub(super) fn warn(wanted: &Wanted, message: &str) {
    let _ = wanted.ask.tell.send(Tell::Warning(message.to_string()));
}

pub(super) fn fail(wanted: &Wanted, message: &str) {
    let _ = wanted.ask.tell.send(Tell::Failed(message.to_string(), String::new()));
}
