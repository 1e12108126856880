//! Starting stages: which one is next and what it takes of the machine, the right to write its result, and
//! all that the thread needs that it runs in.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use super::engine::{Engine, Running};
use super::event::Event;
use super::examine::{Verdict, reasons};
use super::log;
use super::origin;
use super::run::Options;
use super::state::State;
use super::threads::Threads;
use super::worker::Work;
use crate::cache::{CacheError, Claim, Lookup, Owner};
use crate::devices::Device;
use crate::digest::Digest;
use crate::fingerprint::{DirtyReason, Key};
use crate::plan::{Plan, Source, StageIndex};
use crate::stage::{Call, Task};

/// More stages that are ready are a crowd.
const CROWD: usize = 16;
/// So many stages of a crowd are claimed together.
const AT_ONCE: usize = 32;
/// Only those are that will take less, in seconds.
const SOON: f64 = 0.1;

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

impl Engine<'_> {
    /// The ready stage to start now, with what it takes: the head of the longest chain that fits.
    pub fn next(&self) -> Option<(StageIndex, Share)> {
        if self.is_ending() {
            return None;
        }
        let taken = self.running.values().map(|running| running.share);
        Share::first(self.plan, self.states.ready(), taken, self.options)
    }

    /// Takes the right to write the result of a ready stage. `None` if its result is there after all,
    /// or an equal stage runs.
    pub fn prepare(&mut self, stage: StageIndex) -> Result<Option<(Key, Claim)>, CacheError> {
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
    pub fn start(
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
        let mut execution = (*planned.execution).clone();
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
}
