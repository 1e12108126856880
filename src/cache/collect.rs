//! Taking away what nothing keeps.
//!
//! First the rows go, in one transaction that also strikes them from the journal; then their artifacts
//! leave the store, each by one rename; then files are removed. So a crash at any point leaves no row
//! without its files: at worst artifacts that no row names, which the next collection takes, or what lies in
//! the staging directory of a dead process, which the next run sweeps.
//!
//! What living processes use stays, with the results that it belongs to (`holds.rs`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;

use super::entry::Entry;
use super::error::{CacheError, at};
use super::fault::{Point, reach};
use super::verify::size;
use super::{Cache, JOURNAL, holds, journal, rows};
use crate::digest::Digest;

/// An artifact that no row names may be one that is just being brought here.
const GRACE: Duration = Duration::from_secs(3600);

/// What is to stay.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// Results, by their fingerprints.
    pub results: HashSet<Digest>,
    /// Whatever is from later than this, in seconds since 1970.
    pub since: f64,
}

/// Why a result stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It is one of [`Keep::results`].
    Wanted,
    /// It is young.
    Young,
    /// A living process uses it.
    InUse,
    /// One that stays was made of it, and is found by way of it.
    Producer,
}

/// What goes and what stays.
#[derive(Debug, Default)]
pub struct Collection {
    /// The results that go, oldest first.
    pub results: Vec<Entry>,
    /// The artifacts that go with them, with their size in bytes.
    pub artifacts: HashMap<Digest, u64>,
    /// Artifacts that no row named before, with their size in bytes.
    pub orphans: Vec<(Digest, u64)>,
    /// What was set aside as damaged, or did not come from a remote as a whole, with its size.
    pub aside: Vec<(PathBuf, u64)>,
    /// Logs of results that are not there any more, with their size.
    pub logs: Vec<(PathBuf, u64)>,
    /// The results that stay, with the first reason of each.
    pub kept: HashMap<Digest, Reason>,
    /// The size of their artifacts.
    pub kept_bytes: u64,
}

impl Collection {
    /// The bytes that all that goes takes.
    pub fn bytes(&self) -> u64 {
        let paths = self.aside.iter().chain(&self.logs).map(|(_, size)| size);
        let orphans = self.orphans.iter().map(|(_, size)| size);
        self.artifacts.values().chain(orphans).chain(paths).sum()
    }

    /// Whether nothing goes.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty() && self.orphans.is_empty() && self.aside.is_empty() && self.logs.is_empty()
    }
}

/// What living processes have.
#[derive(Default)]
struct InUse {
    artifacts: HashSet<Digest>,
    /// The fingerprints of the stages that they run.
    claimed: HashSet<Digest>,
}

/// Whether nothing has changed at a path for a while.
fn is_idle(path: &Path, now: f64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| now - found.ctime() as f64 > GRACE.as_secs_f64())
}

/// Why each result stays that does.
fn kept(entries: &[Entry], keep: &Keep, in_use: &InUse) -> HashMap<Digest, Reason> {
    let mut makers: HashMap<Digest, Vec<usize>> = HashMap::new();
    for (place, entry) in entries.iter().enumerate() {
        entry.outputs.values().for_each(|artifact| makers.entry(artifact.digest).or_default().push(place));
    }
    let root = |entry: &Entry| {
        let used = || entry.outputs.values().any(|artifact| in_use.artifacts.contains(&artifact.digest));
        let finished = entry.provenance.started + entry.provenance.wall;
        match () {
            () if keep.results.contains(&entry.fingerprint) => Some(Reason::Wanted),
            () if in_use.claimed.contains(&entry.fingerprint) || used() => Some(Reason::InUse),
            () if finished > keep.since => Some(Reason::Young),
            () => None,
        }
    };
    let mut kept = HashMap::new();
    let mut waiting = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        if let Some(reason) = root(entry) {
            kept.insert(entry.fingerprint, reason);
            waiting.push(place);
        }
    }
    // A result is found by the digests of its inputs, so what made those must stay.
    while let Some(place) = waiting.pop() {
        for input in entries[place].inputs().values() {
            for maker in makers.get(input).into_iter().flatten() {
                let fingerprint = entries[*maker].fingerprint;
                if let std::collections::hash_map::Entry::Vacant(vacant) = kept.entry(fingerprint) {
                    vacant.insert(Reason::Producer);
                    waiting.push(*maker);
                }
            }
        }
    }
    kept
}

impl Cache {
    /// What [`Cache::collect`] would take away now. Changes nothing.
    ///
    /// # Errors
    ///
    /// If the database fails or a directory cannot be listed.
    pub fn collectable(&mut self, keep: &Keep) -> Result<Collection, CacheError> {
        let in_use = self.in_use()?;
        let entries = self.entries()?;
        let mut collection = divided(entries, keep, &in_use);
        let gone: HashSet<Digest> = collection.results.iter().map(|entry| entry.fingerprint).collect();
        let now = self.time()?;
        let mut orphans = self.orphans()?;
        orphans.retain(|(artifact, _)| is_idle(&self.store.path(artifact), now));
        collection.orphans = orphans;
        self.collect_paths(keep, &gone, &mut collection)?;
        Ok(collection)
    }

