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

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::commit;
use super::costs::Costs;
use super::event::{Event, StageFailure};
use super::examine::{Examination, Examined, Verdict};
use super::executor::Executor;
use super::launch::Share;
use super::run::Options;
use super::shards::Shards;
use super::state::{State, States};
use super::threads::Threads;
use crate::cache::{Cache, CacheError, Claim, Origin, Outputs, Recorded};
use crate::digest::Digest;
use crate::plan::{Plan, Source, StageIndex};

/// How often the time that is left is estimated.
const OUTLOOK: Duration = Duration::from_secs(1);
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
    pub claims: HashMap<Digest, Claim>,
    /// When a stage was last started.
    pub started: Instant,
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
    pub fn is_ending(&self) -> bool {
        self.stopping || (!self.failures.is_empty() && !self.options.keep_going)
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
