//! The stories that cross layers, in one binary.

mod commands;
mod experiments;
mod hub;
mod hub_server;
mod layers;
mod planning;
mod problems;
mod support;
