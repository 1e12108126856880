//! The program `runner`.

use std::process::ExitCode;

/// Stages make and drop many large buffers of similar size, which the system's allocator gives back
/// to the kernel and fetches again each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runner::cli::main()
}
