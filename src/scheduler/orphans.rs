//! Processes that a stage started and that have left its process group, as a daemon does: signals to the
//! group do not reach them.
//!
//! This process adopts what its descendants leave behind, and tells from a mark in the environment whose it
//! was. It is unaware of what has both left the group and changed its environment. Only Linux has what this
//! needs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

/// The mark of an execution, in the environment of its process and of all that it starts.
pub(super) const EXECUTION: &str = "RUNNER_EXECUTION";

/// Has this process become the parent of descendants whose parent ends.
pub(super) fn adopt() {
    #[cfg(target_os = "linux")]
    // SAFETY: a plain system call. Where it fails, orphans go elsewhere as they always did.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
}

/// A mark that no other execution of this process has.
pub(super) fn mark() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The mark as the environment has it: other processes number their executions too.
pub(super) fn described(coordinator: u32, mark: u64) -> String {
    format!("{coordinator}-{mark}")
}

/// Kills what an execution has left behind, once its process was reaped, and waits until it is gone. Returns
/// whether something was left.
pub(super) fn bury(mark: u64, patience: Duration) -> bool {
    let setting = format!("{EXECUTION}={}", described(process::id(), mark));
    let since = Instant::now();
    let (mut found, mut killed) = (false, BTreeSet::new());
    loop {
        let left: Vec<libc::pid_t> = children().into_iter().filter(|child| is_of(*child, setting.as_bytes())).collect();
        if (left.is_empty() && killed.is_empty()) || since.elapsed() > patience {
            return found;
        }
        found = true;
        killed.extend(&left);
        // SAFETY: plain system calls on children that only this thread waits for, because the mark is of an
        // execution that this thread has seen end, and that were not reaped yet; a null status is allowed.
        unsafe {
            for child in left {
                libc::kill(child, libc::SIGKILL);
            }
            killed.retain(|child| libc::waitpid(*child, std::ptr::null_mut(), libc::WNOHANG) == 0);
        }
        // What they had started in turn comes to this process when they are gone.
        thread::sleep(Duration::from_millis(1));
    }
}

/// The children of the first thread of this process, which is the one that adopts.
fn children() -> Vec<libc::pid_t> {
    let list = fs::read_to_string(format!("/proc/self/task/{}/children", process::id())).unwrap_or_default();
    list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Whether a process was started with a setting in its environment. One that has ended has none.
fn is_of(process: libc::pid_t, setting: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == setting)
}
