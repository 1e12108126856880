//! Where stages write until their results are committed, and who is still there to commit them.
//!
//! Each process that runs stages has a directory of its own below `staging/`, its *session*: it holds a
//! lock on a file in it for as long as it lives, and touches the file every few seconds. On the same
//! machine a process is gone exactly when its lock is free; of another machine's process, whose locks
//! may not be seen here, when its file was not touched for a while by the clock of who watches. So no
//! clocks are compared, and a process that has the number of a dead one is not taken for it.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::clock;
use super::error::{CacheError, at};
use super::fault::{self, Point};
use super::owner::Owner;

const LOCK: &str = "lock";

/// How often a session gives a sign of life.
const BEAT: Duration = Duration::from_secs(10);
/// A process of another machine is gone when it gave no sign for so long: longer than file servers let
/// their clients believe old times.
const PATIENCE: Duration = Duration::from_secs(90);
/// What another machine's process left is not swept before; nobody may have watched it.
const LONG_AGO: Duration = Duration::from_secs(24 * 3600);

/// The staging directory of this process. Removed when the last holder lets go.
#[derive(Debug)]
pub(super) struct Session {
    directory: PathBuf,
    next: AtomicU64,
    /// Directories that stages are done with, tidied up: making one takes longer than anything else that the
    /// system does for a short stage.
    free: Mutex<Vec<PathBuf>>,
    _lock: Arc<File>,
    /// Closed when the session ends: then the heart stops.
    _heart: Sender<()>,
}

impl Session {
    /// Makes a directory below `staging`, after removing what dead processes left there.
    pub fn start(staging: &Path) -> Result<Arc<Session>, CacheError> {
        fs::create_dir_all(staging).map_err(at("create", staging))?;
        sweep(staging).map_err(at("tidy", staging))?;
        loop {
            let directory = tempfile::Builder::new()
                .prefix("")
                .rand_bytes(8)
                .tempdir_in(staging)
                .map_err(at("create a directory in", staging))?
                .keep();
            let path = directory.join(LOCK);
            let mut lock = File::create(&path).map_err(at("create", &path))?;
            match lock.try_lock() {
                Ok(()) if locks_hold(&path) => {}
                // Another process took the lock, for it takes this one for dead.
                Err(TryLockError::WouldBlock) => continue,
                Ok(()) | Err(TryLockError::Error(_)) => {
                    let _ = fs::remove_dir_all(&directory);
                    return Err(CacheError::NoLocks { path: staging.to_path_buf() });
                }
            }
            let owner = serde_json::to_vec(&Owner::this_process()).expect("an owner is plain data");
            lock.write_all(&owner).map_err(at("write", &path))?;
            // Or even took the directory away.
            if !path.exists() {
                continue;
            }
            let lock = Arc::new(lock);
            let heart = beat(lock.clone());
            fault::reach(Point::SessionMade);
            return Ok(Arc::new(Session {
                directory,
                next: AtomicU64::new(0),
                free: Mutex::default(),
                _lock: lock,
                _heart: heart,
            }));
        }
    }

    /// What other processes know it by.
    pub fn name(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its directory.
    pub fn place(&self) -> &Path {
        &self.directory
    }

    /// Makes an empty directory that nobody else has or had.
    pub fn directory(&self) -> Result<PathBuf, CacheError> {
        let directory = self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&directory).map_err(at("create", &directory))?;
        Ok(directory)
    }

    /// The same with nothing in it but an empty directory called `inner`. It may be [given
    /// back](Session::give_back).
    pub fn scratch(&self, inner: &str) -> Result<PathBuf, CacheError> {
        let directory = self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        if free.is_some_and(|free| fs::rename(free, &directory).is_ok()) {
            return Ok(directory);
        }
        let inner = directory.join(inner);
        fs::create_dir_all(&inner).map_err(at("create", &inner))?;
        Ok(directory)
    }

