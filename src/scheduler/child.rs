//! The executor that runs a stage as a child process: `runner __stage <call.json>`.
//!
//! The child gets its call as a file, writes one JSON line for each [`Update`] to its standard
//! output, and everything else to its standard error, which is the stage's log. It succeeds by
//! exiting with 0. It has a process group of its own, so that it does not hear the Ctrl-C of the
//! terminal and can be stopped with all that it started, and it dies with this process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::executor::{Executor, Halt, Job, Usage};
use super::log::tail;
use super::memory::{Kills, exhausted, killed};
use crate::stage::{Progress, Update};

/// How often a child is looked after.
const TICK: Duration = Duration::from_millis(50);
/// How long a child may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// The variables of the environment that a stage sees, besides those that start with a prefix of
/// [`PREFIXES`]: where programs, libraries and temporary files are, and nothing that a result could
/// depend on.
const VARIABLES: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "RUST_BACKTRACE", "LANG"];
const PREFIXES: [&str; 2] = ["CUDA_", "NVIDIA_"];

/// Executes each stage as a child process.
pub struct ChildProcess {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl ChildProcess {
    /// Runs this very program: `<program> __stage <call.json>`.
    ///
    /// # Errors
    ///
    /// If the system does not say where the program is.
    pub fn this_program() -> io::Result<ChildProcess> {
        Ok(ChildProcess::new(std::env::current_exe()?, ["__stage"]))
    }

    /// Runs `program` with `arguments` and the path of the call.
    pub fn new<S: Into<OsString>>(program: PathBuf, arguments: impl IntoIterator<Item = S>) -> ChildProcess {
        ChildProcess { program, arguments: arguments.into_iter().map(S::into).collect() }
    }

    fn command(&self, call: &Path, threads: usize, log: &File) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(call).process_group(0).env_clear();
        let passed = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            VARIABLES.contains(&name.as_ref()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        command.envs(passed).env("RAYON_NUM_THREADS", threads.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
        #[cfg(target_os = "linux")]
        die_with_parent(&mut command);
        Ok(command)
    }
}

/// Has the child killed when the thread that starts it ends, which is when this process is killed:
/// the thread waits for the child.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let arrange = move || {
        // SAFETY: both are plain system calls, which may be made between fork and exec.
        let orphaned = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::getppid() as u32 != parent
        };
        if orphaned { Err(io::Error::from(io::ErrorKind::BrokenPipe)) } else { Ok(()) }
    };
    // SAFETY: the closure allocates nothing and takes no locks.
    unsafe { command.pre_exec(arrange) };
}

impl Executor for ChildProcess {
    fn execute(&self, job: &Job<'_>, progress: &dyn Progress, stop: &AtomicBool) -> Result<Usage, Halt> {
        let execution = &job.call.execution;
        let kills = Kills::now();
        let run = || -> io::Result<(End, Option<Stop>)> {
            let call = job.scratch.join("call.json");
            fs::write(&call, serde_json::to_vec_pretty(job.call)?)?;
            if let Some(parent) = job.log.parent() {
                fs::create_dir_all(parent)?;
            }
            let log = File::options().create(true).append(true).open(job.log)?;
            let mut child = self.command(&call, job.call.execution.threads, &log)?.spawn()?;
            let output = child.stdout.take().expect("standard output is piped");
            let id = child.id() as libc::pid_t;
            let limit = execution.timeout.map(|timeout| Instant::now() + timeout.duration());
            let child = Child { id, output: Lines::new(output), log, terminated: None, reaped: false };
            child.attend(progress, stop, limit)
        };
        let (end, stopped) = run().map_err(|error| Halt::Failed(format!("cannot run its process: {error}")))?;
        match end.status {
            status if status.success() => Ok(end.usage),
            _ if stopped == Some(Stop::Asked) => Err(Halt::Stopped),
            _ if stopped == Some(Stop::Late) => {
                let timeout = execution.timeout.map_or(String::new(), |timeout| format!(" of {timeout}"));
                Err(Halt::Failed(format!("it took longer than its `execution.timeout`{timeout}, and was stopped")))
            }
            status if status.signal() == Some(libc::SIGKILL) => Err(Halt::Failed(killed(kills, &end.usage, execution))),
            status => {
                let exhausted = exhausted(&tail(job.log), execution);
                let because = exhausted.map_or(String::new(), |exhausted| format!(": {exhausted}"));
                Err(Halt::Failed(described(status) + &because))
            }
        }
    }

    fn command(&self, job: &Job<'_>) -> String {
        let words = std::iter::once(self.program.as_os_str()).chain(self.arguments.iter().map(OsString::as_os_str));
        let words: Vec<String> = words.map(|word| word.to_string_lossy().replace('\n', " ")).collect();
        format!("{} {}", words.join(" "), job.scratch.join("call.json").display())
    }
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("its process exited with status {code}"),
        (None, signal) => format!("its process was killed by signal {}", signal.unwrap_or_default()),
    }
}

