//! Stages that are split into shards.
//!
//! The plan that is run has a stage for each shard, and the split stage itself reads what they leave and
//! merges it. So a shard is started, claimed, recorded and found again like any other stage, and devices
//! and slots are given out as ever. The key of the split stage stays what it is without shards; theirs
//! are derived from it ([`Key::shard`]). What is told of a run ([`Event`]) is about the stages of the
//! experiment alone: one that is split starts with its first shard, its progress is that of all its
//! shards, and it ends when they are merged.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;

use super::costs::Costs;
use super::engine::Engine;
use super::event::Event;
use super::examine::{Examination, Examined, Verdict, key};
use super::state::State;
use crate::cache::{CacheError, Outputs, Provenance, Recorded};
use crate::devices::Device;
use crate::digest::Digest;
use crate::fingerprint::Key;
use crate::plan::{Output, Plan, Planned, Source, StageIndex};
use crate::stage::{SHARD, Shard, Task};

/// A plan as it is run, and what the original stages are in it.
pub(super) struct Expanded<'a> {
    pub plan: Cow<'a, Plan>,
    pub examination: Examination,
    pub shards: Shards,
    /// Where the stages of the original plan are; `None` if nothing was split, so they are where they were.
    places: Option<Vec<StageIndex>>,
}

/// Which stages of the plan that is run are shards, and of what.
#[derive(Default)]
pub(super) struct Shards {
    parts: BTreeMap<StageIndex, Part>,
    splits: BTreeMap<StageIndex, Split>,
}

/// A stage that is a shard.
struct Part {
    /// The stage that it is of.
    of: StageIndex,
    shard: Shard,
    /// What it said of its progress: units done, and all.
    progress: Option<(u64, u64)>,
}

/// A stage that is split.
struct Split {
    /// Its shards, in their order.
    shards: Vec<StageIndex>,
    /// Its key, once its inputs are known.
    key: Option<Key>,
    /// When its first shard was started.
    since: Option<Instant>,
    /// Whether the remote, if there is one, was asked for the whole result: then it has none, and the shards
    /// have to be done.
    asked: bool,
    /// What its shards count.
    unit: String,
    /// What its shards warned of: each would say it.
    said: HashSet<String>,
}

impl Split {
    fn of(shards: Vec<StageIndex>) -> Split {
        Split { shards, key: None, since: None, asked: false, unit: String::new(), said: HashSet::new() }
    }
}

/// What a shard is called: `t1/gradient [2/4]`.
fn name(of: &str, shard: Shard) -> String {
    format!("{of} [{shard}]")
}

/// The word for what a shard is, beside the kinds of the experiment.
fn kind(of: &str) -> String {
    format!("{of} {SHARD}")
}

/// The plan with a stage for each shard of the stages that are to be split and may have to run.
pub(super) fn expand(plan: &Plan, examination: Examination) -> Expanded<'_> {
    let is_split = |stage: StageIndex| plan[stage].execution.shards > 1 && examination[stage].verdict != Verdict::Fresh;
    if !plan.order().any(is_split) {
        return Expanded { plan: Cow::Borrowed(plan), examination, shards: Shards::default(), places: None };
    }
    let mut expanded = Plan::new(plan.experiment.clone(), plan.title.clone());
    expanded.shared = plan.shared;
    let mut examined: Vec<Examined> = Vec::with_capacity(plan.len());
    let mut places: Vec<StageIndex> = Vec::with_capacity(plan.len());
    let mut shards = Shards::default();
    for stage in plan.order() {
        let mut planned = plan[stage].clone();
        planned.inputs = planned.inputs.map(|source| match source {
            Source::Stage(Output { stage, slot }) => {
                Source::Stage(Output { stage: places[stage.index()], slot: slot.clone() })
            }
            external => external.clone(),
        });
        let mut parts = Vec::new();
        if is_split(stage) {
            for shard in (0..planned.execution.shards).map(|index| Shard { index, count: planned.execution.shards }) {
                parts.push((expanded.add(part(&planned, shard)), shard));
                examined.push(examination[stage].clone());
            }
            let source = |stage| Source::Stage(Output { stage, slot: SHARD.to_string() });
            let left = parts.iter().map(|(place, shard)| (slot(*shard), source(*place)));
            planned.inputs = planned.inputs.with(left);
            // Merging reads and writes files.
            let execution = Arc::make_mut(&mut planned.execution);
            (execution.threads, execution.device) = (1, Device::Cpu);
            planned.accelerated = false;
        }
        let place = expanded.add(planned);
        examined.push(examination[stage].clone());
        places.push(place);
        if !parts.is_empty() {
            let list = parts.iter().map(|(place, _)| *place).collect();
            shards.splits.insert(place, Split::of(list));
            let parts = parts.into_iter().map(|(part, shard)| (part, Part { of: place, shard, progress: None }));
            shards.parts.extend(parts);
        }
    }
    let (plan, examination) = (Cow::Owned(expanded), Examination::of(examined));
    Expanded { plan, examination, shards, places: Some(places) }
}

