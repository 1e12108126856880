//! One arm, checked as far as it can be without its seed and step: kinds, slots, links and their
//! order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::{check, execution};
use crate::spec::{
    Arm, Experiment, Map, Mark, Node, Problem, ProblemKind, Problems, Scope, Stage, Value, has_references,
};
use crate::stage::{Execution, Param, ParamKind, Registry, Signature};

/// An arm with every name resolved to what it means.
pub(super) struct Wiring<'a> {
    pub arm: &'a Arm,
    /// Stages outside the chain, then those of one step.
    pub stages: Vec<Wired<'a>>,
    /// How many stages are outside the chain.
    pub outside: usize,
    /// The stages outside the chain, producers first, then those of a step, producers first.
    pub order: Vec<usize>,
    /// The elements that the chain goes over.
    pub steps: Vec<Node>,
    /// The chain's variable.
    pub variable: &'a str,
    /// Carried name → what it is in the first step, and in the step after.
    pub carry: Vec<Carry<'a>>,
}

/// A name that the chain carries from step to step.
pub(super) struct Carry<'a> {
    pub name: &'a str,
    pub initial: Option<Link<'a>>,
    pub next: Option<Link<'a>>,
}

/// A stage of an arm.
pub(super) struct Wired<'a> {
    pub name: &'a str,
    pub mark: Mark,
    /// Absent if the kind is unknown, which is noted.
    pub signature: Option<&'a Signature>,
    pub params: Settings<'a>,
    /// The slots of the signature that something is wired to.
    pub inputs: HashMap<&'a str, Option<Link<'a>>>,
    /// Output slot → artifact kind.
    pub outputs: Arc<IndexMap<String, String>>,
    pub execution: Arc<Execution>,
    /// Whether the scheduler chooses the device.
    pub accelerated: bool,
}

/// The params of a stage before its seed and step are known.
pub(super) enum Settings<'a> {
    /// By name, in the order of the signature; and what is the same everywhere, with `null` for all else.
    Each(Vec<Setting<'a>>, Arc<[(String, Json)]>),
    /// A reference to a map.
    Whole(&'a Node),
}

/// A param before the seed and step are known.
pub(super) struct Setting<'a> {
    pub name: &'a str,
    pub param: &'a Param,
    pub value: Setter,
}

/// How a param gets its value.
pub(super) enum Setter {
    /// The same everywhere.
    Fixed(Json),
    /// Has references, or is a path.
    Open(Node),
    /// It cannot get one, which is noted.
    Broken,
}

/// Where an input comes from. An absent link is one that was noted as a problem.
#[derive(Debug, Clone)]
pub(super) enum Link<'a> {
    /// An output of the stage with this index.
    Stage(usize, &'a str),
    /// `carry.<name>`, by its index.
    Carry(usize),
    /// An artifact directory outside the store.
    Path(Node),
    /// `null`: nothing.
    Nothing,
}

