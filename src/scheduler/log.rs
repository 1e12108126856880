//! The log of a stage: every attempt has a file of its own, which begins with where its result will come
//! from.
//!
//! The latest attempt of a key is in `<key>.log`, earlier ones in `<key>.1.log`, `<key>.2.log`, …, oldest
//! first. Lines of the head start with `#`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cache::Origin;
use crate::fingerprint::Key;
use crate::plan::Plan;
use crate::stage::Call;
use crate::text::timestamp;

/// How many lines of its log a failure shows.
const TAIL: usize = 12;

/// What the result of a stage depends on and is made with; the same for every attempt.
pub(super) fn provenance(
    plan: &Plan,
    (name, version): (&str, u32),
    key: &Key,
    artifacts: &[(String, String)],
    call: &Call,
    origin: &Origin,
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "# {name:<12}{}", value.replace('\n', " "));
    };
    line("stage", name);
    line("experiment", &plan.experiment);
    line("kind", &format!("{}, version {version}", call.kind));
    line("key", &key.fingerprint.to_string());
    for (param, value) in &call.params {
        line("param", &format!("{param}: {}", value.as_str().map_or(value.to_string(), str::to_string)));
    }
    for (slot, digest) in artifacts {
        line("input", &format!("{slot}: {digest}, {}", call.inputs[slot].display()));
    }
    for (param, external) in &call.externals {
        line("external", &format!("{param}: {}, {}", external.digest, external.path.display()));
    }
    if let Ok(serde_json::Value::Object(execution)) = serde_json::to_value(&call.execution) {
        let plain = |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_string);
        let is_said =
            |value: &serde_json::Value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty());
        let parts = execution.iter().filter(|(_, value)| is_said(value));
        let parts: Vec<String> = parts.map(|(name, value)| format!("{name} {}", plain(value))).collect();
        line("execution", &parts.join(", "));
    }
    line("host", &origin.host);
    line("git commit", origin.git_commit.as_deref().unwrap_or("none"));
    line("runner", &origin.runner);
    text
}

/// Begins the log of an attempt; a log that is there stays under a name of its own.
pub(super) fn begin(log: &Path, provenance: &str, attempt: u32, command: &str, now: f64) -> io::Result<()> {
    if log.exists() {
        let free = (1..).map(|number| earlier(log, number)).find(|path| !path.exists());
        fs::rename(log, free.expect("a number is free"))?;
    }
    let started = timestamp(now);
    let head = format!("{provenance}# command     {command}\n# started     {started}, attempt {attempt}\n#\n");
    match (fs::write(log, &head), log.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(parent)?;
            fs::write(log, head)
        }
        (written, _) => written,
    }
}

/// The log of an earlier attempt, the first being number 1.
fn earlier(log: &Path, number: u32) -> PathBuf {
    log.with_extension(format!("{number}.log"))
}

/// The last lines of a log, without its head.
pub(super) fn tail(log: &Path) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().skip_while(|line| line.starts_with('#')).collect();
    lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| line.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_keeps_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("logs/ab.log");
        for attempt in 1..=3 {
            begin(&log, "# stage       train\n", attempt, "runner __stage", 0.0).unwrap();
            fs::write(&log, fs::read_to_string(&log).unwrap() + &format!("said {attempt}\n")).unwrap();
        }
        assert_eq!(tail(&log), ["said 3"]);
        assert_eq!(tail(&earlier(&log, 1)), ["said 1"]);
        assert_eq!(tail(&earlier(&log, 2)), ["said 2"]);
        let head = fs::read_to_string(&log).unwrap();
        assert!(head.contains("# started     1970-01-01 00:00:00 UTC, attempt 3\n#\n"), "{head}");
    }
}
