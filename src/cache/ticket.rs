//! The right to write a result: held by whoever missed it, used up by the commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indexmap::IndexMap;

use super::entry::Provenance;
use super::error::{CacheError, at};
use super::fault::{Point, reach};
use super::owner::Owner;
use super::remote::{Remote, RemoteError, Step};
use super::staging::Session;
use super::store::{Artifact, Store};
use crate::fingerprint::Key;

/// Below this part of the scratch directory are the directories of the output slots.
const OUTPUTS: &str = "outputs";

/// What a lookup gives.
#[derive(Debug)]
pub enum Lookup {
    /// The result is there: the artifact of each output slot.
    Hit(super::Outputs),
    /// It is not there: only the holder of the claim can write it.
    Miss(Claim),
    /// It is not there, and another process is making it.
    Taken(Owner),
}

/// The right to write the result of a key. Nothing is there yet to write it to.
#[derive(Debug)]
pub struct Claim {
    pub(super) key: Key,
    pub(super) outputs: Arc<IndexMap<String, String>>,
    pub(super) session: Arc<Session>,
    pub(super) store: Arc<Store>,
    pub(super) remote: Option<Arc<Remote>>,
}

impl Claim {
    /// Makes directories to write the result to.
    ///
    /// # Errors
    ///
    /// If they cannot be made.
    pub fn ticket(self) -> Result<Ticket, CacheError> {
        let Claim { key, outputs, session, store, remote } = self;
        let scratch = Scratch { directory: session.scratch(OUTPUTS)?, session };
        let ticket = Ticket { key, outputs, scratch, store, remote };
        for directory in ticket.directories().values() {
            fs::create_dir_all(directory).map_err(at("create", directory))?;
        }
        reach(Point::ScratchMade);
        Ok(ticket)
    }
}

/// Output directories to fill for a key whose result is not in the cache. Dropping it removes them.
#[derive(Debug)]
pub struct Ticket {
    key: Key,
    outputs: Arc<IndexMap<String, String>>,
    scratch: Scratch,
    store: Arc<Store>,
    remote: Option<Arc<Remote>>,
}

/// The artifacts of a finished stage, in the store but not yet in the action cache.
/// [`Cache::record`](super::Cache::record) makes them its result.
#[derive(Debug)]
pub struct Sealed {
    pub(super) key: Key,
    pub(super) artifacts: BTreeMap<String, Artifact>,
    /// Whether they are on the disk.
    pub(super) synced: bool,
    /// Whether they come from the remote, so that they need not be brought there.
    pub(super) pulled: bool,
    store: Arc<Store>,
}

impl Sealed {
    /// Artifacts that a remote had.
    pub(super) fn pulled(key: Key, artifacts: BTreeMap<String, Artifact>, store: Arc<Store>) -> Sealed {
        Sealed { key, artifacts, synced: false, pulled: true, store }
    }

    /// Brings the artifacts of several stages to the disk, which takes little longer than those of one.
    ///
    /// # Errors
    ///
    /// If the disk fails or is full. Then all are still to be brought there.
    pub fn sync<'a>(batch: impl IntoIterator<Item = &'a mut Sealed>) -> Result<(), CacheError> {
        let batch: Vec<&mut Sealed> = batch.into_iter().filter(|sealed| !sealed.synced).collect();
        let Some(store) = batch.first().map(|sealed| sealed.store.clone()) else { return Ok(()) };
        let artifacts = batch.iter().flat_map(|sealed| sealed.artifacts.values().map(|artifact| artifact.digest));
        store.sync(&artifacts.collect::<Vec<_>>())?;
        batch.into_iter().for_each(|sealed| sealed.synced = true);
        reach(Point::Synced);
        Ok(())
    }
}

/// Output directories for a stage whose result is there already: what it writes is looked at, and never
/// kept. Dropping it removes them.
#[derive(Debug)]
pub struct Trial(pub(super) Ticket);

impl Trial {
    /// A directory for files that are not part of the result.
    pub fn scratch(&self) -> &Path {
        self.0.scratch()
    }

    /// The directory of each output slot: it exists and is empty.
    pub fn directories(&self) -> BTreeMap<String, PathBuf> {
        self.0.directories()
    }

    /// The artifacts that the outputs would be.
    ///
    /// # Errors
    ///
    /// If an output was left empty, holds something else than regular files with readable names, or
    /// cannot be read.
    pub fn artifacts(&self) -> Result<BTreeMap<String, Artifact>, CacheError> {
        let name = |(slot, directory): (String, PathBuf)| {
            let artifact = self.0.store.named(&directory, &slot, &self.0.outputs[&slot])?;
            Ok((slot, artifact))
        };
        self.directories().into_iter().map(name).collect()
    }
}

/// A directory that is given back when it is dropped.
#[derive(Debug)]
struct Scratch {
    directory: PathBuf,
    session: Arc<Session>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.session.give_back(&self.directory, OUTPUTS);
    }
}

impl Ticket {
    /// The key whose result is to be written.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// A directory for files that are not part of the result.
    pub fn scratch(&self) -> &Path {
        &self.scratch.directory
    }

    /// The directory of each output slot: it exists and is empty.
    pub fn directories(&self) -> BTreeMap<String, PathBuf> {
        let outputs = self.scratch.directory.join(OUTPUTS);
        self.outputs.keys().map(|slot| (slot.clone(), outputs.join(slot))).collect()
    }

    /// Empties the output directories for another attempt. Other files of the scratch directory stay.
    ///
    /// # Errors
    ///
    /// If something there cannot be removed.
    pub fn reset(&self) -> Result<(), CacheError> {
        for directory in self.directories().values() {
            fs::remove_dir_all(directory).map_err(at("empty", directory))?;
            fs::create_dir_all(directory).map_err(at("create", directory))?;
        }
        Ok(())
    }

    /// Whether there is a remote to look for the result in.
    pub fn has_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Brings the result here from the remote, if it has it. Slow for large ones. `None` if the result has to
    /// be made, and also while nobody answers there.
    ///
    /// # Errors
    ///
    /// If the remote cannot be reached, which is told once, or what it has cannot be used. The result has to
    /// be made then.
    pub fn pull(
        &self,
        tell: &(dyn Fn(Step) + Sync),
        stop: &AtomicBool,
    ) -> Result<Option<(Sealed, Provenance)>, RemoteError> {
        let Some(remote) = &self.remote else { return Ok(None) };
        remote.read_for(&self.key, &self.outputs, self.scratch(), &self.store, tell, stop)
    }

    /// Makes what the output directories hold immutable artifacts of the store. Slow for large ones:
    /// every byte is hashed. They may not be on the disk yet: [`Sealed::sync`] does that for many at once.
    ///
    /// # Errors
    ///
    /// If an output was left empty, holds something else than regular files with readable names, or
    /// cannot be written.
    pub fn seal(self) -> Result<Sealed, CacheError> {
        let mut artifacts = BTreeMap::new();
        for (slot, directory) in self.directories() {
            let artifact = self.store.adopt(&directory, &slot, &self.outputs[&slot])?;
            artifacts.insert(slot, artifact);
        }
        Ok(Sealed { key: self.key, artifacts, synced: false, pulled: false, store: self.store })
    }
}
