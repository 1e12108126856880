//! Runs as others see them while they go on, and stages that do not end. A stage stands still because its
//! process is stopped by a signal.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::data;
use crate::support::Project;

/// Long enough to be met at work.
const SAMPLES: usize = 20_000;
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn project(more: &str) -> Project {
    let stages = "stages:\n  data: {use: ingest, params: {name: toy, path: data.json}}\n";
    let rows: Vec<Value> = serde_json::from_str(&data(0)).unwrap();
    let many: Vec<&Value> = rows.iter().cycle().take(SAMPLES).collect();
    Project::of(&format!("{more}{stages}")).write("data.json", &serde_json::to_string(&many).unwrap())
}

/// A run whose stage stands still.
struct Held {
    run: Child,
    stage: libc::pid_t,
}

/// Runs the experiment, and stops the process of its stage as soon as it is there.
fn held(project: &Project) -> Held {
    let mut command = project.command(&["exec", "e.yaml", "--name", "slow", "--format", "json"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let stage = eventually(|| stage_of(&run));
    signal(stage, libc::SIGSTOP);
    Held { run, stage }
}

/// The process of a stage that `run` started.
fn stage_of(run: &Child) -> Option<libc::pid_t> {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    processes.into_iter().find(|process: &libc::pid_t| {
        let file = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default();
        // Behind the name in brackets: state, parent.
        let stat = file("stat");
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).and_then(|id| id.parse().ok());
        parent == Some(run.id()) && (file("cmdline").contains("__stage") || file("comm").trim() == "runner-stage")
    })
}

fn signal(process: libc::pid_t, signal: libc::c_int) {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "nothing came of it");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What `status` tells of the one run that there is.
fn status(project: &Project) -> Option<Value> {
    project.json(&["status", "--format", "json"]).pop()?.as_array_mut()?.pop()
}

/// What `status` tells once the stage runs.
fn running(project: &Project) -> Value {
    eventually(|| status(project).filter(|told| !told["state"]["running"].as_array().unwrap().is_empty()))
}

#[test]
fn a_run_that_goes_on_is_seen_by_another_process() {
    let project = project("");
    let Held { mut run, stage } = held(&project);
    let told = running(&project);
    assert_eq!((&told["word"], &told["alive"]), (&"running".into(), &true.into()));
    let state = &told["state"];
    assert_eq!((&state["name"], &state["process"]), (&"slow".into(), &run.id().into()));
    let stages = &state["running"];
    assert_eq!(
        (&stages[0]["stage"], &stages[0]["kind"], &stages[0]["attempt"]),
        (&"data".into(), &"ingest".into(), &1.into())
    );
    let text = project.run(&["status"]);
    assert!(text.contains("`slow`  running for "), "{text}");
    assert!(text.contains("\n  e: 0 of 1 stage\n  data  runs for "), "{text}");
    assert_eq!(text, project.run(&["status", "slow"]));

    signal(stage, libc::SIGCONT);
    assert!(run.wait().unwrap().success());
    let told = status(&project).unwrap();
    assert_eq!((&told["word"], &told["alive"]), (&"done".into(), &false.into()));
    assert_eq!(
        (&told["state"]["running"], &told["state"]["experiments"][0]["ran"]),
        (&Value::from(Vec::<u8>::new()), &1.into())
    );
}

#[test]
fn a_run_that_was_killed_is_told_from_one_that_goes_on() {
    let project = project("");
    let Held { mut run, .. } = held(&project);
    running(&project);
    run.kill().unwrap();
    run.wait().unwrap();
    let told = status(&project).unwrap();
    assert_eq!((&told["word"], &told["alive"]), (&"died".into(), &false.into()));
    let text = project.run(&["status"]);
    assert!(text.contains("its last word was at ") && text.contains("\n  data ran when it died\n"), "{text}");
}

#[test]
fn a_stage_that_hangs_is_stopped_after_the_timeout_of_its_kind_and_tried_again() {
    let project = project("execution:\n  ingest: {timeout: 3 s, retries: 1, backoff: 10 ms}\n");
    let Held { run, stage } = held(&project);
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success());
    let events: Vec<Value> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect();
    // How long it takes yet is told every second of a stage that takes longer.
    let steps = events.iter().map(|event| event["event"].as_str().unwrap());
    let names: Vec<&str> = steps.filter(|name| !["progress", "outlook"].contains(name)).collect();
    assert_eq!(names[..4], ["planned", "started", "retrying", "finished"]);
    let retrying = events.iter().find(|event| event["event"] == "retrying").unwrap();
    assert_eq!(retrying["message"], "it took longer than its `execution.timeout` of 3 s, and was stopped");
    assert_eq!((&retrying["attempt"], &retrying["attempts"]), (&2.into(), &2.into()));
    // SAFETY: signal 0 only asks whether the process is there.
    assert_eq!(unsafe { libc::kill(stage, 0) }, -1);
}
