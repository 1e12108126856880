//! Stages as child processes: shell scripts stand for the program. `$0` is the path of the call.

use std::time::{Duration, Instant};

use runner::plan::Plan;
use runner::scheduler::{ChildProcess, Event, Options};
use serde_json::json;

use crate::project::{Project, Sketch, Story};

fn plan() -> Plan {
    let mut sketch = Sketch::new();
    sketch.stage("child", "script", json!({"answer": 42}), &[]);
    sketch.plan
}

fn script(text: &str) -> ChildProcess {
    let prelude = r#"out="$(dirname "$0")/outputs/out""#;
    ChildProcess::new("/bin/sh".into(), ["-c", &format!("{prelude}\n{text}")])
}

fn run(text: &str) -> (Project, Story) {
    let project = Project::new();
    let story = project.run_by(&plan(), Options { jobs: 1, keep_going: false, ..Options::default() }, &script(text));
    (project, story)
}

#[test]
fn a_child_gets_its_call_reports_progress_and_leaves_its_result() {
    let (project, story) = run(r#"echo '{"progress":{"done":1,"total":2,"unit":"samples"}}'
        echo '{"warning":"an image is missing"}'
        echo 'not an update'
        echo 'to the log' >&2
        grep -o '"answer": 42' "$0" > "$out/text.txt"
        printf '{"progress":{"done":2,"total":2,"unit":"samples"}}\n'"#);
    let stage = || "child".to_string();
    let progress = |done| Event::Progress { stage: stage(), done, total: 2, unit: "samples".to_string() };
    let told: Vec<&Event> =
        story.events.iter().filter(|event| matches!(event, Event::Progress { .. } | Event::Warning { .. })).collect();
    let warning = Event::Warning { stage: stage(), message: "an image is missing".to_string() };
    assert_eq!(told, [&progress(1), &warning, &progress(2)]);
    assert_eq!(project.text(&plan(), "child"), "\"answer\": 42\n");

    let cache = project.cache();
    let entry = cache.entries().unwrap().pop().unwrap();
    assert!(entry.provenance.memory.unwrap() > 100_000, "{:?}", entry.provenance);
    let log = std::fs::read_to_string(cache.log(&entry.fingerprint)).unwrap();
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort();
    assert_eq!(lines, ["not an update", "to the log"]);
}

#[test]
fn a_child_sees_a_small_environment_with_its_threads() {
    let (project, _) = run(r#"env > "$out/text.txt""#);
    let text = project.text(&plan(), "child");
    assert!(text.contains("RAYON_NUM_THREADS=1\n"), "{text}");
    assert!(text.contains("PATH="), "{text}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!text.contains("CARGO_MANIFEST_DIR"), "{text}");
}

#[test]
fn a_child_that_exits_with_an_error_fails_with_the_end_of_its_log() {
    let (project, story) = run("echo one >&2; echo 'error: two' >&2; exit 1");
    let failure = &story.outcome.failures[0];
    assert_eq!(failure.message, "its process exited with status 1");
    assert_eq!(failure.tail, ["one", "error: two"]);
    assert_eq!(project.cache().entries().unwrap(), []);
}

#[test]
fn a_killed_child_leaves_no_row_and_nothing_in_the_store() {
    let (project, story) = run(r#"echo half > "$out/text.txt"; kill -9 $$"#);
    let message = &story.outcome.failures[0].message;
    assert_eq!(message, "its process was killed (signal 9); was there enough memory for it?");
    assert_eq!(project.cache().entries().unwrap(), []);
    assert_eq!((project.left_in("store").len(), project.left_in("staging").len()), (0, 0));
}

#[test]
fn a_program_that_is_not_there_is_a_failure() {
    let project = Project::new();
    let missing = ChildProcess::new("/no/such/program".into(), ["__stage"]);
    let story = project.run_by(&plan(), Options { jobs: 1, keep_going: false, ..Options::default() }, &missing);
    let message = &story.outcome.failures[0].message;
    assert!(message.starts_with("cannot run its process: "), "{message}");
}

/// Runs a script that says when it has begun, and interrupts it then.
fn interrupted(text: &str) -> (Project, Story, Duration) {
    let project = Project::new();
    let mut since = Instant::now();
    let executor = script(text);
    let story = project.run_until(
        &plan(),
        Options { jobs: 1, keep_going: false, ..Options::default() },
        &executor,
        |event, interrupt| {
            if matches!(event, Event::Progress { .. }) {
                since = Instant::now();
                interrupt.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        },
    );
    (project, story, since.elapsed())
}

const BEGUN: &str = r#"echo '{"progress":{"done":0,"total":1,"unit":"naps"}}'"#;

#[test]
fn an_interrupt_ends_a_child_with_all_that_it_started_and_the_next_run_goes_on() {
    let (project, story, took) = interrupted(&format!("{BEGUN}\nsleep 60 & sleep 60; wait"));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(story.events.contains(&Event::Stopping));
    let summary = &story.outcome.summary;
    assert_eq!((summary.interrupted, summary.failed, summary.left), (true, 0, 1));
    assert_eq!(project.left_in("staging").len(), 0);

    let next = script(r#"echo done > "$out/text.txt""#);
    let story = project.run_by(&plan(), Options { jobs: 1, keep_going: false, ..Options::default() }, &next);
    assert!(story.outcome.is_complete());
}

#[test]
fn a_child_that_does_not_want_to_stop_is_killed() {
    let (_, story, took) = interrupted(&format!("trap '' TERM\n{BEGUN}\nwhile true; do sleep 1; done"));
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(story.outcome.summary.left, 1);
}

#[test]
fn what_a_child_leaves_running_is_killed_before_its_outputs_are_looked_at() {
    let late = r#"(sleep 1; echo late > "$out/text.txt") & echo now > "$out/text.txt""#;
    let (project, story) = run(late);
    assert!(story.outcome.is_complete(), "{:?}", story.outcome.failures);
    let left = "it left processes behind when it ended; they were killed".to_string();
    assert!(story.events.contains(&Event::Warning { stage: "child".to_string(), message: left }));
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(project.text(&plan(), "child"), "now\n");
    assert_eq!(project.run_by(&plan(), Options::default(), &script("exit 1")).ran(), Vec::<&str>::new());
}

#[test]
fn of_a_flood_into_the_log_the_beginning_and_the_end_are_kept() {
    let (project, story) =
        run("echo first >&2; head -c 40000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; exit 1");
    let failure = &story.outcome.failures[0];
    assert_eq!(failure.tail.last().unwrap(), "last");
    let log = std::fs::read(&failure.log).unwrap();
    assert!(log.starts_with(b"first\nxxx") && log.len() < 17 << 20, "{}", log.len());
    assert!(String::from_utf8_lossy(&log).contains("MiB are left out here"));
    assert_eq!(project.cache().entries().unwrap(), []);
}

#[test]
fn of_a_flood_of_progress_the_newest_is_told() {
    let flood = r#"awk 'BEGIN { for (i = 1; i <= 200000; i++) printf "{\"progress\":{\"done\":%d,\"total\":200000,\"unit\":\"samples\"}}\n", i }'
        echo done > "$out/text.txt""#;
    let (_, story) = run(flood);
    let told: Vec<u64> = story
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Progress { done, .. } => Some(*done),
            _ => None,
        })
        .collect();
    assert_eq!((told[0], *told.last().unwrap()), (1, 200_000));
    assert!(told.len() < 2_000 && told.is_sorted(), "{}", told.len());
}

#[test]
fn a_child_that_writes_into_its_input_is_a_failure_and_the_input_is_made_again() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    let source = sketch.write("source", "abc");
    sketch.stage("child", "script", json!({}), &[source]);
    let make = script(
        r#"if grep -q '"kind": "write"' "$0"; then printf abc > "$out/text.txt"; exit 0; fi
        input=$(grep -o '"0": "[^"]*"' "$0" | cut -d '"' -f 4)
        echo more > "$input/more.txt"; echo done > "$out/text.txt""#,
    );
    let story = project.run_by(&sketch.plan, Options::default(), &make);
    let message = &story.outcome.failures[0].message;
    assert!(message.starts_with("its input `0` (`"), "{message}");
    assert!(message.contains("changed while it ran, so its result is not kept"), "{message}");

    let good = script(r#"printf abc > "$out/text.txt""#);
    let story = project.run_by(&sketch.plan, Options::default(), &good);
    assert_eq!(story.ran(), ["source", "child"]);
    assert!(story.outcome.is_complete());
    assert_eq!(project.left_in("damaged").len(), 1);
}
