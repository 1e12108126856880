//! A table of results: runs in, rows of cells out, with everything they were computed from.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::results::Results;
use super::run::{Run, TableError};
use super::{Column, Rows, TableSpec};

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
    /// The results that everything above is computed from.
    pub runs: Vec<RunRecord>,
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
}

impl RunRecord {
    fn of(run: &Run) -> RunRecord {
        let mut results: IndexMap<String, Vec<f64>> = IndexMap::new();
        for step in &run.steps {
            for (name, benchmark) in &step.benchmarks {
                results.entry(name.clone()).or_default().push(benchmark.value);
            }
        }
        RunRecord { arm: run.arm.clone(), seed: run.seed, results }
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
        let mut body = Vec::new();
        match spec.rows {
            Rows::Arm => {
                for arm in &results.arms {
                    let cell = |(column, _): &(Column, _)| results.cell(*arm, |run| run.overall(column));
                    body.push(Row {
                        label: label(*arm).to_string(),
                        cells: layout.iter().map(cell).collect::<Result<_, _>>()?,
                    });
                }
            }
            Rows::Skill | Rows::Cluster => {
                for skill in &results.skills {
                    let cell = |(column, arm): &(Column, Option<&str>)| match column {
                        Column::Accuracy | Column::Chosen => results.cell(*arm, |run| Ok(run.of_skill(column, skill))),
                        _ => Ok(Cell::of(vec![results.first().of_skill(column, skill)])),
                    };
                    let cells = layout.iter().map(cell).collect::<Result<_, _>>()?;
                    body.push(Row { label: skill.to_string(), cells });
                }
            }
        }
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
                name: column.name().to_string(),
                arm: arm.map(str::to_string),
                heading: arm.map_or(heading.clone(), |arm| format!("{arm}: {heading}")),
                definition: column.definition(spec.relative_to.as_deref()),
                tolerance: column.tolerance(&means),
            }
        };
        let columns = layout.iter().enumerate().map(head).collect();
        Ok(Table {
            name: spec.name.clone(),
            title: spec.title.clone().unwrap_or_else(|| title.to_string()),
            rows: spec.rows,
            seeds: results.seeds.iter().flatten().copied().collect(),
            columns,
            skills: if spec.rows == Rows::Arm { skill_rows(spec, &results)? } else { Vec::new() },
            body,
            runs: runs.iter().map(RunRecord::of).collect(),
        })
    }
}

/// What an arm is called where there are none.
fn label(arm: Option<&str>) -> &str {
    arm.unwrap_or("all")
}

/// The columns, with the arm that each one shows where a row is not an arm: what came out is shown
/// for every arm, what a benchmark is does not depend on arm and seed.
fn layout<'a>(spec: &TableSpec, results: &Results<'a>) -> Vec<(Column, Option<&'a str>)> {
    let mut layout = Vec::new();
    for column in spec.columns() {
        match column {
            Column::Accuracy | Column::Chosen => layout.extend(results.arms.iter().map(|arm| (column.clone(), *arm))),
            _ => layout.push((column, None)),
        }
    }
    layout
}

/// Skill by skill, the columns that are means over skills.
fn skill_rows(spec: &TableSpec, results: &Results<'_>) -> Result<Vec<SkillRow>, TableError> {
    let brought = |column: &Column| matches!(column, Column::PoolSize | Column::Summary(_));
    let columns: Vec<Column> = spec.columns().into_iter().filter(|column| !brought(column)).collect();
    let mut rows = Vec::new();
    for arm in &results.arms {
        for skill in &results.skills {
            let mut cells = IndexMap::new();
            for column in &columns {
                let cell = results.cell(*arm, |run| Ok(run.of_skill(column, skill)))?;
                cells.insert(column.name().to_string(), cell);
            }
            rows.push(SkillRow { arm: label(*arm).to_string(), skill: skill.to_string(), cells });
        }
    }
    Ok(rows)
}
