//! The executor that runs a stage as a child process: `runner __stage <call.json>`.
//!
//! The child gets its call as a file, writes one JSON line for each [`Update`] to its standard output, and
//! everything else to its standard error, which is the stage's log; last it may say its [`Peak`]. It succeeds
//! by exiting with 0. Where there is a nursery (`nursery.rs`), the child is forked there instead, and has its
//! call already.
//!
//! It is contained: it sees a small environment, has a process group of its own, so that it does not hear
//! the Ctrl-C of the terminal and can be stopped with all that it started, and what it leaves running, in the
//! group or out of it (`orphans.rs`), is killed before its outputs are looked at. Floods of news and of text for the log are cut
//! (`output.rs`). It dies with this process, if it asks for that with [`die_with_parent`].

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::executor::{Executor, Halt, Job, Usage};
use super::log::tail;
use super::memory::{Kills, exhausted, killed};
use super::nursery::{LONGEST, Nursery, Request};
use super::orphans;
use super::output::Output;
use crate::stage::{Call, Progress, Update};

/// How often a child is looked after.
const TICK: Duration = Duration::from_millis(50);
/// How long a child may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// The variables of the environment that a stage sees, besides those that start with a prefix of
/// [`PREFIXES`]: where programs, libraries and temporary files are, and nothing that a result could
/// depend on.
const VARIABLES: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "RUST_BACKTRACE", "LANG"];
const PREFIXES: [&str; 2] = ["CUDA_", "NVIDIA_"];
/// The process that a stage must not outlive.
pub(super) const PARENT: &str = "RUNNER_PARENT";
/// How many threads a stage computes with.
pub(super) const THREADS: &str = "RAYON_NUM_THREADS";
/// How long processes that a stage left behind may take to be gone once they are killed.
const BURIAL: Duration = Duration::from_secs(1);

/// Executes each stage as a child process.
pub struct ChildProcess {
    program: PathBuf,
    arguments: Vec<OsString>,
    nursery: Option<Nursery>,
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
        orphans::adopt();
        ChildProcess { program, arguments: arguments.into_iter().map(S::into).collect(), nursery: None }
    }

    /// Has stages forked in a nursery, if there is one, as long as it is there.
    pub fn with(self, nursery: Option<Nursery>) -> ChildProcess {
        ChildProcess { nursery, ..self }
    }

    /// Starts a process for a call. Only one that is not forked in the nursery reads it from a file, in
    /// the directory `scratch`.
    fn begin(&self, call: &Call, scratch: &Path) -> io::Result<Begun> {
        let (text, threads, mark) = (serde_json::to_vec(call)?, call.execution.threads, orphans::mark());
        if let Some(nursery) = self.nursery.as_ref().filter(|_| text.len() <= LONGEST) {
            let ((news, stdout), (log, stderr)) = (io::pipe()?, io::pipe()?);
            let (stdout, stderr) = (OwnedFd::from(stdout), OwnedFd::from(stderr));
            if let Ok(id) = nursery.begin(&Request { call: &text, threads, mark }, &stdout, &stderr) {
                return Ok(Begun { id, mark, news: OwnedFd::from(news).into(), text: OwnedFd::from(log).into() });
            }
        }
        let path = scratch.join("call.json");
        fs::write(&path, serde_json::to_vec_pretty(call)?)?;
        let mut child = self.command(&path, threads, mark).spawn()?;
        let news = child.stdout.take().expect("standard output is piped");
        let text = child.stderr.take().expect("standard error is piped");
        Ok(Begun { id: child.id() as libc::pid_t, mark, news, text })
    }

    /// Nothing here needs code between fork and exec, so that the system can start the child without
    /// copying this process's tables of memory.
    fn command(&self, call: &Path, threads: usize, mark: u64) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(call).process_group(0).env_clear();
        let passed = std::env::vars_os().filter(|(name, _)| is_passed(name));
        command.envs(passed).env(THREADS, threads.to_string());
        let this = std::process::id();
        command.env(PARENT, this.to_string()).env(orphans::EXECUTION, orphans::described(this, mark));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Whether a stage sees a variable of the environment.
