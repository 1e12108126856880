//! One file: checked where it is here, downloaded where it is not.
//!
//! Bytes go into `blobs/<digest>.incomplete`, where the Python tools put theirs too, so that either
//! goes on where the other stopped. Only what has the right size and digest gets the name of a blob.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::check::{CHUNK, Check};
use super::client::Client;
use super::error::Reason;
use super::listing::Entry;
use super::memory::{Stat, stat};
use super::name::Name;
use super::settings::Settings;

/// How often a file is asked for without a further byte of it.
const ATTEMPTS: u32 = 5;
/// The pause after the first of them; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// How often the lock of another process and the interrupt are looked at.
const TICK: Duration = Duration::from_millis(50);

/// A file that is to be here.
pub(super) struct Job {
    pub entry: Entry,
    name: Name,
    commit: String,
    /// Where it lies under its name.
    pub pointer: PathBuf,
    /// Where its bytes are.
    blob: PathBuf,
    incomplete: PathBuf,
    lock: PathBuf,
}

/// Why an attempt came to no end.
enum Trouble {
    /// Another attempt may go on.
    Cut(Reason),
    /// The bytes are not the right ones.
    Wrong(Reason),
    Final(Reason),
}

impl Job {
    pub fn new(settings: &Settings, name: &Name, commit: &str, entry: &Entry) -> Job {
        let blob = settings.blob(name, entry.blob());
        let mut incomplete = blob.clone().into_os_string();
        incomplete.push(".incomplete");
        Job {
            entry: entry.clone(),
            name: name.clone(),
            commit: commit.to_string(),
            pointer: settings.snapshot(name, commit).join(&entry.path),
            blob,
            incomplete: incomplete.into(),
            lock: settings.lock(name, entry.blob()),
        }
    }

    /// Bytes that have to come, going by sizes.
    pub fn missing(&self) -> u64 {
        if self.has_size(&self.pointer) || self.has_size(&self.blob) {
            return 0;
        }
        let begun = fs::metadata(&self.incomplete).map_or(0, |metadata| metadata.len());
        self.entry.size.saturating_sub(begun)
    }

    /// The blob behind the pointer with its stat, if the size is right.
    pub fn found(&self) -> Option<(PathBuf, Stat)> {
        self.behind(&self.pointer)
    }

    /// The same of a blob that may have no pointer yet: another commit may have brought it here.
    pub fn found_blob(&self) -> Option<(PathBuf, Stat)> {
        self.behind(&self.blob)
    }

    fn behind(&self, path: &Path) -> Option<(PathBuf, Stat)> {
        let blob = fs::canonicalize(path).ok().filter(|_| self.has_size(path))?;
        let stat = stat(&blob)?;
        Some((blob, stat))
    }

