//! What people see: the only part that prints, besides `main`.
//!
//! Results go to the standard output, everything else to the standard error. Unaware of how stages
//! are run and of what they compute.

pub mod diagnostics;
mod gauge;
mod lines;
mod live;

use std::io::{self, IsTerminal, Write};

use console::style;

use crate::scheduler::Event;
pub use gauge::Gauge;
use live::Live;

/// How a run is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: live on a terminal, otherwise a line when a stage starts and when it ends.
    Text,
    /// For machines: every event as a line of JSON on the standard output.
    Json,
}

/// Tells the events of a run.
pub struct Console {
    mode: Mode,
}

enum Mode {
    Lines,
    Live(Live),
    Json,
}

impl Console {
    /// A console for one run.
    pub fn new(format: Format) -> Console {
        let terminal = is_terminal();
        let mode = match format {
            Format::Json => Mode::Json,
            Format::Text if terminal => Mode::Live(Live::new()),
            Format::Text => Mode::Lines,
        };
        Console { mode }
    }

    /// Tells an event.
    pub fn show(&mut self, event: &Event) {
        match &mut self.mode {
            Mode::Live(live) => live.show(event),
            Mode::Lines => {
                if let Some(line) = lines::line(event) {
                    note(&line.painted());
                }
            }
            Mode::Json => match serde_json::to_string(event) {
                Ok(text) => print(&(text + "\n")),
                Err(error) => report(&format!("cannot tell an event: {error}"), None),
            },
        }
    }
}

/// Whether the standard error is a terminal that can show progress.
fn is_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a result to the standard output. A reader that has gone, such as `head`, is no error.
pub fn print(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// The standard output, for results that are too large for one text.
pub fn output() -> impl Write {
    io::BufWriter::new(io::stdout().lock())
}

/// Writes a line to the standard error.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Asks a question to be answered with yes, which an empty answer is, or no. `None` if nobody sits at a terminal
/// to answer it.
pub fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    loop {
        let _ = write!(io::stderr().lock(), "{question} [Y/n] ");
        let mut answer = String::new();
        if io::stdin().read_line(&mut answer).ok()? == 0 {
            return None;
        }
        match answer.trim().to_lowercase().as_str() {
            "" | "y" | "yes" => return Some(true),
            "n" | "no" => return Some(false),
            _ => {}
        }
    }
}

/// Writes an error to the standard error, with how to mend it where there is something to say.
pub fn report(error: &str, hint: Option<&str>) {
    note(&format!("{} {error}", style("error:").for_stderr().red().bold()));
    if let Some(hint) = hint {
        note(&format!("{} {hint}", style("hint:").for_stderr().cyan()));
    }
}
