//! Is a result there? Looking up keys, checking that the artifacts are as they were left, and claiming
//! what is to be made.
//!
//! Whether another process is alive is known by `staging.rs`; what a miss gives the right to is in
//! `ticket.rs`.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;

use indexmap::IndexMap;
use rayon::prelude::*;
use rusqlite::Connection;

use super::entry::Outputs;
use super::error::CacheError;
use super::fault::{Point, reach};
use super::glance::Glance;
use super::owner::Owner;
use super::rows::Finished;
use super::staging::Session;
use super::store::Health;
use super::ticket::{Claim, Lookup, Trial};
use super::{Cache, rows};
use crate::digest::{Digest, DigestMap};
use crate::fingerprint::Key;

/// What the action cache says of a key, by its rows and by what was checked so far.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// There is a result, and nothing is known against its artifacts.
    Present(Outputs),
    /// There was a result, but this output of it is missing or damaged.
    Broken {
        /// The output slot.
        slot: String,
        /// The artifact.
        artifact: Digest,
    },
    /// There is none.
    Absent,
}

impl Cache {
    /// What the rows say of a fingerprint. Files are not looked at: [`Cache::check`] does that for
    /// many artifacts at once.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn recorded(&mut self, fingerprint: &Digest) -> Result<Recorded, CacheError> {
        let index = self.index()?;
        let Some((outputs, _)) = index.results.get(fingerprint) else { return Ok(Recorded::Absent) };
        let broken = outputs.iter().find(|(_, artifact)| index.checked.get(artifact) == Some(&false));
        Ok(match broken {
            Some((slot, artifact)) => Recorded::Broken { slot: slot.to_string(), artifact: *artifact },
            None => Recorded::Present(outputs.clone()),
        })
    }

    /// The processor time in seconds that the result of a fingerprint took.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn cpu(&mut self, fingerprint: &Digest) -> Result<f64, CacheError> {
        Ok(self.index()?.results.get(fingerprint).map_or(0.0, |(_, cpu)| *cpu))
    }

    /// Looks whether artifacts are in the store as they were left, by the sizes and times of their
    /// files; those that were touched are hashed, and set aside if they are damaged. Returns how many
    /// were found missing or damaged for the first time.
    ///
    /// # Errors
    ///
    /// If the database fails or a damaged artifact cannot be set aside.
    pub fn check(&mut self, artifacts: impl IntoIterator<Item = Digest>) -> Result<usize, CacheError> {
        self.take_what_was_seen()?;
        let store = self.store();
        let index = self.index()?;
        let unknown = artifacts.into_iter().filter(|artifact| !index.checked.contains_key(artifact));
        let mut unknown: Vec<Digest> = unknown.collect();
        unknown.sort_unstable();
        unknown.dedup();
        store.holds.hold(unknown.iter().copied())?;
        let glances = &index.glances;
        // Threads that look from the same descriptor wait for one another.
        let root = || store.open().ok();
        let is_same = |root: &mut Option<File>, artifact: &Digest| {
            let glance = glances.get(artifact).zip(root.as_ref());
            glance.is_some_and(|(glance, root)| glance.is_true(root, artifact))
        };
        let same: Vec<bool> = unknown.par_iter().with_min_len(16).map_init(root, is_same).collect();
        let mut same = same.into_iter();
        unknown.retain(|artifact| {
            let same = same.next() == Some(true);
            if same {
                index.checked.insert(*artifact, true);
            }
            !same
        });
        if unknown.is_empty() {
            return Ok(0);
        }
        let stamps = self.stamps()?;
        let unknown: Vec<(Digest, Option<Digest>)> =
            unknown.into_iter().map(|artifact| (artifact, stamps.get(&artifact).copied())).collect();
        // Health, the stamp where it is a new one, and what to glance at next time.
        let look = |(artifact, known): &(Digest, Option<Digest>)| {
            let glance = Glance::first(&store.path(artifact));
            match store.stamp(artifact) {
                None => (Health::Missing, None, None),
                Some(stamp) if Some(stamp) == *known => (Health::Intact, None, glance),
                Some(stamp) => (store.verify(artifact), Some(stamp), glance),
            }
        };
        let looked: Vec<(Health, Option<Digest>, Option<Glance>)> =
            unknown.par_iter().with_min_len(16).map(look).collect();
        let index = self.index()?;
        let mut restamped = Vec::new();
        let mut broken = 0;
        for ((artifact, _), (health, stamp, glance)) in unknown.iter().zip(looked) {
            let intact = health == Health::Intact;
            index.checked.insert(*artifact, intact);
            if let (true, Some(stamp)) = (intact, stamp) {
                index.stamps.as_mut().expect("they were read above").insert(*artifact, stamp);
                restamped.push((*artifact, stamp));
            }
            if let (true, Some(glance)) = (intact, glance) {
                Arc::make_mut(&mut index.glances).insert(*artifact, glance);
                index.new_glances.push(*artifact);
            }
            broken += usize::from(!intact);
            if health == Health::Damaged {
                store.set_aside(artifact)?;
            }
        }
        if !restamped.is_empty() {
            self.write(|connection| {
                restamped.iter().try_for_each(|(artifact, stamp)| rows::update_stamp(connection, artifact, stamp))
            })?;
        }
        Ok(broken)
    }

    /// Takes over what was found out about artifacts while the index was read and since.
    fn take_what_was_seen(&mut self) -> Result<(), CacheError> {
        self.index()?;
        let Some(ahead) = self.ahead.take() else { return Ok(()) };
        let same = ahead.end();
        // Whoever has a session lists artifacts before it looks at them.
        if self.session.is_none() {
            self.index()?.checked.extend(same.into_iter().map(|artifact| (artifact, true)));
        }
        Ok(())
    }

    /// The stamps of all artifacts.
    fn stamps(&mut self) -> Result<&DigestMap<Digest>, CacheError> {
        if self.index()?.stamps.is_none() {
            let stamps = rows::stamps(&self.connection).map_err(|source| self.problem(source))?;
            self.index()?.stamps = Some(stamps);
        }
        Ok(self.index()?.stamps.as_ref().expect("they were just read"))
    }

    /// The result of a key, or the right to write it, or who has that: `outputs` are the slots with their
    /// artifact kinds.
    ///
    /// # Errors
    ///
    /// If the database fails or a staging directory cannot be made.
    pub fn lookup(&mut self, key: &Key, outputs: &Arc<IndexMap<String, String>>) -> Result<Lookup, CacheError> {
        let mut found = self.lookup_all(&[(key, outputs)])?;
        Ok(found.pop().expect("BUG: nothing was found out about a key"))
    }

    /// [`Cache::lookup`] for several keys, no two of which are equal: what is not there is claimed in one
    /// transaction.
    ///
    /// # Errors
    ///
    /// If the database fails or a staging directory cannot be made.
    pub fn lookup_all(&mut self, wanted: &[(&Key, &Arc<IndexMap<String, String>>)]) -> Result<Vec<Lookup>, CacheError> {
        let session = self.session()?;
        let name = session.name();
        let mut found: Vec<Option<Lookup>> = wanted.iter().map(|_| None).collect();
        let mut gone: HashSet<String> = HashSet::new();
        loop {
            let mut open = Vec::new();
            for (place, (key, _)) in wanted.iter().enumerate() {
                if found[place].is_some() {
                    continue;
                }
                let fingerprint = key.fingerprint;
                if self.index()?.results.contains_key(&fingerprint) {
                    self.look_again(&fingerprint)?;
                    found[place] = self.usable(&fingerprint)?.map(Lookup::Hit);
                }
                if found[place].is_none() {
                    open.push((place, fingerprint, self.index()?.results.get(&fingerprint).cloned()));
                }
            }
            if open.is_empty() {
                return Ok(found.into_iter().flatten().collect());
            }
            // Until the claims are made, other processes may finish stages, and make lost artifacts again. What
            // was found so far allows a claim, if it is still so.
            let claim = |connection: &Connection, fingerprint: &Digest, known: &Option<Finished>| {
                let (row, other) = (rows::result(connection, fingerprint)?, rows::claim(connection, fingerprint)?);
                let other = other.filter(|other| *other != name && !gone.contains(other));
                if row == *known && other.is_none() {
                    rows::set_claim(connection, fingerprint, &name)?;
                }
                Ok((row, other))
            };
            let seen: Vec<(Option<Finished>, Option<String>)> = self.write(|connection| {
                open.iter().map(|(_, fingerprint, known)| claim(connection, fingerprint, known)).collect()
            })?;
            for ((place, fingerprint, known), (row, other)) in open.into_iter().zip(seen) {
                if row != known {
                    self.take_row(&fingerprint, row)?;
                    continue;
                }
                found[place] = match other {
                    None => {
                        reach(Point::Claimed);
                        let (key, outputs) = (wanted[place].0.clone(), wanted[place].1.clone());
                        let (session, store, remote) = (session.clone(), self.store(), self.remote.clone());
                        Some(Lookup::Miss(Claim { key, outputs, session, store, remote }))
                    }
                    Some(other) => {
                        let owner = self.watch.living(&other);
                        if owner.is_none() {
                            gone.insert(other);
                        }
                        owner.map(Lookup::Taken)
                    }
                };
            }
        }
    }

    /// Output directories for a stage that is executed again although its result is there.
    ///
    /// # Errors
    ///
    /// If a staging directory cannot be made.
    pub fn trial(&mut self, key: &Key, outputs: &Arc<IndexMap<String, String>>) -> Result<Trial, CacheError> {
        let (session, store) = (self.session()?, self.store());
        let claim = Claim { key: key.clone(), outputs: outputs.clone(), session, store, remote: None };
        Ok(Trial(claim.ticket()?))
    }

    /// Sees to it that nobody collects what was found so far, for stages are to run on it. Returns false if
    /// somebody collected meanwhile: then everything must be looked up again.
    ///
    /// # Errors
    ///
    /// If a staging directory cannot be made.
    pub fn hold(&mut self) -> Result<bool, CacheError> {
        self.session()?;
        if self.ahead.is_some() {
            self.index()?;
        }
        let collections = self.store.holds.collections();
        let unchanged = self.index.as_ref().is_none_or(|index| index.collections == collections);
        if !unchanged {
            self.index = None;
        }
        Ok(unchanged)
    }

    pub(super) fn session(&mut self) -> Result<Arc<Session>, CacheError> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let session = Session::start(&self.directory.join("staging"))?;
        let relied_on = self.index.iter().flat_map(|index| &index.checked);
        let relied_on = relied_on.filter(|(_, usable)| **usable).map(|(artifact, _)| *artifact);
        self.store.holds.begin(session.place(), relied_on)?;
        Ok(self.session.insert(session).clone())
    }

    /// Who makes the result of a key now in another process. `None` if nobody does any more: then the
    /// result may be there.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn holder(&mut self, fingerprint: &Digest) -> Result<Option<Owner>, CacheError> {
        let session = rows::claim(&self.connection, fingerprint).map_err(|source| self.problem(source))?;
        let this = self.session.as_ref().map(|session| session.name());
        let owner = session.filter(|session| Some(session) != this.as_ref());
        let owner = owner.and_then(|session| self.watch.living(&session));
        if owner.is_none() {
            self.look_again(fingerprint)?;
        }
        Ok(owner)
    }

    /// Gives up the right to write the results of keys: their stages failed, were stopped or never started.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn release(&mut self, fingerprints: &[Digest]) -> Result<(), CacheError> {
        let Some(session) = self.session.as_ref().map(|session| session.name()) else { return Ok(()) };
        self.write(|connection| {
            fingerprints.iter().try_for_each(|fingerprint| rows::remove_claim(connection, fingerprint, &session))
        })
    }

    /// Reads the row of a fingerprint that has no usable result so far, and forgets what was found out
    /// about its artifacts: other processes may have made them.
    fn look_again(&mut self, fingerprint: &Digest) -> Result<(), CacheError> {
        if matches!(self.recorded(fingerprint)?, Recorded::Present(_)) {
            return Ok(());
        }
        let row = rows::result(&self.connection, fingerprint).map_err(|source| self.problem(source))?;
        self.take_row(fingerprint, row)
    }

    /// Takes over what the row of a fingerprint says now.
    fn take_row(&mut self, fingerprint: &Digest, row: Option<Finished>) -> Result<(), CacheError> {
        let index = self.index()?;
        match row {
            Some((outputs, cpu)) => {
                outputs.values().for_each(|artifact| {
                    index.checked.remove(artifact);
                });
                index.results.insert(*fingerprint, (outputs, cpu));
            }
            None => drop(index.results.remove(fingerprint)),
        }
        Ok(())
    }

    /// The result of a fingerprint, if all its artifacts are in the store as they were left.
    fn usable(&mut self, fingerprint: &Digest) -> Result<Option<Outputs>, CacheError> {
        if let Recorded::Present(found) = self.recorded(fingerprint)? {
            self.check(found.values().copied())?;
        }
        Ok(match self.recorded(fingerprint)? {
            Recorded::Present(found) => Some(found),
            Recorded::Broken { .. } | Recorded::Absent => None,
        })
    }
}
