//! `runner devices`: what stages can compute on here, whether it computes right, and how fast.

use std::fmt::Write as _;

use serde_json::json;

use super::arguments::{Devices, Format};
use super::devices::{Available, cores};
use super::failure::{Exit, Failure};
use crate::console;
use crate::devices::{self, Device};
use crate::text::bytes;

/// Lists, checks or measures.
pub fn devices(arguments: &Devices) -> Result<Exit, Failure> {
    let available = Available::here();
    let chosen = available.all(&arguments.device)?;
    if arguments.check {
        return work::check(&chosen, arguments.format.format);
    }
    if let Some(folder) = &arguments.measure {
        return work::measure(&chosen, folder, arguments);
    }
    let threads = cores();
    let found = available.found();
    if arguments.format.format == Format::Json {
        let cuda = found
            .iter()
            .map(|found| json!({"device": Device::Cuda(found.number), "name": found.name, "memory": found.memory}));
        let all: Vec<_> = std::iter::once(json!({"device": Device::Cpu, "threads": threads})).chain(cuda).collect();
        console::print(&format!("{:#}\n", json!(all)));
        return Ok(Exit::Done);
    }
    let mut text = format!("cpu     {threads} threads\n");
    for found in found {
        let _ = writeln!(text, "{:<7} {}, {}", Device::Cuda(found.number).to_string(), found.name, bytes(found.memory));
    }
    console::print(&text);
    match (devices::CUDA, found.is_empty()) {
        (false, _) => {
            console::note("this build has no CUDA: `cargo build --release --features cuda` makes one that has")
        }
        (true, true) => console::note("no CUDA device was found: there is no driver, or it shows none"),
        (true, false) => {}
    }
    Ok(Exit::Done)
}

#[cfg(feature = "ml")]
mod work {
    use std::path::Path;

    use super::*;
    use crate::ml::agreement::compare;
    use crate::ml::config::LlavaConfig;
    use crate::ml::precision::Precision;
    use crate::ml::speed::{Load, measure as measured};

    pub fn check(chosen: &[Device], format: Format) -> Result<Exit, Failure> {
        let mut exit = Exit::Done;
        let mut report = Vec::new();
        for device in chosen {
            let mut text = format!("{device} against cpu\n");
            for agreement in compare(*device)? {
                let verdict = if agreement.holds() { "agrees" } else { "DIFFERS" };
                let (what, error, tolerance) = (agreement.what, agreement.error, agreement.tolerance);
                let _ = writeln!(text, "  {verdict:<7}  {what:<36} error {error:.1e}, at most {tolerance:.0e}");
                report.push(json!({
                    "device": device, "what": what, "error": error, "tolerance": tolerance, "holds": agreement.holds(),
                }));
                if !agreement.holds() {
                    exit = Exit::Differs;
                }
            }
            if format == Format::Text {
                console::print(&text);
            }
        }
        if format == Format::Json {
            console::print(&format!("{:#}\n", json!(report)));
        }
        Ok(exit)
    }

    pub fn measure(chosen: &[Device], folder: &Path, arguments: &Devices) -> Result<Exit, Failure> {
        let load = Load {
            config: LlavaConfig::read(folder)?,
            batch: arguments.batch.into(),
            tokens: arguments.tokens.into(),
            precision: if arguments.precision == "bf16" { Precision::Bf16 } else { Precision::F32 },
            rank: arguments.rank.into(),
            dimensions: arguments.dimensions.into(),
            checkpointing: arguments.gradient_checkpointing,
            repeats: arguments.repeats.into(),
        };
        let mut report = Vec::new();
        for device in chosen {
            let mut text = format!("{device}, {}, {} samples a batch\n", arguments.precision, load.batch);
            for speed in measured(*device, &load)? {
                let _ = writeln!(text, "  {:<40} {:>10.1} samples/s", speed.what, speed.samples_per_second);
                report.push(json!({
                    "device": device, "what": speed.what, "samples_per_second": speed.samples_per_second,
                }));
            }
            if arguments.format.format == Format::Text {
                console::print(&text);
            }
        }
        if arguments.format.format == Format::Json {
            console::print(&format!("{:#}\n", json!(report)));
        }
        Ok(Exit::Done)
    }
}

#[cfg(not(feature = "ml"))]
mod work {
    use std::path::Path;

    use super::*;

    pub fn check(_: &[Device], _: Format) -> Result<Exit, Failure> {
        Err(absent())
    }

    pub fn measure(_: &[Device], _: &Path, _: &Devices) -> Result<Exit, Failure> {
        Err(absent())
    }

    fn absent() -> Failure {
        Failure::usage("this build of `runner` has no mathematics", Some("build it with its default features"))
    }
}
