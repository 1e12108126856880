//! The stories that cross layers, in one binary.

mod experiments;
mod planning;
mod problems;
mod support;
