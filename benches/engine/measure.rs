//! What a process and all that it started cost, and the table of several that were run in turn.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};

/// What a process cost, with the processes that it waited for.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Seconds.
    pub wall: f64,
    /// Seconds of processor time, the program's own and the system's for it.
    pub cpu: f64,
    /// The most memory of one of the processes, in bytes.
    pub peak: f64,
}

/// Runs a command to its end.
pub fn measure(command: &mut Command) -> anyhow::Result<Cost> {
    let clock = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, and both pointers are to variables that outlive the call.
    let (usage, id) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let id = libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage);
        (usage, id)
    };
    let wall = clock.elapsed().as_secs_f64();
    ensure!(id > 0 && ExitStatus::from_raw(status).success(), "{command:?} failed");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    Ok(Cost { wall, cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime), peak: usage.ru_maxrss as f64 * 1024.0 })
}

/// One of the programs that are compared.
pub struct Side<'a> {
    name: String,
    run: Box<dyn FnMut() -> anyhow::Result<Cost> + 'a>,
    costs: Vec<Cost>,
}

impl<'a> Side<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut() -> anyhow::Result<Cost> + 'a) -> Side<'a> {
        Side { name: name.into(), run: Box::new(run), costs: Vec::new() }
    }

    fn median(&self, what: fn(&Cost) -> f64) -> f64 {
        let mut values: Vec<f64> = self.costs.iter().map(what).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

/// Runs all sides in turn, `rounds` times, and prints their medians. Ratios are to the first side. `count`
/// is how many of `noun` there are, for rates and for memory.
pub fn compare(mut sides: Vec<Side<'_>>, rounds: usize, count: usize, noun: &str) -> anyhow::Result<()> {
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let before = load();
    for _ in 0..rounds {
        for side in &mut sides {
            let cost = (side.run)().with_context(|| side.name.clone())?;
            side.costs.push(cost);
        }
    }
    let first = |what: fn(&Cost) -> f64| sides[0].median(what);
    let (wall, cpu) = (first(|cost| cost.wall), first(|cost| cost.cpu));
    println!("{count} {noun}, medians of {rounds}; load {} to {}\n", word(&before), word(&load()));
    println!("| | seconds | {noun}/s | ratio | processor seconds | ratio | peak MiB | KiB each |");
    println!("|---|---|---|---|---|---|---|---|");
    for side in &sides {
        let (own, used, peak) =
            (side.median(|cost| cost.wall), side.median(|cost| cost.cpu), side.median(|cost| cost.peak));
        println!(
            "| {} | {own:.3} | {:.0} | {:.2} | {used:.3} | {:.2} | {:.1} | {:.2} |",
            side.name,
            count as f64 / own,
            own / wall,
            used / cpu,
            peak / 1048576.0,
            peak / 1024.0 / count as f64
        );
    }
    println!();
    Ok(())
}

fn word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}
