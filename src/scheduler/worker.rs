//! What one thread does for one running stage: check its inputs, execute it, seal its outputs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::executor::{Executor, Halt, Job, Usage};
use super::log;
use super::news::{News, Reporter};
use super::pull::{Pulled, pull};
use crate::cache::{CacheError, Claim, FileDigests, Health, Sealed, Store, Ticket};
use crate::digest::Digest;
use crate::stage::{Call, Period, Spent};
use crate::text::now;

/// The longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How often a pause looks whether the run ends.
const TICK: Duration = Duration::from_millis(50);

/// A stage that is to run.
pub(super) struct Work {
    pub name: String,
    /// How long it will take in seconds, going by earlier ones.
    pub expected: Option<f64>,
    /// Whether the remote is asked for the result, and nothing more is done.
    pub asks: bool,
    /// Its output directories are still to be made.
    pub call: Call,
    /// The artifacts of the store that it reads.
    pub artifacts: Vec<Digest>,
    pub log: PathBuf,
    /// The head of the log.
    pub provenance: String,
    pub store: Arc<Store>,
    pub files: Arc<FileDigests>,
}

/// A stage that ran, with its outputs in the store.
pub(super) struct Done {
    pub sealed: Sealed,
    /// Seconds since 1970.
    pub started: f64,
    /// Seconds.
    pub wall: f64,
    pub usage: Usage,
    /// Where it comes from, if it did not run but was in the remote.
    pub pulled: Option<Box<Pulled>>,
    /// What executions that were cut off had spent, as far as they noted it.
    pub before: Spent,
}

/// Why there is no result.
pub(super) enum Trouble {
    /// It was asked to stop.
    Stopped,
    /// The remote was asked for the result, and does not have it.
    Missed,
    /// These input artifacts are not what they should be. It did not run.
    Damaged(Vec<Digest>),
    /// It failed.
    Failed(String),
}

impl Work {
    pub fn perform(
        mut self,
        claim: Claim,
        executor: &dyn Executor,
        reporter: &Reporter,
        stop: &AtomicBool,
    ) -> Result<Done, Trouble> {
        let failed = |error: CacheError| Trouble::Failed(error.to_string());
        let ticket = claim.ticket().map_err(failed)?;
        if let Some(done) = pull(&ticket, reporter, stop)? {
            return Ok(done);
        }
        self.call.outputs = ticket.directories();
        if self.asks {
            return Err(Trouble::Missed);
        }
        let damaged: Vec<Digest> =
            self.artifacts.iter().copied().filter(|artifact| self.store.verify(artifact) != Health::Intact).collect();
        if !damaged.is_empty() {
            return Err(Trouble::Damaged(damaged));
        }
        let before: Vec<Option<Digest>> = self.artifacts.iter().map(|artifact| self.store.stamp(artifact)).collect();
        let (retries, backoff) = (self.call.execution.retries, self.call.execution.backoff);
        let mut attempt = 1;
        let (started, wall, usage, spent) = loop {
            let spent = self.call.kept.as_deref().map(Spent::read).unwrap_or_default();
            let message = match self.attempt(&ticket, attempt, executor, reporter, stop)? {
                Ok((started, wall, usage)) => break (started, wall, usage, spent),
                Err(message) if retries == 0 => return Err(Trouble::Failed(message)),
                Err(message) if attempt > retries => {
                    return Err(Trouble::Failed(format!("{message} (attempt {attempt} of {})", retries + 1)));
                }
                Err(message) => message,
            };
            let pause = pause(backoff, attempt);
            attempt += 1;
            let (stage, attempts) = (reporter.stage, retries + 1);
            reporter.send(News::Retrying { stage, attempt, attempts, message, pause });
            if !wait(pause, stop) {
                return Err(Trouble::Stopped);
            }
            ticket.reset().map_err(failed)?;
        };
        self.check_externals()?;
        self.check_inputs(&before)?;
        Ok(Done { sealed: ticket.seal().map_err(failed)?, started, wall, usage, before: spent, pulled: None })
    }

    /// Executes the stage once. The inner error is one that another attempt may overcome.
    fn attempt(
        &self,
        ticket: &Ticket,
        attempt: u32,
        executor: &dyn Executor,
        reporter: &Reporter,
        stop: &AtomicBool,
    ) -> Result<Result<(f64, f64, Usage), String>, Trouble> {
        let started = now();
        let (fingerprint, scratch) = (ticket.key().fingerprint, ticket.scratch());
        let (name, expected) = (self.name.as_str(), self.expected);
        let job = Job { name, fingerprint, expected, call: &self.call, scratch, log: &self.log };
        log::begin(&self.log, &self.provenance, attempt, &executor.command(&job), started)
            .map_err(|error| Trouble::Failed(format!("cannot write its log `{}`: {error}", self.log.display())))?;
        let clock = Instant::now();
        match executor.execute(&job, reporter, stop) {
            Ok(usage) => {
                let (started, wall) = match &usage.elsewhere {
                    Some(elsewhere) => (elsewhere.started, elsewhere.wall),
                    None => (started, clock.elapsed().as_secs_f64()),
                };
                Ok(Ok((started, wall, usage)))
            }
            Err(Halt::Stopped) => Err(Trouble::Stopped),
            Err(Halt::Failed(message)) => Ok(Err(message)),
        }
    }

    /// A stage that changes what it reads is not trusted. The artifact is looked at by its bytes before
    /// another stage reads it, and made again.
    fn check_inputs(&self, before: &[Option<Digest>]) -> Result<(), Trouble> {
        for (artifact, before) in self.artifacts.iter().zip(before) {
            if self.store.stamp(artifact) == *before || self.store.verify_again(artifact) == Health::Intact {
                continue;
            }
            let place = self.store.path(artifact);
            let slot = self.call.inputs.iter().find(|(_, path)| **path == place).map_or("", |(slot, _)| slot);
            let message = format!(
                "its input `{slot}` (`{}`) changed while it ran, so its result is not kept: stages may write only into \
                 their outputs; run the experiment again, and the input is made again first",
                place.display()
            );
            return Err(Trouble::Failed(message));
        }
        Ok(())
    }

    /// A result that was made of other content than its key says must not be kept.
    fn check_externals(&self) -> Result<(), Trouble> {
        for (digest, path) in &self.call.locations {
            match self.files.digest(path) {
                Ok(now) if now == *digest => {}
                Ok(_) => {
                    let path = path.display();
                    let message = format!(
                        "`{path}` changed after the experiment was planned, so its result is not kept; run the experiment again"
                    );
                    return Err(Trouble::Failed(message));
                }
                Err(error) => return Err(Trouble::Failed(error.to_string())),
            }
        }
        Ok(())
    }
}

/// How long to wait after a failed attempt, the first being number 1: twice as long each time.
fn pause(backoff: Period, attempt: u32) -> Duration {
    let doubled = backoff.duration().saturating_mul(1 << (attempt - 1).min(20));
    doubled.min(LONGEST_PAUSE.max(backoff.duration()))
}

/// Waits, unless the run ends: then false.
fn wait(pause: Duration, stop: &AtomicBool) -> bool {
    let end = Instant::now() + pause;
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(TICK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let seconds = |backoff, attempt| pause(Period::seconds(backoff), attempt).as_secs();
        assert_eq!([1, 2, 3, 7, 99].map(|attempt| seconds(10, attempt)), [10, 20, 40, 600, 600]);
        assert_eq!(seconds(3600, 1), 3600);
    }
}
