//! `runner verify`: whether the store is as it was left.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::arguments::{Format, Verify};
use super::failure::{Exit, Failure};
use super::many;
use super::rerun;
use super::used::used;
use super::workspace::Workspace;
use crate::cache::{Entry, Fault, Flaw, Provenance, Verification};
use crate::console::{self, Gauge};
use crate::digest::Digest;
use crate::stage::Registry;
use crate::text::{bytes, count, duration};

/// So many of a kind are listed for people.
const MOST: usize = 20;

/// Hashes the store, or has stages executed again.
pub fn verify(arguments: &Verify, registry: &Registry) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    workspace.existing_cache()?;
    if arguments.rerun {
        return rerun::rerun(arguments, &mut workspace, registry);
    }
    let only = match arguments.experiments.as_slice() {
        [] => None,
        experiments => {
            let used = used(&many::files(experiments)?, &arguments.changes.overrides(), &mut workspace, registry)?;
            Some(used.into_iter().flat_map(|used| used.results).collect::<HashSet<Digest>>())
        }
    };
    let since = Instant::now();
    let found = {
        let gauge = Gauge::bytes("hashing");
        workspace.cache()?.verify(only.as_ref(), &|done, total| gauge.set(done, total))?
    };
    let told = Told { found: &found, results: only.map(|only| only.len()), seconds: since.elapsed().as_secs_f64() };
    match arguments.format.format {
        Format::Text => console::print(&told.text(workspace.directory())),
        Format::Json => console::print(&format!("{:#}\n", told.json())),
    }
    Ok(if found.faults.is_empty() { Exit::Done } else { Exit::Failed })
}

/// All that is said of a verification.
struct Told<'a> {
    found: &'a Verification,
    /// How many results were looked at, if not all.
    results: Option<usize>,
    seconds: f64,
}

impl Told<'_> {
    fn rate(&self) -> u64 {
        (self.found.bytes as f64 / self.seconds.max(1e-3)) as u64
    }

    fn counts(&self) -> [(usize, &'static str); 3] {
        let number = |which: fn(&Flaw) -> bool| self.found.faults.iter().filter(|fault| which(&fault.flaw)).count();
        [
            (number(|flaw| matches!(flaw, Flaw::Damaged { .. })), "damaged"),
            (number(|flaw| matches!(flaw, Flaw::Missing)), "missing"),
            (number(|flaw| matches!(flaw, Flaw::Unreadable { .. })), "unreadable"),
        ]
    }

    fn text(&self, work: &Path) -> String {
        let found = self.found;
        let mut text = String::new();
        for fault in &found.faults {
            text.push_str(&described(fault));
        }
        if found.mended {
            text.push_str(
                "the database was damaged: it was made again from the journal; the old one is in `damaged/`\n",
            );
        }
        if found.journaled > 0 {
            let lacked = count(found.journaled, "result");
            let _ = writeln!(text, "the journal lacked {lacked}: written there now");
        }
        if !found.orphans.is_empty() {
            let size = found.orphans.iter().map(|(_, size)| size).sum();
            let orphans = count(found.orphans.len(), "artifact");
            let _ = writeln!(
                text,
                "{orphans} ({}) that no result names; `runner gc` takes away what is older than an hour",
                bytes(size)
            );
        }
        for path in found.strays.iter().take(MOST) {
            let _ = writeln!(text, "`{}` is no artifact, and nothing of this program", path.display());
        }
        if !found.leftovers.is_empty() {
            let size = found.leftovers.iter().map(|leftover| leftover.bytes).sum();
            let dead = count(found.leftovers.len(), "run");
            let _ = writeln!(text, "{} in `staging/`, left by {dead} that died; the next run sweeps it", bytes(size));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let of = self.results.map_or(String::new(), |results| format!(" of {}", count(results, "result")));
        let _ = writeln!(
            text,
            "{}: {}{of}, {}, {} in {} ({}/s)",
            work.display(),
            count(found.artifacts, "artifact"),
            count(found.files, "file"),
            bytes(found.bytes),
            duration(self.seconds),
            bytes(self.rate())
        );
        let wrong: Vec<String> = self.counts().iter().filter(|(number, _)| *number > 0).map(said).collect();
        match wrong.is_empty() {
            true => text.push_str("every byte is as it was left\n"),
            false => {
                let _ = writeln!(
                    text,
                    "{}; the next `runner exec` that needs one of them makes it again",
                    wrong.join(", ")
                );
            }
        }
        text
    }

    fn json(&self) -> Json {
        let found = self.found;
        let made_by = |entry: &Entry| {
            let Provenance { kind, name, experiment, .. } = &entry.provenance;
            json!({"result": entry.fingerprint, "kind": kind, "stage": name, "experiment": experiment})
        };
        let fault = |fault: &Fault| {
            let (word, more) = match &fault.flaw {
                Flaw::Missing => ("missing", json!({})),
                Flaw::Damaged { how, aside } => ("damaged", json!({"how": how, "aside": aside})),
                Flaw::Unreadable { why } => ("unreadable", json!({"why": why})),
            };
            let made_by: Vec<Json> = fault.made_by.iter().map(made_by).collect();
            json!({"artifact": fault.artifact, "flaw": word, "details": more, "made_by": made_by})
        };
        let orphan = |(artifact, size): &(Digest, u64)| json!({"artifact": artifact, "bytes": size});
        json!({
            "artifacts": found.artifacts, "files": found.files, "bytes": found.bytes, "seconds": self.seconds,
            "bytes_per_second": self.rate(), "results": self.results,
            "faults": found.faults.iter().map(fault).collect::<Vec<_>>(),
            "orphans": found.orphans.iter().map(orphan).collect::<Vec<_>>(),
            "strays": found.strays, "journaled": found.journaled, "database_mended": found.mended,
            "leftovers": found.leftovers.iter().map(|leftover| json!({"path": leftover.path, "bytes": leftover.bytes}))
                .collect::<Vec<_>>(),
        })
    }
}

fn said((number, word): &(usize, &str)) -> String {
    format!("{number} {word}")
}

/// An artifact that cannot be used, in a few lines.
fn described(fault: &Fault) -> String {
    let (word, how) = match &fault.flaw {
        Flaw::Missing => ("missing", "it is not in the store".to_string()),
        Flaw::Damaged { how, aside } => ("damaged", format!("{how}; set aside as `{}`", aside.display())),
        Flaw::Unreadable { why } => ("unreadable", format!("{why}; left where it is")),
    };
    let outputs = fault.made_by.iter().flat_map(|entry| entry.outputs.values());
    let kind = outputs.filter(|artifact| artifact.digest == fault.artifact).map(|artifact| &artifact.kind).next();
    let kind = kind.map_or(String::new(), |kind| format!(", {kind}"));
    let mut text = format!("{word:<10} {}{kind}\n             {how}\n", fault.artifact.short());
    for entry in fault.made_by.iter().take(MOST) {
        let Provenance { name, experiment, .. } = &entry.provenance;
        let _ = writeln!(text, "             made by {experiment}: {name}");
    }
    if fault.made_by.is_empty() {
        text.push_str("             no result names it\n");
    }
    text
}
