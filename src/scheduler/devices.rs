//! The devices of a run, and which stage computes on which.
//!
//! A device has places: so many stages compute on it at the same time. Unaware of what kind of device
//! it is and of how a stage uses it.

use crate::devices::Device;
use crate::plan::Planned;

/// The devices that a run may choose from, each with the same number of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePool {
    devices: Vec<Device>,
    places: usize,
}

impl Default for DevicePool {
    /// No devices but the processor.
    fn default() -> DevicePool {
        DevicePool::new(Vec::new(), 1)
    }
}

impl DevicePool {
    /// These devices, each for up to `places` stages at a time, at least one. The processor needs no
    /// mention.
    pub fn new(devices: Vec<Device>, places: usize) -> DevicePool {
        let devices = devices.into_iter().filter(|device| *device != Device::Cpu).collect();
        DevicePool { devices, places: places.max(1) }
    }

    /// Where a stage can start now, if `load` says how many stages compute on a device: of the devices
    /// with a free place the one that is used least, of equal ones the first. A stage that names a
    /// device waits for that one. The processor always has a place here: its slots are counted
    /// elsewhere.
    pub(super) fn place(&self, planned: &Planned, load: impl Fn(Device) -> usize) -> Option<Device> {
        let fits = |device: &Device| *device == Device::Cpu || load(*device) < self.places;
        match planned.accelerated && !self.devices.is_empty() {
            true => self.devices.iter().copied().filter(fits).min_by_key(|device| load(*device)),
            false => Some(planned.execution.device).filter(fits),
        }
    }
}
