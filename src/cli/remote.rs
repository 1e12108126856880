//! `runner push` and `runner pull`, and the remote cache of `runner exec`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::arguments::{Changes, Format, Pull, Push, RemoteOption};
use super::failure::{Exit, Failure};
use super::many;
use super::signals::catch_signals;
use super::workspace::Workspace;
use crate::cache::{Cache, Divergence, Entry, Pulled, Pushed, Remote, RemoteError, Step, Wanted};
use crate::console;
use crate::digest::Digest;
use crate::plan::{Plan, StageIndex};
use crate::scheduler::{Verdict, examine};
use crate::stage::Registry;
use crate::text::{bytes, count};

/// How often the progress of large transfers is told.
const TELL: Duration = Duration::from_secs(10);
/// After so long it is told what is waited for.
const SOON: Duration = Duration::from_secs(1);

/// Brings finished stages to a remote.
pub fn push(arguments: &Push, registry: &Registry) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    let remote = named(&workspace, &arguments.remote)?;
    let interrupt = catch_signals()?;
    let plans = plans(&mut workspace, &arguments.experiments, &arguments.changes, registry)?;
    let cache = workspace.existing_cache()?;
    let mut entries = cache.entries()?;
    if !arguments.experiments.is_empty() {
        let mut wanted = HashSet::new();
        for plan in &plans {
            let examination = examine(plan, cache)?;
            let fresh = plan.order().map(|stage| &examination[stage]).filter(|stage| stage.verdict == Verdict::Fresh);
            wanted.extend(fresh.map(|stage| stage.fingerprint));
        }
        entries.retain(|entry| wanted.contains(&entry.fingerprint));
    }
    let teller = Teller::new("push", arguments.format.format);
    let pushed = cache.push(&remote, &entries, arguments.again, &|entry, step| teller.tell(entry, step), &interrupt)?;
    match arguments.format.format {
        Format::Json => console::print(&format!("{:#}\n", pushed_json(&remote.name(), &pushed))),
        Format::Text => {
            let Pushed { results, there, files, bytes: size, .. } = &pushed;
            let (results, files, size) = (count(*results, "result"), count(*files, "file"), bytes(*size));
            console::print(&format!("pushed {results}, {files} of {size}, to {}; {there} were there\n", remote.name()));
            tell_divergences(cache, &pushed.divergences)?;
            tell_failures(&pushed);
        }
    }
    Ok(ending(pushed.failures.is_empty(), &interrupt))
}

/// Brings finished stages here.
pub fn pull(arguments: &Pull, registry: &Registry) -> Result<Exit, Failure> {
    let mut workspace = Workspace::new(&arguments.store.directory);
    let remote = named(&workspace, &arguments.remote)?;
    let interrupt = catch_signals()?;
    let plans = plans(&mut workspace, &arguments.experiments, &arguments.changes, registry)?;
    let teller = Teller::new("pull", arguments.format.format);
    let tell = |entry: &Entry, step| teller.tell(entry, step);
    let cache = workspace.cache()?;
    let pulled = match arguments.experiments.is_empty() {
        true => pull_all(cache, &remote, &tell, &interrupt)?,
        false => {
            let mut pulled = Pulled::default();
            for plan in &plans {
                add(&mut pulled, pull_waves(cache, &remote, plan, &tell, &interrupt)?);
            }
            pulled
        }
    };
    let Pulled { results, here, elsewhere, absent, files, bytes: size, failures } = &pulled;
    if arguments.format.format == Format::Json {
        let failures: Vec<Value> = failures
            .iter()
            .map(|(fingerprint, error)| json!({"result": fingerprint, "error": error.to_string()}))
            .collect();
        let told = json!({
            "remote": remote.name(), "results": results, "here": here, "elsewhere": elsewhere, "absent": absent,
            "files": files, "bytes": size, "failures": failures,
        });
        console::print(&format!("{told:#}\n"));
        return Ok(ending(pulled.failures.is_empty(), &interrupt));
    }
    let (results, files, size) = (count(*results, "result"), count(*files, "file"), bytes(*size));
    let mut text = format!("pulled {results}, {files} of {size}, from {}; {here} were here", remote.name());
    for (number, what) in [(*absent, "are not there"), (*elsewhere, "are made by another process now")] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    console::print(&(text + "\n"));
    for (fingerprint, error) in failures {
        console::report(&format!("result {}: {error}", fingerprint.short()), error.hint());
    }
    Ok(ending(failures.is_empty(), &interrupt))
}

