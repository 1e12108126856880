//! Live progress on a terminal: one bar for the run, one for each stage that runs, and above them
//! the lines of what has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::lines::{Line, line};
use crate::devices::Device;
use crate::scheduler::Event;
use crate::text::{count, duration};

/// How often the clocks of the bars go on.
const TICK: Duration = Duration::from_millis(200);

/// The display of a run.
pub(super) struct Live {
    bars: MultiProgress,
    /// The bar of the run, once something has to run.
    whole: Option<ProgressBar>,
    running: BTreeMap<String, ProgressBar>,
    /// Seconds until the end, if that can be known.
    remaining: Option<f64>,
}

impl Live {
    /// A display on the standard error, which is a terminal.
    pub fn new() -> Live {
        Live { bars: MultiProgress::new(), whole: None, running: BTreeMap::new(), remaining: None }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Planned { stages, fresh, run, maybe, .. } if run + maybe > 0 => {
                let bar = self.bars.add(ProgressBar::new(*stages as u64).with_position(*fresh as u64));
                bar.set_style(style("{bar:32.green} {pos}/{len} stages  {elapsed}  {wide_msg}"));
                bar.enable_steady_tick(TICK);
                self.whole = Some(bar);
            }
            Event::Fetching { what, files, bytes, .. } => {
                let bar = self.bars.add(ProgressBar::new(*bytes).with_prefix(what.clone()));
                bar.set_style(style(
                    "  {prefix:40!} {bar:20.cyan} {binary_bytes}/{binary_total_bytes} {msg}  {binary_bytes_per_sec}  {eta}",
                ));
                bar.set_message(format!("in {}", count(*files, "file")));
                bar.enable_steady_tick(TICK);
                self.running.insert(what.clone(), bar);
            }
            Event::FetchProgress { what, done } => {
                if let Some(bar) = self.running.get(what) {
                    bar.set_position(*done);
                }
            }
            Event::Fetched { what, .. } => self.close(what),
            Event::Started { stage, device, .. } => {
                // A transfer of its result may have come to nothing.
                self.close(stage);
                let on = if *device == Device::Cpu { String::new() } else { format!(" on {device}") };
                let bar = self.bars.add(ProgressBar::no_length().with_prefix(format!("{stage}{on}")));
                bar.set_style(style("  {prefix:40!} {spinner} {elapsed}"));
                bar.enable_steady_tick(TICK);
                self.running.insert(stage.clone(), bar);
            }
            Event::Progress { stage, done, total, unit } => {
                if let Some(bar) = self.running.get(stage) {
                    advance(bar, *done, *total, unit);
                }
            }
            Event::Finished { stage, .. } | Event::Pulled { stage, .. } => {
                self.close(stage);
                self.step();
            }
            Event::Failed(failure) => self.close(&failure.stage),
            // Another process may have merged what was begun here.
            Event::Fresh { stage } => {
                self.close(stage);
                self.step();
            }
            Event::Outlook { remaining } => self.remaining = Some(*remaining),
            Event::Ended(_) => self.clear(),
            Event::Planned { .. }
            | Event::Elsewhere { .. }
            | Event::Warning { .. }
            | Event::Retrying { .. }
            | Event::Skipped { .. }
            | Event::Stopping => {}
        }
        if let Some(bar) = &self.whole {
            bar.set_message(self.state());
        }
        // What starts is seen below; everything else that has a line stays above the bars.
        match event {
            Event::Started { .. } | Event::Fetching { .. } => {}
            _ => drop(line(event).map(|line| self.write(&line))),
        }
        // Somebody may be asked a question now.
        if matches!(event, Event::Stopping) {
            self.clear();
        }
    }

    /// What runs and how long the rest takes.
    fn state(&self) -> String {
        let running = format!("{} running", count(self.running.len(), "stage"));
        match self.remaining {
            Some(seconds) => format!("{running}, about {} left", duration(seconds)),
            None => running,
        }
    }

    fn step(&self) {
        if let Some(bar) = &self.whole {
            bar.inc(1);
        }
    }

    fn close(&mut self, stage: &str) {
        if let Some(bar) = self.running.remove(stage) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn clear(&mut self) {
        let bars = std::mem::take(&mut self.running).into_values().chain(self.whole.take());
        bars.for_each(|bar| bar.finish_and_clear());
    }

    fn write(&self, line: &Line) {
        self.bars.suspend(|| super::note(&line.painted()));
    }
}

/// A run that ends early leaves no bars behind.
impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Shows that `done` of `total` units are done. A stage may count several things one after another.
fn advance(bar: &ProgressBar, done: u64, total: u64, unit: &str) {
    if bar.length() != Some(total) || bar.message() != unit || done < bar.position() {
        bar.set_style(style("  {prefix:40!} {bar:20.cyan} {pos}/{len} {msg}  {per_sec}"));
        bar.set_length(total);
        bar.set_message(unit.to_string());
        bar.reset_eta();
    }
    bar.set_position(done);
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are well formed").progress_chars("━╸ ")
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;

    use super::*;
    use crate::digest::Digest;

    fn planned(run: usize) -> Event {
        let experiment = "toys".to_string();
        Event::Planned { experiment, stages: 10, fresh: 10 - run, run, maybe: 0, shared: 0 }
    }

    fn live(events: &[Event]) -> Live {
        let mut live = Live::new();
        live.bars.set_draw_target(ProgressDrawTarget::hidden());
        events.iter().for_each(|event| live.show(event));
        live
    }

    fn started(stage: &str) -> Event {
        let (kind, fingerprint) = ("toy".to_string(), Digest::of(b"key"));
        Event::Started { stage: stage.into(), kind, device: Device::Cpu, reasons: vec![], fingerprint }
    }

    fn progress(done: u64, total: u64, unit: &str) -> Event {
        Event::Progress { stage: "a".into(), done, total, unit: unit.into() }
    }

    #[test]
    fn the_bar_of_the_run_counts_stages_and_says_how_long_the_rest_takes() {
        let finished = Event::Finished { stage: "a".into(), wall: 1.0, cpu: 1.0, memory: None, device: Device::Cpu };
        let live = live(&[
            planned(4),
            started("a"),
            started("b"),
            finished,
            Event::Fresh { stage: "c".into() },
            Event::Outlook { remaining: 240.0 },
        ]);
        let whole = live.whole.as_ref().unwrap();
        assert_eq!((whole.position(), whole.length()), (8, Some(10)));
        assert_eq!(whole.message(), "1 stage running, about 4 min 00 s left");
    }

    #[test]
    fn a_stage_that_counts_something_else_starts_again() {
        let live = live(&[planned(1), started("a"), progress(9, 10, "images"), progress(1, 10, "samples")]);
        let bar = &live.running["a"];
        assert_eq!((bar.position(), bar.length(), bar.message().as_str()), (1, Some(10), "samples"));
    }

    #[test]
    fn files_that_are_fetched_have_a_bar_of_bytes_until_they_are_here() {
        let what = || "hf://a/b@main".to_string();
        let fetching = Event::Fetching { what: what(), files: 2, bytes: 1000, missing: 900 };
        let mut live = live(&[fetching, Event::FetchProgress { what: what(), done: 400 }]);
        let bar = &live.running[&what()];
        assert_eq!((bar.position(), bar.length(), bar.message().as_str()), (400, Some(1000), "in 2 files"));
        live.show(&Event::Fetched { what: what(), bytes: 900, wall: 1.0 });
        assert!(live.running.is_empty());
    }

    #[test]
    fn a_run_without_work_shows_no_bar() {
        assert!(live(&[planned(0)]).whole.is_none());
    }
}
