//! The command line: what can be said, and how it is explained.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::devices::{Request, cores};
use crate::console;
use crate::spec::Overrides;

/// Where results go if nothing else is said.
const WORK_DIRECTORY: &str = ".runner";

/// Runs experiments in data selection for multimodal language models.
///
/// An experiment is one YAML file. What it needs and was not computed before is computed, stage by
/// stage; what was computed before is taken from the work directory.
#[derive(Debug, Parser)]
#[command(name = "runner", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  runner exec experiments/table3.yaml             run it and print its table
  runner exec experiments/table3.yaml --seeds 1   the same, once instead of three times
  runner plan experiments/table3.yaml             what would run, what is fresh, and why
  runner explain experiments/table3.yaml Random/s0/t2/train
                                                  old and new key of one stage
  runner stages select                            what the stage kind `select` takes and makes

A stage is called <arm>/s<seed>/t<step>/<stage>; any of these parts will do, as long as they mean one.

Exit codes: 0 done, 1 a stage failed, 2 usage or experiment error, 3 differs from the golden,
130 interrupted.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run experiments and render their tables.
    ///
    /// Results already in the work directory are not computed again. Tables go to standard output and
    /// to `<work directory>/results/`.
    ///
    /// Where an experiment names a checkpoint `hf://owner/name@revision` or a dataset
    /// `hf://datasets/owner/name@revision/path`, its files are fetched from the Hugging Face Hub before
    /// the first stage runs, if a stage that must run reads them. `HF_TOKEN` opens private repositories,
    /// `HF_HOME` says where the cache is, `HF_HUB_OFFLINE=1` uses only what is there.
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(Exec),
    /// Show what would run, what is fresh and why, and what it would take.
    ///
    /// Files that are not there yet are listed at the end. A stage is fresh if its result is in the work directory. Below a stage that must run, one may
    /// have to run: if the stage makes the same bytes as before, it need not.
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Plan),
    /// Show why a stage must run: its old key against its new one.
    Explain(OneStage),
    /// List the finished stages and their artifacts.
    #[command(after_help = LS_EXAMPLES)]
    Ls(Ls),
    /// Show where a stage's result or an artifact comes from, and what it holds.
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// Show what runs now and what ran last, also from another terminal.
    ///
    /// Every run that does something leaves a record in `<work directory>/runs/`, with the events as lines of
    /// JSON; `RUNNER_LOG=debug` (or `error`, `warn`, `trace`, `off`) when it is started says how many.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Status),
    /// Show what a stage wrote to its standard error.
    Log(OneStage),
    /// Check that everything in the work directory is as it was left, or comes out the same again.
    ///
    /// Every file of the store is hashed and compared with the digest under which it is kept, and rows,
    /// artifacts and journal with one another. What is damaged is set aside, and the next `exec` that needs it
    /// makes it again. With experiments, only what they use is looked at.
    ///
    /// With `--rerun`, finished stages of an experiment are executed again in a scratch directory, and their
    /// outputs compared with those in the store: by their bytes, and where those differ, by their values. The
    /// store is left as it is; a difference is noted in the database.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Compare two arms, experiments, runs, settings or stores: stages, params, inputs and results.
    ///
    /// Stages are the same if they have the same path: seed, step and name, and the arm where none is named.
    /// What differs is said in the words of `plan`, from A to B; then the results that differ, side by side.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(Diff),
    /// List what nothing keeps any more, and delete it if asked to.
    ///
    /// Kept is what the experiments use (those of `experiments/` if none are named), what their stages came to
    /// last under other settings, what runs with a name came to (`exec --name`), what is young, what stages use
    /// now, and everything of which kept results were made. All else is listed with its size and why it would
    /// go; nothing is deleted without `--delete`. Runs may go on meanwhile.
    #[command(after_help = GC_EXAMPLES)]
    Gc(Gc),
    /// Write the samples of a finished stage as LLaVA-style JSON, for any trainer.
    ///
    /// Every sample keeps its `id`, and the order is that of the dataset.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
    /// Bring finished stages to a remote cache.
    ///
    /// All of the work directory, or those that experiments name. Files go there once, by their digest; an
    /// interrupted push goes on where it was. The first result under a key stays: one that came out differently
    /// here is reported and recorded, never overwritten.
    #[command(after_help = REMOTE_HELP)]
    Push(Push),
    /// Bring finished stages here from a remote cache.
    ///
    /// All that it has, or those that experiments name, as far as it has them. Every byte is checked by its
    /// digest before it is used. A result keeps where it comes from and what it cost.
    #[command(after_help = REMOTE_HELP)]
    Pull(Pull),
    /// List what stages can compute on here, check that a device computes right, or measure how fast.
    #[command(after_help = DEVICES_EXAMPLES)]
    Devices(Devices),
    /// List the stage kinds, or document one.
    Stages(Stages),
    /// Execute one stage from the description in a file; what `exec` starts for every stage.
    #[command(name = "__stage", hide = true)]
    Stage { call: PathBuf },
    /// Execute the stages of one task of a job array; what `exec` submits to a cluster.
    #[command(name = "__job", hide = true)]
    Job { batch: PathBuf, task: usize },
}

