//! Which process of which machine has something.

use std::fs;

use serde::{Deserialize, Serialize};

use super::fault;

/// A process that runs stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The name of the machine.
    pub host: String,
    /// The process.
    pub process: u32,
    /// What tells a machine from others of the same name, and from itself before it was started again.
    pub machine: String,
}

impl Owner {
    /// This process.
    pub(super) fn this_process() -> Owner {
        let host = host();
        let boot = || fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let machine = fault::setting("RUNNER_MACHINE").or_else(boot).unwrap_or_else(|| host.clone());
        Owner { host, process: std::process::id(), machine: machine.trim().to_string() }
    }
}

/// The name of this machine.
pub fn host() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the call writes at most `name.len()` bytes to `name`.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    match result {
        0 => String::from_utf8_lossy(&name[..end]).into_owned(),
        _ => "unknown".to_string(),
    }
}
