//! How long stages take, going by earlier durations: for the order of ready stages and for the time
//! that is left.

use std::collections::HashMap;

use crate::plan::{Plan, Planned, StageIndex};

/// What a stage costs whose kind never ran, in seconds: only chains of such stages are compared by
/// it.
const UNKNOWN: f64 = 1.0;

/// Durations in seconds.
#[derive(Default)]
pub(super) struct Costs {
    by_name: HashMap<String, f64>,
    /// Sum and number.
    by_kind: HashMap<String, (f64, usize)>,
}

impl Costs {
    /// Goes by (name, kind, duration) of earlier stages, oldest first.
    pub fn new(durations: Vec<(String, String, f64)>) -> Costs {
        let mut costs = Costs::default();
        for (name, kind, wall) in durations {
            costs.learn(&kind, wall);
            costs.by_name.insert(name, wall);
        }
        costs
    }

    /// Takes the duration of a stage of `kind` into account. Returns whether it was the first of its
    /// kind.
    pub fn learn(&mut self, kind: &str, wall: f64) -> bool {
        let (sum, number) = self.by_kind.entry(kind.to_string()).or_default();
        (*sum, *number) = (*sum + wall, *number + 1);
        *number == 1
    }

    /// The last duration of the stage, or the mean of its kind.
    pub fn expected(&self, planned: &Planned) -> Option<f64> {
        let named = planned.names.iter().find_map(|name| self.by_name.get(name)).copied();
        named.or_else(|| self.by_kind.get(&planned.kind).map(|(sum, number)| sum / *number as f64))
    }

    /// For each stage the longest chain of costs from its start to the end of the plan, where stages
    /// that are `done` cost nothing.
    pub fn ranks(&self, plan: &Plan, done: impl Fn(StageIndex) -> bool) -> Vec<f64> {
        let mut ranks = vec![0.0; plan.len()];
        for stage in plan.order().rev() {
            let cost = if done(stage) { 0.0 } else { self.expected(&plan[stage]).unwrap_or(UNKNOWN) };
            let below = plan.consumers(stage).map(|consumer| ranks[consumer.index()]).fold(0.0, f64::max);
            ranks[stage.index()] = cost + below;
        }
        ranks
    }

    /// The seconds until all is done with `jobs` at a time: no less than the longest chain, and no
    /// less than the sum over the jobs. `left` says what share of a stage is left, from 0 to 1.
    /// Unknown as long as a kind that is left never ran.
    pub fn remaining(&self, plan: &Plan, jobs: usize, left: impl Fn(StageIndex) -> f64) -> Option<f64> {
        let mut chains = vec![0.0; plan.len()];
        let (mut sum, mut longest) = (0.0, 0.0_f64);
        for stage in plan.order().rev() {
            let share = left(stage);
            let cost = if share > 0.0 { share * self.expected(&plan[stage])? } else { 0.0 };
            let below = plan.consumers(stage).map(|consumer| chains[consumer.index()]).fold(0.0, f64::max);
            chains[stage.index()] = cost + below;
            sum += cost;
            longest = longest.max(cost + below);
        }
        Some(longest.max(sum / jobs as f64))
    }
}
