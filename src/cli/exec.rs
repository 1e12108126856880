//! `runner exec`: plans all experiments, runs them one after the other, and renders their tables.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use indexmap::IndexMap;
use serde_json::json;

use super::arguments::{Exec, ExecutorChoice, Format, again};
use super::child;
use super::devices::Available;
use super::failure::{Exit, Failure};
use super::many::{self, Sharing};
use super::records::Recorder;
use super::remote;
use super::report::{self, Rendered};
use super::signals::catch_signals;
use super::site;
use super::workspace::Workspace;
use crate::console::{self, Console, diagnostics};
use crate::plan::{Plan, StageIndex};
use crate::scheduler::{ChildProcess, Event, Executor, Nursery, Options, Outcome, run};
use crate::spec::{self, Problems};
use crate::stage::Registry;
use crate::text::{count, ticked_list};

/// Runs what the command line asks for.
pub fn exec(arguments: &Exec, registry: &Registry) -> Result<Exit, Failure> {
    // Before there are threads.
    let nursery = Nursery::start(|call| child::forked(call, registry) as i32);
    let mut workspace = Workspace::new(&arguments.store.directory);
    let interrupt = catch_signals()?;
    let result = exec_in(&mut workspace, arguments, registry, nursery, &interrupt);
    remote::end_uploads(&mut workspace, arguments.format.format, &interrupt)?;
    result
}

fn exec_in(
    workspace: &mut Workspace,
    arguments: &Exec,
    registry: &Registry,
    nursery: Option<Nursery>,
    interrupt: &AtomicBool,
) -> Result<Exit, Failure> {
    let files = many::files(&arguments.experiments)?;
    // What is wrong with a work directory that is there is not blamed on the experiment.
    if workspace.directory().exists() {
        workspace.cache()?.read_ahead(files.iter().map(|file| spec::name(file)).collect());
    }
    // Everything is planned before anything runs: a mistake in the last experiment is told at once.
    let (mut plans, exit) = plans(files, arguments, workspace, registry)?;
    let (executor, options) = match arguments.executor {
        ExecutorChoice::Slurm => site::slurm(arguments, &mut plans, workspace, registry)?,
        ExecutorChoice::Local => local(arguments, &plans, nursery)?,
    };
    remote::attach(workspace, &arguments.remote, arguments.remote_read_only)?;
    if plans.len() > 1 {
        let sharing = Sharing::of(plans.iter().map(|(_, plan)| plan));
        match arguments.format.format {
            Format::Text => console::note(&sharing.text()),
            Format::Json => console::print(&format!("{}\n", json!({"event": "sharing", "sharing": sharing.json()}))),
        }
    }
    let mut recorder =
        Recorder::new(&arguments.store.directory, arguments.name.as_deref(), arguments.trace.as_deref())?;
    let mut session = Session { arguments, workspace, executor, options, interrupt, recorder: &mut recorder };
    let result = session.experiments(&plans).map(|one| worse(exit, one));
    drop(session);
    // The process ends soon, and large ones are long in taking apart.
    std::mem::forget(plans);
    let recorded = recorder.end(*result.as_ref().unwrap_or(&Exit::Failed));
    result.and_then(|exit| recorded.map(|()| exit))
}

/// What the experiments of one command have in common.
struct Session<'a> {
    arguments: &'a Exec,
    workspace: &'a mut Workspace,
    executor: Box<dyn Executor>,
    options: Options,
    interrupt: &'a AtomicBool,
    recorder: &'a mut Recorder,
}

impl Session<'_> {
    /// Runs one experiment after the other. With `--keep-going` one that cannot be run to its end does not
    /// stop the others.
    fn experiments(&mut self, plans: &[(PathBuf, Plan)]) -> Result<Exit, Failure> {
        let mut exit = Exit::Done;
        for (file, plan) in plans {
            let one = match self.experiment(file, plan) {
                Ok(one) => one,
                Err(failure) if self.arguments.keep_going && plans.len() > 1 => {
                    console::note(&format!("`{}` ends here; the others go on", file.display()));
                    failure.report()
                }
                Err(failure) => return Err(failure),
            };
            exit = worse(exit, one);
            if one == Exit::Interrupted || (one == Exit::Failed && !self.arguments.keep_going) {
                break;
            }
        }
        Ok(exit)
    }

    /// Runs one experiment and renders its report.
    fn experiment(&mut self, file: &Path, plan: &Plan) -> Result<Exit, Failure> {
        let Session { arguments, workspace, executor, options, interrupt, recorder } = self;
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
        let outcome = run(plan, workspace.cache()?, executor.as_ref(), options, &mut tell, interrupt)?;
        drop(teller);
        recorder.results(plan, &outcome);
        let rendered = report::render(plan, &outcome, workspace)?;
        finish(arguments, file, plan, &outcome, &rendered, workspace)
    }
}

