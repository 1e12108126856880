//! Values against the signature of a stage kind.

use serde_json::{Number, Value as Json};

use crate::devices::Device;
use crate::spec::{Map as NodeMap, Node, Problem, ProblemKind, Problems, Value};
use crate::stage::{Execution, Param, ParamKind, Signature};

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

/// More shards than this are a slip of the pen: each is a process that loads the model.
const MOST_SHARDS: usize = 500;

/// The defaults of `signature` with what an experiment says instead of how `owner` runs, all of it already
/// without references; and whether the scheduler chooses the device.
pub(super) fn execution(
    owner: &str,
    signature: Option<&Signature>,
    said: &NodeMap,
    problems: &mut Problems,
) -> (Execution, bool) {
    let accelerated = signature.is_some_and(|signature| signature.accelerated);
    let mut execution = signature.map(|signature| signature.execution.clone()).unwrap_or_default();
    let mut pinned = false;
    for (name, entry) in said {
        // `null` leaves the default.
        let node = &entry.node;
        let Ok(Json::Object(mut changed)) = serde_json::to_value(&execution) else { continue };
        if !changed.contains_key(name) {
            let owner = Some(format!("`execution` of {owner}"));
            problems.add(ProblemKind::unknown("key", name, owner, changed.keys()).at(entry.key));
            continue;
        }
        if node.is_null() {
            continue;
        }
        let what = format!("`execution.{name}` of {owner}");
        changed.insert(name.clone(), node.to_json());
        let least = if name == "retries" { 0 } else { 1 };
        let positive = !matches!(node.value, Value::Integer(value) if value < least);
        match serde_json::from_value(Json::Object(changed)) {
            Ok(read) if positive => execution = read,
            _ => {
                let expected = match name.as_str() {
                    "device" => "`cpu`, or `cuda:0` with the number of the device",
                    "gradient_checkpointing" => "`true` or `false`",
                    "checkpoint_every" => "a time such as `90 s` or `10 min`",
                    "timeout" | "backoff" => "a time such as `90 s`, `30 min` or `2 h`",
                    "retries" => "a whole number from 0 up",
                    "slurm" => "what a job asks for, such as `{gres: gpu:1, time: 4 h, memory: 32G}`",
                    _ => "a whole number from 1 up",
                };
                problems.add(ProblemKind::wrong_type(what, expected, node).at(node.mark));
                continue;
            }
        }
        pinned |= name == "device";
        if let Some(signature) = signature {
            refuse_meaningless(name, signature, &execution, what.clone(), node, problems);
        }
        if name == "device" && execution.device != Device::Cpu && signature.is_some() && !accelerated {
            let expected = "`cpu`: its kind computes on no other device";
            problems.add(ProblemKind::wrong_type(what, expected, node).at(node.mark));
        }
    }
    (execution, accelerated && !pinned)
}

/// Notes what the kind of a stage cannot do.
fn refuse_meaningless(
    name: &str,
    signature: &Signature,
    execution: &Execution,
    what: String,
    node: &Node,
    problems: &mut Problems,
) {
    let expected = match name {
        "shards" if execution.shards > 1 && !signature.sharded => "`1`: the work of its kind cannot be split",
        "shards" if execution.shards > MOST_SHARDS => "a whole number from 1 to 500",
        "checkpoint_every" if signature.execution.checkpoint_every.is_none() => {
            "nothing: its kind does not save how far it is"
        }
        _ => return,
    };
    problems.add(ProblemKind::wrong_type(what, expected, node).at(node.mark));
}
