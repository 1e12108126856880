//! The stories that cross layers, in one binary.

mod commands;
mod experiments;
mod exports;
mod hub;
mod hub_server;
mod layers;
mod planning;
mod problems;
mod support;