    /// Takes away all results, artifacts and logs that nothing keeps, and tells which.
    ///
    /// # Errors
    ///
    /// If the database fails or something cannot be moved or removed. What was to go and is still there goes
    /// the next time.
    pub fn collect(&mut self, keep: &Keep) -> Result<Collection, CacheError> {
        // What leaves the store goes through the directory of a session: should this process die, it is
        // swept. The session comes first, for none can begin while somebody collects.
        let trash = self.session()?.directory()?;
        let collecting = self.store.holds.collect()?;
        let in_use = self.in_use()?;
        let journal = self.directory.join(JOURNAL);
        let durable = |cache: &Cache, level: &str| {
            cache.connection.pragma_update(None, "synchronous", level).map_err(|source| cache.problem(source))
        };
        // The rows must be gone for good before a file is: not even a power failure may bring them back.
        durable(self, "full")?;
        let mut collection = self.write(|connection| {
            let collection = divided(rows::entries(connection, None)?, keep, &in_use);
            let gone: Vec<Digest> = collection.results.iter().map(|entry| entry.fingerprint).collect();
            if !gone.is_empty() {
                gone.iter().try_for_each(|fingerprint| rows::remove_entry(connection, fingerprint))?;
                rows::remove_unnamed(connection)?;
                journal::strike(&journal, &gone)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            }
            reach(Point::Struck);
            Ok(collection)
        })?;
        reach(Point::Unrowed);
        durable(self, "normal")?;
        (self.index, self.ahead) = (None, None);
        let now = self.time()?;
        for (artifact, bytes) in self.orphans()? {
            let known = collection.artifacts.contains_key(&artifact);
            if !known && !is_idle(&self.store.path(&artifact), now) {
                continue;
            }
            withdraw(&self.store.path(&artifact), &trash.join(artifact.hex()))?;
            reach(Point::Withdrawn);
            if !known {
                collection.orphans.push((artifact, bytes));
            }
        }
        drop(collecting);
        let gone: HashSet<Digest> = collection.results.iter().map(|entry| entry.fingerprint).collect();
        self.collect_paths(keep, &gone, &mut collection)?;
        let paths = collection.aside.iter().chain(&collection.logs).map(|(path, _)| path.clone());
        let withdrawn = fs::read_dir(&trash).map_err(at("list", &trash))?.filter_map(Result::ok);
        let paths: Vec<PathBuf> = paths.chain(withdrawn.map(|entry| entry.path())).collect();
        paths.par_iter().try_for_each(|path| remove(path))?;
        reach(Point::Removed);
        Ok(collection)
    }

    /// What living processes have, this one's session included.
    fn in_use(&mut self) -> Result<InUse, CacheError> {
        let staging = self.directory.join("staging");
        let artifacts = holds::held(&staging, &mut self.watch).map_err(at("list", &staging))?;
        let claims = rows::claims(&self.connection).map_err(|source| self.problem(source))?;
        let living = claims.into_iter().filter(|(_, session)| self.watch.living(session).is_some());
        let claimed = living.map(|(fingerprint, _)| fingerprint).collect();
        Ok(InUse { artifacts, claimed })
    }

    /// Finds old things that were set aside, and logs of results that go or are not there.
    fn collect_paths(
        &self,
        keep: &Keep,
        gone: &HashSet<Digest>,
        collection: &mut Collection,
    ) -> Result<(), CacheError> {
        let old = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| (found.ctime() as f64) < keep.since);
        for path in listed(&self.directory.join("damaged"))?.into_iter().filter(|path| old(path)) {
            collection.aside.push((path.clone(), size(&path)));
        }
        let now = self.time()?;
        for path in listed(&self.directory.join("partial"))?.into_iter().filter(|path| old(path) && is_idle(path, now))
        {
            collection.aside.push((path.clone(), size(&path)));
        }
        for path in listed(&self.directory.join("logs"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let hex = name.split('.').next().unwrap_or_default();
            let Ok(fingerprint) = format!("b3:{hex}").parse::<Digest>() else { continue };
            let stays = collection.kept.contains_key(&fingerprint);
            if gone.contains(&fingerprint) || (!stays && old(&path)) {
                collection.logs.push((path.clone(), size(&path)));
            }
        }
        Ok(())
    }
}

/// What goes and what stays of these results, with their artifacts.
fn divided(entries: Vec<Entry>, keep: &Keep, in_use: &InUse) -> Collection {
    let kept = kept(&entries, keep, in_use);
    let (stay, results): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| kept.contains_key(&entry.fingerprint));
    let artifacts = |entries: &[Entry]| -> HashMap<Digest, u64> {
        let all = entries.iter().flat_map(|entry| entry.outputs.values());
        all.map(|artifact| (artifact.digest, artifact.bytes)).collect()
    };
    let stays = artifacts(&stay);
    let mut goes = artifacts(&results);
    goes.retain(|artifact, _| !stays.contains_key(artifact) && !in_use.artifacts.contains(artifact));
    let kept_bytes = stays.values().sum();
    Collection { results, artifacts: goes, kept, kept_bytes, ..Collection::default() }
}

