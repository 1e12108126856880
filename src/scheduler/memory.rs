//! Whether a process ended for lack of memory: by what the kernel counts and by what its log says.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::executor::Usage;
use crate::stage::Execution;
use crate::text::bytes;

/// What programs, the runtime and drivers say last when there is no memory left; in lower case. The
/// second word says of which memory.
const LAST_WORDS: [(&str, &str); 6] = [
    ("cuda_error_out_of_memory", "the device"),
    ("cuda out of memory", "the device"),
    ("out of device memory", "the device"),
    ("memory allocation of", "the machine"),
    ("cannot allocate memory", "the machine"),
    ("out of memory", "the device"),
];

/// What is said of a process that somebody else killed begins so,
pub(super) const KILLED: &str = "its process was killed";
/// and so, if the kernel did it for lack of memory.
pub(super) const KILLED_BY_THE_SYSTEM: &str = "its process was killed by the system for lack of memory";

/// How many processes the kernel had killed for lack of memory at some moment, unknown where it does not
/// tell. Children belong to the control group of this process, so its count decides where there is one; that
/// of the whole machine may be another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kills(Option<u64>);

impl Kills {
    /// The count now.
    pub fn now() -> Kills {
        static SOURCE: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
            let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            source(&groups, |path| fs::read_to_string(path).ok())
        });
        Kills(SOURCE.as_ref().and_then(|path| counter(&fs::read_to_string(path).ok()?)))
    }

    /// Whether there was such a kill between `self` and `later`, where one can tell.
    fn rose(self, later: Kills) -> bool {
        self.0.zip(later.0).is_some_and(|(before, after)| after > before)
    }
}

/// The file that counts for the narrowest part of the machine that this process, in the groups of
/// `/proc/self/cgroup`, knows of.
fn source(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<PathBuf> {
    let machine = PathBuf::from("/proc/vmstat");
    events(groups).into_iter().chain([machine]).find(|path| read(path).is_some_and(|text| counter(&text).is_some()))
}

/// The value of `oom_kill` among lines of names and numbers.
fn counter(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|number| number.trim().parse().ok())
}

/// The files with the events of the groups of `/proc/self/cgroup`. Inside a container the own group may be
/// mounted as the root.
fn events(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            files.extend(["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().flat_map(|root| {
                [PathBuf::from(root).join(path).join("memory.events"), PathBuf::from(root).join("memory.events")]
            }));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let root = PathBuf::from("/sys/fs/cgroup/memory");
            files.extend([root.join(path).join("memory.oom_control"), root.join("memory.oom_control")]);
        }
    }
    files
}

/// What to say of a process that somebody else killed with signal 9.
pub(super) fn killed(before: Kills, usage: &Usage, execution: &Execution) -> String {
    let how = match before.rose(Kills::now()) {
        true => KILLED_BY_THE_SYSTEM.to_string(),
        false => format!("{KILLED} (signal 9), probably for lack of memory"),
    };
    let used = usage.memory.map_or(String::new(), |memory| format!(": it had used {}", bytes(memory)));
    format!("{how}{used}{}", advice(execution))
}

/// What the end of a log says of a lack of memory, if it does.
pub(super) fn exhausted(tail: &[String], execution: &Execution) -> Option<String> {
    let said = tail.join("\n").to_lowercase();
    let (_, whose) = LAST_WORDS.iter().find(|(words, _)| said.contains(words))?;
    Some(format!("{whose} ran out of memory{}", advice(execution)))
}

fn advice(execution: &Execution) -> String {
    match execution.micro_batch {
        0 | 1 => "; `execution: {gradient_checkpointing: true}` takes less where the stage trains".to_string(),
        now => format!("; a smaller `execution: {{micro_batch: …}}` takes less, it is {now} now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_kills_of_a_group_in_either_version() {
        assert_eq!(counter("low 0\nhigh 0\nmax 4\noom 1\noom_kill 3\noom_group_kill 0\n"), Some(3));
        assert_eq!(counter("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), Some(2));
        assert_eq!(counter("nr_free_pages 1\n"), None);
        let first = |groups: &str| events(groups).first().map(|path| path.display().to_string());
        assert_eq!(first("0::/user.slice/job\n").unwrap(), "/sys/fs/cgroup/user.slice/job/memory.events");
        assert_eq!(first("4:cpu:/a\n3:memory:/job\n").unwrap(), "/sys/fs/cgroup/memory/job/memory.oom_control");
        assert_eq!(first("nonsense"), None);
    }

    #[test]
    fn a_count_that_rose_is_a_kill() {
        assert!(Kills(Some(1)).rose(Kills(Some(2))));
        for (before, after) in [(Some(7), Some(7)), (None, Some(1)), (Some(1), None), (None, None)] {
            assert!(!Kills(before).rose(Kills(after)), "{before:?} {after:?}");
        }
    }

    #[test]
    fn the_count_of_the_own_group_decides_where_there_is_one() {
        let machine = ("/proc/vmstat", "nr_free_pages 1\noom_kill 8\n");
        let group = ("/sys/fs/cgroup/job/memory.events", "oom 0\noom_kill 0\n");
        let without = ("/sys/fs/cgroup/job/memory.events", "oom 0\n");
        let chosen = |files: &[(&str, &str)]| {
            let read =
                |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| text.to_string());
            source("0::/job\n", read).map(|path| path.display().to_string())
        };
        assert_eq!(chosen(&[machine, group]).unwrap(), group.0);
        assert_eq!(chosen(&[machine, without]).unwrap(), machine.0);
        assert_eq!(chosen(&[machine]).unwrap(), machine.0);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn the_last_words_of_a_device_without_memory_are_understood() {
        let said = |line: &str| exhausted(&[line.to_string()], &Execution::default());
        let expected = "the device ran out of memory; a smaller `execution: {micro_batch: …}` takes less, it is 32 now";
        assert_eq!(said("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")").unwrap(), expected);
        assert!(said("memory allocation of 4096 bytes failed").unwrap().starts_with("the machine"));
        assert_eq!(said("loss is NaN"), None);
    }
}
