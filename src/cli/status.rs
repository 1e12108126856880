//! `runner status`: what runs on a work directory and what ran last, from any terminal.

use std::fmt::Write as _;

use serde_json::json;

use super::arguments::{Format, Status};
use super::failure::{Exit, Failure};
use super::records::{Awaited, Record, Running, State, find, records};
use crate::console;
use crate::devices::Device;
use crate::text::{count, duration, now, timestamp};

/// So many runs that ended are listed, unless all are asked for.
const RECENT: usize = 5;

/// Shows one run, or those that run and ran last.
pub fn status(arguments: &Status) -> Result<Exit, Failure> {
    let directory = &arguments.store.directory;
    if !directory.is_dir() {
        let message = format!("there is no work directory `{}`", directory.display());
        return Err(Failure::usage(message, Some("`runner exec <experiment>` makes one; `--store` names another")));
    }
    let all = records(directory);
    let chosen: Vec<Record> = match &arguments.run {
        Some(run) => vec![find(all, run)?],
        None => {
            let ended = all.iter().filter(|record| !record.alive).count();
            let mut skip = if arguments.all { 0 } else { ended.saturating_sub(RECENT) };
            let mut recent = |record: &Record| {
                let old = !record.alive && skip > 0;
                skip -= usize::from(old);
                !old
            };
            all.into_iter().filter(|record| recent(record)).collect()
        }
    };
    if arguments.format.format == Format::Json {
        let told: Vec<_> = chosen
            .iter()
            .map(|record| json!({"state": record.state, "alive": record.alive, "word": word(record)}))
            .collect();
        console::print(&format!("{:#}\n", json!(told)));
        return Ok(Exit::Done);
    }
    let detailed = arguments.run.is_some();
    let texts: Vec<String> = chosen.iter().map(|record| text(record, detailed || record.alive, now())).collect();
    console::print(&texts.concat());
    if texts.is_empty() {
        console::note("no run has left a record here");
    }
    Ok(Exit::Done)
}

/// How a run is, in one word.
fn word(record: &Record) -> &str {
    match (&record.state.exit, record.alive) {
        (Some(exit), _) => exit,
        (None, true) => "running",
        (None, false) => "died",
    }
}

fn text(record: &Record, detailed: bool, now: f64) -> String {
    let State {
        id,
        name,
        command,
        host,
        process,
        started,
        updated,
        ended,
        experiments,
        running,
        awaited,
        failed,
        remaining,
        ..
    } = &record.state;
    let name = name.as_ref().map_or(String::new(), |name| format!(" `{name}`"));
    let when = match (ended, record.alive) {
        (Some(ended), _) => format!("{}, after {}", timestamp(*ended), duration(ended - started)),
        (None, true) => format!("for {} on {host}, process {process}", duration(now - started)),
        (None, false) => format!("on {host}, process {process}; its last word was at {}", timestamp(*updated)),
    };
    let mut text = format!("{id}{name}  {} {when}\n", word(record));
    if detailed {
        let _ = writeln!(text, "  {}", command.join(" "));
    }
    for share in experiments {
        let done = share.fresh + share.ran;
        let mut parts = vec![format!("{done} of {}", count(share.stages, "stage"))];
        let counts = [(share.fresh, "fresh"), (share.ran, "ran"), (share.failed, "failed"), (share.skipped, "skipped")];
        parts.extend(counts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")));
        let _ = writeln!(text, "  {}: {}", share.experiment, parts.join(", "));
    }
    if !record.alive && ended.is_none() {
        for Running { stage, .. } in running {
            let _ = writeln!(text, "  {stage} ran when it died");
        }
    }
    if record.alive {
        for stage in running {
            let _ = writeln!(text, "  {}", runs(stage, now));
        }
        for Awaited { stage, host, process } in awaited {
            let _ = writeln!(text, "  {stage}  awaited from process {process} on {host}");
        }
        if let Some(remaining) = remaining {
            let _ = writeln!(text, "  about {} left", duration(*remaining));
        }
    }
    if detailed {
        for failed in failed {
            let _ = writeln!(text, "  failed: {}: {}\n    log: {}", failed.stage, failed.message, failed.log.display());
        }
        let _ = writeln!(text, "  {}", record.directory.display());
    }
    text
}

fn runs(running: &Running, now: f64) -> String {
    let Running { stage, device, since, attempt, progress, .. } = running;
    let on = if *device == Device::Cpu { String::new() } else { format!(" on {device}") };
    let mut text = match now - since {
        waits if waits < 0.0 => format!("{stage}{on}  waits {} for", duration(-waits)),
        runs => format!("{stage}{on}  runs for {}", duration(runs)),
    };
    if *attempt > 1 || now < *since {
        let joint = if now < *since { "" } else { "," };
        let _ = write!(text, "{joint} attempt {attempt}");
    }
    if let Some((done, total, unit)) = progress {
        let _ = write!(text, ", {done} of {total} {unit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::records::Share;

    #[test]
    fn a_run_in_progress_says_what_runs_since_when_and_for_how_long_yet() {
        let running = |stage: &str, device, since, attempt, progress| Running {
            stage: stage.to_string(),
            kind: "train".to_string(),
            device,
            since,
            attempt,
            progress,
        };
        let share = Share { experiment: "table3".into(), stages: 40, fresh: 4, ran: 8, failed: 1, skipped: 2 };
        let state = State {
            id: "20261125-145637-3f9a01b".into(),
            name: None,
            command: ["runner", "exec", "table3.yaml"].map(String::from).to_vec(),
            host: "node7".into(),
            process: 42,
            started: 1000.0,
            updated: 1900.0,
            ended: None,
            exit: None,
            experiments: vec![share],
            running: vec![
                running("Random/t2/train", Device::Cuda(0), 1816.0, 1, Some((120, 400, "steps".into()))),
                running("Random/t2/score", Device::Cpu, 2010.0, 2, None),
            ],
            awaited: vec![Awaited { stage: "Random/t2/evaluate".into(), host: "node8".into(), process: 7 }],
            failed: vec![],
            remaining: Some(3780.0),
        };
        let alive = Record { directory: "/w/runs/x".into(), state, alive: true };
        insta::assert_snapshot!(text(&alive, true, 2000.0), @"
        20261125-145637-3f9a01b  running for 16 min 40 s on node7, process 42
          runner exec table3.yaml
          table3: 12 of 40 stages, 4 fresh, 8 ran, 1 failed, 2 skipped
          Random/t2/train on cuda:0  runs for 3 min 04 s, 120 of 400 steps
          Random/t2/score  waits 10 s for attempt 2
          Random/t2/evaluate  awaited from process 7 on node8
          about 1 h 03 min left
          /w/runs/x
        ");
        let dead = Record { alive: false, ..alive };
        assert!(
            text(&dead, false, 2000.0).contains("died on node7, process 42; its last word was at 1970-01-01 00:31:40")
        );
    }
}
