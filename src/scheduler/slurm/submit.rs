//! Submitting: which of the stages that wait go into one job array, and what follows where the controller
//! does not take it.

use std::fs;
use std::time::{Duration, Instant};

use super::batch::{Batch, Line};
use super::dispatcher::{Dispatcher, Tell, Wanted, fail, warn};
use super::script::{Submission, chunks, script};
use super::tools;
use crate::stage::{Call, Resources};

/// What becomes ready within this time is submitted together.
const GATHER: Duration = Duration::from_millis(500);
/// How long a busy controller is left alone.
const PAUSE: Duration = Duration::from_secs(15);

/// Where nobody says how many stages a job executes, those of a job take about so long together, in seconds:
/// a job costs Slurm a second at least, and more until it starts.
const WORTH: f64 = 30.0;
/// So many stages share a job at most, unless more are asked for.
const BUNDLE: usize = 100;

impl Dispatcher {
    /// Submits one array, if the pace of the site allows it: stages that ask for the same as the one that
    /// waits longest, and are short if it is.
    pub(super) fn submit(&mut self) {
        let now = Instant::now();
        let Some(first) = self.waiting.first() else { return };
        if now < self.next_submission || now < first.since + GATHER {
            return;
        }
        let (resources, short) = (first.resources.clone(), is_short(first.ask.expected));
        let equal = |wanted: &Wanted| wanted.resources == resources && is_short(wanted.ask.expected) == short;
        let expected: Vec<Option<f64>> =
            self.waiting.iter().filter(|wanted| equal(wanted)).map(|wanted| wanted.ask.expected).collect();
        let bundle = resources.bundle.map_or_else(|| bundle(&expected), |bundle| bundle.max(1) as usize);
        let number = chunks(expected.len(), bundle, self.most).first().copied().unwrap_or(0);
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        for wanted in std::mem::take(&mut self.waiting) {
            match equal(&wanted) && chosen.len() < number {
                true => chosen.push(wanted),
                false => rest.push(wanted),
            }
        }
        self.waiting = rest;
        let pace = Duration::from_secs_f64(60.0 / self.site.submissions_per_minute);
        self.next_submission = now + pace;
        let line = |wanted: &Wanted| Line { fingerprint: wanted.ask.fingerprint, name: wanted.ask.name.clone() };
        let stages: Vec<(Line, &Call)> = chosen.iter().map(|wanted| (line(wanted), &wanted.ask.call)).collect();
        let batch = match Batch::create(&self.directory, bundle, &stages) {
            Ok(batch) => batch,
            Err(error) => {
                let message = format!("cannot write to `{}`: {error}", self.directory.display());
                chosen.iter().for_each(|wanted| fail(wanted, &message));
                return;
            }
        };
        match self.sbatch(&batch, &resources, &chosen) {
            // A controller that did not answer may have taken it: the queue will tell by the batch's name.
            Ok(()) => {}
            Err(error) if error.passing => {
                let message = format!("{}; it is submitted again later", error.message);
                chosen.iter().for_each(|wanted| warn(wanted, &message));
                self.next_submission = now + PAUSE.max(pace);
                if !tools::queue().is_ok_and(|tasks| tasks.iter().any(|task| task.name == batch.name())) {
                    // Should it turn up after all, nobody needs its result: it is cancelled by its name.
                    let tasks: Vec<usize> = (0..batch.tasks()).collect();
                    let _ = tools::cancel(&[(&batch, tasks)]);
                    let _ = fs::remove_dir_all(&batch.directory);
                    self.waiting.splice(0..0, chosen);
                    return;
                }
            }
            Err(error) => {
                chosen.iter().for_each(|wanted| fail(wanted, &error.message));
                let _ = fs::remove_dir_all(&batch.directory);
                return;
            }
        }
        let name = batch.name();
        for (number, wanted) in chosen.into_iter().enumerate() {
            let _ = wanted.ask.tell.send(Tell::Directory(batch.line(number)));
            self.activate(wanted, name.clone(), number, false);
        }
        self.batches.insert(name, batch);
        self.hurry();
    }

    fn sbatch(&self, batch: &Batch, resources: &Resources, stages: &[Wanted]) -> Result<(), tools::ToolError> {
        let kind = &stages[0].ask.call.kind;
        let comment = match stages.iter().all(|wanted| wanted.ask.call.kind == *kind) {
            true => kind.clone(),
            false => "stages".to_string(),
        };
        let submission = Submission {
            name: &batch.name(),
            comment: &comment,
            directory: &batch.directory,
            tasks: batch.tasks(),
            running: self.site.running,
            resources,
            export: &self.site.export,
        };
        let prelude = self.site.prelude.as_deref();
        let script = script(&self.program, &self.arguments, &batch.directory, prelude);
        let id = tools::submit(submission.arguments(), &script)?;
        // Should it be lost, the queue has it by the batch's name.
        let _ = batch.set_job(&id);
        Ok(())
    }
}

/// Whether a stage takes so little that it is worth while to share a job with others.
fn is_short(expected: Option<f64>) -> bool {
    expected.is_some_and(|seconds| seconds <= WORTH / 2.0)
}

/// How many stages that take so long, in seconds, a job executes where nobody says it; one, if that is not
/// known of all.
fn bundle(expected: &[Option<f64>]) -> usize {
    let longest = expected.iter().copied().try_fold(0.0, |longest: f64, seconds| Some(longest.max(seconds?)));
    longest.map_or(1, |longest| ((WORTH / longest.max(0.01)) as usize).clamp(1, BUNDLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_stages_share_a_job_and_what_is_not_known_has_its_own() {
        assert_eq!(bundle(&[Some(2.0), Some(3.0)]), 10);
        assert_eq!(bundle(&[Some(0.0)]), BUNDLE);
        assert_eq!([bundle(&[Some(16.0)]), bundle(&[Some(2.0), None]), bundle(&[Some(9e9)]), bundle(&[None])], [1; 4]);
        assert_eq!([Some(15.0), Some(15.1), None].map(is_short), [true, false, false]);
    }
}
