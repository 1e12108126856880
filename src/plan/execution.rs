//! How stages run, as an experiment says it: of all stages of a kind, and of one.
//!
//! What a kind declares itself is below all of that, and is looked at in `check.rs`.

use std::collections::HashMap;

use super::check;
use crate::spec::{Entry, Experiment, Map, Node, Problem, ProblemKind, Problems, Scope, Value, map};
use crate::stage::Registry;

/// What an experiment says of how all stages of a kind run, by kind. What is wrong there is noted once, and
/// left out.
pub(super) fn of_kinds(
    experiment: &Experiment,
    registry: &Registry,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> HashMap<String, Map> {
    let resolved = scope.resolve(&experiment.execution).unwrap_or_else(|problem| {
        problems.add(problem);
        Node::empty_map(experiment.execution.mark)
    });
    let mut kinds = HashMap::new();
    for (kind, entry) in map("`execution`", &resolved, problems) {
        let Some(signature) = registry.signature(&kind) else {
            let known = registry.signatures().map(|signature| signature.kind.as_str());
            problems.add(ProblemKind::unknown("stage kind", &kind, None, known).at(entry.key));
            continue;
        };
        let before = problems.list.len();
        let owner = format!("all stages of the kind `{kind}`");
        match parts(&owner, &entry.node, scope) {
            Ok((mut said, own)) => {
                said.extend(own);
                check::execution(&owner, Some(signature), &said, problems);
                if problems.list.len() == before {
                    kinds.insert(kind, said);
                }
            }
            Err(problem) => problems.add(problem),
        }
    }
    kinds
}

/// What an experiment says of how a stage runs: what the stage says itself, over what is said of its kind,
/// over what the stage takes from elsewhere, such as from the suite.
pub(super) fn of_stage(
    stage: &str,
    written: &Node,
    of_kind: Option<&Map>,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Map {
    let (mut said, own) = parts(&format!("`{stage}`"), written, scope).unwrap_or_else(|problem| {
        problems.add(problem);
        Default::default()
    });
    said.extend(of_kind.cloned().unwrap_or_default());
    said.extend(own);
    said
}

/// What `execution` says, without references: what it refers to or extends, and what it says itself.
fn parts(owner: &str, node: &Node, scope: &Scope<'_>) -> Result<(Map, Map), Problem> {
    let mut resolved = scope.resolve(node)?;
    let wrong = |what: String, found: &Node| ProblemKind::wrong_type(what, "a map", found).at(found.mark);
    let mut own = match std::mem::replace(&mut resolved.value, Value::Null) {
        Value::Map(own) => own,
        Value::Null => return Ok(Default::default()),
        value => return Err(wrong(format!("`execution` of {owner}"), &Node { value, ..resolved })),
    };
    let extended = match own.shift_remove("extends") {
        None => Map::new(),
        Some(Entry { node, .. }) => match node.value {
            Value::Map(extended) => extended,
            Value::Null => Map::new(),
            _ => return Err(wrong(format!("what `execution` of {owner} extends"), &node)),
        },
    };
    if node.as_map().is_some() {
        return Ok((extended, own));
    }
    Ok((extended.into_iter().chain(own).collect(), Map::new()))
}
