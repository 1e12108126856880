//! Trainings that are killed go on where they were last saved, and end with the bytes of one that nobody
//! disturbed.
//!
//! `RUNNER_KILLS` says how often the random kills are done; a few suffice for every day.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use runner::cache::Cache;
use serde_json::Value;

use crate::faults::{verified, work};
use crate::sharded::base;
use crate::support::Project;

/// With dropout, whose draws must go on too, and an order that is drawn; in parts of batches. One training
/// changes adapters, the other everything.
const EXPERIMENT: &str = "\
title: To be killed
stages:
  data: {use: ingest, params: {name: mantis, path: 'mini:mantis/samples.json', images: 'mini:mantis/images', limit: 60}}
  adapted:
    use: train
    inputs: {model: {path: BASE}, data: data.pool}
    params: {rank: 4, alpha: 8, dropout: 0.2, epochs: 8, batch: 8, keep_optimizer: true, max_length: 96, seed: 3}
    execution: {micro_batch: 5, checkpoint_every: 50 ms}
  full:
    use: train
    inputs: {model: adapted.model, data: data.pool}
    params: {method: full, epochs: 4, batch: 8, weight_decay: 0.01, max_length: 96, seed: 4}
    execution: {micro_batch: 8, checkpoint_every: 50 ms}
";
const EXEC: [&str; 6] = ["exec", "e.yaml", "--format", "json", "--jobs", "1"];

fn project() -> Project {
    Project::of(&EXPERIMENT.replace("BASE", &base()))
}

/// All saves that are there, oldest first.
fn saves(project: &Project) -> Vec<PathBuf> {
    let below = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut saves: Vec<PathBuf> = below(work(project).join("kept"))
        .flat_map(below)
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .collect();
    saves.sort();
    saves
}

/// What the trainings of a run warned of.
fn warnings(told: &[u8]) -> Vec<String> {
    let events = serde_json::Deserializer::from_slice(told).into_iter::<Value>().map_while(Result::ok);
    let warnings = events.filter(|event| event["event"] == "warning");
    warnings.map(|event| event["message"].as_str().unwrap().to_string()).collect()
}

/// Starts a run, and kills it, or the stage process, after a while. Returns whether it was over before.
fn killed(project: &Project, after: Duration, stage: bool) -> bool {
    let mut command = project.command(&EXEC);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    if run.try_wait().unwrap().is_some() {
        return true;
    }
    let children = crate::faults::children(run.id());
    let victim = if stage { children.first().copied() } else { None }.unwrap_or(run.id() as i32);
    // SAFETY: the run was not waited for, so its number and those of its children are taken.
    unsafe { libc::kill(victim, libc::SIGKILL) };
    run.wait().unwrap();
    false
}

fn undisturbed() -> (BTreeSet<String>, Duration) {
    let project = project();
    // So that the miniature suite is made before the clock starts.
    assert!(project.output(&["exec", "e.yaml", "--only", "data"]).status.success());
    let since = Instant::now();
    let output = project.output(&EXEC);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (verified(&project), since.elapsed())
}

#[test]
fn a_training_killed_at_any_moment_ends_with_the_same_bytes() {
    let kills = std::env::var("RUNNER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let seed = std::env::var("RUNNER_KILLS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(11);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (expected, whole) = undisturbed();
    let (mut done, mut early, mut went_on, mut damaged) = (0, 0, 0, 0);
    while done < kills {
        let project = project();
        assert!(project.output(&["exec", "e.yaml", "--only", "data"]).status.success());
        for _ in 0..random.random_range(1..4) {
            let over = killed(&project, whole.mul_f64(random.random_range(0.1..0.9)), random.random_bool(0.5));
            (done, early) = (done + usize::from(!over), early + usize::from(over));
            assert!(early < 20 + 3 * kills, "the runs are over before they can be killed");
            // Every other time the newest save is not what it was, in one way or another.
            if let (Some(newest), true) = (saves(&project).pop(), random.random_bool(0.5)) {
                let mut bytes = fs::read(&newest).unwrap();
                let place = random.random_range(0..bytes.len());
                match random.random_bool(0.5) {
                    true => bytes[place] ^= 1 << random.random_range(0..8),
                    false => bytes.truncate(place),
                }
                fs::write(&newest, bytes).unwrap();
            }
        }
        let there = !saves(&project).is_empty();
        let output = project.output(&EXEC);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(verified(&project), expected, "kill {done} with seed {seed}");
        let warned = warnings(&output.stdout);
        let of = |what: &str| warned.iter().filter(|message| message.contains(what)).count();
        went_on += of("goes on after step");
        damaged += of("is damaged");
        assert!(!there || of("goes on after step") + of("is damaged") > 0, "{warned:?}");
        assert_eq!(saves(&project), Vec::<PathBuf>::new(), "what is not needed any more is gone");
    }
    assert!(went_on > 0 && damaged > 0, "{went_on} went on, {damaged} saves were damaged");
}

#[test]
fn a_training_that_went_on_says_so_in_its_log_and_costs_what_the_lost_process_had_spent() {
    let project = project();
    assert!(project.output(&["exec", "e.yaml", "--only", "data"]).status.success());
    let mut command = project.command(&EXEC);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(120);
    while saves(&project).len() < 2 && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let kept = saves(&project).last().unwrap().parent().unwrap().to_path_buf();
    let spent: Value = serde_json::from_slice(&fs::read(kept.join("spent.json")).unwrap()).unwrap();

    let output = project.output(&["exec", "e.yaml", "--format", "json", "--only", "adapted"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(warnings(&output.stdout)[0].starts_with("goes on after step "), "{:?}", warnings(&output.stdout));
    let log = project.output(&["log", "e.yaml", "adapted"]).stdout;
    let log = String::from_utf8(log).unwrap();
    assert!(
        log.contains("warning: goes on after step ") && log.contains(" of 64, from a save of an earlier run"),
        "{log}"
    );

    let events = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>().map_while(Result::ok);
    let own = events.filter(|event| event["event"] == "finished").last().unwrap()["wall"].as_f64().unwrap();
    let entry = Cache::open(&work(&project)).unwrap().entries().unwrap().pop().unwrap();
    let (lost, row) = (spent["wall"].as_f64().unwrap(), &entry.provenance);
    assert!(lost > 0.0 && spent["cpu"].as_f64().unwrap() > 0.0, "{spent}");
    assert!((row.wall - own - lost).abs() < 1e-6, "{} is not {own} and {lost}", row.wall);
    assert!(!kept.exists());
}

#[test]
fn an_interrupted_training_saves_what_it_has_before_it_stops() {
    let project = Project::of(&EXPERIMENT.replace("BASE", &base()).replace("50 ms", "10 min"));
    assert!(project.output(&["exec", "e.yaml", "--only", "data"]).status.success());
    let mut command = project.command(&EXEC);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let told = BufReader::new(run.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut steps = 0;
    for line in told {
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "progress" && event["stage"] == "adapted" && event["done"].as_u64() > Some(5) && steps == 0
        {
            steps = event["done"].as_u64().unwrap();
            // SAFETY: the run was not waited for, so its number is taken.
            unsafe { libc::kill(run.id() as i32, libc::SIGINT) };
        }
    }
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(saves(&project).len(), 1);

    let output = project.output(&["exec", "e.yaml", "--format", "json", "--only", "adapted"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let warned = warnings(&output.stdout);
    let after: u64 = warned[0].split_whitespace().nth(4).unwrap().parse().unwrap();
    assert!(warned[0].starts_with("goes on after step ") && after >= steps, "{warned:?} and {steps}");
}
