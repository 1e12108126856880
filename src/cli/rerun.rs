//! `runner verify --rerun`: whether stages make the same again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use super::arguments::{Format, Verify, again};
use super::devices::Available;
use super::failure::{Exit, Failure};
use super::many;
use super::signals::catch_signals;
use super::workspace::Workspace;
use crate::artifact::compare::{Difference, FileDifference, Spread, TensorDifference, ValueDifference, Verdict};
use crate::cache::{Cache, CacheError};
use crate::console::{self, Gauge};
use crate::plan::{Plan, StageIndex};
use crate::scheduler::{Again, ChildProcess, Examination, Options, Step, Trials, Verdict as Freshness, examine};
use crate::stage::Registry;
use crate::text::{bytes, count, duration};

/// So many differing tensors or values of a file are shown to people.
const SHOWN: usize = 3;

/// Executes finished stages of each experiment again.
pub fn rerun(arguments: &Verify, workspace: &mut Workspace, registry: &Registry) -> Result<Exit, Failure> {
    let available = Available::here();
    let devices = available.pool(&arguments.machine.device, arguments.machine.places())?;
    let options = Options { jobs: arguments.machine.jobs(), keep_going: true, devices, elsewhere: false };
    let executor = ChildProcess::this_program().context("cannot find this program")?;
    let interrupt = catch_signals()?;
    let mut told = Vec::new();
    let mut exit = Exit::Done;
    for file in many::files(&arguments.experiments)? {
        let plan = workspace.plan(&file, &arguments.changes.overrides(), registry)?;
        available.check(&plan)?;
        let cache = workspace.cache()?;
        let mut examination = examine(&plan, cache)?;
        if !cache.hold()? {
            examination = examine(&plan, cache)?;
        }
        let stages = chosen(arguments, &plan, &examination, cache, &file)?;
        let before = before(&stages, &examination, cache)?;
        let trials = Trials { plan: &plan, examination: &examination, stages, tolerance: arguments.tolerance };
        let total = trials.stages.len();
        if arguments.format.format == Format::Text {
            let (stages, took) = (count(total, "stage"), duration(before.values().sum()));
            console::note(&format!("{}: {stages} once more, which took {took} the first time", plan.experiment));
        }
        let again = {
            let gauge = Gauge::count("again");
            let mut running: BTreeSet<String> = BTreeSet::new();
            let mut done = 0;
            gauge.set(done, total as u64);
            let mut tell = |step: Step<'_>| match step {
                Step::Started(stage) => {
                    running.insert(stage.to_string());
                    gauge.say(&running.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
                }
                Step::Ended(again) => {
                    running.remove(plan[again.stage].name());
                    done += 1;
                    gauge.set(done, total as u64);
                    if arguments.format.format == Format::Text {
                        gauge.print(&text(&plan, again, before[&again.stage]));
                    }
                }
            };
            trials.run(cache, &executor, &options, &mut tell, &interrupt)?
        };
        told.push(match arguments.format.format {
            Format::Text => Json::Null,
            Format::Json => {
                let stages: Vec<Json> = again.iter().map(|again| json(&plan, again, before[&again.stage])).collect();
                json!({"experiment": plan.experiment, "tolerance": arguments.tolerance, "stages": stages})
            }
        });
        if arguments.format.format == Format::Text {
            console::print(&format!("{}\n", summary(&again, total, arguments.tolerance)));
        }
        exit = match (again.len() < total, again.iter().map(Again::verdict).fold(Exit::Done, worse)) {
            (true, _) => Exit::Interrupted,
            (false, found) if exit == Exit::Done || found == Exit::Failed => found,
            _ => exit,
        };
        if exit == Exit::Interrupted {
            break;
        }
    }
    if arguments.format.format == Format::Json {
        console::print(&format!("{:#}\n", json!(told)));
    }
    Ok(exit)
}

/// What several stages come to.
fn worse(so_far: Exit, verdict: Option<Verdict>) -> Exit {
    match (so_far, verdict) {
        (Exit::Failed, _) | (_, None) => Exit::Failed,
        (_, Some(Verdict::Differs)) => Exit::Differs,
        (so_far, Some(Verdict::Equal | Verdict::Close)) => so_far,
    }
}