/// Why this process stops a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The run ends.
    Asked,
    /// It takes longer than it may.
    Late,
}

/// A child process that runs.
struct Child {
    id: libc::pid_t,
    output: Lines,
    log: File,
    /// When it was asked to stop, and why.
    terminated: Option<(Instant, Stop)>,
    /// Whether it has ended and its id is free again.
    reaped: bool,
}

impl Drop for Child {
    /// A child that cannot be attended any more is not left alone.
    fn drop(&mut self) {
        if !self.reaped {
            // SAFETY: the child was not reaped, so its id is taken; a null status is allowed.
            unsafe {
                libc::killpg(self.id, libc::SIGKILL);
                libc::waitpid(self.id, std::ptr::null_mut(), 0);
            }
        }
    }
}

/// A child process that has ended.
struct End {
    status: ExitStatus,
    usage: Usage,
}

impl Child {
    /// Passes on what the child says until it ends. Returns why it was asked to stop, if it was.
    fn attend(
        mut self,
        progress: &dyn Progress,
        stop: &AtomicBool,
        limit: Option<Instant>,
    ) -> io::Result<(End, Option<Stop>)> {
        loop {
            let open = self.output.wait(TICK)?;
            self.pass_on(progress)?;
            if let Some(end) = self.reap()? {
                // What it wrote last may still be in the pipe.
                while self.output.wait(Duration::ZERO)? && self.output.received {
                    self.pass_on(progress)?;
                }
                self.pass_on(progress)?;
                return Ok((end, self.terminated.map(|(_, why)| why)));
            }
            if !open {
                std::thread::sleep(Duration::from_millis(2));
            }
            if stop.load(Ordering::Relaxed) {
                self.stop(Stop::Asked);
            } else if limit.is_some_and(|limit| Instant::now() >= limit) {
                self.stop(Stop::Late);
            }
        }
    }

    /// Reports every complete line; what is no update belongs in the log.
    fn pass_on(&mut self, progress: &dyn Progress) -> io::Result<()> {
        while let Some(line) = self.output.next() {
            match serde_json::from_slice::<Update>(&line) {
                Ok(update) => progress.update(update),
                Err(_) => self.log.write_all(&line)?,
            }
        }
        Ok(())
    }

    /// Asks the child and all that it started to stop; after a while, makes them.
    fn stop(&mut self, why: Stop) {
        let signal = match self.terminated {
            None => libc::SIGTERM,
            Some((since, _)) if since.elapsed() > GRACE => libc::SIGKILL,
            Some(_) => return,
        };
        self.terminated.get_or_insert_with(|| (Instant::now(), why));
        // SAFETY: the group is the child's own, and the child was not reaped yet, so its id is taken.
        unsafe { libc::killpg(self.id, signal) };
    }

    /// The end of the child, if it has ended.
    fn reap(&mut self) -> io::Result<Option<End>> {
        let mut status = 0;
        // SAFETY: `rusage` is plain numbers, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to variables that outlive the call.
        let id = unsafe { libc::wait4(self.id, &mut status, libc::WNOHANG, &mut usage) };
        match id {
            0 => Ok(None),
            -1 => Err(io::Error::last_os_error()),
            _ => {
                self.reaped = true;
                Ok(Some(End { status: ExitStatus::from_raw(status), usage: measured(&usage) }))
            }
        }
    }
}

fn measured(usage: &libc::rusage) -> Usage {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    // Linux counts in KiB, macOS in bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Usage { cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime), memory: Some(usage.ru_maxrss as u64 * unit) }
}

/// The lines of a pipe, read without waiting longer than asked.
struct Lines {
    pipe: ChildStdout,
    buffer: Vec<u8>,
    /// Whether the last wait brought something.
    received: bool,
}

impl Lines {
    fn new(pipe: ChildStdout) -> Lines {
        Lines { pipe, buffer: Vec::new(), received: false }
    }

    /// Waits for something to read, and reads it. Returns false when the pipe is closed.
    fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        let mut poll = libc::pollfd { fd: self.pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one pollfd that outlives the call.
        let ready = unsafe { libc::poll(&mut poll, 1, patience.as_millis() as libc::c_int) };
        self.received = false;
        if ready <= 0 {
            return Ok(true);
        }
        let mut chunk = [0; 8192];
        let read = self.pipe.read(&mut chunk)?;
        self.received = read > 0;
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(read > 0)
    }

    /// The next complete line with its end.
    fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        Some(self.buffer.drain(..=end).collect())
    }
}
