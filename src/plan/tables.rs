//! The `report:` section: its tables, and what they need of every arm.

use super::wiring::{Link, Wiring};
use crate::report::{Column, Over, Rows, TableSpec};
use crate::spec::{Document, Map, Mark, Node, ProblemKind, Problems, Value, refuse_unknown_keys};

/// A table with the places of what it says.
pub(super) struct Table {
    pub spec: TableSpec,
    metrics: Vec<Mark>,
    columns: Vec<Mark>,
}

/// What a table needs of an arm.
pub(super) struct Wanted<'a> {
    /// Stage and slot of the metrics, first to last.
    pub metrics: Vec<(usize, &'a str)>,
    /// The carried name whose last value is the pool, where its size is shown.
    pub pool: Option<usize>,
    /// Column, and the stage and slot whose summary holds its value.
    pub values: Vec<(String, usize, &'a str)>,
}

const KEYS: [&str; 7] = ["name", "title", "rows", "metrics", "columns", "relative_to", "over"];

/// Reads the report of an experiment and notes what is wrong with it.
pub(super) fn read(document: &Document, problems: &mut Problems) -> Vec<Table> {
    let Some(report) = document.report.as_ref().filter(|report| !report.is_null()) else { return Vec::new() };
    let report = match document.scope().resolve(report) {
        Ok(report) => report,
        Err(problem) => {
            problems.add(problem);
            return Vec::new();
        }
    };
    let Value::List(items) = &report.value else {
        problems.add(ProblemKind::wrong_type("`report`", "a list of tables", &report).at(report.mark));
        return Vec::new();
    };
    let arms: Vec<&str> = document.arms.iter().filter_map(|arm| arm.name.as_deref()).collect();
    let mut tables: Vec<Table> = Vec::new();
    for item in items {
        let Some(map) = item.as_map() else {
            problems.add(ProblemKind::wrong_type("an item of `report`", "`table: {…}`", item).at(item.mark));
            continue;
        };
        refuse_unknown_keys(map, &["table"], "`report`", problems);
        let Some(entry) = map.get("table") else { continue };
        let Some(table) = table(entry.key, &entry.node, &arms, problems) else { continue };
        if tables.iter().any(|other| other.spec.name == table.spec.name) {
            let message = format!("two tables are called `{}`", table.spec.name);
            problems.add(ProblemKind::Table { message, hint: None }.at(entry.key));
        }
        tables.push(table);
    }
    tables
}

fn table(mark: Mark, node: &Node, arms: &[&str], problems: &mut Problems) -> Option<Table> {
    let Some(map) = node.as_map() else {
        problems.add(ProblemKind::wrong_type("`table`", "a map", node).at(node.mark));
        return None;
    };
    refuse_unknown_keys(map, &KEYS, "the table", problems);
    for key in ["name", "rows", "metrics", "columns"] {
        if !map.contains_key(key) {
            let (owner, what) = ("the table".to_string(), format!("`{key}`"));
            problems.add(ProblemKind::Missing { owner, what, hint: None }.at(mark));
        }
    }
    let name = text(map, "name", problems);
    let title = text(map, "title", problems);
    let relative_to = text(map, "relative_to", problems);
    let rows = word(map, "rows", [Rows::Arm, Rows::Skill, Rows::Cluster].map(|rows| (rows.word(), rows)), problems);
    let over = word(map, "over", [("seed", Over::Seed)], problems);
    let metrics = texts(map, "metrics", problems);
    let columns = texts(map, "columns", problems);
    let (name, rows, metrics, columns) = (name?, rows?, metrics?, columns?);
    let spec = TableSpec {
        name,
        title,
        rows,
        metrics: metrics.iter().map(|(text, _)| text.clone()).collect(),
        columns: columns.iter().map(|(text, _)| text.clone()).collect(),
        relative_to,
        over: over.unwrap_or_default(),
    };
    let marks = |texts: &[(String, Mark)]| texts.iter().map(|(_, mark)| *mark).collect();
    let table = Table { metrics: marks(&metrics), columns: marks(&columns), spec };
    for mistake in table.spec.mistakes(arms) {
        let field = map.get(mistake.field).map_or(mark, |entry| entry.node.mark);
        let mark = match (mistake.field, mistake.index) {
            ("metrics", Some(index)) => table.metrics[index],
            ("columns", Some(index)) => table.columns[index],
            _ => field,
        };
        problems.add(ProblemKind::Table { message: mistake.message, hint: mistake.hint }.at(mark));
    }
    Some(table)
}

fn text(map: &Map, key: &str, problems: &mut Problems) -> Option<String> {
    let node = &map.get(key).filter(|entry| !entry.node.is_null())?.node;
    if node.as_str().is_none() {
        problems.add(ProblemKind::wrong_type(format!("`{key}` of the table"), "a text", node).at(node.mark));
    }
    node.as_str().map(str::to_string)
}

fn word<T: Copy, const N: usize>(map: &Map, key: &str, words: [(&str, T); N], problems: &mut Problems) -> Option<T> {
    let mark = map.get(key)?.node.mark;
    let value = text(map, key, problems)?;
    let found = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let what = format!("`{key}` of the table");
        let values = words.iter().map(|(word, _)| word.to_string()).collect();
        problems.add(ProblemKind::NotAChoice { what, value, values }.at(mark));
    }
    found
}

