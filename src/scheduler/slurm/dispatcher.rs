//! The one thread that talks to Slurm: gathers what is to be submitted, submits it at the pace that the
//! site allows, looks at exit files and at the queue, and tells each stage what became of it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use super::batch::{Batch, Exit, Line};
use super::script::{Submission, chunks, script};
use super::site::Site;
use super::states::{Again, State, Verdict, judge, stuck};
use super::tools;
use crate::digest::Digest;
use crate::stage::{Call, Mebibytes, Minutes, Resources};

/// How often exit files are looked for.
const TICK: Duration = Duration::from_millis(250);
/// What becomes ready within this time is submitted together.
const GATHER: Duration = Duration::from_millis(500);
/// The queue is first looked at so soon after something happened.
const FIRST_POLL: Duration = Duration::from_secs(1);
/// How long a busy controller is left alone.
const PAUSE: Duration = Duration::from_secs(15);
/// How long cancelled jobs may take to end: longer than Slurm gives them.
const FAREWELL: Duration = Duration::from_secs(45);
/// What nobody asks for is removed after this time.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a preempted job is submitted again before it counts as a failure.
const PREEMPTIONS: u32 = 100;
/// How long the job of an earlier process may be in no list: it has had the time before.
const ADOPTED: Duration = Duration::from_secs(10);

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
struct Wanted {
    ask: Ask,
    resources: Resources,
    since: Instant,
    /// How often it was submitted again, and how often of these after a preemption.
    again: u32,
    preempted: u32,
    cancelled: Option<Instant>,
}

/// A stage that was submitted.
struct Active {
    wanted: Wanted,
    batch: String,
    line: usize,
    /// What was last known of its task, since when it is so.
    state: Option<State>,
    since: Instant,
    warned: bool,
    /// Whether an earlier process submitted it.
    adopted: bool,
    /// The exit file tells of a process that was killed: Slurm knows whether memory ran out.
    suspect: Option<(Exit, Instant)>,
}

pub(super) struct Dispatcher {
    site: Site,
    directory: PathBuf,
    program: PathBuf,
    arguments: Vec<OsString>,
    /// The greatest number of tasks of an array.
    most: usize,
    batches: BTreeMap<String, Batch>,
    /// What earlier processes submitted: key → batch and line.
    known: HashMap<Digest, (String, usize)>,
    waiting: Vec<Wanted>,
    active: BTreeMap<Digest, Active>,
    /// Submitted stages that are not needed any more by this process; when all of a batch are, it goes.
    settled: HashMap<String, usize>,
    /// Nothing is submitted before.
    next_submission: Instant,
    next_poll: Instant,
    pause: Duration,
    /// Whether accounting answered when it was last asked.
    accounting_after: Instant,
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

    fn activate(&mut self, wanted: Wanted, batch: String, line: usize, adopted: bool) {
        let (state, since) = (None, Instant::now());
        let active = Active { wanted, batch, line, state, since, warned: false, adopted, suspect: None };
        self.active.insert(active.wanted.ask.fingerprint, active);
    }

    /// Looks at the queue soon, and again soon after.
    fn hurry(&mut self) {
        self.pause = FIRST_POLL.min(Duration::from_secs_f64(self.site.poll));
        self.next_poll = self.next_poll.min(Instant::now() + self.pause);
    }

