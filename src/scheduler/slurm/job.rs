//! What runs on a compute node: `runner __job <batch> <task>` executes the stages of a task, each in a
//! process of its own as everywhere else, and leaves an exit file for each.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::batch::{Batch, Exit};
use crate::cache::host;
use crate::scheduler::executor::{Executor, Halt, Job};
use crate::stage::{Call, Progress, Update};
use crate::text::now;

/// Executes the stages of a task that have not come to an end yet: a job that was requeued goes on where it
/// was. If `stop` becomes true, the stage that runs is stopped and leaves no exit file: why the job ends is
/// for Slurm to say.
///
/// # Errors
///
/// If the batch cannot be read or an exit file cannot be written.
pub fn run_job(directory: &Path, task: usize, executor: &dyn Executor, stop: &AtomicBool) -> io::Result<()> {
    let batch = Batch::open(directory)?;
    for line in batch.lines(task) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if batch.exit(line).is_some() {
            continue;
        }
        if let Some(exit) = execute(&batch, line, executor, stop)? {
            batch.set_exit(line, &exit)?;
        }
    }
    Ok(())
}

/// `None` if it was stopped.
fn execute(batch: &Batch, line: usize, executor: &dyn Executor, stop: &AtomicBool) -> io::Result<Option<Exit>> {
    let directory = batch.line(line);
    let call: Call = serde_json::from_slice(&fs::read(directory.join("call.json"))?)?;
    for output in call.outputs.values() {
        // What an earlier start of the job wrote.
        if output.exists() {
            fs::remove_dir_all(output)?;
        }
        fs::create_dir_all(output)?;
    }
    let stage = &batch.manifest.lines[line];
    let news = News { file: Mutex::new(File::options().create(true).append(true).open(directory.join("news"))?) };
    let (log, scratch) = (directory.join("log"), directory.join("scratch"));
    let (name, fingerprint) = (stage.name.as_str(), stage.fingerprint);
    let job = Job { name, fingerprint, expected: None, call: &call, scratch: &scratch, log: &log };
    let started = now();
    let clock = Instant::now();
    let result = executor.execute(&job, &news, stop);
    let wall = clock.elapsed().as_secs_f64();
    let exit = |failure, cpu, memory| Some(Exit { failure, host: host(), started, wall, cpu, memory });
    Ok(match result {
        Ok(usage) => exit(None, usage.cpu, usage.memory),
        Err(Halt::Failed(_)) if stop.load(Ordering::Relaxed) => None,
        Err(Halt::Failed(message)) => exit(Some(message), 0.0, None),
        Err(Halt::Stopped) => None,
    })
}

/// Writes each update as a line, for who follows the stage.
struct News {
    file: Mutex<File>,
}

impl Progress for News {
    fn update(&self, update: Update) {
        if let (Ok(line), Ok(mut file)) = (serde_json::to_string(&update), self.file.lock()) {
            // News are a comfort: a stage does not fail for them.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}
