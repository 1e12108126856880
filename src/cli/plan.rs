//! `runner plan`, `runner explain` and `runner log`: what would run and why.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{Format, OneStage, Plan as Arguments};
use super::failure::{Exit, Failure};
use super::workspace::Workspace;
use crate::console;
use crate::fingerprint::DirtyReason;
use crate::plan::{Plan, StageIndex};
use crate::scheduler::{Examination, Verdict, examine};
use crate::stage::Registry;
use crate::text::count;

/// Shows the verdict on every stage.
pub fn plan(arguments: &Arguments, registry: &Registry) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    let plan = workspace.plan(&arguments.experiment, &arguments.changes.overrides(), registry)?;
    if arguments.dot {
        console::print(&plan.dot());
        return Ok(Exit::Done);
    }
    let examination = examine(&plan, workspace.cache()?)?;
    match arguments.format.format {
        Format::Text => console::print(&text(&plan, &examination)),
        Format::Json => console::print(&format!("{:#}\n", machine_readable(&plan, &examination))),
    }
    Ok(Exit::Done)
}

fn text(plan: &Plan, examination: &Examination) -> String {
    let mut text = format!("{}\n\n", plan.title);
    for stage in plan.order() {
        let (verdict, reasons) = told(&examination[stage].verdict);
        let more = match plan[stage].names.len() {
            1 => String::new(),
            names => format!("  (stands for {} more)", names - 1),
        };
        let _ = writeln!(text, "{verdict:<6} {}{more}", plan[stage].name());
        for reason in reasons {
            let _ = writeln!(text, "         {reason}");
        }
    }
    let (fresh, run, maybe) = examination.counts();
    let _ = writeln!(text, "\n{}: {run} to run, {maybe} maybe, {fresh} fresh", count(plan.len(), "stage"));
    if plan.shared > 0 {
        let _ = writeln!(text, "{} equal to one of these and shared", count(plan.shared, "more stage"));
    }
    text
}

fn machine_readable(plan: &Plan, examination: &Examination) -> Value {
    let stage = |stage: StageIndex| {
        let (verdict, reasons) = told(&examination[stage].verdict);
        let planned = &plan[stage];
        json!({"names": planned.names, "kind": planned.kind, "verdict": verdict, "reasons": reasons})
    };
    let (fresh, run, maybe) = examination.counts();
    json!({
        "experiment": plan.experiment, "title": plan.title,
        "stages": plan.order().map(stage).collect::<Vec<_>>(),
        "fresh": fresh, "run": run, "maybe": maybe, "shared": plan.shared,
    })
}

fn told(verdict: &Verdict) -> (&'static str, &[DirtyReason]) {
    match verdict {
        Verdict::Fresh => ("fresh", &[]),
        Verdict::Run(reasons) => ("run", reasons),
        Verdict::Maybe(reasons) => ("maybe", reasons),
    }
}

/// Shows the old and the new key of a stage.
pub fn explain(arguments: &OneStage, registry: &Registry) -> Result<Exit, Failure> {
    let (mut workspace, plan, stage) = find(arguments, registry)?;
    let examination = examine(&plan, workspace.cache()?)?;
    let planned = &plan[stage];
    let (verdict, reasons) = told(&examination[stage].verdict);
    let mut text = format!("{}, a stage of the kind `{}`: {verdict}\n", planned.name(), planned.kind);
    for name in &planned.names[1..] {
        let _ = writeln!(text, "  stands for {name}");
    }
    for reason in reasons {
        let _ = writeln!(text, "  {reason}");
    }
    let key = &examination[stage].key;
    let cache = workspace.cache()?;
    let mut old = None;
    for name in &planned.names {
        old = old.or(cache.last_key(&plan.experiment, name)?);
    }
    let new = match verdict {
        "maybe" => "new key, as far as its inputs are known".to_string(),
        _ => format!("new key, fingerprint {}", key.fingerprint.short()),
    };
    match old {
        Some(old) if old == key.text => {
            let _ = write!(text, "\nkey, fingerprint {}\n{}\n", key.fingerprint.short(), pretty(&key.text));
        }
        Some(old) => {
            let _ = write!(text, "\nold key\n{}\n\n{new}\n{}\n", pretty(&old), pretty(&key.text));
        }
        None => {
            let _ = write!(text, "\nno old key\n\n{new}\n{}\n", pretty(&key.text));
        }
    }
    console::print(&text);
    Ok(Exit::Done)
}

/// A key's text, indented. What cannot be read is shown as it is.
fn pretty(key: &str) -> String {
    serde_json::from_str::<Value>(key).map_or_else(|_| key.to_string(), |key| format!("{key:#}"))
}

/// Shows the log of a stage's last execution under the key that it has now.
pub fn log(arguments: &OneStage, registry: &Registry) -> Result<Exit, Failure> {
    let (mut workspace, plan, stage) = find(arguments, registry)?;
    let examination = examine(&plan, workspace.cache()?)?;
    let examined = &examination[stage];
    let name = plan[stage].name();
    if let Verdict::Maybe(_) = examined.verdict {
        let message = format!("`{name}` has no log: stages before it must run first");
        return Err(Failure::usage(message, Some("`runner plan` says which")));
    }
    let path = workspace.cache()?.log(&examined.key.fingerprint);
    match std::fs::read(&path) {
        Ok(text) => console::print(&String::from_utf8_lossy(&text)),
        Err(_) => {
            let message = format!("`{name}` has no log: it did not run with its present params and inputs here");
            return Err(Failure::usage(message, None));
        }
    }
    Ok(Exit::Done)
}

/// The stage that a command is about, in its plan.
pub fn find(arguments: &OneStage, registry: &Registry) -> Result<(Workspace, Plan, StageIndex), Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    let plan = workspace.plan(&arguments.experiment, &arguments.changes.overrides(), registry)?;
    let stage = plan.find(&arguments.stage).map_err(|error| Failure::usage(error.to_string(), None))?;
    Ok((workspace, plan, stage))
}
