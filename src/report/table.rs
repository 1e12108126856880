//! A table of results: runs in, rows of cells out, with everything they were computed from.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::comparison;
use super::results::Results;
use super::run::{Run, TableError};
use super::{Column, Cost, Phase, Rows, TableSpec};
use crate::artifact::Benchmark;

/// A table, as it is written to JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name of the files that it is written to.
    pub name: String,
    /// Headline.
    pub title: String,
    /// What a row stands for.
    pub rows: Rows,
    /// The seeds that every cell aggregates, in the order of its values. Empty where the experiment
    /// has none.
    pub seeds: Vec<u64>,
    /// What the columns mean.
    pub columns: Vec<Head>,
    /// The rows, with a cell for every column.
    pub body: Vec<Row>,
    /// The columns of a table of arms again, skill by skill, as far as they are means over skills.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<SkillRow>,
    /// What to know of the rows as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Rows, or arms, that take no part when the best are marked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unranked: Vec<String>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub benchmarks: IndexMap<String, BenchmarkRecord>,
    /// The results that everything above is computed from.
    pub runs: Vec<RunRecord>,
}

/// What a benchmark is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchmarkRecord {
    /// The skill that it measures.
    pub skill: String,
    /// How answers are scored.
    pub metric: String,
    /// What always giving the commonest answer would score, in percent.
    pub chance: f64,
    /// How many samples it has.
    pub samples: usize,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The name that the experiment writes.
    pub name: String,
    /// The arm, where a column is there once per arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// The heading for readers.
    pub heading: String,
    /// What it means.
    pub definition: String,
    /// How far a mean may differ from this one where this table is the golden.
    pub tolerance: f64,
    /// Whether it is measured and not compared at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub measured: bool,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The arm or skill.
    pub label: String,
    /// A cell per column.
    pub cells: Vec<Cell>,
}

/// What an arm has to show for one skill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkillRow {
    /// The arm.
    pub arm: String,
    /// The skill.
    pub skill: String,
    /// Column name → cell.
    pub cells: IndexMap<String, Cell>,
}

/// The results of one run over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The arm, where the experiment has arms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// The seed, where the experiment has seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Benchmark → result after each time step, in percent.
    pub results: IndexMap<String, Vec<f64>>,
    /// What its stages cost, where the table shows costs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<Cost>,
}

impl RunRecord {
    fn of(run: &Run) -> RunRecord {
        let mut results: IndexMap<String, Vec<f64>> = IndexMap::new();
        for step in &run.steps {
            for (name, benchmark) in &step.benchmarks {
                results.entry(name.clone()).or_default().push(benchmark.value);
            }
        }
        RunRecord { arm: run.arm.clone(), seed: run.seed, results, costs: run.costs.clone() }
    }
}

impl Table {
    /// Makes the table that `spec` asks for of `runs`; arms, skills and benchmarks keep the order in
    /// which the runs bring them. `title` is the headline where the spec has none.
    ///
    /// # Errors
    ///
    /// If runs are missing or cannot be compared.
    pub fn build(spec: &TableSpec, title: &str, runs: &[Run]) -> Result<Table, TableError> {
        let results = Results::read(spec, runs)?;
        let layout = layout(spec, &results);
        let mut body = match spec.rows {
            Rows::Arm => arms(&layout, &results)?,
            Rows::Skill | Rows::Cluster => skills(&layout, &results)?,
            Rows::Stage => stages(&layout, &results),
        };
        if spec.rows == Rows::Cluster {
            let sum = |place: usize| {
                let replicates = body.first().map_or(0, |row: &Row| row.cells[place].values.len());
                let of = |replicate: usize| body.iter().map(|row| row.cells[place].values[replicate]).sum();
                Cell::of((0..replicates).map(of).collect())
            };
            body.push(Row { label: "all".to_string(), cells: (0..layout.len()).map(sum).collect() });
        }
        let head = |(place, (column, arm)): (usize, &(Column, Option<&str>))| {
            let means: Vec<f64> = body.iter().filter_map(|row| row.cells[place].mean).collect();
            let heading = column.heading();
            Head {
                name: column.name(),
                arm: arm.map(str::to_string),
                heading: arm.map_or(heading.clone(), |arm| format!("{arm}: {heading}")),
                definition: column.definition(&spec.relative_to, &spec.compute_reference),
                tolerance: column.tolerance(&means),
                measured: column.is_measured(),
            }
        };
        let columns = layout.iter().enumerate().map(head).collect();
        let mut notes: Vec<String> = comparison::note(spec, &results)?.into_iter().collect();
        notes.extend(spec.shows_costs().then(|| COSTS.to_string()));
        Ok(Table {
            name: spec.name.clone(),
            title: spec.title.clone().unwrap_or_else(|| title.to_string()),
            rows: spec.rows,
            seeds: results.seeds.iter().flatten().copied().collect(),
            columns,
            skills: if spec.rows == Rows::Arm { skill_rows(spec, &results)? } else { Vec::new() },
            body,
            notes,
            unranked: spec.unranked.clone(),
            benchmarks: match spec.rows {
                Rows::Arm | Rows::Skill => runs[0].steps[0].benchmarks.iter().map(benchmark).collect(),
                Rows::Stage | Rows::Cluster => IndexMap::new(),
            },
            runs: runs.iter().map(RunRecord::of).collect(),
        })
    }
}