fn texts(map: &Map, key: &str, problems: &mut Problems) -> Option<Vec<(String, Mark)>> {
    let node = &map.get(key)?.node;
    let items = match &node.value {
        Value::List(items) => items,
        _ => {
            problems.add(ProblemKind::wrong_type(format!("`{key}` of the table"), "a list", node).at(node.mark));
            return None;
        }
    };
    let mut texts = Vec::new();
    for item in items {
        match item.as_str() {
            Some(text) => texts.push((text.to_string(), item.mark)),
            None => {
                let kind = ProblemKind::wrong_type(format!("an item of `{key}`"), "a text", item);
                problems.add(kind.at(item.mark));
            }
        }
    }
    Some(texts)
}

impl Table {
    /// What the table needs of an arm, as far as the arm has it; what it lacks is noted.
    pub(super) fn wanted<'a>(&self, wiring: &Wiring<'a>, problems: &mut Problems) -> Wanted<'a> {
        let mut wanted = Wanted { metrics: Vec::new(), pool: None, values: Vec::new() };
        for (reference, mark) in self.spec.metrics.iter().zip(&self.metrics) {
            let Some((stage, slot)) = reference.split_once('.') else {
                problems.add(ProblemKind::NotAnOutput(reference.clone()).at(*mark));
                continue;
            };
            match wiring.output(stage, slot, *mark) {
                Err(problem) => problems.add(problem),
                Ok((index, slot)) => {
                    let output = wiring.stages[index].signature.and_then(|signature| signature.outputs.get(slot));
                    let expected = self.spec.rows.artifact();
                    if let Some(found) = output.filter(|output| output.kind != expected) {
                        let kind = ProblemKind::WrongArtifact {
                            slot: "`metrics` of the table".to_string(),
                            expected: vec![expected.to_string()],
                            reference: reference.clone(),
                            found: found.kind.clone(),
                        };
                        problems.add(kind.at(*mark));
                    }
                    wanted.metrics.push((index, slot));
                }
            }
        }
        for (name, mark) in self.spec.columns.iter().zip(&self.columns) {
            match Column::parse(name) {
                Some(Column::PoolSize) => wanted.pool = pool(wiring, *mark, problems),
                Some(Column::Summary(name)) => {
                    let mut parts = name.splitn(3, '.');
                    let (stage, slot) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                    match wiring.output(stage, slot, *mark) {
                        Ok((index, slot)) => wanted.values.push((name.clone(), index, slot)),
                        Err(problem) => problems.add(problem),
                    }
                }
                _ => {}
            }
        }
        wanted
    }
}

/// The carried name `pool`.
fn pool(wiring: &Wiring<'_>, mark: Mark, problems: &mut Problems) -> Option<usize> {
    let index = wiring.carry.iter().position(|carry| carry.name == "pool");
    let is_pool = |kind: &&str| matches!(*kind, "pool" | "subset");
    let found = index.filter(|index| {
        let next = wiring.carry[*index].next.as_ref();
        let nothing = matches!(next, Some(Link::Path(_) | Link::Nothing));
        !nothing && wiring.carry_kinds(*index).iter().all(is_pool)
    });
    if found.is_none() {
        let message = "there is no pool whose size could be shown".to_string();
        let hint = Some("`pool_size` is the size of what the chain carries as `next.pool`".to_string());
        problems.add(ProblemKind::Table { message, hint }.at(mark));
    }
    found
}
