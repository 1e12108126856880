//! What `plan` says of things that are not there yet: files, and what everything would take.

use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::Project;

fn experiment(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name).display().to_string()
}

/// The plan of LLaVA-1.5-7B and the six datasets, on a machine with neither.
fn full(project: &Project, more: &[&str]) -> Value {
    let table = experiment("table3.yaml");
    let words = ["plan", &table, "--suite", "full", "--set", "suite.root=/nowhere", "--format", "json"];
    project.json(&[&words, more].concat()).remove(0)
}

fn of<'v>(plan: &'v Value, name: &str) -> &'v Value {
    let named = |stage: &&Value| stage["names"].as_array().unwrap().iter().any(|found| found == name);
    &plan["stages"].as_array().unwrap().iter().find(named).unwrap()["estimate"]
}

#[test]
fn the_papers_suite_is_planned_before_anything_is_downloaded() {
    let project = Project::new().with("HF_HUB_OFFLINE", "1");
    let plan = full(&project, &[]);
    let hours = |name: &str| of(&plan, name)["seconds"].as_f64().unwrap() / 3600.0;
    // 2,257,618 samples: forward 11.8 and 11.4, backward to the middle with activations computed again.
    assert!((25.0..45.0).contains(&hours("Random/s0/t1/gradient")), "{}", hours("Random/s0/t1/gradient"));
    assert!((30.0..40.0).contains(&hours("Random/s0/t1/score")), "{}", hours("Random/s0/t1/score"));
    // 25,000 samples: 36 minutes of three forward passes, and a little for the adapters.
    assert!((0.6..0.75).contains(&hours("Random/s0/t1/train")), "{}", hours("Random/s0/t1/train"));
    let gigabytes = |name: &str, what: &str| of(&plan, name)[what].as_f64().unwrap() / 1e9;
    assert!((110.0..114.0).contains(&gigabytes("Random/s0/t1/gradient", "disk")));
    assert!((15.0..16.0).contains(&gigabytes("Random/s0/t1/train", "disk")));
    assert!((18.0..60.0).contains(&gigabytes("Random/s0/t1/train", "memory")));
    // After the first step the pool is what pruning left, and the next dataset.
    assert!((1.0..2.5).contains(&hours("Random/s0/t2/gradient")), "{}", hours("Random/s0/t2/gradient"));
    assert_eq!(plan["estimate"]["unknown"], serde_json::json!([]));
    let missing: Vec<&String> = plan["missing"].as_object().unwrap().keys().collect();
    assert!(missing.iter().any(|path| path.starts_with("hf://llava-hf/llava-1.5-7b-hf")), "{missing:?}");
    assert!(missing.iter().any(|path| *path == "/nowhere/llava/llava_v1_5_mix665k.json"), "{missing:?}");

    let slower = full(&project, &["--tflops", "100"]);
    let ratio = slower["estimate"]["seconds"].as_f64().unwrap() / plan["estimate"]["seconds"].as_f64().unwrap();
    assert!((ratio - 4.0).abs() < 1e-6);
}

#[test]
fn what_is_missing_is_listed_and_only_exec_refuses() {
    let text = "\
suite: {first: {name: own, samples: 1000000}, assume: {text_tokens: 500}}
stages:
  data: {use: ingest, params: {name: own, path: gone.json, images: pictures}}
  other: {use: ingest, inputs: {pool: data.pool}, params: {name: other, path: data.json}}
  few: {use: select, inputs: {pool: data.pool}, params: {budget: 90000, allocation: whole, sampler: random, seed: 0}}
  scores: {use: score, inputs: {model: {path: checkpoint}, pool: few.subset}}
";
    let project = Project::of(text).write("data.json", "[]");
    assert_snapshot!(project.run(&["plan", "e.yaml"]), @r#"
    exit 0
    --- stdout
    e

    run    data  about [memory] on disk
             never ran
    maybe  other
             never ran
             input `pool` comes from `data`, which has to run
    maybe  few  about [memory] on disk
             never ran
             input `pool` comes from `data`, which has to run
    maybe  scores
             never ran
             input `pool` comes from `few`, which has to run

    4 stages: 1 to run, 3 maybe, 0 fresh
    estimate: [memory] on disk
    not known, and not in the estimate:
      how many samples `other` has: say `samples:` beside its `name:`
      the sizes of the model: there is no `config.json` here that says them
    missing, and needed before `exec` starts:
      `checkpoint`: there is no such file or folder
      `gone.json`: there is no such file or folder
      `pictures`: there is no such file or folder
    "#);
    assert_snapshot!(project.run(&["exec", "e.yaml"]), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: there is no file or folder `gone.json`
     --> e.yaml:3:49
      |
    3 |   data: {use: ingest, params: {name: own, path: gone.json, images: pictures}}
      |                                                 ^^^^^^^^^

    error: param `images` of `data`: there is no file or folder `pictures`
     --> e.yaml:3:68
      |
    3 |   data: {use: ingest, params: {name: own, path: gone.json, images: pictures}}
      |                                                                    ^^^^^^^^

    error: input `model` of `scores`: there is no file or folder `checkpoint`
     --> e.yaml:6:47
      |
    6 |   scores: {use: score, inputs: {model: {path: checkpoint}, pool: few.subset}}
      |                                               ^^^^^^^^^^

    3 problems; nothing was run
    "#);
    assert_snapshot!(project.run(&["plan", "e.yaml", "--tflops", "0"]), @r#"
    exit 2
    --- stderr
    error: invalid value '0' for '--tflops <N>': a number above 0 is needed

    For more information, try '--help'.
    "#);
}
