//! The program is killed, and what it keeps is damaged; the next run completes all the same.
//!
//! `RUNNER_KILLS` says how often the random kills are done; a few suffice for every day.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use runner::cache::{Cache, Health, Point};
use runner::stage::Execution;
use serde_json::Value;

use crate::support::Project;

pub const EXPERIMENT: &str = "\
title: To be killed
seeds: 3
stages:
  data: {use: ingest, params: {name: toy, path: data.json}}
  few: {use: prune, inputs: {pool: data.pool}, params: {budget: 6, method: random}}
  pick: {use: select, inputs: {pool: few.pool}, params: {budget: 3, allocation: whole, sampler: random}}
";
pub const STAGES: usize = 7;
pub const EXEC: [&str; 6] = ["exec", "e.yaml", "--format", "json", "--jobs", "2"];

pub fn data(first: usize) -> String {
    let sample = |id: usize| {
        let (question, answer) = (format!("What is {id}?"), format!("It is {}.", id + 1));
        serde_json::json!({"id": id.to_string(), "conversations": [
            {"from": "human", "value": question}, {"from": "gpt", "value": answer}]})
    };
    Value::from((first..first + 9).map(sample).collect::<Vec<_>>()).to_string()
}

pub fn project() -> Project {
    Project::of(EXPERIMENT).write("data.json", &data(0))
}

pub fn work(project: &Project) -> PathBuf {
    project.path().join(".runner")
}

/// The stages that were started, and all else that a run told.
pub fn ran(told: &[u8]) -> Vec<String> {
    let events = serde_json::Deserializer::from_slice(told).into_iter::<Value>().map_while(Result::ok);
    let started = events.filter(|event| event["event"] == "started");
    started.map(|event| event["stage"].as_str().unwrap().to_string()).collect()
}

/// The names of the stages that have a row.
fn recorded(project: &Project) -> BTreeSet<String> {
    let entries = Cache::open(&work(project)).unwrap().entries().unwrap();
    entries.into_iter().map(|entry| entry.provenance.name).collect()
}

/// What every stage made, and that every byte of it is as its digest says.
pub fn verified(project: &Project) -> BTreeSet<String> {
    verified_in(&work(project))
}

/// The same of another work directory.
pub fn verified_in(work: &Path) -> BTreeSet<String> {
    let cache = Cache::open(work).unwrap();
    let mut results = BTreeSet::new();
    for entry in cache.entries().unwrap() {
        for (slot, artifact) in &entry.outputs {
            assert_eq!(cache.store().verify_again(&artifact.digest), Health::Intact, "{}", entry.provenance.name);
            results.insert(format!("{}.{slot} {}", entry.fingerprint, artifact.digest));
        }
    }
    results
}

/// The next run completes, runs nothing that has a row, and ends with the very results of a run that nobody
/// disturbed.
fn recovers(project: &Project, expected: &BTreeSet<String>, what: &str) {
    let before = recorded(project);
    let output = project.output(&EXEC);
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    let ran = ran(&output.stdout);
    assert_eq!(ran.len() + before.len(), STAGES, "{what}: {before:?} were there, and {ran:?} ran");
    assert!(ran.iter().all(|stage| !before.contains(stage)), "{what}: {before:?} were there, and {ran:?} ran");
    assert_eq!(verified(project), *expected, "{what}");
    let again = project.output(&EXEC);
    assert!(self::ran(&again.stdout).is_empty(), "{what}: nothing is left to do");
}

pub fn undisturbed() -> BTreeSet<String> {
    let project = project();
    assert!(project.output(&EXEC).status.success());
    let results = verified(&project);
    assert_eq!(results.len(), STAGES);
    results
}

#[test]
fn a_run_killed_at_any_step_of_a_commit_goes_on_where_it_was() {
    let expected = undisturbed();
    for point in Point::COMMIT {
        let times: &[usize] = if point == Point::SessionMade { &[1] } else { &[1, 3] };
        for time in times {
            let project = project();
            let at = format!("{}:{time}", point.name());
            let output = project.command(&EXEC).env("RUNNER_DIE_AT", &at).output().unwrap();
            assert_eq!(
                output.status.signal(),
                Some(libc::SIGKILL),
                "{at}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            recovers(&project, &expected, &at);
        }
    }
}

/// The processes that a process has started.
pub fn children(process: u32) -> Vec<i32> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    found
}

#[test]
fn whoever_is_killed_whenever_the_next_run_completes() {
    let kills = std::env::var("RUNNER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let seed = std::env::var("RUNNER_KILLS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let expected = undisturbed();
    let since = Instant::now();
    undisturbed();
    let whole = since.elapsed();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut done, mut early) = (0, 0);
    while done < kills {
        let project = project();
        // Several kills of one run that starts again and again.
        for _ in 0..random.random_range(1..5) {
            let mut command = project.command(&EXEC);
            let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(whole.mul_f64(random.random_range(0.0..1.0)));
            let stages = children(run.id());
            let victim = match stages.len() {
                0 => run.id() as i32,
                many if random.random_bool(0.4) => stages[random.random_range(0..many)],
                _ => run.id() as i32,
            };
            let over = run.try_wait().unwrap().is_some();
            if !over {
                // SAFETY: the run was not waited for, so its number and those of its children are taken.
                unsafe { libc::kill(victim, libc::SIGKILL) };
            }
            run.wait().unwrap();
            if over {
                // Nothing is left that the next one could be killed in.
                early += 1;
                break;
            }
            done += 1;
            assert!(early < 20 + 3 * kills, "the runs are over before they can be killed");
        }
        recovers(&project, &expected, &format!("kill {done} with seed {seed}"));
    }
}

