//! The items that a report can have.

use super::TableSpec;

/// What an experiment says of an item of its `report:` section.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemSpec {
    /// `table:`
    Table(TableSpec),
}

impl ItemSpec {
    /// The name of the files that it is written to.
    pub fn name(&self) -> &str {
        match self {
            ItemSpec::Table(spec) => &spec.name,
        }
    }

    /// What it is, in a word.
    pub fn noun(&self) -> &'static str {
        match self {
            ItemSpec::Table(_) => "table",
        }
    }
}
