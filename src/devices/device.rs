//! What a stage computes on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A processor or an accelerator of this machine. Written as `cpu` or `cuda:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The CUDA device with this number, counted from 0 as the driver counts those that it shows.
    Cuda(usize),
}

/// A text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no device: write `cpu`, or `cuda:0` with the number of the device")]
pub struct UnknownDevice(String);

impl Device {
    /// The class of devices of which this is one: `cpu` or `cuda`.
    pub fn class(&self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => to.write_str("cpu"),
            Device::Cuda(number) => write!(to, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Device, UnknownDevice> {
        let unknown = || UnknownDevice(text.to_string());
        if text == "cpu" {
            return Ok(Device::Cpu);
        }
        let number = text.strip_prefix("cuda:").ok_or_else(unknown)?;
        // `parse` would take a sign.
        match number.bytes().all(|byte| byte.is_ascii_digit()) {
            true => number.parse().map(Device::Cuda).map_err(|_| unknown()),
            false => Err(unknown()),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Device, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_back_as_it_is_written() {
        for (device, text) in
            [(Device::Cpu, "\"cpu\""), (Device::Cuda(0), "\"cuda:0\""), (Device::Cuda(12), "\"cuda:12\"")]
        {
            assert_eq!(serde_json::to_string(&device).unwrap(), text);
            assert_eq!(serde_json::from_str::<Device>(text).unwrap(), device);
        }
    }

    #[test]
    fn what_is_no_device_is_said_with_what_would_be_one() {
        for text in ["", "CPU", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "gpu", "cuda:99999999999999999999"] {
            let error = text.parse::<Device>().unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` is no device: write `cpu`, or `cuda:0` with the number of the device"));
        }
    }
}
