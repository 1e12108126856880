//! `runner exec`: plans all experiments, runs them one after the other, and renders their tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::arguments::{Exec, Format};
use super::devices::Available;
use super::failure::{Exit, Failure};
use super::records::Recorder;
use super::tables::{self, Rendered};
use super::workspace::Workspace;
use crate::console::{self, Console};
use crate::plan::{Plan, StageIndex};
use crate::scheduler::{ChildProcess, Event, Options, Outcome, run};
use crate::spec::Problems;
use crate::stage::Registry;
use crate::text::count;

/// Runs what the command line asks for.
pub fn exec(arguments: &Exec, registry: &Registry) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    // Everything is planned before anything runs: a mistake in the last experiment is told at once.
    let plans = plans(arguments, &mut workspace, registry)?;
    let available = Available::here();
    let devices = available.pool(&arguments.device, usize::from(arguments.per_device))?;
    plans.iter().try_for_each(|(_, plan)| available.check(plan))?;
    let interrupt = catch_signals()?;
    let executor = ChildProcess::this_program().context("cannot find this program")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.map_or(cores, usize::from);
    let options = Options { jobs, keep_going: arguments.keep_going, devices };
    let trace = arguments.trace.as_deref();
    let mut recorder = Recorder::new(&arguments.store.directory, arguments.name.as_deref(), trace)?;
    let result = exec_all(arguments, &plans, &mut workspace, &executor, &options, &mut recorder, &interrupt);
    recorder.end(*result.as_ref().unwrap_or(&Exit::Failed))?;
    result
}

/// Runs one plan after the other.
fn exec_all(
    arguments: &Exec,
    plans: &[(PathBuf, Plan)],
    workspace: &mut Workspace,
    executor: &ChildProcess,
    options: &Options,
    recorder: &mut Recorder,
    interrupt: &AtomicBool,
) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for (file, plan) in plans {
        let mut teller = Console::new(arguments.format.format.into());
        let mut tell = |event: Event| {
            recorder.event(&event);
            teller.show(&event);
        };
        if !workspace.fetch(plan, &mut tell, interrupt)? {
            drop(teller);
            console::note("interrupted; what was fetched is kept, and the next run goes on with it");
            return Ok(Exit::Interrupted);
        }
        let cache = workspace.cache()?;
        let outcome = run(plan, cache, executor, options, &mut tell, interrupt)?;
        drop(teller);
        recorder.results(plan, &outcome);
        let rendered = tables::render(plan, &outcome, workspace)?;
        exit = worse(exit, finish(arguments, file, plan, &outcome, &rendered, workspace)?);
        if outcome.summary.interrupted || (exit == Exit::Failed && !arguments.keep_going) {
            break;
        }
    }
    Ok(exit)
}

/// The plans of all experiments, or what is wrong with any of them.
fn plans(arguments: &Exec, workspace: &mut Workspace, registry: &Registry) -> Result<Vec<(PathBuf, Plan)>, Failure> {
    let mut plans = Vec::new();
    let mut wrong: Option<Problems> = None;
    for file in files(&arguments.experiments)? {
        match workspace.plan(&file, &arguments.changes.overrides(), registry) {
            Ok(plan) => {
                let only = only(&plan, &arguments.only)?;
                plans.push((file, only));
            }
            Err(Failure::Problems(problems)) => match &mut wrong {
                None => wrong = Some(problems),
                Some(wrong) => wrong.extend(problems),
            },
            Err(failure) => return Err(failure),
        }
    }
    wrong.map_or(Ok(plans), |problems| Err(Failure::Problems(problems)))
}

/// The experiment files that paths name: themselves, or all files of a folder, in order.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = path.read_dir().with_context(|| format!("cannot read `{}`", path.display()))?;
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let mut found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
        if found.is_empty() {
            return Err(Failure::usage(format!("there are no experiments in `{}`", path.display()), None));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// The part of a plan that these stages need; all of it where none are named.
fn only(plan: &Plan, names: &[String]) -> Result<Plan, Failure> {
    if names.is_empty() {
        return Ok(plan.clone());
    }
    let stages: Result<Vec<StageIndex>, _> = names.iter().map(|name| plan.find(name)).collect();
    let stages = stages.map_err(|error| Failure::usage(error.to_string(), None))?;
    Ok(plan.only(&stages))
}

/// A flag that the first Ctrl-C or termination signal sets; a second one ends the program at once.
fn catch_signals() -> Result<Arc<AtomicBool>, Failure> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let again =
            signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, interrupt.clone());
        again.context("cannot listen for signals")?;
        signal_hook::flag::register(signal, interrupt.clone()).context("cannot listen for signals")?;
    }
    Ok(interrupt)
}

/// Writes, compares and shows what a run came to.
fn finish(
    arguments: &Exec,
    file: &Path,
    plan: &Plan,
    outcome: &Outcome,
    rendered: &[Rendered],
    workspace: &Workspace,
) -> Result<Exit, Failure> {
    let summary = &outcome.summary;
    let mut exit = match (summary.interrupted, outcome.failures.is_empty()) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Done,
        (false, false) => Exit::Failed,
    };
    let goldens = Path::new("results");
    let directory = if arguments.bless { goldens.to_path_buf() } else { workspace.directory().join("results") };
    let mut differences = Vec::new();
    for rendered in rendered {
        let written = rendered.write(&directory)?;
        if arguments.format.format == Format::Text {
            console::print(&format!("{}\n", rendered.table.to_text()));
            console::note(&format!("written to {}", written.join(" and ")));
        }
        if arguments.check {
            differences.extend(rendered.check(goldens)?);
        }
    }
    if !differences.is_empty() {
        exit = worse(exit, Exit::Differs);
    }
    if arguments.format.format == Format::Json {
        let tables: Vec<_> = rendered.iter().map(|rendered| &rendered.table).collect();
        let report = json!({"event": "report", "tables": tables, "differences": differences});
        console::print(&format!("{report}\n"));
        return Ok(exit);
    }
    if arguments.check && exit == Exit::Done {
        console::note(&format!("{} as expected", count(rendered.len(), "table")));
    }
    if !differences.is_empty() {
        console::report(&format!("{} from the golden", count(differences.len(), "difference")), None);
        console::note(&differences.iter().map(|difference| format!("  {difference}\n")).collect::<String>());
        let file = file.display();
        console::note(&format!("hint: `runner exec {file} --bless` makes this result the golden"));
    }
    let missing = plan.tables.len().saturating_sub(rendered.len());
    if missing > 0 {
        console::note(&format!("{} not made: stages are missing", count(missing, "table")));
    }
    for failure in &outcome.failures {
        let (file, stage) = (file.display(), &failure.stage);
        console::note(&format!("hint: `runner log {file} '{stage}'` shows the whole log"));
        console::note(&format!("hint: `runner exec {file} --only '{stage}'` runs that stage alone"));
    }
    Ok(exit)
}

/// The one of two exit codes that says more.
fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Done => 0,
        Exit::Differs => 1,
        Exit::Failed => 2,
        Exit::Wrong => 3,
        Exit::Interrupted => 4,
    };
    if rank(other) > rank(one) { other } else { one }
}
