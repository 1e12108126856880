//! Options that several commands have.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::devices::{Request, cores};
use crate::console;
use crate::spec::Overrides;

/// Where results go if nothing else is said.
const WORK_DIRECTORY: &str = ".runner";

#[derive(Debug, Args)]
pub struct RemoteOption {
    /// A cache to share with other machines: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or
    /// `file:///folder`. `runner push --help` says how it knows who you are.
    #[arg(long, value_name = "URL", env = "RUNNER_REMOTE", hide_env_values = true)]
    pub remote: Option<String>,
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

impl OneStage {
    /// The command line that does something else to the experiment as it is changed here.
    pub fn command(&self, command: &str) -> String {
        again(command, &self.experiment, &self.store, &self.changes)
    }
}

/// A command line that does something to an experiment as it is changed, in the same work directory.
pub fn again(command: &str, experiment: &Path, store: &Store, changes: &Changes) -> String {
    let mut words = vec!["runner".to_string(), command.to_string(), quoted(&experiment.to_string_lossy())];
    if store.directory != Path::new(WORK_DIRECTORY) {
        words.extend(["--store".to_string(), quoted(&store.directory.to_string_lossy())]);
    }
    let Changes { set, suite, seeds } = changes;
    words.extend(set.iter().flat_map(|set| ["--set".to_string(), quoted(set)]));
    words.extend(suite.iter().flat_map(|suite| ["--suite".to_string(), quoted(suite)]));
    words.extend(seeds.iter().flat_map(|seeds| ["--seeds".to_string(), quoted(seeds)]));
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
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
    /// Whether the experiment is as its file says.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.suite.is_none() && self.seeds.is_none()
    }

    /// What they come to for a plan.
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
