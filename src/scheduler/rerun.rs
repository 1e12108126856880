//! Executes finished stages again, in scratch directories, and compares what they make with what is in the
//! store. No result is replaced; one that came out differently is noted.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::examine::Examination;
use super::executor::{Executor, Halt, Job};
use super::launch::Share;
use super::log;
use super::run::Options;
use crate::artifact::compare::{Comparison, Verdict, compare};
use crate::cache::{Cache, CacheError, Health, Outputs, Store, Trial};
use crate::devices::Device;
use crate::digest::Digest;
use crate::plan::{Plan, Source, StageIndex};
use crate::stage::{Call, Silent, Task};
use crate::text::now;

/// How often the interrupt is looked at.
const TICK: Duration = Duration::from_millis(50);
/// The file that the store adds to what a stage makes.
const MANIFEST: &str = "manifest.json";

/// What is to be executed again.
pub struct Trials<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What is known of its stages.
    pub examination: &'a Examination,
    /// The stages: all of them fresh.
    pub stages: Vec<StageIndex>,
    /// Which numbers count as close; see [`compare`].
    pub tolerance: f64,
}

/// What happens.
pub enum Step<'a> {
    /// A stage is executed.
    Started(&'a str),
    /// It was executed and compared.
    Ended(&'a Again),
}

/// A stage that was executed again.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    /// The stage.
    pub stage: StageIndex,
    /// What it computed on.
    pub device: Device,
    /// How long it took, in seconds.
    pub wall: f64,
    /// Its outputs, in the order of their slots; or why there are none.
    pub outputs: Result<Vec<Compared>, String>,
    /// What it wrote to its standard error.
    pub log: PathBuf,
    /// The end of that, if there are no outputs.
    pub tail: Vec<String>,
}

/// An output that was made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The output slot.
    pub slot: String,
    /// The artifact in the store.
    pub first: Digest,
    /// The artifact that it would be now.
    pub later: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// How they differ.
    pub comparison: Comparison,
}

impl Again {
    /// What its outputs come to together; `None` if there are none.
    pub fn verdict(&self) -> Option<Verdict> {
        let outputs = self.outputs.as_ref().ok()?;
        Some(outputs.iter().map(|output| output.comparison.verdict()).max().unwrap_or(Verdict::Equal))
    }
}

/// What the thread of a stage needs.
struct Work {
    stage: StageIndex,
    name: String,
    fingerprint: Digest,
    call: Call,
    artifacts: Vec<Digest>,
    trial: Trial,
    first: Outputs,
    tolerance: f64,
    log: PathBuf,
    store: Arc<Store>,
}

