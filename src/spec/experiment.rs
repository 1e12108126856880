//! The typed syntax of an experiment: which keys there are and what they hold.

use indexmap::IndexMap;

use super::{Map, Mark, Node, ProblemKind, Problems, Value};

/// The keys of an experiment.
pub const KEYS: [&str; 10] =
    ["title", "suite", "params", "execution", "stages", "chain", "arms", "matrix", "seeds", "report"];

/// Names that references and patches use for something else.
const RESERVED: [&str; 17] = [
    "suite",
    "params",
    "execution",
    "stages",
    "chain",
    "arms",
    "matrix",
    "seeds",
    "report",
    "title",
    "extends",
    "carry",
    "next",
    "seed",
    "step",
    "arm",
    "path",
];

/// One arm of an experiment: what the plan is made of.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// What references starting with `params` refer to.
    pub params: Node,
    /// How all stages of a kind run: a map of kinds, or a reference to one.
    pub execution: Node,
    /// Stages outside the chain.
    pub stages: IndexMap<String, Stage>,
    /// The fold over the sequence of datasets.
    pub chain: Option<Chain>,
}

/// A stage as written.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Where its name is.
    pub mark: Mark,
    /// The stage kind.
    pub kind: Option<Node>,
    /// Input slot → what is wired to it.
    pub inputs: Map,
    /// A map of params, or a reference to one.
    pub params: Node,
    /// How to run it: a map, or a reference to one, which `extends` in a map can be too.
    pub execution: Node,
}

/// A fold over a list: the stages once for each element, each step seeing the one before.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Where `chain` is.
    pub mark: Mark,
    /// The list.
    pub over: Node,
    /// The name of the element in references.
    pub variable: String,
    /// What `carry.<name>` is in the first step.
    pub carry: Map,
    /// The stages of a step.
    pub stages: IndexMap<String, Stage>,
    /// What `carry.<name>` is in the step after.
    pub next: Map,
}

impl Experiment {
    /// Reads a tree and notes what is wrong with it.
    pub fn read(tree: &Node, problems: &mut Problems) -> Experiment {
        let section = |key: &str| tree.get(key).map(|entry| &entry.node);
        let params = match section("params") {
            None => Node::empty_map(tree.mark),
            Some(node) => Node::new(node.mark, Value::Map(map("`params`", node, problems))),
        };
        let execution = section("execution").cloned().unwrap_or_else(|| Node::empty_map(tree.mark));
        let stages = section("stages").map(|node| read_stages("`stages`", node, problems)).unwrap_or_default();
        let chain = tree.get("chain").filter(|entry| !entry.node.is_null());
        let chain = chain.and_then(|entry| read_chain(entry.key, &entry.node, problems));
        if let Some(chain) = &chain {
            for (name, stage) in &chain.stages {
                if let Some(outside) = stages.get(name) {
                    let kind = ProblemKind::BadName {
                        noun: "a stage of the chain",
                        name: name.clone(),
                        reason: "a stage outside the chain has this name; references would be ambiguous",
                    };
                    problems.add(kind.at(stage.mark).related(outside.mark, "the other one"));
                }
            }
        }
        Experiment { params, execution, stages, chain }
    }
}

/// Notes the keys of `map` that are none of `known`.
pub fn refuse_unknown_keys(map: &Map, known: &[&str], owner: &str, problems: &mut Problems) {
    for (name, entry) in map {
        if !known.contains(&name.as_str()) {
            problems.add(ProblemKind::unknown("key", name, Some(owner.to_string()), known).at(entry.key));
        }
    }
}

/// The entries of a map; none, and a problem, if it is something else.
pub fn map(what: &str, node: &Node, problems: &mut Problems) -> Map {
    match &node.value {
        Value::Map(map) => map.clone(),
        Value::Null => Map::new(),
        _ => {
            problems.add(ProblemKind::wrong_type(what, "a map", node).at(node.mark));
            Map::new()
        }
    }
}

