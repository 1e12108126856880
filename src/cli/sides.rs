//! One side of a comparison: the stages of an experiment, of one arm of it, or of a recorded run, with what
//! their results depend on and came to.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;

use super::failure::Failure;
use super::records::is_called;
use super::runs::{Run, runs};
use super::workspace::{Lenient, Workspace, read};
use crate::cache::{Artifact, Cache};
use crate::digest::Digest;
use crate::plan::{Plan, Source, StageIndex, plan};
use crate::scheduler::{Examination, Verdict, recorded};
use crate::spec::Overrides;
use crate::stage::Registry;
use crate::text::{did_you_mean, ticked_list};

/// One side.
pub struct Side {
    /// What it is, for people.
    pub title: String,
    /// Its stages by their path in the plan, without the arm if only one is meant.
    pub stages: IndexMap<String, Stage>,
}

/// A stage of a side.
pub struct Stage {
    /// Its kind.
    pub kind: String,
    /// The text of its key; of a stage below one that has no result, without the inputs that are not known.
    pub key: String,
    /// Input slot → the path of the stage that makes what is in it.
    pub producers: BTreeMap<String, String>,
    /// The slots whose content is not known yet.
    pub pending: Vec<String>,
    /// Its result, if there is one.
    pub outputs: Option<BTreeMap<String, Artifact>>,
}

/// What the command line names: `FILE`, `FILE:ARM`, or a run by its name or the start of its id.
pub fn side(
    operand: &str,
    overrides: &Overrides,
    workspace: &mut Workspace,
    registry: &Registry,
) -> Result<Side, Failure> {
    let splits = operand.match_indices(':').map(|(at, _)| (&operand[..at], Some(&operand[at + 1..])));
    let found = [(operand, None)].into_iter().chain(splits).find(|(file, _)| Path::new(file).is_file());
    if let Some((file, arm)) = found {
        return of_experiment(Path::new(file), arm, overrides, workspace, registry);
    }
    let fits = |run: &Run| is_called(operand, run.name.as_deref(), &run.id);
    match runs(workspace.directory()).into_iter().rev().find(fits) {
        Some(run) => of_run(&run, workspace.existing_cache()?),
        None => {
            let message = format!("`{operand}` is neither the file of an experiment nor a run");
            let hint = "name a file, one of its arms as `FILE:ARM`, or what a run was called with `exec --name`";
            Err(Failure::usage(message, Some(hint)))
        }
    }
}

fn of_experiment(
    file: &Path,
    arm: Option<&str>,
    overrides: &Overrides,
    workspace: &mut Workspace,
    registry: &Registry,
) -> Result<Side, Failure> {
    let (document, problems) = read(file, overrides)?;
    let arms: Vec<String> = document.arms.iter().filter_map(|arm| arm.name.clone()).collect();
    if let Some(arm) = arm.filter(|arm| !arms.iter().any(|known| known == arm)) {
        let near = did_you_mean(arm, arms.iter().map(String::as_str));
        let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let message = format!("`{}` has no arm `{arm}`{near}", file.display());
        let hint = match arms.is_empty() {
            true => "it has no arms at all: name the file alone".to_string(),
            false => format!("its arms are {}", ticked_list(&arms)),
        };
        return Err(Failure::usage(message, Some(&hint)));
    }
    let plan = plan(&document, registry, &mut Lenient::new(workspace), problems).map_err(Failure::Problems)?;
    let cache = workspace.cache()?;
    let examination = recorded(&plan, cache)?;
    let title = match arm {
        Some(arm) => format!("{}, arm `{arm}`", file.display()),
        None => file.display().to_string(),
    };
    let mut side = Side { title, stages: IndexMap::new() };
    for stage in plan.order() {
        for path in paths(&plan, stage, arm) {
            side.stages.insert(path, planned(&plan, stage, arm, &examination));
        }
    }
    Ok(side)
}

/// The paths of a stage, without the arm where one is meant.
fn paths(plan: &Plan, stage: StageIndex, arm: Option<&str>) -> Vec<String> {
    let path = |name: &String| match arm {
        Some(arm) => name.strip_prefix(arm)?.strip_prefix('/').map(str::to_string),
        None => Some(name.clone()),
    };
    plan[stage].names.iter().filter_map(path).collect()
}

fn planned(plan: &Plan, stage: StageIndex, arm: Option<&str>, examination: &Examination) -> Stage {
    let planned = &plan[stage];
    let examined = &examination[stage];
    let mut producers = BTreeMap::new();
    let mut pending = Vec::new();
    for (slot, source) in planned.inputs.iter() {
        let Source::Stage(output) = source else { continue };
        let path = paths(plan, output.stage, arm).into_iter().next();
        producers.insert(slot.to_string(), path.unwrap_or_else(|| plan[output.stage].name().to_string()));
        if examination[output.stage].outputs.get(&output.slot).is_none() {
            pending.push(slot.to_string());
        }
    }
    let outputs = examined.outputs.iter().map(|(slot, digest)| {
        let kind = planned.outputs.get(slot).cloned().unwrap_or_default();
        (slot.to_string(), Artifact { digest: *digest, kind, bytes: 0 })
    });
    let outputs = (examined.verdict == Verdict::Fresh).then(|| outputs.collect());
    Stage { kind: planned.kind.clone(), key: examination.key(plan, stage).text, producers, pending, outputs }
}

/// What a run came to. Results that are not there any more are left out.
fn of_run(run: &Run, cache: &Cache) -> Result<Side, Failure> {
    let name = run.name.as_ref().map_or(String::new(), |name| format!(" `{name}`"));
    let mut side = Side { title: format!("run{name} {}", run.id), stages: IndexMap::new() };
    let mut made: BTreeMap<Digest, String> = BTreeMap::new();
    let mut entries = Vec::new();
    for (experiment, stages) in &run.results {
        for (stage, fingerprint) in stages {
            let path = if run.results.len() == 1 { stage.clone() } else { format!("{experiment}: {stage}") };
            let Some(entry) = cache.entry(fingerprint)? else { continue };
            entry.outputs.values().for_each(|artifact| {
                made.entry(artifact.digest).or_insert_with(|| path.clone());
            });
            entries.push((path, entry));
        }
    }
    for (path, entry) in entries {
        let inputs = entry.inputs().into_iter();
        let producers = inputs.filter_map(|(slot, digest)| Some((slot, made.get(&digest)?.clone()))).collect();
        let (kind, key, outputs) = (entry.provenance.kind, entry.key, Some(entry.outputs));
        side.stages.insert(path, Stage { kind, key, producers, pending: Vec::new(), outputs });
    }
    Ok(side)
}