    /// Submits one array, if the pace of the site allows it: stages that ask for the same as the one that
    /// waits longest.
    fn submit(&mut self) {
        let now = Instant::now();
        let Some(first) = self.waiting.first() else { return };
        if now < self.next_submission || now < first.since + GATHER {
            return;
        }
        let resources = first.resources.clone();
        let bundle = resources.bundle.unwrap_or(1).max(1) as usize;
        let equal = self.waiting.iter().filter(|wanted| wanted.resources == resources).count();
        let number = chunks(equal, bundle, self.most).first().copied().unwrap_or(0);
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        for wanted in self.waiting.drain(..) {
            match wanted.resources == resources && chosen.len() < number {
                true => chosen.push(wanted),
                false => rest.push(wanted),
            }
        }
        self.waiting = rest;
        self.next_submission = now + Duration::from_secs_f64(60.0 / self.site.submissions_per_minute);
        let line = |wanted: &Wanted| Line { fingerprint: wanted.ask.fingerprint, name: wanted.ask.name.clone() };
        let stages: Vec<(Line, &Call)> = chosen.iter().map(|wanted| (line(wanted), &wanted.ask.call)).collect();
        let batch = match Batch::create(&self.directory, bundle, &stages) {
            Ok(batch) => batch,
            Err(error) => {
                let message = format!("cannot write to `{}`: {error}", self.directory.display());
                chosen.iter().for_each(|wanted| fail(wanted, &message));
                return;
            }
        };
        match self.sbatch(&batch, &resources, &chosen) {
            // A controller that did not answer may have taken it: the queue will tell by the batch's name.
            Ok(()) => {}
            Err(error) if error.passing => {
                let message = format!("{}; it is submitted again later", error.message);
                chosen.iter().for_each(|wanted| warn(wanted, &message));
                self.next_submission =
                    now + PAUSE.max(Duration::from_secs_f64(60.0 / self.site.submissions_per_minute));
                if !tools::queue().is_ok_and(|tasks| tasks.iter().any(|task| task.name == batch.name())) {
                    // Should it turn up after all, nobody needs its result: it is cancelled by its name.
                    let tasks: Vec<usize> = (0..batch.tasks()).collect();
                    let _ = tools::cancel(&[(&batch, tasks)]);
                    let _ = fs::remove_dir_all(&batch.directory);
                    self.waiting.splice(0..0, chosen);
                    return;
                }
            }
            Err(error) => {
                chosen.iter().for_each(|wanted| fail(wanted, &error.message));
                let _ = fs::remove_dir_all(&batch.directory);
                return;
            }
        }
        let name = batch.name();
        for (number, wanted) in chosen.into_iter().enumerate() {
            let _ = wanted.ask.tell.send(Tell::Directory(batch.line(number)));
            self.activate(wanted, name.clone(), number, false);
        }
        self.batches.insert(name, batch);
        self.hurry();
    }

    fn sbatch(&self, batch: &Batch, resources: &Resources, stages: &[Wanted]) -> Result<(), tools::ToolError> {
        let kind = &stages[0].ask.call.kind;
        let comment = match stages.iter().all(|wanted| wanted.ask.call.kind == *kind) {
            true => kind.clone(),
            false => "stages".to_string(),
        };
        let submission = Submission {
            name: &batch.name(),
            comment: &comment,
            directory: &batch.directory,
            tasks: batch.tasks(),
            running: self.site.running,
            resources,
            export: &self.site.export,
        };
        let prelude = self.site.prelude.as_deref();
        let script = script(&self.program, &self.arguments, &batch.directory, prelude);
        let id = tools::submit(submission.arguments(), &script)?;
        // Should it be lost, the queue has it by the batch's name.
        let _ = batch.set_job(&id);
        Ok(())
    }

    /// Lists the exit files of every batch that somebody waits for.
    fn look_at_exits(&mut self) {
        let mut by_batch: BTreeMap<&str, Vec<(usize, Digest)>> = BTreeMap::new();
        for (fingerprint, active) in self.active.iter().filter(|(_, active)| active.suspect.is_none()) {
            by_batch.entry(&active.batch).or_default().push((active.line, *fingerprint));
        }
        let mut ended = Vec::new();
        for (name, lines) in by_batch {
            let batch = &self.batches[name];
            let exited = batch.exited();
            let exit = |(line, fingerprint): &(usize, Digest)| {
                exited.contains(line).then(|| batch.exit(*line).map(|exit| (*fingerprint, exit)))?
            };
            ended.extend(lines.iter().filter_map(exit));
        }
        for (fingerprint, exit) in ended {
            self.hurry();
            let killed = exit.failure.as_ref().is_some_and(|failure| failure.contains("killed"));
            let Some(active) = self.active.get_mut(&fingerprint) else { continue };
            if killed && active.wanted.cancelled.is_none() && active.wanted.resources.memory.is_some() {
                active.suspect = Some((exit, Instant::now()));
            } else {
                self.ended(&fingerprint, exit);
            }
        }
    }

