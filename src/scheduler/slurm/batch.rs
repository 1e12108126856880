//! The directory of a batch: stages that were submitted together, as one job array.
//!
//! ```text
//! .runner/slurm/<batch>/
//!   manifest.json   the stages, one for each line, and how many of them a task executes
//!   job             the id of the array, once Slurm has said it
//!   output/<task>   what a task says besides its stages
//!   exits/<line>    how a stage came to its end, written in one step
//!   <line>/         call.json, outputs/<slot>/, scratch/, log, news
//! ```
//!
//! It lies on the file system that the compute nodes share, and outlives the process that made it: the
//! next one finds here what was submitted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::stage::Call;

/// What was submitted together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// How many lines a task executes, one after another.
    pub bundle: usize,
    pub lines: Vec<Line>,
}

/// A stage of a batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    /// The key of its result.
    pub fingerprint: Digest,
    pub name: String,
}

/// How a stage came to its end by its own account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Exit {
    /// Why there is no result.
    pub failure: Option<String>,
    pub host: String,
    /// Seconds since 1970.
    pub started: f64,
    /// Seconds.
    pub wall: f64,
    /// Processor time in seconds.
    pub cpu: f64,
    /// Bytes.
    pub memory: Option<u64>,
}

/// A batch in its directory.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub directory: PathBuf,
    pub manifest: Manifest,
}

impl Batch {
    /// Makes a directory for stages with their calls, whose outputs go there.
    pub fn create(above: &Path, bundle: usize, stages: &[(Line, &Call)]) -> io::Result<Batch> {
        fs::create_dir_all(above)?;
        let directory = tempfile::Builder::new().prefix("runner-").rand_bytes(10).tempdir_in(above)?.keep();
        let manifest = Manifest { bundle, lines: stages.iter().map(|(line, _)| line.clone()).collect() };
        let batch = Batch { directory, manifest };
        // Slurm makes no directories for the files that it writes: a job without them fails in silence.
        fs::create_dir(batch.directory.join("output"))?;
        fs::create_dir(batch.directory.join("exits"))?;
        for (number, (_, call)) in stages.iter().enumerate() {
            let mut call = (*call).clone();
            for (slot, directory) in &mut call.outputs {
                *directory = batch.outputs(number).join(slot);
                fs::create_dir_all(&*directory)?;
            }
            fs::create_dir_all(batch.line(number).join("scratch"))?;
            fs::write(batch.line(number).join("call.json"), serde_json::to_vec_pretty(&call)?)?;
        }
        write_whole(&batch.directory.join("manifest.json"), &serde_json::to_vec_pretty(&batch.manifest)?)?;
        Ok(batch)
    }

    /// The batch in a directory.
    pub fn open(directory: &Path) -> io::Result<Batch> {
        let manifest = serde_json::from_slice(&fs::read(directory.join("manifest.json"))?)?;
        Ok(Batch { directory: directory.to_path_buf(), manifest })
    }

    /// All batches below a directory; what cannot be read is none.
    pub fn all(above: &Path) -> Vec<Batch> {
        let entries = fs::read_dir(above).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| Batch::open(&entry.path()).ok()).collect()
    }

    /// The name of the batch and of its job.
    pub fn name(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// How many tasks its array has.
    pub fn tasks(&self) -> usize {
        self.manifest.lines.len().div_ceil(self.manifest.bundle.max(1))
    }

    /// The task that executes a line.
    pub fn task(&self, line: usize) -> usize {
        line / self.manifest.bundle.max(1)
    }

    /// The lines that a task executes.
    pub fn lines(&self, task: usize) -> impl Iterator<Item = usize> {
        let bundle = self.manifest.bundle.max(1);
        task.saturating_mul(bundle)..(task + 1).saturating_mul(bundle).min(self.manifest.lines.len())
    }

    /// The directory of a line.
    pub fn line(&self, line: usize) -> PathBuf {
        self.directory.join(line.to_string())
    }

    /// The directory above those of its output slots.
    pub fn outputs(&self, line: usize) -> PathBuf {
        self.line(line).join("outputs")
    }

    /// The id of its array, if it is known.
    pub fn job(&self) -> Option<String> {
        let id = fs::read_to_string(self.directory.join("job")).ok()?;
        Some(id.trim().to_string()).filter(|id| !id.is_empty())
    }

    /// Remembers the id of its array.
    pub fn set_job(&self, id: &str) -> io::Result<()> {
        write_whole(&self.directory.join("job"), id.as_bytes())
    }

    /// The lines with an exit file. Listing the directory makes network file systems look again.
    pub fn exited(&self) -> Vec<usize> {
        let entries = fs::read_dir(self.directory.join("exits")).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// How a line came to its end, if it has.
    pub fn exit(&self, line: usize) -> Option<Exit> {
        let text = fs::read(self.directory.join("exits").join(line.to_string())).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Leaves the exit file of a line.
    pub fn set_exit(&self, line: usize, exit: &Exit) -> io::Result<()> {
        write_whole(&self.directory.join("exits").join(line.to_string()), &serde_json::to_vec_pretty(exit)?)
    }

    /// The last lines of what a task said itself.
    pub fn said(&self, task: usize) -> String {
        let text = fs::read(self.directory.join("output").join(task.to_string())).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Writes a file so that who looks sees all of it or nothing.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::stage::{Execution, Task};

    #[test]
    fn a_batch_is_found_again_with_all_that_is_known_of_it() {
        let root = tempfile::tempdir().unwrap();
        let call = Call {
            kind: "write".into(),
            params: serde_json::Map::new(),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::from([("out".to_string(), PathBuf::from("/elsewhere"))]),
            externals: BTreeMap::new(),
            locations: BTreeMap::new(),
            execution: Execution::default(),
            task: Task::Whole,
            kept: None,
        };
        let line = |name: &str| Line { fingerprint: Digest::of(name.as_bytes()), name: name.into() };
        let stages: Vec<(Line, &Call)> = ["a", "b", "c"].map(|name| (line(name), &call)).to_vec();
        let made = Batch::create(root.path(), 2, &stages).unwrap();
        made.set_job("17").unwrap();
        let exit = Exit { failure: None, host: "node".into(), started: 1.0, wall: 2.0, cpu: 3.0, memory: Some(4) };
        made.set_exit(2, &exit).unwrap();
        fs::create_dir(root.path().join("something else")).unwrap();

        let found = Batch::all(root.path()).pop().unwrap();
        assert_eq!((found.name(), found.job().as_deref(), found.tasks()), (made.name(), Some("17"), 2));
        assert_eq!((found.lines(0).collect::<Vec<_>>(), found.lines(1).collect::<Vec<_>>()), (vec![0, 1], vec![2]));
        assert_eq!((found.task(1), found.task(2)), (0, 1));
        assert_eq!((found.exited(), found.exit(2), found.exit(0)), (vec![2], Some(exit), None));
        let call: Call = serde_json::from_slice(&fs::read(found.line(1).join("call.json")).unwrap()).unwrap();
        assert_eq!(call.outputs["out"], found.outputs(1).join("out"));
        assert!(call.outputs["out"].is_dir());
    }
}