fn read_stages(what: &str, node: &Node, problems: &mut Problems) -> IndexMap<String, Stage> {
    let mut stages = IndexMap::new();
    for (name, entry) in map(what, node, problems) {
        if let Some(reason) = bad_name(&name) {
            let kind = ProblemKind::BadName { noun: "a stage", name: name.clone(), reason };
            problems.add(kind.at(entry.key));
        }
        let parts = map(&format!("stage `{name}`"), &entry.node, problems);
        refuse_unknown_keys(&parts, &["use", "inputs", "params", "execution"], &format!("stage `{name}`"), problems);
        let part = |key: &str| parts.get(key).map(|entry| &entry.node);
        let mut submap =
            |key: &str| part(key).map(|node| map(&format!("`{key}` of `{name}`"), node, problems)).unwrap_or_default();
        let inputs = submap("inputs");
        let whole = |key: &str| part(key).cloned().unwrap_or_else(|| Node::empty_map(entry.key));
        let (params, execution) = (whole("params"), whole("execution"));
        let kind = part("use").cloned();
        if kind.is_none() {
            let hint = Some("name its stage kind with `use:`".to_string());
            let owner = format!("stage `{name}`");
            problems.add(ProblemKind::Missing { owner, what: "`use`".to_string(), hint }.at(entry.key));
        }
        stages.insert(name, Stage { mark: entry.key, kind, inputs, params, execution });
    }
    stages
}

fn read_chain(mark: Mark, node: &Node, problems: &mut Problems) -> Option<Chain> {
    let parts = map("`chain`", node, problems);
    refuse_unknown_keys(&parts, &["over", "as", "carry", "stages", "next"], "the chain", problems);
    let part = |key: &str| parts.get(key).map(|entry| &entry.node);
    let mut submap =
        |key: &str| part(key).map(|node| map(&format!("`{key}` of the chain"), node, problems)).unwrap_or_default();
    let (carry, next) = (submap("carry"), submap("next"));
    for (name, entry) in &next {
        if !carry.contains_key(name) {
            problems.add(ProblemKind::unknown("name", name, Some("`carry`".to_string()), carry.keys()).at(entry.key));
        }
    }
    let next_mark = parts.get("next").map_or(mark, |entry| entry.key);
    for name in carry.keys().filter(|name| !next.contains_key(*name)) {
        let hint = Some(format!("say what `carry.{name}` is in the step after"));
        let kind = ProblemKind::Missing { owner: "`next` of the chain".to_string(), what: format!("`{name}`"), hint };
        problems.add(kind.at(next_mark));
    }
    let stages = part("stages").map(|node| read_stages("`stages` of the chain", node, problems)).unwrap_or_default();
    let mut required = |key: &str, hint: &str| {
        let node = part(key);
        if node.is_none() {
            let (owner, what) = ("the chain".to_string(), format!("`{key}`"));
            problems.add(ProblemKind::Missing { owner, what, hint: Some(hint.to_string()) }.at(mark));
        }
        node
    };
    let over = required("over", "name the list to go over, such as `${suite.sequence}`");
    let variable = required("as", "name the element for references, such as `dataset`");
    let (over, variable) = (over?, variable?);
    let Some(name) = variable.as_str() else {
        problems.add(ProblemKind::wrong_type("`as` of the chain", "a name", variable).at(variable.mark));
        return None;
    };
    if let Some(reason) = bad_name(name) {
        problems.add(ProblemKind::BadName { noun: "the element", name: name.to_string(), reason }.at(variable.mark));
    }
    Some(Chain { mark, over: over.clone(), variable: name.to_string(), carry, stages, next })
}

fn bad_name(name: &str) -> Option<&'static str> {
    if RESERVED.contains(&name) {
        Some("the word has a meaning of its own in references and patches")
    } else if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        Some("letters, digits, `_` and `-` only")
    } else {
        None
    }
}
