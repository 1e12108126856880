//! Stages whose result is in the remote behind the cache: it is brought here instead of made again.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::engine::Engine;
use super::event::Event;
use super::executor::Usage;
use super::news::{News, Reporter};
use super::state::State;
use super::worker::{Done, Trouble};
use crate::cache::{Outputs, Provenance, Step, Ticket};
use crate::digest::Digest;
use crate::plan::StageIndex;
use crate::stage::{Progress, Spent, Update};

/// Transfers of more bytes are followed while they last.
const WORTH_FOLLOWING: u64 = 32 << 20;

/// Where a result comes from that was in the remote.
pub(super) struct Pulled {
    pub provenance: Provenance,
    pub files: usize,
    pub bytes: u64,
    /// How long it took to bring it here, in seconds.
    pub wall: f64,
}

/// Brings the result here that a ticket is for, if there is a remote that has it.
pub(super) fn pull(ticket: &Ticket, reporter: &Reporter, stop: &AtomicBool) -> Result<Option<Done>, Trouble> {
    if !ticket.has_remote() {
        return Ok(None);
    }
    let clock = Instant::now();
    let size = Mutex::new((0, 0));
    let tell = |step| {
        if let Step::Started { files, bytes } = step {
            *size.lock().expect("no panic while it is locked") = (files, bytes);
        }
        reporter.send(News::Pulling(reporter.stage, step));
    };
    match ticket.pull(&tell, stop) {
        Ok(Some((sealed, provenance))) => {
            let (files, bytes) = size.into_inner().expect("no panic while it was locked");
            let (started, made) = (provenance.started, provenance.wall);
            let usage = Usage { cpu: provenance.cpu, memory: provenance.memory, elsewhere: None };
            let pulled = Pulled { provenance, files, bytes, wall: clock.elapsed().as_secs_f64() };
            let (before, pulled) = (Spent::default(), Some(Box::new(pulled)));
            return Ok(Some(Done { sealed, started, wall: made, usage, before, pulled }));
        }
        Ok(None) => {}
        Err(error) if error.is_interrupt() => return Err(Trouble::Stopped),
        Err(error) => reporter.update(Update::Warning(format!("{error}; it runs here instead"))),
    }
    reporter.send(News::Missed(reporter.stage));
    Ok(None)
}

impl Engine<'_> {
    pub(super) fn pulling(&mut self, stage: StageIndex, step: Step) {
        let what = self.plan[self.shards.told(stage)].name().to_string();
        let (what, Some(running)) = (what, self.running.get_mut(&stage)) else { return };
        match step {
            Step::Started { files, bytes } => {
                (running.fetched, running.fetching) = (0, bytes);
                if bytes > WORTH_FOLLOWING {
                    (self.events)(Event::Fetching { what, files, bytes, missing: bytes });
                }
            }
            Step::Moved(bytes) => {
                running.fetched += bytes;
                if running.fetching > WORTH_FOLLOWING {
                    (self.events)(Event::FetchProgress { what, done: running.fetched });
                }
            }
        }
    }

    /// The stage runs after all.
    pub(super) fn missed(&mut self, stage: StageIndex) {
        let Some(running) = self.running.get_mut(&stage) else { return };
        running.since = Instant::now();
        running.unsaid.take().into_iter().for_each(&mut *self.events);
    }

    /// Takes a result that came from the remote and is recorded.
    pub(super) fn pulled(&mut self, stage: StageIndex, fingerprint: Digest, pulled: &Pulled, outputs: Outputs) {
        if !self.shards.is_shard(stage) {
            let (name, Pulled { files, bytes, wall, .. }) = (self.plan[stage].name().to_string(), pulled);
            (self.events)(Event::Pulled { stage: name, files: *files, bytes: *bytes, wall: *wall });
            self.pulled.insert(stage);
        }
        self.unsettled.extend(self.states.take_awaiting(&fingerprint));
        self.states.set(stage, State::Done { fingerprint, outputs, ran: false });
        self.unsettled.extend(self.plan.consumers(stage));
        self.unsettled.extend(self.shards.shards(stage));
    }
}
