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
    assert_snapshot!(project.problems(&[]), @r#"
    error: `f 1` cannot be the name of a figure
      --> e.yaml:18:20
       |
    18 |   - figure: {name: f 1, kind: lines, metrics: [start.metric, select.subset], skills: 3, value: relative_gain}
       |                    ^^^
       = hint: use letters, digits, `_` and `-`: it names files

    error: unknown output `metric` of `start`, a stage of the kind `evaluate`
      --> e.yaml:18:48
       |
    18 |   - figure: {name: f 1, kind: lines, metrics: [start.metric, select.subset], skills: 3, value: relative_gain}
       |                                                ^^^^^^^^^^^^
       = hint: did you mean `metrics`?

    error: `metrics` of the figure takes `metrics`, but `select.subset` is a `subset`
      --> e.yaml:18:62
       |
    18 |   - figure: {name: f 1, kind: lines, metrics: [start.metric, select.subset], skills: 3, value: relative_gain}
       |                                                              ^^^^^^^^^^^^^

    error: `skills` of the figure must be a text or a list of texts, not the number 3
      --> e.yaml:18:86
       |
    18 |   - figure: {name: f 1, kind: lines, metrics: [start.metric, select.subset], skills: 3, value: relative_gain}
       |                                                                                      ^

    error: `relative_gain` needs an arm that results are relative to
      --> e.yaml:18:96
       |
    18 |   - figure: {name: f 1, kind: lines, metrics: [start.metric, select.subset], skills: 3, value: relative_gain}
       |                                                                                                ^^^^^^^^^^^^^
       = hint: name an arm with `relative_to:`

    error: `kind` of the figure cannot be `line`
      --> e.yaml:19:29
       |
    19 |   - figure: {name: g, kind: line}
       |                             ^^^^
       = hint: did you mean `lines`?

    error: the figure lacks `kind`
      --> e.yaml:20:5
       |
    20 |   - figure: {name: h, arms: [A]}
       |     ^^^^^^
       = hint: it is one of `lines`, `skills`, `clusters`, `scatter` and `gallery`

    error: unknown stage `choose`
      --> e.yaml:21:76
       |
    21 |   - figure: {name: i, kind: skills, metrics: [evaluate.metrics], subsets: [choose.subset], relative_to: C, color: red}
       |                                                                            ^^^^^^^^^^^^^
       = hint: there are `cluster`, `evaluate`, `first`, `gradient`, `ingest`, `select`, `start` and `train`

    error: no arm `C`
      --> e.yaml:21:105
       |
    21 |   - figure: {name: i, kind: skills, metrics: [evaluate.metrics], subsets: [choose.subset], relative_to: C, color: red}
       |                                                                                                         ^
       = hint: there are `A` and `B`

    error: unknown key `color` of the figure
      --> e.yaml:21:108
       |
    21 |   - figure: {name: i, kind: skills, metrics: [evaluate.metrics], subsets: [choose.subset], relative_to: C, color: red}
       |                                                                                                            ^^^^^
       = hint: there are `name`, `kind`, `title`, `arms`, `metrics`, `value`, `relative_to`, `start` and `subsets`

    error: `clusters` of the figure takes `clusters`, but `gradient.gradient` is a `vectors`
      --> e.yaml:22:49
       |
    22 |   - figure: {name: j, kind: clusters, clusters: gradient.gradient, pool: ingest.pool, points: 5000, step: 9}
       |                                                 ^^^^^^^^^^^^^^^^^

    error: `points` of the figure must be between 10 and 1500, not 5000
      --> e.yaml:22:95
       |
    22 |   - figure: {name: j, kind: clusters, clusters: gradient.gradient, pool: ingest.pool, points: 5000, step: 9}
       |                                                                                               ^^^^

    error: `step` of the figure must be between 1 and 2, not 9
      --> e.yaml:22:107
       |
    22 |   - figure: {name: j, kind: clusters, clusters: gradient.gradient, pool: ingest.pool, points: 5000, step: 9}
       |                                                                                                           ^

    error: unknown column `seconds`
      --> e.yaml:23:70
       |
    23 |   - figure: {name: k, kind: scatter, metrics: [evaluate.metrics], x: seconds, y: average_accuracy}
       |                                                                      ^^^^^^^
       = hint: there are `relative_gain`, `forgetting_rate`, `forgetting_signed`, `average_accuracy`, `benchmark_accuracy`, `skills`, `data_size`, `pool_size`, `at_equal_compute` and `gain_at_equal_compute`, and `stage.slot.key` reads an artifact's summary

    error: no arm `D`
      --> e.yaml:24:45
       |
    24 |   - figure: {name: l, kind: gallery, arms: [D], answers: [evaluate.answers], pictured: many}
       |                                             ^
       = hint: there are `A` and `B`

    error: `pictured` of the figure must be a whole number, not the text `many`
      --> e.yaml:24:88
       |
    24 |   - figure: {name: l, kind: gallery, arms: [D], answers: [evaluate.answers], pictured: many}
       |                                                                                        ^^^^

    16 problems; nothing was run
    "#);
}
