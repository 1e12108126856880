//! What is left of a run: what the next one remembers, what it came to, and what took longest.

use std::collections::BTreeMap;

use super::engine::Engine;
use super::event::{Summary, Taken};
use super::examine::Verdict;
use super::state::State;
use crate::cache::CacheError;
use crate::plan::StageIndex;

impl Engine<'_> {
    /// Remembers what the next run can use: the key of every stage that is done, by all its names,
    /// and the digests of files outside.
    pub fn remember(&mut self) -> Result<(), CacheError> {
        self.cache.save_files()?;
        let done = self.states.iter().filter_map(|(stage, state)| match state {
            State::Done { fingerprint, .. } if !self.shards.is_shard(stage) => Some((stage, *fingerprint)),
            _ => None,
        });
        let names = done.flat_map(|(stage, fingerprint)| {
            self.plan[stage].names.iter().map(move |name| (name.as_str(), fingerprint))
        });
        self.cache.remember(&self.plan.experiment, names)
    }

    /// Counts and costs of a run that took `wall` seconds.
    pub fn summary(&mut self, wall: f64) -> Result<Summary, CacheError> {
        let mut summary = Summary {
            experiment: self.plan.experiment.clone(),
            shared: self.plan.shared,
            interrupted: self.stopping,
            wall,
            ..Summary::default()
        };
        for stage in self.plan.order() {
            match &self.states[stage] {
                // Shards are no stages of the experiment, but they cost, and may have been there.
                State::Done { fingerprint, ran: true, .. } if self.shards.is_shard(stage) => {
                    summary.cpu += self.cache.cpu(fingerprint)?;
                }
                State::Done { fingerprint, outputs, .. } if self.shards.is_shard(stage) && !outputs.is_empty() => {
                    summary.saved += self.cache.cpu(fingerprint)?;
                }
                _ if self.shards.is_shard(stage) => {}
                State::Done { fingerprint, ran: true, .. } => {
                    summary.ran += 1;
                    let fingerprint = *fingerprint;
                    summary.cpu += self.cache.cpu(&fingerprint)? - self.cpu_of_shards(stage)?;
                }
                State::Done { fingerprint, ran: false, .. } if self.pulled.contains(&stage) => {
                    summary.pulled += 1;
                    summary.saved += self.cache.cpu(fingerprint)?;
                }
                State::Done { fingerprint, ran: false, .. } => {
                    summary.fresh += 1;
                    summary.cut_off += usize::from(matches!(self.examination[stage].verdict, Verdict::Maybe(_)));
                    summary.saved += self.cache.cpu(fingerprint)?;
                }
                State::Failed => summary.failed += 1,
                State::Skipped(_) => summary.skipped += 1,
                State::Waiting | State::Ready(_) | State::Running(_) | State::Awaiting(_) | State::Elsewhere(_) => {
                    summary.left += 1
                }
            }
        }
        summary.slowest = self.slowest();
        Ok(summary)
    }

    /// Of the stages that ran, the chain of producers and consumers that took longest.
    fn slowest(&self) -> Vec<Taken> {
        let mut chains: BTreeMap<StageIndex, (f64, Option<StageIndex>)> = BTreeMap::new();
        // Producers come before their consumers.
        for (stage, wall) in &self.walls {
            let before = self.plan.producers(*stage).filter_map(|producer| Some((chains.get(&producer)?.0, producer)));
            let longest = before.max_by(|one, other| one.0.total_cmp(&other.0));
            let (length, producer) = longest.map_or((0.0, None), |(length, producer)| (length, Some(producer)));
            chains.insert(*stage, (length + wall, producer));
        }
        let mut end = chains.iter().max_by(|one, other| one.1.0.total_cmp(&other.1.0)).map(|(stage, _)| *stage);
        let mut path = Vec::new();
        while let Some(stage) = end {
            path.push(Taken { stage: self.plan[stage].name().to_string(), wall: self.walls[&stage] });
            end = chains[&stage].1;
        }
        path.reverse();
        path
    }
}
