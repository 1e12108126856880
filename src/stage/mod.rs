//! The contract between the engine and the stage kinds: what a kind declares ([`Signature`]), what
//! it is given and must leave behind ([`Context`]), and where the kinds are found ([`Registry`]).
//!
//! Unaware of any particular kind, of YAML experiments, of the cache and of how a stage is run.

mod context;
mod period;
mod registry;
mod resources;
mod shard;
mod signature;
mod spent;
mod stop;

pub use context::{Call, Context, Execution, External, Progress, Silent, Update};
pub use period::{NotAPeriod, Period};
pub use registry::{Registry, Stage, perform};
pub use resources::{Mebibytes, Minutes, Resources};
pub use shard::{SHARD, Shard, Sharded, Task};
pub use signature::{Condition, Input, Output, Param, ParamKind, Signature, When};
pub use spent::{Meter, Spent};
pub use stop::Stop;
