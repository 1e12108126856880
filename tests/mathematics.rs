//! The smoke experiment with the real models: the same bytes whatever the number of jobs and threads,
//! and nothing left to do the second time.
#![cfg(feature = "ml")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// Stages that compute with several threads where they may.
const THREADED: [&str; 7] = ["gradient", "cluster", "score", "select", "train", "prune", "evaluate"];

fn runner(store: &Path, arguments: &[&str]) -> Output {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    let output = command.current_dir(root).args(arguments).arg("--store").arg(store).output();
    let output = output.expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{}` failed: {errors}", arguments.join(" "));
    output
}

/// Stage name and slot → digest of every artifact in a store.
fn artifacts(store: &Path) -> BTreeMap<String, String> {
    let listing = runner(store, &["ls", "--format", "json"]).stdout;
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&listing).expect("a listing is JSON");
    let mut digests = BTreeMap::new();
    for entry in &entries {
        for (slot, output) in entry["outputs"].as_object().expect("an entry has outputs") {
            digests.insert(format!("{}.{slot}", entry["name"]), output["digest"].to_string());
        }
    }
    digests
}

#[test]
fn every_artifact_is_the_same_whatever_the_number_of_jobs_and_threads() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    runner(one.path(), &["exec", "experiments/smoke.yaml", "--jobs", "2"]);
    let settings: Vec<String> = THREADED.iter().map(|stage| format!("{stage}.execution.threads=2")).collect();
    let mut arguments = vec!["exec", "experiments/smoke.yaml", "--jobs", "1"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
    runner(two.path(), &arguments);

    let (one_artifacts, two_artifacts) = (artifacts(one.path()), artifacts(two.path()));
    assert!(one_artifacts.len() > 27, "every stage left at least one artifact");
    assert_eq!(one_artifacts, two_artifacts);

    let again = runner(one.path(), &["exec", "experiments/smoke.yaml", "--format", "json"]);
    let news = String::from_utf8_lossy(&again.stdout).into_owned() + &String::from_utf8_lossy(&again.stderr);
    let ended = news.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ended = ended.into_iter().find(|event| event["event"] == "ended").expect("a run ends");
    assert_eq!(ended["ran"], 0, "a second run does nothing");
}

/// Training is repeatable: the first steps of the base model's training, twice.
#[test]
fn training_from_scratch_gives_the_same_bytes_again() {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let store = tempfile::tempdir().unwrap();
        let setting = ["--set", "data.limit=640", "--set", "train.epochs=1"];
        runner(store.path(), &[["exec", "experiments/mini_base.yaml"].as_slice(), &setting].concat());
        digests.push(artifacts(store.path()));
    }
    assert_eq!(digests[0], digests[1]);
}
