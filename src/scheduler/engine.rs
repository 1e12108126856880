//! The loop that runs a plan.
//!
//! 1. Every stage whose producers are done is looked up: it is done too, or awaits an equal one that
//!    runs, or must run.
//! 2. Of those that must run, as many are started as there are free slots and places on devices for,
//!    the head of the longest chain first.
//! 3. If none runs now, here or in another process, the run is over. Otherwise the loop waits for news
//!    (`news.rs`), and goes on at 1.
//!
//! The result of a stage that has ended is brought to the disk and recorded with those of others that
//! ended meanwhile (`commit.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::commit;
use super::costs::Costs;
use super::event::{Event, StageFailure, Summary, Taken};
use super::examine::{Examination, Examined, Verdict, reasons};
use super::executor::Executor;
use super::log;
use super::origin;
use super::run::Options;
use super::shards::Shards;
use super::state::{State, States};
use super::threads::Threads;
use super::worker::Work;
use crate::cache::{Cache, CacheError, Claim, Lookup, Origin, Outputs, Owner, Recorded};
use crate::devices::Device;
use crate::digest::Digest;
use crate::fingerprint::{DirtyReason, Key};
use crate::plan::{Plan, Source, StageIndex};
use crate::stage::{Call, Task};

/// How often the time that is left is estimated.
const OUTLOOK: Duration = Duration::from_secs(1);
/// More stages that are ready are a crowd.
const CROWD: usize = 16;
/// So many stages of a crowd are claimed together.
const AT_ONCE: usize = 32;
/// Only those are that will take less, in seconds.
const SOON: f64 = 0.1;
/// What was claimed and is not started for so long is given up.
const IDLE: Duration = Duration::from_secs(1);
/// How often the loop looks for results of other processes, at most.
const GLANCE: Duration = Duration::from_millis(100);

/// A stage that runs.
pub(super) struct Running {
    pub share: Share,
    pub since: Instant,
    pub log: PathBuf,
    /// The share of its work that is done, by its own account.
    pub done: f64,
    /// That it runs, where this is told only when its result is not in the remote.
    pub unsaid: Option<Event>,
    /// Bytes of its result that come from the remote, and those that are here.
    pub fetching: u64,
    pub fetched: u64,
}

/// What a stage takes of the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Processor slots.
    pub slots: usize,
    /// What it computes on: a place there.
    pub device: Device,
}

impl Share {
    /// The first of these stages that fits beside what is taken, and what it takes.
    pub fn first(
        plan: &Plan,
        stages: impl IntoIterator<Item = StageIndex>,
        taken: impl Iterator<Item = Share> + Clone,
        options: &Options,
    ) -> Option<(StageIndex, Share)> {
        let jobs = options.jobs.max(1);
        let slots = taken.clone().map(|share| share.slots).sum::<usize>();
        let left = jobs.checked_sub(slots).filter(|left| *left > 0)?;
        let load = |device: Device| taken.clone().filter(|share| share.device == device).count();
        stages.into_iter().find_map(|stage| {
            let planned = &plan[stage];
            let slots = if options.elsewhere { 1 } else { planned.execution.threads.clamp(1, jobs) };
            let device = options.devices.place(planned, load)?;
            (slots <= left).then_some((stage, Share { slots, device }))
        })
    }
}

/// A run in progress.
pub(super) struct Engine<'a> {
    pub plan: &'a Plan,
    pub cache: &'a mut Cache,
    pub options: &'a Options,
    pub events: &'a mut dyn FnMut(Event),
    pub examination: Examination,
    pub shards: Shards,
    pub costs: Costs,
    pub states: States,
    /// Stages to look at: in the order of the plan, so producers are settled first.
    pub unsettled: BTreeSet<StageIndex>,
    pub running: BTreeMap<StageIndex, Running>,
    pub failures: Vec<StageFailure>,
    /// How long the stages took that ran, in seconds.
    pub walls: BTreeMap<StageIndex, f64>,
    /// Stages whose result came from the remote.
    pub pulled: BTreeSet<StageIndex>,
    /// Asked for when the first stage runs.
    pub origin: Option<Origin>,
    pub stopping: bool,
    /// Keys that were claimed together with others, and whose stages are to start at once.
    claims: HashMap<Digest, Claim>,
    /// When a stage was last started.
    started: Instant,
}