/// The stages that the command line asks for, in the order of the plan.
fn chosen(
    arguments: &Verify,
    plan: &Plan,
    examination: &Examination,
    cache: &Cache,
    file: &Path,
) -> Result<Vec<StageIndex>, Failure> {
    let is_fresh = |stage: &StageIndex| examination[*stage].verdict == Freshness::Fresh;
    let store = &arguments.store;
    let hint = format!("`{}` makes what is missing", again("exec", file, store, &arguments.changes));
    if !arguments.only.is_empty() {
        let mut stages = BTreeSet::new();
        for name in &arguments.only {
            let stage = plan.find(name).map_err(|error| Failure::usage(error.to_string(), None))?;
            if !is_fresh(&stage) {
                let message = format!("`{}` has no result to compare with", plan[stage].name());
                return Err(Failure::usage(message, Some(&hint)));
            }
            stages.insert(stage);
        }
        return Ok(stages.into_iter().collect());
    }
    let fresh: Vec<StageIndex> = plan.order().filter(is_fresh).collect();
    if fresh.is_empty() {
        let message = format!("no stage of `{}` has a result to compare with", plan.experiment);
        return Err(Failure::usage(message, Some(&hint)));
    }
    if arguments.all {
        return Ok(fresh);
    }
    if let Some(number) = arguments.sample {
        return Ok(sample(fresh, number, arguments.seed));
    }
    let took = before(&fresh, examination, cache)?;
    let mut quickest: BTreeMap<&str, StageIndex> = BTreeMap::new();
    for stage in &fresh {
        let best = quickest.entry(&plan[*stage].kind).or_insert(*stage);
        if took[stage] < took[best] {
            *best = *stage;
        }
    }
    Ok(quickest.into_values().collect::<BTreeSet<StageIndex>>().into_iter().collect())
}

/// So many of the stages, drawn at random, in their order.
fn sample(mut stages: Vec<StageIndex>, number: usize, seed: u64) -> Vec<StageIndex> {
    stages.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    stages.truncate(number);
    stages.sort_unstable();
    stages
}

/// How long each stage took when its result was made, in seconds.
fn before(
    stages: &[StageIndex],
    examination: &Examination,
    cache: &Cache,
) -> Result<BTreeMap<StageIndex, f64>, CacheError> {
    let took = |stage: &StageIndex| {
        let entry = cache.entry(&examination[*stage].fingerprint)?;
        Ok((*stage, entry.map_or(0.0, |entry| entry.provenance.wall)))
    };
    stages.iter().map(took).collect()
}

fn word(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Equal) => "equal",
        Some(Verdict::Close) => "close",
        Some(Verdict::Differs) => "differs",
        None => "failed",
    }
}

/// What a stage came to, in a line and one for each difference.
fn text(plan: &Plan, again: &Again, before: f64) -> String {
    let (word, name) = (word(again.verdict()), plan[again.stage].name());
    let outputs = match &again.outputs {
        Err(message) => {
            let tail: String = again.tail.iter().map(|line| format!("           | {line}\n")).collect();
            return format!("{word:<8} {name}  {message}\n{tail}           log: {}\n", again.log.display());
        }
        Ok(outputs) => outputs,
    };
    let size = outputs.iter().map(|output| output.bytes).sum();
    let took = format!("{}, {} the first time", duration(again.wall), duration(before));
    let mut text = format!("{word:<8} {name}  {}, {}  {took}\n", count(outputs.len(), "output"), bytes(size));
    for output in outputs {
        for FileDifference { name, difference, .. } in &output.comparison.differing {
            let mut lines = described(difference).into_iter();
            let _ = writeln!(text, "           {}/{name}: {}", output.slot, lines.next().unwrap_or_default());
            lines.for_each(|line| {
                let _ = writeln!(text, "             {line}");
            });
        }
    }
    text
}

/// In what a file differs, in a line and some more.
pub fn described(difference: &Difference) -> Vec<String> {
    match difference {
        Difference::OnlyFirst => vec!["was not made again".to_string()],
        Difference::OnlyLater => vec!["was not there the first time".to_string()],
        Difference::Bytes { sizes: [one, other], first } if one == other => {
            vec![format!("bytes differ from byte {first} on ({})", bytes(*one))]
        }
        Difference::Bytes { sizes: [one, other], first } => {
            vec![format!("bytes differ from byte {first} on ({} → {})", bytes(*one), bytes(*other))]
        }
        Difference::Tensors { common, differing, only_first, only_later } => {
            let mut lines = vec![match differing.is_empty() {
                true => {
                    format!("the values of {} are equal; the file is written differently", count(*common, "tensor"))
                }
                false => {
                    let number = differing.len() as u64;
                    format!("{number} of {}", differ(*common as u64, "tensor", number))
                }
            }];
            let mut worst: Vec<&TensorDifference> = differing.iter().collect();
            worst.sort_by(|one, other| other.numbers.absolute.total_cmp(&one.numbers.absolute));
            lines.extend(worst.iter().take(SHOWN).map(|tensor| match &tensor.form {
                Some([one, other]) => format!("`{}` was {one} and is {other}", tensor.name),
                None => format!("`{}`: {}", tensor.name, spread(&tensor.numbers, Some(tensor.size))),
            }));
            lines.extend(only_first.iter().take(SHOWN).map(|name| format!("`{name}` is not there any more")));
            lines.extend(only_later.iter().take(SHOWN).map(|name| format!("`{name}` is new")));
            lines
        }
        Difference::Values { values, numbers, others } => {
            let mut lines = vec![both(numbers, *others)];
            lines.extend(values.iter().take(SHOWN).map(changed));
            lines
        }
        Difference::Lines { lines: [one, other], differing, first, values, numbers, others } => {
            let number = match one == other {
                true => count(*one as usize, "line"),
                false => format!("{one} → {}", count(*other as usize, "line")),
            };
            let verb = if *differing == 1 { "differs" } else { "differ" };
            let said = both(numbers, *others);
            let mut lines = vec![format!("{differing} of {number} {verb}, {first} is the first; {said}")];
            lines.extend(values.iter().take(SHOWN).map(changed));
            lines
        }
    }
}