    /// Takes back a directory, or removes it if there is more in it than files.
    pub fn give_back(&self, directory: &Path, inner: &str) {
        match tidy(directory, inner) {
            Ok(true) => self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(directory.to_path_buf()),
            _ => drop(fs::remove_dir_all(directory)),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next session.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Removes the files in a directory. Returns whether nothing but the empty directory `inner` is left.
fn tidy(directory: &Path, inner: &str) -> io::Result<bool> {
    if fs::read_dir(directory.join(inner))?.next().is_some() {
        return Ok(false);
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() != inner {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(true)
}

/// Whether files in a directory can be locked. A directory that cannot be written says nothing of that.
pub(super) fn locks_work(directory: &Path) -> bool {
    let Ok(file) = tempfile::NamedTempFile::new_in(directory) else { return true };
    file.as_file().try_lock().is_ok() && locks_hold(file.path())
}

/// Whether a lock that is held on a file keeps others from it.
fn locks_hold(path: &Path) -> bool {
    let Ok(other) = File::open(path) else { return false };
    matches!(other.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Touches the file now and then until the sender is dropped.
fn beat(lock: Arc<File>) -> Sender<()> {
    let (heart, stopped) = channel();
    std::thread::spawn(move || {
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            // Should it fail, others may take this process for dead: they do work twice, nothing worse.
            let _ = clock::touch(&lock);
        }
    });
    heart
}

/// Watches the sessions of other processes.
#[derive(Debug)]
pub(super) struct Watch {
    staging: PathBuf,
    this: Owner,
    patience: Duration,
    /// The last sign of life of each, and since when there was no other.
    seen: HashMap<String, (SystemTime, Instant)>,
}

impl Watch {
    pub fn new(staging: PathBuf) -> Watch {
        let told = fault::setting("RUNNER_PATIENCE").and_then(|seconds| seconds.parse().ok());
        let patience = told.map_or(PATIENCE, Duration::from_secs_f64);
        Watch { staging, this: Owner::this_process(), patience, seen: HashMap::new() }
    }

    /// The owner of a session, unless it is gone.
    pub fn living(&mut self, session: &str) -> Option<Owner> {
        let lock = File::open(self.staging.join(session).join(LOCK)).ok()?;
        let owner = owner(&lock);
        if owner.as_ref().is_none_or(|owner| owner.machine == self.this.machine) {
            // A shared lock, so that several who look do not take one another for the owner.
            return match lock.try_lock_shared() {
                Ok(()) => None,
                Err(_) => Some(owner.unwrap_or_else(|| self.this.clone())),
            };
        }
        let sign = lock.metadata().and_then(|metadata| metadata.modified()).ok()?;
        let (last, since) = self.seen.entry(session.to_string()).or_insert((sign, Instant::now()));
        if *last != sign {
            (*last, *since) = (sign, Instant::now());
        }
        owner.filter(|_| since.elapsed() < self.patience)
    }
}

/// Who wrote a lock file. `None` as long as it is being made.
fn owner(lock: &File) -> Option<Owner> {
    let text = io::read_to_string(lock).ok()?;
    serde_json::from_str(&text).ok()
}

/// Removes the directories of processes that are dead.
fn sweep(staging: &Path) -> io::Result<()> {
    let this = Owner::this_process();
    let now = clock::time_of(staging)?;
    let is_older = |path: &Path, age| is_older(path, now, age);
    for entry in fs::read_dir(staging)? {
        let directory = entry?.path();
        let dead = match File::open(directory.join(LOCK)) {
            Ok(lock) => match owner(&lock) {
                Some(owner) if owner.machine != this.machine => is_older(&directory.join(LOCK), LONG_AGO),
                Some(_) => lock.try_lock().is_ok(),
                // Being made, or left by one who died while making it.
                None => lock.try_lock().is_ok() && is_older(&directory, BEAT),
            },
            Err(_) => is_older(&directory, BEAT),
        };
        if dead {
            let _ = fs::remove_dir_all(&directory);
        }
    }
    Ok(())
}

/// Whether a file was touched longer ago than `age`, or so far in the future that the clock of the file system
/// was moved.
fn is_older(path: &Path, now: SystemTime, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| match now.duration_since(modified) {
        Ok(passed) => passed > age,
        Err(ahead) => ahead.duration() > LONG_AGO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(staging: &Path, name: &str, machine: &str) -> PathBuf {
        let directory = staging.join(name);
        fs::create_dir(&directory).unwrap();
        let owner = Owner { host: "elsewhere".into(), process: 1, machine: machine.into() };
        fs::write(directory.join(LOCK), serde_json::to_string(&owner).unwrap()).unwrap();
        fs::write(directory.join("half a checkpoint"), "…").unwrap();
        directory
    }

    #[test]
    fn what_a_dead_process_left_is_swept_and_what_a_living_one_uses_is_not() {
        let root = tempfile::tempdir().unwrap();
        let living = Session::start(root.path()).unwrap();
        let used = living.directory().unwrap();
        let dead = left(root.path(), "dead", &Owner::this_process().machine);
        let next = Session::start(root.path()).unwrap();
        assert!(!dead.exists());
        assert!(used.exists());
        drop((living, next));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_is_used_again_under_another_name_if_only_files_are_left_in_it() {
        let root = tempfile::tempdir().unwrap();
        let session = Session::start(root.path()).unwrap();
        let make = || session.scratch("outputs").unwrap();
        let first = make();
        fs::write(first.join("call.json"), "{}").unwrap();
        session.give_back(&first, "outputs");
        let second = make();
        assert!(!first.exists() && second != first);
        assert_eq!(fs::read_dir(&second).unwrap().count(), 1);
        fs::write(second.join("outputs/half a checkpoint"), "…").unwrap();
        session.give_back(&second, "outputs");
        assert!(!second.exists());
        assert_eq!(fs::read_dir(make().join("outputs")).unwrap().count(), 0);
    }

    #[test]
    fn what_another_machine_uses_is_swept_only_when_it_was_left_long_ago() {
        let root = tempfile::tempdir().unwrap();
        let (now, once) = (left(root.path(), "now", "other"), left(root.path(), "once", "other"));
        let lock = File::options().write(true).open(once.join(LOCK)).unwrap();
        lock.set_modified(SystemTime::now() - 2 * LONG_AGO).unwrap();
        drop(Session::start(root.path()).unwrap());
        assert!(now.exists());
        assert!(!once.exists());
    }

    #[test]
    fn a_process_of_this_machine_lives_as_long_as_it_holds_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let session = Session::start(root.path()).unwrap();
        let mut watch = Watch::new(root.path().to_path_buf());
        assert_eq!(watch.living(&session.name()).unwrap().process, std::process::id());
        left(root.path(), "dead", &Owner::this_process().machine);
        assert_eq!(watch.living("dead"), None);
        assert_eq!(watch.living("never was"), None);
    }

    #[test]
    fn a_process_of_another_machine_lives_as_long_as_its_file_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let directory = left(root.path(), "theirs", "other");
        let patience = Duration::from_millis(200);
        let mut watch = Watch { patience, ..Watch::new(root.path().to_path_buf()) };
        let lock = File::options().write(true).open(directory.join(LOCK)).unwrap();
        // Their clock is a day behind, which is nobody's business.
        let start = SystemTime::now() - Duration::from_secs(86_400);
        for beat in 1..6 {
            assert!(watch.living("theirs").is_some());
            std::thread::sleep(patience / 4);
            lock.set_modified(start + Duration::from_secs(beat)).unwrap();
        }
        assert!(watch.living("theirs").is_some());
        std::thread::sleep(patience * 2);
        assert_eq!(watch.living("theirs"), None);
    }
}
