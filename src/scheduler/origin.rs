//! Which machine and which state of the repository results come from.

use std::process::{Command, Stdio};

use crate::cache::{Origin, host};

/// This machine, this program, and the commit that the working directory is at.
pub(super) fn here() -> Origin {
    Origin { host: host(), git_commit: git_commit(), runner: env!("CARGO_PKG_VERSION").to_string() }
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
