//! `runner __stage`: one execution of a stage, in a process of its own.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::failure::Exit;
use crate::artifact::read_json;
use crate::console;
use crate::scheduler::{Peak, die_with_parent, huge_pages};
use crate::stage::{Call, Progress, Registry, Update, perform};
use crate::stages::registry_of;

/// Executes the call in a file, unless the process that asked for it is gone. News goes to standard output,
/// one JSON line each; an error to standard error.
pub fn stage(path: &Path) -> Exit {
    ended(|| {
        let call: Call = read_json(path)?;
        execute(&call, &registry_of(&call.kind))
    })
}

/// The same for a call in JSON, in a process that was forked from one that has a registry.
pub fn forked(call: &[u8], registry: &Registry) -> Exit {
    ended(|| execute(&serde_json::from_slice(call).context("cannot read the call")?, registry))
}

fn ended(execute: impl FnOnce() -> anyhow::Result<()>) -> Exit {
    if !die_with_parent() {
        return Exit::Failed;
    }
    let result = execute();
    if let Some(peak) = Peak::now() {
        line(&peak);
    }
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            console::note(&format!("error: {}", causes.join("\ncaused by: ")));
            Exit::Failed
        }
    }
}

fn execute(call: &Call, registry: &Registry) -> anyhow::Result<()> {
    huge_pages(registry.signature(&call.kind).is_some_and(|signature| signature.accelerated));
    let stage = registry.implementation(&call.kind).with_context(|| format!("no stage kind `{}`", call.kind))?;
    perform(stage, call, &Lines)
}

/// Writes each update as a line, and warnings into the log as well.
struct Lines;

impl Progress for Lines {
    fn update(&self, update: Update) {
        if let Update::Warning(message) = &update {
            console::note(&format!("warning: {message}"));
        }
        line(&update);
    }
}

fn line(what: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(what) {
        console::print(&format!("{line}\n"));
    }
}