/// Puts the remote that the command line or the environment names behind the cache.
pub fn attach(workspace: &mut Workspace, option: &RemoteOption, read_only: bool) -> Result<(), Failure> {
    let Some(address) = address(option) else {
        return match read_only {
            true => Err(Failure::usage("`--remote-read-only` without a remote", Some("name it with `--remote`"))),
            false => Ok(()),
        };
    };
    let remote = open(workspace, address, read_only)?;
    workspace.cache()?.attach(Arc::new(remote));
    Ok(())
}

/// Waits until what was made is in the remote, and tells what is not. Never a reason to fail.
pub fn end_uploads(workspace: &mut Workspace, format: Format, interrupt: &AtomicBool) -> Result<(), Failure> {
    if !workspace.is_open() {
        return Ok(());
    }
    let cache = workspace.cache()?;
    let Some(remote) = cache.remote() else { return Ok(()) };
    let mut next = Instant::now() + SOON;
    let mut tell = |left: usize| {
        if format == Format::Text && Instant::now() >= next {
            next = Instant::now() + TELL;
            let (left, name) = (count(left, "result"), remote.name());
            console::note(&format!("{left} on the way to {name}; Ctrl-C leaves them for `runner push`"));
        }
    };
    let Some(pushed) = cache.end_uploads(&mut tell, interrupt)? else { return Ok(()) };
    if format == Format::Json {
        let mut told = pushed_json(&remote.name(), &pushed);
        told["event"] = json!("pushed");
        console::print(&format!("{told}\n"));
        return Ok(());
    }
    let Pushed { results, files, bytes: size, .. } = &pushed;
    if *results > 0 {
        let (results, files, size) = (count(*results, "result"), count(*files, "file"), bytes(*size));
        console::note(&format!("pushed {results}, {files} of {size}, to {}", remote.name()));
    }
    tell_divergences(cache, &pushed.divergences)?;
    if let Some(error) = pushed.failures.iter().find_map(|(_, error)| error.as_ref()) {
        let (number, name) = (count(pushed.failures.len(), "result"), remote.name());
        console::note(&format!("warning: {number} could not be brought there: {error}"));
        console::note(&format!("hint: `runner push --remote {name}` brings them there later"));
    }
    Ok(())
}

/// Brings here what a plan needs and the remote has. That it cannot be reached is told, no more.
pub fn pull_plan(cache: &mut Cache, remote: &Remote, plan: &Plan, interrupt: &AtomicBool) -> Result<(), Failure> {
    let teller = Teller::new("pull", Format::Text);
    let pulled = pull_waves(cache, remote, plan, &|entry, step| teller.tell(entry, step), interrupt)?;
    for (_, error) in pulled.failures.iter().filter(|(_, error)| !error.is_interrupt()) {
        console::note(&format!("warning: {error}"));
    }
    Ok(())
}

type Tell<'a> = &'a (dyn Fn(&Entry, Step) + Sync);

/// Brings here what a plan needs, from its first stages on: the keys of the others are known when those are here.
fn pull_waves(
    cache: &mut Cache,
    remote: &Remote,
    plan: &Plan,
    tell: Tell<'_>,
    interrupt: &AtomicBool,
) -> Result<Pulled, Failure> {
    let mut asked: HashSet<Digest> = HashSet::new();
    let mut pulled = Pulled::default();
    loop {
        let examination = examine(plan, cache)?;
        let runs = |stage: &StageIndex| matches!(examination[*stage].verdict, Verdict::Run(_));
        let wanted: Vec<Wanted> = plan
            .order()
            .filter(runs)
            .filter(|stage| asked.insert(examination[*stage].fingerprint))
            .map(|stage| {
                let (key, outputs) = (examination.key(plan, stage), plan[stage].outputs.clone());
                Wanted { key, outputs, entry: None }
            })
            .collect();
        if wanted.is_empty() || pulled.failures.iter().any(|(_, error)| error.ends()) {
            pulled.here += examination.counts().0.saturating_sub(pulled.results);
            return Ok(pulled);
        }
        add(&mut pulled, cache.pull(remote, &wanted, tell, interrupt)?);
    }
}

/// Brings everything here that a remote has.
fn pull_all(cache: &mut Cache, remote: &Remote, tell: Tell<'_>, interrupt: &AtomicBool) -> Result<Pulled, Failure> {
    let there = remote.all()?;
    let here: HashSet<Digest> = cache.entries()?.into_iter().map(|entry| entry.fingerprint).collect();
    let new: Vec<Digest> = there.iter().filter(|fingerprint| !here.contains(fingerprint)).copied().collect();
    let (entries, mut failures) = remote.find_all(&new)?;
    let wanted: Vec<Wanted> = entries.into_iter().map(Wanted::from).collect();
    let mut pulled = cache.pull(remote, &wanted, tell, interrupt)?;
    pulled.here += there.len() - new.len();
    pulled.failures.append(&mut failures);
    Ok(pulled)
}

