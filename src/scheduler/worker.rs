//! What one thread does for one running stage: check its inputs, execute it, seal its outputs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::executor::{Executor, Halt, Job, Usage};
use crate::cache::{CacheError, FileDigests, Health, Sealed, Store, Ticket};
use crate::digest::Digest;
use crate::stage::{Call, Progress, Spent};

/// A stage that is to run.
pub(super) struct Work {
    pub name: String,
    pub call: Call,
    /// The artifacts of the store that it reads.
    pub artifacts: Vec<Digest>,
    pub ticket: Ticket,
    pub log: PathBuf,
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
    /// What executions that were cut off had spent, as far as they noted it.
    pub before: Spent,
}

/// Why there is no result.
pub(super) enum Trouble {
    /// It was asked to stop.
    Stopped,
    /// These input artifacts are not what they should be. It did not run.
    Damaged(Vec<Digest>),
    /// It failed.
    Failed(String),
}

impl Work {
    pub fn perform(self, executor: &dyn Executor, progress: &dyn Progress, stop: &AtomicBool) -> Result<Done, Trouble> {
        let damaged: Vec<Digest> =
            self.artifacts.iter().copied().filter(|artifact| self.store.verify(artifact) != Health::Intact).collect();
        if !damaged.is_empty() {
            return Err(Trouble::Damaged(damaged));
        }
        let before: Vec<Option<Digest>> = self.artifacts.iter().map(|artifact| self.store.stamp(artifact)).collect();
        let spent = self.call.kept.as_deref().map(Spent::read).unwrap_or_default();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        let clock = Instant::now();
        let job = Job { name: &self.name, call: &self.call, scratch: self.ticket.scratch(), log: &self.log };
        let usage = executor.execute(&job, progress, stop).map_err(|halt| match halt {
            Halt::Stopped => Trouble::Stopped,
            Halt::Failed(message) => Trouble::Failed(message),
        })?;
        let wall = clock.elapsed().as_secs_f64();
        self.check_externals()?;
        self.check_inputs(&before)?;
        let failed = |error: CacheError| Trouble::Failed(error.to_string());
        Ok(Done { sealed: self.ticket.seal().map_err(failed)?, started, wall, usage, before: spent })
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
