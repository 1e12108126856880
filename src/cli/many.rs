//! Several experiments at once: their files, and the stages that they share.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use super::failure::Failure;
use crate::digest::Digest;
use crate::plan::Plan;
use crate::text::count;

/// The experiment files that paths name: themselves, or all files of a folder, in order.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        below(path, &mut found)?;
        if found.is_empty() {
            return Err(Failure::usage(format!("there are no experiments in `{}`", path.display()), None));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// The experiments in a folder and in those below it. Folders called `suites` hold none.
fn below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let entries = folder.read_dir().with_context(|| format!("cannot read `{}`", folder.display()))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "suites") {
            below(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
    Ok(())
}

/// How the stages of several experiments overlap. Stages are equal if they are of the same kind, with
/// the same params, over the same content or over equal stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// How many experiments.
    pub experiments: usize,
    /// Stages of all of them, those of all arms and seeds.
    pub stages: usize,
    /// Stages that are left when each is counted once.
    pub distinct: usize,
    /// Of these, those that more than one experiment needs.
    pub common: usize,
}

impl Sharing {
    /// Counts the stages of several plans.
    pub fn of<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> Sharing {
        let mut sharing = Sharing { experiments: 0, stages: 0, distinct: 0, common: 0 };
        // A plan has each stage once already.
        let mut users: HashMap<Digest, usize> = HashMap::new();
        for plan in plans {
            sharing.experiments += 1;
            sharing.stages += plan.len() + plan.shared;
            plan.identities().into_iter().for_each(|identity| *users.entry(identity).or_default() += 1);
        }
        sharing.distinct = users.len();
        sharing.common = users.values().filter(|users| **users > 1).count();
        sharing
    }

    /// In words, on a line.
    pub fn text(&self) -> String {
        let Sharing { experiments, stages, distinct, common } = self;
        let (all, of) = (count(*stages, "stage"), count(*experiments, "experiment"));
        let shared = stages - distinct;
        format!("{all} in {of}: {distinct} distinct, {shared} shared; {common} are needed by more than one experiment")
    }

    /// For programs.
    pub fn json(&self) -> Json {
        let Sharing { experiments, stages, distinct, common } = self;
        json!({
            "experiments": experiments, "stages": stages, "distinct": distinct, "shared": stages - distinct,
            "common": common,
        })
    }
}
