//! Everything that a value needs, several files at once.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::error::{HubError, Reason};
use super::memory::Stat;
use super::transfer::Job;
use super::{Hub, Located};

/// How many files come at once.
const WORKERS: usize = 8;
/// How often progress is told and the interrupt looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long files that still come are waited for after an interrupt. What they have is kept anyway.
const GRACE: Duration = Duration::from_secs(2);

/// What happens while a value is fetched.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It begins.
    Started {
        /// Files to look at.
        files: usize,
        /// Bytes of them.
        bytes: u64,
        /// How many of these have to be downloaded; the others are here, and are checked.
        missing: u64,
    },
    /// So many bytes are done, of all that were counted.
    Moved {
        /// Bytes.
        done: u64,
    },
    /// All files are here and are what they should be.
    Ended {
        /// Bytes that had to be downloaded.
        missing: u64,
        /// Seconds.
        wall: f64,
    },
}

/// What the workers share.
struct Work {
    jobs: Vec<Job>,
    next: AtomicUsize,
    stop: AtomicBool,
    client: Option<Arc<Client>>,
}

/// News of the job at an index.
enum News {
    /// So many bytes of it are done.
    At(usize, u64),
    Ended(usize, Result<(), Reason>),
}

impl Hub {
    /// Brings all files of a value here. What is here and was checked before is not read again; if
    /// nothing is left to do, nothing is told.
    ///
    /// # Errors
    ///
    /// If a file cannot be had, is not what the Hub lists, or cannot be written, or `interrupt` became
    /// true. What was downloaded is kept, and the next call goes on with it.
    pub fn fetch(&self, located: &Located, interrupt: &AtomicBool, tell: &mut dyn FnMut(Step)) -> Result<(), HubError> {
        let value = || located.value.clone();
        self.bring(located, interrupt, tell).map_err(|reason| HubError { value: value(), reason })
    }

    /// Whether the disk of the cache has room for what is missing of these values.
    ///
    /// # Errors
    ///
    /// If it has not; the value is the one of which most is missing.
    pub fn check_room(&self, located: &[Rc<Located>]) -> Result<(), HubError> {
        let missing = |located: &Located| self.jobs(located).map(|job| job.missing()).fold(0, u64::saturating_add);
        let missing: Vec<u64> = located.iter().map(|located| missing(located)).collect();
        let needed = missing.iter().copied().fold(0, u64::saturating_add);
        let Some((_, largest)) = missing.iter().zip(located).max_by_key(|(missing, _)| **missing) else {
            return Ok(());
        };
        room(&self.settings.cache, needed).map_err(|reason| HubError { value: largest.value.clone(), reason })
    }

    fn jobs<'l>(&'l self, located: &'l Located) -> impl Iterator<Item = Job> + 'l {
        located.files.iter().map(|entry| Job::new(&self.settings, &located.name, &located.commit, entry))
    }

    fn bring(&self, located: &Located, interrupt: &AtomicBool, tell: &mut dyn FnMut(Step)) -> Result<(), Reason> {
        let clock = Instant::now();
        let verified = self.memory.verified();
        let is_known =
            |found: Option<(PathBuf, Stat)>| found.is_some_and(|(blob, stat)| verified.get(&blob) == Some(&stat));
        let mut jobs = Vec::new();
        for job in self.jobs(located) {
            if is_known(job.found()) {
                continue;
            }
            match is_known(job.found_blob()) {
                true => job.link()?,
                false => jobs.push(job),
            }
        }
        if jobs.is_empty() {
            return Ok(());
        }
        let missing = jobs.iter().map(Job::missing).fold(0, u64::saturating_add);
        let is_missing = |job: &Job| job.missing() > 0 || job.found().is_none();
        let client = match jobs.iter().any(is_missing) {
            true => Some(self.client()?),
            // A file that turns out to be damaged is fetched again, if anybody may be asked.
            false => self.client().ok(),
        };
        let bytes = jobs.iter().map(|job| job.entry.size).fold(0, u64::saturating_add);
        tell(Step::Started { files: jobs.len(), bytes, missing });
        let work = Work { jobs, next: AtomicUsize::new(0), stop: AtomicBool::new(false), client };
        let work = Arc::new(work);
        let (done, result) = run(&work, interrupt, tell);
        let stats = done.into_iter().filter_map(|index| work.jobs[index].found());
        self.memory.add_verified(stats.collect::<BTreeMap<_, _>>())?;
        result?;
        if missing > 0 && !located.name.is_pinned() {
            let path = self.settings.branch_file(&located.name);
            let noted = self.settings.set_branch(&located.name, &located.commit);
            noted.map_err(super::transfer::failed("write", &path))?;
        }
        tell(Step::Ended { missing, wall: clock.elapsed().as_secs_f64() });
        Ok(())
    }
}

