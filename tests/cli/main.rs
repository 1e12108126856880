//! The stories that cross layers, in one binary.

mod commands;
mod experiments;
mod layers;
mod planning;
mod problems;
mod support;
