//! Runs a plan: the way in and what comes out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::devices::DevicePool;
use super::engine::Engine;
use super::event::{Event, StageFailure, Summary};
use super::examine::examine;
use super::executor::Executor;
use super::shards::expand;
use crate::cache::{Cache, CacheError, Outputs};
use crate::digest::Digest;
use crate::plan::{self, Plan, StageIndex};

/// How to run a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Processor slots; a stage takes as many as it has threads. At least one.
    pub jobs: usize,
    /// Whether stages that do not depend on a failed one are still started.
    pub keep_going: bool,
    /// The devices on which accelerated stages run; without any they run on the processor.
    pub devices: DevicePool,
    /// Whether stages run on other machines. Then each takes one slot, whatever its threads, and its device
    /// is one of the machine where it runs.
    pub elsewhere: bool,
}

impl Default for Options {
    /// One stage at a time on the processor, until one fails.
    fn default() -> Options {
        Options { jobs: 1, keep_going: false, devices: DevicePool::default(), elsewhere: false }
    }
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Counts and costs.
    pub summary: Summary,
    /// Every failure, in the order of time.
    pub failures: Vec<StageFailure>,
    outputs: Vec<Option<Outputs>>,
    fingerprints: Vec<Option<Digest>>,
}

impl Outcome {
    /// The artifact of an output slot, if its stage is done.
    pub fn artifact(&self, output: &plan::Output) -> Option<Digest> {
        self.outputs[output.stage.index()].as_ref()?.get(&output.slot).copied()
    }

    /// The key of a stage, if it is done.
    pub fn fingerprint(&self, stage: StageIndex) -> Option<Digest> {
        self.fingerprints[stage.index()]
    }

    /// Whether every stage of the plan is done.
    pub fn is_complete(&self) -> bool {
        self.outputs.iter().all(Option::is_some)
    }
}

/// Runs what is not in the cache, and tells what happens. When `interrupt` becomes true, running
/// stages are stopped and the run ends; what is finished stays in the cache.
///
/// # Errors
///
/// If the cache fails. A stage that fails is no error of the run.
pub fn run(
    plan: &Plan,
    cache: &mut Cache,
    executor: &dyn Executor,
    options: &Options,
    events: &mut dyn FnMut(Event),
    interrupt: &AtomicBool,
) -> Result<Outcome, CacheError> {
    let clock = Instant::now();
    let mut examination = examine(plan, cache)?;
    if examination.counts().0 < plan.len() && !cache.hold()? {
        examination = examine(plan, cache)?;
    }
    let (fresh, run, maybe) = examination.counts();
    let (experiment, stages, shared) = (plan.experiment.clone(), plan.len(), plan.shared);
    events(Event::Planned { experiment, stages, fresh, run, maybe, shared });
    let mut expanded = expand(plan, examination);
    let (examination, shards) = expanded.take();
    let mut engine = Engine::new(&expanded.plan, cache, options, events, examination, shards)?;
    let stop = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        let result = engine.drive(scope, executor, interrupt, &stop);
        // After an error of the cache the scope still waits for the stages that run.
        stop.store(true, Ordering::Relaxed);
        result
    });
    let given_up = engine.give_up_claims();
    engine.remember()?;
    result.and(given_up)?;
    let summary = engine.summary(clock.elapsed().as_secs_f64())?;
    let fingerprints = engine.fingerprints();
    let (outputs, failures) = engine.end();
    let (outputs, fingerprints) = (expanded.originals(outputs), expanded.originals(fingerprints));
    events(Event::Ended(summary.clone()));
    Ok(Outcome { summary, failures, outputs, fingerprints })
}
