//! What executions of a stage that were cut off cost, kept beside what the next one goes on from: the
//! stage cost that, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const FILE: &str = "spent.json";
/// How often it is noted, at most.
const EVERY: Duration = Duration::from_secs(30);

/// Costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Elapsed time, in seconds.
    pub wall: f64,
    /// Processor time, in seconds.
    pub cpu: f64,
    /// The most memory, in bytes.
    pub memory: u64,
}

impl Spent {
    /// What earlier executions noted in the directory that is kept for the next one; nothing, if they did
    /// not, or it cannot be read.
    pub fn read(kept: &Path) -> Spent {
        let text = fs::read(kept.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// Notes from time to time what this process spent on a stage, with what earlier ones spent.
pub struct Meter {
    kept: PathBuf,
    before: Spent,
    every: Duration,
    since: Instant,
    noted: Instant,
}

impl Meter {
    /// A meter of this process, which notes what was spent as often as the stage saves, or more often.
    pub fn new(kept: &Path, saves: Duration) -> Meter {
        let now = Instant::now();
        let (before, every) = (Spent::read(kept), saves.min(EVERY));
        Meter { kept: kept.to_path_buf(), before, every, since: now, noted: now }
    }

    /// Notes it, if it is time. That it could not be noted is no reason to stop.
    pub fn tick(&mut self) {
        if self.noted.elapsed() >= self.every {
            self.noted = Instant::now();
            let _ = self.note();
        }
    }

    fn note(&self) -> io::Result<()> {
        let (cpu, memory) = usage();
        let Spent { wall, cpu: before, memory: most } = self.before;
        let spent =
            Spent { wall: wall + self.since.elapsed().as_secs_f64(), cpu: before + cpu, memory: memory.max(most) };
        fs::create_dir_all(&self.kept)?;
        // Never half a file.
        let new = self.kept.join(format!(".{FILE}.{}.tmp", std::process::id()));
        fs::write(&new, serde_json::to_vec(&spent)?)?;
        fs::rename(new, self.kept.join(FILE))
    }
}

/// Processor time in seconds and the most memory in bytes of this process so far.
fn usage() -> (f64, u64) {
    // SAFETY: `rusage` is plain numbers, for which zero is a value, and outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    // Linux counts in KiB, macOS in bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss as u64 * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_adds_up_over_executions_and_damage_counts_as_nothing() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join("kept");
        assert_eq!(Spent::read(&kept), Spent::default());
        Meter::new(&kept, Duration::from_secs(600)).tick();
        assert!(!kept.exists(), "a short execution notes nothing");
        Meter::new(&kept, Duration::ZERO).tick();
        let once = Spent::read(&kept);
        assert!(once.wall > 0.0 && once.cpu > 0.0 && once.memory > 1 << 20, "{once:?}");
        Meter::new(&kept, Duration::ZERO).tick();
        let twice = Spent::read(&kept);
        assert!(twice.wall > once.wall && twice.cpu >= 2.0 * once.cpu && twice.memory >= once.memory, "{twice:?}");
        fs::write(kept.join(FILE), "{\"wall\": 1").unwrap();
        assert_eq!(Spent::read(&kept), Spent::default());
    }
}