/// The shards of a stage with their keys; none, if it is not split.
pub fn shards_of(planned: &Planned, key: &Key) -> Vec<(Shard, Key)> {
    match planned.execution.shards {
        0 | 1 => Vec::new(),
        count => {
            let shards = (0..count).map(|index| Shard { index, count });
            shards.map(|shard| (shard, key.shard(shard, planned.execution.micro_batch))).collect()
        }
    }
}

/// A shard as a stage.
fn part(whole: &Planned, shard: Shard) -> Planned {
    let mut part = whole.clone();
    part.names = vec![name(whole.name(), shard)];
    part.kind = kind(&whole.kind);
    part.outputs = Arc::new(IndexMap::from([(SHARD.to_string(), SHARD.to_string())]));
    Arc::make_mut(&mut part.execution).shards = 1;
    part
}

/// The input slot of a split stage for what a shard leaves. No declared slot has a space in it.
fn slot(shard: Shard) -> String {
    format!("{SHARD} {:06}", shard.index)
}

impl Expanded<'_> {
    /// Gives away what a run changes.
    pub fn take(&mut self) -> (Examination, Shards) {
        (std::mem::replace(&mut self.examination, Examination::of(Vec::new())), std::mem::take(&mut self.shards))
    }

    /// Of all stages of the plan that was run, those of the original one.
    pub fn originals<T>(&self, all: Vec<T>) -> Vec<T> {
        let Some(places) = &self.places else { return all };
        let mut all: Vec<Option<T>> = all.into_iter().map(Some).collect();
        places.iter().map(|place| all[place.index()].take().expect("BUG: two stages are in one place")).collect()
    }
}

impl Shards {
    /// Whether a stage is a shard of another.
    pub fn is_shard(&self, stage: StageIndex) -> bool {
        self.parts.contains_key(&stage)
    }

    /// Whether a stage is split into shards.
    pub fn is_split(&self, stage: StageIndex) -> bool {
        self.splits.contains_key(&stage)
    }

    /// The stage that a shard is of.
    pub fn of(&self, stage: StageIndex) -> Option<StageIndex> {
        self.parts.get(&stage).map(|part| part.of)
    }

    /// The stage that a stage is told of as: itself, or the one that it is a shard of.
    pub fn told(&self, stage: StageIndex) -> StageIndex {
        self.of(stage).unwrap_or(stage)
    }

    /// The shards of a stage.
    pub(super) fn shards(&self, stage: StageIndex) -> &[StageIndex] {
        self.splits.get(&stage).map_or(&[], |split| &split.shards)
    }

    /// Lets the shards cost what their stage did, as long as nothing better is known.
    pub fn estimate(&self, plan: &Plan, costs: &mut Costs) {
        for (stage, split) in &self.splits {
            costs.split(&plan[*stage], split.shards.iter().map(|shard| plan[*shard].name()));
        }
    }