/// What is in a directory, if there is one.
fn listed(directory: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at("list", directory))?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>();
    let mut paths = paths.map_err(at("list", directory))?;
    paths.sort();
    Ok(paths)
}

fn withdraw(place: &Path, trash: &Path) -> Result<(), CacheError> {
    match fs::rename(place, trash) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.map_err(at("take out of the store", place)),
    }
}

fn remove(path: &Path) -> Result<(), CacheError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(at("remove", path)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Map;

    use super::*;
    use crate::cache::{Artifact, Origin, Provenance};
    use crate::devices::Device;
    use crate::fingerprint::Key;

    /// A result that was finished at `day`, made of the artifacts called `inputs`, with one called `made`.
    fn entry(name: &str, day: f64, inputs: &[&str], made: &str) -> Entry {
        let inputs = inputs.iter().map(|input| (input.to_string(), Digest::of(input.as_bytes()))).collect();
        let key = Key::new(name, 1, &Map::new(), &inputs);
        let origin = Origin { host: "here".into(), git_commit: None, runner: "0".into() };
        let provenance = Provenance {
            kind: "toy".into(),
            name: name.into(),
            experiment: "toys".into(),
            started: day * 86_400.0,
            wall: 0.0,
            cpu: 0.0,
            memory: None,
            device: Device::Cpu,
            origin,
        };
        let artifact = Artifact { digest: Digest::of(made.as_bytes()), kind: "toy".into(), bytes: 1 };
        let outputs = BTreeMap::from([("out".to_string(), artifact)]);
        Entry { fingerprint: key.fingerprint, key: key.text, outputs, provenance }
    }

    /// data → pick → train, a second training of the same samples, and one alone.
    fn entries() -> Vec<Entry> {
        vec![
            entry("data", 1.0, &[], "pool"),
            entry("pick", 2.0, &["pool"], "subset"),
            entry("same", 2.0, &[], "subset"),
            entry("train", 3.0, &["subset"], "model"),
            entry("again", 4.0, &["subset"], "model 2"),
            entry("alone", 5.0, &[], "nothing"),
        ]
    }

    fn names(keep: &Keep, in_use: &InUse) -> Vec<String> {
        let entries = entries();
        let kept = kept(&entries, keep, in_use);
        let name = |entry: &Entry| Some(format!("{} {:?}", entry.provenance.name, kept.get(&entry.fingerprint)?));
        entries.iter().filter_map(name).collect()
    }

    fn wanted(name: &str) -> Keep {
        let entries = entries();
        let entry = entries.iter().find(|entry| entry.provenance.name == name).unwrap();
        Keep { results: HashSet::from([entry.fingerprint]), since: f64::INFINITY }
    }

    #[test]
    fn a_result_stays_with_everything_that_it_is_found_by() {
        // Who made the subset cannot be told from the model, so both do stay.
        let found = names(&wanted("train"), &InUse::default());
        assert_eq!(found, ["data Producer", "pick Producer", "same Producer", "train Wanted"]);
        assert_eq!(names(&wanted("data"), &InUse::default()), ["data Wanted"]);
    }

    #[test]
    fn what_is_young_stays_however_it_came() {
        let keep = Keep { since: 3.5 * 86_400.0, ..Keep::default() };
        let found = names(&keep, &InUse::default());
        assert_eq!(found, ["data Producer", "pick Producer", "same Producer", "again Young", "alone Young"]);
    }

    #[test]
    fn what_a_living_process_uses_or_makes_stays() {
        let keep = Keep { since: f64::INFINITY, ..Keep::default() };
        let used = InUse { artifacts: HashSet::from([Digest::of(b"pool")]), ..InUse::default() };
        assert_eq!(names(&keep, &used), ["data InUse"]);
        let claimed = InUse { claimed: HashSet::from([entries()[5].fingerprint]), ..InUse::default() };
        assert_eq!(names(&keep, &claimed), ["alone InUse"]);
        assert_eq!(names(&keep, &InUse::default()), Vec::<String>::new());
    }

    #[test]
    fn an_artifact_stays_as_long_as_one_result_names_it() {
        let collection = divided(entries(), &wanted("same"), &InUse::default());
        let mut gone: Vec<&str> = collection.results.iter().map(|entry| entry.provenance.name.as_str()).collect();
        gone.sort_unstable();
        assert_eq!(gone, ["again", "alone", "data", "pick", "train"]);
        assert!(!collection.artifacts.contains_key(&Digest::of(b"subset")));
        assert_eq!((collection.artifacts.len(), collection.kept_bytes), (4, 1));
    }
}
