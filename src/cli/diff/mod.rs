//! `runner diff`: what two arms, experiments, runs or stores have in common, and in what they differ.

mod told;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};
use told::Told;

use super::arguments::{Diff, Format};
use super::failure::{Exit, Failure};
use super::sides::{Side, Stage, side};
use super::workspace::Workspace;
use crate::artifact::Metrics;
use crate::cache::{Artifact, Cache};
use crate::console;
use crate::fingerprint::{DirtyReason, differences};
use crate::stage::Registry;

/// Compares two sides.
pub fn diff(arguments: &Diff, registry: &Registry) -> Result<Exit, Failure> {
    let second = match (&arguments.second, &arguments.against, arguments.with.is_empty()) {
        (Some(second), _, _) => second,
        (None, None, true) => {
            let message = "there is nothing to compare with";
            let hint =
                "name a second experiment, arm or run, another store with `--against`, or a change with `--with`";
            return Err(Failure::usage(message, Some(hint)));
        }
        (None, _, _) => &arguments.first,
    };
    let mut workspace = Workspace::new(&arguments.store.directory);
    workspace.existing_cache()?;
    let overrides = arguments.changes.overrides();
    let mut first = side(&arguments.first, &overrides, &mut workspace, registry)?;
    let mut changed = overrides.clone();
    changed.set.extend(arguments.with.iter().cloned());
    let mut other = None;
    let later_place = match &arguments.against {
        None => &mut workspace,
        Some(directory) => {
            let other = other.insert(Workspace::new(directory));
            other.existing_cache()?;
            other
        }
    };
    let mut later = side(second, &changed, later_place, registry)?;
    for with in &arguments.with {
        let _ = write!(later.title, " --set {with}");
    }
    if let Some(against) = &arguments.against {
        let _ = write!(first.title, " in {}", arguments.store.directory.display());
        let _ = write!(later.title, " in {}", against.display());
    }
    let matches = |path: &str| arguments.only.as_deref().is_none_or(|only| has_segments(path, only));
    first.stages.retain(|path, _| matches(path));
    later.stages.retain(|path, _| matches(path));
    let pairs = pairs(&first, &later);
    let results = {
        let first_cache = workspace.cache()?;
        // Both may be one store, which is read only from here on.
        let mut results = Vec::new();
        let later_cache = match &mut other {
            Some(other) => Some(other.cache()?),
            None => None,
        };
        let later_cache: &Cache = later_cache.as_deref().unwrap_or(first_cache);
        for pair in &pairs {
            results.extend(pair.results(first_cache, later_cache));
        }
        results
    };
    let told = Told { first: &first, later: &later, pairs: &pairs, results: &results, all: arguments.all };
    match arguments.format.format {
        Format::Text => console::print(&told.text()),
        Format::Json => console::print(&format!("{:#}\n", told.json())),
    }
    Ok(Exit::Done)
}

/// Whether the `/`-separated segments of `part` occur in `full` in their order.
fn has_segments(full: &str, part: &str) -> bool {
    let mut segments = full.split('/');
    part.split('/').all(|wanted| segments.any(|segment| segment == wanted))
}

/// A path that at least one side has.
struct Pair<'a> {
    path: &'a str,
    first: Option<&'a Stage>,
    later: Option<&'a Stage>,
    /// What the later key says differently, besides what is not known yet.
    reasons: Vec<DirtyReason>,
}

/// How the two stages of a path compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    OnlyFirst,
    OnlyLater,
    /// The same key, and the same result if both have one.
    Same,
    /// The same key, and another result.
    Diverged,
    /// Something of its own is different: kind, version, params, or which inputs it has.
    Own,
    /// Only what it reads is different.
    Reads,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::OnlyFirst => "only in A",
            State::OnlyLater => "only in B",
            State::Same => "same",
            State::Diverged => "diverged",
            State::Own => "changed",
            State::Reads => "reads other content",
        }
    }
}

/// The paths of both sides, in the order of the first, with what only the later has at the end.
fn pairs<'a>(first: &'a Side, later: &'a Side) -> Vec<Pair<'a>> {
    let paths: BTreeSet<&String> = first.stages.keys().collect();
    let rest = later.stages.keys().filter(|path| !paths.contains(path));
    let pair = |path: &'a String| {
        let (one, other) = (first.stages.get(path), later.stages.get(path));
        let mut reasons = match (one, other) {
            (Some(one), Some(other)) => differences(&one.key, &other.key),
            _ => Vec::new(),
        };
        // An input that is not known on one side is missing in its key.
        let pending = |slot: &String| {
            [one, other].into_iter().flatten().any(|stage| stage.pending.contains(slot))
                && [one, other].into_iter().flatten().all(|stage| stage.producers.contains_key(slot))
        };
        reasons.retain(|reason| match reason {
            DirtyReason::InputAdded { slot } | DirtyReason::InputRemoved { slot } => !pending(slot),
            _ => true,
        });
        Pair { path, first: one, later: other, reasons }
    };
    first.stages.keys().chain(rest).map(pair).collect()
}