impl<'a> Engine<'a> {
    /// What the examination found fresh is done, all other stages are to be looked at.
    pub fn new(
        plan: &'a Plan,
        cache: &'a mut Cache,
        options: &'a Options,
        events: &'a mut dyn FnMut(Event),
        examination: Examination,
        shards: Shards,
    ) -> Result<Engine<'a>, CacheError> {
        let durations = if examination.counts().0 == plan.len() { Vec::new() } else { cache.durations()? };
        let mut engine = Engine {
            plan,
            cache,
            options,
            events,
            examination,
            shards,
            costs: Costs::new(durations),
            states: States::new(plan),
            unsettled: BTreeSet::new(),
            running: BTreeMap::new(),
            failures: Vec::new(),
            walls: BTreeMap::new(),
            pulled: BTreeSet::new(),
            origin: None,
            stopping: false,
            claims: HashMap::new(),
            started: Instant::now(),
        };
        for stage in plan.order() {
            let Examined { verdict, fingerprint, outputs } = &engine.examination[stage];
            if *verdict == Verdict::Fresh {
                let (fingerprint, outputs) = (*fingerprint, outputs.clone());
                engine.states.set(stage, State::Done { fingerprint, outputs, ran: false });
            } else {
                engine.unsettled.insert(stage);
            }
        }
        engine.shards.estimate(plan, &mut engine.costs);
        engine.rank();
        Ok(engine)
    }

    /// Puts the stages that are left in order.
    pub fn rank(&mut self) {
        let done = |stage| matches!(self.states[stage], State::Done { .. });
        let ranks = self.costs.ranks(self.plan, done);
        self.states.rank(ranks);
    }
}

