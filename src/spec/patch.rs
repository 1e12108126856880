//! Changing one experiment by another: deep merge, and patches with dotted keys.

use super::{Entry, Map, Mark, Node, Problem, ProblemKind, Problems, Value};

/// Top-level keys whose dotted patches are paths into the experiment; any other first segment is a
/// stage.
const PATHS: [&str; 8] = ["params", "suite", "execution", "stages", "chain", "seeds", "title", "report"];
/// Parts of a stage; any other segment after a stage is a param.
const PARTS: [&str; 4] = ["use", "inputs", "params", "execution"];

/// Lays `patch` over `base`: maps are merged, anything else is replaced.
pub fn merge(base: &mut Node, patch: Node) {
    match (&mut base.value, patch.value) {
        (Value::Map(entries), Value::Map(patches)) => {
            for (name, entry) in patches {
                match entries.get_mut(&name) {
                    Some(existing) => {
                        existing.key = entry.key;
                        if name == "execution" && entry.node.as_map().is_some() {
                            extend_reference(&mut existing.node);
                        }
                        merge(&mut existing.node, entry.node);
                    }
                    None => {
                        entries.insert(name, entry);
                    }
                }
            }
        }
        (_, value) => *base = Node::new(patch.mark, value),
    }
}

/// Turns a reference to a map into a map that extends it, so that parts of it can be changed.
fn extend_reference(node: &mut Node) {
    if node.as_str().is_some_and(|text| text.contains("${")) {
        let reference = Entry { key: node.mark, node: node.clone() };
        node.value = Value::Map(Map::from([("extends".to_string(), reference)]));
    }
}

/// Lays one experiment over another. Where one names a suite and the other changes parts of it, the
/// result is an inline suite that extends the named one.
pub fn merge_experiment(base: &mut Node, patch: Node) {
    let changes_suite = patch.get("suite").is_some_and(|entry| entry.node.as_map().is_some());
    if changes_suite
        && let Value::Map(entries) = &mut base.value
        && let Some(entry) = entries.get_mut("suite")
        && entry.node.as_str().is_some()
    {
        let name = Entry { key: entry.key, node: entry.node.clone() };
        entry.node = Node::new(entry.node.mark, Value::Map(Map::from([("extends".to_string(), name)])));
    }
    merge(base, patch);
}

/// Brings a patch into the form of an experiment, so that it can be merged into `experiment`.
/// `allowed` are the top-level keys that it may change.
pub fn expand(patch: &Map, experiment: &Node, allowed: &[&str], problems: &mut Problems) -> Node {
    let mark = patch.values().next().map_or(experiment.mark, |entry| entry.key);
    let mut expanded = Node::empty_map(mark);
    for (key, entry) in patch {
        match expand_key(key, entry, experiment, allowed) {
            Ok(nodes) => nodes.into_iter().for_each(|node| merge(&mut expanded, node)),
            Err(problem) => problems.add(problem),
        }
    }
    expanded
}

fn expand_key(key: &str, entry: &Entry, experiment: &Node, allowed: &[&str]) -> Result<Vec<Node>, Problem> {
    let mark = entry.key;
    let segments: Vec<&str> = key.split('.').collect();
    let bad = |hint: &str| ProblemKind::BadPatch { key: key.to_string(), hint: hint.to_string() }.at(mark);
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err(bad("write `stage.param`, `stage.inputs.slot` or `params.name`"));
    }
    let first = segments[0];
    if PATHS.contains(&first) {
        if !allowed.contains(&first) {
            return Err(ProblemKind::NotPatchable(first.to_string()).at(mark));
        }
        return Ok(vec![nest(mark, &segments, entry.node.clone())]);
    }
    let Some(stage) = stage_path(experiment, first) else {
        let known = stages(experiment).into_iter().chain(allowed.iter().map(|key| key.to_string()));
        return Err(ProblemKind::unknown("stage", first, None, known).at(mark));
    };
    if segments.len() == 1
        && let Some(parts) = entry.node.as_map()
    {
        let mut nodes = Vec::new();
        for (part, entry) in parts {
            nodes.extend(expand_key(&format!("{first}.{part}"), entry, experiment, allowed)?);
        }
        return Ok(nodes);
    }
    let Some(part) = segments.get(1) else {
        return Err(bad(&format!("write `{first}.param`, or a map of what to change")));
    };
    let tail = if PARTS.contains(part) { &segments[1..] } else { &[&["params"], &segments[1..]].concat()[..] };
    let path: Vec<&str> = stage.iter().copied().chain([first]).chain(tail.iter().copied()).collect();
    Ok(vec![nest(mark, &path, entry.node.clone())])
}

/// `{a: {b: node}}` for the path `a.b`.
fn nest(mark: Mark, path: &[&str], node: Node) -> Node {
    path.iter().rev().fold(node, |node, name| {
        Node::new(mark, Value::Map(Map::from([(name.to_string(), Entry { key: mark, node })])))
    })
}

/// Where the stage called `name` is.
fn stage_path(experiment: &Node, name: &str) -> Option<&'static [&'static str]> {
    const PLACES: [&[&str]; 2] = [&["chain", "stages"], &["stages"]];
    PLACES.into_iter().find(|place| section(experiment, place).is_some_and(|stages| stages.contains_key(name)))
}

/// The names of all stages.
fn stages(experiment: &Node) -> Vec<String> {
    let sections = [section(experiment, &["stages"]), section(experiment, &["chain", "stages"])];
    sections.into_iter().flatten().flat_map(|stages| stages.keys().cloned()).collect()
}

fn section<'a>(experiment: &'a Node, path: &[&str]) -> Option<&'a Map> {
    path.iter().try_fold(experiment, |node, name| node.get(name).map(|entry| &entry.node))?.as_map()
}
