//! From the artifacts of a run to its tables.

use std::path::Path;

use super::report::Sources;
use crate::artifact::{Benchmark, Metrics, Share, read_json_lines};
use crate::plan::{METRICS, ReportRun};
use crate::report::{Column, Rows, Run, Table, TableSpec};

/// The table that `spec` asks for; `None` if a stage that it needs is not done.
pub fn build(spec: &TableSpec, runs: &[ReportRun], sources: &Sources<'_>) -> anyhow::Result<Option<Table>> {
    let step = match spec.rows {
        Rows::Cluster => clusters,
        Rows::Arm | Rows::Skill => Metrics::read,
    };
    let runs: Option<Vec<Run>> = runs.iter().map(|run| read(spec, run, step, sources)).collect::<Result<_, _>>()?;
    let Some(runs) = runs else { return Ok(None) };
    Ok(Some(Table::build(spec, &sources.plan.title, &runs)?))
}

/// What a run brings; `None` if a stage of it is not done.
fn read(
    spec: &TableSpec,
    run: &ReportRun,
    step: fn(&Path) -> anyhow::Result<Metrics>,
    sources: &Sources<'_>,
) -> anyhow::Result<Option<Run>> {
    let mut read = Run { arm: run.arm.clone(), seed: run.seed, ..Run::default() };
    for output in run.outputs(METRICS) {
        let Some(directory) = sources.directory(output) else { return Ok(None) };
        read.steps.push(step(&directory)?);
    }
    for column in spec.columns() {
        for output in run.outputs(column.name()) {
            let key = match &column {
                Column::Summary(name) => name.rsplit('.').next().unwrap_or(name),
                _ => "samples",
            };
            let Some(value) = sources.summary(output, key)? else { return Ok(None) };
            match &column {
                Column::Summary(name) => drop(read.values.insert(name.clone(), value)),
                _ => read.pool_size = Some(value as usize),
            }
        }
    }
    Ok(Some(read))
}

/// What each cluster gave to a subset, in the form of results: its size, and how many were chosen.
fn clusters(subset: &Path) -> anyhow::Result<Metrics> {
    let shares: Vec<Share> = read_json_lines(&subset.join("shares.jsonl"))?;
    let benchmark = |share: Share| {
        let cluster = share.cluster.map_or("the whole pool".to_string(), |cluster| cluster.to_string());
        let by = share.scorer.map_or(String::new(), |scorer| format!(", by {scorer}"));
        let (metric, value, samples) = ("chosen".to_string(), share.chosen as f64, share.size);
        let skill = format!("{cluster}{by}");
        (cluster, Benchmark { skill, metric, value, chance: 0.0, samples, details: Default::default() })
    };
    Ok(Metrics { benchmarks: shares.into_iter().map(benchmark).collect() })
}
