//! One bar on a terminal, for a command that is no run. Elsewhere nothing is shown.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the clock of the bar goes on.
const TICK: Duration = Duration::from_millis(200);

/// A bar that is gone when it is dropped. May be moved from any thread.
pub struct Gauge(Option<ProgressBar>);

impl Gauge {
    /// A bar of bytes with their rate, where the standard error is a terminal.
    pub fn bytes(what: &str) -> Gauge {
        Gauge::new(what, "{prefix} {bar:32.green} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta}")
    }

    /// A bar of things that are counted.
    pub fn count(what: &str) -> Gauge {
        Gauge::new(what, "{prefix} {bar:32.green} {pos}/{len}  {elapsed}  {wide_msg}")
    }

    fn new(what: &str, template: &str) -> Gauge {
        if !super::is_terminal() {
            return Gauge(None);
        }
        let style = ProgressStyle::with_template(template).expect("the templates of this file are well formed");
        let bar = ProgressBar::new(0).with_prefix(what.to_string()).with_style(style.progress_chars("━╸ "));
        bar.enable_steady_tick(TICK);
        Gauge(Some(bar))
    }

    /// Shows that `done` of `total` are done.
    pub fn set(&self, done: u64, total: u64) {
        if let Gauge(Some(bar)) = self {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Shows what goes on now.
    pub fn say(&self, message: &str) {
        if let Gauge(Some(bar)) = self {
            bar.set_message(message.to_string());
        }
    }

    /// Writes a result to the standard output, above the bar.
    pub fn print(&self, text: &str) {
        match self {
            Gauge(Some(bar)) => bar.suspend(|| super::print(text)),
            Gauge(None) => super::print(text),
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        if let Gauge(Some(bar)) = self {
            bar.finish_and_clear();
        }
    }
}
