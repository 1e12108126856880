//! What would run and why, without running anything.

use std::collections::BTreeMap;
use std::ops::Index;

use crate::cache::{Cache, CacheError, Outputs, Recorded};
use crate::digest::Digest;
use crate::fingerprint::{DirtyReason, Key, differences};
use crate::plan::{Plan, Planned, Source, StageIndex};

/// Whether a stage has to run.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Its result is in the cache.
    Fresh,
    /// It must run.
    Run(Vec<DirtyReason>),
    /// It reads the result of a stage that must run, so its key is not known yet.
    Maybe(Vec<DirtyReason>),
}

/// What is known of a stage before the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// Whether it has to run.
    pub verdict: Verdict,
    /// Its key; where the verdict is [`Verdict::Maybe`], the inputs that are not known are missing in
    /// it.
    pub key: Key,
    /// Its result, if it is fresh.
    pub outputs: Outputs,
}

/// What is known of every stage of a plan before the run.
#[derive(Debug, Clone)]
pub struct Examination {
    stages: Vec<Examined>,
}

impl Index<StageIndex> for Examination {
    type Output = Examined;

    fn index(&self, stage: StageIndex) -> &Examined {
        &self.stages[stage.index()]
    }
}

impl Examination {
    /// What is known of these stages, in the order of their plan.
    pub(super) fn of(stages: Vec<Examined>) -> Examination {
        Examination { stages }
    }

    /// How many stages are fresh, must run, and may have to.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |which: fn(&Verdict) -> bool| self.stages.iter().filter(|stage| which(&stage.verdict)).count();
        (
            count(|verdict| matches!(verdict, Verdict::Fresh)),
            count(|verdict| matches!(verdict, Verdict::Run(_))),
            count(|verdict| matches!(verdict, Verdict::Maybe(_))),
        )
    }
}

/// Looks up every stage of a plan as far as its inputs are known. Writes nothing but what it learns
/// of the health of artifacts.
///
/// # Errors
///
/// If the cache fails.
pub fn examine(plan: &Plan, cache: &mut Cache) -> Result<Examination, CacheError> {
    // The rows are believed at first, and all artifacts that they name are then checked at once. A
    // broken one is found only once, so this ends.
    loop {
        let examination = walk(plan, cache)?;
        let artifacts = examination.stages.iter().flat_map(|stage| stage.outputs.values().copied());
        if cache.check(artifacts)? == 0 {
            return Ok(examination);
        }
    }
}

/// [`examine`] without a look at the files of artifacts: what the rows say.
///
/// # Errors
///
/// If the cache fails.
pub fn recorded(plan: &Plan, cache: &mut Cache) -> Result<Examination, CacheError> {
    walk(plan, cache)
}

fn walk(plan: &Plan, cache: &mut Cache) -> Result<Examination, CacheError> {
    let mut stages: Vec<Examined> = Vec::with_capacity(plan.len());
    for stage in plan.order() {
        let planned = &plan[stage];
        let mut inputs = BTreeMap::new();
        let mut pending = Vec::new();
        for (slot, source) in &planned.inputs {
            let known = match source {
                Source::External(external) => Some(external.digest),
                Source::Stage(output) => stages[output.stage.index()].outputs.get(&output.slot).copied(),
            };
            match (known, source) {
                (Some(digest), _) => drop(inputs.insert(slot.clone(), digest)),
                (None, Source::Stage(output)) => pending.push((slot, plan[output.stage].name())),
                (None, Source::External(_)) => unreachable!("an external input has a digest"),
            }
        }
        let key = key(planned, &inputs);
        let examined = if !pending.is_empty() {
            let verdict = Verdict::Maybe(pending_reasons(plan, cache, planned, &key, &pending)?);
            Examined { verdict, key, outputs: Outputs::new() }
        } else {
            match cache.recorded(&key.fingerprint)? {
                Recorded::Present(outputs) => Examined { verdict: Verdict::Fresh, key, outputs },
                Recorded::Broken { slot, artifact } => {
                    let reason = DirtyReason::OutputMissing { slot, digest: artifact };
                    Examined { verdict: Verdict::Run(vec![reason]), key, outputs: Outputs::new() }
                }
                Recorded::Absent => {
                    let verdict = Verdict::Run(reasons(plan, cache, planned, &key)?);
                    Examined { verdict, key, outputs: Outputs::new() }
                }
            }
        };
        stages.push(examined);
    }
    Ok(Examination { stages })
}

/// The key of a stage with these inputs.
pub(super) fn key(planned: &Planned, inputs: &BTreeMap<String, Digest>) -> Key {
    Key::new(&planned.kind, planned.version, &planned.params, inputs)
}

/// Why a stage must run whose key has no result.
pub(super) fn reasons(
    plan: &Plan,
    cache: &Cache,
    planned: &Planned,
    key: &Key,
) -> Result<Vec<DirtyReason>, CacheError> {
    let Some(last) = last_key(plan, cache, planned)? else { return Ok(vec![DirtyReason::NeverRan]) };
    let reasons = differences(&last, &key.text);
    Ok(if reasons.is_empty() { vec![DirtyReason::ResultMissing] } else { reasons })
}

/// What is known to differ already, and the inputs that are not known.
fn pending_reasons(
    plan: &Plan,
    cache: &Cache,
    planned: &Planned,
    key: &Key,
    pending: &[(&String, &str)],
) -> Result<Vec<DirtyReason>, CacheError> {
    let mut reasons = match last_key(plan, cache, planned)? {
        Some(last) => differences(&last, &key.text),
        None => vec![DirtyReason::NeverRan],
    };
    reasons.retain(|reason| {
        let unknown = |slot: &String| pending.iter().any(|(pending, _)| *pending == slot);
        !matches!(reason, DirtyReason::InputRemoved { slot } if unknown(slot))
    });
    reasons.extend(
        pending.iter().map(|(slot, producer)| DirtyReason::InputPending {
            slot: slot.to_string(),
            producer: producer.to_string(),
        }),
    );
    Ok(reasons)
}

/// The last key of the stage, by any of its names.
fn last_key(plan: &Plan, cache: &Cache, planned: &Planned) -> Result<Option<String>, CacheError> {
    for name in &planned.names {
        if let Some(text) = cache.last_key(&plan.experiment, name)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}