    fn ended(&mut self, fingerprint: &Digest, exit: Exit) {
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

    /// Asks Slurm about all stages that have left no exit file.
    fn poll(&mut self) {
        self.next_poll = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(Duration::from_secs_f64(self.site.poll));
        // As long as the controller does not answer, nothing is known, and nobody is given up.
        let Ok(tasks) = tools::queue() else { return };
        let mut states: HashMap<(String, usize), State> = HashMap::new();
        for task in tasks {
            let Some(batch) = self.batches.get(&task.name) else { continue };
            if batch.job().is_none() {
                let _ = batch.set_job(&task.job);
            }
            states.insert((task.name, task.index), task.state);
        }
        self.ask_accounting(&mut states);
        let now = Instant::now();
        let mut verdicts = Vec::new();
        for (fingerprint, active) in &mut self.active {
            let batch = &self.batches[&active.batch];
            let state = states.get(&(active.batch.clone(), batch.task(active.line))).cloned();
            let reason = match &state {
                Some(State::Alive { reason, .. }) if !active.warned && stuck(reason) => Some(reason),
                _ => None,
            };
            if let Some(reason) = reason {
                active.warned = true;
                let job = batch.job().unwrap_or_default();
                warn(&active.wanted, &format!("its job {job} does not start: Slurm says {reason}"));
            }
            if state != active.state {
                (active.state, active.since) = (state, now);
                self.pause = FIRST_POLL.min(self.pause);
            }
            verdicts.push((*fingerprint, verdict(active, &self.site)));
        }
        for (fingerprint, verdict) in verdicts {
            self.judged(&fingerprint, verdict);
        }
    }

    /// Completes what the queue says by what accounting says of the rest, where there is accounting.
    fn ask_accounting(&mut self, states: &mut HashMap<(String, usize), State>) {
        let absent = |active: &&Active| {
            let task = self.batches[&active.batch].task(active.line);
            !states.contains_key(&(active.batch.clone(), task))
        };
        let mut jobs: HashMap<String, String> = HashMap::new();
        for active in self.active.values().filter(absent) {
            if let Some(job) = self.batches[&active.batch].job() {
                jobs.insert(job, active.batch.clone());
            }
        }
        if jobs.is_empty() || Instant::now() < self.accounting_after {
            return;
        }
        match tools::accounting(&jobs.keys().cloned().collect::<Vec<_>>()) {
            Ok(tasks) => {
                for task in tasks {
                    if let Some(name) = jobs.get(&task.job) {
                        states.entry((name.clone(), task.index)).or_insert(task.state);
                    }
                }
            }
            // Switched off, or away for a while.
            Err(_) => self.accounting_after = Instant::now() + Duration::from_secs(300),
        }
    }

    fn judged(&mut self, fingerprint: &Digest, verdict: Verdict) {
        let Some(active) = self.active.get(fingerprint) else { return };
        let over = !matches!(active.state, Some(State::Alive { .. }));
        if let Some(since) = active.wanted.cancelled {
            // Seen to its end, or for long enough.
            if (over && since.elapsed() > FIRST_POLL) || since.elapsed() > FAREWELL {
                let _ = active.wanted.ask.tell.send(Tell::Cancelled);
                self.drop_line(fingerprint);
            }
            return;
        }
        match verdict {
            Verdict::Wait => {}
            Verdict::Failed(message) => {
                let batch = &self.batches[&active.batch];
                let job = batch.job().map_or(String::new(), |job| format!(" (Slurm job {job})"));
                let said = batch.said(batch.task(active.line));
                let _ = active.wanted.ask.tell.send(match &active.suspect {
                    Some((exit, _)) => Tell::Ended(exit.clone()),
                    None => Tell::Failed(format!("{message}{job}"), said),
                });
                self.drop_line(fingerprint);
            }
            Verdict::Again(why) => self.again(fingerprint, why),
        }
    }

    /// Submits a stage again, with more of what was too little, or gives it up.
    fn again(&mut self, fingerprint: &Digest, why: Again) {
        let Some(active) = self.drop_line(fingerprint) else { return };
        let batch = &self.batches[&active.batch];
        let job = batch.job().unwrap_or_else(|| batch.name());
        let mut wanted = active.wanted;
        let resources = &mut wanted.resources;
        let (limit, more) = match why {
            Again::TimeLimit => (resources.time.map(|time| time.to_string()), "time: 8 h"),
            Again::OutOfMemory => (resources.memory.map(|memory| memory.to_string()), "memory: 64G"),
            Again::Lost | Again::NodeFailure | Again::Preempted => (None, ""),
        };
        let spent = match why {
            Again::Preempted => wanted.preempted >= PREEMPTIONS,
            Again::TimeLimit | Again::OutOfMemory => wanted.again >= self.site.retries || limit.is_none(),
            Again::Lost | Again::NodeFailure => wanted.again >= self.site.retries,
        };
        let limit = limit.map_or(String::new(), |limit| format!(" ({limit})"));
        let message = format!("its job {job} {}{limit}", why.says());
        if spent {
            let hint = match more {
                "" => String::new(),
                more => format!("; give it more, as in `execution: {{slurm: {{{more}}}}}`, or in the site file"),
            };
            let message = format!("{message}{hint}");
            let _ = wanted.ask.tell.send(Tell::Failed(message, batch.said(batch.task(active.line))));
            return;
        }
        match why {
            Again::Preempted => wanted.preempted += 1,
            _ => wanted.again += 1,
        }
        match why {
            Again::TimeLimit => resources.time = resources.time.map(|time| Minutes(time.0.saturating_mul(2))),
            Again::OutOfMemory => resources.memory = resources.memory.map(|size| Mebibytes(size.0.saturating_mul(2))),
            Again::Lost | Again::NodeFailure | Again::Preempted => {}
        }
        let with = match why {
            Again::TimeLimit | Again::OutOfMemory => " with twice as much",
            Again::Lost | Again::NodeFailure | Again::Preempted => "",
        };
        warn(&wanted, &format!("{message}; it is submitted again{with}"));
        if why == Again::Lost {
            // Whatever it is, it must not run beside the new one.
            let _ = tools::cancel(&[(batch, vec![batch.task(active.line)])]);
        }
        wanted.since = Instant::now();
        self.waiting.push(wanted);
    }

    /// Nobody waits for this line any more.
    fn drop_line(&mut self, fingerprint: &Digest) -> Option<Active> {
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

/// What is to be done about a stage that waits.
fn verdict(active: &Active, site: &Site) -> Verdict {
    let grace = Duration::from_secs_f64(site.grace);
    let Some((_, since)) = &active.suspect else {
        // Slurm's own word for a limit that was reached needs no second look.
        let grace = match &active.state {
            Some(State::Ended(end)) if end.is_final() => grace.min(Duration::from_secs(5)),
            _ if active.adopted => grace.min(ADOPTED),
            _ => grace,
        };
        return match judge(active.state.as_ref(), active.since.elapsed(), grace) {
            // That was before this run.
            Verdict::Failed(_) if active.adopted => Verdict::Again(Again::Lost),
            verdict => verdict,
        };
    };
    match &active.state {
        Some(State::Ended(super::states::End::OutOfMemory)) => Verdict::Again(Again::OutOfMemory),
        Some(State::Alive { .. }) if since.elapsed() < grace => Verdict::Wait,
        _ => Verdict::Failed(String::new()),
    }
}

fn warn(wanted: &Wanted, message: &str) {
    let _ = wanted.ask.tell.send(Tell::Warning(message.to_string()));
}

fn fail(wanted: &Wanted, message: &str) {
    let _ = wanted.ask.tell.send(Tell::Failed(message.to_string(), String::new()));
}
