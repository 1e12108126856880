//! Where the numbers of a report come from. Unaware of tables and figures.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value as Json;

use super::workspace::Workspace;
use crate::artifact::read_json;
use crate::cache::{Cache, CacheError, Provenance};
use crate::plan::{Output, Plan, StageIndex};
use crate::scheduler::{Outcome, Verdict, examine};

/// Where the numbers of a report come from.
pub struct Sources<'a> {
    /// What was run.
    pub plan: &'a Plan,
    /// What it came to.
    pub outcome: &'a Outcome,
    /// Where its artifacts are.
    pub workspace: &'a Workspace,
    /// Where the result of each stage comes from, if it is done: [`provenance`].
    pub provenance: Vec<Option<Provenance>>,
}

impl Sources<'_> {
    /// Where the artifact of an output slot is; `None` if its stage is not done.
    pub fn directory(&self, output: &Output) -> Option<PathBuf> {
        self.outcome.artifact(output).and_then(|artifact| self.workspace.artifact(&artifact))
    }

    /// A number in the summaries of artifacts, in their order; `None` if a stage is not done.
    pub fn summaries(&self, outputs: &[Output], key: &str) -> anyhow::Result<Option<Vec<f64>>> {
        let directories: Option<Vec<PathBuf>> = outputs.iter().map(|output| self.directory(output)).collect();
        let Some(directories) = directories else { return Ok(None) };
        let numbers: anyhow::Result<Vec<f64>> = directories.iter().map(|directory| summary(directory, key)).collect();
        let slot = || format!("in slot `{}` of `{}`", outputs[0].slot, self.plan[outputs[0].stage].name());
        numbers.map(Some).with_context(slot)
    }

    /// Where the result of a stage comes from and what it cost when it was made; `None` if the stage is
    /// not done.
    pub fn provenance(&self, stage: StageIndex) -> Option<&Provenance> {
        self.provenance[stage.index()].as_ref()
    }
}

/// A number in the summary of the artifact in `directory`.
pub fn summary(directory: &Path, key: &str) -> anyhow::Result<f64> {
    let summary: serde_json::Map<String, Json> = read_json(&directory.join("summary.json"))?;
    let known = || crate::text::ticked_list(summary.keys());
    let value = summary.get(key).and_then(Json::as_f64);
    value.with_context(|| format!("the summary has no number `{key}`; it has {}", known()))
}

/// Where the result of every stage comes from that is done.
pub fn provenance(plan: &Plan, cache: &mut Cache) -> Result<Vec<Option<Provenance>>, CacheError> {
    let examination = examine(plan, cache)?;
    let entry = |stage: StageIndex| match examination[stage].verdict {
        Verdict::Fresh => Ok(cache.entry(&examination[stage].fingerprint)?.map(|entry| entry.provenance)),
        _ => Ok(None),
    };
    plan.order().map(entry).collect()
}
