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

    /// Lets each of the shards of a stage that is not known by its name cost an equal part of what the whole
    /// stage is expected to.
    pub fn split<'a>(&mut self, whole: &Planned, shards: impl ExactSizeIterator<Item = &'a str>) {
        let count = shards.len() as f64;
        let Some(expected) = self.known(whole) else { return };
        for shard in shards {
            self.by_name.entry(shard.to_string()).or_insert(expected / count);
        }
    }

    /// The last duration of the stage, or the mean of its kind. That of a stage that is split into shards is
    /// theirs: merging them takes next to nothing.
    pub fn expected(&self, planned: &Planned) -> Option<f64> {
        if planned.execution.shards > 1 { Some(0.0) } else { self.known(planned) }
    }

    fn known(&self, planned: &Planned) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use indexmap::IndexMap;

    use super::*;
    use crate::plan::{Output, Params, Source};

    /// `a` → `b` → `c`, and `d` on its own; all of the kinds that their names start with.
    fn plan() -> Plan {
        let mut plan = Plan::new("toys".to_string(), String::new());
        for (name, producer) in [("a", None), ("b", Some(0)), ("c", Some(1)), ("d", None)] {
            let source = |stage| Source::Stage(Output { stage: StageIndex::new(stage), slot: "out".to_string() });
            plan.add(Planned {
                names: vec![name.to_string()],
                kind: format!("kind {name}"),
                version: 1,
                params: Params::default(),
                externals: BTreeMap::new(),
                inputs: producer.into_iter().map(|stage| ("in".to_string(), source(stage))).collect(),
                outputs: Arc::new(IndexMap::from([("out".to_string(), "text".to_string())])),
                execution: Arc::default(),
                accelerated: false,
            });
        }
        plan
    }

    fn duration(name: &str, kind: &str, wall: f64) -> (String, String, f64) {
        (name.to_string(), format!("kind {kind}"), wall)
    }

    #[test]
    fn a_stage_costs_what_it_took_last_or_what_its_kind_takes() {
        let plan = plan();
        let costs = Costs::new(vec![
            duration("a", "a", 10.0),
            duration("a", "a", 20.0),
            duration("elsewhere", "b", 2.0),
            duration("nowhere", "b", 4.0),
        ]);
        let expected: Vec<Option<f64>> = plan.order().map(|stage| costs.expected(&plan[stage])).collect();
        assert_eq!(expected, [Some(20.0), Some(3.0), None, None]);
    }

    #[test]
    fn shards_that_never_ran_cost_equal_parts_of_their_stage_and_merging_nothing() {
        let mut plan = plan();
        let mut whole = plan[StageIndex::new(1)].clone();
        Arc::make_mut(&mut whole.execution).shards = 4;
        let mut part =
            |name: &str| plan.add(Planned { names: vec![name.to_string()], ..plan[StageIndex::new(0)].clone() });
        let (known, new) = (part("b [1/4]"), part("b [2/4]"));
        let mut costs = Costs::new(vec![duration("b", "b", 20.0), duration("b [1/4]", "b shard", 8.0)]);
        costs.split(&whole, ["b [1/4]", "b [2/4]"].into_iter());
        let expected = |stage| costs.expected(&plan[stage]);
        assert_eq!((expected(known), expected(new), costs.expected(&whole)), (Some(8.0), Some(10.0), Some(0.0)));
    }

    #[test]
    fn the_rank_of_a_stage_is_the_longest_chain_of_what_is_left() {
        let plan = plan();
        let mut costs = Costs::new(vec![duration("b", "b", 5.0)]);
        assert_eq!(costs.ranks(&plan, |_| false), [7.0, 6.0, 1.0, 1.0]);
        assert_eq!(costs.ranks(&plan, |stage| stage.index() == 1), [2.0, 1.0, 1.0, 1.0]);
        assert!(costs.learn("kind d", 9.0));
        assert_eq!(costs.ranks(&plan, |_| false), [7.0, 6.0, 1.0, 9.0]);
    }

    #[test]
    fn the_rest_takes_the_longest_chain_or_all_work_over_the_jobs() {
        let plan = plan();
        let mut costs = Costs::new(vec![duration("a", "a", 1.0), duration("b", "b", 2.0), duration("c", "c", 3.0)]);
        assert_eq!(costs.remaining(&plan, 2, |_| 1.0), None, "nothing is known of d");
        assert_eq!(costs.remaining(&plan, 2, |stage| if stage.index() == 3 { 0.0 } else { 1.0 }), Some(6.0));
        costs.learn("kind d", 10.0);
        assert_eq!(costs.remaining(&plan, 2, |_| 1.0), Some(10.0));
        assert_eq!(costs.remaining(&plan, 1, |_| 1.0), Some(16.0));
        assert_eq!(costs.remaining(&plan, 1, |_| 0.5), Some(8.0));
    }
}
