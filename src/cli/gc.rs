//! `runner gc`: what nothing keeps, and taking it away.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use super::arguments::{Format, Gc};
use super::failure::{Exit, Failure};
use super::many;
use super::records::{Record, records};
use super::runs::{Run, runs};
use super::show::columns;
use super::used::{Used, used};
use super::workspace::Workspace;
use crate::cache::{Collection, Entry, Keep, Provenance, Reason};
use crate::console;
use crate::digest::Digest;
use crate::stage::Registry;
use crate::text::{bytes, count, timestamp};

/// Where the experiments are if none are named.
const EXPERIMENTS: &str = "experiments";
/// So many results are listed for people.
const MOST: usize = 40;

/// Lists what would go, or takes it away.
pub fn gc(arguments: &Gc, registry: &Registry) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    workspace.existing_cache()?;
    let paths = match arguments.experiments.as_slice() {
        [] if Path::new(EXPERIMENTS).is_dir() => vec![PathBuf::from(EXPERIMENTS)],
        named => named.to_vec(),
    };
    let used = used(&many::files(&paths)?, &arguments.changes.overrides(), &mut workspace, registry)?;
    let named: Vec<Run> = runs(workspace.directory()).into_iter().filter(|run| run.name.is_some()).collect();
    let since = workspace.cache()?.time()? - arguments.keep_days * 86_400.0;
    let records: Vec<Record> =
        records(workspace.directory()).into_iter().filter(|record| is_old(record, since)).collect();
    let roots = Roots { paths: &paths, used: &used, named: &named, last: last(&used, &mut workspace)? };
    let keep = Keep { results: roots.results(), since };
    let cache = workspace.cache()?;
    let collection = match arguments.delete {
        true => cache.collect(&keep)?,
        false => cache.collectable(&keep)?,
    };
    if arguments.delete {
        for record in &records {
            fs::remove_dir_all(&record.directory)
                .with_context(|| format!("cannot remove `{}`", record.directory.display()))?;
        }
    }
    let told = Told { arguments, roots: &roots, collection: &collection, records: &records };
    match arguments.format.format {
        Format::Text => console::print(&told.text()),
        Format::Json => console::print(&format!("{:#}\n", told.json())),
    }
    if !arguments.delete && !told.is_nothing() && arguments.format.format == Format::Text {
        console::note("nothing was deleted; with `--delete` it is");
    }
    Ok(Exit::Done)
}

/// Whether a run has no name and ended before `since`, in seconds since 1970.
fn is_old(record: &Record, since: f64) -> bool {
    let state = &record.state;
    state.name.is_none() && !record.alive && state.ended.unwrap_or(state.updated) < since
}

/// The last results of the stages that the experiments have now: those under other settings, such as
/// another suite, and those that cannot be found by their keys because data is not here.
fn last(used: &[Used], workspace: &mut Workspace) -> Result<HashSet<Digest>, Failure> {
    let mut results = HashSet::new();
    for Used { plan, .. } in used {
        let last = workspace.cache()?.last(&plan.experiment)?;
        let names = plan.order().flat_map(|stage| &plan[stage].names);
        results.extend(names.filter_map(|name| last.get(name)));
    }
    Ok(results)
}

/// What keeps results, besides their age.
struct Roots<'a> {
    paths: &'a [PathBuf],
    used: &'a [Used],
    named: &'a [Run],
    last: HashSet<Digest>,
}

impl Roots<'_> {
    fn planned(&self) -> impl Iterator<Item = Digest> + '_ {
        self.used.iter().flat_map(|used| used.results.iter().copied())
    }

    fn of_runs(&self) -> impl Iterator<Item = Digest> + '_ {
        self.named.iter().flat_map(|run| run.results.values()).flat_map(|stages| stages.values().copied())
    }

    fn results(&self) -> HashSet<Digest> {
        self.planned().chain(self.of_runs()).chain(self.last.iter().copied()).collect()
    }

    /// Why a result is not among them.
    fn why(&self, entry: &Entry) -> String {
        let Provenance { experiment, name, .. } = &entry.provenance;
        let Some(Used { plan, .. }) = self.used.iter().find(|used| used.plan.experiment == *experiment) else {
            return match self.used.is_empty() {
                true => "old".to_string(),
                false => format!("`{experiment}` is not among the experiments"),
            };
        };
        match plan.order().any(|stage| plan[stage].names.contains(name)) {
            true => "the stage has another key now".to_string(),
            false => format!("`{experiment}` has no such stage now"),
        }
    }
}

