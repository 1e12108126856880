//! The cache with a remote behind it: reading through on a miss, writing through after a commit, and
//! both at once for many results.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;

use super::error::{Reason, RemoteError, failed};
use super::lanes::fan_out;
use super::push::Pushed;
use super::{Remote, Step, Uploads, Watch};
use crate::cache::{Cache, CacheError, Entry, Lookup, Outputs, Provenance, Sealed, Store, rows};
use crate::digest::Digest;
use crate::fingerprint::Key;

/// So many results are brought here at once.
const AT_ONCE: usize = 4;
/// So many are recorded at once.
const BATCH: usize = 32;

/// A result to look for in a remote.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its key.
    pub key: Key,
    /// Output slot → artifact kind.
    pub outputs: Arc<IndexMap<String, String>>,
    /// What the remote says of it, if it was asked.
    pub entry: Option<Box<Entry>>,
}

impl From<Entry> for Wanted {
    fn from(entry: Entry) -> Wanted {
        let key = Key { fingerprint: entry.fingerprint, text: entry.key.clone() };
        let kinds = entry.outputs.iter().map(|(slot, artifact)| (slot.clone(), artifact.kind.clone()));
        Wanted { key, outputs: Arc::new(kinds.collect()), entry: Some(Box::new(entry)) }
    }
}

/// What came of bringing results here.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Results that are here now, and were not before.
    pub results: usize,
    /// Results that were here.
    pub here: usize,
    /// Results that another process makes or brings now.
    pub elsewhere: usize,
    /// Results that the remote does not have.
    pub absent: usize,
    /// Files that were named by these results and not here.
    pub files: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Results that the remote has, but that could not be used, and why.
    pub failures: Vec<(Digest, RemoteError)>,
}

impl Remote {
    /// Looks for the result of a key and brings it into the store.
    fn read_through(
        &self,
        wanted: &Wanted,
        scratch: &Path,
        store: &Arc<Store>,
        tell: &(dyn Fn(&Entry, Step) + Sync),
        stop: &AtomicBool,
    ) -> Result<Option<(Sealed, Provenance)>, Reason> {
        let entry = match &wanted.entry {
            Some(entry) => Some((**entry).clone()),
            None => self.entry(&wanted.key.fingerprint)?,
        };
        let Some(entry) = entry else { return Ok(None) };
        let directory = scratch.join("pulled");
        std::fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        let watch = Watch { tell: &|step| tell(&entry, step), stop };
        let brought = self.bring(&entry, &wanted.outputs, &directory, store, &watch);
        let _ = std::fs::remove_dir_all(&directory);
        Ok(Some((Sealed::pulled(wanted.key.clone(), brought?, store.clone()), entry.provenance)))
    }

    /// The same for a ticket: of a failure is only told what is worth it.
    pub(in crate::cache) fn read_for(
        &self,
        key: &Key,
        outputs: &Arc<IndexMap<String, String>>,
        scratch: &Path,
        store: &Arc<Store>,
        tell: &(dyn Fn(Step) + Sync),
        stop: &AtomicBool,
    ) -> Result<Option<(Sealed, Provenance)>, RemoteError> {
        if self.is_silent() {
            return Ok(None);
        }
        let wanted = Wanted { key: key.clone(), outputs: outputs.clone(), entry: None };
        let read = self.read_through(&wanted, scratch, store, &|_, step| tell(step), stop);
        read.or_else(|reason| self.notice(&key.fingerprint, reason).map_or(Ok(None), Err))
    }
}

impl Cache {
    /// Puts a remote behind the cache: tickets can look there, and what is recorded goes there.
    pub fn attach(&mut self, remote: Arc<Remote>) {
        self.remote = Some(remote);
    }

    /// The remote behind the cache.
    pub fn remote(&self) -> Option<Arc<Remote>> {
        self.remote.clone()
    }

    /// Has results that were just recorded brought to the remote, unless they come from there.
    pub(in crate::cache) fn write_through(&mut self, finished: &[(Sealed, Provenance)], results: &[Outputs]) {
        let Some(remote) = self.remote.clone().filter(|remote| !remote.read_only) else { return };
        let ours = |((sealed, _), result): &(&(Sealed, Provenance), &Outputs)| {
            !sealed.pulled && sealed.artifacts.iter().all(|(slot, artifact)| result.get(slot) == Some(&artifact.digest))
        };
        let entry = |((sealed, provenance), _): (&(Sealed, Provenance), &Outputs)| Entry {
            fingerprint: sealed.key.fingerprint,
            key: sealed.key.text.clone(),
            outputs: sealed.artifacts.clone(),
            provenance: provenance.clone(),
        };
        let entries: Vec<Entry> = finished.iter().zip(results).filter(ours).map(entry).collect();
        if !entries.is_empty() {
            let store = self.store();
            self.uploads.get_or_insert_with(|| Uploads::start(remote, store)).add(entries);
        }
    }

