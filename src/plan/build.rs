//! From a document to a plan: checks everything, then adds what the report needs, each stage once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::externals::{Externals, Memory, Refusal};
use super::graph::{Output, Plan, Planned, PlannedItem, ReportRun, Source, StageIndex};
use super::instance::{Instance, Run, Target};
use super::report::{self, Item, Want};
use super::wiring::Wiring;
use crate::digest::{Digest, DigestMap};
use crate::report::Moment;
use crate::slots::{Names, Slots};
use crate::spec::{Document, Node, ProblemKind, Problems};
use crate::stage::{External, Registry};

/// Plans an experiment. `problems` holds what was wrong with it so far, and the texts.
///
/// # Errors
///
/// Everything that is wrong with the experiment.
pub fn plan(
    document: &Document,
    registry: &Registry,
    externals: &mut dyn Externals,
    mut problems: Problems,
) -> Result<Plan, Problems> {
    let items = report::read(document, &mut problems);
    let title = title(document, &mut problems);
    let mut wirings = Vec::new();
    for arm in &document.arms {
        let before = problems.list.len();
        let wiring = Wiring::new(arm, registry, &mut problems);
        let wanted: Vec<Vec<Want<'_>>> = items.iter().map(|item| item.wanted(&wiring, &mut problems)).collect();
        blame(&mut problems, before, arm.name.as_ref());
        wirings.push((wiring, wanted));
    }
    let stages: BTreeSet<&str> =
        wirings.iter().flat_map(|(wiring, _)| wiring.stages.iter().map(|wired| wired.name)).collect();
    let stages: Vec<&str> = stages.into_iter().collect();
    items.iter().for_each(|item| item.check(&stages, &mut problems));
    let seeds: Vec<Option<u64>> = match document.seeds.as_slice() {
        [] => vec![None],
        seeds => seeds.iter().copied().map(Some).collect(),
    };
    let mut runs = Vec::new();
    for (wiring, wanted) in &wirings {
        for seed in &seeds {
            let before = problems.list.len();
            runs.push((Run::new(wiring, seed.unwrap_or(0), &mut problems), *seed, wanted));
            blame(&mut problems, before, wiring.arm.name.as_ref());
        }
    }
    // Nothing outside is looked at for an experiment that is wrong anyway.
    let mut builder = Builder::new(document, title, items, externals);
    if problems.is_empty() {
        for (run, seed, wanted) in runs {
            let (before, arm) = (problems.list.len(), run.wiring.arm.name.as_ref());
            builder.add(run, seed, wanted, &mut problems);
            blame(&mut problems, before, arm);
        }
    }
    if problems.is_empty() { Ok(builder.plan) } else { Err(problems.tidy(document.arms.len())) }
}

/// Says of the problems noted since `before` which arm has them.
fn blame(problems: &mut Problems, before: usize, arm: Option<&String>) {
    for problem in &mut problems.list[before..] {
        problem.arm = arm.cloned();
    }
}

/// The headline; by default the experiment's name.
fn title(document: &Document, problems: &mut Problems) -> String {
    let Some(title) = document.title.as_ref().filter(|title| !title.is_null()) else { return document.name.clone() };
    match document.scope().resolve(title) {
        Ok(resolved) => match resolved.as_str() {
            Some(text) => return text.to_string(),
            None => problems.add(ProblemKind::wrong_type("`title`", "a text", &resolved).at(title.mark)),
        },
        Err(problem) => problems.add(problem),
    }
    document.name.clone()
}

struct Builder<'e> {
    plan: Plan,
    /// Stages by the digest of everything that makes them equal.
    known: DigestMap<StageIndex>,
    /// The digest of each stage of the plan.
    identities: Vec<Digest>,
    /// The names of slots.
    names: Names,
    /// A buffer.
    text: Vec<u8>,
    externals: Memory<'e>,
}