/// All that is said of a collection.
struct Told<'a> {
    arguments: &'a Gc,
    roots: &'a Roots<'a>,
    collection: &'a Collection,
    records: &'a [Record],
}

impl Told<'_> {
    fn is_nothing(&self) -> bool {
        self.collection.is_empty() && self.records.is_empty()
    }

    /// The bytes that go with each result: an artifact of several counts for the first.
    fn sizes(&self) -> Vec<u64> {
        let mut left: HashMap<Digest, u64> = self.collection.artifacts.clone();
        let size =
            |entry: &Entry| entry.outputs.values().filter_map(|artifact| left.remove(&artifact.digest)).sum::<u64>();
        self.collection.results.iter().map(size).collect()
    }

    fn text(&self) -> String {
        let collection = self.collection;
        let mut text = String::new();
        let mut rows: Vec<(u64, &Entry)> = self.sizes().into_iter().zip(&collection.results).collect();
        let name = |entry: &Entry| (entry.provenance.experiment.clone(), entry.provenance.name.clone());
        rows.sort_by_cached_key(|(size, entry)| (Reverse(*size), name(entry)));
        let row = |(size, entry): &(u64, &Entry)| {
            let Provenance { experiment, name, started, wall, .. } = &entry.provenance;
            let stage = format!("{experiment}: {name}");
            [entry.fingerprint.short(), bytes(*size), stage, timestamp(started + wall), self.roots.why(entry)]
        };
        if !rows.is_empty() {
            let shown: Vec<[String; 5]> = rows.iter().take(MOST).map(row).collect();
            let head = ["result", "size", "stage", "finished", "why"].map(str::to_string);
            text.push_str(&columns(&head, &shown));
        }
        if rows.len() > MOST {
            let rest: u64 = rows[MOST..].iter().map(|(size, _)| size).sum();
            let _ = writeln!(text, "… and {} more ({})", rows.len() - MOST, bytes(rest));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        for (paths, what) in [(&collection.aside, "set aside as damaged"), (&collection.logs, "log")] {
            if !paths.is_empty() {
                let size = paths.iter().map(|(_, size)| size).sum();
                let what = if what == "log" { count(paths.len(), "log") } else { format!("{} {what}", paths.len()) };
                let _ = writeln!(text, "{what}, {}", bytes(size));
            }
        }
        if !collection.orphans.is_empty() {
            let size = collection.orphans.iter().map(|(_, size)| size).sum();
            let orphans = count(collection.orphans.len(), "artifact");
            let _ = writeln!(text, "{orphans} that no result names, {}", bytes(size));
        }
        if !self.records.is_empty() {
            let _ = writeln!(
                text,
                "{} without a name",
                match self.records.len() {
                    1 => "1 record of a run".to_string(),
                    many => format!("{many} records of runs"),
                }
            );
        }
        text.push_str(&self.kept());
        let done = if self.arguments.delete { "deleted" } else { "would delete" };
        let (results, artifacts) = (collection.results.len(), collection.artifacts.len() + collection.orphans.len());
        let sizes = || {
            let (results, artifacts) = (count(results, "result"), count(artifacts, "artifact"));
            format!("{results} and {artifacts}, {}", bytes(collection.bytes()))
        };
        let _ = match (collection.is_empty(), self.records.is_empty()) {
            (true, true) => writeln!(text, "nothing to delete"),
            (true, false) => writeln!(text, "{done} records only"),
            (false, _) => writeln!(text, "{done} {}", sizes()),
        };
        text
    }

    /// How many results stay, and what for.
    fn kept(&self) -> String {
        let kept = &self.collection.kept;
        let mut text = format!("{} stay, {}\n", count(kept.len(), "result"), bytes(self.collection.kept_bytes));
        for (number, what) in self.reasons() {
            let _ = writeln!(text, "  {number:>6} {what}");
        }
        for (path, used) in self.missing() {
            let _ = writeln!(
                text,
                "note: `{}` is not here; what {used} made of it stays only if it is the last of its stage, or young",
                path.display()
            );
        }
        text
    }

    fn reasons(&self) -> Vec<(usize, String)> {
        let kept = &self.collection.kept;
        let number = |of: HashSet<Digest>| of.iter().filter(|result| kept.contains_key(*result)).count();
        let planned: HashSet<Digest> = self.roots.planned().collect();
        let last: HashSet<Digest> = self.roots.last.difference(&planned).copied().collect();
        let paths: Vec<String> = self.roots.paths.iter().map(|path| format!("`{}`", path.display())).collect();
        let mut runs: BTreeMap<&str, HashSet<Digest>> = BTreeMap::new();
        for run in self.roots.named {
            let results = run.results.values().flat_map(|stages| stages.values().copied());
            runs.entry(run.name.as_deref().unwrap_or_default()).or_default().extend(results);
        }
        let by = |reason: Reason| kept.values().filter(|found| **found == reason).count();
        let mut reasons = vec![
            (number(planned), format!("that {} uses", paths.join(", "))),
            (number(last), "that its stages came to last, under other settings".to_string()),
        ];
        reasons.extend(runs.into_iter().map(|(name, results)| (number(results), format!("of the run `{name}`"))));
        reasons.extend([
            (by(Reason::InUse), "that stages use now".to_string()),
            (by(Reason::Young), format!("more, younger than {} days", self.arguments.keep_days)),
            (by(Reason::Producer), "more, which made what these read".to_string()),
        ]);
        reasons.retain(|(number, _)| *number > 0);
        reasons
    }

    /// What experiments name and is not here, with the experiments.
    fn missing(&self) -> BTreeMap<&PathBuf, String> {
        let mut missing: BTreeMap<&PathBuf, Vec<String>> = BTreeMap::new();
        for used in self.roots.used {
            used.missing.keys().for_each(|path| {
                missing.entry(path).or_default().push(format!("`{}`", used.file.display()));
            });
        }
        missing.into_iter().map(|(path, users)| (path, users.join(", "))).collect()
    }

    fn json(&self) -> Json {
        let collection = self.collection;
        let result = |(size, entry): (u64, &Entry)| {
            let Provenance { kind, experiment, name, started, wall, .. } = &entry.provenance;
            json!({
                "result": entry.fingerprint, "kind": kind, "experiment": experiment, "stage": name,
                "finished": started + wall, "bytes": size, "why": self.roots.why(entry),
            })
        };
        let path = |(path, size): &(PathBuf, u64)| json!({"path": path, "bytes": size});
        let orphan = |(artifact, size): &(Digest, u64)| json!({"artifact": artifact, "bytes": size});
        let reason = |(number, what): (usize, String)| json!({"results": number, "what": what});
        json!({
            "deleted": self.arguments.delete, "bytes": collection.bytes(),
            "results": self.sizes().into_iter().zip(&collection.results).map(result).collect::<Vec<_>>(),
            "orphans": collection.orphans.iter().map(orphan).collect::<Vec<_>>(),
            "aside": collection.aside.iter().map(path).collect::<Vec<_>>(),
            "runs": self.records.iter().map(|record| &record.state.id).collect::<Vec<_>>(),
            "logs": collection.logs.iter().map(path).collect::<Vec<_>>(),
            "kept": {
                "results": collection.kept.len(), "bytes": collection.kept_bytes,
                "reasons": self.reasons().into_iter().map(reason).collect::<Vec<_>>(),
            },
        })
    }
}
