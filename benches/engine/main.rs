//! The engine against `ninja` and `b3sum`, which must be on the path: the same graph or the same files, the
//! programs in turn, medians.
//!
//! ```text
//! cargo bench --bench engine -- fresh [--stages N] [--rounds N]           nothing to do
//! cargo bench --bench engine -- plan [--stages N] [--rounds N]            planning alone
//! cargo bench --bench engine -- run [--stages N] [--rounds N] [--jobs N]  everything to do, trivial stages
//! cargo bench --bench engine -- hash [--files N] [--bytes N] [--rounds N] digests of many files
//! ```
//!
//! It needs no features. `fresh` and the last side of `run` are the program itself, with stages of a real
//! kind; trivial stages are of a kind that only this benchmark has, and their processes are this program.

mod graph;
mod measure;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use measure::{Side, compare, measure};
use runner::cache::Cache;
use runner::plan::Plan;
use runner::scheduler::{ChildProcess, Executor, InProcess, Nursery, Options, die_with_parent, huge_pages, run};
use runner::stage::{Call, Context, Registry, Silent};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
    /// Given by cargo.
    #[arg(long, global = true, hide = true)]
    bench: bool,
    /// How often each side runs.
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// Where graphs are kept from run to run; by default in a temporary directory.
    #[arg(long, global = true)]
    work: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Task {
    /// A graph with nothing to do.
    Fresh {
        #[arg(long, default_value_t = 10_000)]
        stages: usize,
    },
    /// Reading and planning an experiment, without a look at the cache.
    Plan {
        #[arg(long, default_value_t = 10_000)]
        stages: usize,
    },
    /// Trivial stages that have all to run.
    Run {
        #[arg(long, default_value_t = 10_000)]
        stages: usize,
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Digests of files that are in memory; then of the same files again, known by their stats.
    Hash {
        #[arg(long, default_value_t = 512)]
        files: usize,
        #[arg(long, default_value_t = 1 << 20)]
        bytes: usize,
    },
    /// One measured run of this library.
    #[command(name = "__one", hide = true)]
    One { what: One, directory: PathBuf, stages: usize, jobs: usize },
    /// A stage of the trivial kind.
    #[command(name = "__stage", hide = true)]
    Stage { call: PathBuf },
}

#[derive(Clone, Copy, ValueEnum)]
enum One {
    /// Plans the experiment of the directory.
    Plan,
    /// Runs the experiment of the directory in this process.
    Fill,
    /// Runs trivial stages in this process.
    InProcess,
    /// Runs trivial stages in processes of their own.
    Children,
    /// Digests the folder `files` of the directory.
    Digest,
}

fn main() -> anyhow::Result<()> {
    huge_pages(false);
    let arguments = Arguments::parse();
    let rounds = arguments.rounds;
    match arguments.command {
        Some(Task::Stage { call }) => stage(&call),
        Some(Task::One { what, directory, stages, jobs }) => one(what, &directory, stages, jobs),
        Some(Task::Fresh { stages }) => fresh(&Ground::new(arguments.work, stages)?, stages, rounds),
        Some(Task::Plan { stages }) => planning(stages, rounds),
        Some(Task::Run { stages, jobs }) => everything(stages, jobs, rounds),
        Some(Task::Hash { files, bytes }) => hashing(files, bytes, rounds),
        // Tests of all targets start it without a command.
        None => Ok(()),
    }
}

/// A graph with everything done, by both programs.
struct Ground {
    directory: PathBuf,
    _temporary: Option<TempDir>,
}

impl Ground {
    fn new(work: Option<PathBuf>, stages: usize) -> anyhow::Result<Ground> {
        let (directory, temporary) = match work {
            Some(work) => (work.join(stages.to_string()), None),
            None => {
                let temporary = tempfile::tempdir()?;
                (temporary.path().to_path_buf(), Some(temporary))
            }
        };
        let ground = Ground { directory, _temporary: temporary };
        for side in ["runner", "ninja"] {
            fs::create_dir_all(ground.directory.join(side))?;
        }
        graph::write_experiment(&ground.directory.join("runner"), stages)?;
        graph::write_chains_for_ninja(&ground.directory.join("ninja"), stages)?;
        measure(&mut itself(One::Fill, &ground.directory.join("runner"), stages, 2))?;
        measure(&mut ninja(&ground.directory.join("ninja"), 2))?;
        Ok(ground)
    }
}

/// This very program, for one measured run.
fn itself(what: One, directory: &Path, stages: usize, jobs: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the system says where this program is"));
    let what = what.to_possible_value().expect("no variant is hidden").get_name().to_string();
    command.arg("__one").arg(what).arg(directory).args([stages.to_string(), jobs.to_string()]);
    command
}

fn ninja(directory: &Path, jobs: usize) -> Command {
    let mut command = Command::new("ninja");
    command.arg("-C").arg(directory).arg(format!("-j{jobs}"));
    command
}

/// The program itself, on the experiment in `directory`.
fn program(directory: &Path, jobs: usize) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.current_dir(directory).args(["exec", graph::EXPERIMENT, "--jobs", &jobs.to_string()]);
    command
}

