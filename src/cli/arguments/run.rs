//! What the commands take that run experiments, say what would run, and bring results elsewhere.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::options::{Changes, FormatOption, Machine, OneStage, RemoteOption, Store};

#[derive(Debug, Args)]
pub struct Exec {
    /// Experiment files, or folders of them.
    #[arg(required = true, value_name = "EXPERIMENT")]
    pub experiments: Vec<PathBuf>,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub changes: Changes,
    #[command(flatten)]
    pub remote: RemoteOption,
    /// Take results from the remote, but bring none there.
    #[arg(long)]
    pub remote_read_only: bool,
    #[command(flatten)]
    pub machine: Machine,
    /// What executes the stages: this machine, or a Slurm cluster.
    #[arg(long, value_enum, default_value_t = ExecutorChoice::Local)]
    pub executor: ExecutorChoice,
    /// The settings of the cluster [default: `slurm.yaml` beside the experiment, in the work directory or in
    /// `~/.config/runner/`; the cluster's own defaults where there is none].
    #[arg(long, value_name = "FILE")]
    pub site: Option<PathBuf>,
    /// After Ctrl-C leave the jobs of a cluster in its queue, for the next run to take up. Without it a run on
    /// a terminal asks, and any other cancels them.
    #[arg(long)]
    pub keep_jobs: bool,
    /// Give the run a name, by which `runner status` finds it, and keep a record even if nothing has to run.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write when each stage ran, and where, as a timeline for ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// After a failure, go on with what does not need the failed stage, and with the other experiments;
    /// those that are wrong are left out.
    #[arg(long, short)]
    pub keep_going: bool,
    /// Run only this stage and what it needs, and make no tables. Can be repeated.
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["check", "bless"])]
    pub only: Vec<String>,
    /// Compare the tables with the goldens in `results/`.
    #[arg(long)]
    pub check: bool,
    /// Write the tables to `results/` as goldens.
    #[arg(long, conflicts_with_all = ["check", "set", "suite", "seeds"])]
    pub bless: bool,
    #[command(flatten)]
    pub format: FormatOption,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExecutorChoice {
    /// Processes on this machine.
    Local,
    /// Jobs of a Slurm cluster. The work directory must be on a file system that its nodes share. Ctrl-C
    /// cancels the jobs, or leaves them; when this process dies, they go on. The next run takes them up.
    Slurm,
}

#[derive(Debug, Args)]
pub struct Push {
    /// Experiment files, or folders of them [default: all finished stages].
    #[arg(value_name = "EXPERIMENT")]
    pub experiments: Vec<PathBuf>,
    #[command(flatten)]
    pub remote: RemoteOption,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub changes: Changes,
    /// Look for every file in the remote, also where it has the result already, and bring what it lost.
    #[arg(long)]
    pub again: bool,
    #[command(flatten)]
    pub format: FormatOption,
}

#[derive(Debug, Args)]
pub struct Pull {
    /// Experiment files, or folders of them [default: all that the remote has].
    #[arg(value_name = "EXPERIMENT")]
    pub experiments: Vec<PathBuf>,
    #[command(flatten)]
    pub remote: RemoteOption,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub changes: Changes,
    #[command(flatten)]
    pub format: FormatOption,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// Experiment files, or folders of them.
    #[arg(required = true, value_name = "EXPERIMENT")]
    pub experiments: Vec<PathBuf>,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub changes: Changes,
    /// Write the graph in the DOT language of Graphviz instead.
    #[arg(long)]
    pub dot: bool,
    /// What a device is assumed to sustain, in 10¹² operations per second, where nothing is recorded: about
    /// 40 % of what an H200 can do at most in bf16.
    #[arg(long, value_name = "N", default_value_t = 400.0, value_parser = positive)]
    pub tflops: f64,
    #[command(flatten)]
    pub format: FormatOption,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "a number above 0 is needed".to_string())
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub stage: OneStage,
    /// The file to write; `-` for standard output.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Add to every sample its id in the pool, its cluster, the scorer that ranked it, its score and
    /// all its scores.
    #[arg(long)]
    pub with_choices: bool,
    /// Bring all images to this folder, one below it for each dataset: those inside files of a dataset are
    /// written, the others linked. Paths are then relative to it.
    #[arg(long, value_name = "FOLDER")]
    pub images: Option<PathBuf>,
    /// One JSON list, or JSON Lines.
    #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
    pub format: ExportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A JSON list.
    Json,
    /// JSON Lines.
    Jsonl,
}
