//! What starts when.

use std::sync::Arc;

use runner::scheduler::{Event, Options};
use serde_json::json;

use crate::project::{Project, Sketch, planned};

#[test]
fn the_head_of_the_longest_chain_starts_first() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    sketch.write("alone", "1");
    let short = sketch.write("short", "2");
    let long = sketch.write("long", "3");
    sketch.join("short 2", "", &[short]);
    let long = sketch.join("long 2", "x", &[long]);
    sketch.join("long 3", "y", &[long]);
    let story = project.run(&sketch.plan);
    assert_eq!(story.ran()[..3], ["long", "long 2", "short"]);
}

#[test]
fn stages_run_at_the_same_time_as_far_as_there_are_slots() {
    let project = Project::new();
    let place = project.path("place");
    std::fs::create_dir(&place).unwrap();
    let mut sketch = Sketch::new();
    for name in ["a", "b", "c"] {
        sketch.stage(name, "meet", json!({"name": name, "place": place, "number": 3}), &[]);
    }
    let story = project.run_with(&sketch.plan, Options { jobs: 3, keep_going: false, ..Options::default() });
    assert!(story.outcome.is_complete(), "{:?}", story.outcome.failures);
}

#[test]
fn a_stage_takes_as_many_slots_as_it_has_threads() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    for number in 0..6 {
        let mut stage = planned(&number.to_string(), "write", json!({"text": number.to_string()}), &[]);
        Arc::make_mut(&mut stage.execution).threads = if number == 3 { 2 } else { 1 };
        sketch.plan.add(stage);
    }
    let story = project.run_with(&sketch.plan, Options { jobs: 2, keep_going: false, ..Options::default() });
    assert!(story.outcome.is_complete());
    let mut running = Vec::new();
    for event in &story.events {
        match event {
            Event::Started { stage, .. } => running.push(stage.clone()),
            Event::Finished { stage, .. } => running.retain(|other| other != stage),
            _ => {}
        }
        assert!(running.len() <= if running.contains(&"3".to_string()) { 1 } else { 2 }, "{running:?}");
    }
}

#[test]
fn a_stage_with_more_threads_than_there_are_slots_runs_with_fewer() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    let mut wide = planned("wide", "write", json!({"text": "w"}), &[]);
    Arc::make_mut(&mut wide.execution).threads = 64;
    sketch.plan.add(wide);
    assert!(project.run(&sketch.plan).outcome.is_complete());
}

#[test]
fn the_summary_says_what_the_run_cost_and_what_the_cache_saved() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    let first = sketch.write("first", "1");
    sketch.plan.share(first, "again".to_string());
    let cold = project.run(&sketch.plan).outcome.summary;
    assert_eq!((cold.ran, cold.fresh, cold.shared), (1, 0, 1));
    assert!(cold.cpu > 0.0 && cold.wall > 0.0 && cold.saved == 0.0);
    sketch.join("second", "2", &[first]);
    let warm = project.run(&sketch.plan).outcome.summary;
    assert_eq!((warm.ran, warm.fresh), (1, 1));
    assert_eq!(warm.saved, cold.cpu);
}
