//! Asks the CUDA driver which devices there are. The driver is loaded at run time, and no context is
//! made on any device, so that asking takes none of its memory.
//!
//! The functions are those of the CUDA Driver API: `cuInit`, `cuDeviceGetCount`, `cuDeviceGet`,
//! `cuDeviceGetName` and `cuDeviceTotalMem_v2`, all of which return 0 for success. The driver leaves
//! out what `CUDA_VISIBLE_DEVICES` hides.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use super::Found;

/// The names under which systems keep the driver.
const LIBRARIES: [&CStr; 2] = [c"libcuda.so.1", c"libcuda.so"];
/// The longest name of a device, with its end.
const LONGEST: usize = 256;

/// The devices that the driver shows; none where there is no driver.
pub fn found() -> Vec<Found> {
    let Some(driver) = Driver::load() else { return Vec::new() };
    (0..driver.count()).filter_map(|number| driver.device(number)).collect()
}

/// The driver, initialised.
struct Driver {
    count: unsafe extern "C" fn(*mut c_int) -> c_int,
    get: unsafe extern "C" fn(*mut c_int, c_int) -> c_int,
    name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int,
    memory: unsafe extern "C" fn(*mut usize, c_int) -> c_int,
}

impl Driver {
    /// The library stays loaded until the program ends.
    fn load() -> Option<Driver> {
        // SAFETY: loading the driver runs nothing but its own start-up code.
        let open = |name: &&CStr| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let library = LIBRARIES.iter().map(open).find(|library| !library.is_null())?;
        let symbol = |name: &CStr| -> Option<*mut c_void> {
            // SAFETY: the library is loaded, and the name ends with a zero.
            let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
            (!symbol.is_null()).then_some(symbol)
        };
        // SAFETY: the types are those of the functions in `cuda.h`, where `CUresult`, `CUdevice` and
        // the enumerations are `int`.
        let (initialise, driver) = unsafe {
            let initialise: unsafe extern "C" fn(c_uint) -> c_int = std::mem::transmute(symbol(c"cuInit")?);
            let driver = Driver {
                count: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_int) -> c_int>(symbol(
                    c"cuDeviceGetCount",
                )?),
                get: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_int, c_int) -> c_int>(symbol(
                    c"cuDeviceGet",
                )?),
                name: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(
                    symbol(c"cuDeviceGetName")?,
                ),
                memory: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut usize, c_int) -> c_int>(symbol(
                    c"cuDeviceTotalMem_v2",
                )?),
            };
            (initialise, driver)
        };
        // SAFETY: called once before any other function, with the only flag that there is.
        (unsafe { initialise(0) } == 0).then_some(driver)
    }

    fn count(&self) -> c_int {
        let mut count = 0;
        // SAFETY: the call writes one `int`.
        match unsafe { (self.count)(&mut count) } {
            0 => count,
            _ => 0,
        }
    }

    /// What there is to say of a device, if the driver says it.
    fn device(&self, number: c_int) -> Option<Found> {
        let (mut device, mut memory) = (0, 0_usize);
        let mut name = [0 as c_char; LONGEST];
        // SAFETY: the calls write one value each, and at most `LONGEST` characters with their end.
        let result = unsafe {
            [
                (self.get)(&mut device, number),
                (self.name)(name.as_mut_ptr(), LONGEST as c_int, device),
                (self.memory)(&mut memory, device),
            ]
        };
        if result != [0; 3] {
            return None;
        }
        let name = name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect::<Vec<u8>>();
        let name = String::from_utf8_lossy(&name).into_owned();
        Some(Found { number: number as usize, name, memory: memory as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_is_safe_on_a_machine_with_and_without_a_driver() {
        for (number, device) in found().into_iter().enumerate() {
            assert_eq!(device.number, number);
            assert!(!device.name.is_empty() && device.memory > 0, "{device:?}");
        }
    }
}
