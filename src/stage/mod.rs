//! The contract between the engine and the stage kinds: what a kind declares ([`Signature`]), what
//! it is given and must leave behind ([`Context`]), and where the kinds are found ([`Registry`]).
//!
//! Unaware of any particular kind, of YAML experiments, of the cache and of how a stage is run.

mod context;
mod period;
mod registry;
mod signature;

pub use context::{Call, Context, Execution, External, Progress, Silent, Update};
pub use period::{NotAPeriod, Period};
pub use registry::{Registry, Stage};
pub use signature::{Condition, Input, Output, Param, ParamKind, Signature, When};
