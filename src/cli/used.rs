//! The results that experiments use, as far as they are there.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::workspace::{Lenient, Workspace, read};
use crate::digest::Digest;
use crate::plan::{Plan, plan};
use crate::scheduler::{Verdict, recorded};
use crate::spec::{Overrides, Problems};
use crate::stage::Registry;

/// What an experiment uses.
pub struct Used {
    /// Its file.
    pub file: PathBuf,
    /// Its plan.
    pub plan: Plan,
    /// The keys of its stages that have a result by the rows.
    pub results: HashSet<Digest>,
    /// What it names and is not here, and why: stages below it are not among the results.
    pub missing: BTreeMap<PathBuf, String>,
}

/// What each of these experiments uses. All that is wrong with any of them is told at once.
pub fn used(
    files: &[PathBuf],
    overrides: &Overrides,
    workspace: &mut Workspace,
    registry: &Registry,
) -> Result<Vec<Used>, Failure> {
    let mut all = Vec::new();
    let mut wrong: Option<Problems> = None;
    for file in files {
        match one(file, overrides, workspace, registry) {
            Ok(used) => all.push(used),
            Err(Failure::Problems(problems)) => match &mut wrong {
                None => wrong = Some(problems),
                Some(wrong) => wrong.extend(problems),
            },
            Err(failure) => return Err(failure),
        }
    }
    wrong.map_or(Ok(all), |problems| Err(Failure::Problems(problems)))
}

fn one(file: &Path, overrides: &Overrides, workspace: &mut Workspace, registry: &Registry) -> Result<Used, Failure> {
    let (document, problems) = read(file, overrides)?;
    let mut externals = Lenient::new(workspace);
    let plan = plan(&document, registry, &mut externals, problems).map_err(Failure::Problems)?;
    let missing = externals.missing;
    let examination = recorded(&plan, workspace.cache()?)?;
    let fresh = plan.order().filter(|stage| examination[*stage].verdict == Verdict::Fresh);
    let results = fresh.map(|stage| examination[stage].fingerprint).collect();
    Ok(Used { file: file.to_path_buf(), plan, results, missing })
}
