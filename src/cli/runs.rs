//! The records of runs in a work directory, as far as others need them: which results a run came to.

use std::collections::BTreeMap;
use std::path::Path;

use super::records::{Record, records};
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
    let run = |record: Record| {
        let results = read_json(&record.directory.join("results.json")).ok()?;
        Some(Run { id: record.state.id, name: record.state.name, results })
    };
    records(work).into_iter().filter_map(run).collect()
}
