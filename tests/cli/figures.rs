//! Figures of a report: what is planned for them, what is wrong with them, and their files.

use insta::assert_snapshot;

use crate::support::{Project, declared, describe, overrides};

const EXPERIMENT: &str = "\
stages:
  first: {use: ingest, params: {name: llava, path: first.json}}
  start: {use: evaluate, inputs: {model: {path: base}}, params: {benchmarks: suite}}
chain:
  over: [{name: m3it}, {name: mantis}]
  as: dataset
  carry: {model: {path: base}, pool: first.pool}
  stages:
    ingest: {use: ingest, inputs: {pool: carry.pool}, params: {name: \"${dataset.name}\", path: a.json}}
    gradient: {use: gradient, inputs: {model: carry.model, pool: ingest.pool}}
    cluster: {use: cluster, inputs: {vectors: gradient.gradient}}
    select: {use: select, inputs: {pool: ingest.pool}, params: {budget: 2, allocation: whole, sampler: random}}
    train: {use: train, inputs: {model: carry.model, data: select.subset}}
    evaluate: {use: evaluate, inputs: {model: train.model}, params: {benchmarks: suite}}
  next: {model: train.model, pool: ingest.pool}
arms: {A: {}, B: {select.budget: 3}}
report:
";

fn project(figure: &str) -> Project {
    Project::of(&format!("{EXPERIMENT}{figure}"))
}

/// The kinds that are planned, with how many stages of each.
fn kinds(figure: &str) -> String {
    let plan = project(figure).plan(&declared(), &overrides(&[])).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(!describe(&plan).is_empty());
    let mut counts = std::collections::BTreeMap::new();
    plan.order().for_each(|stage| *counts.entry(plan[stage].kind.clone()).or_insert(0) += 1);
    counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_figure_asks_for_what_it_shows_and_nothing_else() {
    let lines = "  - figure: {name: f, kind: lines, metrics: [start.metrics, evaluate.metrics], skills: [vqa]}\n";
    assert_eq!(kinds(lines), "evaluate 5, ingest 3, select 4, train 4");
    let one = lines.replace("name: f,", "name: f, arms: [A],");
    assert_eq!(kinds(&one), "evaluate 3, ingest 3, select 2, train 2");
    let clusters = "  - figure: {name: f, kind: clusters, clusters: cluster.clusters, pool: ingest.pool, step: 1}\n";
    assert_eq!(kinds(clusters), "cluster 1, gradient 1, ingest 2");
    let skills =
        "  - figure: {name: f, kind: skills, metrics: [evaluate.metrics], relative_to: A, subsets: [select.subset]}\n";
    assert_eq!(kinds(skills), "evaluate 4, ingest 3, select 4, train 4");
    let gallery = "  - figure: {name: f, kind: gallery, answers: [evaluate.answers], skills: all, questions: 8}\n";
    assert_eq!(kinds(gallery), "evaluate 4, ingest 3, select 4, train 4");
    let scatter = "  - figure: {name: f, kind: scatter, metrics: [evaluate.metrics], x: train.curve.steps, \
                   y: average_accuracy}\n";
    assert_eq!(kinds(scatter), "evaluate 4, ingest 3, select 4, train 4");
}

#[test]
fn all_that_is_wrong_with_figures_is_told_at_once_and_where() {
    let project = project(
        "  - figure: {name: f 1, kind: lines, metrics: [start.metric, select.subset], skills: 3, value: relative_gain}
  - figure: {name: g, kind: line}
  - figure: {name: h, arms: [A]}
  - figure: {name: i, kind: skills, metrics: [evaluate.metrics], subsets: [choose.subset], relative_to: C, color: red}
  - figure: {name: j, kind: clusters, clusters: gradient.gradient, pool: ingest.pool, points: 5000, step: 9}
  - figure: {name: k, kind: scatter, metrics: [evaluate.metrics], x: seconds, y: average_accuracy}
  - figure: {name: l, kind: gallery, arms: [D], answers: [evaluate.answers], pictured: many}
",
    );
    assert_snapshot!(project.problems(&[]), @"");
}