/// Lets workers do all jobs. Returns the indices of those that are done, and the first error.
fn run(work: &Arc<Work>, interrupt: &AtomicBool, tell: &mut dyn FnMut(Step)) -> (Vec<usize>, Result<(), Reason>) {
    let (sender, receiver) = channel();
    // The threads belong to nobody: one that waits for a server must not hold up the end.
    for _ in 0..WORKERS.min(work.jobs.len()) {
        let (work, sender) = (work.clone(), sender.clone());
        thread::spawn(move || labour(&work, &sender));
    }
    drop(sender);
    let mut positions = vec![0; work.jobs.len()];
    let mut done = Vec::new();
    let mut stopped: Option<(Reason, Instant)> = None;
    let mut told = Instant::now();
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(News::At(index, position)) => positions[index] = position,
            Ok(News::Ended(index, Ok(()))) => {
                positions[index] = work.jobs[index].entry.size;
                done.push(index);
            }
            Ok(News::Ended(_, Err(reason))) => {
                stopped.get_or_insert_with(|| (reason, Instant::now()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if interrupt.load(Ordering::Relaxed) {
            stopped.get_or_insert_with(|| (Reason::Interrupted, Instant::now()));
        }
        if let Some((_, since)) = &stopped {
            work.stop.store(true, Ordering::Relaxed);
            if since.elapsed() > GRACE {
                break;
            }
        }
        if told.elapsed() >= TICK {
            told = Instant::now();
            tell(Step::Moved { done: positions.iter().sum() });
        }
    }
    assert!(stopped.is_some() || done.len() == work.jobs.len(), "BUG: a worker ended before its work");
    (done, stopped.map_or(Ok(()), |(reason, _)| Err(reason)))
}

/// Does jobs as long as there are any.
fn labour(work: &Work, news: &Sender<News>) {
    while !work.stop.load(Ordering::Relaxed) {
        let index = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = work.jobs.get(index) else { return };
        let tell = |position| drop(news.send(News::At(index, position)));
        let result = job.perform(work.client.as_deref(), &tell, &work.stop);
        if news.send(News::Ended(index, result)).is_err() {
            return;
        }
    }
}

/// Whether the disk of the cache has room for so many bytes. A disk that cannot be asked is tried.
fn room(cache: &Path, needed: u64) -> Result<(), Reason> {
    let Some(folder) = cache.ancestors().find(|folder| folder.is_dir()) else { return Ok(()) };
    let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else { return Ok(()) };
    // SAFETY: `statvfs` is plain numbers, for which zero is a value.
    let mut disk: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to variables that outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), &mut disk) } != 0 {
        return Ok(());
    }
    // The types of the fields differ between systems.
    #[allow(clippy::unnecessary_cast)]
    let free = (disk.f_bavail as u64).saturating_mul(disk.f_frsize as u64);
    match free < needed {
        true => Err(Reason::NoRoom { path: cache.to_path_buf(), needed, free }),
        false => Ok(()),
    }
}
