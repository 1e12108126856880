//! Which stages the results of a run depend on, and what each of them is for.

use std::collections::BTreeSet;

use super::graph::{Output, Plan, Source, StageIndex};
use crate::report::Phase;

/// The slot by which a stage reads the model that it works on.
const MODEL: &str = "model";

/// All stages that `results` depend on, each once and in their order, with what they are for.
///
/// The stages of `results` themselves evaluate. A stage trains if it made a model that one of them
/// evaluates, or the model that such a stage started from. A dataset is read by stages of the kind
/// `ingest`. Every other stage is there to select, also one that trains a model for that purpose alone.
pub fn phases(plan: &Plan, results: &[Output]) -> Vec<(StageIndex, Phase)> {
    let results: BTreeSet<StageIndex> = results.iter().map(|output| output.stage).collect();
    let training = closure(&results, |stage| producer(plan, stage, MODEL).into_iter().collect());
    let needed = closure(&results, |stage| plan.producers(stage).collect());
    let phase = |stage: StageIndex| match plan[stage].kind.as_str() {
        _ if results.contains(&stage) => Phase::Evaluation,
        "ingest" => Phase::Ingest,
        _ if training.contains(&stage) => Phase::Training,
        _ => Phase::Selection,
    };
    needed.into_iter().map(|stage| (stage, phase(stage))).collect()
}

/// The stages that made the models which `results` evaluate, each once and in their order.
pub fn trained(plan: &Plan, results: &[Output]) -> Vec<StageIndex> {
    let stages: BTreeSet<StageIndex> =
        results.iter().filter_map(|output| producer(plan, output.stage, MODEL)).collect();
    stages.into_iter().collect()
}

fn producer(plan: &Plan, stage: StageIndex, slot: &str) -> Option<StageIndex> {
    match plan[stage].inputs.get(slot)? {
        Source::Stage(output) => Some(output.stage),
        Source::External(_) => None,
    }
}

/// `start` and everything that `next` leads to from there.
fn closure(start: &BTreeSet<StageIndex>, next: impl Fn(StageIndex) -> Vec<StageIndex>) -> BTreeSet<StageIndex> {
    let mut found = start.clone();
    let mut waiting: Vec<StageIndex> = start.iter().copied().collect();
    while let Some(stage) = waiting.pop() {
        waiting.extend(next(stage).into_iter().filter(|stage| found.insert(*stage)));
    }
    found
}
