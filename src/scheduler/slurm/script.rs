//! What is submitted: the command line of `sbatch` and the script that it reads. Settings are words of the
//! command line, which no shell sees; the script holds nothing but quoted paths.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::Path;

use crate::stage::Resources;

/// The variables that a job gets from where it was submitted. What its node says of devices and temporary
/// files is left as it is.
const EXPORTED: [&str; 5] = ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "RUST_BACKTRACE"];

/// One call of `sbatch`.
pub(super) struct Submission<'a> {
    /// The name of the job, by which it is found again.
    pub name: &'a str,
    /// For people.
    pub comment: &'a str,
    /// The directory of the batch.
    pub directory: &'a Path,
    /// How many tasks the array has.
    pub tasks: usize,
    /// How many of them run at a time.
    pub running: Option<u32>,
    pub resources: &'a Resources,
    /// Variables of the environment to pass on besides.
    pub export: &'a [String],
}

impl Submission<'_> {
    /// The words behind `sbatch`.
    pub fn arguments(&self) -> Vec<OsString> {
        let Resources { partition, account, gres, time, memory, cpus, bundle: _, options } = self.resources;
        let mut words: Vec<OsString> = Vec::new();
        if let Some(partition) = partition {
            words.push(option("partition", partition));
        }
        if let Some(account) = account {
            words.push(option("account", account));
        }
        if let Some(gres) = gres {
            words.push(option("gres", gres));
        }
        if let Some(time) = time {
            words.push(option("time", time.0.to_string()));
        }
        if let Some(memory) = memory {
            words.push(option("mem", format!("{}M", memory.0)));
        }
        if let Some(cpus) = cpus {
            words.push(option("cpus-per-task", cpus.to_string()));
        }
        words.push("--requeue".into());
        words.extend(options.iter().map(OsString::from));
        // What the program relies on comes last, where it wins.
        words.push(option("job-name", self.name));
        words.push(option("comment", self.comment));
        let throttle = self.running.map_or(String::new(), |running| format!("%{running}"));
        words.push(option("array", format!("0-{}{throttle}", self.tasks.saturating_sub(1))));
        words.push(option("chdir", self.directory));
        words.push(option("output", pattern(&self.directory.join("output"))));
        words.push(option("open-mode", "append"));
        words.push(option("export", self.exported().join(",")));
        words.push("--parsable".into());
        words
    }

    fn exported(&self) -> Vec<&str> {
        let names = EXPORTED.into_iter().chain(self.export.iter().map(String::as_str));
        let there: Vec<&str> = names.filter(|name| std::env::var_os(name).is_some()).collect();
        // An empty list would mean all.
        if there.is_empty() { vec!["NONE"] } else { there }
    }
}

fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut word = OsString::from(format!("--{name}="));
    word.push(value);
    word
}

/// The file for what a task itself says, as a pattern: `%a` is its index.
fn pattern(directory: &Path) -> OsString {
    let mut pattern = OsString::from(directory.to_string_lossy().replace('%', "%%"));
    pattern.push("/%a");
    pattern
}

/// The script of a job: executes the file `prelude`, then becomes the program with `arguments`, the batch
/// and the index of the task.
pub(super) fn script(program: &Path, arguments: &[OsString], batch: &Path, prelude: Option<&Path>) -> String {
    let mut script = "#!/bin/sh\n".to_string();
    if let Some(prelude) = prelude {
        let _ = writeln!(script, ". {}", quoted(prelude.as_os_str()));
    }
    let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    let words: Vec<String> = words.chain([batch.as_os_str()]).map(quoted).collect();
    let _ = writeln!(script, "exec {} \"$SLURM_ARRAY_TASK_ID\"", words.join(" "));
    script
}

/// A word that a shell takes for what it is.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

/// How `count` stages are spread over arrays of at most `most` tasks, with `bundle` stages in a task: the
/// number of stages of each array.
pub(super) fn chunks(count: usize, bundle: usize, most: usize) -> Vec<usize> {
    let stages = bundle.max(1).saturating_mul(most.max(1));
    (0..count.div_ceil(stages)).map(|chunk| stages.min(count - chunk * stages)).collect()
}

