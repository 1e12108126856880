//! The items that a report can have.

use super::TableSpec;
use super::figure::FigureSpec;

/// What an experiment says of an item of its `report:` section.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemSpec {
    /// `table:`
    Table(TableSpec),
    /// `figure:`
    Figure(FigureSpec),
}

impl ItemSpec {
    /// The name of the files that it is written to.
    pub fn name(&self) -> &str {
        match self {
            ItemSpec::Table(spec) => &spec.name,
            ItemSpec::Figure(spec) => &spec.name,
        }
    }

    /// What it is, in a word.
    pub fn noun(&self) -> &'static str {
        match self {
            ItemSpec::Table(_) => "table",
            ItemSpec::Figure(_) => "figure",
        }
    }
}

/// When an artifact was made, as a report calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The step of the chain, counted from 0; none outside it.
    pub step: Option<usize>,
    /// What the chain goes over at that step, such as a dataset; outside the chain, the stage.
    pub name: String,
}
