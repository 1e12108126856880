//! The program as it is used, with all that it says.

use std::fs;

use insta::assert_snapshot;

use crate::support::Project;

pub const EXPERIMENT: &str = "\
title: A small one
stages:
  data: {use: ingest, params: {name: toy, path: data.json}}
  pick: {use: select, inputs: {pool: data.pool}, params: {budget: 2, allocation: whole, sampler: random, seed: 0}}
  few: {use: prune, inputs: {pool: data.pool}, params: {budget: 1, method: random}}
";

const DATA: &str = r#"[
{"id": "1", "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]},
{"id": "2", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "She."}]},
{"id": "3", "conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Here."}]},
{"id": "4", "conversations": [{"from": "human", "value": "When?"}, {"from": "gpt", "value": ""}]}
]"#;

fn project() -> Project {
    Project::of(EXPERIMENT).write("data.json", DATA)
}

const EXEC: [&str; 4] = ["exec", "e.yaml", "--jobs", "1"];

fn exec(project: &Project, more: &[&str]) -> String {
    project.run(&[&EXEC, more].concat())
}

#[test]
fn a_second_run_does_nothing_and_a_change_reruns_what_depends_on_it() {
    let project = project();
    assert_snapshot!(exec(&project, &[]), @r#"
    exit 0
    --- stderr
    plan e: 3 stages, 0 fresh, 1 to run, 2 below those
    run data  (never ran)
    warning: `data`: dataset `toy`: dropped 1 sample: answer is empty (row 3, line 5)
    ran data  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    run few  (never ran)
    ran few  [time]  [memory]
    done e: ran 3 stages in [time] ([time] of processor time)
    "#);
    assert_snapshot!(exec(&project, &[]), @r#"
    exit 0
    --- stderr
    done e: 3 fresh in [time] ([time] saved by the cache)
    "#);
    assert_snapshot!(exec(&project, &["--set", "few.budget=2"]), @r#"
    exit 0
    --- stderr
    plan e: 3 stages, 2 fresh, 1 to run
    run few  (param `budget` changed: 1 → 2)
    ran few  [time]  [memory]
    done e: ran 1 stage, 2 fresh in [time] ([time] of processor time, [time] saved by the cache)
    "#);
}

#[test]
fn a_plan_says_what_would_run_and_why() {
    let project = project();
    assert_snapshot!(project.run(&["plan", "e.yaml"]), @r#"
    exit 0
    --- stdout
    A small one

    run    data
             never ran
    maybe  pick
             never ran
             input `pool` comes from `data`, which has to run
    maybe  few
             never ran
             input `pool` comes from `data`, which has to run

    3 stages: 1 to run, 2 maybe, 0 fresh
    "#);
    exec(&project, &[]);
    assert_snapshot!(project.run(&["plan", "e.yaml", "--set", "pick.budget=1"]), @r#"
    exit 0
    --- stdout
    A small one

    fresh  data
    run    pick
             param `budget` changed: 2 → 1
    fresh  few

    3 stages: 1 to run, 0 maybe, 2 fresh
    "#);
    assert_snapshot!(project.run(&["plan", "e.yaml", "--dot"]), @r#"
    exit 0
    --- stdout
    digraph {
      rankdir=LR
      node [shape=box]
      0 [label="data\ningest"]
      1 [label="pick\nselect"]
      2 [label="few\nprune"]
      0 -> 1 [label="pool"]
      0 -> 2 [label="pool"]
    }
    "#);
}

#[test]
fn a_dataset_that_grows_is_a_reason_with_old_and_new_content() {
    let project = project();
    exec(&project, &[]);
    let project = project.write("data.json", &DATA.replace("Where", "Whence"));
    assert_snapshot!(project.run(&["plan", "e.yaml"]), @r#"
    exit 0
    --- stdout
    A small one

    run    data
             param `path` changed: [digest] → [digest]
    maybe  pick
             input `pool` comes from `data`, which has to run
    maybe  few
             input `pool` comes from `data`, which has to run

    3 stages: 1 to run, 2 maybe, 0 fresh
    "#);
}

#[test]
fn a_stage_is_explained_by_its_old_and_new_key() {
    let project = project();
    exec(&project, &[]);
    assert_snapshot!(project.run(&["explain", "e.yaml", "few", "--set", "few.method=none"]), @r#"
    exit 0
    --- stdout
    few, a stage of the kind `prune`: run
      param `method` changed: "random" → "none"

    old key
    {
      "schema": 1,
      "kind": "prune",
      "version": 1,
      "params": {
        "allocation": "uniform",
        "budget": 1,
        "epsilon": null,
        "keep": "hard",
        "method": "random",
        "order": "paper",
        "scorer": "el2n",
        "seed": 0
      },
      "inputs": {
        "pool": "b3:[digest]"
      }
    }

    new key, fingerprint [digest]
    {
      "schema": 1,
      "kind": "prune",
      "version": 1,
      "params": {
        "allocation": "uniform",
        "budget": 1,
        "epsilon": null,
        "keep": "hard",
        "method": "none",
        "order": "paper",
        "scorer": "el2n",
        "seed": 0
      },
      "inputs": {
        "pool": "b3:[digest]"
      }
    }
    "#);
    assert_snapshot!(project.run(&["explain", "e.yaml", "fwe"]), @r#"
    exit 2
    --- stderr
    error: no stage `fwe` in `e`; did you mean `few`?
    "#);
}

#[test]
fn results_are_listed_and_say_where_they_come_from() {
    let project = project();
    assert_snapshot!(project.run(&["ls"]), @r#"
    exit 2
    --- stderr
    error: there is no work directory `.runner`
    hint: `runner exec <experiment>` makes one; `--store` names another
    "#);
    exec(&project, &[]);
    assert_snapshot!(project.run(&["ls"]), @r#"
    exit 0
    --- stdout
    result        kind    stage    finished                 took   size
    [digest]  ingest  e: data  [date]  [time]  664 B
    [digest]  select  e: pick  [date]  [time]  632 B
    [digest]  prune   e: few   [date]  [time]  476 B
    --- stderr
    3 results
    "#);
    assert_snapshot!(project.run(&["ls", "prune"]), @r#"
    exit 0
    --- stdout
    result        kind   stage   finished                 took   size
    [digest]  prune  e: few  [date]  [time]  476 B
    --- stderr
    1 result
    "#);
    let shown = project.run(&["show", "few"]);
    let differs = |line: &&str| line.starts_with("host") || line.starts_with("  .runner/store");
    let shown: Vec<&str> = shown.lines().filter(|line| !differs(line)).collect();
    assert_snapshot!(shown.join("\n"), @r#"
    exit 0
    --- stdout
    stage       few
    kind        prune
    experiment  e
    result      b3:[digest]
    finished    [date]
    took        [time], [time] of processor time
    memory      [memory] at most
    device      cpu
    git commit  none
    runner      0.1.0
    log         .runner/logs/[digest].log

    params
      allocation: uniform
      budget: 1
      epsilon: null
      keep: hard
      method: random
      order: paper
      scorer: el2n
      seed: 0

    inputs
      pool: b3:[digest]

    output pool
      pool [digest], 476 B
      samples: 1
      datasets: 1
      dropped: 1
    "#);
    assert_snapshot!(project.run(&["show", "nothing"]), @r#"
    exit 2
    --- stderr
    error: nothing is called `nothing` in the work directory
    hint: `runner ls` lists what there is
    "#);
}

#[test]
fn a_failed_stage_shows_the_end_of_its_log_and_how_to_run_it_again() {
    let project = project();
    let change = ["--set", "data.on_problem=refuse"];
    assert_snapshot!(exec(&project, &change), @r#"
    exit 1
    --- stderr
    plan e: 3 stages, 0 fresh, 1 to run, 2 below those
    run data  (never ran)
    error: stage `data` failed: its process exited with status 1
      | error: dataset `toy`
      | caused by: `data.json` has 1 sample that cannot be used:
      |   1 sample: answer is empty (row 3, line 5)
      | hint: mend them or take them out; an ingestion can also leave them out, with `on_problem: drop`
      log: .runner/logs/[digest].log
    skipped pick  (`data` failed)
    skipped few  (`data` failed)
    failed e: 1 failed, 2 skipped in [time]
    hint: `runner log e.yaml --set data.on_problem=refuse 'data'` shows the whole log
    hint: `runner exec e.yaml --set data.on_problem=refuse --only 'data'` runs that stage alone
    "#);
    let log = project.run(&["log", "e.yaml", "--set", "data.on_problem=refuse", "data"]);
    let (head, rest): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.starts_with("# "));
    let of_the_machine = |line: &&str| ["# host", "# command"].iter().any(|start| line.starts_with(start));
    let head: Vec<&str> = head.into_iter().filter(|line| !of_the_machine(line)).collect();
    assert_snapshot!(head.join("\n"), @r#"
    # stage       data
    # experiment  e
    # kind        ingest, version 2
    # key         b3:[digest]
    # param       name: toy
    # param       path: b3:[digest]
    # param       format: auto
    # param       images: null
    # param       limit: null
    # param       on_problem: refuse
    # param       check_images: header
    # param       min_side: null
    # param       seed: 0
    # external    path: b3:[digest], data.json
    # execution   threads 1, micro_batch 32, device cpu, gradient_checkpointing false, retries 0, backoff [time], shards 1
    # git commit  none
    # runner      0.1.0
    # started     [date], attempt 1
    "#);
    assert_snapshot!(rest.join("\n"), @r#"
    exit 0
    --- stdout
    #
    error: dataset `toy`
    caused by: `data.json` has 1 sample that cannot be used:
      1 sample: answer is empty (row 3, line 5)
    hint: mend them or take them out; an ingestion can also leave them out, with `on_problem: drop`
    "#);
    assert_snapshot!(exec(&project, &[]), @r#"
    exit 0
    --- stderr
    plan e: 3 stages, 0 fresh, 1 to run, 2 below those
    run data  (never ran)
    warning: `data`: dataset `toy`: dropped 1 sample: answer is empty (row 3, line 5)
    ran data  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    run few  (never ran)
    ran few  [time]  [memory]
    done e: ran 3 stages in [time] ([time] of processor time)
    "#);
    assert_snapshot!(project.run(&["log", "e.yaml", "pick", "--set", "data.on_problem=refuse"]), @r#"
    exit 2
    --- stderr
    error: `pick` has no log: stages before it must run first
    hint: `runner plan` says which
    "#);
}

#[test]
fn one_stage_can_be_run_alone() {
    assert_snapshot!(exec(&project(), &["--only", "pick"]), @r#"
    exit 0
    --- stderr
    plan e: 2 stages, 0 fresh, 1 to run, 1 below those
    run data  (never ran)
    warning: `data`: dataset `toy`: dropped 1 sample: answer is empty (row 3, line 5)
    ran data  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    done e: ran 2 stages in [time] ([time] of processor time)
    "#);
}

#[test]
fn a_wrong_experiment_touches_nothing() {
    let project = Project::of(&EXPERIMENT.replace("budget: 1", "budget: 0")).write("data.json", DATA);
    assert_snapshot!(exec(&project, &["--set", "pikc.seed=1"]), @r#"
    exit 2
    --- stderr
    error: param `budget` of `few` must be at least 1, not 0
     --> e.yaml:5:65
      |
    5 |   few: {use: prune, inputs: {pool: data.pool}, params: {budget: 0, method: random}}
      |                                                                 ^

    error: unknown stage `pikc`
     --> --set
      |
    1 | pikc.seed=1
      | ^^^^^^^^^
      = hint: did you mean `pick`?

    2 problems; nothing was run
    "#);
    assert!(!project.path().join(".runner").exists());
}

#[test]
fn every_experiment_of_a_folder_is_checked_before_any_is_run() {
    let project = Project::new()
        .write("all/data.json", DATA)
        .write("all/a.yaml", EXPERIMENT)
        .write("all/b.yaml", "extends: a.yaml\nstages: {pick: {params: {budegt: 5}}}\n");
    assert_snapshot!(project.run(&["exec", "all"]), @r#"
    exit 2
    --- stderr
    error: unknown param `budegt` of `pick`, a stage of the kind `select`
     --> all/b.yaml:2:26
      |
    2 | stages: {pick: {params: {budegt: 5}}}
      |                          ^^^^^^
      = hint: did you mean `budget`?

    1 problem; nothing was run
    "#);
    let project = project.write("all/b.yaml", "extends: a.yaml\nstages: {pick: {params: {budget: 1}}}\n");
    assert_snapshot!(project.run(&["exec", "all", "--jobs", "1"]), @r#"
    exit 0
    --- stderr
    6 stages in 2 experiments: 4 distinct, 2 shared; 2 are needed by more than one experiment
    plan a: 3 stages, 0 fresh, 1 to run, 2 below those
    run data  (never ran)
    warning: `data`: dataset `toy`: dropped 1 sample: answer is empty (row 3, line 5)
    ran data  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    run few  (never ran)
    ran few  [time]  [memory]
    done a: ran 3 stages in [time] ([time] of processor time)
    plan b: 3 stages, 2 fresh, 1 to run
    run pick  (never ran)
    ran pick  [time]  [memory]
    done b: ran 1 stage, 2 fresh in [time] ([time] of processor time, [time] saved by the cache)
    "#);
}

#[test]
fn several_experiments_say_what_they_share() {
    let project = Project::new()
        .write("all/data.json", DATA)
        .write("all/a.yaml", EXPERIMENT)
        .write("all/b.yaml", "extends: a.yaml\nstages: {pick: {params: {budget: 1}}}\n");
    let told = project.run(&["plan", "all"]);
    let last = told.trim_end().lines().last().unwrap();
    assert_eq!(last, "6 stages in 2 experiments: 4 distinct, 2 shared; 2 are needed by more than one experiment");
    let json = project.json(&["plan", "all/a.yaml", "all/b.yaml", "--format", "json"]);
    assert_eq!(json.len(), 3);
    assert_eq!(json[2]["sharing"]["distinct"], 4);
}

#[test]
fn a_broken_experiment_among_others_does_not_keep_them_from_running() {
    let project = Project::new()
        .write("all/data.json", DATA)
        .write("all/a.yaml", "extends: c.yaml\nstages: {pick: {params: {budegt: 5}}}\n")
        .write("all/b.yaml", "extends: c.yaml\nstages: {data: {params: {path: half.json}}}\n")
        .write("all/half.json", "[{")
        .write("all/c.yaml", EXPERIMENT);
    let told = project.run(&["exec", "all", "--jobs", "1", "--keep-going"]);
    assert_snapshot!(told, @r#"
    exit 2
    --- stderr
    error: unknown param `budegt` of `pick`, a stage of the kind `select`
     --> all/a.yaml:2:26
      |
    2 | stages: {pick: {params: {budegt: 5}}}
      |                          ^^^^^^
      = hint: did you mean `budget`?

    1 problem; experiments without any are run
    6 stages in 2 experiments: 6 distinct, 0 shared; 0 are needed by more than one experiment
    plan b: 3 stages, 0 fresh, 1 to run, 2 below those
    run data  (never ran)
    error: stage `data` failed: its process exited with status 1
      | error: dataset `toy`
      | caused by: all/half.json:1:3: not a JSON list of samples: EOF while parsing a value
      log: .runner/logs/[digest].log
    skipped pick  (`data` failed)
    skipped few  (`data` failed)
    failed b: 1 failed, 2 skipped in [time]
    hint: `runner log all/b.yaml 'data'` shows the whole log
    hint: `runner exec all/b.yaml --only 'data'` runs that stage alone
    plan c: 3 stages, 0 fresh, 1 to run, 2 below those
    run data  (never ran)
    warning: `data`: dataset `toy`: dropped 1 sample: answer is empty (row 3, line 5)
    ran data  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    run few  (never ran)
    ran few  [time]  [memory]
    done c: ran 3 stages in [time] ([time] of processor time)
    "#);
}

#[test]
fn a_project_that_moved_is_still_fresh() {
    let project = project();
    exec(&project, &[]);
    let elsewhere = Project::new();
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(format!("{}/.", project.path().display()))
        .arg(elsewhere.path())
        .status();
    assert!(status.unwrap().success());
    fs::remove_file(project.path().join("data.json")).unwrap();
    assert_snapshot!(exec(&elsewhere, &[]), @r#"
    exit 0
    --- stderr
    done e: 3 fresh in [time] ([time] saved by the cache)
    "#);
}

#[test]
fn programs_get_json() {
    let project = project();
    exec(&project, &[]);
    let events = project.json(&[&EXEC[..], &["--format", "json"]].concat());
    let events: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["planned", "ended", "report"]);
    let planned = project.json(&["plan", "e.yaml", "--format", "json"]);
    assert_eq!(planned[0]["stages"][0]["verdict"], "fresh");
    let listed = project.json(&["ls", "--format", "json"]);
    assert_eq!(listed[0][2]["kind"], "prune");
    let shown = project.json(&["show", "few", "--format", "json"]);
    assert_eq!(shown[0]["outputs"]["pool"]["kind"], "pool");
}

#[test]
fn what_is_not_there_is_a_usage_error() {
    let project = project();
    assert_snapshot!(project.run(&["exec", "missing.yaml"]), @r#"
    exit 2
    --- stderr
    error: cannot read `missing.yaml`: No such file or directory (os error 2)
    hint: name the file of an experiment, such as `experiments/table3.yaml`
    "#);
    assert_snapshot!(project.run(&["stages", "prun"]), @r#"
    exit 2
    --- stderr
    error: unknown stage kind `prun`
    hint: did you mean `prune`?
    "#);
    assert_snapshot!(project.run(&["exec", "e.yaml", "--bless", "--seeds", "2"]), @r#"
    exit 2
    --- stderr
    error: the argument '--bless' cannot be used with '--seeds <N|A,B,…>'

    Usage: runner exec --bless <EXPERIMENT>...

    For more information, try '--help'.
    "#);
    assert_snapshot!(exec(&project, &["--only", "pikc"]), @r#"
    exit 2
    --- stderr
    error: no stage `pikc` in `e`; did you mean `pick`?
    "#);
}

#[test]
fn the_reference_comes_from_the_declarations() {
    assert_snapshot!(project().run(&["stages"]), @r#"
    exit 0
    --- stdout
    ingest    Reads one dataset and merges it into the pool.
              [pool] → pool
    select    Chooses the subset to train on.
              pool, [clusters], [scores], [vectors] → subset
    prune     Permanently prunes the pool to a budget.
              pool, [clusters], [vectors], [scores] → pool
    gradient  Gradient vectors and hidden vectors of every sample.
              model, pool → gradient, hidden
    cluster   Pseudo-task clusters by k-means.
              vectors → clusters
    score     Importance scores of every sample under a model.
              [model], pool, [vectors], [targets], [target_pool], [previous] → scores
    train     Fine-tunes a model by LoRA or in full.
              [model], data → model, curve
    evaluate  Results on every benchmark of a suite.
              model → metrics, answers
    "#);
    assert_snapshot!(project().run(&["stages", "cluster"]), @r#"
    exit 0
    --- stdout
    cluster (version 1)

    Pseudo-task clusters by k-means.

    Lloyd's algorithm in f32 products with f64 sums, started by k-means++ and restarted; the start with the
    least within-cluster sum of squares wins. A cluster that loses all its members takes the sample that is
    farthest from its own centroid.

    Inputs
      vectors: vectors
          What to cluster; gradient vectors in the paper.

    Outputs
      clusters: clusters
          A label per sample and the centroids; after a sweep also its curve, `sweep.json`.

    Params
      clusters: whole number, at least 1, default 10
          Number of clusters k; no more than samples are made.
      sweep: list of whole numbers, optional
          Numbers of clusters to try instead of `clusters`, three or more. That at the elbow is taken: where the curve of
          the within-cluster sum of squares, both axes scaled to their range, is farthest below its chord (Kneedle,
          Satopää et al. 2011).
      method: one of kmeans, spherical, default kmeans
          Euclidean distance, or cosine similarity with centroids of unit length.
      restarts: whole number, at least 1, default 3
          Starts from which the best result is kept.
      iterations: whole number, at least 1, default 100
          Most iterations of a start.
      seed: whole number, at least 0, default ${seed}
          Seed of k-means++.

    Execution (never part of the key)
      threads: 1
      micro_batch: 32
      device: an accelerator, where there is one
      gradient_checkpointing: false
      timeout: none
      retries: 0
      backoff: [time]
      slurm: what its job asks for besides what the site says
    "#);
}

#[test]
fn a_device_that_is_not_there_is_a_usage_error() {
    let project = project();
    assert_snapshot!(exec(&project, &["--device", "gpu"]), @r#"
    exit 2
    --- stderr
    error: `--device gpu` names no device
    hint: write `auto`, `cpu`, `cuda`, or devices by their numbers, such as `cuda:0,cuda:1`
    "#);
    if !runner::devices::CUDA {
        assert_snapshot!(exec(&project, &["--device", "cuda:0"]), @r#"
        exit 2
        --- stderr
        error: this build has no CUDA
        hint: build with `--features cuda`, or compute on the processor with `--device cpu`
        "#);
        let pinned = EXPERIMENT.to_string()
            + "  train: {use: train, inputs: {data: pick.subset}, execution: {device: cuda:0}}\n";
        assert_snapshot!(exec(&Project::of(&pinned).write("data.json", DATA), &[]), @r#"
        exit 2
        --- stderr
        error: `train` asks for a device: this build has no CUDA
        hint: build with `--features cuda`, or compute on the processor with `--device cpu`
        "#);
    }
    assert!(!project.path().join(".runner/staging").exists(), "nothing was run");
    let events = project.json(&[&EXEC[..], &["--format", "json", "--device", "cpu", "--per-device", "2"]].concat());
    assert_eq!((&events[1]["event"], &events[1]["device"]), (&"started".into(), &"cpu".into()));
    assert_eq!(project.json(&["show", "few", "--format", "json"])[0]["device"], "cpu");
}

#[test]
fn a_table_of_clusters_shows_what_each_one_gave() {
    let report = "report:\n  - table: {name: chosen, rows: cluster, metrics: [pick.subset], columns: [size, chosen]}\n";
    let project = Project::of(&format!("{EXPERIMENT}{report}")).write("data.json", DATA);
    assert_snapshot!(exec(&project, &[]), @r#"
    exit 0
    --- stdout
    A small one

    cluster         size  chosen
    ──────────────  ────  ──────
    the whole pool     3       2
    all                3       2

    One run per cell
    --- stderr
    plan e: 2 stages, 0 fresh, 1 to run, 1 below those
    run data  (never ran)
    warning: `data`: dataset `toy`: dropped 1 sample: answer is empty (row 3, line 5)
    ran data  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    done e: ran 2 stages in [time] ([time] of processor time)
    written to `.runner/results/e.md`, `.csv`, `.tex` and `.json`
    "#);
    let wrong = report.replace("pick.subset", "data.pool").replace("chosen]", "accuracy]");
    assert_snapshot!(exec(&Project::of(&format!("{EXPERIMENT}{wrong}")).write("data.json", DATA), &[]), @r#"
    exit 2
    --- stderr
    error: `metrics` of the table takes `subset`, but `data.pool` is a `pool`
     --> e.yaml:7:52
      |
    7 |   - table: {name: chosen, rows: cluster, metrics: [data.pool], columns: [size, accuracy]}
      |                                                    ^^^^^^^^^

    error: no column `accuracy` where a row is a cluster
     --> e.yaml:7:80
      |
    7 |   - table: {name: chosen, rows: cluster, metrics: [data.pool], columns: [size, accuracy]}
      |                                                                                ^^^^^^^^
      = hint: it belongs to a table with `rows: skill`

    2 problems; nothing was run
    "#);
}

#[test]
fn a_run_leaves_a_record_that_status_shows_and_a_trace() {
    let project = project();
    assert_snapshot!(project.run(&["status"]), @r#"
    exit 2
    --- stderr
    error: there is no work directory `.runner`
    hint: `runner exec <experiment>` makes one; `--store` names another
    "#);
    let said = exec(&project, &["--name", "first", "--trace", "trace.json"]);
    assert!(said.contains("trace written to `trace.json`"), "{said}");
    exec(&project, &[]);
    assert_snapshot!(project.run(&["status"]), @r#"
    exit 0
    --- stdout
    [date] `first`  done [date], after [time]
      e: 3 of 3 stages, 3 ran
    "#);
    let told = project.json(&["status", "first", "--format", "json"]);
    assert_eq!(told[0][0]["word"], "done");
    assert_eq!(told[0][0]["state"]["experiments"][0]["ran"], 3);
    assert_snapshot!(project.run(&["status", "second"]), @r#"
    exit 2
    --- stderr
    error: no run is called `second`
    hint: `runner status --all` lists the runs that there are
    "#);

    let trace: serde_json::Value =
        serde_json::from_slice(&fs::read(project.path().join("trace.json")).unwrap()).unwrap();
    let spans = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
    assert_eq!(spans.map(|span| span["name"].as_str().unwrap()).collect::<Vec<_>>(), ["data", "pick", "few"]);

    let run = fs::read_dir(project.path().join(".runner/runs")).unwrap().next().unwrap().unwrap().path();
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let messages: Vec<String> = events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].as_str().unwrap().to_string())
        .collect();
    let told = ["planned", "started", "warning", "finished", "started", "finished", "started", "finished", "ended"];
    assert_eq!(messages, told);
}

#[test]
fn the_level_of_the_events_is_checked_before_anything_runs() {
    let project = project().with("RUNNER_LOG", "loud");
    assert_snapshot!(exec(&project, &[]), @r#"
    exit 2
    --- stderr
    error: `RUNNER_LOG=loud` is no level
    hint: write `error`, `warn`, `info`, `debug`, `trace` or `off`
    "#);
    let project = project.with("RUNNER_LOG", "error");
    exec(&project, &[]);
    let run = fs::read_dir(project.path().join(".runner/runs")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(run.join("events.jsonl")).unwrap(), "");
}
