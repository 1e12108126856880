//! The command line: what can be said, and how it is explained.

mod options;
mod run;
mod upkeep;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use options::{Changes, Format, OneStage, RemoteOption, again};
pub use run::{Exec, ExecutorChoice, Export, ExportFormat, Plan, Pull, Push};
pub use upkeep::{Devices, Diff, Gc, Ls, Show, Stages, Status, Verify};

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
