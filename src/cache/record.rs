//! Writing what a stage made into the action cache, in one transaction with everything else that waits.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::entry::{Divergence, Entry, Outputs, Provenance};
use super::error::CacheError;
use super::fault::{Point, reach};
use super::glance::Glance;
use super::owner::host;
use super::store::Artifact;
use super::ticket::Sealed;
use super::{Cache, JOURNAL, journal, rows};
use crate::digest::Digest;
use crate::text::now;

impl Cache {
    /// Writes the row of a finished stage, and returns the result of its key: if another came first
    /// and is still there, that one, and the difference is recorded.
    ///
    /// # Errors
    ///
    /// If the disk or the database fails.
    pub fn record(&mut self, sealed: Sealed, provenance: &Provenance) -> Result<Outputs, CacheError> {
        let mut results = self.record_all(vec![(sealed, provenance.clone())])?;
        Ok(results.pop().expect("one result for each stage"))
    }

    /// [`Cache::record`] for several stages in one transaction: all rows are written or none.
    ///
    /// # Errors
    ///
    /// If the disk or the database fails.
    pub fn record_all(&mut self, mut finished: Vec<(Sealed, Provenance)>) -> Result<Vec<Outputs>, CacheError> {
        Sealed::sync(finished.iter_mut().map(|(sealed, _)| sealed))?;
        let stamp = |artifact: &Artifact| self.store.stamp(&artifact.digest).unwrap_or(artifact.digest);
        let stamps: Vec<Vec<Digest>> =
            finished.iter().map(|(sealed, _)| sealed.artifacts.values().map(stamp).collect()).collect();
        let (store, journal) = (self.store(), self.directory.join(JOURNAL));
        let session = self.session.as_ref().map(|session| session.name()).unwrap_or_default();
        let results = self.write(|connection| {
            let mut results = Vec::with_capacity(finished.len());
            let mut entries = Vec::new();
            for ((sealed, provenance), stamps) in finished.iter().zip(&stamps) {
                let fingerprint = sealed.key.fingerprint;
                let first = rows::result(connection, &fingerprint)?.map(|(outputs, _)| outputs);
                rows::remove_claim(connection, &fingerprint, &session)?;
                for (artifact, stamp) in sealed.artifacts.values().zip(stamps) {
                    rows::insert_artifact(connection, artifact, stamp)?;
                }
                for divergence in divergences(sealed, first.as_ref(), provenance) {
                    rows::insert_divergence(connection, &divergence)?;
                }
                let is_there = |outputs: &Outputs| outputs.values().all(|artifact| store.path(artifact).exists());
                if let Some(first) = first.filter(is_there) {
                    results.push(first);
                    continue;
                }
                let later = outputs(sealed);
                rows::insert_key(connection, &fingerprint, &sealed.key.text)?;
                rows::insert_entry(connection, &fingerprint, &later, provenance)?;
                results.push(later);
                let (key, outputs) = (sealed.key.text.clone(), sealed.artifacts.clone());
                entries.push(Entry { fingerprint, key, outputs, provenance: provenance.clone() });
            }
            if journal::is_empty(&journal) {
                // There are results from before there was a journal, or only those of this transaction.
                entries = rows::entries(connection, None)?;
            }
            journal::append(&journal, &entries)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            reach(Point::Journaled);
            reach(Point::RowsWritten);
            Ok(results)
        })?;
        reach(Point::Recorded);
        // What came first under these keys is relied on from now on.
        let firsts = results.iter().zip(&finished).filter(|(result, (sealed, _))| **result != outputs(sealed));
        self.store.holds.hold(firsts.flat_map(|(result, _)| result.values().copied()))?;
        let index = self.index()?;
        for (((sealed, provenance), stamps), result) in finished.iter().zip(stamps).zip(&results) {
            for (artifact, stamp) in sealed.artifacts.values().zip(stamps) {
                index.checked.insert(artifact.digest, true);
                if let Some(stamps) = &mut index.stamps {
                    stamps.insert(artifact.digest, stamp);
                }
            }
            index.results.insert(sealed.key.fingerprint, (result.clone(), provenance.cpu));
        }
        self.write_through(&finished, &results);
        Ok(results)
    }

    /// Takes an artifact out of the store that was found damaged while it was read. Returns where it is then.
    ///
    /// # Errors
    ///
    /// If it cannot be moved, or the database fails.
    pub fn set_aside(&mut self, artifact: &Digest) -> Result<Option<PathBuf>, CacheError> {
        self.index()?.checked.insert(*artifact, false);
        self.store.set_aside(artifact)
    }

    /// Notes that a result came out differently when its stage was executed again, unless that is noted
    /// already.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn diverged(
        &mut self,
        fingerprint: &Digest,
        slot: &str,
        first: &Digest,
        later: &Digest,
    ) -> Result<(), CacheError> {
        let (slot, host) = (slot.to_string(), host());
        let found = Divergence { fingerprint: *fingerprint, slot, first: *first, later: *later, found: now(), host };
        let same =
            |known: &Divergence| Divergence { found: found.found, host: found.host.clone(), ..known.clone() } == found;
        self.write(|connection| match rows::divergences(connection)?.iter().any(same) {
            true => Ok(()),
            false => rows::insert_divergence(connection, &found),
        })
    }

    /// Remembers under which key each stage of an experiment was last finished or found, and how the
    /// artifacts looked that were checked.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn remember<'a>(
        &mut self,
        experiment: &str,
        stages: impl IntoIterator<Item = (&'a str, Digest)>,
    ) -> Result<(), CacheError> {
        let known = &self.index()?.last;
        let knows = known.knows(experiment);
        let stages = stages.into_iter();
        let mut new: HashMap<&str, Digest> =
            stages.filter(|(stage, key)| !knows || !known.contains(experiment, stage, *key)).collect();
        if !new.is_empty() && !knows {
            let known = rows::last(&self.connection, experiment, |stage, fingerprint| {
                if new.get(stage) == Some(&fingerprint) {
                    new.remove(stage);
                }
            });
            known.map_err(|source| self.problem(source))?;
        }
        // In the order of the rows, so that each page is written once.
        let new: BTreeMap<&str, Digest> = new.into_iter().collect();
        let index = self.index()?;
        let mut seen: Vec<(Digest, Glance)> =
            index.new_glances.drain(..).map(|artifact| (artifact, index.glances[&artifact].clone())).collect();
        seen.sort_unstable_by_key(|(artifact, _)| *artifact);
        if new.is_empty() && seen.is_empty() {
            return Ok(());
        }
        index.last.forget(experiment);
        self.write(|connection| {
            new.iter()
                .try_for_each(|(stage, fingerprint)| rows::set_last(connection, experiment, stage, fingerprint))?;
            seen.iter().try_for_each(|(artifact, glance)| rows::set_glance(connection, artifact, glance))
        })
    }
}

fn outputs(sealed: &Sealed) -> Outputs {
    sealed.artifacts.iter().map(|(slot, artifact)| (slot.as_str(), artifact.digest)).collect()
}

/// Where a result differs from the first one of its key.
fn divergences(sealed: &Sealed, first: Option<&Outputs>, provenance: &Provenance) -> Vec<Divergence> {
    let differs = |(slot, first): (&str, &Digest)| {
        let later = sealed.artifacts.get(slot).map(|artifact| artifact.digest).filter(|later| later != first)?;
        let (fingerprint, host) = (sealed.key.fingerprint, provenance.origin.host.clone());
        Some(Divergence { fingerprint, slot: slot.to_string(), first: *first, later, found: now(), host })
    };
    first.into_iter().flat_map(Outputs::iter).filter_map(differs).collect()
}
