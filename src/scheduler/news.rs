//! What running stages tell the loop, and what follows from it.

use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::commit::Ended;
use super::engine::Engine;
use super::event::{Event, StageFailure};
use super::log::tail;
use super::origin;
use super::state::State;
use super::worker::{Done, Trouble};
use crate::cache::{CacheError, Origin, Provenance, Step};
use crate::digest::Digest;
use crate::plan::StageIndex;
use crate::stage::{Progress, Update};

/// How often the loop looks at the interrupt.
const TICK: Duration = Duration::from_millis(50);
/// A stage that takes less is short, in seconds.
const SHORT: f64 = 1.0;

/// What the threads tell.
pub(super) enum News {
    /// A stage says something.
    Update(StageIndex, Update),
    /// An attempt at a stage failed, and another follows after a pause.
    Retrying { stage: StageIndex, attempt: u32, attempts: u32, message: String, pause: Duration },
    /// The result of a stage is being brought here from the remote.
    Pulling(StageIndex, Step),
    /// It is not there: the stage is executed now.
    Missed(StageIndex),
    /// The thread of a stage is at its end.
    Ended(StageIndex, Box<Result<Done, Trouble>>),
    /// The results of these stages are on the disk.
    Synced(Vec<Ended>),
    /// The results of these stages did not come to the disk, and why.
    Lost(Vec<Ended>, String),
}

/// Tells the news of one stage to the loop.
pub(super) struct Reporter {
    pub stage: StageIndex,
    pub news: Sender<News>,
}

impl Reporter {
    pub fn send(&self, news: News) {
        // The loop outlives every stage, unless the cache failed: then nobody listens.
        let _ = self.news.send(news);
    }
}

impl Progress for Reporter {
    fn update(&self, update: Update) {
        self.send(News::Update(self.stage, update));
    }
}