    /// Waits until what was recorded is in the remote; tells how many results are not. After an
    /// interruption it does not wait. `None` if there was nothing to bring there.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn end_uploads(
        &mut self,
        tell: &mut dyn FnMut(usize),
        interrupt: &AtomicBool,
    ) -> Result<Option<Pushed>, CacheError> {
        let Some(uploads) = self.uploads.take() else { return Ok(None) };
        let pushed = uploads.end(tell, interrupt);
        self.diverge(&pushed)?;
        Ok(Some(pushed))
    }

    /// Brings finished stages to the remote; see [`Remote::push`].
    ///
    /// # Errors
    ///
    /// If the database fails. What fails of the remote is told by the result.
    pub fn push(
        &mut self,
        remote: &Remote,
        entries: &[Entry],
        again: bool,
        tell: &(dyn Fn(&Entry, Step) + Sync),
        stop: &AtomicBool,
    ) -> Result<Pushed, CacheError> {
        let pushed = remote.push(entries, &self.store(), again, tell, stop);
        self.diverge(&pushed)?;
        Ok(pushed)
    }

    /// Records where results differ from those that the remote had first.
    fn diverge(&mut self, pushed: &Pushed) -> Result<(), CacheError> {
        let known = self.divergences()?;
        let new = pushed.divergences.iter().filter(|new| {
            let same = |known: &&crate::cache::Divergence| {
                (known.fingerprint, &known.slot, known.first, known.later)
                    == (new.fingerprint, &new.slot, new.first, new.later)
            };
            !known.iter().any(|known| same(&known))
        });
        let new: Vec<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        self.write(|connection| new.iter().try_for_each(|new| rows::insert_divergence(connection, new)))
    }

    /// Brings results here that are in the remote, and records them with their provenance. A result that
    /// cannot be used does not keep the others from coming, unless nobody answers.
    ///
    /// # Errors
    ///
    /// If the disk or the database fails.
    pub fn pull(
        &mut self,
        remote: &Remote,
        wanted: &[Wanted],
        tell: &(dyn Fn(&Entry, Step) + Sync),
        stop: &AtomicBool,
    ) -> Result<Pulled, CacheError> {
        let mut pulled = Pulled::default();
        for batch in wanted.chunks(BATCH) {
            if !self.pull_batch(remote, batch, &mut pulled, tell, stop)? {
                break;
            }
        }
        Ok(pulled)
    }

    /// Returns whether to go on.
    fn pull_batch(
        &mut self,
        remote: &Remote,
        batch: &[Wanted],
        pulled: &mut Pulled,
        tell: &(dyn Fn(&Entry, Step) + Sync),
        stop: &AtomicBool,
    ) -> Result<bool, CacheError> {
        let mut tickets = Vec::new();
        for wanted in batch {
            match self.lookup(&wanted.key, &wanted.outputs)? {
                Lookup::Hit(_) => pulled.here += 1,
                Lookup::Taken(_) => pulled.elsewhere += 1,
                Lookup::Miss(claim) => tickets.push((wanted, claim.ticket()?)),
            }
        }
        let store = self.store();
        let brought: Mutex<Vec<(Sealed, Provenance)>> = Mutex::default();
        let told: Mutex<&mut Pulled> = Mutex::new(pulled);
        let end = fan_out(&tickets, AT_ONCE, |(wanted, ticket)| {
            let size = Mutex::new((0, 0));
            let count = |entry: &Entry, step| {
                if let Step::Started { files, bytes } = step {
                    *size.lock().expect("no panic while it is locked") = (files, bytes);
                }
                tell(entry, step);
            };
            let read = remote.read_through(wanted, ticket.scratch(), &store, &count, stop);
            let mut told = told.lock().expect("no panic while it is locked");
            match read {
                Ok(None) => told.absent += 1,
                Ok(Some(result)) => {
                    let (files, bytes) = *size.lock().expect("no panic while it is locked");
                    (told.results, told.files, told.bytes) = (told.results + 1, told.files + files, told.bytes + bytes);
                    brought.lock().expect("no panic while it is locked").push(result);
                }
                Err(reason) => {
                    let ends = reason.ends();
                    let error = reason.clone().at(&remote.address);
                    if !ends || told.failures.is_empty() {
                        told.failures.push((wanted.key.fingerprint, error));
                    }
                    return if ends { Err(reason) } else { Ok(()) };
                }
            }
            Ok(())
        });
        let brought = brought.into_inner().expect("no panic while it was locked");
        let recorded: HashSet<_> = brought.iter().map(|(sealed, _)| sealed.key.fingerprint).collect();
        if !brought.is_empty() {
            self.record_all(brought)?;
        }
        let left = tickets.iter().map(|(wanted, _)| wanted.key.fingerprint);
        let left: Vec<Digest> = left.filter(|fingerprint| !recorded.contains(fingerprint)).collect();
        self.release(&left)?;
        Ok(end.is_ok())
    }
}
