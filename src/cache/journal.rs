//! Every finished stage once more, one line each: what the database is made again from when it is
//! damaged.
//!
//! A line is a checksum of 16 hexadecimal digits, a space, and the entry as JSON; later lines win. Lines
//! that do not have their checksum are passed over: the last one may be torn, any may be damaged. A line
//! without its row is a commit that did not come to its end, which does no harm: its artifacts are in the
//! store. Who writes holds the write lock of the database.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::entry::Entry;
use crate::digest::Digest;

/// Adds entries to the end.
pub(super) fn append<'a>(path: &Path, entries: impl IntoIterator<Item = &'a Entry>) -> io::Result<()> {
    let mut file = File::options().read(true).append(true).create(true).open(path)?;
    let mut text = Vec::new();
    if is_torn(&mut file)? {
        text.push(b'\n');
    }
    for entry in entries {
        let line = serde_json::to_string(entry)?;
        text.extend_from_slice(format!("{} {line}\n", checksum(&line)).as_bytes());
    }
    file.write_all(&text)
}

/// Whether nothing was written yet.
pub(super) fn is_empty(path: &Path) -> bool {
    path.metadata().map_or(true, |metadata| metadata.len() == 0)
}

/// All entries that can be read, in the order in which they were finished.
pub(super) fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let mut lines = BufReader::new(File::open(path)?);
    let mut entries = Vec::new();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        entries.extend(std::str::from_utf8(&line).ok().and_then(entry));
        line.clear();
    }
    Ok(entries)
}

fn entry(line: &str) -> Option<Entry> {
    let (sum, text) = line.strip_suffix('\n')?.split_once(' ')?;
    if sum != checksum(text) {
        return None;
    }
    let entry: Entry = serde_json::from_str(text).ok()?;
    (Digest::of(entry.key.as_bytes()) == entry.fingerprint).then_some(entry)
}

fn checksum(text: &str) -> String {
    Digest::of(text.as_bytes()).hex()[..16].to_string()
}

/// Whether the last line has no end.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use serde_json::Map;

    use super::*;
    use crate::cache::{Origin, Provenance};
    use crate::devices::Device;
    use crate::fingerprint::Key;

    fn entry(name: &str) -> Entry {
        let key = Key::new(name, 1, &Map::new(), &BTreeMap::new());
        let origin = Origin { host: "here".into(), git_commit: None, runner: "0".into() };
        let provenance = Provenance {
            kind: name.into(),
            name: name.into(),
            experiment: "toys".into(),
            started: 1.5,
            wall: 0.1,
            cpu: 1e-3,
            memory: None,
            device: Device::Cuda(1),
            origin,
        };
        Entry { fingerprint: key.fingerprint, key: key.text, outputs: BTreeMap::new(), provenance }
    }

    #[test]
    fn what_is_written_is_read_but_for_torn_and_damaged_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        assert!(is_empty(&path));
        let [a, b, c, d] = ["a", "b", "c", "d"].map(entry);
        append(&path, [&a, &b]).unwrap();
        append(&path, [&c]).unwrap();
        assert_eq!(read(&path).unwrap(), [a.clone(), b, c.clone()]);
        assert!(!is_empty(&path));

        // The second line is damaged, the third is cut, and the fourth comes all the same.
        let mut bytes = fs::read(&path).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 40;
        bytes[second] ^= 1;
        bytes.truncate(bytes.len() - 5);
        fs::write(&path, bytes).unwrap();
        append(&path, [&d]).unwrap();
        assert_eq!(read(&path).unwrap(), [a, d]);
    }
}
