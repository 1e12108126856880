//! The stage kinds: one file per kind, thin: read the inputs, call `ml` or [`crate::selection`],
//! write the outputs. [`benchmark`] reads what `evaluate` asks and judges the answers. Unaware of the plan, the cache and the scheduler.

mod alignment;
pub mod benchmark;
mod dataset;
pub mod estimate;
mod files;
mod ingest;
mod keep;
#[cfg(feature = "ml")]
mod learned;
#[cfg(not(feature = "ml"))]
#[path = "unlearned.rs"]
mod learned;
mod prune;
mod select;
#[cfg(test)]
mod testing;

use crate::stage::{Registry, Stage};

/// All stage kinds of this build, in the order of the method.
pub fn registry() -> Registry {
    Registry::new(&kinds())
}

/// A registry with the stage kind `kind`, if there is one, that leaves the other declarations unread where
/// it can: reading all takes longer than a short stage does.
pub fn registry_of(kind: &str) -> Registry {
    let named = format!("kind: {kind}\n");
    let likely: Vec<&'static dyn Stage> =
        kinds().into_iter().filter(|stage| stage.declaration().contains(&named)).collect();
    let registry = Registry::new(&likely);
    if registry.implementation(kind).is_some() { registry } else { self::registry() }
}

fn kinds() -> Vec<&'static dyn Stage> {
    let own: [&dyn Stage; 3] = [&ingest::Ingest, &select::Select, &prune::Prune];
    [own.as_slice(), &learned::KINDS].concat()
}
