//! Stages that fail, and runs that end early.

use runner::scheduler::{Event, Options};
use serde_json::json;

use crate::project::{Project, Sketch, Story};

/// `bad` fails; `below` and `far` read it; `good` does not.
fn sketch(how: &str) -> Sketch {
    let mut sketch = Sketch::new();
    let bad = sketch.stage("bad", "fail", json!({"text": how}), &[]);
    let below = sketch.join("below", "", &[bad]);
    sketch.join("far", "", &[below]);
    sketch.write("good", "fine");
    sketch
}

fn failed(how: &str) -> (Project, Story) {
    let project = Project::new();
    let story = project.run(&sketch(how).plan);
    (project, story)
}

#[test]
fn a_failed_stage_leaves_its_log_and_nothing_else() {
    let (project, story) = failed("");
    let failure = &story.outcome.failures[0];
    assert_eq!(failure.stage, "bad");
    assert_eq!(failure.message, "loss is NaN at step 7");
    assert_eq!(failure.tail, ["error: loss is NaN at step 7"]);
    assert!(failure.log.starts_with(project.cache().directory().join("logs")));
    assert_eq!(project.cache().entries().unwrap(), []);
    assert_eq!(project.left_in("store"), Vec::<std::path::PathBuf>::new());
    assert_eq!(project.left_in("staging"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn without_keep_going_nothing_is_started_after_a_failure() {
    let (_, story) = failed("");
    assert_eq!(story.ran(), ["bad"]);
    let summary = &story.outcome.summary;
    assert_eq!((summary.failed, summary.skipped, summary.left), (1, 2, 1));
    assert!(!story.outcome.is_complete());
}

#[test]
fn with_keep_going_the_rest_runs_and_what_is_below_is_skipped() {
    let project = Project::new();
    let plan = sketch("").plan;
    let story = project.run_with(&plan, Options { jobs: 1, keep_going: true, ..Options::default() });
    assert_eq!(story.ran(), ["bad", "good"]);
    let skipped: Vec<&Event> = story.events.iter().filter(|event| matches!(event, Event::Skipped { .. })).collect();
    let skip = |stage: &str| Event::Skipped { stage: stage.to_string(), because: "bad".to_string() };
    assert_eq!(skipped, [&skip("below"), &skip("far")]);
    assert_eq!(project.text(&plan, "good"), "fine");
    assert_eq!(project.verdict(&plan, "bad"), "run: never ran");
}

#[test]
fn a_panic_is_a_failure() {
    let (_, story) = failed("panic");
    assert_eq!(story.outcome.failures[0].message, "panicked: this toy is broken");
}

#[test]
fn an_output_that_cannot_be_an_artifact_is_a_failure() {
    for (how, message) in [
        ("empty", "output `out` was left empty"),
        ("link", "output `out` holds the symbolic link `elsewhere`; write the file itself"),
        ("manifest", "output `out` holds `manifest.json`, a name that the store keeps for itself"),
    ] {
        let (project, story) = failed(how);
        let said = &story.outcome.failures[0].message;
        assert_eq!(said, message);
        assert_eq!(project.cache().entries().unwrap(), []);
    }
}

#[test]
fn a_result_made_of_a_file_that_changed_meanwhile_is_not_kept() {
    let project = Project::new();
    let file = project.file("data.txt", "one");
    let mut sketch = Sketch::new();
    sketch.read("data", &file, " and more");
    let story = project.run(&sketch.plan);
    let said = &story.outcome.failures[0].message;
    assert!(said.contains("changed after the experiment was planned"), "{said}");
    assert_eq!(project.cache().entries().unwrap(), []);
}

#[test]
fn an_unknown_kind_is_a_failure() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    sketch.stage("odd", "no such kind", json!({}), &[]);
    let story = project.run(&sketch.plan);
    assert_eq!(story.outcome.failures[0].message, "no stage kind `no such kind` in this build");
}

#[test]
fn an_interrupted_run_keeps_what_is_finished_and_the_next_one_goes_on() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    let mut last = sketch.write("s0", "0");
    for number in 1..5 {
        last = sketch.join(&format!("s{number}"), &number.to_string(), &[last]);
    }
    let toys = crate::toys::registry();
    let executor = runner::scheduler::InProcess::new(&toys);
    let options = Options { jobs: 1, keep_going: false, ..Options::default() };
    let story = project.run_until(&sketch.plan, options, &executor, |event, interrupt| {
        if matches!(event, Event::Finished { stage, .. } if stage == "s2") {
            interrupt.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert_eq!(story.ran(), ["s0", "s1", "s2"]);
    let summary = &story.outcome.summary;
    assert!(summary.interrupted);
    assert_eq!((summary.ran, summary.left), (3, 2));

    let story = project.run(&sketch.plan);
    assert_eq!(story.ran(), ["s3", "s4"]);
    assert_eq!(project.text(&sketch.plan, "s4"), "01234");
}

#[test]
fn the_summary_names_the_chain_that_took_longest_and_what_was_cut_off() {
    let project = Project::new();
    let sketch = |text: &str| {
        let mut sketch = Sketch::new();
        let source = sketch.write("source", text);
        let length = sketch.stage("length", "length", json!({}), &[source]);
        sketch.join("end", "", &[length]);
        sketch.write("alone", "x");
        sketch.plan
    };
    let summary = project.run(&sketch("abc")).outcome.summary;
    let path: Vec<&str> = summary.slowest.iter().map(|taken| taken.stage.as_str()).collect();
    assert!(path == ["source", "length", "end"] || path == ["alone"], "{path:?}");
    let summary = project.run(&sketch("abd")).outcome.summary;
    assert_eq!((summary.ran, summary.fresh, summary.cut_off), (2, 2, 1));
}
