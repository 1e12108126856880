//! `runner plan`, `runner explain` and `runner log`: what would run and why.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::arguments::{Format, OneStage, Plan as Arguments};
use super::estimates::Estimates;
use super::failure::{Exit, Failure};
use super::many::{self, Sharing};
use super::workspace::{Lenient, Workspace, read};
use crate::cache::{Cache, Recorded};
use crate::console;
use crate::fingerprint::DirtyReason;
use crate::plan::{Plan, StageIndex};
use crate::scheduler::{Examination, Verdict, examine, shards_of};
use crate::spec::{Document, Node, Problems, Value};
use crate::stage::Registry;
use crate::stages::estimate::{Assumed, Shape};
use crate::text;

/// Shows the verdict on every stage, and what the experiments share if they are several.
pub fn plan(arguments: &Arguments, registry: &Registry) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    let files = many::files(&arguments.experiments)?;
    let mut plans = Vec::new();
    let mut wrong: Option<Problems> = None;
    for file in &files {
        match one(arguments, file, &mut workspace, registry) {
            Ok((plan, told)) => {
                if !plans.is_empty() && arguments.format.format == Format::Text && !arguments.dot {
                    console::print("\n");
                }
                console::print(&told);
                plans.push(plan);
            }
            Err(Failure::Problems(problems)) => match &mut wrong {
                None => wrong = Some(problems),
                Some(wrong) => wrong.extend(problems),
            },
            Err(failure) => return Err(failure),
        }
    }
    if let Some(problems) = wrong {
        return Err(Failure::Problems(problems));
    }
    if plans.len() > 1 && !arguments.dot {
        let sharing = Sharing::of(&plans);
        match arguments.format.format {
            Format::Text => console::print(&format!("\n{}\n", sharing.text())),
            Format::Json => console::print(&format!("{:#}\n", json!({"sharing": sharing.json()}))),
        }
    }
    Ok(Exit::Done)
}

/// The plan of the experiment in `file`, and what is said of it.
fn one(
    arguments: &Arguments,
    file: &Path,
    workspace: &mut Workspace,
    registry: &Registry,
) -> Result<(Plan, String), Failure> {
    let (document, problems) = read(file, &arguments.changes.overrides())?;
    let assumed = assumed(&document, &problems);
    let mut externals = Lenient::new(workspace);
    let plan = crate::plan::plan(&document, registry, &mut externals, problems).map_err(Failure::Problems)?;
    let missing = externals.missing;
    if arguments.dot {
        let dot = plan.dot();
        return Ok((plan, dot));
    }
    let cache = workspace.cache()?;
    let examination = examine(&plan, cache)?;
    let estimates = Estimates::new(&plan, &examination, cache, registry, assumed, arguments.tflops)?;
    let shards = shards(&plan, &examination, cache)?;
    let told =
        Told { plan: &plan, examination: &examination, shards: &shards, estimates: &estimates, missing: &missing };
    let told = match arguments.format.format {
        Format::Text => told.text(),
        Format::Json => format!("{:#}\n", told.json()),
    };
    Ok((plan, told))
}

/// What the suites of an experiment say for its estimates: `assume:`, `architecture:`, and `samples:` beside
/// the `name:` of a dataset.
fn assumed(document: &Document, problems: &Problems) -> Assumed {
    let mut assumed = Assumed::default();
    let scope = document.scope();
    let number = |name: &str| {
        let entry = document.suite.get("assume")?.node.get(name)?;
        scope.resolve(&entry.node).ok()?.to_json().as_f64()
    };
    assumed.text_tokens = number("text_tokens").unwrap_or(assumed.text_tokens);
    assumed.images = number("images").unwrap_or(assumed.images);
    assumed.benchmark_samples = number("benchmark_samples");
    assumed.model = document.suite.get("architecture").and_then(|entry| {
        let folder = scope.resolve(&entry.node).ok()?;
        Shape::read(&problems.sources.directory(folder.mark).join(folder.as_str()?)).map(Arc::new)
    });
    for suite in document.arms.iter().map(|arm| &arm.suite).chain([&document.suite]) {
        count(suite, &mut assumed.samples);
    }
    assumed
}

/// Takes every `samples:` that stands beside a `name:`.
fn count(node: &Node, samples: &mut HashMap<String, f64>) {
    let word = |key: &str| node.get(key).map(|entry| &entry.node);
    if let (Some(name), Some(number)) =
        (word("name").and_then(Node::as_str), word("samples").and_then(|node| node.to_json().as_f64()))
    {
        samples.insert(name.to_string(), number);
    }
    match &node.value {
        Value::Map(map) => map.values().for_each(|entry| count(&entry.node, samples)),
        Value::List(items) => items.iter().for_each(|item| count(item, samples)),
        _ => {}
    }
}