const EXEC_EXAMPLES: &str = "\
Examples:
  runner exec experiments/table3.yaml
  runner exec experiments/                           every experiment of a folder
  runner exec experiments/table3.yaml --check        compare with results/table3.json
  runner exec experiments/table3.yaml --suite smoke --set prune.method=random
  runner exec experiments/table3.yaml --set suite.pool_budget=800 --set train.epochs=3
  runner exec experiments/ --name paper --keep-going --trace paper.json
  runner exec experiments/table3.yaml --only Random/s0/t2/train   only this and what it needs
  runner exec experiments/table3.yaml --executor slurm --site cluster.yaml";

const REMOTE_HELP: &str = "\
Examples:
  runner push --remote s3://lab/runner                      everything in the work directory
  runner push experiments/table3.yaml --remote file:///shared/runner
  runner pull experiments/table3.yaml                       with RUNNER_REMOTE set
  runner exec experiments/table3.yaml --remote s3://lab/runner
                                                            pull what is there, push what is made

Who you are comes from the environment and goes no further:
  s3://bucket/prefix     AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION;
                         for servers of other makers AWS_ENDPOINT_URL, without encryption also
                         AWS_ALLOW_HTTP=true
  gs://bucket/prefix     GOOGLE_APPLICATION_CREDENTIALS, the file of a service account
  az://container/prefix  AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or
                         AZURE_STORAGE_SAS_TOKEN
  file:///folder         a folder, such as one on a shared file system

Whoever may write to a remote is trusted: it is believed what result belongs to a key, though
never which bytes belong to a digest.";

const PLAN_EXAMPLES: &str = "\
Examples:
  runner plan experiments/table3.yaml
  runner plan experiments/                       every experiment of a folder, and what they share
  runner plan experiments/table3.yaml --set score.perplexity=reference
  runner plan experiments/table3.yaml --dot | dot -Tsvg > table3.svg
  runner plan experiments/table3.yaml --suite full --set suite.root=/data --tflops 150";

const STATUS_EXAMPLES: &str = "\
Examples:
  runner status                         what runs, and the last runs that ended
  runner status 20261125-1456           one run by the start of its id, or by its name, with its failures
  watch -n 5 runner status";

const EXPORT_EXAMPLES: &str = "\
Examples:
  runner export experiments/select.yaml select --to best.json
  runner export experiments/select.yaml select --to - --format jsonl --with-choices | head
  runner export experiments/table3.yaml Random/s0/t2/prune --to pool.json";

const DEVICES_EXAMPLES: &str = "\
Examples:
  runner devices                                 the processor and the CUDA devices of this machine
  runner devices --check                         compare every CUDA device with the processor
  runner devices --measure llava-1.5-7b/ --precision bf16
                                                 samples per second with a model of that config.json";

const VERIFY_EXAMPLES: &str = "\
Examples:
  runner verify                                  every byte of the store
  runner verify experiments/table3.yaml          what this experiment uses
  runner verify --rerun experiments/table3.yaml  the quickest stage of each kind once more
  runner verify --rerun experiments/table3.yaml --only Random/s0/t2/train --tolerance 1e-5
  runner verify --rerun experiments/table3.yaml --sample 20 --seed 7

Exit codes: 0 all is well, 1 something is damaged, missing or failed, 3 a stage came out differently.";

const GC_EXAMPLES: &str = "\
Examples:
  runner gc                                      what would go
  runner gc --delete                             the same, deleted
  runner gc experiments/table3.yaml --keep-days 0 --delete
                                                 all but what this experiment uses
  runner gc --suite full --keep-days 90          with what `--suite full` uses, and longer";

