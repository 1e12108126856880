//! The state of every stage during a run.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Index;

use crate::cache::Outputs;
use crate::digest::Digest;
use crate::fingerprint::Key;
use crate::plan::{Plan, StageIndex};

/// The state of a stage.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// Not all producers are done, or it was not looked at since they are.
    Waiting,
    /// All producers are done, and its key has no result: it must run.
    Ready(Key),
    /// It runs.
    Running(Digest),
    /// A stage with the same key runs.
    Awaiting(Digest),
    /// Another process runs a stage with the same key.
    Elsewhere(Digest),
    /// Its result is in the cache.
    Done {
        fingerprint: Digest,
        outputs: Outputs,
        /// Whether this run made it.
        ran: bool,
    },
    /// It ran without a result.
    Failed,
    /// It cannot run because this stage failed.
    Skipped(StageIndex),
}

/// The states of all stages of a plan.
pub(super) struct States {
    table: Vec<State>,
    /// The length of the chain that each stage is the head of, in expected seconds.
    ranks: Vec<f64>,
    /// The keys of the stages that run.
    running: HashSet<Digest>,
    /// The head of the longest chain first, of equally long chains the first in the plan.
    ready: BTreeSet<(Reverse<u64>, StageIndex)>,
    awaiting: HashMap<Digest, Vec<StageIndex>>,
    elsewhere: BTreeSet<StageIndex>,
}

impl States {
    /// All stages are waiting.
    pub fn new(plan: &Plan) -> States {
        States {
            table: vec![State::Waiting; plan.len()],
            ranks: vec![0.0; plan.len()],
            running: HashSet::new(),
            ready: BTreeSet::new(),
            awaiting: HashMap::new(),
            elsewhere: BTreeSet::new(),
        }
    }

    /// The only way to change a state.
    pub fn set(&mut self, stage: StageIndex, state: State) {
        let place = self.place(stage);
        match std::mem::replace(&mut self.table[stage.index()], state) {
            State::Running(fingerprint) => drop(self.running.remove(&fingerprint)),
            State::Ready(_) => drop(self.ready.remove(&place)),
            State::Elsewhere(_) => drop(self.elsewhere.remove(&stage)),
            _ => {}
        }
        match self.table[stage.index()] {
            State::Running(fingerprint) => drop(self.running.insert(fingerprint)),
            State::Ready(_) => drop(self.ready.insert(place)),
            State::Awaiting(fingerprint) => self.awaiting.entry(fingerprint).or_default().push(stage),
            State::Elsewhere(_) => drop(self.elsewhere.insert(stage)),
            _ => {}
        }
    }

    /// Puts the stages that are ready in another order.
    pub fn rank(&mut self, ranks: Vec<f64>) {
        self.ranks = ranks;
        let stages: Vec<StageIndex> = self.ready().collect();
        self.ready = stages.into_iter().map(|stage| self.place(stage)).collect();
    }

    fn place(&self, stage: StageIndex) -> (Reverse<u64>, StageIndex) {
        // The bits of numbers that are not negative have the order of the numbers.
        (Reverse(self.ranks[stage.index()].to_bits()), stage)
    }

    /// The stages that are ready, in the order in which they should start.
    pub fn ready(&self) -> impl Iterator<Item = StageIndex> + '_ {
        self.ready.iter().map(|(_, stage)| *stage)
    }

    /// The stages that another process runs.
    pub fn elsewhere(&self) -> &BTreeSet<StageIndex> {
        &self.elsewhere
    }

    /// Takes the stages that were set to await a key. Some may have gone on meanwhile.
    pub fn take_awaiting(&mut self, fingerprint: &Digest) -> Vec<StageIndex> {
        self.awaiting.remove(fingerprint).unwrap_or_default()
    }

    /// How many stages run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether a stage with this key runs.
    pub fn runs(&self, fingerprint: &Digest) -> bool {
        self.running.contains(fingerprint)
    }

    /// All stages with their states.
    pub fn iter(&self) -> impl Iterator<Item = (StageIndex, &State)> {
        self.table.iter().enumerate().map(|(index, state)| (StageIndex::new(index), state))
    }

    /// The result of a stage that is done.
    pub fn outputs(&self, stage: StageIndex) -> Option<&Outputs> {
        match &self[stage] {
            State::Done { outputs, .. } => Some(outputs),
            _ => None,
        }
    }
}

impl Index<StageIndex> for States {
    type Output = State;

    fn index(&self, stage: StageIndex) -> &State {
        &self.table[stage.index()]
    }
}