/// All that is said of a plan.
struct Told<'a> {
    plan: &'a Plan,
    examination: &'a Examination,
    /// Of each stage that is to run in shards, how many there are and how many of them have results.
    shards: &'a BTreeMap<StageIndex, (usize, usize)>,
    estimates: &'a Estimates,
    /// What is not there, and why.
    missing: &'a BTreeMap<PathBuf, String>,
}

impl Told<'_> {
    fn text(&self) -> String {
        let Told { plan, examination, shards, estimates, missing } = self;
        let mut text = format!("{}\n\n", plan.title);
        for stage in plan.order() {
            let (verdict, reasons) = told(&examination[stage].verdict);
            let mut more = match plan[stage].names.len() {
                1 => String::new(),
                names => format!("  (stands for {} more)", names - 1),
            };
            if let Some((count, there)) = shards.get(&stage) {
                let there = if *there > 0 { format!(", {there} of them there") } else { String::new() };
                more.push_str(&format!("  in {count} shards{there}"));
            }
            let taken = estimates.of(stage);
            if !taken.is_empty() {
                more.push_str(&format!("  about {taken}"));
            }
            let _ = writeln!(text, "{verdict:<6} {}{more}", plan[stage].name());
            for reason in reasons {
                let _ = writeln!(text, "         {reason}");
            }
        }
        let (fresh, run, maybe) = examination.counts();
        let _ = writeln!(text, "\n{}: {run} to run, {maybe} maybe, {fresh} fresh", text::count(plan.len(), "stage"));
        if plan.shared > 0 {
            let _ = writeln!(text, "{} equal to one of these and shared", text::count(plan.shared, "more stage"));
        }
        text.push_str(&estimates.total());
        if !missing.is_empty() {
            text.push_str("missing, and needed before `exec` starts:\n");
        }
        for (path, reason) in *missing {
            let _ = writeln!(text, "  `{}`: {reason}", path.display());
        }
        text
    }

    fn json(&self) -> Json {
        let Told { plan, examination, shards, estimates, missing } = self;
        let stage = |stage: StageIndex| {
            let (verdict, reasons) = told(&examination[stage].verdict);
            let planned = &plan[stage];
            let mut told = json!({
                "names": planned.names, "kind": planned.kind, "verdict": verdict, "reasons": reasons,
                "estimate": estimates.json(stage),
            });
            if let Some((count, there)) = shards.get(&stage) {
                told["shards"] = json!({"count": count, "there": there});
            }
            told
        };
        let (fresh, run, maybe) = examination.counts();
        json!({
            "experiment": plan.experiment, "title": plan.title,
            "stages": plan.order().map(stage).collect::<Vec<_>>(),
            "fresh": fresh, "run": run, "maybe": maybe, "shared": plan.shared,
            "estimate": estimates.total_json(), "missing": missing,
        })
    }
}

/// Of each stage that may have to run in shards, how many there are and how many of them have results.
fn shards(
    plan: &Plan,
    examination: &Examination,
    cache: &mut Cache,
) -> Result<BTreeMap<StageIndex, (usize, usize)>, Failure> {
    let mut split = BTreeMap::new();
    for stage in plan.order().filter(|stage| plan[*stage].execution.shards > 1) {
        if examination[stage].verdict == Verdict::Fresh {
            continue;
        }
        let shards = shards_of(&plan[stage], &examination.key(plan, stage));
        let mut there = 0;
        // The keys below a stage that has to run are not known yet.
        if matches!(examination[stage].verdict, Verdict::Run(_)) {
            for (_, key) in &shards {
                there += usize::from(matches!(cache.recorded(&key.fingerprint)?, Recorded::Present(_)));
            }
        }
        split.insert(stage, (shards.len(), there));
    }
    Ok(split)
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
    let key = &examination.key(&plan, stage);
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
    serde_json::from_str::<Json>(key).map_or_else(|_| key.to_string(), |key| format!("{key:#}"))
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
    // What is split says more in the logs of its shards than in that of merging them.
    let cache = workspace.cache()?;
    let mut text = String::new();
    for (shard, key) in shards_of(&plan[stage], &examination.key(&plan, stage)) {
        if let Ok(own) = std::fs::read(cache.log(&key.fingerprint)) {
            let _ = write!(text, "shard {shard}:\n{}", String::from_utf8_lossy(&own));
        }
    }
    match std::fs::read(cache.log(&examined.fingerprint)) {
        Ok(own) => console::print(&(text + &String::from_utf8_lossy(&own))),
        Err(_) if !text.is_empty() => console::print(&text),
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
