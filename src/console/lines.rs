//! What an event says, as text.

use console::{Color, style};

use crate::devices::Device;
use crate::fingerprint::DirtyReason;
use crate::scheduler::{Event, StageFailure, Summary, Taken};
use crate::text::{bytes, count, duration};

/// Fewer bytes than this are fetched without saying how fast.
const WORTH_A_RATE: u64 = 1 << 20;
/// A slowest path that took less, in seconds, is not worth a line.
const WORTH_A_PATH: f64 = 60.0;
/// So many stages of the slowest path are named.
const PATH: usize = 4;

/// An event as a line: a word that says what happened, and to what. A failure has more lines.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    word: &'static str,
    color: Color,
    text: String,
}

impl Line {
    fn new(word: &'static str, color: Color, text: String) -> Line {
        Line { word, color, text }
    }

    /// With colours, where the standard error shows them.
    pub fn painted(&self) -> String {
        format!("{} {}", style(self.word).for_stderr().fg(self.color).bold(), self.text)
    }
}

/// The line of an event; progress has none.
pub(super) fn line(event: &Event) -> Option<Line> {
    Some(match event {
        Event::Planned { experiment, stages, fresh, run, maybe, shared } => {
            if run + maybe == 0 {
                return None;
            }
            let mut text = format!("{experiment}: {}, {fresh} fresh, {run} to run", count(*stages, "stage"));
            if *maybe > 0 {
                text.push_str(&format!(", {maybe} below those"));
            }
            if *shared > 0 {
                text.push_str(&format!("; {shared} more are equal to one of them"));
            }
            Line::new("plan", Color::Cyan, text)
        }
        Event::Fetching { what, files, bytes: total, missing } => {
            let (word, size) = if *missing > 0 { ("fetch", *missing) } else { ("check", *total) };
            Line::new(word, Color::Cyan, format!("{what}  {}, {}", count(*files, "file"), bytes(size)))
        }
        Event::Fetched { what, bytes: 0, wall } => {
            Line::new("checked", Color::Green, format!("{what}  {}", duration(*wall)))
        }
        Event::Fetched { what, bytes: size, wall } => {
            // Of a few bytes the rate says nothing but how far the server is.
            let rate = match *size < WORTH_A_RATE {
                true => String::new(),
                false => format!("  {}/s", bytes((*size as f64 / wall.max(0.001)) as u64)),
            };
            Line::new("fetched", Color::Green, format!("{what}  {}{rate}", duration(*wall)))
        }
        Event::Started { stage, device, reasons, .. } => {
            let on = if *device == Device::Cpu { String::new() } else { format!(" on {device}") };
            Line::new("run", Color::Cyan, format!("{stage}{on}  ({})", why(reasons)))
        }
        Event::Elsewhere { stage, host, process } => {
            Line::new("await", Color::Cyan, format!("{stage}  (process {process} on {host} runs it)"))
        }
        Event::Finished { stage, wall, memory, .. } => {
            let memory = memory.map_or(String::new(), |memory| format!("  {}", bytes(memory)));
            Line::new("ran", Color::Green, format!("{stage}  {}{memory}", duration(*wall)))
        }
        Event::Retrying { stage, attempt, attempts, message, pause } => {
            let next = format!("attempt {attempt} of {attempts} in {}", duration(*pause));
            Line::new("retry", Color::Yellow, format!("{stage}  {next}: {message}"))
        }
        Event::Pulled { stage, files, bytes: size, wall } => {
            let what = match *files {
                0 => "its files were here".to_string(),
                files => format!("{}, {}", count(files, "file"), bytes(*size)),
            };
            Line::new("pulled", Color::Green, format!("{stage}  {what}  {}", duration(*wall)))
        }
        Event::Fresh { stage } => Line::new("fresh", Color::Green, stage.clone()),
        Event::Warning { stage, message } => Line::new("warning:", Color::Yellow, format!("`{stage}`: {message}")),
        Event::Failed(failure) => Line::new("error:", Color::Red, failed(failure)),
        Event::Skipped { stage, because } => {
            Line::new("skipped", Color::Yellow, format!("{stage}  (`{because}` failed)"))
        }
        Event::Stopping => Line::new("stopping", Color::Yellow, "the stages that run; what is finished is kept".into()),
        Event::Ended(summary) => {
            let (word, color) = match summary {
                Summary { interrupted: true, .. } => ("interrupted", Color::Yellow),
                Summary { failed: 0, .. } => ("done", Color::Green),
                _ => ("failed", Color::Red),
            };
            Line::new(word, color, ended(summary))
        }
        Event::Progress { .. } | Event::FetchProgress { .. } | Event::Outlook { .. } => return None,
    })
}