fn fresh(ground: &Ground, stages: usize, rounds: usize) -> anyhow::Result<()> {
    let (theirs, ours) = (ground.directory.join("ninja"), ground.directory.join("runner"));
    let sides = vec![
        Side::new("ninja", move || measure(&mut ninja(&theirs, 2))),
        Side::new("runner exec", move || measure(&mut program(&ours, 2))),
    ];
    compare(sides, rounds, stages, "stages")
}

fn planning(stages: usize, rounds: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    graph::write_experiment(directory.path(), stages)?;
    let path = directory.path().to_path_buf();
    compare(
        vec![Side::new("plan", move || measure(&mut itself(One::Plan, &path, stages, 1)))],
        rounds,
        stages,
        "stages",
    )
}

fn everything(stages: usize, jobs: usize, rounds: usize) -> anyhow::Result<()> {
    // What is deleted makes it slow to create files for a while, on some file systems: so nothing is until
    // the end.
    let ground = tempfile::tempdir()?;
    let new = || anyhow::Ok(tempfile::tempdir_in(ground.path()).context("cannot make a directory")?.keep());
    let own = |what| move || measure(&mut itself(what, &new()?, stages, jobs));
    let theirs = || {
        let directory = new()?;
        graph::write_touches_for_ninja(&directory, stages)?;
        measure(&mut ninja(&directory, jobs))
    };
    let real = || {
        let directory = new()?;
        graph::write_experiment(&directory, stages)?;
        measure(&mut program(&directory, jobs))
    };
    let sides = vec![
        Side::new("ninja, touch", theirs),
        Side::new("child processes, one small file", own(One::Children)),
        Side::new("in this process, one small file", own(One::InProcess)),
        Side::new("runner exec, a chain of prunings", real),
    ];
    compare(sides, rounds, stages, "stages")
}

fn hashing(files: usize, bytes: usize, rounds: usize) -> anyhow::Result<()> {
    let ground = tempfile::tempdir()?;
    let folder = ground.path().join("files");
    // A thousand to a folder, as image datasets have them.
    for number in 0..files {
        let folder = folder.join((number / 1000).to_string());
        if number % 1000 == 0 {
            fs::create_dir_all(&folder)?;
        }
        let content: Vec<u8> = (0..bytes).map(|at| (at.wrapping_mul(31) ^ number.wrapping_mul(17)) as u8).collect();
        fs::write(folder.join(format!("{number}.jpg")), content)?;
    }
    // What was written just now could still change unnoticed, and is not remembered.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let (theirs, ours, again) = (folder.clone(), ground.path().to_path_buf(), ground.path().to_path_buf());
    let b3sum = move || {
        let list = format!("find {} -type f -print0 | xargs -0 -n 100000 b3sum", theirs.display());
        measure(Command::new("sh").args(["-c", &list]))
    };
    let first = move || {
        let _ = fs::remove_dir_all(ours.join(".runner"));
        measure(&mut itself(One::Digest, &ours, 0, 2))
    };
    let sides = vec![
        Side::new("find and b3sum", b3sum),
        Side::new("digest", first),
        Side::new("digest of what is known", move || measure(&mut itself(One::Digest, &again, 0, 2))),
    ];
    compare(sides, rounds, files, "files")?;
    println!("{:.1} MB", files as f64 * bytes as f64 / 1e6);
    Ok(())
}

/// What [`itself`] starts.
fn one(what: One, directory: &Path, stages: usize, jobs: usize) -> anyhow::Result<()> {
    let nursery = Nursery::start(|call| i32::from(forked(call).is_err()));
    let mut cache = Cache::open(&directory.join(".runner"))?;
    let registry = match what {
        One::Plan | One::Fill => runner::stages::registry(),
        One::InProcess | One::Children | One::Digest => Registry::new(&[&graph::Touch]),
    };
    match what {
        One::Plan => {
            let plan = graph::planned(directory, &mut cache, &registry)?;
            ensure!(plan.len() + 10 > stages, "{} stages are too few", plan.len());
        }
        One::Fill => {
            let plan = graph::planned(directory, &mut cache, &registry)?;
            execute(&plan, &mut cache, &InProcess::new(&registry), jobs)?;
        }
        One::InProcess => execute(&graph::touches(stages), &mut cache, &InProcess::new(&registry), jobs)?,
        One::Children => {
            execute(&graph::touches(stages), &mut cache, &ChildProcess::this_program()?.with(nursery), jobs)?
        }
        One::Digest => drop(cache.digest(&directory.join("files"))?),
    }
    Ok(())
}

fn execute(plan: &Plan, cache: &mut Cache, executor: &dyn Executor, jobs: usize) -> anyhow::Result<()> {
    let options = Options { jobs, ..Options::default() };
    let outcome = run(plan, cache, executor, &options, &mut |_| {}, &AtomicBool::new(false))?;
    ensure!(outcome.is_complete(), "stages failed");
    Ok(())
}

/// The process of a trivial stage: what `runner __stage` does, with another registry.
fn stage(call: &Path) -> anyhow::Result<()> {
    forked(&fs::read(call)?)
}

/// The same in a process that was forked for it.
fn forked(call: &[u8]) -> anyhow::Result<()> {
    ensure!(die_with_parent(), "nobody waits for this stage");
    let call: Call = serde_json::from_slice(call)?;
    let registry = Registry::new(&[&graph::Touch]);
    let stage = registry.implementation(&call.kind).context("there is no such kind")?;
    stage.run(&Context::new(&call, &Silent))
}
