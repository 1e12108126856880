//! The state of every stage during a run.

use std::collections::HashSet;
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
    /// The keys of the stages that run.
    running: HashSet<Digest>,
}

impl States {
    /// All stages are waiting.
    pub fn new(plan: &Plan) -> States {
        States { table: vec![State::Waiting; plan.len()], running: HashSet::new() }
    }

    /// The only way to change a state.
    pub fn set(&mut self, stage: StageIndex, state: State) {
        let old = std::mem::replace(&mut self.table[stage.index()], state);
        if let State::Running(fingerprint) = old {
            self.running.remove(&fingerprint);
        }
        if let State::Running(fingerprint) = self.table[stage.index()] {
            self.running.insert(fingerprint);
        }
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
