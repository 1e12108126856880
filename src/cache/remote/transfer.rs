//! The bytes of one file, there or here: in one go if they are few, else in parts that are noted.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::error::{Reason, failed};
use super::lanes::{LANES, fan_out};
use super::notes::Notes;
use super::{Remote, Watch, layout};
use crate::cache::ManifestFile;
use crate::digest::Digest;

/// The size of a part in bytes; files of no more are sent in one go. S3 wants at least 5 MiB.
const PART: u64 = 8 << 20;
/// S3 takes no more than 10,000 parts of an object.
const MOST_PARTS: u64 = 9_000;

/// So many parts of a file are on their way at once.
const AT_ONCE: usize = 4;

/// A part of a file.
struct Part {
    number: usize,
    start: u64,
    end: u64,
}

fn parts(size: u64) -> Vec<Part> {
    let length = size.div_ceil(MOST_PARTS).div_ceil(1 << 20).max(PART >> 20) << 20;
    let part =
        |number: u64| Part { number: number as usize, start: number * length, end: ((number + 1) * length).min(size) };
    (0..size.div_ceil(length)).map(part).collect()
}

impl Part {
    fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// Whether it is to go on.
pub(super) fn go_on(stop: &AtomicBool) -> Result<(), Reason> {
    match stop.load(Ordering::Relaxed) {
        true => Err(Reason::Interrupted),
        false => Ok(()),
    }
}

/// The files that are being uploaded: results that have one in common send it once.
#[derive(Debug, Default)]
pub(super) struct Sending {
    files: Mutex<HashSet<Digest>>,
    left: Condvar,
}

/// The right to upload a file.
struct Turn<'a>(&'a Sending, Digest);

impl Sending {
    /// Waits until nobody uploads the file.
    fn enter(&self, digest: &Digest) -> Turn<'_> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.left.wait_while(files, |files| files.contains(digest));
        wait.unwrap_or_else(PoisonError::into_inner).insert(*digest);
        Turn(self, *digest)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
        self.0.left.notify_all();
    }
}

/// Does something to each file: to large ones one after the other, for each is in parts that are moved at
/// once.
pub(super) fn each_file<T: Sync>(
    files: &[T],
    size: impl Fn(&T) -> u64,
    body: impl Fn(&T) -> Result<(), Reason> + Sync,
) -> Result<(), Reason> {
    let (large, small): (Vec<&T>, Vec<&T>) = files.iter().partition(|file| size(file) > PART);
    fan_out(&small, LANES, |file| body(file))?;
    large.into_iter().try_for_each(body)
}

impl Remote {
    /// Where a large transfer is noted.
    fn notes(&self, direction: &str, digest: &Digest) -> PathBuf {
        let remote = Digest::of(self.address.to_string().as_bytes()).short();
        self.partial.join(format!("{direction}-{remote}-{}", digest.hex()))
    }

    /// Uploads a file. Returns false if it was there.
    pub(super) fn send(&self, path: &Path, file: &ManifestFile, watch: &Watch<'_>) -> Result<bool, Reason> {
        go_on(watch.stop)?;
        let name = layout::file(&file.digest);
        let _turn = self.sending.enter(&file.digest);
        if self.is_there(&name, file.size)? {
            watch.moved(file.size);
            return Ok(false);
        }
        if file.size <= PART {
            let bytes = fs::read(path).map_err(failed("read", path))?;
            self.objects.write(&name, bytes)?;
            watch.moved(file.size);
        } else if self.objects.takes_parts() {
            self.send_in_parts(&name, path, file, watch)?;
        } else {
            self.pour(&name, path, file, watch)?;
        }
        Ok(true)
    }

    /// Uploads a file one part after the other, all or nothing.
    fn pour(&self, name: &str, path: &Path, file: &ManifestFile, watch: &Watch<'_>) -> Result<(), Reason> {
        let source = File::open(path).map_err(failed("read", path))?;
        let mut left = parts(file.size).into_iter();
        self.objects.pour(name, &mut || {
            go_on(watch.stop)?;
            let Some(part) = left.next() else { return Ok(None) };
            let bytes = read_part(&source, path, &part)?;
            watch.moved(part.length());
            Ok(Some(bytes))
        })
    }

    fn send_in_parts(&self, name: &str, path: &Path, file: &ManifestFile, watch: &Watch<'_>) -> Result<(), Reason> {
        let source = File::open(path).map_err(failed("read", path))?;
        let place = self.notes("up", &file.digest);
        let Some(mut notes) = Notes::open(&place).map_err(failed("write", &place))? else {
            // Another process or thread sends it now: what that notes is none of ours.
            return self.pour(name, path, file, watch);
        };
        let noted = |error| failed("write", &place)(error);
        let resumed = notes.is_resumed();
        match self.send_noted(name, &source, path, file, &mut notes, watch) {
            Ok(true) => {}
            // The server forgot the attempt, or made an object of it before this could be noted.
            Ok(false) | Err(Reason::Unexpected(_)) if resumed => {
                notes.forget().map_err(noted)?;
                if self.objects.size(name)? != Some(file.size) {
                    self.send_noted(name, &source, path, file, &mut notes, watch)?;
                }
            }
            Ok(false) => return Err(Reason::Unexpected(format!("it forgot the parts of `{name}` that it got"))),
            Err(reason) => return Err(reason),
        }
        notes.remove();
        Ok(())
    }

