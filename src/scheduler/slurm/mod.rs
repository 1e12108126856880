//! The executor that has stages executed by a Slurm cluster.
//!
//! Stages that are ready together and ask for the same are submitted as one job array (`submit.rs`);
//! each task of it runs this program again (`job.rs`), which executes its stages as child processes and
//! leaves an exit file for each. That file says how a stage ended. Where there is none, `squeue` and then
//! `sacct` say whether its job lives (`watch.rs`, `states.rs`); what they do not know is given time before it counts as
//! lost.
//!
//! What is submitted lies in a directory of the work directory (`batch.rs`) on the file system that the
//! compute nodes share. It outlives this process: the next one adopts what it finds there.

mod batch;
mod dispatcher;
mod job;
mod script;
mod site;
mod states;
mod submit;
mod tools;
mod watch;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use batch::Exit;
use dispatcher::{Ask, Dispatcher, Message, Tell};

pub use job::run_job;
pub use site::Site;

use super::child::ChildProcess;
use super::executor::{Elsewhere, Executor, Halt, Job, Usage};
use crate::stage::{Progress, Update};

/// How often a stage looks whether it is to stop.
const TICK: Duration = Duration::from_millis(200);
/// How often the news and the log of a running stage are read.
const FOLLOW: Duration = Duration::from_secs(1);

/// Says whether the jobs of a run that ends early are cancelled. If not, the next run takes them up.
pub type Cancels = Box<dyn Fn() -> bool + Send + Sync>;

/// Executes stages as jobs of a Slurm cluster, those of cheap kinds as child processes.
pub struct Slurm {
    site: Site,
    here: ChildProcess,
    /// How many stages run here now, and how many may.
    local: (AtomicUsize, usize),
    /// Whether jobs are cancelled when the run ends early; asked once, when it does.
    cancels: Cancels,
    cancelled: OnceLock<bool>,
    messages: Sender<Message>,
    dispatcher: Option<JoinHandle<()>>,
}

impl Slurm {
    /// Submits below `directory`, which must be on a file system that the compute nodes share: jobs that
    /// execute `<program> <arguments> <batch> <task>`. Up to `cores` stages of local kinds run `here`.
    pub fn start(
        site: Site,
        directory: PathBuf,
        program: PathBuf,
        arguments: Vec<OsString>,
        here: ChildProcess,
        cores: usize,
        cancels: Cancels,
    ) -> Slurm {
        let (messages, received) = channel();
        let dispatcher = Dispatcher::new(site.clone(), directory, program, arguments);
        let dispatcher = thread::spawn(move || dispatcher.run(&received));
        let local = (AtomicUsize::new(0), cores.max(1));
        let (dispatcher, cancelled) = (Some(dispatcher), OnceLock::new());
        Slurm { site, here, local, cancels, cancelled, messages, dispatcher }
    }

