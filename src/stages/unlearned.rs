//! What stands for the kinds that need the mathematics in a build without it: their declarations, so
//! that every experiment can be planned, and an error for who wants to run one.

use anyhow::bail;

use crate::stage::{Context, Stage};

struct Absent {
    declaration: &'static str,
}

/// In the order of the method.
pub const KINDS: [&dyn Stage; 5] = [
    &Absent { declaration: include_str!("../../stages/gradient.yaml") },
    &Absent { declaration: include_str!("../../stages/cluster.yaml") },
    &Absent { declaration: include_str!("../../stages/score.yaml") },
    &Absent { declaration: include_str!("../../stages/train.yaml") },
    &Absent { declaration: include_str!("../../stages/evaluate.yaml") },
];

impl Stage for Absent {
    fn declaration(&self) -> &'static str {
        self.declaration
    }

    fn run(&self, _: &Context<'_>) -> anyhow::Result<()> {
        bail!("this build of `runner` has no mathematics; build it with its default features to run this stage")
    }
}
