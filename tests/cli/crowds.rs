//! Several runs at once on one work directory.

use std::collections::BTreeMap;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::{data, ran, verified, work};
use crate::support::Project;

const EXPERIMENT: &str = "\
title: A crowd
seeds: 8
stages:
  data: {use: ingest, params: {name: toy, path: data.json}}
  few: {use: prune, inputs: {pool: data.pool}, params: {budget: 6, method: random}}
  pick: {use: select, inputs: {pool: few.pool}, params: {budget: 3, allocation: whole, sampler: random}}
";
const STAGES: usize = 17;
const EXEC: [&str; 6] = ["exec", "e.yaml", "--format", "json", "--jobs", "2"];

fn start(project: &Project, variables: &[(&str, &str)]) -> Child {
    let mut command = project.command(&EXEC);
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// All of them succeed, and every stage ran in one of them.
fn each_stage_once(project: &Project, outputs: &[Output]) {
    let mut times = BTreeMap::new();
    for output in outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ran(&output.stdout).into_iter().for_each(|stage| *times.entry(stage).or_insert(0) += 1);
    }
    assert_eq!(times.len(), STAGES, "{times:?}");
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert_eq!(verified(project).len(), STAGES);
}

#[test]
fn two_and_four_runs_at_once_do_each_stage_once() {
    for number in [2, 4] {
        let project = Project::of(EXPERIMENT).write("data.json", &data(number));
        let runs: Vec<Child> = (0..number).map(|_| start(&project, &[])).collect();
        let outputs: Vec<Output> = runs.into_iter().map(|run| run.wait_with_output().unwrap()).collect();
        each_stage_once(&project, &outputs);
    }
}

#[test]
fn runs_on_two_machines_that_share_a_folder_do_each_stage_once() {
    let project = Project::of(EXPERIMENT).write("data.json", &data(0));
    let runs = ["one", "two"].map(|machine| start(&project, &[("RUNNER_MACHINE", machine)]));
    let outputs = runs.map(|run| run.wait_with_output().unwrap());
    each_stage_once(&project, &outputs);
}

#[test]
fn what_a_killed_run_had_claimed_is_taken_over_at_once_or_on_another_machine_after_a_while() {
    for (machine, patience, least) in [("one", "60", 0.0), ("two", "1.5", 1.5)] {
        let project = Project::of(EXPERIMENT).write("data.json", &data(0));
        let die = [("RUNNER_MACHINE", "one"), ("RUNNER_DIE_AT", "scratch-made:2")];
        start(&project, &die).wait_with_output().unwrap();
        let since = Instant::now();
        let next = start(&project, &[("RUNNER_MACHINE", machine), ("RUNNER_PATIENCE", patience)]);
        let output = next.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let took = since.elapsed();
        assert!(took >= Duration::from_secs_f64(least) && took < Duration::from_secs(30), "{machine}: {took:?}");
        assert_eq!(verified(&project).len(), STAGES);
        let awaited = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>().map(Result::unwrap);
        let awaited = awaited.filter(|event| event["event"] == "elsewhere").count();
        assert_eq!(awaited > 0, machine == "two");
    }
}

#[test]
fn who_only_reads_does_not_wait_for_who_writes() {
    let project = Project::of(EXPERIMENT).write("data.json", &data(0));
    assert!(project.output(&EXEC).status.success());
    let writer = rusqlite::Connection::open(work(&project).join("cache.sqlite")).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM last;").unwrap();
    for reader in [["ls"].as_slice(), &["plan", "e.yaml"], &["log", "e.yaml", "s0/pick"]] {
        let since = Instant::now();
        let output = project.output(reader);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(since.elapsed() < Duration::from_secs(5), "{reader:?} took {:?}", since.elapsed());
    }
    writer.execute_batch("ROLLBACK").unwrap();
}
