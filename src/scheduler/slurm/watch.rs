//! Watching what was submitted: exit files, the queue and accounting, and what follows for a stage whose job
//! has ended without its word.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::dispatcher::{Active, Dispatcher, FIRST_POLL, Tell, warn};
use super::site::Site;
use super::states::{Again, End, State, Verdict, judge, stuck};
use super::tools;
use crate::digest::Digest;
use crate::scheduler::memory::{KILLED, KILLED_BY_THE_SYSTEM};
use crate::stage::{Mebibytes, Minutes};

/// How long cancelled jobs may take to end: longer than Slurm gives them.
const FAREWELL: Duration = Duration::from_secs(45);
/// How often a preempted job is submitted again before it counts as a failure.
const PREEMPTIONS: u32 = 100;
/// How long the job of an earlier process may be in no list: it has had the time before.
const ADOPTED: Duration = Duration::from_secs(10);
/// How long accounting that does not answer is left alone.
const SWITCHED_OFF: Duration = Duration::from_secs(300);

impl Dispatcher {
    /// Lists the exit files of every batch that somebody waits for.
    pub(super) fn look_at_exits(&mut self) {
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
            let killed = exit.failure.as_ref().is_some_and(|failure| failure.starts_with(KILLED));
            let Some(active) = self.active.get_mut(&fingerprint) else { continue };
            if killed && active.wanted.cancelled.is_none() && active.wanted.resources.memory.is_some() {
                active.suspect = Some((exit, Instant::now()));
            } else {
                self.ended(&fingerprint, exit);
            }
        }
    }

    /// Asks Slurm about all stages that have left no exit file.
    pub(super) fn poll(&mut self) {
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
            Err(_) => self.accounting_after = Instant::now() + SWITCHED_OFF,
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
}

/// What is to be done about a stage that waits.
fn verdict(active: &Active, site: &Site) -> Verdict {
    let grace = Duration::from_secs_f64(site.grace);
    let Some((exit, since)) = &active.suspect else {
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
    // The kernel of the node may have said it already.
    if exit.failure.as_ref().is_some_and(|failure| failure.starts_with(KILLED_BY_THE_SYSTEM)) {
        return Verdict::Again(Again::OutOfMemory);
    }
    match &active.state {
        Some(State::Ended(End::OutOfMemory)) => Verdict::Again(Again::OutOfMemory),
        Some(State::Alive { .. }) if since.elapsed() < grace => Verdict::Wait,
        _ => Verdict::Failed(String::new()),
    }
}
