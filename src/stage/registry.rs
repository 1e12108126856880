//! The stage kinds of a build: one slice of implementations, with their parsed signatures.

use anyhow::Context as _;

use super::{Call, Context, Progress, Sharded, Signature, Task};

/// A stage kind: its declaration and its implementation.
pub trait Stage: Sync {
    /// The text of `stages/<kind>.yaml`, from which the [`Signature`] is read.
    fn declaration(&self) -> &'static str;

    /// Reads the inputs, does the work and fills the output directories.
    ///
    /// # Errors
    ///
    /// Whatever stopped the work, with context on every file operation. Nothing that the stage has
    /// written is kept then.
    fn run(&self, context: &Context<'_>) -> anyhow::Result<()>;

    /// How its work is split, where its declaration says `sharded: true`.
    fn sharded(&self) -> Option<&dyn Sharded> {
        None
    }
}

/// Does what a call asks of a stage: all of its work, a shard of it, or merging the shards.
///
/// # Errors
///
/// Whatever stopped the work.
pub fn perform(stage: &dyn Stage, call: &Call, progress: &dyn Progress) -> anyhow::Result<()> {
    let context = Context::new(call, progress);
    let sharded = || stage.sharded().with_context(|| format!("the work of `{}` cannot be split", call.kind));
    match &call.task {
        Task::Whole => stage.run(&context),
        Task::Shard(shard) => sharded()?.shard(&context, *shard),
        Task::Merge(shards) => sharded()?.merge(&context, shards),
    }
}

/// All stage kinds that a build knows.
pub struct Registry {
    kinds: Vec<(Signature, &'static dyn Stage)>,
}

impl Registry {
    /// Reads the declarations of `stages`.
    ///
    /// # Panics
    ///
    /// If a declaration is malformed: declarations are part of the program, and a test reads all.
    pub fn new(stages: &[&'static dyn Stage]) -> Registry {
        let read = |stage: &&'static dyn Stage| {
            let signature = Signature::parse(stage.declaration())
                .unwrap_or_else(|error| panic!("BUG: a stage declaration is malformed: {error}"));
            (signature, *stage)
        };
        Registry { kinds: stages.iter().map(read).collect() }
    }

    /// The signature of `kind`.
    pub fn signature(&self, kind: &str) -> Option<&Signature> {
        self.find(kind).map(|(signature, _)| signature)
    }

    /// The implementation of `kind`.
    pub fn implementation(&self, kind: &str) -> Option<&'static dyn Stage> {
        self.find(kind).map(|(_, stage)| *stage)
    }

    /// All signatures, in the order of registration.
    pub fn signatures(&self) -> impl Iterator<Item = &Signature> {
        self.kinds.iter().map(|(signature, _)| signature)
    }

    fn find(&self, kind: &str) -> Option<&(Signature, &'static dyn Stage)> {
        self.kinds.iter().find(|(signature, _)| signature.kind == kind)
    }
}
