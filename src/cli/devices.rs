//! `--device`: what was asked for against what there is.

use std::convert::Infallible;
use std::str::FromStr;

use super::failure::Failure;
use crate::devices::{self, Device, Found};
use crate::plan::Plan;
use crate::scheduler::DevicePool;
use crate::text::ticked_list;

/// What the user asks for; checked when it is known what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request(String);

impl FromStr for Request {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Request, Infallible> {
        Ok(Request(text.to_string()))
    }
}

/// What a build and a machine have.
pub struct Available {
    /// Whether the build can use CUDA.
    cuda: bool,
    found: Vec<Found>,
}

/// How many processor cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Available {
    /// This build and this machine.
    pub fn here() -> Available {
        Available { cuda: devices::CUDA, found: devices::found() }
    }

    /// The devices of a run, each with so many places.
    pub fn pool(&self, request: &Request, places: usize) -> Result<DevicePool, Failure> {
        self.chosen(&request.0).map(|devices| DevicePool::new(devices, places))
    }

    /// Every device that `request` means: the processor if no other.
    pub fn all(&self, request: &Request) -> Result<Vec<Device>, Failure> {
        let chosen = self.chosen(&request.0)?;
        Ok(if chosen.is_empty() { vec![Device::Cpu] } else { chosen })
    }

    /// The CUDA devices.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// The devices that `request` means: none but the processor if the list is empty.
    fn chosen(&self, request: &str) -> Result<Vec<Device>, Failure> {
        let all = || self.found.iter().map(|found| Device::Cuda(found.number)).collect::<Vec<_>>();
        match request {
            "auto" => return Ok(all()),
            "cpu" => return Ok(Vec::new()),
            "cuda" => {
                self.need_cuda()?;
                return Ok(all());
            }
            _ => {}
        }
        let mut devices = Vec::new();
        for word in request.split(',') {
            let device: Device = match word.trim().parse() {
                Ok(Device::Cpu) => {
                    let message = "`cpu` cannot be one of several devices";
                    let hint = "`--device cpu` computes everything on the processor; \
                                `execution: {device: cpu}` in an experiment does so for one stage";
                    return Err(Failure::usage(message, Some(hint)));
                }
                Ok(device) => device,
                Err(_) => {
                    let message = format!("`--device {request}` names no device");
                    let hint = "write `auto`, `cpu`, `cuda`, or devices by their numbers, such as `cuda:0,cuda:1`";
                    return Err(Failure::usage(message, Some(hint)));
                }
            };
            self.need(device)?;
            if devices.contains(&device) {
                let hint = "`--per-device 2` lets two stages share a device";
                return Err(Failure::usage(format!("`--device` names `{device}` twice"), Some(hint)));
            }
            devices.push(device);
        }
        Ok(devices)
    }

    /// Checks the devices that an experiment itself names.
    pub fn check(&self, plan: &Plan) -> Result<(), Failure> {
        for stage in plan.order() {
            let planned = &plan[stage];
            if planned.execution.device == Device::Cpu {
                continue;
            }
            self.need(planned.execution.device).map_err(|failure| match failure {
                Failure::Usage { message, hint } => {
                    Failure::Usage { message: format!("`{}` asks for a device: {message}", planned.name()), hint }
                }
                other => other,
            })?;
        }
        Ok(())
    }

    fn need_cuda(&self) -> Result<(), Failure> {
        let (message, hint) = match (self.cuda, self.found.is_empty()) {
            (false, _) => (
                "this build has no CUDA",
                "build with `--features cuda`, or compute on the processor with `--device cpu`",
            ),
            (true, true) => (
                "no CUDA device was found on this machine",
                "is the driver installed, and does `CUDA_VISIBLE_DEVICES` hide none? `--device cpu` does without",
            ),
            (true, false) => return Ok(()),
        };
        Err(Failure::usage(message, Some(hint)))
    }

    fn need(&self, device: Device) -> Result<(), Failure> {
        self.need_cuda()?;
        if self.found.iter().any(|found| Device::Cuda(found.number) == device) {
            return Ok(());
        }
        let there = self.found.iter().map(|found| Device::Cuda(found.number).to_string());
        let hint = format!("there are {}", ticked_list(there));
        Err(Failure::Usage { message: format!("there is no device `{device}` on this machine"), hint: Some(hint) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(devices: usize) -> Available {
        let found = |number| Found { number, name: "a device".into(), memory: 1 << 34 };
        Available { cuda: true, found: (0..devices).map(found).collect() }
    }

    fn told(available: &Available, request: &str) -> String {
        match available.chosen(request) {
            Ok(devices) => devices.iter().map(Device::to_string).collect::<Vec<_>>().join(" "),
            Err(Failure::Usage { message, hint }) => format!("{message} / {}", hint.unwrap_or_default()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_asked_for_is_found() {
        let machine = machine(2);
        assert_eq!(told(&machine, "auto"), "cuda:0 cuda:1");
        assert_eq!(told(&machine, "cuda"), "cuda:0 cuda:1");
        assert_eq!(told(&machine, "cuda:1"), "cuda:1");
        assert_eq!(told(&machine, "cuda:1, cuda:0"), "cuda:1 cuda:0");
        assert_eq!(told(&machine, "cpu"), "");
    }

    #[test]
    fn without_an_accelerator_everything_is_computed_on_the_processor() {
        for available in [machine(0), Available { cuda: false, found: vec![] }] {
            assert_eq!(told(&available, "auto"), "");
            assert_eq!(told(&available, "cpu"), "");
        }
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let told = |request: &str| told(&machine(2), request);
        assert_eq!(told("cuda:2"), "there is no device `cuda:2` on this machine / there are `cuda:0` and `cuda:1`");
        assert_eq!(
            told("cuda:0,cuda:0"),
            "`--device` names `cuda:0` twice / `--per-device 2` lets two stages share a device"
        );
        assert!(told("cuda:0,cpu").starts_with("`cpu` cannot be one of several devices"));
        for nonsense in ["", "gpu", "cuda:0,", "cuda:one", "0"] {
            assert!(told(nonsense).contains("names no device / write `auto`"), "{nonsense}");
        }
        let found = self::told(&machine(0), "cuda:0");
        assert!(found.starts_with("no CUDA device was found on this machine / is the driver installed"), "{found}");
    }
}
