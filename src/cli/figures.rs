//! From the artifacts of a run to its figures.

use super::report::Sources;
use super::tables;
use crate::artifact::{Metrics, Share, read_json_lines};
use crate::plan::ReportRun;
use crate::report::figure::{Choices, Figure, FigureKind, FigureSpec, History, draw};

/// The figure that `spec` asks for; `None` if a stage that it needs is not done.
pub fn build(spec: &FigureSpec, runs: &[ReportRun], sources: &Sources<'_>) -> anyhow::Result<Option<Figure>> {
    let title = spec.title.as_deref().unwrap_or(&sources.plan.title);
    let needed: Vec<&ReportRun> = runs.iter().filter(|run| spec.needs(run.arm.as_deref())).collect();
    let done = |run: &&&ReportRun| run.outputs.values().flatten().all(|output| sources.directory(output).is_some());
    if needed.iter().filter(done).count() < needed.len() {
        return Ok(None);
    }
    let figure = match &spec.kind {
        FigureKind::Lines(lines) => draw::lines(spec, lines, title, &histories(&needed, sources)?)?,
        FigureKind::Skills(skills) => {
            let histories = histories(&needed, sources)?;
            draw::skills(spec, skills, title, &histories, &choices(&needed, sources)?)?
        }
        FigureKind::Scatter(scatter) => match tables::build(&scatter.table, runs, sources)? {
            Some(table) => draw::scatter(spec, &table)?,
            None => return Ok(None),
        },
        FigureKind::Clusters(_) | FigureKind::Gallery(_) => anyhow::bail!("figures of this kind are not drawn yet"),
    };
    Ok(Some(figure))
}

/// What each run found over time.
fn histories(runs: &[&ReportRun], sources: &Sources<'_>) -> anyhow::Result<Vec<History>> {
    let read = |run: &&ReportRun| {
        let directories = run.outputs("metrics").iter().filter_map(|output| sources.directory(output));
        let steps = directories.map(|directory| Metrics::read(&directory)).collect::<anyhow::Result<_>>()?;
        Ok(History { arm: run.arm.clone(), seed: run.seed, moments: run.moments("metrics").to_vec(), steps })
    };
    runs.iter().map(read).collect()
}

/// What the clusters gave over time, in the first replicate of each arm.
fn choices(runs: &[&ReportRun], sources: &Sources<'_>) -> anyhow::Result<Vec<Choices>> {
    let mut choices: Vec<Choices> = Vec::new();
    for run in runs {
        let outputs = run.outputs("subsets");
        if outputs.is_empty() || choices.iter().any(|known| known.arm == run.arm) {
            continue;
        }
        let directories = outputs.iter().filter_map(|output| sources.directory(output));
        let read = |directory: std::path::PathBuf| read_json_lines::<Share>(&directory.join("shares.jsonl"));
        let steps = directories.map(read).collect::<anyhow::Result<_>>()?;
        choices.push(Choices { arm: run.arm.clone(), moments: run.moments("subsets").to_vec(), steps });
    }
    Ok(choices)
}
