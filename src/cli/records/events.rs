//! Every event as a structured line: its level, its fields, and a word for what happened.

use tracing::{debug, error, info, trace, warn};

use crate::scheduler::Event;

/// Writes an event down.
pub(super) fn tell(event: &Event) {
    match event {
        Event::Planned { experiment, stages, fresh, run, maybe, shared } => {
            info!(experiment, stages, fresh, run, maybe, shared, "planned")
        }
        Event::Fetching { what, files, bytes, missing } => info!(what, files, bytes, missing, "fetching"),
        Event::FetchProgress { what, done } => trace!(what, done, "fetch progress"),
        Event::Fetched { what, bytes, wall } => info!(what, bytes, wall, "fetched"),
        Event::Started { stage, kind, device, reasons, fingerprint } => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            info!(stage, kind, %device, key = %fingerprint, reasons = reasons.join("; "), "started")
        }
        Event::Elsewhere { stage, host, process } => info!(stage, host, process, "elsewhere"),
        Event::Progress { stage, done, total, unit } => trace!(stage, done, total, unit, "progress"),
        Event::Warning { stage, message: said } => warn!(stage, said, "warning"),
        Event::Retrying { stage, attempt, attempts, message: said, pause } => {
            warn!(stage, attempt, attempts, said, pause, "retrying")
        }
        Event::Finished { stage, wall, cpu, memory, device } => {
            info!(stage, wall, cpu, memory, %device, "finished")
        }
        Event::Pulled { stage, files, bytes, wall } => info!(stage, files, bytes, wall, "pulled"),
        Event::Fresh { stage } => debug!(stage, "fresh"),
        Event::Failed(failure) => {
            let (stage, said, log) = (&failure.stage, &failure.message, failure.log.display());
            error!(stage, said, %log, "failed")
        }
        Event::Skipped { stage, because } => warn!(stage, because, "skipped"),
        Event::Outlook { remaining } => debug!(remaining, "outlook"),
        Event::Stopping => warn!("stopping"),
        Event::Ended(summary) => info!(
            experiment = summary.experiment,
            ran = summary.ran,
            fresh = summary.fresh,
            cut_off = summary.cut_off,
            pulled = summary.pulled,
            failed = summary.failed,
            skipped = summary.skipped,
            left = summary.left,
            interrupted = summary.interrupted,
            wall = summary.wall,
            cpu = summary.cpu,
            saved = summary.saved,
            "ended"
        ),
    }
}
