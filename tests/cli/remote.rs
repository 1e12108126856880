//! A cache that several machines share, told with a folder for the remote and a store for each machine.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use runner::cache::{Cache, Entry};
use serde_json::Value;

use crate::faults::{data, ran, verified_in};
use crate::support::Project;

const EXPERIMENT: &str = "\
title: Shared
stages:
  data: {use: ingest, params: {name: toy, path: data.json}}
  few: {use: prune, inputs: {pool: data.pool}, params: {budget: 6, method: random, seed: 0}}
  pick: {use: select, inputs: {pool: few.pool}, params: {budget: 3, allocation: whole, sampler: random, seed: 0}}
";

fn project() -> Project {
    Project::of(EXPERIMENT).write("data.json", &data(0)).with("RUNNER_REMOTE_PAUSE", "1")
}

/// The address of a folder of the project.
fn remote(project: &Project) -> String {
    format!("file://{}/remote", project.path().display())
}

fn entries(project: &Project, store: &str) -> Vec<Entry> {
    Cache::open(&project.path().join(store)).unwrap().entries().unwrap()
}

fn verified(project: &Project, store: &str) -> BTreeSet<String> {
    verified_in(&project.path().join(store))
}

/// What a command tells that moves results, which it does in no order.
fn moved(project: &Project, arguments: &[&str]) -> String {
    let told = project.run(arguments);
    let is_move = |line: &&str| line.starts_with("push  ") || line.starts_with("pull  ");
    let (mut moves, rest): (Vec<&str>, Vec<&str>) = told.lines().partition(is_move);
    moves.sort_unstable();
    [rest, moves].concat().join("\n")
}

/// All files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The largest file that the remote has: samples, not a manifest.
fn largest(project: &Project) -> PathBuf {
    let files = below(&project.path().join("remote/v1/files"));
    files.into_iter().max_by_key(|file| (fs::metadata(file).unwrap().len(), file.clone())).unwrap()
}