impl Engine<'_> {
    /// Runs until nothing runs and nothing can be started.
    pub fn drive<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        executor: &'scope dyn Executor,
        interrupt: &AtomicBool,
        stop: &'scope AtomicBool,
    ) -> Result<(), CacheError> {
        let (sender, receiver) = channel();
        let committer = commit::start(scope, sender.clone());
        let mut threads = Threads::new(scope, executor, stop, sender);
        let mut outlook = Instant::now();
        let mut glance = Instant::now();
        loop {
            while let Some(stage) = self.unsettled.pop_first() {
                self.settle(stage)?;
            }
            if interrupt.load(Ordering::Relaxed) && !self.stopping {
                self.stopping = true;
                stop.store(true, Ordering::Relaxed);
                (self.events)(Event::Stopping);
            }
            while let Some((stage, share)) = self.next() {
                if let Some(miss) = self.prepare(stage)? {
                    self.start((stage, share), miss, &mut threads)?;
                }
            }
            if !self.unsettled.is_empty() {
                continue;
            }
            if !self.claims.is_empty() && (self.is_ending() || self.started.elapsed() > IDLE) {
                self.give_up_claims()?;
            }
            if self.states.running() == 0 && (self.states.elsewhere().is_empty() || self.is_ending()) {
                return Ok(());
            }
            self.listen(&receiver, &committer)?;
            if !self.states.elsewhere().is_empty() && Instant::now() >= glance {
                let since = Instant::now();
                self.look_elsewhere()?;
                glance = Instant::now() + GLANCE.max(10 * since.elapsed());
            }
            if outlook.elapsed() >= OUTLOOK {
                outlook = Instant::now();
                self.look_ahead();
            }
        }
    }

    /// Looks at a stage that is not running: finds out whether it is done, must run or cannot.
    fn settle(&mut self, stage: StageIndex) -> Result<(), CacheError> {
        if !matches!(self.states[stage], State::Waiting | State::Awaiting(_) | State::Elsewhere(_)) {
            return Ok(());
        }
        let mut inputs = Vec::new();
        let plan = self.plan;
        let asks = self.asks(stage);
        for (slot, source) in plan[stage].inputs.iter() {
            let digest = match source {
                Source::External(external) => external.digest,
                Source::Stage(output) if asks && self.shards.of(output.stage) == Some(stage) => continue,
                Source::Stage(output) => match &self.states[output.stage] {
                    State::Done { .. } if self.shards.of(output.stage) == Some(stage) => continue,
                    State::Done { outputs, .. } => outputs[&output.slot],
                    State::Failed => return self.skip(stage, output.stage),
                    State::Skipped(because) => return self.skip(stage, *because),
                    _ => return Ok(()),
                },
            };
            inputs.push((slot, digest));
        }
        let key = self.key(stage, &inputs);
        if let Some(whole) = self.shards.of(stage)
            && (self.is_needless(stage, key.fingerprint)? || self.asks(whole))
        {
            return Ok(());
        }
        if let Recorded::Present(outputs) = self.cache.recorded(&key.fingerprint)? {
            self.cache.check(outputs.values().copied())?;
        }
        if let Recorded::Present(outputs) = self.cache.recorded(&key.fingerprint)? {
            self.finish(stage, key.fingerprint, outputs, false);
        } else if self.states.runs(&key.fingerprint) {
            self.states.set(stage, State::Awaiting(key.fingerprint));
        } else if !asks && self.shards.is_split(stage) && self.needs_shards(stage) {
            self.states.set(stage, State::Waiting);
        } else {
            self.states.set(stage, State::Ready(key));
        }
        Ok(())
    }

    /// A stage whose shard failed failed too, which was told then.
    fn skip(&mut self, stage: StageIndex, because: StageIndex) -> Result<(), CacheError> {
        if self.shards.of(because) == Some(stage) {
            self.states.set(stage, State::Failed);
        } else {
            self.states.set(stage, State::Skipped(because));
            if !self.shards.is_shard(stage) {
                let because = self.plan[because].name().to_string();
                (self.events)(Event::Skipped { stage: self.plan[stage].name().to_string(), because });
            }
        }
        self.unsettled.extend(self.plan.consumers(stage));
        Ok(())
    }

    /// Takes the result of a stage, and looks at the stages that read it.
    pub fn finish(&mut self, stage: StageIndex, fingerprint: Digest, outputs: Outputs, ran: bool) {
        if !ran && self.examination[stage].verdict != Verdict::Fresh && !self.shards.is_shard(stage) {
            (self.events)(Event::Fresh { stage: self.plan[stage].name().to_string() });
        }
        self.states.set(stage, State::Done { fingerprint, outputs, ran });
        self.unsettled.extend(self.plan.consumers(stage));
        self.unsettled.extend(self.shards.shards(stage));
    }

    /// Whether nothing more is started.
    fn is_ending(&self) -> bool {
        self.stopping || (!self.failures.is_empty() && !self.options.keep_going)
    }

    /// The ready stage to start now, with what it takes: the head of the longest chain that fits.
    fn next(&self) -> Option<(StageIndex, Share)> {
        if self.is_ending() {
            return None;
        }
        let taken = self.running.values().map(|running| running.share);
        Share::first(self.plan, self.states.ready(), taken, self.options)
    }

    /// Looks at the stages that other processes run: those that nobody runs any more are done, or to be
    /// run here.
    fn look_elsewhere(&mut self) -> Result<(), CacheError> {
        let stages: Vec<StageIndex> = self.states.elsewhere().iter().copied().collect();
        for stage in stages {
            let State::Elsewhere(fingerprint) = self.states[stage] else { continue };
            if self.cache.holder(&fingerprint)?.is_none() {
                self.unsettled.insert(stage);
            }
        }
        Ok(())
    }

    /// Takes the right to write the result of a ready stage. `None` if its result is there after all,
    /// or an equal stage runs.
    fn prepare(&mut self, stage: StageIndex) -> Result<Option<(Key, Claim)>, CacheError> {
        let State::Ready(key) = &self.states[stage] else { unreachable!("only ready stages are prepared") };
        let key = key.clone();
        if self.states.runs(&key.fingerprint) {
            self.states.set(stage, State::Awaiting(key.fingerprint));
            return Ok(None);
        }
        if let Some(claim) = self.claims.remove(&key.fingerprint) {
            return Ok(Some((key, claim)));
        }
        let mut stages = self.with_next(stage);
        let wanted = |stage: &StageIndex| match &self.states[*stage] {
            State::Ready(key) => (key, &self.plan[*stage].outputs),
            _ => unreachable!("only ready stages are prepared"),
        };
        let wanted: Vec<_> = stages.iter().map(wanted).collect();
        let mut found = self.cache.lookup_all(&wanted)?;
        let others = found.split_off(1).into_iter().zip(stages.split_off(1));
        // The others are looked up again, when it is their turn, if they are not to be made here.
        for (lookup, other) in others {
            if let (Lookup::Miss(claim), State::Ready(key)) = (lookup, &self.states[other]) {
                self.claims.insert(key.fingerprint, claim);
            }
        }
        match found.pop().expect("BUG: nothing was found out about a key") {
            Lookup::Miss(claim) => Ok(Some((key, claim))),
            Lookup::Hit(outputs) => {
                self.finish(stage, key.fingerprint, outputs, false);
                Ok(None)
            }
            Lookup::Taken(Owner { host, process, .. }) => {
                (self.events)(Event::Elsewhere { stage: self.plan[stage].name().to_string(), host, process });
                self.states.set(stage, State::Elsewhere(key.fingerprint));
                Ok(None)
            }
        }
    }

    /// Whether so many stages are ready that those that end soon need not wait for one another.
    pub fn is_crowded(&self) -> bool {
        self.states.ready().nth(CROWD).is_some()
    }

    /// A ready stage, and where a crowd of short ones waits those that start next: a claim of many takes
    /// little longer than of one. No two have the same key.
    fn with_next(&self, stage: StageIndex) -> Vec<StageIndex> {
        if !self.is_crowded() {
            return vec![stage];
        }
        let is_short = |stage: &StageIndex| self.costs.expected(&self.plan[*stage]).is_some_and(|wall| wall < SOON);
        let mut keys = HashSet::new();
        let mut is_new = |stage: &StageIndex| match &self.states[*stage] {
            State::Ready(key) => {
                let key = &key.fingerprint;
                !self.states.runs(key) && !self.claims.contains_key(key) && keys.insert(*key)
            }
            _ => false,
        };
        is_new(&stage);
        let next = self.states.ready().take(AT_ONCE).filter(|next| *next != stage && is_short(next));
        let next: Vec<StageIndex> = next.filter(|next| is_new(next)).collect();
        std::iter::once(stage).chain(next).collect()
    }

    /// Gives up what is claimed and not started: others may start it.
    pub fn give_up_claims(&mut self) -> Result<(), CacheError> {
        let claimed: Vec<Digest> = self.claims.drain().map(|(fingerprint, _)| fingerprint).collect();
        if claimed.is_empty() { Ok(()) } else { self.cache.release(&claimed) }
    }

    /// Runs a stage in another thread.
    fn start(
        &mut self,
        (stage, share): (StageIndex, Share),
        (key, claim): (Key, Claim),
        threads: &mut Threads<'_, '_>,
    ) -> Result<(), CacheError> {
        self.started = Instant::now();
        let mut unsaid = None;
        if !self.is_begun(stage) {
            let told = self.shards.told(stage);
            let key = self.told_key(stage, &key);
            let (reasons, fingerprint) = (self.reasons(told, key)?, key.fingerprint);
            let (name, kind) = (self.plan[told].name().to_string(), self.plan[told].kind.clone());
            unsaid = Some(Event::Started { stage: name, kind, device: share.device, reasons, fingerprint });
        }
        if self.cache.remote().is_none() {
            unsaid.take().into_iter().for_each(&mut *self.events);
        }
        if self.plan[stage].execution.checkpoint_every.is_some() {
            self.cache.sweep_kept()?;
        }
        let work = self.work(stage, share, &key);
        let (since, log) = (Instant::now(), work.log.clone());
        self.running.insert(stage, Running { share, since, log, done: 0.0, unsaid, fetching: 0, fetched: 0 });
        self.states.set(stage, State::Running(key.fingerprint));
        threads.run(stage, work, claim);
        Ok(())
    }

    fn reasons(&self, stage: StageIndex, key: &Key) -> Result<Vec<DirtyReason>, CacheError> {
        match &self.examination[stage].verdict {
            Verdict::Run(reasons) => Ok(reasons.clone()),
            Verdict::Maybe(_) | Verdict::Fresh => reasons(self.plan, self.cache, &self.plan[stage], &key.text),
        }
    }

    /// Everything that the thread of a stage needs.
    fn work(&mut self, stage: StageIndex, share: Share, key: &Key) -> Work {
        let planned = &self.plan[stage];
        let asks = self.asks(stage);
        let mut inputs = BTreeMap::new();
        let mut artifacts = Vec::new();
        let mut digests = Vec::new();
        for (slot, source) in planned.inputs.iter() {
            let path = match source {
                Source::External(external) => {
                    digests.push((slot.to_string(), external.digest.to_string()));
                    external.path.clone()
                }
                Source::Stage(output) if asks && self.shards.of(output.stage) == Some(stage) => continue,
                Source::Stage(output) if self.shards.of(output.stage) == Some(stage) => {
                    let outputs =
                        self.states.outputs(output.stage).expect("BUG: shards are merged before they are done");
                    artifacts.push(outputs[&output.slot]);
                    continue;
                }
                Source::Stage(output) => {
                    let outputs = self.states.outputs(output.stage).expect("BUG: a stage started before its producer");
                    artifacts.push(outputs[&output.slot]);
                    let producer = self.plan[output.stage].name();
                    digests.push((slot.to_string(), format!("{} of {producer}", outputs[&output.slot])));
                    self.cache.path(&outputs[&output.slot])
                }
            };
            inputs.insert(slot.to_string(), path);
        }
        let mut execution = planned.execution.clone();
        if !self.options.elsewhere {
            execution.threads = share.slots;
        }
        execution.device = share.device;
        let call = Call {
            kind: self.plan[self.shards.told(stage)].kind.clone(),
            params: planned.params.to_map(),
            inputs,
            outputs: BTreeMap::new(),
            externals: planned.externals.clone(),
            locations: self.plan.locations(stage),
            execution,
            task: if asks { Task::Whole } else { self.task(stage) },
            kept: planned.execution.checkpoint_every.map(|_| self.cache.kept(&key.fingerprint)),
        };
        let origin = self.origin.get_or_insert_with(origin::here);
        let provenance = log::provenance(self.plan, (planned.name(), planned.version), key, &digests, &call, origin);
        Work {
            name: planned.name().to_string(),
            expected: self.costs.expected(planned),
            asks,
            call,
            artifacts,
            log: self.cache.log(&key.fingerprint),
            provenance,
            store: self.cache.store(),
            files: self.cache.files(),
        }
    }

    /// Remembers what the next run can use: the key of every stage that is done, by all its names,
    /// and the digests of files outside.
    pub fn remember(&mut self) -> Result<(), CacheError> {
        self.cache.save_files()?;
        let done = self.states.iter().filter_map(|(stage, state)| match state {
            State::Done { fingerprint, .. } if !self.shards.is_shard(stage) => Some((stage, *fingerprint)),
            _ => None,
        });
        let names = done.flat_map(|(stage, fingerprint)| {
            self.plan[stage].names.iter().map(move |name| (name.as_str(), fingerprint))
        });
        self.cache.remember(&self.plan.experiment, names)
    }

    /// Counts and costs of a run that took `wall` seconds.
    pub fn summary(&mut self, wall: f64) -> Result<Summary, CacheError> {
        let mut summary = Summary {
            experiment: self.plan.experiment.clone(),
            shared: self.plan.shared,
            interrupted: self.stopping,
            wall,
            ..Summary::default()
        };
        for stage in self.plan.order() {
            match &self.states[stage] {
                // Shards are no stages of the experiment, but they cost, and may have been there.
                State::Done { fingerprint, ran: true, .. } if self.shards.is_shard(stage) => {
                    summary.cpu += self.cache.cpu(fingerprint)?;
                }
                State::Done { fingerprint, outputs, .. } if self.shards.is_shard(stage) && !outputs.is_empty() => {
                    summary.saved += self.cache.cpu(fingerprint)?;
                }
                _ if self.shards.is_shard(stage) => {}
                State::Done { fingerprint, ran: true, .. } => {
                    summary.ran += 1;
                    let fingerprint = *fingerprint;
                    summary.cpu += self.cache.cpu(&fingerprint)? - self.cpu_of_shards(stage)?;
                }
                State::Done { fingerprint, ran: false, .. } if self.pulled.contains(&stage) => {
                    summary.pulled += 1;
                    summary.saved += self.cache.cpu(fingerprint)?;
                }
                State::Done { fingerprint, ran: false, .. } => {
                    summary.fresh += 1;
                    summary.cut_off += usize::from(matches!(self.examination[stage].verdict, Verdict::Maybe(_)));
                    summary.saved += self.cache.cpu(fingerprint)?;
                }
                State::Failed => summary.failed += 1,
                State::Skipped(_) => summary.skipped += 1,
                State::Waiting | State::Ready(_) | State::Running(_) | State::Awaiting(_) | State::Elsewhere(_) => {
                    summary.left += 1
                }
            }
        }
        summary.slowest = self.slowest();
        Ok(summary)
    }

    /// Of the stages that ran, the chain of producers and consumers that took longest.
    fn slowest(&self) -> Vec<Taken> {
        let mut chains: BTreeMap<StageIndex, (f64, Option<StageIndex>)> = BTreeMap::new();
        // Producers come before their consumers.
        for (stage, wall) in &self.walls {
            let before = self.plan.producers(*stage).filter_map(|producer| Some((chains.get(&producer)?.0, producer)));
            let longest = before.max_by(|one, other| one.0.total_cmp(&other.0));
            let (length, producer) = longest.map_or((0.0, None), |(length, producer)| (length, Some(producer)));
            chains.insert(*stage, (length + wall, producer));
        }
        let mut end = chains.iter().max_by(|one, other| one.1.0.total_cmp(&other.1.0)).map(|(stage, _)| *stage);
        let mut path = Vec::new();
        while let Some(stage) = end {
            path.push(Taken { stage: self.plan[stage].name().to_string(), wall: self.walls[&stage] });
            end = chains[&stage].1;
        }
        path.reverse();
        path
    }

    /// The key of each stage that is done.
    pub fn fingerprints(&self) -> Vec<Option<Digest>> {
        let key = |state: &State| match state {
            State::Done { fingerprint, .. } => Some(*fingerprint),
            _ => None,
        };
        self.states.iter().map(|(_, state)| key(state)).collect()
    }

    /// The result of each stage that is done, and all failures.
    pub fn end(self) -> (Vec<Option<Outputs>>, Vec<StageFailure>) {
        let outputs = self.plan.order().map(|stage| self.states.outputs(stage).cloned()).collect();
        (outputs, self.failures)
    }
}
