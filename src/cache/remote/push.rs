//! Results on their way there: files, then manifests, then the entry.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::error::{Reason, RemoteError};
use super::lanes::{LANES, fan_out};
use super::transfer::each_file;
use super::{Remote, Step, Watch, layout};
use crate::cache::entry::{Divergence, Entry};
use crate::cache::{Health, ManifestFile, Store, host};
use crate::digest::Digest;
use crate::text::now;

/// So many results are brought there at once.
const AT_ONCE: usize = 4;

/// What came of bringing results to a remote.
#[derive(Debug, Default)]
pub struct Pushed {
    /// Results that are there now, and were not before.
    pub results: usize,
    /// Results that were there.
    pub there: usize,
    /// Files that were uploaded.
    pub files: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Results that are not there, by name, and why. Of an unreachable remote only the first says why.
    pub failures: Vec<(Entry, Option<RemoteError>)>,
    /// Results that are there and differ from those here.
    pub divergences: Vec<Divergence>,
}

impl Pushed {
    /// Adds what came of further results.
    pub fn add(&mut self, other: Pushed) {
        let Pushed { results, there, files, bytes, failures, divergences } = other;
        (self.results, self.there) = (self.results + results, self.there + there);
        (self.files, self.bytes) = (self.files + files, self.bytes + bytes);
        self.failures.extend(failures);
        self.divergences.extend(divergences);
    }
}

/// What came of one result.
enum One {
    There,
    Differs(Vec<Divergence>),
    Sent { files: usize, bytes: u64 },
}

impl Remote {
    /// Brings results to the remote. With `again` files are looked for there also where the entry is. One
    /// that fails does not keep the others from going on, unless nobody answers.
    pub fn push(
        &self,
        entries: &[Entry],
        store: &Store,
        again: bool,
        tell: &(dyn Fn(&Entry, Step) + Sync),
        stop: &AtomicBool,
    ) -> Pushed {
        let pushed: Mutex<Pushed> = Mutex::default();
        let dealt: Mutex<HashSet<Digest>> = Mutex::default();
        let lock = || pushed.lock().expect("no panic while it is locked");
        // An error here ends it for those that are left.
        let end = fan_out(entries, AT_ONCE, |entry| {
            let watch = Watch { tell: &|step| tell(entry, step), stop };
            let again = again || self.is_suspect(&entry.fingerprint);
            let one = self.push_one(entry, store, again, &watch);
            dealt.lock().expect("no panic while it is locked").insert(entry.fingerprint);
            let mut pushed = lock();
            match one {
                Ok(One::There) => pushed.there += 1,
                Ok(One::Differs(found)) => {
                    pushed.there += 1;
                    pushed.divergences.extend(found);
                }
                Ok(One::Sent { files, bytes }) => {
                    (pushed.results, pushed.files, pushed.bytes) =
                        (pushed.results + 1, pushed.files + files, pushed.bytes + bytes);
                    self.clear(&entry.fingerprint);
                }
                Err(reason) => {
                    let ends = reason.ends();
                    let first = !ends || pushed.failures.iter().all(|(_, error)| error.is_none());
                    pushed.failures.push((entry.clone(), first.then(|| reason.clone().at(&self.address))));
                    return if ends { Err(reason) } else { Ok(()) };
                }
            }
            Ok(())
        });
        let mut pushed = pushed.into_inner().expect("no panic while it was locked");
        if end.is_err() {
            let dealt = dealt.into_inner().expect("no panic while it was locked");
            let left = entries.iter().filter(|entry| !dealt.contains(&entry.fingerprint));
            pushed.failures.extend(left.map(|entry| (entry.clone(), None)));
        }
        pushed
    }

    fn push_one(&self, entry: &Entry, store: &Store, again: bool, watch: &Watch<'_>) -> Result<One, Reason> {
        if let Some(first) = self.entry(&entry.fingerprint)? {
            let found = differences(&first, entry);
            if !found.is_empty() {
                return Ok(One::Differs(found));
            }
            if !again {
                return Ok(One::There);
            }
        }
        let mut files: BTreeMap<Digest, (PathBuf, ManifestFile)> = BTreeMap::new();
        let mut manifests: Vec<Digest> = Vec::new();
        for artifact in entry.outputs.values() {
            let digest = artifact.digest;
            if store.verify(&digest) != Health::Intact {
                return Err(Reason::NotHere(digest));
            }
            let manifest = store.manifest(&digest).map_err(|_| Reason::NotHere(digest))?;
            let path = store.path(&digest);
            files.extend(manifest.files.into_iter().map(|(name, file)| (file.digest, (path.join(name), file))));
            manifests.push(digest);
        }
        let files: Vec<(PathBuf, ManifestFile)> = files.into_values().collect();
        watch.started(files.len(), files.iter().map(|(_, file)| file.size).sum());
        let (sent, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        each_file(
            &files,
            |(_, file)| file.size,
            |(path, file)| {
                if self.send(path, file, watch)? {
                    sent.fetch_add(1, Ordering::Relaxed);
                    bytes.fetch_add(file.size, Ordering::Relaxed);
                }
                Ok(())
            },
        )?;
        fan_out(&manifests, LANES, |digest| self.send_manifest(digest, store))?;
        let text = serde_json::to_vec_pretty(entry).expect("an entry has text keys");
        if !self.objects.create(&layout::entry(&entry.fingerprint), &text)? {
            // Another was quicker, or it was there all the time.
            let found = self.entry(&entry.fingerprint)?.map(|first| differences(&first, entry)).unwrap_or_default();
            if !found.is_empty() {
                return Ok(One::Differs(found));
            }
        }
        Ok(One::Sent { files: sent.into_inner(), bytes: bytes.into_inner() })
    }

    fn send_manifest(&self, digest: &Digest, store: &Store) -> Result<(), Reason> {
        let name = layout::manifest(digest);
        let text = store.manifest_text(digest).map_err(|_| Reason::NotHere(*digest))?;
        match self.is_there(&name, text.len() as u64)? {
            true => Ok(()),
            false => self.objects.write(&name, text),
        }
    }
}

/// Where a result differs from the one that came first.
pub(super) fn differences(first: &Entry, later: &Entry) -> Vec<Divergence> {
    let differs = |(slot, first): (&String, &crate::cache::Artifact)| {
        let other = later.outputs.get(slot).map(|artifact| artifact.digest).filter(|later| *later != first.digest)?;
        let fingerprint = later.fingerprint;
        Some(Divergence {
            fingerprint,
            slot: slot.clone(),
            first: first.digest,
            later: other,
            found: now(),
            host: host(),
        })
    };
    first.outputs.iter().filter_map(differs).collect()
}
