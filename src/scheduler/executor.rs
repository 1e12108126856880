//! How a stage is executed, and the executor that does it in a thread of this process.

use std::any::Any;
use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::digest::Digest;
use crate::stage::{Call, Progress, Registry, perform};

/// One execution of a stage.
pub struct Job<'a> {
    /// The stage's name.
    pub name: &'a str,
    /// The key of its result.
    pub fingerprint: Digest,
    /// How long it will take in seconds, going by earlier ones.
    pub expected: Option<f64>,
    /// What to execute.
    pub call: &'a Call,
    /// A directory for files that are not part of the result; removed afterwards.
    pub scratch: &'a Path,
    /// The file for everything that the stage writes to its standard error; its head is there already.
    pub log: &'a Path,
}

/// What an execution cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Processor time in seconds.
    pub cpu: f64,
    /// The most memory in bytes, where it is known.
    pub memory: Option<u64>,
    /// Where and when it ran, if that was not here and now.
    pub elsewhere: Option<Elsewhere>,
}

/// Where and when an execution ran that had to wait for its turn on another machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Elsewhere {
    /// The name of the machine.
    pub host: String,
    /// Seconds since 1970.
    pub started: f64,
    /// Seconds, without the time in a queue.
    pub wall: f64,
}

/// Why an execution came to no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// It was asked to stop.
    Stopped,
    /// It failed; more may be in the log.
    Failed(String),
}

/// Executes stages. Called from several threads at once.
pub trait Executor: Sync {
    /// Executes a stage to its end, or until `stop` is set.
    ///
    /// # Errors
    ///
    /// If the stage failed or was stopped.
    fn execute(&self, job: &Job<'_>, progress: &dyn Progress, stop: &AtomicBool) -> Result<Usage, Halt>;

    /// How it executes a stage, for the log: a command line, where there is one.
    fn command(&self, _: &Job<'_>) -> String {
        "none: in the process of the run".to_string()
    }
}

/// Executes a stage in the calling thread. It cannot be stopped.
pub struct InProcess<'a> {
    registry: &'a Registry,
}

impl<'a> InProcess<'a> {
    /// An executor for the kinds of `registry`.
    pub fn new(registry: &'a Registry) -> InProcess<'a> {
        InProcess { registry }
    }
}

impl Executor for InProcess<'_> {
    fn execute(&self, job: &Job<'_>, progress: &dyn Progress, _: &AtomicBool) -> Result<Usage, Halt> {
        let unknown = || Halt::Failed(format!("no stage kind `{}` in this build", job.call.kind));
        let stage = self.registry.implementation(&job.call.kind).ok_or_else(unknown)?;
        let before = thread_cpu();
        let result = catch_unwind(AssertUnwindSafe(|| perform(stage, job.call, progress)));
        let message = match result {
            Ok(Ok(())) => return Ok(Usage { cpu: thread_cpu() - before, memory: None, elsewhere: None }),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => format!("panicked: {}", panic_message(panic.as_ref())),
        };
        match write_log(job.log, &message) {
            Ok(()) => Err(Halt::Failed(message)),
            Err(error) => Err(Halt::Failed(format!("{message} (and its log cannot be written: {error})"))),
        }
    }
}

/// What a panic says.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

fn write_log(path: &Path, message: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut log = fs::File::options().create(true).append(true).open(path)?;
    log.write_all(format!("error: {message}\n").as_bytes())
}

/// The processor time of the calling thread in seconds.
fn thread_cpu() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes to `time`, which outlives it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
