//! The stories that cross layers, in one binary.

mod commands;
mod estimates;
mod experiments;
mod exports;
mod layers;
mod planning;
mod problems;
mod support;
