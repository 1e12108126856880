//! The stories that cross layers, in one binary.

mod commands;
mod crowds;
mod datasets;
mod estimates;
mod experiments;
mod exports;
mod faults;
mod figures;
mod hostile;
mod hub;
mod hub_server;
mod layers;
#[path = "../../src/images/testing.rs"]
mod parquet_files;
mod planning;
mod problems;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "ml")]
mod resumed;
#[cfg(feature = "ml")]
mod sharded;
mod slurm;
mod status;
mod support;
mod upkeep;
