//! The kinds that can be split, run by the real program on a real small model: shards change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use runner::cache::{Cache, Entry};

use crate::support::Project;

/// Every way to vectors and scores that puts samples together differently.
const EXPERIMENT: &str = "\
title: In shards
stages:
  data: {use: ingest, params: {name: mantis, path: 'mini:mantis/samples.json', images: 'mini:mantis/images', limit: 75}}
  gradient: {use: gradient, inputs: {model: {path: BASE}, pool: data.pool}, params: {layers: [1], dimensions: 32}}
  concepts:
    use: gradient
    inputs: {model: {path: BASE}, pool: data.pool}
    params: {gradient: none, hidden: concept, concept_layers: [0, 2]}
  probes:
    use: gradient
    inputs: {model: {path: BASE}, pool: data.pool}
    params: {order: zeroth, probes: 2, layers: [2]}
  score:
    use: score
    inputs: {model: {path: BASE}, pool: data.pool, vectors: gradient.gradient, targets: gradient.gradient, target_pool: data.pool}
    params: {scorers: [perplexity, el2n, entropy, grounding, grand, influence]}
  evaluate:
    use: evaluate
    inputs: {model: {path: BASE}}
    params: {benchmarks: 'mini:benchmarks-small', max_length: 96}
";
const SPLIT: [&str; 5] = ["gradient", "concepts", "probes", "score", "evaluate"];

pub fn base() -> String {
    format!("{}/experiments/suites/mini/base", env!("CARGO_MANIFEST_DIR"))
}

fn project() -> Project {
    let execution = "execution: {micro_batch: 16}";
    let stages = EXPERIMENT.replace("\n    params:", &format!("\n    {execution}\n    params:"));
    Project::of(&stages.replace("BASE", &base()))
}

/// A work directory that uses what another has made of the miniature suite.
fn store(project: &Project, name: &str) -> PathBuf {
    let store = project.path().join(name);
    let suites = project.path().join("suites");
    fs::create_dir_all(&suites).unwrap();
    fs::create_dir(&store).unwrap();
    symlink(suites, store.join("suites")).unwrap();
    store
}

fn rows(store: &std::path::Path) -> BTreeMap<String, Entry> {
    let entries = Cache::open(store).unwrap().entries().unwrap();
    entries.into_iter().map(|entry| (entry.provenance.name.clone(), entry)).collect()
}

/// The key of each stage, and the artifacts that it made.
fn results(rows: &BTreeMap<String, Entry>) -> Vec<(String, String)> {
    let result = |(name, entry): (&String, &Entry)| {
        let artifacts: Vec<String> =
            entry.outputs.iter().map(|(slot, artifact)| format!("{slot} {}", artifact.digest)).collect();
        (name.clone(), format!("{} {}", entry.fingerprint, artifacts.join(", ")))
    };
    rows.iter().filter(|(_, entry)| !entry.outputs.contains_key("shard")).map(result).collect()
}

#[test]
fn vectors_scores_and_metrics_are_the_same_byte_by_byte_in_however_many_shards() {
    let project = project();
    let run = |shards: usize| {
        let name = format!("store-{shards}");
        let store = store(&project, &name);
        let sets: Vec<String> = SPLIT.iter().map(|stage| format!("{stage}.execution.shards={shards}")).collect();
        let mut arguments = vec!["exec", "e.yaml", "--store", &name];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        let output = project.output(&arguments);
        assert!(output.status.success(), "{shards} shards: {}", String::from_utf8_lossy(&output.stderr));
        rows(&store)
    };
    let whole = results(&run(1));
    assert_eq!(whole.len(), 1 + SPLIT.len());
    // 75 samples in batches of 16 are five; neither number of shards divides them, and of eight some have none.
    for shards in [2, 8] {
        let rows = run(shards);
        assert_eq!(rows.len(), whole.len() + shards * SPLIT.len());
        assert_eq!(results(&rows), whole, "{shards} shards");
    }
}

#[test]
fn a_result_of_the_remote_is_not_made_again_in_shards() {
    let project = project();
    let remote = format!("file://{}/remote", project.path().display());
    let run = |name: &str, shards: usize| {
        let store = store(&project, name);
        let set = format!("gradient.execution.shards={shards}");
        let command = ["exec", "e.yaml", "--only", "gradient", "--set", &set, "--format", "json"];
        let output = project.output(&[&command[..], &["--remote", &remote, "--store", name]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout).unwrap();
        let started = told.lines().filter(|line| line.contains("\"started\"") && line.contains("gradient")).count();
        (rows(&store).len(), started)
    };
    // What is not there yet is asked for, and then made: two stages and two shards, and told once.
    assert_eq!(run("first", 2), (4, 1));
    // In other shards it would be made of others: that it is there as a whole is what counts.
    assert_eq!(run("second", 3), (2, 0));
}

#[test]
fn a_run_killed_when_two_of_four_shards_are_done_goes_on_with_the_others() {
    let project = project();
    let [killed, whole] = ["killed", "whole"].map(|name| store(&project, name));
    let arguments =
        ["exec", "e.yaml", "--only", "gradient", "--jobs", "1", "--set", "gradient.execution.shards=4", "--store"];
    let mut command = project.command(&arguments);
    let mut run = command.arg("killed").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(120);
    let done = || match killed.join("cache.sqlite").exists() {
        true => rows(&killed).into_keys().filter(|name| name.starts_with("gradient [")).count(),
        false => 0,
    };
    while done() < 2 && Instant::now() < patience {
        assert!(run.try_wait().unwrap().is_none(), "the run is over before it can be killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let before = rows(&killed);
    assert!((2..4).contains(&done()), "{:?}", before.keys());
    let told = project.output(&["plan", "e.yaml", "--set", "gradient.execution.shards=4", "--store", "killed"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&format!("run    gradient  in 4 shards, {} of them there", done())), "{told}");

    for store in ["killed", "whole"] {
        let output = project.command(&arguments).arg(store).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let after = rows(&killed);
    for (name, entry) in &before {
        assert_eq!(after[name].provenance.started, entry.provenance.started, "{name} ran again");
    }
    assert_eq!(results(&after), results(&rows(&whole)));
    let log =
        project.output(&["log", "e.yaml", "gradient", "--set", "gradient.execution.shards=4", "--store", "killed"]);
    let log = String::from_utf8(log.stdout).unwrap();
    assert!((1..=4).all(|shard| log.contains(&format!("shard {shard}/4:"))), "{log}");
}
