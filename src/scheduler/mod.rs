//! Decides what has to run, and runs it: a synchronous loop over the immutable plan and a dense
//! table of stage states, with one thread per running stage.
//!
//! A stage is *ready* when all its producers are done. Only then are its inputs' digests known, so
//! only then is its key looked up; a stage that ran and made the same bytes as before therefore
//! stops the wave by itself.
//!
//! Unaware of experiment files and of what stages compute. Prints nothing: it tells [`Event`]s.

mod child;
mod commit;
mod costs;
mod devices;
mod engine;
mod event;
mod examine;
mod executor;
mod launch;
mod log;
mod memory;
mod news;
mod nursery;
mod origin;
mod orphans;
mod output;
mod pull;
mod rerun;
mod run;
mod shards;
pub mod slurm;
mod state;
mod summary;
mod threads;
mod worker;

pub use crate::cache::host;
pub use child::{ChildProcess, Peak, die_with_parent, huge_pages};
pub use devices::DevicePool;
pub use event::{Event, StageFailure, Summary, Taken};
pub use examine::{Examination, Examined, Verdict, examine, recorded};
pub use executor::{Elsewhere, Executor, Halt, InProcess, Job, Usage};
pub use nursery::Nursery;
pub use rerun::{Again, Compared, Step, Trials};
pub use run::{Options, Outcome, run};
pub use shards::shards_of;
