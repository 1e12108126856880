//! Verifying, collecting and comparing what the work directory holds.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use insta::assert_snapshot;
use runner::cache::{Cache, Point};
use serde_json::json;

use crate::faults::{data, ran, verified, work};
use crate::support::Project;

const EXPERIMENT: &str = "\
title: Two ways
seeds: 2
arms:
  Random: {few.method: random}
  All: {few.method: none}
stages:
  data: {use: ingest, params: {name: toy, path: data.json}}
  few: {use: prune, inputs: {pool: data.pool}, params: {budget: 6}}
  pick: {use: select, inputs: {pool: few.pool}, params: {budget: 3, allocation: whole, sampler: random}}
";
const EXEC: [&str; 6] = ["exec", "experiments/e.yaml", "--format", "json", "--jobs", "1"];

fn project() -> Project {
    Project::new().write("experiments/e.yaml", EXPERIMENT).write("experiments/data.json", &data(0))
}

fn executed() -> Project {
    let project = project();
    let output = project.output(&EXEC);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    project
}

/// The directory of an output of a stage, by the part of its name that tells it from others.
fn artifact(project: &Project, stage: &str, slot: &str) -> PathBuf {
    let cache = Cache::open(&work(project)).unwrap();
    let entry = cache.entries().unwrap().into_iter().find(|entry| entry.provenance.name.ends_with(stage)).unwrap();
    cache.path(&entry.outputs[slot].digest)
}

