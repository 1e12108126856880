//! What means harm, or is not as it should be: texts that a shell would execute, a clock that is wrong or
//! jumps, a file system without locks. For the last two a library that `shim/shim.c` makes stands before the
//! one that the system has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use runner::cache::Point;

use crate::faults::{EXEC, EXPERIMENT, STAGES, data, project, ran, undisturbed, verified};
use crate::support::Project;

const DAY: i64 = 86_400;

/// The library; made once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shim-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/shim/shim.c");
        let options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let made = Command::new("cc").args(options).arg(&library).arg(source).status().unwrap();
        assert!(made.success());
        library
    })
}

fn strange(project: &Project, variables: &[(&str, String)]) -> Command {
    let mut command = project.command(&EXEC);
    command.env("LD_PRELOAD", shim()).envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_clock_that_is_wrong_or_jumps_repeats_nothing_and_spoils_nothing() {
    let expected = undisturbed();
    for (ahead, jump) in [(700 * DAY, 0), (-700 * DAY, 0), (0, 30 * DAY), (0, -30 * DAY)] {
        let clock = [("SHIM_CLOCK", ahead.to_string()), ("SHIM_JUMP", jump.to_string())];
        let project = project();
        // It is killed as well, and goes on in the right time.
        let mut killed =
            strange(&project, &clock).env("RUNNER_DIE_AT", format!("{}:2", Point::Recorded.name())).spawn().unwrap();
        assert!(!killed.wait().unwrap().success());
        let before = verified(&project).len();
        let then = project.output(&EXEC);
        assert!(then.status.success(), "{}", String::from_utf8_lossy(&then.stderr));
        assert_eq!(before + ran(&then.stdout).len(), STAGES);
        assert_eq!(verified(&project), expected, "{ahead} {jump}");
        // And in the wrong time everything is as it was.
        let again = strange(&project, &clock).output().unwrap();
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(ran(&again.stdout), Vec::<String>::new(), "{ahead} {jump}");
    }
}

#[test]
fn nothing_that_is_read_reaches_a_shell() {
    let evil = "$(touch pwned) `touch pwned`; touch pwned & touch pwned | touch pwned # '";
    let file = format!("{evil}.json");
    let experiment = EXPERIMENT.replace("To be killed", "TITLE").replace("path: data.json", "path: FILE");
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let experiment = experiment.replace("TITLE", &quoted(evil)).replace("FILE", &quoted(&file));
    let project = Project::of(&experiment).write(&file, &data(0).replace("What is", evil));
    let commands: [&[&str]; 6] = [
        &["plan", "e.yaml"],
        &["exec", "e.yaml", "--name", evil, "--trace", &file.replace(".json", ".trace")],
        &["status", evil],
        &["log", "e.yaml", "data"],
        &["ls"],
        &["verify", "--rerun", "e.yaml"],
    ];
    for command in commands {
        let output = project.output(command);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut folders = vec![project.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            assert_ne!(entry.file_name(), "pwned", "{}", entry.path().display());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn two_machines_whose_clocks_are_days_apart_share_a_store() {
    let project = project();
    let machine = |number: i64| {
        let clock = [("SHIM_CLOCK", (number * 3 * DAY).to_string()), ("RUNNER_MACHINE", format!("machine-{number}"))];
        strange(&project, &clock).spawn().unwrap()
    };
    let machines = [machine(0), machine(1), machine(-1)];
    let mut all = Vec::new();
    for machine in machines {
        let output = machine.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        all.extend(ran(&output.stdout));
    }
    all.sort();
    let names = all.len();
    all.dedup();
    assert_eq!((names, all.len()), (STAGES, STAGES), "a stage ran twice");
    assert_eq!(verified(&project), undisturbed());
}

#[test]
fn a_file_system_without_locks_is_refused_with_advice() {
    for how in ["no", "lie"] {
        let project = project();
        let output = strange(&project, &[("SHIM_LOCKS", how.to_string())]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{how}: {told}");
        assert!(told.contains("lock") && told.contains("hint"), "{how}: {told}");
        assert!(ran(&output.stdout).is_empty(), "{how}");
        // Nothing was left that another machine would stumble over.
        let output = project.output(&EXEC);
        assert!(output.status.success(), "{how}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