#[test]
fn what_one_machine_pushed_another_need_not_run() {
    let project = project();
    let remote = remote(&project);
    assert_eq!(ran(&project.output(&["exec", "e.yaml", "--format", "json"]).stdout).len(), 3);
    assert_snapshot!(moved(&project, &["push", "--remote", &remote]), @"
    exit 0
    --- stdout
    pushed 3 results, 11 files of [memory], to file://remote; 0 were there
    --- stderr
    push  e: data  3 files, [memory]
    push  e: few  3 files, 854 B
    push  e: pick  5 files, 623 B
    ");
    assert_snapshot!(moved(&project, &["push", "--remote", &remote]), @"
    exit 0
    --- stdout
    pushed 0 results, 0 files of 0 B, to file://remote; 3 were there
    ");

    let output = project.run(&["exec", "e.yaml", "--store", "other", "--remote", &remote, "--jobs", "1"]);
    assert_snapshot!(output, @"
    exit 0
    --- stderr
    plan e: 3 stages, 0 fresh, 1 to run, 2 below those
    pulled data  3 files, [memory]  [time]
    pulled few  3 files, 854 B  [time]
    pulled pick  5 files, 623 B  [time]
    done e: 3 pulled in [time] ([time] saved by the cache)
    ");
    assert_eq!(verified(&project, "other"), verified(&project, ".runner"));
    assert_eq!(
        entries(&project, "other"),
        entries(&project, ".runner"),
        "where they come from and what they cost, too"
    );
    let again = project.output(&["exec", "e.yaml", "--store", "other", "--format", "json"]);
    assert!(ran(&again.stdout).is_empty());
}

#[test]
fn a_run_brings_what_it_makes_to_the_remote_and_the_next_machine_pulls_it() {
    let project = project();
    let remote = remote(&project);
    let project = project.with("RUNNER_REMOTE", &remote);
    assert_snapshot!(project.run(&["exec", "e.yaml", "--jobs", "1"]), @"
    exit 0
    --- stderr
    plan e: 3 stages, 0 fresh, 1 to run, 2 below those
    run data  (never ran)
    ran data  [time]  [memory]
    run few  (never ran)
    ran few  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    done e: ran 3 stages in [time] ([time] of processor time)
    pushed 3 results, 11 files of [memory], to file://remote
    ");
    assert_snapshot!(moved(&project, &["pull", "e.yaml", "--store", "other"]), @"
    exit 0
    --- stdout
    pulled 3 results, 11 files of [memory], from file://remote; 0 were here
    --- stderr
    pull  e: data  3 files, [memory]
    pull  e: few  3 files, 854 B
    pull  e: pick  5 files, 623 B
    ");
    assert_snapshot!(moved(&project, &["pull", "--store", "third", "--format", "json"]), @r#"
    exit 0
    --- stdout
    {
      "remote": "file://remote",
      "results": 3,
      "here": 0,
      "elsewhere": 0,
      "absent": 0,
      "files": 11,
      "bytes": 2640,
      "failures": []
    }
    "#);
    for store in ["other", "third"] {
        assert_eq!(verified(&project, store), verified(&project, ".runner"));
        assert_eq!(entries(&project, store), entries(&project, ".runner"));
    }
    let again = project.output(&["exec", "e.yaml", "--store", "third", "--format", "json"]);
    assert!(ran(&again.stdout).is_empty());
}

#[test]
fn equal_files_are_there_once_and_a_read_only_remote_gets_none() {
    let project = project();
    let remote = remote(&project);
    project.output(&["exec", "e.yaml", "--remote", &remote, "--remote-read-only"]);
    assert!(below(&project.path().join("remote")).is_empty());
    project.output(&["push", "--remote", &remote]);
    let there = below(&project.path().join("remote"));
    project.output(&["exec", "e.yaml", "--set", "pick.seed=1", "--remote", &remote]);
    let more = below(&project.path().join("remote"));
    let entries = |files: &[PathBuf]| files.iter().filter(|file| file.to_string_lossy().contains("/entries/")).count();
    assert_eq!((entries(&there), entries(&more)), (3, 4));
    assert!(there.iter().all(|file| more.contains(file)));
}

#[test]
fn a_remote_that_lies_is_refused_and_put_right() {
    let project = project();
    let remote = remote(&project);
    project.output(&["exec", "e.yaml"]);
    project.output(&["push", "--remote", &remote]);
    let object = largest(&project);
    let mut bytes = fs::read(&object).unwrap();
    bytes[7] ^= 1;
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, bytes).unwrap();

    assert_snapshot!(moved(&project, &["pull", "--remote", &remote, "--store", "third"]), @"
    exit 1
    --- stdout
    pulled 2 results, 8 files of [memory], from file://remote; 0 were here
    --- stderr
    error: result [digest]: the remote `file://remote` sent wrong bytes for `v1/files/67/[digest]`: b3:[digest] was asked for and b3:[digest] came
    hint: nothing of it was kept; remove that object, and `runner push --again` from where the result is right
    pull  e: data  3 files, [memory]
    pull  e: few  3 files, 854 B
    pull  e: pick  5 files, 623 B
    ");
    assert!(entries(&project, "third").len() < 3);
    let told = project.run(&["exec", "e.yaml", "--store", "other", "--remote", &remote, "--jobs", "1"]);
    assert_snapshot!(told, @"
    exit 0
    --- stderr
    plan e: 3 stages, 0 fresh, 1 to run, 2 below those
    warning: `data`: the remote `file://remote` sent wrong bytes for `v1/files/67/[digest]`: b3:[digest] was asked for and b3:[digest] came; it runs here instead
    run data  (never ran)
    ran data  [time]  [memory]
    pulled few  3 files, 854 B  [time]
    pulled pick  5 files, 623 B  [time]
    done e: ran 1 stage, 2 pulled in [time] ([time] of processor time, [time] saved by the cache)
    pushed 1 result, 1 file of 927 B, to file://remote
    ");
    assert_eq!(verified(&project, "other"), verified(&project, ".runner"));
    // Whoever made the right bytes has put them there.
    let last = project.output(&["exec", "e.yaml", "--store", "third", "--remote", &remote, "--format", "json"]);
    assert!(ran(&last.stdout).is_empty());
    assert_eq!(verified(&project, "third"), verified(&project, ".runner"));
}

#[test]
fn an_entry_without_its_files_is_a_miss_and_is_made_whole() {
    let project = project();
    let remote = remote(&project);
    project.output(&["exec", "e.yaml"]);
    project.output(&["push", "--remote", &remote]);
    let object = largest(&project);
    fs::remove_file(&object).unwrap();
    let told = project.run(&["exec", "e.yaml", "--store", "other", "--remote", &remote, "--remote-read-only"]);
    assert!(told.contains("has an entry for this result, but lacks `v1/files/"), "{told}");
    assert!(!object.exists());
    assert_eq!(verified(&project, "other"), verified(&project, ".runner"));

    project.output(&["push", "--remote", &remote]);
    assert!(!object.exists(), "the entry is there");
    assert_snapshot!(moved(&project, &["push", "--remote", &remote, "--again"]), @"
    exit 0
    --- stdout
    pushed 3 results, 1 file of 927 B, to file://remote; 0 were there
    --- stderr
    push  e: data  3 files, [memory]
    push  e: few  3 files, 854 B
    push  e: pick  5 files, 623 B
    ");
    assert!(object.exists());
}

#[test]
fn the_first_result_of_a_key_stays_and_a_later_one_is_a_divergence() {
    let project = project();
    let remote = remote(&project);
    project.output(&["exec", "e.yaml"]);
    project.output(&["push", "--remote", &remote]);
    // Somebody else came first with the same key and another result.
    let entry = entries(&project, ".runner").into_iter().find(|entry| entry.provenance.name == "pick").unwrap();
    let hex = entry.fingerprint.hex();
    let place = project.path().join("remote/v1/entries").join(&hex[..2]).join(format!("{hex}.json"));
    let mut first: Value = serde_json::from_slice(&fs::read(&place).unwrap()).unwrap();
    first["outputs"]["subset"]["digest"] = format!("b3:{}", "1".repeat(64)).into();
    fs::write(&place, first.to_string()).unwrap();
    for _ in 0..2 {
        let told = project.run(&["push", "--remote", &remote]);
        assert!(told.contains("warning: `e: pick`: output `subset` came out as"), "{told}");
        assert!(told.contains("which was first and stays"), "{told}");
    }
    assert_eq!(fs::read(&place).unwrap(), first.to_string().as_bytes());
    let cache = Cache::open(&project.path().join(".runner")).unwrap();
    assert_eq!(cache.divergences().unwrap().len(), 1, "it is recorded once");
}

#[test]
fn an_entry_that_leads_out_of_the_store_is_refused() {
    let project = project();
    let remote = remote(&project);
    project.output(&["exec", "e.yaml", "--only", "data"]);
    project.output(&["push", "--remote", &remote]);
    // A manifest with a right digest, but a name that leads up, and an entry that names it.
    let entry = entries(&project, ".runner").remove(0);
    let file = largest(&project);
    let hex = file.file_name().unwrap().to_string_lossy().into_owned();
    let size = fs::metadata(&file).unwrap().len();
    let manifest = format!(
        "{{\"schema\": 1, \"kind\": \"pool\", \"files\": {{\"../../../../escaped\": {{\"digest\": \"b3:{hex}\", \"size\": {size}}}}}}}"
    );
    let digest = runner::digest::Digest::of(manifest.as_bytes());
    let place = |folder: &str, hex: &str| {
        project.path().join("remote/v1").join(folder).join(&hex[..2]).join(format!("{hex}.json"))
    };
    let target = place("artifacts", &digest.hex());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(target, manifest).unwrap();
    let mut told: Value = serde_json::to_value(&entry).unwrap();
    told["outputs"]["pool"]["digest"] = digest.to_string().into();
    fs::write(place("entries", &entry.fingerprint.hex()), told.to_string()).unwrap();

    let told = project.run(&["pull", "--remote", &remote, "--store", "other"]);
    assert!(told.contains("which is no name below a folder"), "{told}");
    assert!(below(project.path()).iter().all(|file| !file.ends_with("escaped")));
    assert!(entries(&project, "other").is_empty());
}

#[test]
fn a_remote_that_nobody_answers_at_costs_a_warning_and_no_result() {
    let project = project()
        .with("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .with("AWS_ALLOW_HTTP", "true")
        .with("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .with("AWS_SECRET_ACCESS_KEY", "open-sesame-1001");
    assert_snapshot!(project.run(&["exec", "e.yaml", "--remote", "s3://bucket/p", "--jobs", "1"]), @"
    exit 0
    --- stderr
    plan e: 3 stages, 0 fresh, 1 to run, 2 below those
    warning: `data`: the remote `s3://bucket/p` cannot be reached: io: Connection refused (os error 111); it runs here instead
    run data  (never ran)
    ran data  [time]  [memory]
    run few  (never ran)
    ran few  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    done e: ran 3 stages in [time] ([time] of processor time)
    warning: 3 results could not be brought there: the remote `s3://bucket/p` cannot be reached: io: Connection refused (os error 111)
    hint: `runner push --remote s3://bucket/p` brings them there later
    ");
    assert_eq!(entries(&project, ".runner").len(), 3);
    let output = project.output(&["push", "--remote", "s3://bucket/p"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("cannot be reached"), "{told}");
    // Who we are is nowhere: not in what is told, not in logs, keys or the database.
    assert!(!told.contains("sesame"));
    for file in below(&project.path().join(".runner")) {
        let bytes = fs::read(&file).unwrap();
        let found = bytes.windows(6).any(|window| window == b"sesame");
        assert!(!found, "{}", file.display());
    }
}

#[test]
fn wrong_addresses_are_told_before_anything_runs() {
    let project = project();
    for address in ["bucket/prefix", "ftp://bucket", "s3://", "s3://me:open-sesame@bucket/x", "file://relative"] {
        let told = project.run(&["exec", "e.yaml", "--remote", address]);
        assert!(told.starts_with("exit 2"), "{told}");
        assert!(!told.contains("sesame"), "{told}");
    }
    assert_snapshot!(moved(&project, &["push"]), @"
    exit 2
    --- stderr
    error: no remote is named
    hint: name it with `--remote`, such as `--remote s3://bucket/prefix`, or in `RUNNER_REMOTE`
    ");
    assert_snapshot!(moved(&project, &["pull", "--remote", "s3:/bucket"]), @"
    exit 2
    --- stderr
    error: the remote cannot be used: `s3:/bucket` does not say what it is
    hint: write `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///folder`
    ");
    assert!(entries(&project, ".runner").is_empty());
}
