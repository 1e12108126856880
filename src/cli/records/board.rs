//! The state of a run between the loop that changes it and the thread that writes it down, so that the loop
//! waits for no file, and the last change is on the disk soon even if nothing happens for hours.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::state::State;
use crate::cli::failure::Exit;
use crate::text::now;

/// The state is written no more often than this.
const PAUSE: Duration = Duration::from_millis(500);

/// The state of a run, shared.
#[derive(Clone)]
pub(super) struct Board(Arc<(Mutex<Shared>, Condvar)>);

struct Shared {
    state: State,
    /// Whether it is not written down yet.
    changed: bool,
}

impl Board {
    pub fn new(state: State) -> Board {
        Board(Arc::new((Mutex::new(Shared { state, changed: true }), Condvar::new())))
    }

    /// Changes the state; `change` says whether it did.
    pub fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        let mut shared = self.lock();
        if change(&mut shared.state) {
            shared.changed = true;
            self.0.1.notify_one();
        }
    }

    /// The run is over.
    pub fn end(&self, exit: Exit) {
        self.change(|state| {
            state.end(exit);
            true
        });
    }

    /// Writes every change down until the run is over and that is written, too.
    pub fn write_down(&self, write: impl Fn(&State) -> io::Result<()>) -> io::Result<()> {
        let mut shared = self.lock();
        loop {
            shared = self.0.1.wait_while(shared, |shared| !shared.changed).unwrap_or_else(|poison| poison.into_inner());
            shared.changed = false;
            shared.state.updated = now();
            let state = shared.state.clone();
            drop(shared);
            write(&state)?;
            if state.ended.is_some() {
                return Ok(());
            }
            let over = |shared: &mut Shared| shared.state.ended.is_none();
            let waited = self.0.1.wait_timeout_while(self.lock(), PAUSE, over);
            shared = waited.unwrap_or_else(|poison| poison.into_inner()).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.0.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}
