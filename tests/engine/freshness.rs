//! What runs again and what does not.

use std::fs;
use std::sync::Arc;

use runner::digest::Digest;
use runner::plan::Plan;
use runner::scheduler::Options;
use runner::stage::Execution;
use serde_json::json;

use crate::project::{Project, Sketch, contents};

/// `left` and `right` are joined to `both`; `right` also goes to `other`.
fn diamond(left: &str, right: &str) -> Plan {
    let mut sketch = Sketch::new();
    let left = sketch.write("left", left);
    let right = sketch.write("right", right);
    let both = sketch.join("both", "!", &[left, right]);
    sketch.join("other", "?", &[right]);
    sketch.stage("end", "length", json!({}), &[both]);
    sketch.plan
}

#[test]
fn a_second_run_does_nothing() {
    let project = Project::new();
    let plan = diamond("a", "b");
    let first = project.run(&plan);
    assert_eq!(first.outcome.summary.ran, 5);
    assert_eq!(project.text(&plan, "both"), "ab!");

    let second = project.run(&plan);
    assert_eq!(second.ran(), Vec::<&str>::new());
    assert_eq!((second.outcome.summary.ran, second.outcome.summary.fresh), (0, 5));
    assert!(second.outcome.is_complete());
}

#[test]
fn a_changed_param_runs_its_stage_and_what_is_below_it_and_says_why() {
    let project = Project::new();
    project.run(&diamond("a", "b"));
    let plan = diamond("longer", "b");
    assert_eq!(project.verdict(&plan, "left"), "run: param `text` changed: \"a\" → \"longer\"");
    assert_eq!(project.verdict(&plan, "both"), "maybe: input `0` comes from `left`, which has to run");
    assert_eq!(project.verdict(&plan, "other"), "fresh");

    let story = project.run(&plan);
    assert_eq!(story.ran(), ["left", "both", "end"]);
    assert_eq!(story.reasons("left"), ["param `text` changed: \"a\" → \"longer\""]);
    assert!(story.reasons("both")[0].starts_with("input `0` changed: "), "{:?}", story.reasons("both"));
    assert_eq!(project.text(&plan, "end"), "8");
}

#[test]
fn going_back_to_old_params_runs_nothing() {
    let project = Project::new();
    project.run(&diamond("a", "b"));
    project.run(&diamond("x", "b"));
    assert_eq!(project.run(&diamond("a", "b")).ran(), Vec::<&str>::new());
}

#[test]
fn equal_bytes_stop_the_wave() {
    let project = Project::new();
    let plan = |text: &str| {
        let mut sketch = Sketch::new();
        let source = sketch.write("source", text);
        let length = sketch.stage("length", "length", json!({}), &[source]);
        sketch.join("below", "!", &[length]);
        sketch.plan
    };
    project.run(&plan("abc"));
    let story = project.run(&plan("xyz"));
    assert_eq!(story.ran(), ["source", "length"]);
    assert_eq!(story.fresh(), ["below"]);
    assert_eq!(project.run(&plan("xyz")).ran(), Vec::<&str>::new());
}

#[test]
fn how_a_stage_runs_and_what_it_is_called_do_not_count() {
    let project = Project::new();
    project.run(&diamond("a", "b"));
    let mut sketch = Sketch::new();
    let mut renamed = crate::project::planned("renamed", "write", json!({"text": "a"}), &[]);
    renamed.execution = Arc::new(Execution { threads: 2, micro_batch: 7, ..Execution::default() });
    sketch.plan.add(renamed);
    assert_eq!(project.run(&sketch.plan).ran(), Vec::<&str>::new());
}

#[test]
fn another_version_of_a_kind_runs_again() {
    let project = Project::new();
    project.run(&diamond("a", "b"));
    let mut sketch = Sketch::new();
    let mut newer = crate::project::planned("left", "write", json!({"text": "a"}), &[]);
    newer.version = 2;
    sketch.plan.add(newer);
    assert_eq!(project.verdict(&sketch.plan, "left"), "run: the version of its kind changed: 1 → 2");
}

#[test]
fn a_file_outside_counts_by_its_content() {
    let project = Project::new();
    let plan = |content: &str, name: &str| {
        let file = project.file(name, content);
        let mut sketch = Sketch::new();
        sketch.read("data", &file, "");
        sketch.plan
    };
    project.run(&plan("one", "data.txt"));
    assert_eq!(project.run(&plan("one", "data.txt")).ran(), Vec::<&str>::new(), "only its times changed");
    assert_eq!(project.run(&plan("one", "elsewhere.txt")).ran(), Vec::<&str>::new(), "only its name changed");
    let old = Digest::of(b"one").short();
    let new = Digest::of(b"two").short();
    assert_eq!(project.run(&plan("two", "data.txt")).reasons("data"), [format!("param `file` changed: {old} → {new}")]);
}

#[test]
fn a_moved_project_stays_fresh() {
    let project = Project::new();
    let plan = diamond("a", "b");
    project.run(&plan);

    let moved = Project::new();
    fs::rename(project.path("work"), moved.path("work")).unwrap();
    assert_eq!(moved.run(&plan).ran(), Vec::<&str>::new());

    let copied = Project::new();
    let status = std::process::Command::new("cp").arg("-r").arg(moved.path("work")).arg(copied.path("work")).status();
    assert!(status.unwrap().success());
    assert_eq!(copied.run(&plan).ran(), Vec::<&str>::new(), "new times and inodes, but the same bytes");
}

#[test]
fn stages_of_two_experiments_share_results_but_not_memories() {
    let project = Project::new();
    let mut plan = diamond("a", "b");
    project.run(&plan);
    plan.experiment = "another".to_string();
    assert_eq!(project.run(&plan).ran(), Vec::<&str>::new());
    let mut sketch = Sketch::new();
    sketch.plan.experiment = "third".to_string();
    sketch.write("left", "c");
    assert_eq!(project.verdict(&sketch.plan, "left"), "run: never ran");
}

#[test]
fn the_store_is_the_same_whatever_runs_in_parallel() {
    let plan = {
        let mut sketch = Sketch::new();
        let sources: Vec<_> = (0..6).map(|number| sketch.write(&format!("w{number}"), &number.to_string())).collect();
        let joined: Vec<_> = (0..6).map(|number| sketch.join(&format!("j{number}"), "-", &sources[..number])).collect();
        sketch.join("end", ".", &joined);
        sketch.plan
    };
    let (one, many) = (Project::new(), Project::new());
    one.run(&plan);
    many.run_with(&plan, Options { jobs: 8, keep_going: false, ..Options::default() });
    assert_eq!(contents(&one.path("work/store")), contents(&many.path("work/store")));
}

#[test]
fn a_stage_that_became_equal_to_another_while_both_waited_runs_once() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    // Different sources of the same length: their lengths are the same artifact, so are the keys of
    // the stages below.
    let abc = sketch.write("abc", "abc");
    let xyz = sketch.write("xyz", "xyz");
    let one = sketch.stage("one", "length", json!({}), &[abc]);
    let two = sketch.stage("two", "length", json!({}), &[xyz]);
    sketch.join("below one", "!", &[one]);
    sketch.join("below two", "!", &[two]);
    let story = project.run_with(&sketch.plan, Options { jobs: 4, keep_going: false, ..Options::default() });
    let below: Vec<&str> = story.ran().into_iter().filter(|name| name.starts_with("below")).collect();
    assert_eq!(below.len(), 1, "{:?}", story.ran());
    assert_eq!(story.outcome.summary.fresh, 1);
    assert!(story.outcome.is_complete());
}
