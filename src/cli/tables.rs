//! From the artifacts of a run to its tables, their files and their goldens.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::failure::Failure;
use super::workspace::Workspace;
use crate::artifact::{Benchmark, Metrics, Share, read_json, read_json_lines};
use crate::plan::{Output, Plan, TableRun};
use crate::report::{Rows, Run, Table, differences};
use crate::scheduler::Outcome;

/// A table with the name of its files.
pub struct Rendered {
    /// The table.
    pub table: Table,
    stem: String,
}

/// The tables of a plan whose stages are all done.
pub fn render(plan: &Plan, outcome: &Outcome, workspace: &Workspace) -> Result<Vec<Rendered>, Failure> {
    let mut rendered = Vec::new();
    for planned in &plan.tables {
        let sources = Sources { outcome, workspace };
        let read = match planned.spec.rows {
            Rows::Cluster => clusters,
            Rows::Arm | Rows::Skill => Metrics::read,
        };
        let runs: Option<Vec<Run>> = planned.runs.iter().map(|run| sources.run(run, read)).collect::<Result<_, _>>()?;
        let Some(runs) = runs else { continue };
        let table = Table::build(&planned.spec, &plan.title, &runs).map_err(anyhow::Error::from)?;
        let stem = match plan.tables.len() {
            1 => plan.experiment.clone(),
            _ => format!("{}-{}", plan.experiment, table.name),
        };
        rendered.push(Rendered { table, stem });
    }
    Ok(rendered)
}

/// Where the numbers of a table come from.
struct Sources<'a> {
    outcome: &'a Outcome,
    workspace: &'a Workspace,
}

impl Sources<'_> {
    /// What a run brings; `None` if a stage of it is not done.
    fn run(&self, run: &TableRun, step: fn(&Path) -> anyhow::Result<Metrics>) -> anyhow::Result<Option<Run>> {
        let mut read = Run { arm: run.arm.clone(), seed: run.seed, ..Run::default() };
        for output in &run.steps {
            let Some(directory) = self.directory(output) else { return Ok(None) };
            read.steps.push(step(&directory)?);
        }
        if let Some(output) = &run.pool {
            let Some(samples) = self.summary(output, "samples")? else { return Ok(None) };
            read.pool_size = Some(samples as usize);
        }
        for (column, output) in &run.values {
            let key = column.rsplit('.').next().unwrap_or(column);
            let Some(value) = self.summary(output, key)? else { return Ok(None) };
            read.values.insert(column.clone(), value);
        }
        Ok(Some(read))
    }

    fn directory(&self, output: &Output) -> Option<PathBuf> {
        self.outcome.artifact(output).and_then(|artifact| self.workspace.artifact(&artifact))
    }

    /// A number in an artifact's summary.
    fn summary(&self, output: &Output, key: &str) -> anyhow::Result<Option<f64>> {
        let Some(directory) = self.directory(output) else { return Ok(None) };
        let path = directory.join("summary.json");
        let summary: serde_json::Map<String, serde_json::Value> = read_json(&path)?;
        let value = summary.get(key).and_then(serde_json::Value::as_f64);
        let known = || crate::text::ticked_list(summary.keys());
        value
            .map(Some)
            .with_context(|| format!("the summary in slot `{}` has no number `{key}`; it has {}", output.slot, known()))
    }
}

/// What each cluster gave to a subset, in the form of results: its size, and how many were chosen.
fn clusters(subset: &Path) -> anyhow::Result<Metrics> {
    let shares: Vec<Share> = read_json_lines(&subset.join("shares.jsonl"))?;
    let benchmark = |share: Share| {
        let cluster = share.cluster.map(|cluster| cluster.to_string()).or(share.part);
        let cluster = cluster.unwrap_or("the whole pool".to_string());
        let by = share.scorer.map_or(String::new(), |scorer| format!(", by {scorer}"));
        let (metric, value, samples) = ("chosen".to_string(), share.chosen as f64, share.size);
        let skill = format!("{cluster}{by}");
        (cluster, Benchmark { skill, metric, value, chance: 0.0, samples, details: Default::default() })
    };
    Ok(Metrics { benchmarks: shares.into_iter().map(benchmark).collect() })
}

impl Rendered {
    /// Writes the table as Markdown and as JSON, and returns the names of the files.
    pub fn write(&self, directory: &Path) -> anyhow::Result<Vec<String>> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
        let mut written = Vec::new();
        for (end, text) in [("md", self.table.to_markdown()), ("json", self.table.to_json())] {
            let path = directory.join(format!("{}.{end}", self.stem));
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
            written.push(format!("`{}`", path.display()));
        }
        Ok(written)
    }

    /// In what the table differs from its golden.
    pub fn check(&self, directory: &Path) -> Result<Vec<String>, Failure> {
        let path = directory.join(format!("{}.json", self.stem));
        let text = fs::read_to_string(&path).map_err(|error| {
            let message = format!("cannot read the golden `{}`: {error}", path.display());
            Failure::usage(message, Some("`--bless` writes one"))
        })?;
        let golden = Table::from_json(&text).with_context(|| format!("`{}` is not a table", path.display()))?;
        Ok(differences(&golden, &self.table).iter().map(ToString::to_string).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(value: f64) -> Rendered {
        let spec = serde_yaml::from_str(
            "{name: t, rows: skill, metrics: [evaluate.metrics], columns: [accuracy, chance, samples]}",
        );
        let benchmark = Benchmark {
            skill: "counting".into(),
            metric: "exact_match".into(),
            value,
            chance: 25.0,
            samples: 8,
            details: Default::default(),
        };
        let metrics = Metrics { benchmarks: [("count".to_string(), benchmark)].into_iter().collect() };
        let run = Run { steps: vec![metrics], ..Run::default() };
        let table = Table::build(&spec.unwrap(), "A toy", &[run]).unwrap();
        Rendered { table, stem: "toy".to_string() }
    }

    #[test]
    fn a_table_that_was_blessed_is_checked_against_later_ones() {
        let directory = tempfile::tempdir().unwrap();
        let goldens = directory.path().join("results");
        assert!(matches!(rendered(50.0).check(&goldens), Err(Failure::Usage { .. })));
        assert_eq!(rendered(50.0).write(&goldens).unwrap().len(), 2);
        assert_eq!(rendered(50.0).check(&goldens).unwrap(), Vec::<String>::new());
        assert_eq!(rendered(90.0).check(&goldens).unwrap().len(), 1);
    }
}