    /// What a stage says of its failure.
    pub fn failed(&self, stage: StageIndex, message: String) -> String {
        match self.parts.get(&stage) {
            Some(Part { shard, .. }) => format!("shard {shard}: {message}"),
            None => message,
        }
    }
}

impl Engine<'_> {
    /// The key of a stage whose inputs have these digests; that of a shard is derived from the key of its
    /// stage, which is noted.
    pub(super) fn key(&mut self, stage: StageIndex, inputs: &[(&str, Digest)]) -> Key {
        let whole = self.shards.told(stage);
        let key = key(&self.plan[whole], inputs.iter().map(|(slot, digest)| (*slot, digest)));
        if let Some(split) = self.shards.splits.get_mut(&whole) {
            split.key = Some(key.clone());
        }
        match self.shards.parts.get(&stage) {
            Some(part) => key.shard(part.shard, self.plan[stage].execution.micro_batch),
            None => key,
        }
    }

    /// Settles a shard that is not needed, for the result of its stage is there. Returns whether that is so.
    pub(super) fn is_needless(&mut self, stage: StageIndex, shard: Digest) -> Result<bool, CacheError> {
        let Some(whole) = self.whole_key(stage).map(|key| key.fingerprint) else { return Ok(false) };
        if let Recorded::Present(outputs) = self.cache.recorded(&whole)? {
            self.cache.check(outputs.values().copied())?;
        }
        let there = matches!(self.cache.recorded(&whole)?, Recorded::Present(_));
        if there {
            self.states.set(stage, State::Done { fingerprint: shard, outputs: Outputs::new(), ran: false });
            self.unsettled.extend(self.plan.consumers(stage));
        }
        Ok(there)
    }

    /// Whether the remote is still to be asked for the result of a split stage: what is there was perhaps
    /// made in other shards, or in none.
    pub(super) fn asks(&self, stage: StageIndex) -> bool {
        self.cache.remote().is_some() && self.shards.splits.get(&stage).is_some_and(|split| !split.asked)
    }

    /// The remote does not have the result of a split stage: its shards are looked at.
    pub(super) fn answered(&mut self, stage: StageIndex) {
        let Some(split) = self.shards.splits.get_mut(&stage) else { return };
        split.asked = true;
        self.unsettled.extend(&split.shards);
        self.unsettled.insert(stage);
    }

    /// The key of the stage that a shard is of.
    fn whole_key(&self, stage: StageIndex) -> Option<&Key> {
        self.shards.of(stage).and_then(|whole| self.shards.splits[&whole].key.as_ref())
    }

    /// Looks again at the shards of a stage that were not needed, now that its result is gone. Returns
    /// whether there are any.
    pub(super) fn needs_shards(&mut self, stage: StageIndex) -> bool {
        let needless = |shard: &StageIndex| self.states.outputs(*shard).is_some_and(Outputs::is_empty);
        let shards: Vec<StageIndex> = self.shards.shards(stage).iter().copied().filter(needless).collect();
        for shard in &shards {
            self.states.set(*shard, State::Waiting);
        }
        self.unsettled.extend(&shards);
        !shards.is_empty()
    }

    /// What the stage kind is to do.
    pub(super) fn task(&self, stage: StageIndex) -> Task {
        if let Some(part) = self.shards.parts.get(&stage) {
            return Task::Shard(part.shard);
        }
        if !self.shards.is_split(stage) {
            return Task::Whole;
        }
        let left = |shard: &StageIndex| -> PathBuf {
            let outputs = self.states.outputs(*shard).expect("BUG: shards are merged before they are done");
            self.cache.path(&outputs[SHARD])
        };
        Task::Merge(self.shards.shards(stage).iter().map(left).collect())
    }

    /// Whether a stage that is about to start is to be told of: not if one of its shards was.
    pub(super) fn is_begun(&mut self, stage: StageIndex) -> bool {
        let whole = self.shards.told(stage);
        match self.shards.splits.get_mut(&whole) {
            Some(split) => split.since.replace(split.since.unwrap_or_else(Instant::now)).is_some(),
            None => false,
        }
    }

    /// The key of the stage that is told of as started.
    pub(super) fn told_key<'k>(&'k self, stage: StageIndex, key: &'k Key) -> &'k Key {
        self.whole_key(stage).unwrap_or(key)
    }

    /// Notes what a shard says of its progress.
    pub(super) fn note_progress(&mut self, stage: StageIndex, done: u64, total: u64, unit: &str) {
        let Some(part) = self.shards.parts.get_mut(&stage) else { return };
        part.progress = Some((done, total));
        if let Some(split) = self.shards.splits.get_mut(&part.of) {
            split.unit = unit.to_string();
        }
    }

    /// Tells the progress of the stage that a shard is of. Shards that said nothing yet have as much to do
    /// as the others.
    pub(super) fn tell_progress(&mut self, shard: StageIndex) {
        let Some(whole) = self.shards.of(shard) else { return };
        let Split { shards: list, unit, .. } = &self.shards.splits[&whole];
        let known: Vec<u64> =
            list.iter().filter_map(|shard| self.shards.parts[shard].progress).map(|(_, total)| total).collect();
        let mean = known.iter().sum::<u64>() / known.len().max(1) as u64;
        let (mut done, mut total, mut finished) = (0, 0, 0);
        for shard in list {
            let (own, all) = self.shards.parts[shard].progress.unwrap_or((0, mean));
            let over = self.states.outputs(*shard).is_some();
            (done, total) = (done + if over { all } else { own }, total + all);
            finished += usize::from(over);
        }
        let count = list.len();
        let (done, total, unit) = match known.is_empty() {
            true => (finished as u64, count as u64, "shards".to_string()),
            false => (done, total, format!("{unit}, {finished}/{count} shards")),
        };
        (self.events)(Event::Progress { stage: self.plan[whole].name().to_string(), done, total, unit });
    }

    /// Whether something that a stage warns of was told already: its shards say the same.
    pub(super) fn was_said(&mut self, stage: StageIndex, message: &str) -> bool {
        let whole = self.shards.told(stage);
        self.shards.splits.get_mut(&whole).is_some_and(|split| !split.said.insert(message.to_string()))
    }

    /// What a merged stage cost in all: its shards, whenever they ran, and the merging. The devices are
    /// those of the shards. Other stages cost what they cost.
    pub(super) fn with_shards(&self, stage: StageIndex, mut own: Provenance) -> Result<Provenance, CacheError> {
        for shard in self.shards.shards(stage) {
            let State::Done { fingerprint, .. } = &self.states[*shard] else { continue };
            let Some(entry) = self.cache.entry(fingerprint)? else { continue };
            let part = entry.provenance;
            own.started = own.started.min(part.started);
            own.wall += part.wall;
            own.cpu += part.cpu;
            own.memory = own.memory.max(part.memory);
            if own.device == Device::Cpu {
                own.device = part.device;
            }
        }
        Ok(own)
    }

    /// How long ago a stage was started, of which `wall` was its own last execution.
    pub(super) fn elapsed(&self, stage: StageIndex, wall: f64) -> f64 {
        let since = self.shards.splits.get(&stage).and_then(|split| split.since);
        since.map_or(wall, |since| since.elapsed().as_secs_f64())
    }

    /// The processor time that the shards of a stage took, whenever they ran, in seconds.
    pub(super) fn cpu_of_shards(&mut self, stage: StageIndex) -> Result<f64, CacheError> {
        let mut sum = 0.0;
        for shard in self.shards.shards(stage) {
            if let State::Done { fingerprint, .. } = &self.states[*shard] {
                sum += self.cache.cpu(fingerprint)?;
            }
        }
        Ok(sum)
    }
}
