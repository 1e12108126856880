//! `--executor slurm`: the settings of the site, and the program as a job of the cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::arguments::Exec;
use super::devices::{Request, cores};
use super::failure::{Exit, Failure};
use super::signals::catch_signals;
use super::workspace::Workspace;
use crate::console;
use crate::plan::Plan;
use crate::scheduler::slurm::{Site, Slurm, run_job};
use crate::scheduler::{ChildProcess, DevicePool, Executor, Options};
use crate::stage::Registry;

/// The name of a site file where none is named.
const SITE: &str = "slurm.yaml";
/// What is asked after Ctrl-C.
const CANCEL: &str = "cancel the jobs of this run? If not, they go on, and the next `exec` takes them up";

/// Prepares plans for the cluster, and starts what executes their stages there.
pub fn slurm(
    arguments: &Exec,
    plans: &mut [(PathBuf, Plan)],
    workspace: &mut Workspace,
    registry: &Registry,
) -> Result<(Box<dyn Executor>, Options), Failure> {
    let site = site(arguments, workspace, registry)?;
    for tool in ["sbatch", "squeue", "scancel"] {
        if !on_path(tool) {
            let hint = "run it where jobs are submitted from, such as a login node; `--executor local` does without";
            return Err(Failure::usage(format!("there is no `{tool}` on `PATH`"), Some(hint)));
        }
    }
    let processor = arguments.machine.device == "cpu".parse::<Request>().expect("every text is a request");
    for (_, plan) in plans.iter_mut() {
        let mut wrong = None;
        plan.arrange(|planned| {
            if let Err(message) = site.arrange(planned, processor) {
                wrong.get_or_insert(message);
            }
        });
        if let Some(message) = wrong {
            return Err(Failure::usage(message, None));
        }
    }
    let directory = workspace.cache()?.directory().join("slurm");
    let here = ChildProcess::this_program().context("cannot find this program")?;
    let program = match &site.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("cannot find this program")?,
    };
    let jobs = usize::from(arguments.machine.jobs.unwrap_or(site.queued));
    let devices = DevicePool::new(Vec::new(), usize::MAX);
    let options = Options { jobs, keep_going: arguments.keep_going, devices, elsewhere: true };
    let keep = arguments.keep_jobs;
    let cancels = Box::new(move || !keep && console::confirm(CANCEL).unwrap_or(true));
    let executor = Slurm::start(site, directory, program, vec!["__job".into()], here, cores(), cancels);
    Ok((Box::new(executor), options))
}

/// The settings in the file that is named, or else in the first that is there.
fn site(arguments: &Exec, workspace: &Workspace, registry: &Registry) -> Result<Site, Failure> {
    let Some(file) = arguments.site.clone().or_else(|| usual(arguments, workspace)) else { return Ok(Site::default()) };
    let wrong = |message: String| {
        let message = format!("`{}`: {message}", file.display());
        Failure::usage(message, Some("the README says what a site file holds"))
    };
    let text = fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
    let mut site: Site = match text.trim().is_empty() {
        true => Site::default(),
        false => serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))?,
    };
    site.check(registry.signatures().map(|signature| signature.kind.as_str())).map_err(wrong)?;
    // A shell reads a file without a directory in its name from `PATH`.
    let beside = |path: &Path| std::path::absolute(file.parent().unwrap_or(Path::new("")).join(path));
    for path in [&mut site.prelude, &mut site.program].into_iter().flatten() {
        *path = beside(path).with_context(|| format!("cannot find `{}`", path.display()))?;
        if !path.is_file() {
            return Err(wrong(format!("there is no file `{}`", path.display())));
        }
    }
    Ok(site)
}

/// The first site file that is there: beside the experiment, in the work directory, at home.
fn usual(arguments: &Exec, workspace: &Workspace) -> Option<PathBuf> {
    let experiment = arguments.experiments.first()?;
    let folder = if experiment.is_dir() { experiment.as_path() } else { experiment.parent()? };
    let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let places =
        [Some(folder.to_path_buf()), Some(workspace.directory().to_path_buf()), home.map(|home| home.join("runner"))];
    places.into_iter().flatten().map(|place| place.join(SITE)).find(|file| file.is_file())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// `runner __job`: one task of a job array.
pub fn job(batch: &Path, task: usize) -> Result<Exit, Failure> {
    let stop = catch_signals()?;
    let executor = ChildProcess::this_program().context("cannot find this program")?;
    run_job(batch, task, &executor, &stop)
        .with_context(|| format!("cannot execute task {task} of `{}`", batch.display()))?;
    let stopped = stop.load(std::sync::atomic::Ordering::Relaxed);
    Ok(if stopped { Exit::Interrupted } else { Exit::Done })
}
