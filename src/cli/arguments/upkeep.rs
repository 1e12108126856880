//! What the commands take that look at results, compare them and look after them.

use std::path::PathBuf;

use clap::Args;

use super::options::{Changes, FormatOption, Machine, Store};
use crate::cli::devices::Request;

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
