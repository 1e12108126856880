//! What would run and why, without running anything.

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
    /// The digest of its key; where the verdict is [`Verdict::Maybe`], the inputs that are not known are
    /// missing in it. [`Examination::key`] says what is in the key.
    pub fingerprint: Digest,
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

    /// The key of a stage of the plan that was examined, as far as its inputs are known.
    pub fn key(&self, plan: &Plan, stage: StageIndex) -> Key {
        key(&plan[stage], known(&plan[stage], &self.stages).filter_map(|(slot, digest)| Some((slot, digest?))))
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
    let mut text = String::new();
    for stage in plan.order() {
        let planned = &plan[stage];
        let inputs = || known(planned, &stages).filter_map(|(slot, digest)| Some((slot, digest?)));
        let pending = known(planned, &stages).any(|(_, digest)| digest.is_none());
        let fingerprint = Key::write(&mut text, (&planned.kind, planned.version), planned.params.iter(), inputs());
        let (verdict, outputs) = if pending {
            let unknown = known(planned, &stages).filter(|(_, digest)| digest.is_none()).map(|(slot, _)| slot);
            (Verdict::Maybe(pending_reasons(plan, cache, planned, &text, unknown)?), Outputs::new())
        } else {
            match cache.recorded(&fingerprint)? {
                Recorded::Present(outputs) => (Verdict::Fresh, outputs),
                Recorded::Broken { slot, artifact } => {
                    (Verdict::Run(vec![DirtyReason::OutputMissing { slot, digest: artifact }]), Outputs::new())
                }
                Recorded::Absent => (Verdict::Run(reasons(plan, cache, planned, &text)?), Outputs::new()),
            }
        };
        stages.push(Examined { verdict, fingerprint, outputs });
    }
    Ok(Examination { stages })
}

/// The input slots of a stage with the digests of what is in them, where that is known.
fn known<'p>(planned: &'p Planned, stages: &'p [Examined]) -> impl Iterator<Item = (&'p str, Option<&'p Digest>)> {
    planned.inputs.iter().map(|(slot, source)| match source {
        Source::External(external) => (slot, Some(&external.digest)),
        Source::Stage(output) => (slot, stages[output.stage.index()].outputs.get(&output.slot)),
    })
}

/// The key of a stage with these inputs, which are in the order of their slots.
pub(super) fn key<'k>(planned: &'k Planned, inputs: impl Iterator<Item = (&'k str, &'k Digest)>) -> Key {
    let mut text = String::new();
    let fingerprint = Key::write(&mut text, (&planned.kind, planned.version), planned.params.iter(), inputs);
    Key { fingerprint, text }
}

/// Why a stage must run whose key, with this text, has no result.
pub(super) fn reasons(
    plan: &Plan,
    cache: &Cache,
    planned: &Planned,
    key: &str,
) -> Result<Vec<DirtyReason>, CacheError> {
    let Some(last) = last_key(plan, cache, planned)? else { return Ok(vec![DirtyReason::NeverRan]) };
    let reasons = differences(&last, key);
    Ok(if reasons.is_empty() { vec![DirtyReason::ResultMissing] } else { reasons })
}

/// What is known to differ already, and the inputs that are not known.
fn pending_reasons<'p>(
    plan: &Plan,
    cache: &Cache,
    planned: &Planned,
    key: &str,
    pending: impl Iterator<Item = &'p str>,
) -> Result<Vec<DirtyReason>, CacheError> {
    let mut reasons = match last_key(plan, cache, planned)? {
        Some(last) => differences(&last, key),
        None => vec![DirtyReason::NeverRan],
    };
    let pending: Vec<&str> = pending.collect();
    reasons.retain(|reason| !matches!(reason, DirtyReason::InputRemoved { slot } if pending.contains(&slot.as_str())));
    let producer = |slot: &str| match &planned.inputs[slot] {
        Source::Stage(output) => plan[output.stage].name().to_string(),
        Source::External(_) => unreachable!("an external input has a digest"),
    };
    let of = |slot: &str| DirtyReason::InputPending { slot: slot.to_string(), producer: producer(slot) };
    reasons.extend(pending.into_iter().map(of));
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
