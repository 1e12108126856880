//! Random plans.

use std::collections::HashSet;

use proptest::prelude::*;
use runner::plan::{Plan, StageIndex};
use runner::scheduler::{Event, Options};

use crate::project::{Project, Sketch};

/// For each stage, which of the stages before it it reads.
type Graph = Vec<Vec<bool>>;

fn graphs() -> impl Strategy<Value = Graph> {
    let rows = |size: usize| (0..size).map(|row| prop::collection::vec(prop::bool::weighted(0.3), row)).collect();
    (1..12_usize).prop_flat_map(move |size| -> Vec<_> { rows(size) })
}

/// Joins with a text of their own each, so no two stages make the same.
fn plan(graph: &Graph, changed: Option<usize>) -> Plan {
    let mut sketch = Sketch::new();
    let mut stages = Vec::new();
    for (number, row) in graph.iter().enumerate() {
        let inputs: Vec<StageIndex> =
            row.iter().zip(&stages).filter(|(reads, _)| **reads).map(|(_, stage)| *stage).collect();
        let mark = if changed == Some(number) { "changed" } else { "" };
        stages.push(sketch.join(&number.to_string(), &format!("<{number}{mark}>"), &inputs));
    }
    sketch.plan
}

/// The stage and all below it.
fn descendants(plan: &Plan, stage: StageIndex) -> HashSet<String> {
    let mut found = HashSet::from([stage]);
    for stage in plan.order() {
        if plan.producers(stage).any(|producer| found.contains(&producer)) {
            found.insert(stage);
        }
    }
    found.into_iter().map(|stage| plan[stage].name().to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_stage_runs_once_and_after_what_it_reads_and_a_change_reruns_what_is_below(
        graph in graphs(),
        jobs in 1..5_usize,
        change in any::<prop::sample::Index>(),
    ) {
        let project = Project::new();
        let cold = plan(&graph, None);
        let story = project.run_with(&cold, Options { jobs, keep_going: false, ..Options::default() });
        let mut finished = HashSet::new();
        let mut started = HashSet::new();
        for event in &story.events {
            match event {
                Event::Started { stage, .. } => {
                    prop_assert!(started.insert(stage.clone()), "{} ran twice", stage);
                    for producer in cold.producers(cold.find(stage).unwrap()) {
                        prop_assert!(finished.contains(cold[producer].name()));
                    }
                }
                Event::Finished { stage, .. } => drop(finished.insert(stage.clone())),
                _ => {}
            }
        }
        prop_assert_eq!(finished.len(), graph.len());

        let changed = change.index(graph.len());
        let warm = plan(&graph, Some(changed));
        let story = project.run_with(&warm, Options { jobs, keep_going: false, ..Options::default() });
        let ran: HashSet<String> = story.ran().into_iter().map(str::to_string).collect();
        prop_assert_eq!(ran, descendants(&warm, StageIndex::new(changed)));
    }
}
