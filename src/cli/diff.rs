//! `runner diff`: what two arms, experiments, runs or stores have in common, and in what they differ.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use super::arguments::{Diff, Format};
use super::failure::{Exit, Failure};
use super::show::columns;
use super::sides::{Side, Stage, side};
use super::workspace::Workspace;
use crate::artifact::Metrics;
use crate::cache::{Artifact, Cache};
use crate::console;
use crate::fingerprint::{DirtyReason, differences};
use crate::stage::Registry;
use crate::text::count;

/// So many stages, or results, of a kind are listed for people.
const MOST: usize = 24;

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

/// All that is said of a comparison.
struct Told<'a> {
    first: &'a Side,
    later: &'a Side,
    pairs: &'a [Pair<'a>],
    results: &'a [Compared],
    all: bool,
}

impl Told<'_> {
    fn number(&self, state: State) -> usize {
        self.pairs.iter().filter(|pair| pair.state() == state).count()
    }

    fn most(&self) -> usize {
        if self.all { usize::MAX } else { MOST }
    }

    fn text(&self) -> String {
        let mut text = format!("A  {}\nB  {}\n\n", self.first.title, self.later.title);
        let alone = [State::OnlyFirst, State::OnlyLater].map(|state| self.number(state));
        let mut parts = vec![format!("{} the same", self.number(State::Same))];
        for (state, what) in [
            (State::Own, "with changes of their own"),
            (State::Reads, "that only read other content"),
            (State::Diverged, "with the same key and another result"),
        ] {
            if self.number(state) > 0 {
                parts.push(format!("{} {what}", self.number(state)));
            }
        }
        let shared = self.pairs.len() - alone[0] - alone[1];
        let _ = write!(text, "{} in both: {}", count(shared, "stage"), parts.join(", "));
        let _ = writeln!(text, "; {} only in A, {} only in B", alone[0], alone[1]);
        if shared == 0 && !self.pairs.is_empty() {
            text.push_str("no stage of A has the path of one of B: does one side need its arm, as in `FILE:ARM`?\n");
        }
        self.changes(State::Own, "changes of their own", &mut text);
        self.changes(State::Diverged, "the same key and another result", &mut text);
        self.paths(State::Reads, "only read other content", &mut text);
        self.paths(State::OnlyFirst, "only in A", &mut text);
        self.paths(State::OnlyLater, "only in B", &mut text);
        self.results(&mut text);
        text
    }

    /// Stages with the reasons of each; those with the same reasons together.
    fn changes(&self, state: State, title: &str, text: &mut String) {
        // Which content is read where is not part of what makes changes alike.
        let mut groups: IndexMap<Vec<String>, (Vec<&str>, Vec<String>)> = IndexMap::new();
        for pair in self.pairs.iter().filter(|pair| pair.state() == state) {
            let alike = |reason: &DirtyReason| match reason {
                DirtyReason::InputChanged { slot, .. } => format!("input {slot}"),
                other => other.to_string(),
            };
            let mut key: Vec<String> = pair.reasons.iter().map(alike).collect();
            key.push(last_segment(pair.path).to_string());
            groups.entry(key).or_insert_with(|| (Vec::new(), pair.said())).0.push(pair.path);
        }
        if groups.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{title}");
        for (paths, reasons) in groups.values().take(self.most()) {
            let more = match paths.len() {
                1 => String::new(),
                several => format!(" and {} more like it", several - 1),
            };
            let _ = writeln!(text, "  {}{more}", paths[0]);
            for reason in reasons {
                let _ = writeln!(text, "    {reason}");
            }
        }
        if groups.len() > self.most() {
            let _ = writeln!(text, "  … and {} more; `--all` shows them", groups.len() - self.most());
        }
    }

    /// How many stages of each name there are.
    fn paths(&self, state: State, title: &str, text: &mut String) {
        let mut groups: IndexMap<&str, Vec<&str>> = IndexMap::new();
        for pair in self.pairs.iter().filter(|pair| pair.state() == state) {
            groups.entry(last_segment(pair.path)).or_default().push(pair.path);
        }
        if groups.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{title}");
        for paths in groups.values() {
            match paths.as_slice() {
                paths if self.all => paths.iter().for_each(|path| {
                    let _ = writeln!(text, "  {path}");
                }),
                [one] => drop(writeln!(text, "  {one}")),
                [first, .., last] => drop(writeln!(text, "  {first} … {last}  ({})", paths.len())),
                [] => {}
            }
        }
    }

    /// The numbers that differ, side by side.
    fn results(&self, text: &mut String) {
        let average = |compared: &&Compared| compared.kind == "metrics" && compared.values.contains_key("average");
        let metrics: Vec<&Compared> = self.results.iter().filter(average).collect();
        let rows: Vec<[String; 4]> =
            metrics.iter().map(|compared| row(&compared.path, &compared.values["average"])).collect();
        let head = |title: &str| [title, "A", "B", "B − A"].map(str::to_string);
        if !rows.is_empty() {
            let shown = &rows[..rows.len().min(self.most())];
            let _ = write!(text, "\n{}", columns(&head("average over skills"), shown));
            if rows.len() > shown.len() {
                let _ = writeln!(text, "  … and {} more; `--all` shows them", rows.len() - shown.len());
            }
            if let Some(mean) = mean(&metrics) {
                let _ = writeln!(text, "  B − A is {mean:+.2} on average");
            }
        }
        // Of all benchmarks those of the last stage say most.
        let detailed = if self.all { &metrics[..] } else { &metrics[metrics.len().saturating_sub(1)..] };
        for compared in detailed {
            let benchmarks = compared.values.iter().filter(|(name, _)| *name != "average");
            let rows: Vec<[String; 4]> = benchmarks.map(|(name, values)| row(name, values)).collect();
            if !rows.is_empty() {
                let title = format!("benchmarks of {}", compared.path);
                let _ = write!(text, "\n{}", columns(&head(&title), &rows));
            }
        }
        let others = self.results.iter().filter(|compared| !average(compared));
        let mut rows: Vec<[String; 4]> = Vec::new();
        for compared in others {
            let name = |what: &str| format!("{}.{} {what}", compared.path, compared.slot);
            rows.extend(compared.values.iter().map(|(what, values)| row(&name(what), values)));
        }
        if !rows.is_empty() {
            let shown = &rows[..rows.len().min(self.most())];
            let _ = write!(text, "\n{}", columns(&head("other results"), shown));
            if rows.len() > shown.len() {
                let _ = writeln!(text, "  … and {} more; `--all` shows them", rows.len() - shown.len());
            }
        }
    }

    fn json(&self) -> Json {
        let stage = |pair: &Pair<'_>| {
            let done = |stage: Option<&Stage>| stage.map(|stage| stage.outputs.is_some());
            let kind = pair.later.or(pair.first).map(|stage| &stage.kind);
            json!({
                "path": pair.path, "kind": kind, "state": pair.state().word(), "reasons": pair.reasons,
                "done": {"a": done(pair.first), "b": done(pair.later)},
            })
        };
        let result = |compared: &Compared| {
            let values: Map<String, Json> = compared
                .values
                .iter()
                .map(|(name, [one, other])| {
                    (name.clone(), json!({"a": one, "b": other, "difference": difference(one, other)}))
                })
                .collect();
            let [one, other] = &compared.digests;
            json!({
                "path": compared.path, "slot": compared.slot, "kind": compared.kind,
                "artifacts": {"a": one, "b": other}, "values": values,
            })
        };
        json!({
            "a": self.first.title, "b": self.later.title,
            "stages": self.pairs.iter().map(stage).collect::<Vec<_>>(),
            "results": self.results.iter().map(result).collect::<Vec<_>>(),
        })
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn row(name: &str, [one, other]: &[Option<Json>; 2]) -> [String; 4] {
    let difference = difference(one, other).map_or(String::new(), |difference| signed(difference, one, other));
    [name.to_string(), shown(one), shown(other), difference]
}