fn add(pulled: &mut Pulled, other: Pulled) {
    let Pulled { results, here, elsewhere, absent, files, bytes, failures } = other;
    (pulled.results, pulled.here) = (pulled.results + results, pulled.here + here);
    (pulled.elsewhere, pulled.absent) = (pulled.elsewhere + elsewhere, pulled.absent + absent);
    (pulled.files, pulled.bytes) = (pulled.files + files, pulled.bytes + bytes);
    pulled.failures.extend(failures);
}

/// The plans of all experiments.
fn plans(
    workspace: &mut Workspace,
    paths: &[PathBuf],
    changes: &Changes,
    registry: &Registry,
) -> Result<Vec<Plan>, Failure> {
    let files = many::files(paths)?;
    files.iter().map(|file| workspace.plan(file, &changes.overrides(), registry)).collect()
}

fn address(option: &RemoteOption) -> Option<&str> {
    option.remote.as_deref().filter(|address| !address.is_empty())
}

fn named(workspace: &Workspace, option: &RemoteOption) -> Result<Remote, Failure> {
    let missing = || {
        let hint = "name it with `--remote`, such as `--remote s3://bucket/prefix`, or in `RUNNER_REMOTE`";
        Failure::usage("no remote is named", Some(hint))
    };
    Ok(open(workspace, address(option).ok_or_else(missing)?, false)?)
}

fn open(workspace: &Workspace, address: &str, read_only: bool) -> Result<Remote, RemoteError> {
    Remote::open(address, workspace.directory(), read_only)
}

fn ending(well: bool, interrupt: &AtomicBool) -> Exit {
    match (interrupt.load(Ordering::Relaxed), well) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Done,
        (false, false) => Exit::Failed,
    }
}

/// How results are called in what is told of them.
fn title(entry: &Entry) -> String {
    format!("{}: {}", entry.provenance.experiment, entry.provenance.name)
}

fn tell_failures(pushed: &Pushed) {
    let (told, silent): (Vec<_>, Vec<_>) = pushed.failures.iter().partition(|(_, error)| error.is_some());
    for (entry, error) in told {
        let error = error.as_ref().expect("it has one");
        console::report(&format!("`{}` was not pushed: {error}", title(entry)), error.hint());
    }
    if !silent.is_empty() {
        console::note(&format!("{} more not pushed", count(silent.len(), "result")));
    }
}

fn tell_divergences(cache: &Cache, divergences: &[Divergence]) -> Result<(), Failure> {
    for Divergence { fingerprint, slot, first, later, .. } in divergences {
        let title = cache.entry(fingerprint)?.map_or(fingerprint.short(), |entry| title(&entry));
        console::note(&format!(
            "warning: `{title}`: output `{slot}` came out as {} here and as {} there, which was first and stays",
            later.short(),
            first.short()
        ));
    }
    Ok(())
}

fn pushed_json(remote: &str, pushed: &Pushed) -> Value {
    let Pushed { results, there, files, bytes, failures, divergences } = pushed;
    let failures: Vec<Value> = failures
        .iter()
        .map(|(entry, error)| json!({"stage": title(entry), "error": error.as_ref().map(ToString::to_string)}))
        .collect();
    json!({
        "remote": remote, "results": results, "there": there, "files": files, "bytes": bytes, "failures": failures,
        "divergences": divergences,
    })
}

/// Tells of each result when its files begin to move, and now and then how far all of them are.
struct Teller {
    word: &'static str,
    format: Format,
    state: Mutex<(u64, u64, Instant)>,
}

impl Teller {
    fn new(word: &'static str, format: Format) -> Teller {
        Teller { word, format, state: Mutex::new((0, 0, Instant::now())) }
    }

    fn tell(&self, entry: &Entry, step: Step) {
        if self.format == Format::Json {
            return;
        }
        let mut state = self.state.lock().expect("no panic while it is locked");
        let (moved, total, since) = &mut *state;
        match step {
            Step::Started { files, bytes: size } => {
                *total += size;
                let (word, title, files, size) = (self.word, title(entry), count(files, "file"), bytes(size));
                console::note(&format!("{word}  {title}  {files}, {size}"));
            }
            Step::Moved(more) => {
                *moved += more;
                if since.elapsed() >= TELL {
                    *since = Instant::now();
                    console::note(&format!("{}  {} of {}", self.word, bytes(*moved), bytes(*total)));
                }
            }
        }
    }
}
