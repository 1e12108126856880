//! A stage process that is asked to stop, and wants to save what it has first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGTERM;
use signal_hook::{flag, low_level};

/// Listens for a termination signal as long as it lives; before and after that the signal ends the process
/// at once, as ever. Who listens is killed if it takes too long.
pub struct Stop {
    asked: Arc<AtomicBool>,
    /// Whether nobody listens.
    deaf: Arc<AtomicBool>,
}

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// If the system does not allow that.
    pub fn listen() -> io::Result<Stop> {
        let (asked, deaf) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        flag::register_conditional_default(SIGTERM, deaf.clone())?;
        flag::register(SIGTERM, asked.clone())?;
        Ok(Stop { asked, deaf })
    }

    /// Whether the process was asked to stop.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Ends the process by the signal, if it was asked to stop.
    pub fn heed(&self) {
        if self.is_asked() {
            // Should it fail, whoever asked makes it stop.
            let _ = low_level::emulate_default_handler(SIGTERM);
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.deaf.store(true, Ordering::Relaxed);
        self.heed();
    }
}