/// How far numbers lie apart, of so many.
fn spread(numbers: &Spread, of: Option<u64>) -> String {
    let Spread { differing, absolute, relative, .. } = numbers;
    let what = match of {
        Some(of) => format!("{differing} of {}", differ(of, "number", *differing)),
        None => differ(*differing, "number", *differing),
    };
    format!("{what}, by {} at most (relative {relative:.1e})", size(*absolute))
}

fn both(numbers: &Spread, others: u64) -> String {
    match (numbers.differing, others) {
        (0, 0) => "the values are equal; the file is written differently".to_string(),
        (0, others) => differ(others, "value", others),
        (_, 0) => spread(numbers, None),
        (_, others) => format!("{}, and {} more", spread(numbers, None), count(others as usize, "value")),
    }
}

/// `1 value differs`, `2 values differ`; of several also `1 of 2 values differs`.
fn differ(number: u64, noun: &str, differing: u64) -> String {
    let verb = if differing == 1 { "differs" } else { "differ" };
    format!("{} {verb}", count(number as usize, noun))
}

/// A number in the notation that is shorter.
fn size(number: f64) -> String {
    if (1e-3..1e6).contains(&number) { format!("{}", (number * 1e4).round() / 1e4) } else { format!("{number:.1e}") }
}

fn changed(value: &ValueDifference) -> String {
    let side = |side: &Option<Json>| side.as_ref().map_or("nothing".to_string(), shortened);
    let path = if value.path.is_empty() { "the value" } else { &value.path };
    format!("{path}: {} → {}", side(&value.first), side(&value.later))
}

/// A value as JSON, cut where it is long.
fn shortened(value: &Json) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn summary(again: &[Again], total: usize, tolerance: f64) -> String {
    let number = |which: Option<Verdict>| again.iter().filter(|again| again.verdict() == which).count();
    let close = format!("close (tolerance {tolerance})");
    let parts = [
        (number(Some(Verdict::Equal)), "equal, byte by byte"),
        (number(Some(Verdict::Close)), close.as_str()),
        (number(Some(Verdict::Differs)), "different"),
        (number(None), "failed"),
        (total - again.len(), "not finished"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
    format!("{} once more: {}", count(total, "stage"), parts.join(", "))
}

fn json(plan: &Plan, again: &Again, before: f64) -> Json {
    let planned = &plan[again.stage];
    let (outputs, message) = match &again.outputs {
        Ok(outputs) => {
            let output = |output: &crate::scheduler::Compared| {
                json!({
                    "slot": output.slot, "first": output.first, "later": output.later, "bytes": output.bytes,
                    "verdict": output.comparison.verdict(), "differing": output.comparison.differing,
                })
            };
            (outputs.iter().map(output).collect::<Vec<Json>>(), None)
        }
        Err(message) => (Vec::new(), Some(message)),
    };
    json!({
        "stage": planned.name(), "kind": planned.kind, "verdict": word(again.verdict()), "device": again.device,
        "seconds": again.wall, "seconds_first": before, "outputs": outputs, "message": message, "log": again.log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_its_seed_alone() {
        let stages: Vec<StageIndex> = (0..50).map(StageIndex::new).collect();
        let drawn = sample(stages.clone(), 5, 1);
        assert_eq!(drawn, sample(stages.clone(), 5, 1));
        assert_ne!(drawn, sample(stages.clone(), 5, 2));
        assert!(drawn.len() == 5 && drawn.is_sorted());
        assert_eq!(sample(stages.clone(), 99, 1), stages);
    }

    #[test]
    fn differences_are_told_with_their_size() {
        let numbers = Spread { differing: 2, beyond: 0, absolute: 3e-7, relative: 2e-6 };
        let tensor = |name: &str, absolute| TensorDifference {
            name: name.to_string(),
            form: None,
            size: 96,
            numbers: Spread { absolute, ..numbers },
        };
        let tensors = Difference::Tensors {
            common: 41,
            differing: vec![tensor("a", 1e-8), tensor("b", 3e-7)],
            only_first: vec![],
            only_later: vec!["c".into()],
        };
        assert_eq!(
            described(&tensors),
            [
                "2 of 41 tensors differ",
                "`b`: 2 of 96 numbers differ, by 3.0e-7 at most (relative 2.0e-6)",
                "`a`: 2 of 96 numbers differ, by 1.0e-8 at most (relative 2.0e-6)",
                "`c` is new",
            ]
        );
        let values = vec![ValueDifference { path: "loss".into(), first: Some(1.0.into()), later: None }];
        let lines = Difference::Lines { lines: [9, 8], differing: 1, first: 4, values, numbers, others: 1 };
        assert_eq!(
            described(&lines),
            [
                "1 of 9 → 8 lines differs, 4 is the first; 2 numbers differ, by 3.0e-7 at most (relative 2.0e-6), and 1 value more",
                "loss: 1.0 → nothing",
            ]
        );
    }
}
