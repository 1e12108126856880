//! `runner stages`: the reference of the stage kinds, from their declarations.

use std::fmt::Write as _;

use super::failure::{Exit, Failure};
use crate::console;
use crate::selection::scorers;
use crate::stage::{Execution, Input, Param, ParamKind, Registry, Signature};
use crate::text::did_you_mean;

/// Lists the kinds, or documents one.
pub fn stages(kind: Option<&str>, registry: &Registry) -> Result<Exit, Failure> {
    let text = match kind {
        None => list(registry),
        Some(kind) => match registry.signature(kind) {
            Some(signature) => reference(signature),
            None => {
                let known = registry.signatures().map(|signature| signature.kind.as_str());
                let near = did_you_mean(kind, known).map(|near| format!("did you mean `{near}`?"));
                let hint = near.or(Some("`runner stages` lists them".to_string()));
                return Err(Failure::Usage { message: format!("unknown stage kind `{kind}`"), hint });
            }
        },
    };
    console::print(&text);
    Ok(Exit::Done)
}

fn list(registry: &Registry) -> String {
    let mut text = String::new();
    for signature in registry.signatures() {
        let inputs: Vec<String> = signature.inputs.iter().map(|(slot, input)| named(slot, input)).collect();
        let outputs: Vec<&str> = signature.outputs.keys().map(String::as_str).collect();
        let _ = writeln!(text, "{:<10}{}", signature.kind, signature.summary);
        let _ = writeln!(text, "{:<10}{} → {}", "", inputs.join(", "), outputs.join(", "));
    }
    text
}

/// A slot, in brackets if the kind also runs without it.
fn named(slot: &str, input: &Input) -> String {
    match input.optional || !input.when.is_always() {
        true => format!("[{slot}]"),
        false => slot.to_string(),
    }
}

/// A param with the values that use a slot.
fn setting((param, values): (&String, &Vec<serde_json::Value>)) -> String {
    let values: Vec<String> = values.iter().map(shown).collect();
    format!("`{param}` is {}", values.join(" or "))
}

fn reference(signature: &Signature) -> String {
    let mut text = format!("{} (version {})\n\n{}\n", signature.kind, signature.version, signature.summary);
    if !signature.doc.is_empty() {
        let _ = write!(text, "\n{}\n", signature.doc.trim_end());
    }
    text.push_str("\nInputs\n");
    for (slot, input) in &signature.inputs {
        let kinds = input.kinds.join(" or ");
        let optional = if input.optional { ", optional" } else { "" };
        let _ = writeln!(text, "  {slot}: {kinds}{optional}");
        for (number, condition) in input.when.conditions().iter().enumerate() {
            let settings: Vec<String> = condition.iter().map(setting).collect();
            let word = if number == 0 { "only" } else { "or" };
            let _ = writeln!(text, "      {word} where {}", settings.join(" and "));
        }
        paragraph(&mut text, &input.doc);
    }
    text.push_str("\nOutputs\n");
    for (slot, output) in &signature.outputs {
        let _ = writeln!(text, "  {slot}: {}", output.kind);
        paragraph(&mut text, &output.doc);
    }
    text.push_str("\nParams\n");
    for (name, param) in &signature.params {
        let _ = writeln!(text, "  {name}: {}", domain(param));
        paragraph(&mut text, &param.doc);
        if param.kind == ParamKind::Choices {
            for scorer in param.values.iter().filter_map(|value| scorers::named(value)) {
                paragraph(&mut text, &format!("{}: {}", scorer.name(), scorer.doc()));
            }
        }
    }
    let Execution { threads, micro_batch, device, gradient_checkpointing, timeout, retries, backoff, .. } =
        &signature.execution;
    let device = match signature.accelerated {
        true => "an accelerator, where there is one".to_string(),
        false => device.to_string(),
    };
    let _ = write!(
        text,
        "\nExecution (never part of the key)\n  threads: {threads}\n  micro_batch: {micro_batch}\n  device: {device}\n  \
         gradient_checkpointing: {gradient_checkpointing}\n  timeout: {}\n  retries: {retries}\n  \
         backoff: {backoff}\n  slurm: what its job asks for besides what the site says\n",
        timeout.map_or("none".to_string(), |timeout| timeout.to_string()),
    );
    if signature.sharded {
        let _ = writeln!(text, "  shards: 1");
        paragraph(
            &mut text,
            "Processes that the samples are dealt out to. They run side by side where there is room,\neach is kept on its own, and the result is the same, byte by byte.",
        );
    }
    if let Some(every) = signature.execution.checkpoint_every {
        let _ = writeln!(text, "  checkpoint_every: {every}");
        paragraph(
            &mut text,
            "How often it saves how far it is, and at most a fiftieth of its time. An execution that is\ncut off is gone on with there, and ends with the same bytes on the processor.",
        );
    }
    text
}

/// What values a param takes.
fn domain(param: &Param) -> String {
    let values = param.values.join(", ");
    let kind = match param.kind {
        ParamKind::Boolean => "true or false".to_string(),
        ParamKind::Choice => format!("one of {values}"),
        ParamKind::Choices => format!("a list of {values}"),
        ParamKind::Integer => "whole number".to_string(),
        ParamKind::Integers => "list of whole numbers".to_string(),
        ParamKind::Number => "number".to_string(),
        ParamKind::Path => "path".to_string(),
        ParamKind::String => "text".to_string(),
    };
    let limit = |word: &str, limit: Option<f64>| limit.map_or(String::new(), |limit| format!(", {word} {limit}"));
    let default = match (&param.default, param.optional) {
        (Some(default), _) => format!(", default {}", shown(default)),
        (None, true) => ", optional".to_string(),
        (None, false) => ", required".to_string(),
    };
    format!("{kind}{}{}{default}", limit("at least", param.minimum), limit("at most", param.maximum))
}

/// A value as an experiment writes it.
fn shown(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn paragraph(text: &mut String, doc: &str) {
    for line in doc.trim_end().lines() {
        let _ = writeln!(text, "      {line}");
    }
}
