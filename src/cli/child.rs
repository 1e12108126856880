//! `runner __stage`: one execution of a stage, in a process of its own.

use std::path::Path;

use anyhow::Context as _;

use super::failure::Exit;
use crate::artifact::read_json;
use crate::console;
use crate::scheduler::die_with_parent;
use crate::stage::{Call, Progress, Update, perform};
use crate::stages::registry_of;

/// Executes the call in a file, unless the process that asked for it is gone. News goes to standard output, one JSON line each; an error to
/// standard error.
pub fn stage(path: &Path) -> Exit {
    if !die_with_parent() {
        return Exit::Failed;
    }
    match execute(path) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            console::note(&format!("error: {}", causes.join("\ncaused by: ")));
            Exit::Failed
        }
    }
}

fn execute(path: &Path) -> anyhow::Result<()> {
    let call: Call = read_json(path)?;
    let registry = registry_of(&call.kind);
    let stage = registry.implementation(&call.kind).with_context(|| format!("no stage kind `{}`", call.kind))?;
    perform(stage, &call, &Lines)
}

/// Writes each update as a line, and warnings into the log as well.
struct Lines;

impl Progress for Lines {
    fn update(&self, update: Update) {
        if let Update::Warning(message) = &update {
            console::note(&format!("warning: {message}"));
        }
        if let Ok(line) = serde_json::to_string(&update) {
            console::print(&format!("{line}\n"));
        }
    }
}
