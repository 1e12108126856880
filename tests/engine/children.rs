//! Stages as child processes: shell scripts stand for the program. `$0` is the path of the call.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use runner::plan::Plan;
use runner::scheduler::{ChildProcess, Event, Executor, Halt, Job, Options, Usage};
use runner::stage::{Execution, Progress};
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
    let (head, rest): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.starts_with('#'));
    for (name, value) in [("stage", "child"), ("param", "answer: 42"), ("key", &entry.fingerprint.to_string())] {
        assert!(head.contains(&format!("# {name:<12}{value}").as_str()), "{log}");
    }
    let mut lines = rest;
    lines.sort();
    assert_eq!(lines, ["not an update", "to the log"]);
}

#[test]
fn a_child_may_say_how_much_memory_it_had() {
    let (project, _) = run(r#"echo '{"memory":123456}'; echo done > "$out/text.txt""#);
    assert_eq!(project.cache().entries().unwrap()[0].provenance.memory, Some(123_456));
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
    let start = "its process was killed (signal 9), probably for lack of memory: it had used ";
    let end = "; a smaller `execution: {micro_batch: …}` takes less, it is 32 now";
    assert!(message.starts_with(start) && message.ends_with(end), "{message}");
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

/// Only Linux lets a process adopt what its descendants leave behind.
#[cfg(target_os = "linux")]
#[test]
fn what_a_child_leaves_running_in_a_session_of_its_own_is_killed_too() {
    let late = r#"
        setsid sh -c 'sleep 0.2; sleep 1; echo late > "$1"' daemon "$out/text.txt" > /dev/null 2>&1 &
        sleep 0.1
        echo now > "$out/text.txt""#;
    let (project, story) = run(late);
    assert!(story.outcome.is_complete(), "{:?}", story.outcome.failures);
    let left = "it left processes behind when it ended; they were killed".to_string();
    assert!(story.events.contains(&Event::Warning { stage: "child".to_string(), message: left }), "{:?}", story.events);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(project.text(&plan(), "child"), "now\n");
}

#[test]
fn of_a_flood_into_the_log_the_beginning_and_the_end_are_kept() {
    let (project, story) =
        run("echo first >&2; head -c 40000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; exit 1");
    let failure = &story.outcome.failures[0];
    assert_eq!(failure.tail.last().unwrap(), "last");
    let log = std::fs::read(&failure.log).unwrap();
    let text = String::from_utf8_lossy(&log);
    assert!(text.contains("\n#\nfirst\nxxx") && log.len() < 17 << 20, "{}", log.len());
    assert!(text.contains("MiB are left out here"));
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

/// Runs a script with another way to run.
fn run_as(execution: Execution, text: &str) -> (Project, Story) {
    let project = Project::new();
    let mut sketch = Sketch::new();
    let mut child = crate::project::planned("child", "script", json!({}), &[]);
    child.execution = Arc::new(execution);
    sketch.plan.add(child);
    let options = Options { jobs: 1, keep_going: false, ..Options::default() };
    let story = project.run_by(&sketch.plan, options, &script(text));
    (project, story)
}

#[test]
fn a_stage_that_takes_too_long_is_stopped_with_all_that_it_started() {
    let timeout = Some("200 ms".parse().unwrap());
    let since = Instant::now();
    let (project, story) = run_as(
        Execution { timeout, ..Execution::default() },
        r#"echo half > "$out/text.txt"
        pids="$(dirname "$0")/../../../pids"
        sleep 60 & echo $! > "$pids"
        [ "$(uname)" = Linux ] && { setsid sleep 60 & echo $! >> "$pids"; }
        wait"#,
    );
    assert!(since.elapsed() < Duration::from_secs(10));
    let message = &story.outcome.failures[0].message;
    assert_eq!(message, "it took longer than its `execution.timeout` of 200 ms, and was stopped");
    assert_eq!(project.left_in("store").len(), 0);
    for pid in std::fs::read_to_string(project.path("work/pids")).unwrap().lines() {
        // A process that nobody reaped yet is dead too.
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
}

/// Fails until it is tried for the third time; the outputs of earlier attempts must be gone.
const THIRD_TIME: &str = r#"ls "$out" | grep . && exit 9
    echo half > "$out/half.txt"
    tries="$(dirname "$0")/tries"; echo >> "$tries"
    echo "attempt $(wc -l < "$tries")" >&2
    [ "$(wc -l < "$tries")" = 3 ] || exit 7
    rm "$out/half.txt"; echo done > "$out/text.txt""#;

fn execution(retries: u32) -> Execution {
    Execution { retries, backoff: "20 ms".parse().unwrap(), ..Execution::default() }
}

#[test]
fn a_stage_that_fails_is_tried_again_and_every_attempt_keeps_its_log() {
    let (project, story) = run_as(execution(2), THIRD_TIME);
    assert!(story.outcome.is_complete());
    let retries: Vec<(u32, u32, &str, f64)> = story
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Retrying { attempt, attempts, message, pause, .. } => {
                Some((*attempt, *attempts, &**message, *pause))
            }
            _ => None,
        })
        .collect();
    let message = "its process exited with status 7";
    assert_eq!(retries, [(2, 3, message, 0.02), (3, 3, message, 0.04)]);
    let logs: std::collections::BTreeSet<String> = project
        .left_in("logs")
        .iter()
        .map(|log| {
            let text = std::fs::read_to_string(log).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).collect()
        })
        .collect();
    assert_eq!(logs.into_iter().collect::<Vec<_>>(), ["attempt 1", "attempt 2", "attempt 3"]);
}

#[test]
fn after_the_last_attempt_a_stage_has_failed() {
    let (_, story) = run_as(execution(1), THIRD_TIME);
    assert_eq!(story.outcome.failures[0].message, "its process exited with status 7 (attempt 2 of 2)");
    assert_eq!(story.outcome.failures[0].tail, ["attempt 2"]);
}

#[test]
fn a_device_without_memory_is_recognised_by_its_last_words() {
    let (_, story) = run("echo 'DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")' >&2; exit 101");
    assert_eq!(
        story.outcome.failures[0].message,
        "its process exited with status 101: the device ran out of memory; a smaller `execution: {micro_batch: …}` \
         takes less, it is 32 now"
    );
}

/// An executor with a defect.
struct Defect;

impl Executor for Defect {
    fn execute(&self, _: &Job<'_>, _: &dyn Progress, _: &AtomicBool) -> Result<Usage, Halt> {
        panic!("index out of bounds");
    }

    fn command(&self, _: &Job<'_>) -> String {
        "none".to_string()
    }
}

#[test]
fn a_panic_of_the_runner_itself_fails_the_stage_and_ends_the_run() {
    let project = Project::new();
    let options = Options { jobs: 1, keep_going: false, ..Options::default() };
    let story = project.run_by(&plan(), options, &Defect);
    assert_eq!(story.outcome.failures[0].message, "the runner itself panicked: index out of bounds");
    assert_eq!(project.left_in("store").len(), 0);
    let good = script(r#"printf abc > "$out/text.txt""#);
    assert_eq!(project.run_by(&plan(), Options::default(), &good).ran(), ["child"]);
}
