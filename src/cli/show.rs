//! `runner ls` and `runner show`: what is in the work directory and where it comes from.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{Format, Ls, Show};
use super::failure::{Exit, Failure};
use super::workspace::Workspace;
use crate::cache::{Artifact, Cache, Entry, Found, Provenance};
use crate::console;
use crate::text::{bytes, count, duration, ticked_list, timestamp};

/// Lists finished stages.
pub fn ls(arguments: &Ls) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    let entries = workspace.existing_cache()?.entries()?;
    let wanted = |entry: &Entry| {
        let Provenance { kind, name, experiment, .. } = &entry.provenance;
        let matches = |filter: &String| filter == kind || filter == experiment || has_segments(name, filter);
        arguments.filter.as_ref().is_none_or(matches)
    };
    let entries: Vec<Entry> = entries.into_iter().filter(wanted).collect();
    if arguments.format.format == Format::Json {
        console::print(&format!("{:#}\n", json!(entries)));
        return Ok(Exit::Done);
    }
    let rows: Vec<[String; 6]> = entries.iter().map(row).collect();
    let head = ["result", "kind", "stage", "finished", "took", "size"].map(str::to_string);
    console::print(&columns(&head, &rows));
    console::note(&count(rows.len(), "result"));
    Ok(Exit::Done)
}

fn row(entry: &Entry) -> [String; 6] {
    let provenance = &entry.provenance;
    let size = entry.outputs.values().map(|artifact| artifact.bytes).sum();
    [
        entry.fingerprint.short(),
        provenance.kind.clone(),
        format!("{}: {}", provenance.experiment, provenance.name),
        timestamp(provenance.started + provenance.wall),
        duration(provenance.wall),
        bytes(size),
    ]
}

/// Lines with columns as wide as their widest cell; numbers are at the right.
pub fn columns<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> String {
    let width = |cell: &String| ::console::measure_text_width(cell);
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().chain([head]).map(|row| width(&row[column])).max().unwrap_or(0));
    let is_blank = |cell: &str| ["", "–"].contains(&cell);
    let is_number = |cell: &str| is_blank(cell) || cell.parse::<f64>().is_ok();
    let numbers: [bool; N] = std::array::from_fn(|column| {
        rows.iter().all(|row| is_number(&row[column])) && !rows.iter().all(|row| is_blank(&row[column]))
    });
    let mut text = String::new();
    for row in [head].into_iter().chain(rows) {
        let cells = (0..N).map(|column| {
            let (cell, space) = (&row[column], " ".repeat(widths[column] - width(&row[column])));
            if numbers[column] { space + cell } else { format!("{cell}{space}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Shows a result or an artifact.
pub fn show(arguments: &Show) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    let cache = workspace.existing_cache()?;
    let found = match find(cache, &arguments.what)?.as_slice() {
        [found] => found.clone(),
        [] => {
            let message = format!("nothing is called `{}` in the work directory", arguments.what);
            return Err(Failure::usage(message, Some("`runner ls` lists what there is")));
        }
        several => {
            let candidates = several.iter().take(8).map(|found| match found {
                Found::Entry(entry) => format!("{} {}", entry.fingerprint.short(), entry.provenance.name),
                Found::Artifact(artifact, _) => format!("{} {}", artifact.digest.short(), artifact.kind),
            });
            let message = format!("`{}` could be {}", arguments.what, ticked_list(candidates));
            return Err(Failure::usage(message, Some("name more of it, or the digest")));
        }
    };
    let text = match (&found, arguments.format.format) {
        (Found::Entry(entry), Format::Text) => entry_text(cache, entry)?,
        (Found::Entry(entry), Format::Json) => format!("{:#}\n", json!(entry)),
        (Found::Artifact(artifact, producers), Format::Text) => artifact_text(cache, artifact, producers)?,
        (Found::Artifact(artifact, producers), Format::Json) => {
            let summary = cache.summary(&artifact.digest)?;
            format!("{:#}\n", json!({"artifact": artifact, "summary": summary, "made_by": producers}))
        }
    };
    console::print(&text);
    Ok(Exit::Done)
}

/// What starts with these digits, else the latest result of each stage of this name.
fn find(cache: &Cache, what: &str) -> Result<Vec<Found>, Failure> {
    let found = cache.find(what)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let mut latest: Vec<Entry> = Vec::new();
    for entry in cache.entries()?.into_iter().rev() {
        let name = |entry: &Entry| (entry.provenance.experiment.clone(), entry.provenance.name.clone());
        if has_segments(&entry.provenance.name, what) && latest.iter().all(|later| name(later) != name(&entry)) {
            latest.push(entry);
        }
    }
    Ok(latest.into_iter().map(Found::Entry).collect())
}

/// Whether the `/`-separated segments of `part` occur in `full` in their order.
fn has_segments(full: &str, part: &str) -> bool {
    let mut segments = full.split('/');
    part.split('/').all(|wanted| segments.any(|segment| segment == wanted))
}

fn entry_text(cache: &Cache, entry: &Entry) -> Result<String, Failure> {
    let provenance = &entry.provenance;
    let memory = provenance.memory.map_or("unknown".to_string(), bytes);
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<12}{value}\n"));
    line("stage", &provenance.name);
    line("kind", &provenance.kind);
    line("experiment", &provenance.experiment);
    line("result", &entry.fingerprint.to_string());
    line("finished", &timestamp(provenance.started + provenance.wall));
    line("took", &format!("{}, {} of processor time", duration(provenance.wall), duration(provenance.cpu)));
    line("memory", &format!("{memory} at most"));
    line("device", &provenance.device.to_string());
    line("host", &provenance.origin.host);
    line("git commit", provenance.origin.git_commit.as_deref().unwrap_or("none"));
    line("runner", &provenance.origin.runner);
    let log = cache.log(&entry.fingerprint);
    if log.is_file() {
        line("log", &log.display().to_string());
    }
    let key: Value = serde_json::from_str(&entry.key).unwrap_or_default();
    for section in ["params", "inputs"] {
        let _ = writeln!(text, "\n{section}");
        for (name, value) in key[section].as_object().into_iter().flatten() {
            let _ = writeln!(text, "  {name}: {}", value.as_str().map_or(value.to_string(), str::to_string));
        }
    }
    for (slot, artifact) in &entry.outputs {
        let _ = writeln!(text, "\noutput {slot}");
        describe(cache, artifact, &mut text)?;
    }
    Ok(text)
}

fn artifact_text(cache: &Cache, artifact: &Artifact, producers: &[Entry]) -> Result<String, Failure> {
    let mut text = format!("artifact {}\n", artifact.digest);
    describe(cache, artifact, &mut text)?;
    for producer in producers {
        let Provenance { name, experiment, .. } = &producer.provenance;
        let _ = writeln!(text, "  made by {experiment}: {name} ({})", producer.fingerprint.short());
    }
    text.push('\n');
    for (name, file) in &cache.manifest(&artifact.digest)?.files {
        let _ = writeln!(text, "  {} {:>10}  {name}", file.digest.short(), bytes(file.size));
    }
    Ok(text)
}

fn describe(cache: &Cache, artifact: &Artifact, text: &mut String) -> Result<(), Failure> {
    let _ = writeln!(text, "  {} {}, {}", artifact.kind, artifact.digest.short(), bytes(artifact.bytes));
    let _ = writeln!(text, "  {}", cache.path(&artifact.digest).display());
    for (name, value) in cache.summary(&artifact.digest)? {
        let _ = writeln!(text, "  {name}: {}", value.as_str().map_or(value.to_string(), str::to_string));
    }
    Ok(())
}
