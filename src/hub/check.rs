//! Whether the bytes of a file are those that the Hub lists.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::error::Reason;
use super::listing::Entry;

/// How much is read at once.
pub(super) const CHUNK: usize = 256 * 1024;

/// Takes the bytes of a file, and says in the end whether they are the right ones.
pub(super) struct Check<'e> {
    entry: &'e Entry,
    context: Context,
    seen: u64,
}

impl<'e> Check<'e> {
    pub fn new(entry: &'e Entry) -> Check<'e> {
        let context = match &entry.sha256 {
            Some(_) => Context::new(&SHA256),
            None => {
                // Git's digest of a file is over a header with its size and the content.
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", entry.size).as_bytes());
                context
            }
        };
        Check { entry, context, seen: 0 }
    }

    /// How many bytes were taken.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.seen += bytes.len() as u64;
    }

    /// Takes the bytes of a file, and tells of each piece; `go_on` may stop it.
    pub fn read(&mut self, path: &Path, mut go_on: impl FnMut(usize) -> bool) -> io::Result<bool> {
        let mut file = File::open(path)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                return Ok(true);
            }
            self.update(&chunk[..read]);
            if !go_on(read) {
                return Ok(false);
            }
        }
    }

    /// The verdict.
    pub fn end(self) -> Result<(), Reason> {
        let Entry { path, size, .. } = self.entry;
        if self.seen != *size {
            return Err(Reason::Size { file: path.clone(), expected: *size, found: self.seen });
        }
        let found: String = self.context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.entry.blob() {
            return Ok(());
        }
        let algorithm = if self.entry.sha256.is_some() { "SHA-256" } else { "Git SHA-1" };
        Err(Reason::Checksum { file: path.clone(), algorithm, expected: self.entry.blob().to_string(), found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(entry: &Entry, content: &str) -> Result<(), Reason> {
        let mut check = Check::new(entry);
        check.update(content.as_bytes());
        check.end()
    }

    #[test]
    fn a_file_is_known_by_the_digest_of_git_or_by_its_sha_256() {
        // What `git hash-object` and `sha256sum` say of "hello\n".
        let oid = "ce013625030ba8dba906f756967f9e9ca394464a".to_string();
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".to_string();
        let plain = Entry { path: "x".into(), size: 6, oid: oid.clone(), sha256: None };
        let large = Entry { sha256: Some(sha256), oid: "0".repeat(40), ..plain.clone() };
        for entry in [&plain, &large] {
            assert_eq!(verdict(entry, "hello\n"), Ok(()));
            assert!(matches!(verdict(entry, "hullo\n"), Err(Reason::Checksum { .. })));
            assert!(matches!(verdict(entry, "hello"), Err(Reason::Size { expected: 6, found: 5, .. })));
        }
    }
}