/// The id in what `sbatch --parsable` says: `id` or `id;cluster`, the last such line, for sites print
/// banners.
pub(super) fn job_id(output: &str) -> Option<String> {
    let mut ids = output.lines().filter_map(|line| {
        let id = line.trim().split(';').next().unwrap_or_default();
        (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then(|| id.to_string())
    });
    ids.next_back()
}

/// The greatest number of tasks of an array, by what `scontrol show config` says: one more than the
/// greatest index, which is below `MaxArraySize`.
pub(super) fn array_size(config: &str) -> Option<usize> {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("MaxArraySize"))?;
    line.trim_start().strip_prefix('=')?.trim().parse().ok().filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(resources: serde_json::Value, running: Option<u32>) -> Vec<String> {
        let resources: Resources = serde_json::from_value(resources).unwrap();
        let submission = Submission {
            name: "runner-ab12",
            comment: "train",
            directory: Path::new("/data/50% done/b"),
            tasks: 3,
            running,
            resources: &resources,
            export: &["NO_SUCH_VARIABLE_HERE".to_string()],
        };
        let words = submission.arguments().into_iter().map(|word| word.into_string().unwrap());
        words.filter(|word| !word.starts_with("--export=")).collect()
    }

    #[test]
    fn settings_are_words_of_the_command_line() {
        let hostile = "x; rm -rf $HOME `id`";
        let told = words(
            serde_json::json!({"partition": "gpu", "account": "lab", "gres": "gpu:1", "time": "4 h", "memory": "16G",
                "cpus": 8, "options": [format!("--reservation={hostile}")]}),
            Some(2),
        );
        assert_eq!(
            told,
            [
                "--partition=gpu",
                "--account=lab",
                "--gres=gpu:1",
                "--time=240",
                "--mem=16384M",
                "--cpus-per-task=8",
                "--requeue",
                "--reservation=x; rm -rf $HOME `id`",
                "--job-name=runner-ab12",
                "--comment=train",
                "--array=0-2%2",
                "--chdir=/data/50% done/b",
                "--output=/data/50%% done/b/output/%a",
                "--open-mode=append",
                "--parsable",
            ]
        );
        assert_eq!(words(serde_json::json!({}), None)[3], "--array=0-2");
    }

    #[test]
    fn a_script_holds_quoted_paths_only() {
        let script = script(
            Path::new("/opt/it's; here/runner"),
            &["__job".into()],
            Path::new("/data/$(reboot)/b"),
            Some(Path::new("/etc/site prelude")),
        );
        let expected = "#!/bin/sh\n. '/etc/site prelude'\n\
                        exec '/opt/it'\\''s; here/runner' '__job' '/data/$(reboot)/b' \"$SLURM_ARRAY_TASK_ID\"\n";
        assert_eq!(script, expected);
    }

    #[test]
    fn stages_are_spread_over_arrays_that_the_cluster_takes() {
        assert_eq!(chunks(0, 1, 1000), Vec::<usize>::new());
        assert_eq!(chunks(1, 1, 1000), [1]);
        assert_eq!(chunks(2500, 1, 1001), [1001, 1001, 498]);
        assert_eq!(chunks(2500, 50, 10), [500; 5]);
        assert_eq!(chunks(7, 5, 1), [5, 2]);
        assert_eq!(array_size("Foo = 1\nMaxArraySize            = 1001\nMaxDBDMsgs = 2\n"), Some(1001));
        assert_eq!(array_size("slurm_load_ctl_conf error"), None);
    }

    #[test]
    fn the_job_id_is_found_below_a_banner_and_before_a_cluster() {
        assert_eq!(job_id("1234\n").as_deref(), Some("1234"));
        assert_eq!(job_id("Welcome to 7 nodes!\n99;east\n").as_deref(), Some("99"));
        assert_eq!(job_id("sbatch: error: nothing\n"), None);
    }
}