/// B − A, of numbers.
fn difference(one: &Option<Json>, other: &Option<Json>) -> Option<f64> {
    Some(other.as_ref()?.as_f64()? - one.as_ref()?.as_f64()?)
}

fn is_whole(value: &Option<Json>) -> bool {
    value.as_ref().is_some_and(|value| value.is_u64() || value.is_i64())
}

fn signed(difference: f64, one: &Option<Json>, other: &Option<Json>) -> String {
    if is_whole(one) && is_whole(other) { format!("{difference:+}") } else { decimal(difference, true) }
}

/// A number with two decimals, or more digits where it is small.
fn decimal(number: f64, sign: bool) -> String {
    match (number.abs() >= 0.01 || number == 0.0, sign) {
        (true, true) => format!("{number:+.2}"),
        (true, false) => format!("{number:.2}"),
        (false, true) => format!("{number:+.1e}"),
        (false, false) => format!("{number:.1e}"),
    }
}

fn shown(value: &Option<Json>) -> String {
    const LONGEST: usize = 40;
    match value {
        None => "–".to_string(),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Number(number)) if number.is_f64() => decimal(number.as_f64().unwrap_or_default(), false),
        Some(other) => {
            let text = other.to_string();
            match text.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        }
    }
}

/// The mean difference of the averages, where there are several.
fn mean(metrics: &[&Compared]) -> Option<f64> {
    let differences = metrics.iter().filter_map(|compared| {
        let [one, other] = &compared.values["average"];
        difference(one, other)
    });
    let differences: Vec<f64> = differences.collect();
    (differences.len() > 1).then(|| differences.iter().sum::<f64>() / differences.len() as f64)
}