impl<'e> Builder<'e> {
    fn new(document: &Document, title: String, items: Vec<Item>, externals: &'e mut dyn Externals) -> Builder<'e> {
        let mut plan = Plan::new(document.name.clone(), title);
        plan.report = items.into_iter().map(|item| PlannedItem { spec: item.spec(), runs: Vec::new() }).collect();
        Builder {
            plan,
            known: DigestMap::default(),
            identities: Vec::new(),
            names: Names::default(),
            text: Vec::new(),
            externals: Memory::new(externals),
        }
    }

    /// Adds what the report needs of a run; everything where there is no report.
    fn add<'a>(&mut self, mut run: Run<'_, 'a>, seed: Option<u64>, wanted: &[Vec<Want<'a>>], problems: &mut Problems) {
        let instances = |want: &Want<'a>| want.place.instances(&run);
        let roots: Vec<usize> = match wanted {
            [] => (0..run.instances.len()).collect(),
            wanted => wanted.iter().flatten().flat_map(instances).map(|(instance, _)| instance).collect(),
        };
        let demanded = run.demanded(roots);
        let mut planned: Vec<Option<StageIndex>> = vec![None; demanded.len()];
        let order: Vec<usize> = run.order().filter(|instance| demanded[*instance]).collect();
        for index in order {
            let Some(instance) = run.instances[index].take() else { continue };
            planned[index] = self.add_instance(&run, index, instance, seed, &planned, problems);
        }
        for (item, wanted) in self.plan.report.iter_mut().zip(wanted) {
            let arm = run.wiring.arm.name.clone();
            let mut brought = ReportRun { arm, seed, outputs: BTreeMap::new(), moments: BTreeMap::new() };
            for want in wanted {
                let output = |(instance, slot): (usize, &str)| {
                    planned[instance].map(|stage| (Output { stage, slot: slot.to_string() }, moment(&run, instance)))
                };
                let outputs = want.place.instances(&run).into_iter().filter_map(output);
                let (outputs, moments): (Vec<Output>, Vec<Moment>) = outputs.unzip();
                brought.outputs.entry(want.name.clone()).or_default().extend(outputs);
                brought.moments.entry(want.name.clone()).or_default().extend(moments);
            }
            item.runs.push(brought);
        }
    }

    fn add_instance(
        &mut self,
        run: &Run<'_, '_>,
        index: usize,
        instance: Instance<'_>,
        seed: Option<u64>,
        planned: &[Option<StageIndex>],
        problems: &mut Problems,
    ) -> Option<StageIndex> {
        let (wired, step) = run.stage(index);
        let signature = wired.signature?;
        let mut params = instance.params;
        let mut externals = BTreeMap::new();
        let mut complete = true;
        for (param, node) in instance.paths {
            let what = || format!("param `{param}` of `{}`", wired.name);
            match self.external(&node, what, problems) {
                Some(external) => {
                    params.set(param, Json::from(external.digest.to_string()));
                    externals.insert(param.to_string(), external);
                }
                None => complete = false,
            }
        }
        params.shrink();
        let mut inputs = Vec::with_capacity(instance.inputs.len());
        for (slot, target) in instance.inputs {
            let what = || format!("input `{slot}` of `{}`", wired.name);
            let source = match target {
                Target::Instance(producer, output) => {
                    planned[producer].map(|stage| Source::Stage(Output { stage, slot: output.to_string() }))
                }
                Target::Path(node) => {
                    let is_checkpoint = signature.inputs[slot].kinds == ["checkpoint"];
                    let checked = self.checked(&node, is_checkpoint, what, problems);
                    checked.map(Source::External)
                }
            };
            match source {
                Some(source) => inputs.push((self.names.shared(slot), source)),
                None => complete = false,
            }
        }
        if !complete {
            return None;
        }
        let name = name(run.wiring.arm.name.as_deref(), seed, step, wired.name);
        let stage = Planned {
            names: vec![name],
            kind: signature.kind.clone(),
            version: signature.version,
            params,
            externals,
            inputs: Slots::from_iter(inputs),
            outputs: wired.outputs.clone(),
            execution: wired.execution.clone(),
            accelerated: wired.accelerated,
        };
        let identity = stage.identity(|producer| self.identities[producer.index()], &mut self.text);
        if let Some(known) = self.known.get(&identity).copied() {
            let [name] = stage.names.try_into().ok()?;
            self.plan.share(known, name);
            return Some(known);
        }
        let stage = self.plan.add(stage);
        self.known.insert(identity, stage);
        self.identities.push(identity);
        Some(stage)
    }

    fn external(&mut self, node: &Node, what: impl Fn() -> String, problems: &mut Problems) -> Option<External> {
        self.checked(node, false, what, problems)
    }

    /// What a value names, which must look like a checkpoint if it is to be one.
    fn checked(
        &mut self,
        node: &Node,
        is_checkpoint: bool,
        what: impl Fn() -> String,
        problems: &mut Problems,
    ) -> Option<External> {
        let value = node.as_str()?;
        let found = self.externals.get(value, problems.sources.directory(node.mark));
        let found = found.and_then(|external| match is_checkpoint {
            true => self.externals.check_checkpoint(value, &external).map(|()| external),
            false => Ok(external),
        });
        match found {
            Ok(external) => Some(external),
            Err(Refusal { reason, hint }) => {
                problems.add(ProblemKind::External { what: what(), reason, hint }.at(node.mark));
                None
            }
        }
    }
}

/// When an instance runs, as a report calls it.
fn moment(run: &Run<'_, '_>, instance: usize) -> Moment {
    let (wired, step) = run.stage(instance);
    let Some(step) = step else { return Moment { step: None, name: wired.name.to_string() } };
    let element = &run.wiring.steps[step];
    let name = element.as_str().or_else(|| element.get("name").and_then(|name| name.node.as_str()));
    Moment { step: Some(step), name: name.map_or_else(|| format!("t{}", step + 1), str::to_string) }
}

/// `<arm>/s<seed>/t<step>/<stage>`.
fn name(arm: Option<&str>, seed: Option<u64>, step: Option<usize>, stage: &str) -> String {
    let mut name = String::new();
    if let Some(arm) = arm {
        name.push_str(arm);
        name.push('/');
    }
    if let Some(seed) = seed {
        let _ = write!(name, "s{seed}/");
    }
    if let Some(step) = step {
        let _ = write!(name, "t{}/", step + 1);
    }
    name.push_str(stage);
    name.shrink_to_fit();
    name
}
