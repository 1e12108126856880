//! Values against the signature of a stage kind.

use serde_json::{Map, Number, Value as Json};

use crate::spec::{Map as NodeMap, Node, Problem, ProblemKind, Problems, Value};
use crate::stage::{Execution, Param, ParamKind};

/// The value of a param of `stage` as its signature wants it: numbers in one form, so that equal
/// values are equal JSON. A path stays the text that was written.
pub(super) fn value(stage: &str, name: &str, param: &Param, node: &Node) -> Result<Json, Problem> {
    let what = format!("param `{name}` of `{stage}`");
    if node.is_null() {
        let missing = || ProblemKind::wrong_type(what, expected(param.kind), node).at(node.mark);
        return if param.optional { Ok(Json::Null) } else { Err(missing()) };
    }
    let wrong = |node: &Node, expected: &str| ProblemKind::wrong_type(&what, expected, node).at(node.mark);
    let in_range = |node: &Node, value: f64| {
        let (minimum, maximum) = (param.minimum, param.maximum);
        if minimum.is_some_and(|minimum| value < minimum) || maximum.is_some_and(|maximum| value > maximum) {
            let what = what.clone();
            return Err(ProblemKind::OutOfRange { what, value, minimum, maximum }.at(node.mark));
        }
        Ok(())
    };
    let integer = |node: &Node, expected: &str| match node.value {
        Value::Integer(value) => in_range(node, value as f64).map(|()| Json::from(value)),
        _ => Err(wrong(node, expected)),
    };
    let choice = |node: &Node, expected: &str| match &node.value {
        Value::String(word) if param.values.contains(word) => Ok(Json::from(word.as_str())),
        Value::String(word) => {
            let (what, value, values) = (what.clone(), word.clone(), param.values.clone());
            Err(ProblemKind::NotAChoice { what, value, values }.at(node.mark))
        }
        _ => Err(wrong(node, expected)),
    };
    let expected = expected(param.kind);
    match (param.kind, &node.value) {
        (ParamKind::Boolean, Value::Boolean(value)) => Ok(Json::from(*value)),
        (ParamKind::Choice, _) => choice(node, expected),
        (ParamKind::Choices, Value::List(items)) if !items.is_empty() => {
            let mut chosen: Vec<Json> = Vec::with_capacity(items.len());
            for item in items {
                let word = choice(item, "a word")?;
                if chosen.contains(&word) {
                    let (expected, found) = (expected.to_string(), format!("one with {} twice", item.describe()));
                    return Err(ProblemKind::WrongType { what, expected, found }.at(item.mark));
                }
                chosen.push(word);
            }
            Ok(Json::Array(chosen))
        }
        (ParamKind::Integer, _) => integer(node, expected),
        (ParamKind::Integers, Value::List(items)) => {
            items.iter().map(|item| integer(item, "a whole number")).collect::<Result<_, _>>().map(Json::Array)
        }
        (ParamKind::Number, Value::Integer(_) | Value::Float(_)) => {
            let number = match node.value {
                Value::Integer(value) => value as f64,
                Value::Float(value) => value,
                _ => f64::NAN,
            };
            in_range(node, number)?;
            let finite = Number::from_f64(number).ok_or_else(|| wrong(node, "a finite number"))?;
            Ok(Json::Number(finite))
        }
        (ParamKind::Path | ParamKind::String, Value::String(text)) => Ok(Json::from(text.as_str())),
        _ => Err(wrong(node, expected)),
    }
}

fn expected(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::Boolean => "`true` or `false`",
        ParamKind::Choice => "a word",
        ParamKind::Choices => "a list of different words",
        ParamKind::Integer => "a whole number",
        ParamKind::Integers => "a list of whole numbers",
        ParamKind::Number => "a number",
        ParamKind::Path => "a path",
        ParamKind::String => "a text",
    }
}

/// `defaults` with what an experiment says instead, all of it already without references.
pub(super) fn execution(stage: &str, defaults: &Execution, said: &NodeMap, problems: &mut Problems) -> Execution {
    let mut execution = defaults.clone();
    let Ok(Json::Object(known)) = serde_json::to_value(defaults) else { return execution };
    for (name, entry) in said {
        if !known.contains_key(name) {
            let owner = Some(format!("`execution` of `{stage}`"));
            problems.add(ProblemKind::unknown("key", name, owner, known.keys()).at(entry.key));
            continue;
        }
        let what = format!("`execution.{name}` of `{stage}`");
        let mut changed: Map<String, Json> = match serde_json::to_value(&execution) {
            Ok(Json::Object(map)) => map,
            _ => continue,
        };
        changed.insert(name.clone(), entry.node.to_json());
        let positive = !matches!(entry.node.value, Value::Integer(value) if value < 1);
        match serde_json::from_value(Json::Object(changed)) {
            Ok(read) if positive => execution = read,
            _ => {
                problems
                    .add(ProblemKind::wrong_type(what, "a whole number from 1 up", &entry.node).at(entry.node.mark));
            }
        }
    }
    execution
}