/// Flips a bit, or cuts the end off.
#[cfg(target_os = "linux")]
#[test]
fn stages_are_forked_in_a_nursery_and_started_without_one_if_it_is_killed() {
    let expected = undisturbed();
    for kill in [false, true] {
        let project = project();
        let mut run = project.command(&EXEC).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let name = |child: &i32| fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        let since = Instant::now();
        let nursery = loop {
            let found = children(run.id()).into_iter().find(|child| name(child).trim() == "runner-nursery");
            match found {
                Some(nursery) => break nursery,
                None => assert!(since.elapsed().as_secs() < 20 && run.try_wait().unwrap().is_none(), "no nursery"),
            }
        };
        if kill {
            // SAFETY: a plain system call; the parent did not wait for the nursery yet.
            unsafe { libc::kill(nursery, libc::SIGKILL) };
        }
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(verified(&project), expected);
        assert!(!Path::new(&format!("/proc/{nursery}")).exists());
    }
}

fn damage(path: &Path, random: &mut ChaCha8Rng) {
    let mut bytes = fs::read(path).unwrap();
    let place = random.random_range(0..bytes.len());
    match random.random_bool(0.7) {
        true => bytes[place] ^= 1 << random.random_range(0..8),
        false => bytes.truncate(place),
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
    found.sort();
}

#[test]
fn damaged_artifacts_are_found_and_made_again() {
    let expected = undisturbed();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let project = project();
    project.output(&EXEC);
    for round in 0..12 {
        let mut all = Vec::new();
        files(&work(&project).join("store"), &mut all);
        for _ in 0..=round % 3 {
            damage(&all[random.random_range(0..all.len())], &mut random);
        }
        let output = project.output(&EXEC);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ran = ran(&output.stdout);
        assert!(!ran.is_empty() && ran.len() <= 1 + round % 3, "{ran:?}");
        assert_eq!(verified(&project), expected);
    }
}

#[test]
fn a_damaged_database_is_made_again_from_the_journal() {
    let expected = undisturbed();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for round in 0..24 {
        let project = project();
        project.output(&EXEC);
        let path = work(&project).join("cache.sqlite");
        match round {
            0 => fs::remove_file(&path).unwrap(),
            1 => fs::write(&path, "").unwrap(),
            2 => fs::write(&path, "no database at all, and longer than the header of one would have to be ".repeat(9))
                .unwrap(),
            _ => damage(&path, &mut random),
        }
        let runs: Vec<_> = (0..2).map(|_| project.output(&EXEC)).collect();
        let last = runs.last().unwrap();
        let told = String::from_utf8_lossy(&last.stderr);
        // A flip in the number of the schema looks like a newer program, which may not be touched.
        assert!(last.status.success() || told.contains("has schema"), "round {round}: {told}");
        if last.status.success() {
            assert!(verified(&project).is_superset(&expected) || verified(&project).len() == STAGES, "round {round}");
        }
        if round < 3 {
            assert!(ran(&runs[0].stdout).is_empty(), "all that was recorded is in the journal");
        }
    }
}

/// The program without the rights of root to write where the mode says no.
fn unprivileged(mut command: Command) -> Command {
    let give_up = || {
        for capability in [1, 2, 3] {
            // SAFETY: a plain system call; it fails where there is nothing to give up.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(give_up) };
    command
}

#[test]
fn a_directory_that_cannot_be_written_is_said_and_nothing_is_lost() {
    let expected = undisturbed();
    for (place, said) in [("", "cannot be written"), ("store", "`"), ("staging", "`"), ("logs", "`")] {
        let project = project();
        project.output(&["exec", "e.yaml", "--only", "data"]);
        let directory = work(&project).join(place);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
        let output = unprivileged(project.command(&EXEC)).output().unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        if place != "store" {
            assert_eq!(output.status.code(), Some(1), "{place}: {told}");
        }
        assert!(told.contains(said), "{place}: {told}");
        assert!(project.output(&EXEC).status.success());
        assert_eq!(verified(&project), expected, "{place}");
    }
}

#[test]
fn a_stage_says_how_much_memory_it_had_itself_whoever_started_it() {
    // The system counts what the process that starts another one has as that one's, too.
    let ballast = vec![1u8; 300 << 20];
    let call = serde_json::json!({
        "kind": "prune", "params": {}, "inputs": {}, "outputs": {}, "locations": {}, "execution": Execution::default()
    });
    let project = project().write("call.json", &call.to_string());
    let output = project.output(&["__stage", "call.json"]);
    drop(std::hint::black_box(ballast));
    let told: Value = serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let memory = told["memory"].as_u64().unwrap();
    assert!((1 << 20..200 << 20).contains(&memory), "{memory}");
}

#[test]
fn a_disk_that_is_full_at_any_size_is_said_and_the_next_run_goes_on() {
    let expected = undisturbed();
    for limit in [0, 100, 2_000, 20_000, 60_000, 100_000] {
        let project = project();
        let mut command = project.command(&EXEC);
        let no_more = move || {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            // SAFETY: plain system calls. Without the signal a write beyond the limit is an error.
            unsafe {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
            }
            Ok(())
        };
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(no_more) };
        let output = command.stdout(Stdio::null()).output().unwrap();
        assert!(output.status.code().is_some_and(|code| code <= 2), "{limit}: {:?}", output.status);
        let again = project.output(&EXEC);
        assert!(again.status.success(), "{limit}: {}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(verified(&project), expected, "{limit}");
    }
}
