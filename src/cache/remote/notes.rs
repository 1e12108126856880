//! What is done of a large transfer, noted in a file, so that an interrupted one goes on.
//!
//! Lines: `attempt <name>` once, where the other side gave the attempt a name, and `<part> <name>` for
//! each part that is done. Who transfers holds a lock on the file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The notes of one transfer.
#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
    file: Mutex<File>,
    /// What the other side calls it.
    pub attempt: Option<String>,
    /// Part → what the other side calls it.
    done: Mutex<BTreeMap<usize, String>>,
}

impl Notes {
    /// The notes in a file. `None` if another transfer of the same has it.
    pub fn open(path: &Path) -> io::Result<Option<Notes>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line without its end was not written to its end.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        let (mut attempt, mut done) = (None, BTreeMap::new());
        for line in text[..whole].lines() {
            match line.split_once(' ') {
                Some(("attempt", name)) => attempt = Some(name.to_string()),
                Some((part, name)) => drop(part.parse().map(|part| done.insert(part, name.to_string()))),
                None => {}
            }
        }
        Ok(Some(Notes { path: path.to_path_buf(), file: Mutex::new(file), attempt, done: Mutex::new(done) }))
    }

    /// Notes how the attempt is called.
    pub fn begin(&mut self, attempt: &str) -> io::Result<()> {
        self.attempt = Some(attempt.to_string());
        self.write(&format!("attempt {attempt}\n"))
    }

    /// Notes that a part is done.
    pub fn add(&self, part: usize, name: &str) -> io::Result<()> {
        self.done.lock().expect("no panic while it is locked").insert(part, name.to_string());
        self.write(&format!("{part} {name}\n"))
    }

    /// The parts that are done, with what the other side calls them.
    pub fn done(&self) -> BTreeMap<usize, String> {
        self.done.lock().expect("no panic while it is locked").clone()
    }

    /// Whether this goes on with an earlier transfer.
    pub fn is_resumed(&self) -> bool {
        self.attempt.is_some() || !self.done().is_empty()
    }

    /// Forgets all of it.
    pub fn forget(&mut self) -> io::Result<()> {
        self.attempt = None;
        self.done.lock().expect("no panic while it is locked").clear();
        self.file.lock().expect("no panic while it is locked").set_len(0)
    }

    /// The transfer is done.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }

    fn write(&self, line: &str) -> io::Result<()> {
        self.file.lock().expect("no panic while it is locked").write_all(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_known_again_but_for_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let mut notes = Notes::open(&path).unwrap().unwrap();
        assert!(!notes.is_resumed());
        notes.begin("a b").unwrap();
        notes.add(1, "\"x\"").unwrap();
        notes.add(0, "").unwrap();
        assert!(Notes::open(&path).unwrap().is_none(), "it is in use");
        drop(notes);
        File::options().append(true).open(&path).unwrap().write_all(b"2 half").unwrap();

        let mut notes = Notes::open(&path).unwrap().unwrap();
        assert_eq!(notes.attempt.as_deref(), Some("a b"));
        assert_eq!(notes.done(), BTreeMap::from([(0, String::new()), (1, "\"x\"".to_string())]));
        notes.forget().unwrap();
        assert!(!notes.is_resumed());
        notes.remove();
        assert!(!path.exists());
    }
}
