//! Stories of the engine, told with toy stage kinds in a temporary work directory.

mod children;
mod commits;
mod crowds;
mod devices;
mod failures;
mod freshness;
mod integrity;
mod order;
mod project;
mod random;
mod shards;
mod toys;