const DIFF_EXAMPLES: &str = "\
Examples:
  runner diff experiments/table2.yaml:Random experiments/table2.yaml:Adapt-∞
  runner diff experiments/table2.yaml experiments/table3.yaml --only evaluate
  runner diff experiments/table3.yaml --with train.epochs=3
                                                 as it is, and with another setting
  runner diff paper paper-again                  two runs, by `exec --name`
  runner diff experiments/table3.yaml --store .runner --against /other/.runner";

const LS_EXAMPLES: &str = "\
Examples:
  runner ls                 everything, oldest first
  runner ls train           stages whose kind, name or experiment is `train`
  runner ls table3          stages that `table3` ran first";

const SHOW_EXAMPLES: &str = "\
Examples:
  runner show 3f9a0c        a result or an artifact by the first digits of its digest
  runner show Random/s0/t2/train";

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
pub struct RemoteOption {
    /// A cache to share with other machines: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or
    /// `file:///folder`. `runner push --help` says how it knows who you are.
    #[arg(long, value_name = "URL", env = "RUNNER_REMOTE", hide_env_values = true)]
    pub remote: Option<String>,
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
pub struct OneStage {
    /// The experiment file.
    pub experiment: PathBuf,
    /// The stage, such as `Random/s0/t2/train` or `t2/train`.
    pub stage: String,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub changes: Changes,
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

impl OneStage {
    /// The command line that does something else to the experiment as it is changed here.
    pub fn command(&self, command: &str) -> String {
        let mut words = vec!["runner".to_string(), command.to_string(), quoted(&self.experiment.to_string_lossy())];
        if self.store.directory != Path::new(WORK_DIRECTORY) {
            words.extend(["--store".to_string(), quoted(&self.store.directory.to_string_lossy())]);
        }
        let Changes { set, suite, seeds } = &self.changes;
        words.extend(set.iter().flat_map(|set| ["--set".to_string(), quoted(set)]));
        words.extend(suite.iter().flat_map(|suite| ["--suite".to_string(), quoted(suite)]));
        words.extend(seeds.iter().flat_map(|seeds| ["--seeds".to_string(), quoted(seeds)]));
        words.join(" ")
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[derive(Debug, Args)]
pub struct Devices {
    /// Which devices: `auto` for every CUDA device that there is, else the processor; `cpu`; `cuda`; or
    /// some by their numbers.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Request,
    /// Compute with a small model on each device and on the processor, and compare.
    #[arg(long)]
    pub check: bool,
    /// Measure scoring, gradients and training with a drawn model of the config.json in this folder.
    #[arg(long, value_name = "FOLDER", conflicts_with = "check")]
    pub measure: Option<PathBuf>,
    /// Numbers of weights and activations.
    #[arg(long, requires = "measure", value_parser = ["f32", "bf16"], default_value = "f32")]
    pub precision: String,
    /// Samples of a batch.
    #[arg(long, requires = "measure", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Text tokens of a sample, besides those of its image.
    #[arg(long, requires = "measure", default_value_t = 64, value_parser = clap::value_parser!(u16).range(8..))]
    pub tokens: u16,
    /// Rank of the adapter.
    #[arg(long, requires = "measure", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    pub rank: u16,
    /// Dimensions of projected gradients.
    #[arg(long, requires = "measure", default_value_t = 8192, value_parser = clap::value_parser!(u16).range(1..))]
    pub dimensions: u16,
    /// Compute activations again in backward passes.
    #[arg(long, requires = "measure")]
    pub gradient_checkpointing: bool,
    /// Timed batches, of which the median counts.
    #[arg(long, requires = "measure", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeats: u16,
    #[command(flatten)]
    pub format: FormatOption,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Experiment files, or folders of them [default: everything in the work directory].
    #[arg(value_name = "EXPERIMENT")]
    pub experiments: Vec<PathBuf>,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub changes: Changes,
    /// Execute finished stages again and compare what they make: without a choice, the quickest of each kind.
    #[arg(long, requires = "experiments")]
    pub rerun: bool,
    /// Execute this stage. Can be repeated.
    #[arg(long, value_name = "STAGE", requires = "rerun")]
    pub only: Vec<String>,
    /// Execute so many stages, drawn at random.
    #[arg(long, value_name = "N", requires = "rerun", conflicts_with_all = ["only", "all"])]
    pub sample: Option<usize>,
    /// What the draw depends on.
    #[arg(long, value_name = "SEED", requires = "sample", default_value_t = 0)]
    pub seed: u64,
    /// Execute every stage.
    #[arg(long, requires = "rerun", conflicts_with = "only")]
    pub all: bool,
    /// Numbers a and b count as equal if |a - b| <= T · max(1, |a|, |b|).
    #[arg(long, value_name = "T", requires = "rerun", default_value_t = 0.0, value_parser = not_negative)]
    pub tolerance: f64,
    #[command(flatten)]
    pub machine: Machine,
    #[command(flatten)]
    pub format: FormatOption,
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number of at least 0 is needed".to_string())
}

#[derive(Debug, Args)]
pub struct Diff {
    /// A: an experiment file, one of its arms as FILE:ARM, or a run by its name or id.
    #[arg(value_name = "A")]
    pub first: String,
    /// B [default: A, with `--with` or `--against`].
    #[arg(value_name = "B")]
    pub second: Option<String>,
    #[command(flatten)]
    pub store: Store,
    /// The work directory of B.
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub changes: Changes,
    /// Change a param or any other part of B alone, as `--set` does for both. Can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub with: Vec<String>,
    /// Only stages that are called so: any segments of their paths, such as `t2/train`.
    #[arg(long, value_name = "STAGE")]
    pub only: Option<String>,
    /// List every stage and every result.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub format: FormatOption,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Experiment files, or folders of them, whose results are kept [default: `experiments/`, if it is there].
    #[arg(value_name = "EXPERIMENT")]
    pub experiments: Vec<PathBuf>,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub changes: Changes,
    /// Keep whatever is younger.
    #[arg(long, value_name = "DAYS", default_value_t = 30.0, value_parser = not_negative)]
    pub keep_days: f64,
    /// Delete what is listed.
    #[arg(long)]
    pub delete: bool,
    #[command(flatten)]
    pub format: FormatOption,
}

/// What stages may use.
#[derive(Debug, Args)]
pub struct Machine {
    /// How many processor cores to use [default: all].
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Where accelerated stages compute: `auto` for every CUDA device that there is, else the processor;
    /// `cpu`; `cuda` for all CUDA devices; or some of them, as in `cuda:0,cuda:2`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Request,
    /// How many stages may share a CUDA device.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub per_device: u16,
}

impl Machine {
    /// How many processor cores to use.
    pub fn jobs(&self) -> usize {
        self.jobs.map_or_else(cores, usize::from)
    }

    /// How many stages may share a CUDA device.
    pub fn places(&self) -> usize {
        usize::from(self.per_device)
    }
}

#[derive(Debug, Args)]
pub struct Ls {
    /// Only stages of this kind, name or experiment.
    pub filter: Option<String>,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub format: FormatOption,
}

#[derive(Debug, Args)]
pub struct Show {
    /// A stage's name, or the first digits of the digest of a result or an artifact.
    pub what: String,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub format: FormatOption,
}

#[derive(Debug, Args)]
pub struct Status {
    /// A run: its name, its id or the start of that.
    pub run: Option<String>,
    /// List every run that there is a record of.
    #[arg(long, conflicts_with = "run")]
    pub all: bool,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub format: FormatOption,
}

#[derive(Debug, Args)]
pub struct Stages {
    /// The stage kind.
    pub kind: Option<String>,
}

#[derive(Debug, Args)]
pub struct Store {
    /// The work directory, with results, logs and everything made on the way.
    #[arg(long = "store", value_name = "DIR", default_value = WORK_DIRECTORY)]
    pub directory: PathBuf,
}

#[derive(Debug, Args)]
pub struct Changes {
    /// Change a param or any other part of the experiment, in every arm. Can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Use another suite: its name, or a file.
    #[arg(long)]
    pub suite: Option<String>,
    /// Use other seeds: how many, or several with commas between them.
    #[arg(long, value_name = "N|A,B,…")]
    pub seeds: Option<String>,
}

impl Changes {
    pub fn overrides(&self) -> Overrides {
        Overrides { set: self.set.clone(), suite: self.suite.clone(), seeds: self.seeds.clone() }
    }
}

#[derive(Debug, Args)]
pub struct FormatOption {
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

impl From<Format> for console::Format {
    fn from(format: Format) -> console::Format {
        match format {
            Format::Text => console::Format::Text,
            Format::Json => console::Format::Json,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text.
    Text,
    /// JSON; of a run, a line for each event.
    Json,
}
