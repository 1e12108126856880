//! The records of runs in a work directory, as far as others need them: which results a run came to.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::artifact::read_json;
use crate::digest::Digest;

/// A run that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id; ids are in the order of time.
    pub id: String,
    /// The name that the user gave it.
    pub name: Option<String>,
    /// Experiment → stage → key of its result.
    pub results: BTreeMap<String, BTreeMap<String, Digest>>,
}

/// All runs that left their results, oldest first. What cannot be read is no record.
pub fn runs(work: &Path) -> Vec<Run> {
    #[derive(Deserialize)]
    struct State {
        id: String,
        name: Option<String>,
    }
    let entries = std::fs::read_dir(work.join("runs")).into_iter().flatten().filter_map(Result::ok);
    let run = |directory: &Path| {
        let State { id, name } = read_json(&directory.join("state.json")).ok()?;
        Some(Run { id, name, results: read_json(&directory.join("results.json")).ok()? })
    };
    let mut runs: Vec<Run> = entries.filter_map(|entry| run(&entry.path())).collect();
    runs.sort_by(|one, other| one.id.cmp(&other.id));
    runs
}