impl Engine<'_> {
    /// Waits for news for a moment, and takes all that there is.
    pub fn listen(&mut self, receiver: &Receiver<News>, committer: &Sender<Ended>) -> Result<(), CacheError> {
        let mut next = receiver.recv_timeout(TICK).ok();
        while let Some(news) = next {
            match news {
                News::Update(stage, update) => self.update(stage, update),
                News::Retrying { stage, attempt, attempts, message, pause } => {
                    if let Some(running) = self.running.get_mut(&stage) {
                        (running.since, running.done) = (Instant::now() + pause, 0.0);
                    }
                    let message = self.shards.failed(stage, message);
                    let (stage, pause) = (self.shards.told(stage), pause.as_secs_f64());
                    let stage = self.plan[stage].name().to_string();
                    (self.events)(Event::Retrying { stage, attempt, attempts, message, pause });
                }
                News::Pulling(stage, step) => self.pulling(stage, step),
                News::Missed(stage) => self.missed(stage),
                News::Ended(stage, result) => self.ended(stage, *result, committer)?,
                News::Synced(batch) => self.done(batch)?,
                News::Lost(batch, message) => {
                    batch.iter().try_for_each(|ended| self.failed(ended.stage, message.clone()))?;
                }
            }
            next = receiver.try_recv().ok();
        }
        Ok(())
    }

    fn update(&mut self, stage: StageIndex, update: Update) {
        let name = self.plan[self.shards.told(stage)].name().to_string();
        match update {
            Update::Progress { done, total, unit } => {
                if let Some(running) = self.running.get_mut(&stage) {
                    running.done = done as f64 / total.max(1) as f64;
                }
                if self.shards.is_shard(stage) {
                    self.note_progress(stage, done, total, &unit);
                    self.tell_progress(stage);
                } else {
                    (self.events)(Event::Progress { stage: name, done, total, unit });
                }
            }
            Update::Warning(message) if self.was_said(stage, &message) => {}
            Update::Warning(message) => (self.events)(Event::Warning { stage: name, message }),
        }
    }

    /// Takes what a stage came to. It keeps its slot until it is recorded, so that the next one is chosen
    /// among all that are ready then; but where a crowd of them waits, a short stage gives it up at once.
    fn ended(
        &mut self,
        stage: StageIndex,
        result: Result<Done, Trouble>,
        committer: &Sender<Ended>,
    ) -> Result<(), CacheError> {
        let trouble = match result {
            Ok(done) => {
                let device = self.running[&stage].share.device;
                let awaited = done.wall >= SHORT || !self.is_crowded();
                if !awaited {
                    self.running.remove(&stage);
                }
                let ended = Ended { stage, device, done, awaited };
                committer.send(ended).expect("BUG: the committer ends after the loop");
                return Ok(());
            }
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Failed(message) => self.failed(stage, message),
            Trouble::Stopped => {
                // Left for the next run.
                self.running.remove(&stage);
                self.give_up(stage)?;
                self.states.set(stage, State::Waiting);
                Ok(())
            }
            Trouble::Missed => {
                self.running.remove(&stage);
                self.give_up(stage)?;
                self.states.set(stage, State::Waiting);
                self.answered(stage);
                Ok(())
            }
            Trouble::Damaged(artifacts) => {
                self.running.remove(&stage);
                self.give_up(stage)?;
                self.make_again(stage, &artifacts)
            }
        }
    }

    /// A running stage came to no result: other processes may run it, and those that await its key are
    /// looked at again.
    fn give_up(&mut self, stage: StageIndex) -> Result<(), CacheError> {
        let State::Running(fingerprint) = self.states[stage] else { unreachable!("a stage ended that did not run") };
        self.unsettled.extend(self.states.take_awaiting(&fingerprint));
        self.cache.release(&[fingerprint])
    }

    fn failed(&mut self, stage: StageIndex, message: String) -> Result<(), CacheError> {
        let State::Running(fingerprint) = self.states[stage] else { unreachable!("a stage ended that did not run") };
        let log = self.running.remove(&stage).map_or_else(|| self.cache.log(&fingerprint), |running| running.log);
        self.give_up(stage)?;
        let name = self.plan[self.shards.told(stage)].name().to_string();
        let failure = StageFailure { stage: name, message: self.shards.failed(stage, message), tail: tail(&log), log };
        (self.events)(Event::Failed(failure.clone()));
        self.failures.push(failure);
        self.states.set(stage, State::Failed);
        self.unsettled.extend(self.plan.consumers(stage));
        Ok(())
    }

    /// Records results that are on the disk.
    fn done(&mut self, batch: Vec<Ended>) -> Result<(), CacheError> {
        let origin = self.origin.get_or_insert_with(origin::here).clone();
        let mut stages = Vec::with_capacity(batch.len());
        let mut finished = Vec::with_capacity(batch.len());
        for Ended { stage, device, done, .. } in batch {
            let planned = &self.plan[stage];
            let host = done.usage.elsewhere.as_ref().map_or(&origin.host, |elsewhere| &elsewhere.host);
            let made = || Provenance {
                kind: planned.kind.clone(),
                name: planned.name().to_string(),
                experiment: self.plan.experiment.clone(),
                started: done.started,
                wall: done.wall + done.before.wall,
                cpu: done.usage.cpu + done.before.cpu,
                memory: done.usage.memory.map(|memory| memory.max(done.before.memory)),
                device,
                origin: Origin { host: host.clone(), ..origin.clone() },
            };
            let provenance = match &done.pulled {
                Some(pulled) => pulled.provenance.clone(),
                None => self.with_shards(stage, made())?,
            };
            stages.push((stage, done.wall, provenance.clone(), done.pulled));
            finished.push((done.sealed, provenance));
        }
        let results = self.cache.record_all(finished)?;
        let mut news = false;
        for ((stage, own, provenance, pulled), outputs) in stages.into_iter().zip(results) {
            let State::Running(fingerprint) = self.states[stage] else {
                unreachable!("a stage ended that did not run")
            };
            self.running.remove(&stage);
            if let Some(pulled) = pulled {
                self.pulled(stage, fingerprint, &pulled, outputs);
                continue;
            }
            if self.plan[stage].execution.checkpoint_every.is_some() {
                self.cache.drop_kept(&fingerprint);
            }
            let Provenance { name, kind, wall, cpu, memory, device, .. } = provenance;
            if !self.shards.is_shard(stage) {
                let wall = self.elapsed(stage, own);
                (self.events)(Event::Finished { stage: name, wall, cpu, memory, device });
            }
            self.unsettled.extend(self.states.take_awaiting(&fingerprint));
            self.walls.insert(stage, own);
            self.finish(stage, fingerprint, outputs, true);
            self.tell_progress(stage);
            news |= self.costs.learn(&kind, wall);
        }
        if news {
            self.rank();
        }
        Ok(())
    }

    /// Input artifacts of a stage are damaged: the stages that made them run again.
    fn make_again(&mut self, stage: StageIndex, artifacts: &[Digest]) -> Result<(), CacheError> {
        self.states.set(stage, State::Waiting);
        for artifact in artifacts {
            self.cache.set_aside(artifact)?;
        }
        let producers: Vec<StageIndex> = self.plan.producers(stage).collect();
        for producer in producers {
            let lost = |outputs: &crate::cache::Outputs| outputs.values().any(|output| artifacts.contains(output));
            if !self.states.outputs(producer).is_some_and(lost) {
                continue;
            }
            let message = "an output is damaged in the store: it is set aside and made again".to_string();
            (self.events)(Event::Warning { stage: self.plan[producer].name().to_string(), message });
            self.states.set(producer, State::Waiting);
            self.unsettled.insert(producer);
            let consumers: Vec<StageIndex> = self.plan.consumers(producer).collect();
            for consumer in consumers {
                if matches!(self.states[consumer], State::Ready(_)) {
                    self.states.set(consumer, State::Waiting);
                }
            }
        }
        Ok(())
    }

    /// Tells how long the rest will take, if that can be known.
    pub fn look_ahead(&mut self) {
        let left = |stage: StageIndex| match (&self.states[stage], self.running.get(&stage)) {
            (State::Done { .. } | State::Failed | State::Skipped(_), _) => 0.0,
            (_, None) => 1.0,
            (_, Some(running)) => match self.costs.expected(&self.plan[stage]) {
                Some(expected) if running.done == 0.0 => {
                    (1.0 - running.since.elapsed().as_secs_f64() / expected).max(0.0)
                }
                _ => 1.0 - running.done,
            },
        };
        if let Some(remaining) = self.costs.remaining(self.plan, self.options.jobs.max(1), left) {
            (self.events)(Event::Outlook { remaining });
        }
    }
}
