//! A run on a cluster that is made up: `sbatch`, `squeue`, `sacct` and `scancel` are small scripts that start
//! the jobs on this machine. `tests/slurm/run` tells the same with a real Slurm.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::commands::EXPERIMENT;
use crate::support::Project;

const DATA: &str = r#"[
{"id": "1", "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]},
{"id": "2", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "She."}]},
{"id": "3", "conversations": [{"from": "human", "value": "When?"}, {"from": "gpt", "value": ""}]}
]"#;

const SITE: &str = "{submissions_per_minute: 600, poll: 1, grace: 2, prelude: prelude.sh, resources: {time: 10}}";

/// Starts every task of the array, unless `mishaps` has a line left: then the first task of the array ends in
/// the state that it says.
const SBATCH: &str = r#"#!/bin/sh
here="$(dirname "$0")"
id="$(ls "$here" | grep -c '\.script$')"; id=$((100 + id))
for word; do case "$word" in
    --array=0-*) last="${word#--array=0-}" ;; --job-name=*) name="${word#*=}" ;; --output=*) output="${word#*=}" ;;
esac; done
printf '%s\n' "$@" > "$here/$id.arguments"
cat > "$here/$id.script"
index=0
while [ "$index" -le "$last" ]; do
    task="$here/tasks/$id.$index"
    echo "$name" > "$task.name"
    mishap="$(head -1 "$here/mishaps" 2>/dev/null)"
    if [ "$index" = 0 ] && [ -n "$mishap" ]; then
        sed -i 1d "$here/mishaps"
        echo "$mishap" > "$task.state"
    else
        echo RUNNING > "$task.state"
        SLURM_ARRAY_TASK_ID=$index setsid sh -c '
            sh "$1" >> "$2" 2>&1 & echo $! > "$3.pid"
            if wait $!; then end=COMPLETED; else end=FAILED; fi
            grep -q RUNNING "$3.state" && echo $end > "$3.state"
        ' - "$here/$id.script" "${output%\%a}$index" "$task" < /dev/null > /dev/null 2>&1 &
    fi
    index=$((index + 1))
done
echo "Welcome to the cluster"
echo "$id;east"
"#;