/// What executes stages on this machine.
fn local(
    arguments: &Exec,
    plans: &[(PathBuf, Plan)],
    nursery: Option<Nursery>,
) -> Result<(Box<dyn Executor>, Options), Failure> {
    for (option, given) in [("--site", arguments.site.is_some()), ("--keep-jobs", arguments.keep_jobs)] {
        if given {
            return Err(Failure::usage(format!("`{option}` is of use only with `--executor slurm`"), None));
        }
    }
    let available = Available::here();
    let devices = available.pool(&arguments.machine.device, arguments.machine.places())?;
    plans.iter().try_for_each(|(_, plan)| available.check(plan))?;
    let executor = ChildProcess::this_program().context("cannot find this program")?.with(nursery);
    let options =
        Options { jobs: arguments.machine.jobs(), keep_going: arguments.keep_going, devices, elsewhere: false };
    Ok((Box::new(executor), options))
}

/// The plans of all experiments, or what is wrong with any of them. With `--keep-going` those that are
/// wrong are told of and left out, as long as one is right; the exit code says so.
fn plans(
    files: Vec<PathBuf>,
    arguments: &Exec,
    workspace: &mut Workspace,
    registry: &Registry,
) -> Result<(Vec<(PathBuf, Plan)>, Exit), Failure> {
    let mut plans = Vec::new();
    let mut wrong: Option<Problems> = None;
    for file in files {
        match workspace.plan(&file, &arguments.changes.overrides(), registry) {
            Ok(plan) => {
                let only = only(plan, &arguments.only)?;
                plans.push((file, only));
            }
            Err(Failure::Problems(problems)) => match &mut wrong {
                None => wrong = Some(problems),
                Some(wrong) => wrong.extend(problems),
            },
            Err(failure) => return Err(failure),
        }
    }
    match wrong {
        None => Ok((plans, Exit::Done)),
        Some(problems) if arguments.keep_going && !plans.is_empty() => {
            let found = count(problems.list.len(), "problem");
            console::note(&format!("{}{found}; experiments without any are run", diagnostics::each(&problems)));
            Ok((plans, Exit::Wrong))
        }
        Some(problems) => Err(Failure::Problems(problems)),
    }
}

/// The part of a plan that these stages need; all of it where none are named.
fn only(plan: Plan, names: &[String]) -> Result<Plan, Failure> {
    if names.is_empty() {
        return Ok(plan);
    }
    let stages: Result<Vec<StageIndex>, _> = names.iter().map(|name| plan.find(name)).collect();
    let stages = stages.map_err(|error| Failure::usage(error.to_string(), None))?;
    Ok(plan.only(&stages))
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
    let command = |command| again(command, file, &arguments.store, &arguments.changes);
    let goldens = Path::new("results");
    let directory = if arguments.bless { goldens.to_path_buf() } else { workspace.directory().join("results") };
    let mut differences = Vec::new();
    for rendered in rendered {
        let written = rendered.write(&directory)?;
        if arguments.format.format == Format::Text {
            console::print(&format!("{}\n", rendered.item.text()));
            console::note(&format!("written to {}", ticked_list(written)));
        }
        if arguments.check {
            differences.extend(rendered.check(goldens)?);
        }
    }
    if !differences.is_empty() {
        exit = worse(exit, Exit::Differs);
    }
    if arguments.format.format == Format::Json {
        let of = |noun: &str| -> Vec<_> {
            rendered
                .iter()
                .filter(|rendered| rendered.item.noun() == noun)
                .map(|rendered| rendered.item.json())
                .collect()
        };
        let report =
            json!({"event": "report", "tables": of("table"), "figures": of("figure"), "differences": differences});
        console::print(&format!("{report}\n"));
        return Ok(exit);
    }
    if arguments.check && exit == Exit::Done {
        console::note(&format!("{} as expected", counted(rendered.iter().map(|rendered| rendered.item.noun()))));
    }
    if !differences.is_empty() {
        console::report(&format!("{} from the golden", count(differences.len(), "difference")), None);
        console::note(&differences.iter().map(|difference| format!("  {difference}\n")).collect::<String>());
        // A result of other settings is no golden.
        if arguments.changes.is_empty() {
            console::note(&format!("hint: `{} --bless` makes this result the golden", command("exec")));
        }
    }
    if rendered.len() < plan.report.len() {
        let mut missing: Vec<&str> = plan.report.iter().map(|planned| planned.spec.noun()).collect();
        for rendered in rendered {
            let place = missing.iter().position(|noun| *noun == rendered.item.noun());
            place.map(|place| missing.remove(place));
        }
        console::note(&format!("{} not made: stages are missing", counted(missing)));
    }
    for failure in &outcome.failures {
        let (log, exec, stage) = (command("log"), command("exec"), &failure.stage);
        console::note(&format!("hint: `{log} '{stage}'` shows the whole log"));
        console::note(&format!("hint: `{exec} --only '{stage}'` runs that stage alone"));
    }
    Ok(exit)
}

/// How many there are of each noun: `2 tables`, `2 tables and 1 figure`.
fn counted<'a>(nouns: impl IntoIterator<Item = &'a str>) -> String {
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    nouns.into_iter().for_each(|noun| *counts.entry(noun).or_default() += 1);
    let counts: Vec<String> = counts.into_iter().map(|(noun, number)| count(number, noun)).collect();
    if counts.is_empty() { count(0, "table") } else { counts.join(" and ") }
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
