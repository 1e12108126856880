//! Which machine and which state of the repository results come from.

use std::process::{Command, Stdio};

use crate::cache::Origin;

/// This machine, this program, and the commit that the working directory is at.
pub(super) fn here() -> Origin {
    Origin { host: host(), git_commit: git_commit(), runner: env!("CARGO_PKG_VERSION").to_string() }
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

/// `None` outside a repository and where git is not installed.
fn git_commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_string();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
