//! The thread that brings results to the disk: all that ended since it last looked, together.
//!
//! Waiting for the disk takes about as long for a hundred small results as for one, so short stages do not
//! wait for it one after the other; and where nobody waits for them, they wait for each other.

use std::sync::mpsc::{Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::news::News;
use super::worker::Done;
use crate::cache::Sealed;
use crate::devices::Device;
use crate::plan::StageIndex;

/// How long results may wait for others.
const PATIENCE: Duration = Duration::from_millis(50);
/// So many do not wait for more.
const MANY: usize = 256;

/// A stage that ran, and is to be recorded.
pub(super) struct Ended {
    pub stage: StageIndex,
    pub device: Device,
    pub done: Done,
    /// Whether its slot waits until it is recorded.
    pub awaited: bool,
}

/// Starts the thread. It ends when the sender that is returned is dropped.
pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>, news: Sender<News>) -> Sender<Ended> {
    let (sender, receiver) = channel::<Ended>();
    scope.spawn(move || {
        while let Ok(first) = receiver.recv() {
            let since = Instant::now();
            let mut batch = vec![first];
            while batch.len() < MANY {
                let is_awaited = batch.iter().any(|ended| ended.awaited);
                let patience = if is_awaited { Duration::ZERO } else { PATIENCE.saturating_sub(since.elapsed()) };
                let Ok(next) = receiver.recv_timeout(patience) else { break };
                batch.push(next);
            }
            // The loop outlives every stage, unless the cache failed: then nobody listens.
            drop(match Sealed::sync(batch.iter_mut().map(|ended| &mut ended.done.sealed)) {
                Ok(()) => news.send(News::Synced(batch)),
                Err(error) => news.send(News::Lost(batch, error.to_string())),
            });
        }
    });
    sender
}
