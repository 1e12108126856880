//! What running stages tell the loop, and what follows from it.

use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::event::{Event, StageFailure};
use super::log::tail;
use super::origin;
use super::state::State;
use super::worker::{Done, Trouble};
use crate::cache::{CacheError, Provenance};
use crate::devices::Device;
use crate::digest::Digest;
use crate::plan::StageIndex;
use crate::stage::{Progress, Update};

/// How often the loop looks at the interrupt.
const TICK: Duration = Duration::from_millis(50);

/// What the thread of a stage tells.
pub(super) enum News {
    /// The stage says something.
    Update(Update),
    /// An attempt failed, and another follows after a pause.
    Retrying { attempt: u32, attempts: u32, message: String, pause: Duration },
    /// The thread is at its end.
    Ended(Box<Result<Done, Trouble>>),
}

/// Tells the news of one stage to the loop.
pub(super) struct Reporter {
    pub stage: StageIndex,
    pub news: Sender<(StageIndex, News)>,
}

impl Reporter {
    pub fn send(&self, news: News) {
        // The loop outlives every stage, unless the cache failed: then nobody listens.
        let _ = self.news.send((self.stage, news));
    }
}

impl Progress for Reporter {
    fn update(&self, update: Update) {
        self.send(News::Update(update));
    }
}

impl Engine<'_> {
    /// Waits for news for a moment, and takes all that there is.
    pub fn listen(&mut self, receiver: &Receiver<(StageIndex, News)>) -> Result<(), CacheError> {
        let mut next = receiver.recv_timeout(TICK).ok();
        while let Some((stage, news)) = next {
            match news {
                News::Update(update) => self.update(stage, update),
                News::Retrying { attempt, attempts, message, pause } => {
                    if let Some(running) = self.running.get_mut(&stage) {
                        (running.since, running.done) = (Instant::now() + pause, 0.0);
                    }
                    let (stage, pause) = (self.plan[stage].name().to_string(), pause.as_secs_f64());
                    (self.events)(Event::Retrying { stage, attempt, attempts, message, pause });
                }
                News::Ended(result) => self.ended(stage, *result)?,
            }
            next = receiver.try_recv().ok();
        }
        Ok(())
    }

    fn update(&mut self, stage: StageIndex, update: Update) {
        let name = self.plan[stage].name().to_string();
        match update {
            Update::Progress { done, total, unit } => {
                if let Some(running) = self.running.get_mut(&stage) {
                    running.done = done as f64 / total.max(1) as f64;
                }
                (self.events)(Event::Progress { stage: name, done, total, unit });
            }
            Update::Warning(message) => (self.events)(Event::Warning { stage: name, message }),
        }
    }

    /// Takes what a stage came to. Stages that await the same key are looked at again.
    fn ended(&mut self, stage: StageIndex, result: Result<Done, Trouble>) -> Result<(), CacheError> {
        let running = self.running.remove(&stage).expect("BUG: a stage ended that did not run");
        let awaiting = self.states.iter().filter(|(_, state)| matches!(state, State::Awaiting(_)));
        self.unsettled.extend(awaiting.map(|(stage, _)| stage).collect::<Vec<_>>());
        match result {
            Ok(done) => self.done(stage, running.share.device, done),
            Err(Trouble::Stopped) => {
                // Left for the next run.
                self.states.set(stage, State::Waiting);
                Ok(())
            }
            Err(Trouble::Damaged(artifacts)) => self.make_again(stage, &artifacts),
            Err(Trouble::Failed(message)) => {
                let name = self.plan[stage].name().to_string();
                let failure = StageFailure { stage: name, message, tail: tail(&running.log), log: running.log };
                (self.events)(Event::Failed(failure.clone()));
                self.failures.push(failure);
                self.states.set(stage, State::Failed);
                self.unsettled.extend(self.plan.consumers(stage));
                Ok(())
            }
        }
    }

    fn done(&mut self, stage: StageIndex, device: Device, done: Done) -> Result<(), CacheError> {
        let planned = &self.plan[stage];
        let State::Running(fingerprint) = self.states[stage] else { unreachable!("a stage ended that did not run") };
        let provenance = Provenance {
            kind: planned.kind.clone(),
            name: planned.name().to_string(),
            experiment: self.plan.experiment.clone(),
            started: done.started,
            wall: done.wall,
            cpu: done.usage.cpu,
            memory: done.usage.memory,
            device,
            origin: self.origin.get_or_insert_with(origin::here).clone(),
        };
        let outputs = self.cache.record(done.sealed, &provenance)?;
        let Provenance { name, kind, wall, cpu, memory, .. } = provenance;
        (self.events)(Event::Finished { stage: name, wall, cpu, memory, device });
        self.walls.insert(stage, wall);
        self.finish(stage, fingerprint, outputs, true);
        if self.costs.learn(&kind, wall) {
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
