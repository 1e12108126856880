//! What is where in a remote.
//!
//! ```text
//! v1/
//!   files/ab/ab…             the bytes of a file, by their digest: equal files are there once
//!   artifacts/cd/cd….json    the manifest of an artifact, by its digest: names → files
//!   entries/ef/ef….json      a finished stage, by its fingerprint: key, outputs, provenance
//! ```
//!
//! Files come first, then manifests, and the entry last, so whoever sees an entry finds all that it names.
//! Nothing is ever changed: an entry is only created, files and manifests are what their names say.

use crate::digest::Digest;

/// Where the entries are.
pub(super) const ENTRIES: &str = "v1/entries";

pub(super) fn file(digest: &Digest) -> String {
    placed("v1/files", digest, "")
}

pub(super) fn manifest(digest: &Digest) -> String {
    placed("v1/artifacts", digest, ".json")
}

pub(super) fn entry(fingerprint: &Digest) -> String {
    placed(ENTRIES, fingerprint, ".json")
}

/// The fingerprint in the name of an entry.
pub(super) fn fingerprint(name: &str) -> Option<Digest> {
    let hex = name.rsplit('/').next()?.strip_suffix(".json")?;
    format!("b3:{hex}").parse().ok()
}

fn placed(folder: &str, digest: &Digest, end: &str) -> String {
    let hex = digest.hex();
    format!("{folder}/{}/{hex}{end}", &hex[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_entry_says_its_fingerprint() {
        let digest = Digest::of(b"a key");
        assert_eq!(fingerprint(&entry(&digest)), Some(digest));
        assert_eq!(fingerprint("v1/entries/README.md"), None);
        assert_ne!(file(&digest), manifest(&digest));
    }
}