/// The first reason, and how many more there are.
fn why(reasons: &[DirtyReason]) -> String {
    match reasons {
        [] => "no reason is known".to_string(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}, and {}", count(rest.len(), "more reason")),
    }
}

fn failed(failure: &StageFailure) -> String {
    let mut text = format!("stage `{}` failed: {}", failure.stage, failure.message);
    let said = format!("error: {}", failure.message);
    for line in failure.tail.iter().filter(|line| **line != said) {
        text.push_str(&format!("\n  | {line}"));
    }
    text.push_str(&format!("\n  log: {}", failure.log.display()));
    text
}

/// What the run came to, and what it cost.
fn ended(summary: &Summary) -> String {
    let mut parts = Vec::new();
    if summary.ran > 0 {
        parts.push(format!("ran {}", count(summary.ran, "stage")));
    }
    for (number, what) in [
        (summary.fresh, "fresh"),
        (summary.cut_off, "of them cut off early"),
        (summary.pulled, "pulled"),
        (summary.shared, "shared"),
        (summary.failed, "failed"),
        (summary.skipped, "skipped"),
        (summary.left, "not finished"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    if parts.is_empty() {
        parts.push("nothing to do".to_string());
    }
    let mut text = format!("{}: {} in {}", summary.experiment, parts.join(", "), duration(summary.wall));
    let mut costs = Vec::new();
    if summary.ran > 0 {
        costs.push(format!("{} of processor time", duration(summary.cpu)));
    }
    if summary.saved > 0.0 {
        costs.push(format!("{} saved by the cache", duration(summary.saved)));
    }
    if !costs.is_empty() {
        text.push_str(&format!(" ({})", costs.join(", ")));
    }
    text.push_str(&slowest(&summary.slowest));
    text
}

/// The chain of stages that a run waited for, where it is long enough to matter: its ends and what took
/// longest in between.
fn slowest(path: &[Taken]) -> String {
    let whole: f64 = path.iter().map(|taken| taken.wall).sum();
    if path.len() < 2 || whole < WORTH_A_PATH {
        return String::new();
    }
    let mut longest: Vec<&Taken> = path.iter().collect();
    longest.sort_by(|one, other| other.wall.total_cmp(&one.wall));
    let told = |taken: &Taken| format!("{} {}", taken.stage, duration(taken.wall));
    let shown: Vec<String> =
        path.iter().filter(|taken| longest.iter().take(PATH).any(|shown| shown == taken)).map(told).collect();
    let rest = match path.len() - shown.len() {
        0 => String::new(),
        rest => format!(", and {} more", rest),
    };
    format!("\n  slowest path: {} in {}: {}{rest}", count(path.len(), "stage"), duration(whole), shown.join(" → "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::digest::Digest;

    const STAGE: &str = "SemDeDup/s0/t3/train";

    fn said(event: Event) -> String {
        let Line { word, text, .. } = line(&event).expect("the event has a line");
        format!("{word} {text}")
    }

    #[test]
    fn a_stage_that_ran_says_how_long_and_how_large_it_was() {
        let memory = Some(1_288_490_189);
        let event = Event::Finished { stage: STAGE.into(), wall: 12.3, cpu: 20.0, memory, device: Device::Cpu };
        assert_eq!(said(event), "ran SemDeDup/s0/t3/train  12 s  1.2 GiB");
        let event =
            Event::Finished { stage: STAGE.into(), wall: 0.26, cpu: 0.1, memory: None, device: Device::Cuda(1) };
        assert_eq!(said(event), "ran SemDeDup/s0/t3/train  0.3 s");
    }

    #[test]
    fn files_that_are_fetched_say_how_large_and_how_fast_they_are() {
        let what = || "hf://a/b@main".to_string();
        let fetching = |missing| Event::Fetching { what: what(), files: 3, bytes: 6 << 30, missing };
        assert_eq!(said(fetching(5 << 30)), "fetch hf://a/b@main  3 files, 5.0 GiB");
        assert_eq!(said(fetching(0)), "check hf://a/b@main  3 files, 6.0 GiB");
        let ready = |bytes| Event::Fetched { what: what(), bytes, wall: 64.0 };
        assert_eq!(said(ready(5 << 30)), "fetched hf://a/b@main  1 min 04 s  80.0 MiB/s");
        assert_eq!(said(ready(0)), "checked hf://a/b@main  1 min 04 s");
    }

    #[test]
    fn a_stage_that_starts_says_why() {
        let changed = DirtyReason::ParamChanged { name: "epochs".into(), old: json!(1), new: json!(2) };
        let fingerprint = Digest::of(b"key");
        let event = |device, reasons| Event::Started {
            stage: STAGE.into(),
            kind: "train".into(),
            device,
            reasons,
            fingerprint,
        };
        let never = vec![DirtyReason::NeverRan];
        assert_eq!(said(event(Device::Cpu, never.clone())), "run SemDeDup/s0/t3/train  (never ran)");
        assert_eq!(said(event(Device::Cuda(1), never)), "run SemDeDup/s0/t3/train on cuda:1  (never ran)");
        assert_eq!(
            said(event(Device::Cpu, vec![changed, DirtyReason::InputAdded { slot: "data".into() }])),
            "run SemDeDup/s0/t3/train  (param `epochs` changed: 1 → 2, and 1 more reason)"
        );
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log_and_where_the_rest_is() {
        let failure = StageFailure {
            stage: STAGE.into(),
            message: "its process exited with status 1".into(),
            log: "/store/logs/ab.log".into(),
            tail: vec!["epoch 1".into(), "error: loss is NaN".into()],
        };
        assert_eq!(
            said(Event::Failed(failure)),
            "error: stage `SemDeDup/s0/t3/train` failed: its process exited with status 1\n  \
             | epoch 1\n  \
             | error: loss is NaN\n  \
             log: /store/logs/ab.log"
        );
    }

    #[test]
    fn the_end_says_what_was_done_and_what_was_saved() {
        let cold = Summary { experiment: "table3".into(), ran: 3, wall: 12.0, cpu: 20.4, ..Summary::default() };
        assert_eq!(said(Event::Ended(cold.clone())), "done table3: ran 3 stages in 12 s (20 s of processor time)");
        let warm = Summary { ran: 0, fresh: 3, shared: 2, saved: 20.4, wall: 0.04, ..cold.clone() };
        assert_eq!(said(Event::Ended(warm)), "done table3: 3 fresh, 2 shared in 0.0 s (20 s saved by the cache)");
        let broken = Summary { ran: 1, failed: 1, skipped: 1, ..cold.clone() };
        assert!(said(Event::Ended(broken)).starts_with("failed table3: ran 1 stage, 1 failed, 1 skipped in 12 s"));
        let stopped = Summary { interrupted: true, left: 2, ..cold };
        assert!(said(Event::Ended(stopped)).starts_with("interrupted table3: ran 3 stages, 2 not finished in 12 s"));
    }

    #[test]
    fn what_a_run_waited_for_is_told_where_it_is_long() {
        let taken = |stage: &str, wall| Taken { stage: stage.to_string(), wall };
        let slowest =
            vec![taken("ingest", 1.0), taken("gradient", 600.0), taken("select", 2.0), taken("train", 1200.0)];
        let summary = Summary { experiment: "t".into(), ran: 9, cut_off: 1, fresh: 3, slowest, ..Summary::default() };
        assert_eq!(
            said(Event::Ended(summary.clone())),
            "done t: ran 9 stages, 3 fresh, 1 of them cut off early in 0.0 s (0.0 s of processor time)\n  \
             slowest path: 4 stages in 30 min 03 s: ingest 1.0 s → gradient 10 min 00 s → select 2.0 s → train 20 min 00 s"
        );
        let short = Summary { slowest: vec![taken("a", 3.0), taken("b", 4.0)], ..summary };
        assert!(!said(Event::Ended(short)).contains("slowest"));
    }

    #[test]
    fn another_attempt_says_when_and_why() {
        let message = "its process exited with status 1".to_string();
        let event = Event::Retrying { stage: STAGE.into(), attempt: 2, attempts: 3, message, pause: 10.0 };
        assert_eq!(said(event), "retry SemDeDup/s0/t3/train  attempt 2 of 3 in 10 s: its process exited with status 1");
    }

    #[test]
    fn a_plan_is_announced_only_if_something_runs() {
        let planned = |run, maybe| Event::Planned {
            experiment: "table3".into(),
            stages: 9,
            fresh: 9 - run - maybe,
            run,
            maybe,
            shared: 4,
        };
        assert_eq!(line(&planned(0, 0)), None);
        assert_eq!(
            said(planned(1, 2)),
            "plan table3: 9 stages, 6 fresh, 1 to run, 2 below those; 4 more are equal to one of them"
        );
    }
}