    /// Sends the parts that are not noted as done. Returns false if the server does not know the attempt.
    fn send_noted(
        &self,
        name: &str,
        source: &File,
        path: &Path,
        file: &ManifestFile,
        notes: &mut Notes,
        watch: &Watch<'_>,
    ) -> Result<bool, Reason> {
        let noted = |error| failed("write the notes of", path)(error);
        let attempt = match &notes.attempt {
            Some(attempt) => attempt.clone(),
            None => {
                let attempt = self.objects.begin(name)?;
                notes.begin(&attempt).map_err(noted)?;
                attempt
            }
        };
        let done = notes.done();
        let (there, left): (Vec<Part>, Vec<Part>) =
            parts(file.size).into_iter().partition(|part| done.contains_key(&part.number));
        watch.moved(there.iter().map(Part::length).sum());
        let known = AtomicBool::new(true);
        let notes = &*notes;
        fan_out(&left, AT_ONCE, |part| {
            go_on(watch.stop)?;
            if !known.load(Ordering::Relaxed) {
                return Ok(());
            }
            let bytes = read_part(source, path, part)?;
            match self.objects.part(name, &attempt, part.number, bytes)? {
                Some(id) => notes.add(part.number, &id).map_err(noted)?,
                None => known.store(false, Ordering::Relaxed),
            }
            watch.moved(part.length());
            Ok(())
        })?;
        match known.into_inner() {
            true => self.objects.complete(name, &attempt, notes.done().into_values().collect()),
            false => Ok(false),
        }
    }

    /// Downloads a file to a place where nothing is, and checks it.
    pub(super) fn fetch(&self, file: &ManifestFile, to: &Path, watch: &Watch<'_>) -> Result<(), Reason> {
        go_on(watch.stop)?;
        let name = layout::file(&file.digest);
        if file.size <= PART {
            let bytes = self.objects.read(&name, file.size)?.ok_or_else(|| Reason::Lacks { object: name.clone() })?;
            check(&name, file, Digest::of(&bytes))?;
            fs::write(to, &bytes).map_err(failed("write", to))?;
            watch.moved(file.size);
            return Ok(());
        }
        let place = self.notes("down", &file.digest);
        let Some(mut notes) = Notes::open(&place).map_err(failed("write", &place))? else {
            return self.fetch_parts(&name, file, to, None, watch);
        };
        let part = place.with_extension("part");
        if !part.exists() {
            notes.forget().map_err(failed("write", &place))?;
        }
        let resumed = notes.is_resumed();
        let mut fetched = self.fetch_parts(&name, file, &part, Some(&notes), watch);
        if let Err(Reason::Wrong { .. }) = fetched {
            // What was there before may have been anything.
            fs::remove_file(&part).map_err(failed("remove", &part))?;
            notes.forget().map_err(failed("write", &place))?;
            if resumed {
                fetched = self.fetch_parts(&name, file, &part, Some(&notes), watch);
            }
        }
        fetched?;
        fs::rename(&part, to).map_err(failed("move", &part))?;
        notes.remove();
        Ok(())
    }

    fn fetch_parts(
        &self,
        name: &str,
        file: &ManifestFile,
        to: &Path,
        notes: Option<&Notes>,
        watch: &Watch<'_>,
    ) -> Result<(), Reason> {
        let target = File::options().write(true).create(true).truncate(false).open(to).map_err(failed("write", to))?;
        target.set_len(file.size).map_err(failed("write", to))?;
        let done = notes.map(Notes::done).unwrap_or_default();
        let (here, left): (Vec<Part>, Vec<Part>) =
            parts(file.size).into_iter().partition(|part| done.contains_key(&part.number));
        watch.moved(here.iter().map(Part::length).sum());
        fan_out(&left, AT_ONCE, |part| {
            go_on(watch.stop)?;
            let bytes = self.objects.read_range(name, part.start, part.end)?;
            let bytes = bytes.ok_or_else(|| Reason::Lacks { object: name.to_string() })?;
            if bytes.len() as u64 != part.length() {
                let problem = format!("has no {} bytes", file.size);
                return Err(Reason::Malformed { object: name.to_string(), problem });
            }
            target.write_all_at(&bytes, part.start).map_err(failed("write", to))?;
            if let Some(notes) = notes {
                notes.add(part.number, "").map_err(failed("write the notes of", to))?;
            }
            watch.moved(part.length());
            Ok(())
        })?;
        check(name, file, Digest::of_file(to).map_err(failed("read", to))?)
    }
}

fn read_part(source: &File, path: &Path, part: &Part) -> Result<Vec<u8>, Reason> {
    let mut bytes = vec![0; part.length() as usize];
    source.read_exact_at(&mut bytes, part.start).map_err(failed("read", path))?;
    Ok(bytes)
}

/// Bytes are what their name says, or they are refused.
fn check(name: &str, file: &ManifestFile, found: Digest) -> Result<(), Reason> {
    match found == file.digest {
        true => Ok(()),
        false => Err(Reason::Wrong { object: name.to_string(), expected: file.digest, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_file_and_are_no_more_than_a_server_takes() {
        for size in [1, PART, PART + 1, 5 * PART, 13 << 30, 4 << 40] {
            let parts = parts(size);
            assert_eq!(parts.iter().map(Part::length).sum::<u64>(), size);
            assert!(parts.len() as u64 <= MOST_PARTS + 1 && parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(parts[0].length() >= PART.min(size));
        }
    }
}