pub(super) fn is_passed(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    VARIABLES.contains(&name.as_ref()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A child process that has just been started, and the pipes from it.
struct Begun {
    id: libc::pid_t,
    /// What its execution is told apart by.
    mark: u64,
    news: ChildStdout,
    text: ChildStderr,
}

/// Has this process killed when the thread that started it ends, which is when its parent is killed: the
/// thread waits for it. Returns false if that has happened already. Other systems than Linux cannot do
/// this.
pub fn die_with_parent() -> bool {
    #[cfg(target_os = "linux")]
    {
        let parent = std::env::var(PARENT).ok().and_then(|parent| parent.parse::<u32>().ok());
        // SAFETY: both are plain system calls.
        let now = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::getppid() as u32
        };
        parent.is_none_or(|parent| parent == now)
    }
    #[cfg(not(target_os = "linux"))]
    {
        true
    }
}

/// The last line that a child may write to its standard output.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// The most memory that it had, in bytes.
    pub memory: u64,
}

impl Peak {
    /// That of this process since its program began, where the system tells.
    pub fn now() -> Option<Peak> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(Peak { memory: kibibytes * 1024 })
    }
}

/// Whether this process, and those that it starts, get huge pages of memory from now on. Large tensors are
/// faster in them; but each is cleared as a whole, which takes longer than all that a small process does.
/// Other systems than Linux decide themselves.
pub fn huge_pages(allowed: bool) {
    #[cfg(target_os = "linux")]
    {
        let disabled = libc::c_ulong::from(!allowed);
        // SAFETY: a plain system call. Where it fails, nothing changes.
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, disabled, 0, 0, 0) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = allowed;
}

impl Executor for ChildProcess {
    fn execute(&self, job: &Job<'_>, progress: &dyn Progress, stop: &AtomicBool) -> Result<Usage, Halt> {
        let execution = &job.call.execution;
        let kills = Kills::now();
        let run = || -> io::Result<(End, Option<Stop>)> {
            let log = fs::File::options().create(true).append(true).open(job.log).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot open its log `{}`: {error}", job.log.display()))
            })?;
            let Begun { id, mark, news, text } = self.begin(job.call, job.scratch)?;
            let limit = execution.timeout.map(|timeout| Instant::now() + timeout.duration());
            let output = Output::new(news, text, log)?;
            Child { id, mark, output, terminated: None, reaped: false }.attend(progress, stop, limit)
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
        match &self.nursery {
            Some(_) => format!("{}, forked from the run", words.join(" ")),
            None => format!("{} {}", words.join(" "), job.scratch.join("call.json").display()),
        }
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
    mark: u64,
    output: Output,
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
        // A child that has closed both pipes is about to end.
        let mut nap = Duration::from_micros(50);
        loop {
            let open = self.output.pass_on(TICK, progress)?;
            if let Some(mut end) = self.reap()? {
                if bury(self.id) | orphans::bury(self.mark, BURIAL) {
                    let left = "it left processes behind when it ended; they were killed".to_string();
                    progress.update(Update::Warning(left));
                }
                self.output.finish(progress)?;
                // What the system says includes what this process had when it started the child.
                end.usage.memory = self.output.peak.map(|peak| peak.memory).or(end.usage.memory);
                return Ok((end, self.terminated.map(|(_, why)| why)));
            }
            if !open {
                std::thread::sleep(nap);
                nap = (nap * 2).min(TICK / 10);
            }
            if stop.load(Ordering::Relaxed) {
                self.stop(Stop::Asked);
            } else if limit.is_some_and(|limit| Instant::now() >= limit) {
                self.stop(Stop::Late);
            }
        }
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

/// Kills what is left of a process group whose leader was reaped, and waits until it is gone, so that
/// nothing writes any more. Returns whether something was left.
fn bury(group: libc::pid_t) -> bool {
    // SAFETY: the number of a group is not given to another one while a process is in it, and a signal to
    // a group without processes is an error without effect.
    let signal = |signal| unsafe { libc::killpg(group, signal) } == 0;
    if !signal(libc::SIGKILL) {
        return false;
    }
    let since = Instant::now();
    while signal(0) && since.elapsed() < BURIAL {
        // This process has become the parent of all that is left in the group.
        // SAFETY: a plain system call; a null status is allowed.
        unsafe { libc::waitpid(-group, std::ptr::null_mut(), libc::WNOHANG) };
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

fn measured(usage: &libc::rusage) -> Usage {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    // Linux counts in KiB, macOS in bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let memory = Some(usage.ru_maxrss as u64 * unit);
    Usage { cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime), memory, elsewhere: None }
}
