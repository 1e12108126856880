//! The action cache in memory, and what is known of the artifacts.
//!
//! A process that is about to plan experiments has both read meanwhile by another thread, which also looks
//! at the artifacts that those experiments came to last time: most of them are what they come to again.
//! Unaware of what is done with it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};

use super::glance::Glance;
use super::rows::{self, Finished};
use super::store::Store;
use crate::digest::{Digest, DigestMap};

/// What is recorded, as it was when it was read and as it was changed here since.
pub(super) struct Index {
    /// Fingerprint → what was finished.
    pub results: DigestMap<Finished>,
    /// How artifacts looked when they were last found intact.
    pub glances: Arc<DigestMap<Glance>>,
    /// Those of them that are new.
    pub new_glances: Vec<Digest>,
    /// Read when a glance is not enough.
    pub stamps: Option<DigestMap<Digest>>,
    /// Artifacts that were checked: whether they can be used.
    pub checked: DigestMap<bool>,
    /// [`Holds::collections`](super::holds::Holds::collections) before the rows were read.
    pub collections: u64,
    /// Under which keys stages were last finished or found.
    pub last: Last,
}

impl Index {
    pub fn read(connection: &Connection, store: &Store) -> rusqlite::Result<Index> {
        let collections = store.holds.collections();
        let results = rows::results(connection)?;
        let (glances, new_glances) = (Arc::new(rows::glances(connection)?), Vec::new());
        let (stamps, checked, last) = (None, DigestMap::default(), Last::default());
        Ok(Index { results, glances, new_glances, stamps, checked, collections, last })
    }
}

/// The last keys of the stages of some experiments, in so little memory that it can only be asked whether
/// something is among them. Once in ten thousand million times it says yes wrongly, and then a later
/// explanation compares with an older key.
#[derive(Default)]
pub(super) struct Last {
    experiments: Vec<String>,
    known: HashSet<u64>,
    state: RandomState,
}

impl Last {
    /// Reads those of an experiment, and returns the keys.
    fn read(&mut self, connection: &Connection, experiment: &str) -> rusqlite::Result<Vec<Digest>> {
        let mut keys = Vec::new();
        rows::last(connection, experiment, |stage, fingerprint| {
            self.known.insert(self.state.hash_one((experiment, stage, fingerprint)));
            keys.push(fingerprint);
        })?;
        self.experiments.push(experiment.to_string());
        Ok(keys)
    }

    /// Whether it knows everything about an experiment.
    pub fn knows(&self, experiment: &str) -> bool {
        self.experiments.iter().any(|known| known == experiment)
    }

    /// Whether the last key of a stage of the experiment has this digest.
    pub fn contains(&self, experiment: &str, stage: &str, fingerprint: Digest) -> bool {
        self.known.contains(&self.state.hash_one((experiment, stage, fingerprint)))
    }

    /// Forgets an experiment, of which something changes.
    pub fn forget(&mut self, experiment: &str) {
        self.experiments.retain(|known| known != experiment);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Last::default();
    }
}

/// A thread that reads the index, and then looks at artifacts until it is stopped. Should it fail, the index
/// is read again when it is needed, and the failure told then.
pub(super) struct Ahead {
    index: Receiver<Index>,
    stop: Arc<AtomicBool>,
    /// The artifacts that look as they did when they were last found intact.
    same: Option<JoinHandle<Vec<Digest>>>,
}

impl Ahead {
    pub fn start(database: PathBuf, store: Arc<Store>, experiments: Vec<String>) -> Ahead {
        let (sender, index) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let read = move || {
            let Ok((index, artifacts)) = read(&database, &store, &experiments) else { return Vec::new() };
            let glances = index.glances.clone();
            if sender.send(index).is_err() {
                return Vec::new();
            }
            let root = store.open().ok();
            let is_same = |artifact: &Digest| {
                let glance = glances.get(artifact).zip(root.as_ref());
                glance.is_some_and(|(glance, root)| glance.is_true(root, artifact))
            };
            let looked = artifacts.into_iter().take_while(|_| !stopped.load(Ordering::Relaxed));
            looked.filter(is_same).collect()
        };
        Ahead { index, stop, same: Some(std::thread::spawn(read)) }
    }

    /// The index, once.
    pub fn index(&self) -> Option<Index> {
        self.index.recv().ok()
    }

    /// Stops the thread. Returns the artifacts that it found as they were.
    pub fn end(mut self) -> Vec<Digest> {
        self.stop.store(true, Ordering::Relaxed);
        self.same.take().and_then(|same| same.join().ok()).unwrap_or_default()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The index, and the artifacts that the experiments came to last time, in order.
fn read(database: &Path, store: &Store, experiments: &[String]) -> rusqlite::Result<(Index, Vec<Digest>)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    let mut index = Index::read(&connection, store)?;
    let mut artifacts = Vec::new();
    for experiment in experiments {
        let keys = index.last.read(&connection, experiment)?;
        let results = keys.iter().filter_map(|key| index.results.get(key));
        artifacts.extend(results.flat_map(|(outputs, _)| outputs.values().copied()));
    }
    artifacts.sort_unstable();
    artifacts.dedup();
    Ok((index, artifacts))
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Origin, Outputs, Provenance};
    use super::super::store::Artifact;
    use super::super::{database, rows};
    use super::*;
    use crate::devices::Device;

    /// A result that comes and goes: what is read of it is all or nothing.
    #[test]
    fn whoever_reads_results_sees_each_with_its_outputs_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.sqlite");
        let (mut writer, reader) = (database::open(&path).unwrap(), database::open(&path).unwrap());
        writer.pragma_update(None, "synchronous", "OFF").unwrap();
        let origin = Origin { host: "here".into(), git_commit: None, runner: "0".into() };
        let (kind, name, experiment) = ("toy".into(), "s0/toy".into(), "toys".into());
        let (memory, device) = (None, Device::Cpu);
        let provenance =
            Provenance { kind, name, experiment, started: 1.0, wall: 2.0, cpu: 3.0, memory, device, origin };
        let (fingerprint, made) = (Digest::of(b"key"), Digest::of(b"made"));
        let outputs: Outputs = [("out".to_string(), made)].into_iter().collect();
        let artifact = Artifact { digest: made, kind: "toy".into(), bytes: 1 };
        rows::insert_artifact(&writer, &artifact, &made).unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3000 {
                    let transaction = writer.transaction().unwrap();
                    rows::insert_key(&transaction, &fingerprint, "key").unwrap();
                    rows::insert_entry(&transaction, &fingerprint, &outputs, &provenance).unwrap();
                    transaction.commit().unwrap();
                    let transaction = writer.transaction().unwrap();
                    rows::remove_entry(&transaction, &fingerprint).unwrap();
                    transaction.commit().unwrap();
                }
                ended.store(true, Ordering::Relaxed);
            });
            while !ended.load(Ordering::Relaxed) {
                let all = rows::results(&reader).unwrap().remove(&fingerprint);
                for (found, _) in [all, rows::result(&reader, &fingerprint).unwrap()].into_iter().flatten() {
                    assert_eq!(found, outputs);
                }
                for entry in rows::entries(&reader, None).unwrap() {
                    assert_eq!(entry.outputs.len(), 1);
                }
            }
        });
    }
}
