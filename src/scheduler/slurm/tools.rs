//! The programs of Slurm, called with patience but not for ever.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::states::{self, Task};

/// How long a call may take: a controller that is busy answers late.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolError {
    pub message: String,
    /// Whether the same call may succeed later.
    pub passing: bool,
}

/// What Slurm says when it is only busy, away or full.
const PASSING: [&str; 10] = [
    "timed out",
    "Unable to contact",
    "Connection refused",
    "Communication connection failure",
    "temporarily un",
    "Zero Bytes were transmitted",
    "MaxSubmitJob",
    "Job violates accounting/QOS policy (job submit limit",
    "Backup controller",
    "in standby mode",
];

/// Submits a script.
pub(super) fn submit(arguments: Vec<OsString>, script: &str) -> Result<String, ToolError> {
    let said = call("sbatch", arguments, script)?;
    super::script::job_id(&said).ok_or_else(|| {
        let message = format!("`sbatch --parsable` printed no job id, but `{}`", said.trim());
        ToolError { message, passing: false }
    })
}

/// All tasks of this user that the controller knows.
pub(super) fn queue() -> Result<Vec<Task>, ToolError> {
    // SAFETY: the call has no conditions.
    let user = unsafe { libc::getuid() };
    let format = format!("--format={}", states::QUEUE_FORMAT);
    let words = ["--noheader", "--array", "--states=all", &format!("--user={user}"), &format];
    call("squeue", words.map(OsString::from).to_vec(), "").map(|said| states::queue(&said))
}

/// What accounting knows of arrays.
pub(super) fn accounting(jobs: &[String]) -> Result<Vec<Task>, ToolError> {
    let (jobs, format) = (format!("--jobs={}", jobs.join(",")), format!("--format={}", states::ACCOUNTING_FORMAT));
    let words = ["--noheader", "--parsable2", "--duplicates", &jobs, &format];
    call("sacct", words.map(OsString::from).to_vec(), "").map(|said| states::accounting(&said))
}

/// Cancels tasks: (batch, tasks); all of an array at once where all are meant.
pub(super) fn cancel(tasks: &[(&Batch, Vec<usize>)]) -> Result<(), ToolError> {
    let mut words: Vec<OsString> = Vec::new();
    for (batch, tasks) in tasks {
        match batch.job() {
            // Not known: perhaps submitted all the same.
            None => drop(call("scancel", vec![format!("--jobname={}", batch.name()).into()], "")?),
            Some(job) if tasks.len() == batch.tasks() => words.push(job.into()),
            Some(job) => words.extend(tasks.iter().map(|task| OsString::from(format!("{job}_{task}")))),
        }
    }
    // A command line has its limits.
    words.chunks(500).try_for_each(|words| call("scancel", words.to_vec(), "").map(drop))
}

/// The greatest number of tasks of an array.
pub(super) fn array_size() -> Option<usize> {
    let said = call("scontrol", ["show", "config"].map(OsString::from).to_vec(), "").ok()?;
    super::script::array_size(&said)
}

/// Runs a program with this input, and returns what it prints. It does not hear the terminal's Ctrl-C, and
/// does not believe to be within the job in which this process may run.
fn call(program: &str, arguments: Vec<OsString>, input: &str) -> Result<String, ToolError> {
    let failed = |message: String, passing| ToolError { message, passing };
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SLURM_") && text != "SLURM_CONF" {
            command.env_remove(&name);
        }
    }
    let mut child = command.spawn().map_err(|error| failed(format!("cannot run `{program}`: {error}"), false))?;
    let (mut stdin, mut stdout, mut stderr) = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
        _ => unreachable!("all three are piped"),
    };
    let input = input.to_string();
    // A program that ends without reading is judged by its exit status.
    thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let read = |pipe: &mut dyn Read| {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let output = thread::spawn(move || read(&mut stdout));
    let errors = thread::spawn(move || read(&mut stderr));
    let since = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if since.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("`{program}` did not answer within {} s", PATIENCE.as_secs()), true));
            }
            Err(error) => return Err(failed(format!("cannot wait for `{program}`: {error}"), false)),
        }
    };
    let (output, errors) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    if status.success() {
        return Ok(output);
    }
    let said = if errors.trim().is_empty() { output.trim() } else { errors.trim() };
    let passing = PASSING.iter().any(|words| said.contains(words));
    Err(failed(format!("`{program}` failed: {said}"), passing))
}