impl<'a> Wiring<'a> {
    /// Wires an arm and notes what is wrong with it.
    pub(super) fn new(arm: &'a Arm, registry: &'a Registry, problems: &mut Problems) -> Wiring<'a> {
        let experiment = &arm.experiment;
        let scope = arm_scope(arm);
        let inside = experiment.chain.iter().flat_map(|chain| &chain.stages);
        let written: Vec<(&'a str, &'a Stage)> =
            experiment.stages.iter().chain(inside).map(|(name, stage)| (name.as_str(), stage)).collect();
        let kinds = execution::of_kinds(experiment, registry, &scope, problems);
        let stages =
            written.iter().map(|(name, stage)| wire_stage(name, stage, &kinds, registry, &scope, problems)).collect();
        let mut wiring = Wiring {
            arm,
            stages,
            outside: experiment.stages.len(),
            order: Vec::new(),
            steps: Vec::new(),
            variable: "",
            carry: Vec::new(),
        };
        let names = Names::new(experiment);
        if let Some(chain) = &experiment.chain {
            wiring.variable = &chain.variable;
            wiring.steps = steps(&chain.over, &scope, problems);
            for (name, entry) in &chain.carry {
                let initial = wiring.link(&entry.node, &names, Place::Outside, &scope, problems);
                let next = chain.next.get(name);
                let next = next.and_then(|next| wiring.link(&next.node, &names, Place::Inside, &scope, problems));
                wiring.carry.push(Carry { name, initial, next });
            }
        }
        for (index, (_, stage)) in written.iter().enumerate() {
            let place = if index < wiring.outside { Place::Outside } else { Place::Inside };
            wiring.stages[index].inputs = wiring.links(index, stage, &names, place, &scope, problems);
        }
        for (index, (_, stage)) in written.iter().enumerate() {
            wiring.check_artifacts(index, stage, problems);
        }
        wiring.check_references(problems);
        wiring.order = wiring.order_of(0..wiring.outside, problems);
        let inside = wiring.order_of(wiring.outside..wiring.stages.len(), problems);
        wiring.order.extend(inside);
        wiring
    }

    /// What references can refer to in a stage.
    pub(super) fn scope<'s>(&'s self, seed: u64, step: Option<usize>) -> Scope<'s> {
        Scope {
            seed: Some(seed),
            step: step.map(|step| step + 1),
            variable: step.and_then(|step| self.steps.get(step)).map(|element| (self.variable, element)),
            ..arm_scope(self.arm)
        }
    }

    /// How many stages a step of the chain has.
    pub(super) fn inside(&self) -> usize {
        self.stages.len() - self.outside
    }

    /// The output that `stage.slot` means to someone who sees everything, such as a table.
    pub(super) fn output(&self, stage: &str, slot: &str, mark: Mark) -> Result<(usize, &'a str), Problem> {
        let names = || self.stages.iter().map(|stage| stage.name);
        let Some(index) = names().position(|name| name == stage) else {
            return Err(ProblemKind::unknown("stage", stage, None, names()).at(mark));
        };
        match self.stages[index].signature {
            Some(signature) => self.slot(index, signature, slot, mark).map(|slot| (index, slot)),
            None => Ok((index, "")),
        }
    }

    fn slot(&self, index: usize, signature: &'a Signature, slot: &str, mark: Mark) -> Result<&'a str, Problem> {
        let owner = || Some(owner(self.stages[index].name, signature));
        match signature.outputs.get_key_value(slot) {
            Some((slot, _)) => Ok(slot),
            None => Err(ProblemKind::unknown("output", slot, owner(), signature.outputs.keys()).at(mark)),
        }
    }

    fn links(
        &self,
        index: usize,
        stage: &'a Stage,
        names: &Names<'a>,
        place: Place,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> HashMap<&'a str, Option<Link<'a>>> {
        let Some(signature) = self.stages[index].signature else { return HashMap::new() };
        let mut links = HashMap::new();
        for (slot, entry) in &stage.inputs {
            let Some((slot, _)) = signature.inputs.get_key_value(slot) else {
                let owner = Some(owner(self.stages[index].name, signature));
                problems.add(ProblemKind::unknown("input", slot, owner, signature.inputs.keys()).at(entry.key));
                continue;
            };
            links.insert(slot.as_str(), self.link(&entry.node, names, place, scope, problems));
        }
        links
    }

    /// Reads what is wired to an input.
    fn link(
        &self,
        node: &'a Node,
        names: &Names<'a>,
        place: Place,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) -> Option<Link<'a>> {
        let link = match &node.value {
            Value::Null => Ok(Some(Link::Nothing)),
            Value::Map(map) => match (map.len(), map.get("path")) {
                (1, Some(entry)) => Ok(Some(Link::Path(entry.node.clone()))),
                _ => Err(ProblemKind::wrong_type("an input", "`stage.slot` or `{path: …}`", node).at(node.mark)),
            },
            Value::String(_) => scope.resolve(node).and_then(|resolved| {
                let text = resolved.as_str().unwrap_or_default().to_string();
                self.reference(&text, node.mark, names, place)
            }),
            _ => Err(ProblemKind::wrong_type("an input", "`stage.slot` or `{path: …}`", node).at(node.mark)),
        };
        link.map_err(|problem| problems.add(problem)).ok().flatten()
    }

    fn reference(&self, text: &str, mark: Mark, names: &Names<'a>, place: Place) -> Result<Option<Link<'a>>, Problem> {
        let Some((stage, slot)) = text.split_once('.').filter(|(_, slot)| !slot.is_empty() && !slot.contains('.'))
        else {
            return Err(ProblemKind::NotAnOutput(text.to_string()).at(mark));
        };
        if stage == "carry" {
            if place == Place::Outside {
                return Err(ProblemKind::InsideChain { reference: text.to_string() }.at(mark));
            }
            return match names.carry.get(slot) {
                Some(index) => Ok(Some(Link::Carry(*index))),
                None => {
                    let known = names.carry_names.iter();
                    Err(ProblemKind::unknown("name", slot, Some("`carry`".to_string()), known).at(mark))
                }
            };
        }
        let Some(index) = names.stages.get(stage).copied() else {
            let visible = match place {
                Place::Outside => &names.stage_names[..self.outside],
                Place::Inside => &names.stage_names[..],
            };
            let carry = (place == Place::Inside).then_some("carry");
            return Err(ProblemKind::unknown("stage", stage, None, visible.iter().copied().chain(carry)).at(mark));
        };
        if place == Place::Outside && index >= self.outside {
            return Err(ProblemKind::InsideChain { reference: text.to_string() }.at(mark));
        }
        match self.stages[index].signature {
            Some(signature) => Ok(Some(Link::Stage(index, self.slot(index, signature, slot, mark)?))),
            None => Ok(None),
        }
    }

    /// Whether what is wired to the slots of a stage fits them.
    fn check_artifacts(&self, index: usize, stage: &Stage, problems: &mut Problems) {
        let wired = &self.stages[index];
        let Some(signature) = wired.signature else { return };
        for (slot, entry) in &stage.inputs {
            let Some(input) = signature.inputs.get(slot) else { continue };
            let Some(Some(link)) = wired.inputs.get(slot.as_str()) else { continue };
            let mut kinds = BTreeSet::new();
            self.kinds(link, &mut kinds, &mut BTreeSet::new());
            if let Some(found) = kinds.into_iter().find(|kind| !input.kinds.iter().any(|fits| fits == kind)) {
                let kind = ProblemKind::WrongArtifact {
                    slot: format!("input `{slot}` of `{}`", wired.name),
                    expected: input.kinds.clone(),
                    reference: entry.node.as_str().unwrap_or_default().to_string(),
                    found: found.to_string(),
                };
                problems.add(kind.at(entry.node.mark));
            }
        }
    }

    /// Whether the references in `params:` lead anywhere, those that no stage uses too.
    fn check_references(&self, problems: &mut Problems) {
        let scope = self.scope(0, (!self.steps.is_empty()).then_some(0));
        for entry in self.arm.experiment.params.as_map().into_iter().flat_map(Map::values) {
            if let Err(problem) = scope.resolve(&entry.node) {
                problems.add(problem);
            }
        }
    }

    /// The artifact kinds that a link can bring. A path is looked into by the stage itself.
    fn kinds(&self, link: &Link<'a>, kinds: &mut BTreeSet<&'a str>, seen: &mut BTreeSet<usize>) {
        match link {
            Link::Stage(index, slot) => {
                let output = self.stages[*index].signature.and_then(|signature| signature.outputs.get(*slot));
                kinds.extend(output.map(|output| output.kind.as_str()));
            }
            Link::Carry(index) if seen.insert(*index) => {
                let carry = &self.carry[*index];
                for link in carry.initial.iter().chain(&carry.next) {
                    self.kinds(link, kinds, seen);
                }
            }
            Link::Carry(_) | Link::Path(_) | Link::Nothing => {}
        }
    }

    /// The artifact kinds that a carried name can have.
    pub(super) fn carry_kinds(&self, index: usize) -> BTreeSet<&'a str> {
        let mut kinds = BTreeSet::new();
        self.kinds(&Link::Carry(index), &mut kinds, &mut BTreeSet::new());
        kinds
    }

    /// The stages in `range`, producers before consumers, otherwise as written. A cycle is noted.
    fn order_of(&self, range: std::ops::Range<usize>, problems: &mut Problems) -> Vec<usize> {
        let producers = |index: usize| {
            let links = self.stages[index].inputs.values().flatten();
            let stages = links.filter_map(|link| match link {
                Link::Stage(producer, _) if range.contains(producer) => Some(*producer),
                _ => None,
            });
            stages.collect::<BTreeSet<usize>>()
        };
        let mut waits: HashMap<usize, BTreeSet<usize>> = range.clone().map(|index| (index, producers(index))).collect();
        let mut consumers: HashMap<usize, Vec<usize>> = HashMap::new();
        for (consumer, producers) in &waits {
            for producer in producers {
                consumers.entry(*producer).or_default().push(*consumer);
            }
        }
        let mut ready: BTreeSet<usize> = range.clone().filter(|index| waits[index].is_empty()).collect();
        let mut order = Vec::with_capacity(range.len());
        while let Some(index) = ready.pop_first() {
            order.push(index);
            waits.remove(&index);
            for consumer in consumers.get(&index).into_iter().flatten() {
                if let Some(waiting) = waits.get_mut(consumer)
                    && waiting.remove(&index)
                    && waiting.is_empty()
                {
                    ready.insert(*consumer);
                }
            }
        }
        // Whatever still waits is in a cycle or behind one: going to producers must come back.
        if let Some(start) = waits.keys().min() {
            let mut path = vec![*start];
            let cycle = loop {
                let last = path[path.len() - 1];
                let Some(producer) = waits[&last].first() else { break path };
                if let Some(at) = path.iter().position(|index| index == producer) {
                    break path.split_off(at);
                }
                path.push(*producer);
            };
            let mut names: Vec<String> = cycle.iter().rev().map(|index| self.stages[*index].name.to_string()).collect();
            names.extend(names.first().cloned());
            let mark = cycle.last().map_or(self.arm.mark, |index| self.stages[*index].mark);
            problems.add(ProblemKind::StageCycle(names).at(mark));
        }
        order
    }
}