impl Trials<'_> {
    /// Executes the stages, several at once where the options allow it. When `interrupt` becomes true,
    /// those that run are stopped, and what was compared is returned.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    pub fn run(
        &self,
        cache: &mut Cache,
        executor: &dyn Executor,
        options: &Options,
        told: &mut dyn FnMut(Step<'_>),
        interrupt: &AtomicBool,
    ) -> Result<Vec<Again>, CacheError> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let result = self.drive(cache, executor, options, told, (interrupt, &stop), scope);
            // After an error of the cache the scope still waits for the stages that run.
            stop.store(true, Ordering::Relaxed);
            result
        })
    }

    fn drive<'scope>(
        &self,
        cache: &mut Cache,
        executor: &'scope dyn Executor,
        options: &Options,
        told: &mut dyn FnMut(Step<'_>),
        (interrupt, stop): (&AtomicBool, &'scope AtomicBool),
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Vec<Again>, CacheError> {
        let (sender, receiver) = channel::<Option<Again>>();
        let mut waiting: VecDeque<StageIndex> = self.stages.iter().copied().collect();
        let mut running: BTreeMap<StageIndex, Share> = BTreeMap::new();
        let mut all = Vec::new();
        let mut ended = 0;
        loop {
            if interrupt.load(Ordering::Relaxed) {
                stop.store(true, Ordering::Relaxed);
                waiting.clear();
            }
            while let Some((stage, share)) =
                Share::first(self.plan, waiting.iter().copied(), running.values().copied(), options)
            {
                waiting.retain(|other| *other != stage);
                running.insert(stage, share);
                let work = self.work(stage, share, cache)?;
                told(Step::Started(&work.name));
                start(work, share, executor, stop, scope, &sender);
            }
            if running.len() == ended {
                return Ok(all);
            }
            match receiver.recv_timeout(TICK) {
                Ok(Some(again)) => {
                    running.remove(&again.stage);
                    self.note(&again, cache)?;
                    told(Step::Ended(&again));
                    all.push(again);
                }
                // One that was stopped: it keeps its share, for nothing is started any more.
                Ok(None) => ended += 1,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("this loop has a sender itself"),
            }
        }
    }

    fn work(&self, stage: StageIndex, share: Share, cache: &mut Cache) -> Result<Work, CacheError> {
        let planned = &self.plan[stage];
        let examined = &self.examination[stage];
        let mut inputs = BTreeMap::new();
        let mut artifacts = Vec::new();
        for (slot, source) in planned.inputs.iter() {
            let path = match source {
                Source::External(external) => external.path.clone(),
                Source::Stage(output) => {
                    let artifact = self.examination[output.stage].outputs[&output.slot];
                    artifacts.push(artifact);
                    cache.path(&artifact)
                }
            };
            inputs.insert(slot.to_string(), path);
        }
        let trial = cache.trial(&self.examination.key(self.plan, stage), &planned.outputs)?;
        let mut execution = (*planned.execution).clone();
        execution.threads = share.slots;
        execution.device = share.device;
        let call = Call {
            kind: planned.kind.clone(),
            params: planned.params.to_map(),
            inputs,
            outputs: trial.directories(),
            externals: planned.externals.clone(),
            locations: self.plan.locations(stage),
            execution,
            // From the start and in one piece, as nobody did it before.
            task: Task::Whole,
            kept: None,
        };
        Ok(Work {
            stage,
            name: planned.name().to_string(),
            fingerprint: examined.fingerprint,
            call,
            artifacts,
            trial,
            first: examined.outputs.clone(),
            tolerance: self.tolerance,
            log: cache.log(&examined.fingerprint).with_extension("again.log"),
            store: cache.store(),
        })
    }

    /// Notes outputs that came out differently.
    fn note(&self, again: &Again, cache: &mut Cache) -> Result<(), CacheError> {
        let fingerprint = self.examination[again.stage].fingerprint;
        for Compared { slot, first, later, .. } in again.outputs.iter().flatten() {
            if first != later {
                cache.diverged(&fingerprint, slot, first, later)?;
            }
        }
        Ok(())
    }
}

/// Executes a stage in a thread of its own, which sends what came of it; nothing if it was stopped.
fn start<'scope>(
    work: Work,
    share: Share,
    executor: &'scope dyn Executor,
    stop: &'scope AtomicBool,
    scope: &'scope Scope<'scope, '_>,
    sender: &Sender<Option<Again>>,
) {
    let sender = sender.clone();
    scope.spawn(move || {
        let clock = Instant::now();
        let outputs = match work.execute(executor, stop) {
            Err(Halt::Stopped) => None,
            Err(Halt::Failed(message)) => Some(Err(message)),
            Ok(()) => Some(work.compared().map_err(|error| format!("{error:#}"))),
        };
        let (stage, device, log) = (work.stage, share.device, work.log.clone());
        let wall = clock.elapsed().as_secs_f64();
        // The loop outlives every stage, unless the cache failed: then nobody listens.
        let _ = sender.send(outputs.map(|outputs| {
            let tail = if outputs.is_err() { log::tail(&log) } else { Vec::new() };
            Again { stage, device, wall, outputs, log, tail }
        }));
    });
}

impl Work {
    fn execute(&self, executor: &dyn Executor, stop: &AtomicBool) -> Result<(), Halt> {
        if let Some(artifact) = self.artifacts.iter().find(|artifact| self.store.verify(artifact) != Health::Intact) {
            let message = format!("its input {} is missing or damaged in the store", artifact.short());
            return Err(Halt::Failed(message));
        }
        let (name, fingerprint, scratch) = (self.name.as_str(), self.fingerprint, self.trial.scratch());
        let job = Job { name, fingerprint, expected: None, call: &self.call, scratch, log: &self.log };
        // The log of an earlier trial says nothing any more.
        let removed = fs::remove_file(&self.log);
        let head = format!("# stage       {}, once more, to be compared with its result\n", self.name);
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => log::begin(&self.log, &head, 1, &executor.command(&job), now()),
        }
        .map_err(|error| Halt::Failed(format!("cannot write its log `{}`: {error}", self.log.display())))?;
        executor.execute(&job, &Silent, stop).map(drop)
    }

    fn compared(&self) -> anyhow::Result<Vec<Compared>> {
        let mut compared = Vec::new();
        let directories = self.trial.directories();
        for (slot, artifact) in self.trial.artifacts()? {
            let first = self.first[&slot];
            let comparison = match first == artifact.digest {
                true => Comparison { files: 0, differing: Vec::new() },
                false => compare(&self.store.path(&first), &directories[&slot], &[MANIFEST], self.tolerance)?,
            };
            compared.push(Compared { slot, first, later: artifact.digest, bytes: artifact.bytes, comparison });
        }
        Ok(compared)
    }
}
