//! Artifacts that get lost or damaged.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use runner::plan::Plan;
use runner::scheduler::{Event, Verdict, examine};
use serde_json::json;

use crate::project::{Project, Sketch};

fn chain(end: &str) -> Plan {
    let mut sketch = Sketch::new();
    let source = sketch.write("source", "abc");
    let middle = sketch.join("middle", "def", &[source]);
    sketch.join("end", end, &[middle]);
    sketch.plan
}

/// Writes to a file of the store, as no program should.
fn tamper(file: &Path, content: &str) {
    fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    fs::write(file, content).unwrap();
}

/// Gives a file the modification time that it had before someone wrote to it.
fn tamper_secretly(file: &Path, content: &str) {
    let before = fs::metadata(file).unwrap().modified().unwrap();
    tamper(file, content);
    fs::File::options().write(true).open(file).unwrap().set_modified(before).unwrap();
}

#[test]
fn a_deleted_output_is_dirty_and_made_again() {
    let project = Project::new();
    let plan = chain("");
    project.run(&plan);
    fs::remove_dir_all(project.artifact(&plan, "middle")).unwrap();
    let verdict = project.verdict(&plan, "middle");
    assert!(verdict.starts_with("run: output `out` (") && verdict.ends_with("is missing or damaged in the store"));
    let story = project.run(&plan);
    assert_eq!(story.ran(), ["middle"]);
    assert_eq!(story.fresh(), ["end"]);
    assert_eq!(project.verdict(&plan, "middle"), "fresh");
}

#[test]
fn an_output_with_a_deleted_or_an_added_file_is_set_aside() {
    for damage in [
        |artifact: &Path| fs::remove_file(artifact.join("text.txt")).unwrap(),
        |artifact: &Path| fs::write(artifact.join("more.txt"), "").unwrap(),
    ] {
        let project = Project::new();
        let plan = chain("");
        project.run(&plan);
        damage(&project.artifact(&plan, "middle"));
        assert_eq!(project.run(&plan).ran(), ["middle"]);
        assert_eq!(project.left_in("damaged").len(), 1);
    }
}

#[test]
fn what_was_looked_at_ahead_of_the_plan_is_dirty_too_if_it_was_damaged() {
    let project = Project::new();
    let plan = chain("");
    // The second run sees how the artifacts look.
    project.run(&plan);
    project.run(&plan);
    let verdicts = || {
        let mut cache = project.cache();
        cache.read_ahead(vec![plan.experiment.clone()]);
        let examination = examine(&plan, &mut cache).unwrap();
        ["source", "middle", "end"].map(|name| examination[plan.find(name).unwrap()].verdict == Verdict::Fresh)
    };
    assert_eq!(verdicts(), [true; 3]);
    tamper_secretly(&project.artifact(&plan, "middle").join("text.txt"), "abcdeF");
    assert_eq!(verdicts(), [true, false, false]);
    assert_eq!(project.run(&plan).ran(), ["middle"]);
    assert_eq!(verdicts(), [true; 3]);
}

#[test]
fn a_flipped_output_is_set_aside_and_made_again() {
    let project = Project::new();
    let plan = chain("");
    project.run(&plan);
    tamper_secretly(&project.artifact(&plan, "middle").join("text.txt"), "abcdeF");
    assert_eq!(project.run(&plan).ran(), ["middle"]);
    assert_eq!(project.text(&plan, "end"), "abcdef");
    let aside = project.left_in("damaged");
    assert_eq!(fs::read_to_string(aside[0].join("text.txt")).unwrap(), "abcdeF");
}

#[test]
fn an_output_that_was_only_touched_stays() {
    let project = Project::new();
    let plan = chain("");
    project.run(&plan);
    let file = project.artifact(&plan, "middle").join("text.txt");
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(yesterday).unwrap();
    assert_eq!(project.run(&plan).ran(), Vec::<&str>::new());
}

#[test]
fn an_input_that_is_damaged_during_the_run_is_made_again_before_it_is_read() {
    let project = Project::new();
    project.run(&chain(""));
    let plan = chain("ghi");
    let damaged = project.artifact(&plan, "middle").join("text.txt");
    let toys = crate::toys::registry();
    let executor = runner::scheduler::InProcess::new(&toys);
    let options = runner::scheduler::Options { jobs: 2, keep_going: false, ..Default::default() };
    // The examination finds everything in order; the bytes are looked at when `end` starts.
    let story = project.run_until(&plan, options, &executor, |event, _| {
        if matches!(event, Event::Planned { .. }) {
            tamper(&damaged, "abcdeF");
        }
    });
    assert_eq!(story.ran(), ["end", "middle", "end"]);
    assert!(story.events.iter().any(|event| matches!(event, Event::Warning { stage, .. } if stage == "middle")));
    assert_eq!(project.text(&plan, "end"), "abcdefghi");
}

#[test]
fn a_lost_result_that_comes_out_differently_is_recorded_as_a_divergence() {
    let project = Project::new();
    fs::write(project.path("note"), "one").unwrap();
    let mut sketch = Sketch::new();
    sketch.stage("odd", "peek", json!({"place": project.path("")}), &[]);
    project.run(&sketch.plan);
    let first = project.artifact(&sketch.plan, "odd");
    fs::remove_dir_all(&first).unwrap();
    fs::write(project.path("note"), "two").unwrap();
    project.run(&sketch.plan);

    let cache = project.cache();
    let divergences = cache.divergences().unwrap();
    assert_eq!(divergences.len(), 1);
    assert_eq!(cache.path(&divergences[0].first), first);
    assert_eq!(cache.path(&divergences[0].later), project.artifact(&sketch.plan, "odd"));
    assert_eq!(project.text(&sketch.plan, "odd"), "two");
    assert_eq!(project.run(&sketch.plan).ran(), Vec::<&str>::new());
}
