//! What Ctrl-C and termination signals do to a command that takes long.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::failure::{Exit, Failure};

/// A flag that the first Ctrl-C or termination signal sets; a second one ends the program at once.
pub fn catch_signals() -> Result<Arc<AtomicBool>, Failure> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let again =
            signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, interrupt.clone());
        again.context("cannot listen for signals")?;
        signal_hook::flag::register(signal, interrupt.clone()).context("cannot listen for signals")?;
    }
    Ok(interrupt)
}
