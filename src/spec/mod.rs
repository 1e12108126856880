//! The experiment language: YAML to typed syntax, with the place of everything.
//!
//! Unaware of what an experiment means: of stage kinds, artifact kinds and the plan.

mod document;
mod experiment;
mod load;
mod node;
mod parse;
mod patch;
mod problem;
mod reference;
mod source;

pub use document::{Arm, Document, Overrides, name, read};
pub use experiment::{Chain, Experiment, Stage, map, refuse_unknown_keys};
pub use node::{Entry, Map, Node, Value};
pub use problem::{Problem, ProblemKind, Problems};
pub use reference::{Scope, has_references};
pub use source::{Mark, Origin, SourceIndex, SourceText, Sources};