/// Who reads a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Inside,
}

/// The names of an arm by what they mean.
struct Names<'a> {
    stages: HashMap<&'a str, usize>,
    stage_names: Vec<&'a str>,
    carry: HashMap<&'a str, usize>,
    carry_names: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn new(experiment: &'a Experiment) -> Names<'a> {
        let chain = experiment.chain.as_ref();
        let inside = chain.into_iter().flat_map(|chain| chain.stages.keys());
        let stage_names: Vec<&str> = experiment.stages.keys().chain(inside).map(String::as_str).collect();
        let carry_names: Vec<&str> =
            chain.into_iter().flat_map(|chain| chain.carry.keys()).map(String::as_str).collect();
        let index = |names: &[&'a str]| names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        Names { stages: index(&stage_names), carry: index(&carry_names), stage_names, carry_names }
    }
}

/// What references can refer to before the seed and the step are known.
fn arm_scope(arm: &Arm) -> Scope<'_> {
    Scope {
        suite: Some(&arm.suite),
        params: &arm.experiment.params,
        variable: None,
        seed: None,
        step: None,
        arm: arm.name.as_deref(),
    }
}

fn steps(over: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Vec<Node> {
    let kind = match scope.resolve(over) {
        Ok(Node { value: Value::List(items), .. }) if !items.is_empty() => return items,
        Ok(Node { value: Value::List(_), .. }) => ProblemKind::EmptyChain,
        Ok(other) => ProblemKind::wrong_type("`over` of the chain", "a list", &other),
        Err(problem) => {
            problems.add(problem);
            return Vec::new();
        }
    };
    problems.add(kind.at(over.mark));
    Vec::new()
}

/// Everything about a stage but its inputs.
fn wire_stage<'a>(
    name: &'a str,
    stage: &'a Stage,
    kinds: &HashMap<String, Map>,
    registry: &'a Registry,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Wired<'a> {
    let signature = stage.kind.as_ref().and_then(|kind| {
        let Some(word) = kind.as_str() else {
            problems.add(ProblemKind::wrong_type(format!("`use` of `{name}`"), "a stage kind", kind).at(kind.mark));
            return None;
        };
        let signature = registry.signature(word);
        if signature.is_none() {
            let known = registry.signatures().map(|signature| signature.kind.as_str());
            problems.add(ProblemKind::unknown("stage kind", word, None, known).at(kind.mark));
        }
        signature
    });
    let params = match (signature, &stage.params.value) {
        (Some(signature), Value::Map(said)) => {
            let settings = settings(name, signature, said, stage.mark, problems);
            let common = common(&settings);
            Settings::Each(settings, common)
        }
        _ => Settings::Whole(&stage.params),
    };
    let of_kind = signature.and_then(|signature| kinds.get(&signature.kind));
    let said = execution::of_stage(name, &stage.execution, of_kind, scope, problems);
    let (execution, accelerated) = check::execution(&format!("`{name}`"), signature, &said, problems);
    let execution = Arc::new(execution);
    let outputs = signature.into_iter().flat_map(|signature| &signature.outputs);
    let outputs = Arc::new(outputs.map(|(slot, output)| (slot.clone(), output.kind.clone())).collect());
    Wired { name, mark: stage.mark, signature, params, inputs: HashMap::new(), outputs, execution, accelerated }
}

/// The params of a stage in the order of its signature.
pub(super) fn settings<'a>(
    stage: &str,
    signature: &'a Signature,
    said: &Map,
    mark: Mark,
    problems: &mut Problems,
) -> Vec<Setting<'a>> {
    for (param, entry) in said {
        if !signature.params.contains_key(param) {
            let owner = Some(owner(stage, signature));
            problems.add(ProblemKind::unknown("param", param, owner, signature.params.keys()).at(entry.key));
        }
    }
    let mut setting = |(name, param): (&'a String, &'a Param)| {
        let node = match (said.get(name), &param.default) {
            (Some(entry), _) => Some(entry.node.clone()),
            (None, Some(default)) => Some(Node::from_json(default, mark)),
            (None, None) if param.optional => Some(Node::new(mark, Value::Null)),
            (None, None) => {
                let (owner, what) = (format!("stage `{stage}`"), format!("the param `{name}`"));
                let hint = Some(format!("add `{name}:` to its `params`. {}", param.doc.trim_end()));
                problems.add(ProblemKind::Missing { owner, what, hint }.at(mark));
                None
            }
        };
        let value = match node {
            None => Setter::Broken,
            Some(node) if has_references(&node) || (param.kind == ParamKind::Path && !node.is_null()) => {
                Setter::Open(node)
            }
            Some(node) => match check::value(stage, name, param, &node) {
                Ok(value) => Setter::Fixed(value),
                Err(problem) => {
                    problems.add(problem);
                    Setter::Broken
                }
            },
        };
        Setting { name, param, value }
    };
    signature.params.iter().map(&mut setting).collect()
}

/// The params that have the same value everywhere, with `null` for the others.
pub(super) fn common(settings: &[Setting<'_>]) -> Arc<[(String, Json)]> {
    let value = |setting: &Setting<'_>| match &setting.value {
        Setter::Fixed(value) => value.clone(),
        Setter::Open(_) | Setter::Broken => Json::Null,
    };
    settings.iter().map(|setting| (setting.name.to_string(), value(setting))).collect()
}

/// A stage as the owner of params and slots.
fn owner(stage: &str, signature: &Signature) -> String {
    match signature.kind == stage {
        true => format!("`{stage}`"),
        false => format!("`{stage}`, a stage of the kind `{}`", signature.kind),
    }
}