    fn has_size(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == self.entry.size)
    }

    /// Brings the file here, and tells how many bytes of it are done. Without a client nothing is
    /// downloaded.
    pub fn perform(&self, client: Option<&Client>, tell: &dyn Fn(u64), stop: &AtomicBool) -> Result<(), Reason> {
        if self.has_size(&self.pointer) && self.is_right(&self.pointer, tell, stop)? {
            return Ok(());
        }
        for folder in [&self.blob, &self.lock].into_iter().filter_map(|path| path.parent()) {
            fs::create_dir_all(folder).map_err(failed("make", folder))?;
        }
        let _lock = lock(&self.lock, stop)?;
        if self.has_size(&self.blob) && self.is_right(&self.blob, tell, stop)? {
            return self.link();
        }
        self.download(client.ok_or(Reason::Offline)?, tell, stop)?;
        fs::rename(&self.incomplete, &self.blob).map_err(failed("write", &self.blob))?;
        self.link()
    }

    /// Whether the content of a file of the right size is the right one.
    fn is_right(&self, path: &Path, tell: &dyn Fn(u64), stop: &AtomicBool) -> Result<bool, Reason> {
        let mut check = Check::new(&self.entry);
        self.read(&mut check, path, tell, stop)?;
        Ok(check.end().is_ok())
    }

    fn read(&self, check: &mut Check<'_>, path: &Path, tell: &dyn Fn(u64), stop: &AtomicBool) -> Result<(), Reason> {
        let mut done = 0;
        let go_on = |read: usize| {
            done += read as u64;
            tell(done);
            !stop.load(Ordering::Relaxed)
        };
        match check.read(path, go_on).map_err(failed("read", path))? {
            true => Ok(()),
            false => Err(Reason::Interrupted),
        }
    }

    fn download(&self, client: &Client, tell: &dyn Fn(u64), stop: &AtomicBool) -> Result<(), Reason> {
        let mut failures = 0;
        // An earlier download may have left anything: if the whole is wrong, it is begun anew once.
        let mut is_resumed = fs::metadata(&self.incomplete).is_ok_and(|metadata| metadata.len() > 0);
        let mut furthest = 0;
        loop {
            let mut reached = 0;
            match self.attempt(client, tell, stop, &mut reached) {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(reason)) => return Err(reason),
                Err(Trouble::Wrong(reason)) => {
                    fs::remove_file(&self.incomplete).map_err(failed("remove", &self.incomplete))?;
                    if !std::mem::take(&mut is_resumed) {
                        return Err(reason);
                    }
                }
                Err(Trouble::Cut(reason)) => {
                    failures = if reached > furthest { 1 } else { failures + 1 };
                    furthest = furthest.max(reached);
                    if failures == ATTEMPTS {
                        return Err(reason);
                    }
                    pause(PAUSE * 2_u32.pow(failures - 1), stop);
                }
            }
        }
    }

    /// Asks for the bytes that are missing, and checks all of them.
    fn attempt(
        &self,
        client: &Client,
        tell: &dyn Fn(u64),
        stop: &AtomicBool,
        reached: &mut u64,
    ) -> Result<(), Trouble> {
        let path = &self.incomplete;
        let broken = |error: io::Error| Trouble::Final(failed("write", path)(error));
        let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(broken)?;
        if file.metadata().map_err(broken)?.len() > self.entry.size {
            file.set_len(0).map_err(broken)?;
        }
        let mut check = Check::new(&self.entry);
        self.read(&mut check, path, tell, stop).map_err(Trouble::Final)?;
        if check.seen() < self.entry.size {
            let opened = client.open(&self.name, &self.commit, &self.entry.path, check.seen());
            let opened = opened.map_err(|reason| match reason.is_passing() {
                true => Trouble::Cut(reason),
                false => Trouble::Final(reason),
            })?;
            if opened.start != check.seen() {
                file.set_len(0).map_err(broken)?;
                check = Check::new(&self.entry);
            }
            let mut body = opened.body.into_reader();
            let mut chunk = vec![0; CHUNK];
            loop {
                if stop.load(Ordering::Relaxed) {
                    return Err(Trouble::Final(Reason::Interrupted));
                }
                let read = match body.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) => return Err(Trouble::Cut(client.unreachable(&error))),
                };
                let found = check.seen() + read as u64;
                if found > self.entry.size {
                    let Entry { path, size, .. } = &self.entry;
                    return Err(Trouble::Wrong(Reason::Size { file: path.clone(), expected: *size, found }));
                }
                file.write_all(&chunk[..read]).map_err(broken)?;
                check.update(&chunk[..read]);
                *reached = found;
                tell(found);
            }
            if check.seen() < self.entry.size {
                return Err(Trouble::Cut(client.unreachable(&"the connection ended in the middle of a file")));
            }
        }
        check.end().map_err(Trouble::Wrong)?;
        file.sync_all().map_err(broken)
    }

    /// Puts a link to the blob where the file has its name.
    pub fn link(&self) -> Result<(), Reason> {
        if let Some(folder) = self.pointer.parent() {
            fs::create_dir_all(folder).map_err(failed("make", folder))?;
        }
        let broken = || failed("write", &self.pointer);
        match fs::remove_file(&self.pointer) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(broken()(error)),
            _ => {}
        }
        // From the folder of the file up to that of the repository: the cache may be moved as a whole.
        let depth = self.entry.path.matches('/').count() + 2;
        let up: PathBuf = std::iter::repeat_n("..", depth).collect();
        symlink(up.join("blobs").join(self.entry.blob()), &self.pointer).map_err(broken())
    }
}

/// Waits for the right to write a blob, which other programs ask for too. A file system without locks
/// gives it at once.
fn lock(path: &Path, stop: &AtomicBool) -> Result<File, Reason> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed("write", path))?;
    loop {
        // SAFETY: the descriptor is of a file that outlives the call.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(file);
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
            return Ok(file);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Reason::Interrupted);
        }
        sleep(TICK);
    }
}

/// Sleeps, unless it is to stop.
fn pause(time: Duration, stop: &AtomicBool) {
    let mut left = time;
    while !left.is_zero() && !stop.load(Ordering::Relaxed) {
        sleep(left.min(TICK));
        left = left.saturating_sub(TICK);
    }
}

/// Gives a failed file operation its name and place.
pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Reason {
    let path = path.to_path_buf();
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::Full(path),
        _ => Reason::File { what, path, why: error.to_string() },
    }
}