    /// Executes a stage on this machine when there is room.
    fn locally(&self, job: &Job<'_>, progress: &dyn Progress, stop: &AtomicBool) -> Result<Usage, Halt> {
        let (taken, most) = &self.local;
        let take = |taken: usize| (taken < *most).then_some(taken + 1);
        while taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            if stop.load(Ordering::Relaxed) {
                return Err(Halt::Stopped);
            }
            thread::sleep(Duration::from_millis(10));
        }
        let result = self.here.execute(job, progress, stop);
        taken.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

impl Drop for Slurm {
    /// Waits until the dispatcher has tidied up.
    fn drop(&mut self) {
        let _ = self.messages.send(Message::End);
        if let Some(dispatcher) = self.dispatcher.take() {
            let _ = dispatcher.join();
        }
    }
}

impl Executor for Slurm {
    fn execute(&self, job: &Job<'_>, progress: &dyn Progress, stop: &AtomicBool) -> Result<Usage, Halt> {
        if self.site.keeps(job.call) {
            return self.locally(job, progress, stop);
        }
        let gone = || Halt::Failed("BUG: nobody submits jobs any more".to_string());
        let (tell, told) = channel();
        let (fingerprint, name, expected, call) =
            (job.fingerprint, job.name.to_string(), job.expected, job.call.clone());
        let ask = Ask { fingerprint, name, expected, call, tell };
        self.messages.send(Message::Ask(Box::new(ask))).map_err(|_| gone())?;
        let mut follower: Option<Follower> = None;
        let mut cancelled = false;
        loop {
            match told.recv_timeout(TICK) {
                Ok(Tell::Directory(directory)) => follower = Some(Follower::new(&directory, job.log)),
                Ok(Tell::Warning(message)) => progress.update(Update::Warning(message)),
                Ok(Tell::Ended(exit)) => {
                    let Some(mut follower) = follower else { return Err(gone()) };
                    follower.follow(progress);
                    let result = taken(&exit, &follower.directory, job);
                    let _ = self.messages.send(Message::Taken(job.fingerprint));
                    return result;
                }
                Ok(Tell::Failed(message, said)) => {
                    if let Some(follower) = &mut follower {
                        follower.follow(progress);
                    }
                    append(job.log, said.as_bytes());
                    append(job.log, format!("error: {message}\n").as_bytes());
                    return Err(Halt::Failed(message));
                }
                Ok(Tell::Cancelled) => return Err(Halt::Stopped),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
            if stop.load(Ordering::Relaxed) && !cancelled {
                if !self.cancelled.get_or_init(&self.cancels) {
                    return Err(Halt::Stopped);
                }
                cancelled = true;
                self.messages.send(Message::Cancel(job.fingerprint)).map_err(|_| gone())?;
            }
            if let Some(follower) = follower.as_mut().filter(|follower| follower.last.elapsed() >= FOLLOW) {
                follower.follow(progress);
            }
        }
    }

    fn command(&self, job: &Job<'_>) -> String {
        match self.site.keeps(job.call) {
            true => self.here.command(job),
            false => "sbatch, as a task of a job array".to_string(),
        }
    }
}

/// The result of a stage that has come to its end elsewhere.
fn taken(exit: &Exit, directory: &Path, job: &Job<'_>) -> Result<Usage, Halt> {
    if let Some(failure) = &exit.failure {
        return Err(Halt::Failed(failure.clone()));
    }
    for (slot, to) in &job.call.outputs {
        let from = directory.join("outputs").join(slot);
        link(&from, to).map_err(|error| {
            Halt::Failed(format!("cannot bring the output `{slot}` from `{}`: {error}", from.display()))
        })?;
    }
    let elsewhere = Elsewhere { host: exit.host.clone(), started: exit.started, wall: exit.wall };
    Ok(Usage { cpu: exit.cpu, memory: exit.memory, elsewhere: Some(elsewhere) })
}

/// Fills the directory `to` with the files below `from`, as further names of them: until the result is
/// recorded it is also where it came from, should this process die. What is no file or directory is moved,
/// for others to refuse.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, old, new) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&new)?;
            link(&old, &new)?;
        } else if !kind.is_file() || fs::hard_link(&old, &new).is_err() {
            fs::rename(&old, &new)?;
        }
    }
    Ok(())
}

/// Reads what a stage writes elsewhere while it does so.
struct Follower {
    directory: PathBuf,
    log: PathBuf,
    last: Instant,
    /// How much of the log and of the news was read.
    read: (u64, u64),
    /// The beginning of a line of news.
    part: Vec<u8>,
}

impl Follower {
    fn new(directory: &Path, log: &Path) -> Follower {
        let (directory, log) = (directory.to_path_buf(), log.to_path_buf());
        Follower { directory, log, last: Instant::now(), read: (0, 0), part: Vec::new() }
    }

    /// Copies what is new in the log to that of the stage here, and passes the news on.
    fn follow(&mut self, progress: &dyn Progress) {
        self.last = Instant::now();
        append(&self.log, &more(&self.directory.join("log"), &mut self.read.0));
        self.part.extend(more(&self.directory.join("news"), &mut self.read.1));
        while let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.part.drain(..=end).collect();
            if let Ok(update) = serde_json::from_slice::<Update>(&line) {
                progress.update(update);
            }
        }
    }
}

/// What a file holds behind `read` bytes.
fn more(path: &Path, read: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(mut file) = File::open(path) else { return bytes };
    // A job that was requeued begins its log again.
    if file.metadata().is_ok_and(|metadata| metadata.len() < *read) {
        *read = 0;
    }
    if file.seek(SeekFrom::Start(*read)).and_then(|_| file.read_to_end(&mut bytes)).is_ok() {
        *read += bytes.len() as u64;
    }
    bytes
}

/// Adds to a log. A log that cannot be written fails no stage.
fn append(log: &Path, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let _ = log.parent().map(fs::create_dir_all);
    let file = File::options().create(true).append(true).open(log);
    let _ = file.and_then(|mut file| file.write_all(bytes));
}
