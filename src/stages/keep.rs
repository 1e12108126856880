//! Which of two duplicates is kept: a param of `select` and of `prune`.

use serde::Deserialize;

use crate::selection::duplicates::Order;

/// Which of two duplicates is kept.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    Hard,
    Easy,
    Random,
}

impl Keep {
    /// The order of comparison in which the earlier one is kept.
    pub fn order(self) -> Order {
        match self {
            Keep::Hard => Order::FarthestFirst,
            Keep::Easy => Order::NearestFirst,
            Keep::Random => Order::Random,
        }
    }
}
