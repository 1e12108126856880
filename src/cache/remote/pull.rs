//! Results on their way here: the entry, the manifests, the files; all checked before anything is used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::error::{Reason, failed};
use super::transfer::each_file;
use super::{Remote, Watch, layout};
use crate::cache::entry::Entry;
use crate::cache::{Artifact, CacheError, Health, Manifest, ManifestFile, Store};
use crate::digest::Digest;

/// The most bytes that an entry or a manifest may have.
const MOST_TEXT: u64 = 256 << 20;

impl Remote {
    /// The entry of a fingerprint.
    pub(super) fn entry(&self, fingerprint: &Digest) -> Result<Option<Entry>, Reason> {
        let object = layout::entry(fingerprint);
        let Some(text) = self.objects.read(&object, MOST_TEXT)? else { return Ok(None) };
        let wrong = |problem: String| Reason::Malformed { object: object.clone(), problem };
        let entry: Entry = serde_json::from_slice(&text).map_err(|error| wrong(format!("is not an entry: {error}")))?;
        match entry.fingerprint == *fingerprint && Digest::of(entry.key.as_bytes()) == *fingerprint {
            true => Ok(Some(entry)),
            false => Err(wrong("is the entry of another key".to_string())),
        }
    }

    /// The fingerprints of all entries.
    pub(super) fn fingerprints(&self) -> Result<Vec<Digest>, Reason> {
        Ok(self.objects.list(layout::ENTRIES)?.iter().filter_map(|name| layout::fingerprint(name)).collect())
    }

    /// Brings the artifacts of an entry into the store. `outputs`: slot → artifact kind; `scratch`: a
    /// directory on the file system of the store, which is left empty.
    pub(super) fn bring(
        &self,
        entry: &Entry,
        outputs: &IndexMap<String, String>,
        scratch: &Path,
        store: &Store,
        watch: &Watch<'_>,
    ) -> Result<BTreeMap<String, Artifact>, Reason> {
        let kinds = |artifacts: &BTreeMap<String, Artifact>| -> BTreeMap<String, String> {
            artifacts.iter().map(|(slot, artifact)| (slot.clone(), artifact.kind.clone())).collect()
        };
        if kinds(&entry.outputs) != outputs.iter().map(|(slot, kind)| (slot.clone(), kind.clone())).collect() {
            let problem = "has other outputs than the stage".to_string();
            return Err(Reason::Malformed { object: layout::entry(&entry.fingerprint), problem });
        }
        // Whoever collects leaves alone what is looked at from now on.
        let unlisted = |error: CacheError| Reason::File {
            what: "list what is used in",
            path: scratch.into(),
            why: error.to_string(),
        };
        store.holds.hold(entry.outputs.values().map(|artifact| artifact.digest)).map_err(unlisted)?;
        let missing: BTreeMap<Digest, (&String, &Artifact)> = entry
            .outputs
            .iter()
            .filter(|(_, artifact)| store.verify(&artifact.digest) != Health::Intact)
            .map(|(slot, artifact)| (artifact.digest, (slot, artifact)))
            .collect();
        let mut staged = Vec::new();
        // The places of each file, of which the first is filled from there and the others from the first.
        let mut files: BTreeMap<Digest, (ManifestFile, Vec<PathBuf>)> = BTreeMap::new();
        for (digest, (slot, artifact)) in missing {
            let directory = scratch.join(slot);
            for (name, file) in self.manifest(&digest, &artifact.kind)?.files {
                let place = directory.join(&name);
                let above = place.parent().expect("it is below a directory");
                fs::create_dir_all(above).map_err(failed("create", above))?;
                files.entry(file.digest).or_insert((file, Vec::new())).1.push(place);
            }
            staged.push((slot, artifact, directory));
        }
        let files: Vec<(ManifestFile, Vec<PathBuf>)> = files.into_values().collect();
        watch.started(files.len(), files.iter().map(|(file, _)| file.size).sum());
        each_file(
            &files,
            |(file, _)| file.size,
            |(file, places)| {
                let (first, others) = places.split_first().expect("a file has a place");
                self.fetch(file, first, watch)?;
                others.iter().try_for_each(|other| fs::copy(first, other).map(drop).map_err(failed("write", other)))
            },
        )?;
        for (slot, artifact, directory) in staged {
            let adopted = store.adopt(&directory, slot, &artifact.kind).map_err(|error| Reason::File {
                what: "keep",
                path: directory.clone(),
                why: error.to_string(),
            })?;
            if adopted.digest != artifact.digest {
                let problem = "lists its files in another way than this version of runner".to_string();
                return Err(Reason::Malformed { object: layout::manifest(&artifact.digest), problem });
            }
        }
        Ok(entry.outputs.clone())
    }

    /// The manifest of an artifact, whose names lead nowhere else than into it.
    fn manifest(&self, digest: &Digest, kind: &str) -> Result<Manifest, Reason> {
        let object = layout::manifest(digest);
        let text = self.objects.read(&object, MOST_TEXT)?.ok_or_else(|| Reason::Lacks { object: object.clone() })?;
        let found = Digest::of(&text);
        if found != *digest {
            return Err(Reason::Wrong { object, expected: *digest, found });
        }
        let wrong = |problem: String| Err(Reason::Malformed { object: object.clone(), problem });
        let manifest: Manifest = match serde_json::from_slice(&text) {
            Ok(manifest) => manifest,
            Err(error) => return wrong(format!("is not a manifest: {error}")),
        };
        match manifest.files.keys().find(|name| !is_below(name)) {
            Some(name) => wrong(format!("has a file `{name}`, which is no name below a folder")),
            None if manifest.kind != kind => wrong(format!("is of the kind `{}`, not `{kind}`", manifest.kind)),
            None => Ok(manifest),
        }
    }
}

/// Whether a name leads to a file below the folder that it is relative to.
fn is_below(name: &str) -> bool {
    !name.contains('\0') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_told_from_those_that_do_not() {
        assert!(is_below("a") && is_below("a/b.json") && is_below("..a/..."));
        for name in ["", "/a", "../a", "a/../../b", "a//b", "./a", "a/", "a\0"] {
            assert!(!is_below(name), "{name}");
        }
    }
}