const SQUEUE: &str = r#"#!/bin/sh
here="$(dirname "$0")"
for state in "$here"/tasks/*.state; do
    [ -e "$state" ] || continue
    task="${state%.state}"; base="$(basename "$task")"
    echo "${base%.*}|${base#*.}|$(cat "$state")|$(cat "$task.name")|None"
done
"#;

const SACCT: &str = "#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n";

const SCANCEL: &str = r#"#!/bin/sh
here="$(dirname "$0")"
echo "$@" >> "$here/cancelled"
for id; do
    case "$id" in --jobname=*) continue ;; *_*) pattern="${id%_*}.${id#*_}" ;; *) pattern="$id.*" ;; esac
    for state in "$here"/tasks/$pattern.state; do
        echo "CANCELLED by 0" > "$state"
        kill -TERM "$(cat "${state%.state}.pid")"
    done
done
"#;

/// A project with a cluster.
struct Cluster {
    project: Project,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster::with(EXPERIMENT, SITE)
    }

    fn with(experiment: &str, site: &str) -> Cluster {
        let project = Project::of(experiment).write("data.json", DATA).write("slurm.yaml", site);
        // Jobs wait at the gate as long as there is one; `$$` becomes the program.
        let gate = project.path().join("gate");
        let wait = format!("while [ -e '{}' ]; do sleep 0.05; done\n", gate.display());
        let project = project.write("prelude.sh", &wait).write("bin/tasks/.keep", "");
        for (name, text) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("sacct", SACCT), ("scancel", SCANCEL)] {
            let path = project.path().join("bin").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", project.path().join("bin").display(), std::env::var("PATH").unwrap());
        Cluster { project: project.with("PATH", &path) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.project.path().join(name)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = self.project.command(&[&["exec", "e.yaml", "--executor", "slurm"], more].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn exec(&self) -> (Option<i32>, String) {
        self.exec_with(&[])
    }

    fn exec_with(&self, more: &[&str]) -> (Option<i32>, String) {
        said(&self.command(more).output().unwrap())
    }

    /// The words of each call of `sbatch`.
    fn submissions(&self) -> Vec<String> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.path("bin")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "arguments"));
        paths.sort();
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    /// Starts a run whose first job waits at the gate.
    fn at_the_gate(&self, more: &[&str]) -> Child {
        fs::write(self.path("gate"), "").unwrap();
        let child = self.command(more).spawn().unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        while !self.path("bin/tasks/100.0.pid").exists() {
            assert!(Instant::now() < patience, "nothing was submitted");
            std::thread::sleep(Duration::from_millis(20));
        }
        // Until the id is remembered.
        std::thread::sleep(Duration::from_millis(500));
        child
    }

    fn open_the_gate(&self) {
        fs::remove_file(self.path("gate")).unwrap();
    }

    fn left(&self) -> bool {
        self.path(".runner/slurm").exists()
    }
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn stages_that_are_ready_together_are_one_array_and_their_results_are_like_any_other() {
    let cluster = Cluster::new();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ran 3 stages"), "{text}");
    assert!(text.contains("warning: `data`: dataset `toy`: dropped 1 sample"), "news arrive: {text}");
    let submissions = cluster.submissions();
    assert_eq!(submissions.len(), 2, "{submissions:?}");
    assert!(submissions[0].contains("--array=0-0\n") && submissions[0].contains("--time=10\n"), "{submissions:?}");
    assert!(submissions[1].contains("--array=0-1\n"), "{submissions:?}");
    assert!(!cluster.left(), "what was taken is removed");
    let (code, text) = cluster.exec();
    assert_eq!((code, text.contains("3 fresh")), (Some(0), true), "{text}");

    // The same plan on this machine finds all of it fresh.
    let local = cluster.project.output(&["exec", "e.yaml"]);
    assert!(said(&local).1.contains("3 fresh"));
}

#[test]
fn many_stages_can_share_a_job_and_cheap_ones_stay_here() {
    let site = "{submissions_per_minute: 600, poll: 1, local: [ingest], resources: {bundle: 5, cpus: 2}}";
    let cluster = Cluster::with(EXPERIMENT, site);
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(0), "{text}");
    let submissions = cluster.submissions();
    assert_eq!(submissions.len(), 1);
    assert!(submissions[0].contains("--array=0-0\n") && submissions[0].contains("--cpus-per-task=2\n"));
}

#[test]
fn a_run_takes_up_the_jobs_of_one_that_was_killed() {
    let cluster = Cluster::new();
    let mut child = cluster.at_the_gate(&[]);
    child.kill().unwrap();
    child.wait().unwrap();
    // It ends while nobody watches.
    cluster.open_the_gate();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ran 3 stages"), "{text}");
    assert_eq!(cluster.submissions().len(), 2, "the first stage was submitted once: {text}");
    assert!(!cluster.left());
}

#[test]
fn a_run_takes_up_jobs_that_still_run() {
    let cluster = Cluster::new();
    let mut child = cluster.at_the_gate(&[]);
    child.kill().unwrap();
    child.wait().unwrap();
    let child = cluster.command(&[]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    cluster.open_the_gate();
    let (code, text) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(cluster.submissions().len(), 2, "{text}");
}

#[test]
fn an_interrupt_cancels_the_jobs_and_the_next_run_goes_on() {
    let cluster = Cluster::new();
    let child = cluster.at_the_gate(&[]);
    signal(&child, "-INT");
    let (code, text) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{text}");
    assert_eq!(fs::read_to_string(cluster.path("bin/cancelled")).unwrap(), "100\n");
    assert!(!cluster.left(), "{text}");
    cluster.open_the_gate();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ran 3 stages"), "{text}");
}

#[test]
fn an_interrupt_can_leave_the_jobs_for_the_next_run() {
    let cluster = Cluster::new();
    let child = cluster.at_the_gate(&["--keep-jobs"]);
    signal(&child, "-INT");
    let (code, text) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{text}");
    assert!(!cluster.path("bin/cancelled").exists() && cluster.left(), "{text}");
    cluster.open_the_gate();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ran 3 stages"), "{text}");
    assert_eq!(cluster.submissions().len(), 2, "{text}");
    assert!(!cluster.left());
}

#[test]
fn stages_of_kinds_that_are_known_to_be_short_share_a_job() {
    let cluster = Cluster::new();
    assert_eq!(cluster.exec().0, Some(0));
    let (code, text) = cluster.exec_with(&["--set", "pick.seed=1", "--set", "few.budget=2"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ran 2 stages"), "{text}");
    let submissions = cluster.submissions();
    assert!(submissions[1].contains("--array=0-1\n"), "nothing was known of them: {submissions:?}");
    assert!(submissions.len() == 3 && submissions[2].contains("--array=0-0\n"), "{submissions:?}");
}

#[test]
fn a_stage_of_the_cluster_has_a_timeout_and_retries_too() {
    let patience = "execution: {ingest: {timeout: 2 h, retries: 1, backoff: 10 ms}}\n";
    let cluster = Cluster::with(&format!("{EXPERIMENT}{patience}"), &SITE.replace(", resources: {time: 10}", ""));
    // The first job fails before its stage begins.
    let once = cluster.path("once").display().to_string();
    fs::write(cluster.path("prelude.sh"), format!("[ -e '{once}' ] || {{ touch '{once}'; exit 1; }}\n")).unwrap();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("retry data  attempt 2 of 2 in "), "{text}");
    let submissions = cluster.submissions();
    assert_eq!(submissions.len(), 3, "{submissions:?}");
    assert!(submissions[..2].iter().all(|words| words.contains("--time=125\n")), "{submissions:?}");
    assert!(!submissions[2].contains("--time="), "{submissions:?}");
    assert!(!cluster.left());
}

#[test]
fn a_second_interrupt_ends_at_once_and_the_next_run_does_not_believe_in_cancelled_jobs() {
    let cluster = Cluster::new();
    // The jobs do not die of it.
    fs::write(cluster.path("bin/scancel"), "#!/bin/sh\nsleep 5\n").unwrap();
    let child = cluster.at_the_gate(&[]);
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(600));
    let since = Instant::now();
    signal(&child, "-INT");
    let (code, text) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{text}");
    assert!(since.elapsed() < Duration::from_secs(2));
    fs::write(cluster.path("bin/tasks/100.0.state"), "CANCELLED by 0").unwrap();
    fs::write(cluster.path("bin/scancel"), SCANCEL).unwrap();
    let pid = fs::read_to_string(cluster.path("bin/tasks/100.0.pid")).unwrap();
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
    cluster.open_the_gate();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(cluster.submissions().len(), 3, "{text}");
}

#[test]
fn lost_nodes_preemptions_and_limits_are_tried_again_with_more_where_that_helps() {
    let site = "{submissions_per_minute: 600, poll: 1, grace: 1, resources: {time: 10, memory: 1G}}";
    let cluster = Cluster::with(EXPERIMENT, site);
    fs::write(cluster.path("bin/mishaps"), "NODE_FAIL\nPREEMPTED\nTIMEOUT\nOUT_OF_MEMORY\n").unwrap();
    fs::write(cluster.path("slurm.yaml"), site.replace("poll: 1", "poll: 1, retries: 3")).unwrap();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(0), "{text}");
    for told in [
        "its job 100 ended because its node failed; it is submitted again\n",
        "its job 101 was preempted; it is submitted again\n",
        "its job 102 reached its time limit (10 min); it is submitted again with twice as much\n",
        "its job 103 ran out of memory (1024M); it is submitted again with twice as much\n",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let last = &cluster.submissions()[4];
    assert!(last.contains("--time=20\n") && last.contains("--mem=2048M\n"), "{last}");

    let cluster = Cluster::with(EXPERIMENT, &site.replace("poll: 1", "poll: 1, retries: 0"));
    fs::write(cluster.path("bin/mishaps"), "TIMEOUT\n").unwrap();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(1), "{text}");
    let told = "stage `data` failed: its job 100 reached its time limit (10 min); give it more, as in \
                `execution: {slurm: {time: 8 h}}`, or in the site file";
    assert!(text.contains(told), "{text}");
}

#[test]
fn a_stage_that_fails_or_a_job_that_cannot_start_says_why() {
    let cluster = Cluster::new();
    fs::write(cluster.path("data.json"), "[{\"id\": 1}]").unwrap();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("stage `data` failed: its process exited with status 1\n  | error: "), "{text}");
    assert_eq!(cluster.submissions().len(), 1, "an error of its own is not tried again");
    let log = cluster.project.output(&["log", "e.yaml", "data"]);
    assert!(String::from_utf8_lossy(&log.stdout).contains("error: "), "{log:?}");

    let cluster = Cluster::new();
    fs::write(cluster.path("prelude.sh"), "echo 'module: command not found' >&2\nexit 1\n").unwrap();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("its job failed before the stage could say why"), "{text}");
    assert!(text.contains("| module: command not found"), "{text}");

    let cluster = Cluster::new();
    let refuse = "#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpus' >&2\nexit 1\n";
    fs::write(cluster.path("bin/sbatch"), refuse).unwrap();
    let (code, text) = cluster.exec();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("`sbatch` failed: sbatch: error: invalid partition specified: gpus"), "{text}");
}

#[test]
fn a_site_file_or_an_experiment_that_asks_for_what_it_may_not_is_refused_before_anything_runs() {
    for (site, told) in [
        ("{resources: {options: [--job-name=mine]}}", "`--job-name` is set by the program itself"),
        ("{partition: gpu}", "unknown field `partition`"),
        ("{local: [slect]}", "there is no stage kind `slect`"),
        ("{prelude: nowhere.sh}", "there is no file"),
        ("{resources: {time: soon}}", "`soon` is no time"),
    ] {
        let (code, text) = Cluster::with(EXPERIMENT, site).exec();
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(told), "{text}");
    }
    let experiment = EXPERIMENT.replace("path: data.json}", "path: data.json}, execution: {slurm: {memory: much}}");
    let (code, text) = Cluster::with(&experiment, SITE).exec();
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("`execution.slurm` of `data` must be what a job asks for"), "{text}");
    let project = Project::of(EXPERIMENT).write("data.json", DATA).with("PATH", "/nowhere");
    let (code, text) = said(&project.output(&["exec", "e.yaml", "--executor", "slurm"]));
    assert_eq!((code, text.contains("there is no `sbatch` on `PATH`")), (Some(2), true), "{text}");
}