impl Pair<'_> {
    fn state(&self) -> State {
        let (first, later) = match (self.first, self.later) {
            (Some(first), Some(later)) => (first, later),
            (_, None) => return State::OnlyFirst,
            (None, _) => return State::OnlyLater,
        };
        let is_read = |reason: &DirtyReason| matches!(reason, DirtyReason::InputChanged { .. });
        match (self.reasons.is_empty(), self.reasons.iter().all(is_read)) {
            (false, false) => State::Own,
            (false, true) => State::Reads,
            (true, _) if first.key != later.key || first.pending != later.pending => State::Reads,
            (true, _) => match (&first.outputs, &later.outputs) {
                (Some(one), Some(other)) if digests(one) != digests(other) => State::Diverged,
                _ => State::Same,
            },
        }
    }

    /// The reasons in words; of a changed input also who makes it.
    fn said(&self) -> Vec<String> {
        let producer = |slot: &String| {
            let of = |stage: Option<&Stage>| stage.and_then(|stage| stage.producers.get(slot)).cloned();
            match (of(self.first), of(self.later)) {
                (Some(one), Some(other)) if one != other => format!(" (`{one}` → `{other}`)"),
                (_, Some(one)) | (Some(one), _) => format!(" (`{one}`)"),
                (None, None) => String::new(),
            }
        };
        let say = |reason: &DirtyReason| match reason {
            DirtyReason::InputChanged { slot, .. }
            | DirtyReason::InputAdded { slot }
            | DirtyReason::InputRemoved { slot } => {
                format!("{reason}{}", producer(slot))
            }
            _ => reason.to_string(),
        };
        self.reasons.iter().map(say).collect()
    }

    /// What the outputs of both say differently of themselves.
    fn results(&self, first: &Cache, later: &Cache) -> Vec<Compared> {
        let (Some(one), Some(other)) = (self.first, self.later) else { return Vec::new() };
        let (Some(ours), Some(theirs)) = (&one.outputs, &other.outputs) else { return Vec::new() };
        let both = ours.iter().filter_map(|(slot, artifact)| Some((slot, artifact, theirs.get(slot)?)));
        let differing = both.filter(|(_, artifact, also)| artifact.digest != also.digest);
        let compared = |(slot, artifact, also): (&String, &Artifact, &Artifact)| Compared {
            path: self.path.to_string(),
            slot: slot.clone(),
            kind: artifact.kind.clone(),
            values: values(&numbers(first, artifact), &numbers(later, also)),
            digests: [artifact.digest.to_string(), also.digest.to_string()],
        };
        differing.map(compared).collect()
    }
}

fn digests(outputs: &std::collections::BTreeMap<String, Artifact>) -> Vec<(&String, String)> {
    outputs.iter().map(|(slot, artifact)| (slot, artifact.digest.to_string())).collect()
}

/// An output that differs.
struct Compared {
    path: String,
    slot: String,
    kind: String,
    /// What both say of themselves where they differ: name → both values.
    values: IndexMap<String, [Option<Json>; 2]>,
    digests: [String; 2],
}

/// What an artifact says of itself: its summary, and of metrics every benchmark.
fn numbers(cache: &Cache, artifact: &Artifact) -> Map<String, Json> {
    let mut numbers = cache.summary(&artifact.digest).unwrap_or_default();
    if artifact.kind == "metrics"
        && let Ok(metrics) = Metrics::read(&cache.path(&artifact.digest))
    {
        numbers.extend(metrics.benchmarks.into_iter().map(|(name, benchmark)| (name, json!(benchmark.value))));
    }
    numbers
}

fn values(first: &Map<String, Json>, later: &Map<String, Json>) -> IndexMap<String, [Option<Json>; 2]> {
    let names: Vec<&String> = first.keys().chain(later.keys().filter(|name| !first.contains_key(*name))).collect();
    let value = |name: &String| (name.clone(), [first.get(name).cloned(), later.get(name).cloned()]);
    names.into_iter().map(value).filter(|(_, [one, other])| one != other).collect()
}