/// What to know of costs.
const COSTS: &str = "Costs are those that were recorded when a stage ran, on the machine that it ran on: a stage counts \
                     in full in every row that needs it, also where rows share it or its result was in the cache. They are \
                     measured, not compared with the golden.";

/// What an arm is called where there are none.
fn label(arm: Option<&str>) -> &str {
    arm.unwrap_or("all")
}

/// A column, and the arm that it shows where a row is not an arm.
type Place<'a> = (Column, Option<&'a str>);

/// The columns, with the arm that each one shows where a row is not an arm.
fn layout<'a>(spec: &TableSpec, results: &Results<'a>) -> Vec<Place<'a>> {
    let mut layout = Vec::new();
    for column in spec.columns() {
        match column {
            Column::Skills => {
                layout.extend(results.skills.iter().map(|skill| (Column::SkillAccuracy(skill.to_string()), None)));
            }
            column if spec.rows != Rows::Arm && column.is_by_arm() => {
                layout.extend(results.arms.iter().map(|arm| (column.clone(), *arm)));
            }
            column => layout.push((column, None)),
        }
    }
    layout
}

/// A row per arm.
fn arms(layout: &[Place<'_>], results: &Results<'_>) -> Result<Vec<Row>, TableError> {
    let mut rows = Vec::new();
    for arm in &results.arms {
        let cell = |(column, _): &Place<'_>| {
            let mut cell = results.cell(*arm, |run| run.overall(column))?;
            if matches!(column, Column::AtEqualCompute | Column::GainAtEqualCompute) {
                cell.clamped = results.of(*arm).any(|run| run.at_equal_compute().is_some_and(|(_, beyond)| beyond));
            }
            Ok(cell)
        };
        rows.push(Row { label: label(*arm).to_string(), cells: layout.iter().map(cell).collect::<Result<_, _>>()? });
    }
    Ok(rows)
}

/// A row per skill.
fn skills(layout: &[Place<'_>], results: &Results<'_>) -> Result<Vec<Row>, TableError> {
    let mut rows = Vec::new();
    for skill in &results.skills {
        let cell = |(column, arm): &Place<'_>| match column.is_by_arm() {
            true => results.cell(*arm, |run| Ok(run.of_skill(column, skill))),
            false => Ok(Cell::of(vec![results.first().of_skill(column, skill)])),
        };
        rows.push(Row { label: skill.to_string(), cells: layout.iter().map(cell).collect::<Result<_, _>>()? });
    }
    Ok(rows)
}

/// A row per phase and stage kind that any run needs, and one of all stages.
fn stages(layout: &[Place<'_>], results: &Results<'_>) -> Vec<Row> {
    let runs = || results.arms.iter().flat_map(|arm| results.of(*arm));
    let groups: BTreeSet<(Phase, &str)> =
        runs().flat_map(|run| run.costs()).map(|cost| (cost.phase, cost.kind.as_str())).collect();
    let row = |label: String, wanted: &dyn Fn(&Cost) -> bool| {
        let cell = |(column, arm): &Place<'_>| {
            let values = results.seeds.iter().map(|seed| {
                let run = results.of(*arm).find(|run| run.seed() == *seed)?;
                let own: Vec<Cost> = run.costs().iter().filter(|cost| wanted(cost)).cloned().collect();
                match column {
                    // A run that has no such stages shows nothing.
                    Column::Cost(cost) if !own.is_empty() => cost.value(&own),
                    _ => None,
                }
            });
            Cell::of(values.collect())
        };
        Row { label, cells: layout.iter().map(cell).collect() }
    };
    let of = |(phase, kind): (Phase, &str)| {
        row(format!("{}: {kind}", phase.word()), &|cost| cost.phase == phase && cost.kind == kind)
    };
    let mut rows: Vec<Row> = groups.into_iter().map(of).collect();
    rows.push(row("all".to_string(), &|_| true));
    rows
}

fn benchmark((name, benchmark): (&String, &Benchmark)) -> (String, BenchmarkRecord) {
    let Benchmark { skill, metric, chance, samples, .. } = benchmark;
    let record = BenchmarkRecord { skill: skill.clone(), metric: metric.clone(), chance: *chance, samples: *samples };
    (name.clone(), record)
}

/// Skill by skill, the columns that are means over skills.
fn skill_rows(spec: &TableSpec, results: &Results<'_>) -> Result<Vec<SkillRow>, TableError> {
    let columns: Vec<Column> = spec.columns().into_iter().filter(Column::is_over_skills).collect();
    let mut rows = Vec::new();
    for arm in &results.arms {
        for skill in &results.skills {
            let mut cells = IndexMap::new();
            for column in &columns {
                let cell = results.cell(*arm, |run| Ok(run.of_skill(column, skill)))?;
                cells.insert(column.name(), cell);
            }
            rows.push(SkillRow { arm: label(*arm).to_string(), skill: skill.to_string(), cells });
        }
    }
    Ok(rows)
}
