//! The thread that brings results to a remote while the run goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::error::Reason;
use super::push::Pushed;
use super::{Remote, Step};
use crate::cache::{Entry, Store};

/// How often it is looked whether all is done.
const TICK: Duration = Duration::from_millis(20);

/// Results on their way to a remote.
pub(in crate::cache) struct Uploads {
    queue: Sender<Vec<Entry>>,
    shared: Arc<Shared>,
}

struct Shared {
    remote: Arc<Remote>,
    store: Arc<Store>,
    pushed: Mutex<Pushed>,
    /// How many were not dealt with so far.
    left: AtomicUsize,
    stop: AtomicBool,
}

impl Shared {
    fn push(&self, entries: Vec<Entry>) {
        let pushed = match self.remote.is_silent() {
            // They are tried again in the end.
            true => {
                Pushed { failures: entries.iter().map(|entry| (entry.clone(), None)).collect(), ..Pushed::default() }
            }
            false => self.remote.push(&entries, &self.store, false, &|_, _: Step| {}, &self.stop),
        };
        for (entry, error) in &pushed.failures {
            let reason = error.as_ref().map(|error| (*error.reason).clone()).filter(Reason::ends);
            reason.and_then(|reason| self.remote.notice(&entry.fingerprint, reason));
        }
        self.pushed.lock().expect("no panic while it is locked").add(pushed);
        self.left.fetch_sub(entries.len(), Ordering::Relaxed);
    }
}

impl Uploads {
    /// Starts the thread. It ends with what it has in hand when this is dropped.
    pub fn start(remote: Arc<Remote>, store: Arc<Store>) -> Uploads {
        let (queue, receiver) = channel::<Vec<Entry>>();
        let (left, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { remote, store, pushed: Mutex::default(), left, stop });
        let thread = shared.clone();
        thread::spawn(move || {
            while let Ok(mut entries) = receiver.recv() {
                entries.extend(receiver.try_iter().flatten());
                thread.push(entries);
            }
        });
        Uploads { queue, shared }
    }

    /// Has results brought there.
    pub fn add(&self, entries: Vec<Entry>) {
        self.shared.left.fetch_add(entries.len(), Ordering::Relaxed);
        // The thread outlives its queue.
        let _ = self.queue.send(entries);
    }

    /// Waits until all are there, tells again and again how many are not, and tries once more what failed. Returns what
    /// came of all of them. After an interruption what is left counts as failed.
    pub fn end(self, tell: &mut dyn FnMut(usize), interrupt: &AtomicBool) -> Pushed {
        let shared = &self.shared;
        loop {
            let left = shared.left.load(Ordering::Relaxed);
            if interrupt.load(Ordering::Relaxed) {
                shared.stop.store(true, Ordering::Relaxed);
            }
            if left == 0 {
                break;
            }
            tell(left);
            thread::sleep(TICK);
        }
        let mut pushed = std::mem::take(&mut *shared.pushed.lock().expect("no panic while it is locked"));
        let failed: Vec<Entry> = pushed.failures.iter().map(|(entry, _)| entry.clone()).collect();
        if !failed.is_empty() && !shared.stop.load(Ordering::Relaxed) {
            pushed.failures.clear();
            pushed.add(shared.remote.push(&failed, &shared.store, false, &|_, _: Step| {}, interrupt));
        }
        pushed
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}
