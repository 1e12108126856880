//! The record of a run, for whoever looks from another terminal or later.
//!
//! ```text
//! .runner/runs/<id>/
//!   state.json     what runs, since when, on what, and how much is done; replaced as a whole
//!   results.json   experiment → stage → key, of all that is done at the end
//!   events.jsonl   what happened, a line each; `RUNNER_LOG` says from which level on
//!   lock           held for as long as the process of the run lives
//! ```
//!
//! A run that finds everything in the cache leaves no record, unless it has a name.

mod board;
mod events;
mod recorder;
mod state;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::artifact::read_json;
use crate::scheduler::host;

pub use recorder::Recorder;
#[cfg(test)]
pub use state::Share;
pub use state::{Awaited, Running, State};

/// A record, as it was found.
pub struct Record {
    /// Its folder.
    pub directory: PathBuf,
    /// What it says.
    pub state: State,
    /// Whether its process lives, as far as one can tell.
    pub alive: bool,
}

/// All records of a work directory, oldest first. What cannot be read is no record.
pub fn records(work: &Path) -> Vec<Record> {
    let entries = fs::read_dir(work.join("runs")).into_iter().flatten().filter_map(Result::ok);
    let mut records: Vec<Record> = entries.filter_map(|entry| record(&entry.path())).collect();
    records.sort_by(|one, other| one.state.id.cmp(&other.state.id));
    records
}

fn record(directory: &Path) -> Option<Record> {
    let state: State = read_json(&directory.join("state.json")).ok()?;
    let alive = state.ended.is_none() && lives(directory, &state);
    Some(Record { directory: directory.to_path_buf(), state, alive })
}

/// Whether the process of a run lives: it holds a lock. Where there are no locks one cannot tell of another
/// machine's.
fn lives(directory: &Path, state: &State) -> bool {
    let Ok(lock) = File::open(directory.join("lock")) else { return false };
    match lock.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        // SAFETY: signal 0 only asks whether the process is there.
        Err(TryLockError::Error(_)) => {
            state.host != host() || unsafe { libc::kill(state.process as libc::pid_t, 0) } == 0
        }
    }
}

/// Whether a run with this name and id is meant by `what`.
pub fn is_called(what: &str, name: Option<&str>, id: &str) -> bool {
    name == Some(what) || id.starts_with(what)
}

/// The run with this id or name, or the start of an id; of several the latest.
pub fn find(records: Vec<Record>, what: &str) -> Result<Record, Failure> {
    let fits = |record: &Record| is_called(what, record.state.name.as_deref(), &record.state.id);
    records.into_iter().rev().find(fits).ok_or_else(|| {
        Failure::usage(
            format!("no run is called `{what}`"),
            Some("`runner status --all` lists the runs that there are"),
        )
    })
}