/// Changes a byte of a file, or what stands in it.
fn overwrite(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// What a command says, without how fast it was and how long sums of sizes are.
fn said(project: &Project, arguments: &[&str]) -> String {
    let told = project.run(arguments);
    let lines = told.lines().map(|line| match (line.find(" in [time] ("), line.find(" once, which took ")) {
        (Some(at), _) => line[..at].to_string(),
        _ => line.to_string(),
    });
    lines.collect::<Vec<String>>().join("\n")
}

#[test]
fn a_store_as_it_was_left_is_verified() {
    let project = executed();
    assert_snapshot!(said(&project, &["verify"]), @r#"
    exit 0
    --- stdout
    .runner: 7 artifacts, 29 files, [memory]
    every byte is as it was left
    "#);
    assert_snapshot!(said(&project, &["verify", "experiments/e.yaml", "--set", "pick.budget=2"]), @r#"
    exit 0
    --- stdout
    .runner: 3 artifacts of 5 results, 9 files, [memory]
    every byte is as it was left
    "#);
    let told = project.json(&["verify", "--format", "json"]).remove(0);
    assert_eq!(
        (told["faults"].clone(), told["orphans"].clone(), told["journaled"].clone()),
        (json!([]), json!([]), json!(0))
    );
    assert_eq!(told["artifacts"], 7);
}

#[test]
fn what_is_damaged_or_missing_is_named_with_its_stages_and_made_again() {
    let project = executed();
    let expected = verified(&project);
    overwrite(&artifact(&project, "data", "pool").join("samples.jsonl"), |bytes| bytes[3] ^= 1);
    fs::remove_dir_all(artifact(&project, "Random/s1/pick", "subset")).unwrap();
    fs::create_dir_all(work(&project).join("store/ab/not-an-artifact")).unwrap();
    let told = said(&project, &["verify"]);
    let (faults, end) = told.split_once("\n\n").unwrap();
    // Their digests give them their order.
    let mut faults: Vec<&str> = faults.split_inclusive("\n").collect();
    let heads: Vec<usize> = (0..faults.len()).filter(|line| !faults[*line].starts_with(' ')).collect();
    let mut blocks: Vec<String> = Vec::new();
    let ends = heads.iter().skip(1).copied().chain([faults.len()]);
    blocks.extend(heads.iter().zip(ends).map(|(head, end)| faults[*head..end].concat().trim_end().to_string()));
    faults.clear();
    blocks[2..].sort_unstable();
    assert_snapshot!(format!("{}\n\n{end}", blocks.join("\n")), @r#"
    exit 1
    --- stdout
    `.runner/store/ab/not-an-artifact` is no artifact, and nothing of this program
    damaged    [digest], pool
                 `samples.jsonl` has other bytes than when it was made; set aside as `.runner/damaged/[digest]-1`
                 made by e: Random/s0/data
                 made by e: All/s0/few
                 made by e: All/s1/few
    missing    [digest], subset
                 it is not in the store
                 made by e: Random/s1/pick

    .runner: 6 artifacts, 24 files, [memory]
    1 damaged, 1 missing; the next `runner exec` that needs one of them makes it again
    "#);
    let missing = project.json(&["verify", "--format", "json"]).remove(0);
    let flaws: Vec<&str> =
        missing["faults"].as_array().unwrap().iter().map(|fault| fault["flaw"].as_str().unwrap()).collect();
    assert_eq!(flaws, ["missing", "missing"], "what was set aside is missing now");
    assert_eq!(ran(&project.output(&EXEC).stdout).len(), 2);
    assert_eq!(verified(&project), expected);
    assert!(project.output(&["verify"]).status.success());
}

#[test]
fn rows_that_the_journal_lacks_are_written_there() {
    let project = executed();
    let journal = work(&project).join("journal.txt");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.split_once('\n').unwrap().1).unwrap();
    assert!(project.run(&["verify"]).contains("the journal lacked 1 result: written there now"));
    let expected = verified(&project);
    fs::remove_file(work(&project).join("cache.sqlite")).unwrap();
    assert_eq!(verified(&project), expected, "the database is made again from it");
    assert!(!project.run(&["verify"]).contains("lacked"));
}

#[test]
fn stages_that_make_the_same_again_are_equal() {
    let project = executed();
    let two = ["--only", "data", "--only", "Random/s1/few"];
    let rerun = ["verify", "--rerun", "experiments/e.yaml", "--jobs", "1"];
    assert_snapshot!(said(&project, &[&rerun[..], &two].concat()), @r#"
    exit 0
    --- stdout
    equal    Random/s0/data  1 output, [memory]  [time], [time] the first time
    equal    Random/s1/few  1 output, 854 B  [time], [time] the first time
    2 stages once more: 2 equal, byte by byte
    --- stderr
    e: 2 stages once more, which took [time] the first time
    "#);
    let told = project.json(&["verify", "--rerun", "experiments/e.yaml", "--all", "--format", "json"]).remove(0);
    let stages = told[0]["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 9);
    assert!(stages.iter().all(|stage| stage["verdict"] == "equal"), "{told:#}");
    let quickest = project.json(&["verify", "--rerun", "experiments/e.yaml", "--format", "json"]).remove(0);
    let kinds: Vec<&str> =
        quickest[0]["stages"].as_array().unwrap().iter().map(|stage| stage["kind"].as_str().unwrap()).collect();
    assert_eq!(BTreeSet::from_iter(kinds.iter().copied()), BTreeSet::from(["ingest", "prune", "select"]));
    assert_eq!(kinds.len(), 3, "one of each kind");
    let sample = ["verify", "--rerun", "experiments/e.yaml", "--sample", "3", "--format", "json"];
    assert_eq!(project.json(&sample)[0][0]["stages"].as_array().unwrap().len(), 3);
    assert_eq!(fs::read_dir(work(&project).join("staging")).unwrap().count(), 0);
}

/// Lets an artifact take the place of what a stage made, as if it had come out like this the first time.
fn replaced(project: &Project, stage: &str, slot: &str, file: &str, change: impl Fn(&mut Vec<u8>)) {
    let old = artifact(project, stage, slot);
    overwrite(&old.join(file), change);
    let manifest = old.join("manifest.json");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let bytes = fs::read(old.join(file)).unwrap();
    value["files"][file] = json!({"digest": runner::digest::Digest::of(&bytes), "size": bytes.len()});
    let text = format!("{value:#}\n");
    overwrite(&manifest, |bytes| *bytes = text.clone().into_bytes());
    let digest = runner::digest::Digest::of(text.as_bytes());
    let new = work(project).join("store").join(&digest.hex()[..2]).join(digest.hex());
    fs::create_dir_all(new.parent().unwrap()).unwrap();
    let before = old.file_name().unwrap().to_str().unwrap().to_string();
    fs::rename(&old, &new).unwrap();
    // The journal says so too, and the database is made of it.
    let path = work(project).join("journal.txt");
    let lines = fs::read_to_string(&path).unwrap();
    let lines = lines.lines().map(|line| {
        let text = line.split_once(' ').unwrap().1.replace(&before, &digest.hex());
        format!("{} {text}\n", &runner::digest::Digest::of(text.as_bytes()).hex()[..16])
    });
    fs::write(&path, lines.collect::<String>()).unwrap();
    fs::remove_file(work(project).join("cache.sqlite")).unwrap();
}

#[test]
fn a_stage_that_comes_out_differently_says_in_what() {
    let project = executed();
    replaced(&project, "Random/s0/pick", "subset", "choices.jsonl", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        *bytes = format!("{}\n{}\n{{\"id\":\"x\"}}\n", lines[0], lines[1]).into_bytes();
    });
    replaced(&project, "Random/s0/pick", "subset", "summary.json", |bytes| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace(": 3", ": 4").into_bytes();
    });
    let rerun = ["verify", "--rerun", "experiments/e.yaml", "--only", "Random/s0/pick"];
    assert_snapshot!(said(&project, &rerun), @r#"
    exit 3
    --- stdout
    differs  Random/s0/pick  1 output, 623 B  [time], [time] the first time
               subset/choices.jsonl: 1 of 3 lines differs, 3 is the first; 1 value differs
                 id: "x" → "toy/8"
               subset/summary.json: 1 number differs, by 1 at most (relative 2.5e-1)
                 samples: 4 → 3
    1 stage once more: 1 different
    --- stderr
    e: 1 stage once more, which took [time] the first time
    "#);
    let output = project.output(&[&rerun[..], &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(3));
    let cache = Cache::open(&work(&project)).unwrap();
    let divergences = cache.divergences().unwrap();
    assert_eq!((divergences.len(), divergences[0].slot.as_str()), (1, "subset"), "noted once");
    assert!(verified(&project).len() >= 7, "the store was left as it is");
    let missing = ["verify", "--rerun", "experiments/e.yaml", "--only", "Random/s0/pick", "--set", "pick.budget=2"];
    assert_snapshot!(said(&project, &missing), @r#"
    exit 2
    --- stderr
    error: `Random/s0/pick` has no result to compare with
    hint: `runner exec experiments/e.yaml --set pick.budget=2` makes what is missing
    "#);
}

#[test]
fn nothing_goes_that_the_experiments_use() {
    let project = executed();
    assert_snapshot!(said(&project, &["gc", "--keep-days", "0"]), @r#"
    exit 0
    --- stdout
    1 record of a run without a name
    9 results stay, [memory]
           9 that `experiments` uses
    would delete records only
    --- stderr
    nothing was deleted; with `--delete` it is
    "#);
    let before = verified(&project);
    assert!(project.output(&["gc", "--keep-days", "0", "--delete"]).status.success());
    assert_eq!(verified(&project), before);
    assert!(project.output(&["verify"]).status.success());
}

/// A project whose experiment was changed after it ran: the results of `pick` are those of old keys.
fn changed() -> Project {
    let project = executed();
    let project = project.write("experiments/e.yaml", &EXPERIMENT.replace("budget: 3", "budget: 2"));
    let output = project.output(&EXEC);
    assert_eq!(ran(&output.stdout).len(), 4, "every pick runs again");
    project
}

#[test]
fn what_nothing_keeps_is_listed_and_goes_when_asked() {
    let project = changed();
    let before = verified(&project);
    let young = project.run(&["gc"]);
    assert!(young.contains("nothing to delete"), "{young}");
    let listed = said(&project, &["gc", "--keep-days", "0"]);
    assert_snapshot!(listed, @r#"
    exit 0
    --- stdout
    result        size   stage              finished                 why
    [digest]  623 B  e: All/s0/pick     [date]  the stage has another key now
    [digest]  623 B  e: All/s1/pick     [date]  the stage has another key now
    [digest]  623 B  e: Random/s0/pick  [date]  the stage has another key now
    [digest]  623 B  e: Random/s1/pick  [date]  the stage has another key now

    4 logs, [memory]
    2 records of runs without a name
    9 results stay, [memory]
           9 that `experiments` uses
    would delete 4 results and 4 artifacts, [memory]
    --- stderr
    nothing was deleted; with `--delete` it is
    "#);
    assert_eq!(verified(&project), before, "listing deletes nothing");
    let told = project.json(&["gc", "--keep-days", "0", "--delete", "--format", "json"]).remove(0);
    assert_eq!(told["results"].as_array().unwrap().len(), 4);
    let after = verified(&project);
    assert_eq!(before.difference(&after).count(), 4);
    assert!(ran(&project.output(&EXEC).stdout).is_empty(), "what is used is still there");
    let told = project.json(&["verify", "--format", "json"]).remove(0);
    assert_eq!((told["orphans"].clone(), told["journaled"].clone()), (json!([]), json!(0)));
    // A database that is made again does not bring them back.
    fs::remove_file(work(&project).join("cache.sqlite")).unwrap();
    assert_eq!(verified(&project), after);
}

#[test]
fn results_of_a_named_run_stay_and_can_be_compared() {
    let project = project();
    let name = |name: &str| project.output(&[&EXEC[..], &["--name", name]].concat());
    assert!(name("paper").status.success());
    let project = project_with(&project, &EXPERIMENT.replace("budget: 3", "budget: 2"));
    assert!(project.output(&[&EXEC[..], &["--name", "less"]].concat()).status.success());
    assert_snapshot!(said(project, &["gc", "--keep-days", "0"]), @r#"
    exit 0
    --- stdout
    13 results stay, [memory]
           9 that `experiments` uses
           9 of the run `less`
           9 of the run `paper`
    nothing to delete
    "#);
    assert_snapshot!(said_of_runs(&said(project, &["diff", "paper", "less"])), @r#"
    exit 0
    --- stdout
    A  run `paper` [date]
    B  run `less` [date]

    12 stages in both: 8 the same, 4 with changes of their own; 0 only in A, 0 only in B

    changes of their own
      All/s0/pick and 3 more like it
        param `budget` changed: 3 → 2

    other results                  A  B  B − A
    All/s0/pick.subset samples     3  2     -1
    All/s1/pick.subset samples     3  2     -1
    Random/s0/pick.subset samples  3  2     -1
    Random/s1/pick.subset samples  3  2     -1
    "#);
    assert_snapshot!(said(project, &["diff", "paper", "more"]), @r#"
    exit 2
    --- stderr
    error: `more` is neither the file of an experiment nor a run
    hint: name a file, one of its arms as `FILE:ARM`, or what a run was called with `exec --name`
    "#);
}

/// The project with another experiment.
fn project_with<'p>(project: &'p Project, experiment: &str) -> &'p Project {
    fs::write(project.path().join("experiments/e.yaml"), experiment).unwrap();
    project
}

/// What is said, without the ids of runs.
fn said_of_runs(told: &str) -> String {
    let lines = told.lines().map(|line| match line.find("` 20") {
        Some(at) => format!("{}` [run]", &line[..at]),
        None => line.to_string(),
    });
    lines.collect::<Vec<String>>().join("\n")
}

#[test]
fn an_experiment_that_is_wrong_keeps_everything() {
    let project = changed().write("experiments/f.yaml", "stages: {a: {use: nothing}}\n");
    let before = verified(&project);
    let output = project.output(&["gc", "--keep-days", "0", "--delete"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(verified(&project), before);
}

#[test]
fn a_collection_killed_at_any_step_leaves_a_store_that_verifies() {
    for point in Point::COLLECT {
        let project = changed();
        let all = verified(&project);
        let gc = ["gc", "--keep-days", "0", "--delete"];
        let output = project.command(&gc).env("RUNNER_DIE_AT", point.name()).output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{}", point.name());
        let told = project.output(&["verify"]);
        assert!(told.status.success(), "{}: {}", point.name(), String::from_utf8_lossy(&told.stdout));
        assert!(project.output(&gc).status.success(), "{}", point.name());
        let left = verified(&project);
        assert_eq!(all.difference(&left).count(), 4, "{}", point.name());
        let again = project.output(&EXEC);
        assert!(again.status.success() && ran(&again.stdout).is_empty(), "{}", point.name());
        assert_eq!(fs::read_dir(work(&project).join("staging")).unwrap().count(), 0, "{}", point.name());
        fs::remove_file(work(&project).join("cache.sqlite")).unwrap();
        assert!(verified(&project).is_subset(&all));
        assert!(ran(&project.output(&EXEC).stdout).is_empty(), "{}", point.name());
    }
}

#[test]
fn runs_go_on_while_somebody_collects() {
    let project = project();
    // Nothing keeps anything: all that a run relies on is saved by its list alone.
    let nothing = project.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    fs::write(nothing.join("n.yaml"), "title: None\nstages: {d: {use: ingest, params: {name: n, path: n.json}}}\n")
        .unwrap();
    fs::write(nothing.join("n.json"), data(50)).unwrap();
    for round in 0..6 {
        let budget = format!("pick.budget={}", 2 + round % 2);
        let exec = ["exec", "experiments/e.yaml", "--format", "json", "--jobs", "2", "--set", &budget];
        let mut run = project.command(&exec);
        let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while run.try_wait().unwrap().is_none() {
            if work(&project).join("cache.sqlite").exists() {
                let gc = project.output(&["gc", "nothing", "--keep-days", "0", "--delete"]);
                assert!(gc.status.success(), "{}", String::from_utf8_lossy(&gc.stderr));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
        let started = ran(&output.stdout);
        let distinct: BTreeSet<&String> = started.iter().collect();
        assert_eq!(distinct.len(), started.len(), "round {round}: a result was taken away from under the run");
        let told = project.output(&["verify"]);
        assert!(told.status.success(), "round {round}: {}", String::from_utf8_lossy(&told.stdout));
    }
}

#[test]
fn two_arms_differ_by_what_is_said_of_them_and_what_follows() {
    let project = executed();
    let arms = ["diff", "experiments/e.yaml:Random", "experiments/e.yaml:All"];
    assert_snapshot!(said(&project, &arms), @r#"
    exit 0
    --- stdout
    A  experiments/e.yaml, arm `Random`
    B  experiments/e.yaml, arm `All`

    6 stages in both: 2 the same, 2 with changes of their own, 2 that only read other content; 0 only in A, 0 only in B

    changes of their own
      s0/few and 1 more like it
        param `method` changed: "random" → "none"

    only read other content
      s0/pick … s1/pick  (2)

    other results        A  B  B − A
    s0/few.pool samples  6  9     +3
    s1/few.pool samples  6  9     +3
    "#);
    let told = project.json(&[&arms[..], &["--format", "json"]].concat()).remove(0);
    let states: BTreeSet<&str> =
        told["stages"].as_array().unwrap().iter().map(|stage| stage["state"].as_str().unwrap()).collect();
    assert_eq!(states, BTreeSet::from(["changed", "reads other content", "same"]));
    assert_snapshot!(said(&project, &["diff", "experiments/e.yaml:Random", "experiments/e.yaml:Al"]), @r#"
    exit 2
    --- stderr
    error: `experiments/e.yaml` has no arm `Al`; did you mean `All`?
    hint: its arms are `Random` and `All`
    "#);
    assert_snapshot!(said(&project, &["diff", "experiments/e.yaml"]), @r#"
    exit 2
    --- stderr
    error: there is nothing to compare with
    hint: name a second experiment, arm or run, another store with `--against`, or a change with `--with`
    "#);
}

#[test]
fn an_experiment_differs_from_itself_with_another_setting_before_that_runs() {
    let project = executed();
    assert_snapshot!(said(&project, &["diff", "experiments/e.yaml:Random", "--with", "few.budget=5", "--only", "s0"]), @r#"
    exit 0
    --- stdout
    A  experiments/e.yaml, arm `Random`
    B  experiments/e.yaml, arm `Random` --set few.budget=5

    3 stages in both: 1 the same, 1 with changes of their own, 1 that only read other content; 0 only in A, 0 only in B

    changes of their own
      s0/few
        param `budget` changed: 6 → 5

    only read other content
      s0/pick
    "#);
}

#[test]
fn the_same_experiment_in_two_stores_has_the_same_results_or_it_says_so() {
    let project = executed();
    assert!(project.output(&[&EXEC[..], &["--store", "other"]].concat()).status.success());
    let diff = ["diff", "experiments/e.yaml", "--against", "other"];
    assert_snapshot!(said(&project, &diff), @r#"
    exit 0
    --- stdout
    A  experiments/e.yaml in .runner
    B  experiments/e.yaml in other

    12 stages in both: 12 the same; 0 only in A, 0 only in B
    "#);
    replaced(&project, "Random/s0/pick", "subset", "summary.json", |bytes| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace(": 3", ": 4").into_bytes();
    });
    assert_snapshot!(said(&project, &diff), @r#"
    exit 0
    --- stdout
    A  experiments/e.yaml in .runner
    B  experiments/e.yaml in other

    12 stages in both: 11 the same, 1 with the same key and another result; 0 only in A, 0 only in B

    the same key and another result
      Random/s0/pick

    other results                  A  B  B − A
    Random/s0/pick.subset samples  4  3     -1
    "#);
}
