//! What people see: the only part that prints, besides `main`.
//!
//! Unaware of how stages are run and of what they compute.

pub mod diagnostics;
pub mod output;
