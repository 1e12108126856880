//! How a comparison of two sides is told. Unaware of how it was made.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use super::{Compared, Pair, State};
use crate::cli::show::columns;
use crate::cli::sides::{Side, Stage};
use crate::fingerprint::DirtyReason;
use crate::text::count;

/// So many stages, or results, of a kind are listed for people.
const MOST: usize = 24;

/// All that is said of a comparison.
pub(super) struct Told<'a> {
    pub first: &'a Side,
    pub later: &'a Side,
    pub pairs: &'a [Pair<'a>],
    pub results: &'a [Compared],
    /// Whether long lists are told whole.
    pub all: bool,
}

impl Told<'_> {
    fn number(&self, state: State) -> usize {
        self.pairs.iter().filter(|pair| pair.state() == state).count()
    }

    fn most(&self) -> usize {
        if self.all { usize::MAX } else { MOST }
    }

    /// For people.
    pub fn text(&self) -> String {
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

    /// For programs.
    pub fn json(&self) -> Json {
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
