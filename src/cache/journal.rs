//! Every finished stage once more, one line each: what the database is made again from when it is
//! damaged.
//!
//! A line is a checksum of 16 hexadecimal digits, a space, and the entry as JSON; later lines win. A line
//! may also strike entries before it, which were collected. Lines
//! that do not have their checksum are passed over: the last one may be torn, any may be damaged. A line
//! without its row is a commit that did not come to its end, which does no harm: its artifacts are in the
//! store. Who writes holds the write lock of the database.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::digest::Digest;

/// What a line says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Finished(Box<Entry>),
    Collected(Collected),
}

/// Entries that are not there any more, by their fingerprints.
#[derive(Serialize, Deserialize)]
struct Collected {
    collected: Vec<Digest>,
}

/// Adds entries to the end.
pub(super) fn append<'a>(path: &Path, entries: impl IntoIterator<Item = &'a Entry>) -> io::Result<()> {
    write(path, entries)
}

/// Strikes the entries with these fingerprints.
pub(super) fn strike(path: &Path, fingerprints: &[Digest]) -> io::Result<()> {
    write(path, [Collected { collected: fingerprints.to_vec() }])
}

fn write(path: &Path, lines: impl IntoIterator<Item = impl Serialize>) -> io::Result<()> {
    let mut file = File::options().read(true).append(true).create(true).open(path)?;
    let mut text = Vec::new();
    if is_torn(&mut file)? {
        text.push(b'\n');
    }
    for line in lines {
        let line = serde_json::to_string(&line)?;
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
    let mut entries: Vec<Entry> = Vec::new();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        match std::str::from_utf8(&line).ok().and_then(parse) {
            Some(Line::Finished(entry)) if Digest::of(entry.key.as_bytes()) == entry.fingerprint => {
                entries.push(*entry)
            }
            Some(Line::Collected(Collected { collected })) => {
                let collected: HashSet<Digest> = collected.into_iter().collect();
                entries.retain(|entry| !collected.contains(&entry.fingerprint));
            }
            _ => {}
        }
        line.clear();
    }
    Ok(entries)
}

fn parse(line: &str) -> Option<Line> {
    let (sum, text) = line.strip_suffix('\n')?.split_once(' ')?;
    if sum != checksum(text) {
        return None;
    }
    serde_json::from_str(text).ok()
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

    #[test]
    fn what_is_struck_is_not_read_until_it_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let [a, b] = ["a", "b"].map(entry);
        append(&path, [&a, &b]).unwrap();
        strike(&path, &[a.fingerprint]).unwrap();
        assert_eq!(read(&path).unwrap(), std::slice::from_ref(&b));
        append(&path, [&a]).unwrap();
        assert_eq!(read(&path).unwrap(), [b, a]);
    }
}
