//! The one place where the library's generic code meets a backend.

use burn::backend::{Autodiff, Flex};
use burn::tensor::backend::AutodiffBackend;

use super::kernels::Kernels;
use crate::devices::Device;

/// What models compute with on one class of devices.
pub trait Compute: Kernels {
    /// The same with automatic differentiation.
    type Differentiable: Kernels + AutodiffBackend<InnerBackend = Self, Device = Self::Device>;
}

impl Compute for Flex {
    type Differentiable = Autodiff<Flex>;
}

#[cfg(feature = "cuda")]
impl Compute for burn::backend::Cuda {
    type Differentiable = Autodiff<burn::backend::Cuda>;
}

/// Work that any device can do.
pub trait Job {
    /// What it comes to.
    type Output;

    /// Does it on a device of the backend `B`.
    ///
    /// # Errors
    ///
    /// Whatever goes wrong.
    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<Self::Output>;
}

/// Does `job` on `device`.
///
/// # Errors
///
/// Those of the job; if this build cannot use the device; if the device runs out of memory.
pub fn on<J: Job>(device: Device, job: J) -> anyhow::Result<J::Output> {
    match device {
        Device::Cpu => job.run::<Flex>(&Default::default()),
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => cuda::on(index, job),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => {
            anyhow::bail!("this build has no CUDA\nhint: build it with `--features cuda`, or compute on `cpu`")
        }
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use anyhow::{anyhow, ensure};
    use burn::backend::Cuda;
    use burn::backend::cuda::CudaDevice;

    use super::Job;
    use crate::devices;

    /// Errors of a device come as panics: there is no other way through tensor operations.
    pub fn on<J: Job>(index: usize, job: J) -> anyhow::Result<J::Output> {
        let found = devices::found().len();
        ensure!(index < found, "there is no device `cuda:{index}`: this machine has {found}");
        let run = AssertUnwindSafe(|| job.run::<Cuda>(&CudaDevice::new(index)));
        catch_unwind(run).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            let plain = text.to_lowercase().replace([' ', '_'], "");
            if plain.contains("outofmemory") {
                return Err(anyhow!(
                    "the device `cuda:{index}` is out of memory\n\
                     hint: a smaller `execution.micro_batch` or `execution.gradient_checkpointing: true` needs less"
                ));
            }
            resume_unwind(panic)
        })
    }
}
