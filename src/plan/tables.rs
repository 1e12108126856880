//! `table:` items of a report, and what they need of every arm.

use super::report::{Fields, Known, Place, Want};
use super::wiring::{Link, Wiring};
use crate::report::{Column, Over, OverSteps, Rows, TableSpec};
use crate::spec::{Mark, Node, ProblemKind, Problems};

/// A table with the places of what it says.
pub(super) struct Table {
    pub spec: TableSpec,
    metrics: Vec<Mark>,
    columns: Vec<Mark>,
}

const KEYS: [&str; 10] =
    ["name", "title", "rows", "metrics", "columns", "relative_to", "compute_reference", "unranked", "test", "over"];

/// What a table calls its metrics among what a run brings; everything else is called like its column.
pub const METRICS: &str = "metrics";

impl Table {
    /// Reads a table whose key is at `mark` and notes what is wrong with it.
    pub(super) fn read(mark: Mark, node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<Table> {
        let required = ["name", "rows", "metrics", "columns"];
        let fields = Fields::read((mark, node), ("table", "the table"), &KEYS, &required, problems)?;
        let name = fields.text("name", problems);
        let title = fields.text("title", problems);
        let relative_to = fields.one_or_more("relative_to", problems);
        let compute_reference = fields.one_or_more("compute_reference", problems);
        let unranked = fields.one_or_more("unranked", problems);
        let test = fields.text("test", problems);
        let rows = fields.word("rows", &Rows::ALL.map(|rows| (rows.word(), rows)), problems);
        let over = fields.word("over", &[("seed", Over::Seed)], problems);
        let metrics = fields.texts("metrics", problems);
        let columns = fields.texts("columns", problems);
        let (name, rows, metrics, columns) = (name?, rows?, metrics?, columns?);
        let texts = |texts: &[(String, Mark)]| texts.iter().map(|(text, _)| text.clone()).collect();
        let spec = TableSpec {
            name,
            title,
            rows,
            metrics: texts(&metrics),
            columns: texts(&columns),
            relative_to: texts(&relative_to),
            compute_reference: texts(&compute_reference),
            unranked: texts(&unranked),
            test,
            over: over.unwrap_or_default(),
        };
        let marks = |texts: &[(String, Mark)]| texts.iter().map(|(_, mark)| *mark).collect();
        let table = Table { metrics: marks(&metrics), columns: marks(&columns), spec };
        for mistake in table.spec.mistakes(&known.arms, &known.kinds) {
            let mark = match (mistake.field, mistake.index) {
                ("metrics", Some(index)) => table.metrics[index],
                ("columns", Some(index)) => table.columns[index],
                ("relative_to", Some(index)) => relative_to[index].1,
                ("compute_reference", Some(index)) => compute_reference[index].1,
                ("unranked", Some(index)) => unranked[index].1,
                (field, _) => fields.mark(field, mark),
            };
            problems.add(ProblemKind::Table { message: mistake.message, hint: mistake.hint }.at(mark));
        }
        Some(table)
    }

    /// What the table needs of an arm, as far as the arm has it; what it lacks is noted.
    pub(super) fn wanted<'a>(&self, wiring: &Wiring<'a>, problems: &mut Problems) -> Vec<Want<'a>> {
        let mut wanted = Vec::new();
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
                    wanted.push(Want { name: METRICS.to_string(), place: Place::Every(index, slot) });
                }
            }
        }
        for (name, mark) in self.spec.columns.iter().zip(&self.columns) {
            match Column::parse(name) {
                Some(column @ Column::PoolSize) => {
                    let place = pool(wiring, *mark, problems).map(Place::Carried);
                    wanted.extend(place.map(|place| Want { name: column.name(), place }));
                }
                Some(Column::Summary(summary)) => match wiring.output(&summary.stage, &summary.slot, *mark) {
                    Ok((index, slot)) => {
                        let place = match summary.over {
                            OverSteps::Last => Place::Last(index, slot),
                            _ => Place::Every(index, slot),
                        };
                        wanted.push(Want { name: Column::Summary(summary).name(), place });
                    }
                    Err(problem) => problems.add(problem),
                },
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
