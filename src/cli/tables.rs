//! From the artifacts of a run to its tables.

use std::collections::BTreeMap;
use std::path::Path;

use super::sources::{Sources, summary};
use crate::artifact::{Benchmark, Metrics, Share, read_json_lines};
use crate::devices::Device;
use crate::plan::{METRICS, ReportRun, Source, phases, trained};
use crate::report::{Column, Cost, OverSteps, Phase, Rows, Run, Table, TableSpec};

/// The table that `spec` asks for; `None` if a stage that it needs is not done.
pub fn build(spec: &TableSpec, runs: &[ReportRun], sources: &Sources<'_>) -> anyhow::Result<Option<Table>> {
    let step = match spec.rows {
        Rows::Cluster => clusters,
        Rows::Arm | Rows::Skill | Rows::Stage => Metrics::read,
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
        let value = match &column {
            Column::PoolSize => {
                sources.summaries(run.outputs(&column.name()), "samples")?.map(|sizes| OverSteps::Last.of(&sizes))
            }
            Column::DataSize => data_sizes(run, sources)?.map(|sizes| OverSteps::Mean.of(&sizes)),
            Column::Summary(summary) => {
                let values = sources.summaries(run.outputs(&column.name()), &summary.key)?;
                values.map(|values| summary.over.of(&values))
            }
            _ => continue,
        };
        let Some(value) = value else { return Ok(None) };
        read.values.extend(value.map(|value| (column.name(), value)));
    }
    if spec.shows_costs() {
        let Some(costs) = costs(run, sources) else { return Ok(None) };
        read.costs = costs;
    }
    Ok(Some(read))
}

/// How many samples each training of the evaluated models read.
fn data_sizes(run: &ReportRun, sources: &Sources<'_>) -> anyhow::Result<Option<Vec<f64>>> {
    let mut sizes = Vec::new();
    for stage in trained(sources.plan, run.outputs(METRICS)) {
        let directory = match sources.plan[stage].inputs.get("data") {
            None => continue,
            Some(Source::External(external)) => Some(external.path.clone()),
            Some(Source::Stage(output)) => sources.directory(output),
        };
        let Some(directory) = directory else { return Ok(None) };
        sizes.push(summary(&directory, "samples")?);
    }
    Ok(Some(sizes))
}

/// What the stages cost that the results of a run depend on, by phase and kind; `None` if one of them is
/// not done.
fn costs(run: &ReportRun, sources: &Sources<'_>) -> Option<Vec<Cost>> {
    let mut costs: BTreeMap<(Phase, &str), Cost> = BTreeMap::new();
    for (stage, phase) in phases(sources.plan, run.outputs(METRICS)) {
        let provenance = sources.provenance(stage)?;
        let kind = sources.plan[stage].kind.as_str();
        let none = Cost {
            phase,
            kind: kind.to_string(),
            stages: 0,
            wall: 0.0,
            cpu: 0.0,
            device: 0.0,
            compute: 0.0,
            memory: None,
        };
        let cost = costs.entry((phase, kind)).or_insert(none);
        let device = if provenance.device == Device::Cpu { 0.0 } else { provenance.wall };
        cost.stages += 1;
        cost.wall += provenance.wall;
        cost.cpu += provenance.cpu;
        cost.device += device;
        cost.compute += if provenance.device == Device::Cpu { provenance.cpu } else { device };
        cost.memory = cost.memory.max(provenance.memory);
    }
    Some(costs.into_values().collect())
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
