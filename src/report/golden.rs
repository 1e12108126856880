//! How a table differs from the one that is expected.

use std::fmt;

use super::table::{Head, Row, Table};

/// One way in which a table is not as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where: a row, a cell or a property of the whole table.
    pub place: String,
    /// What the golden says.
    pub expected: String,
    /// What the table says.
    pub actual: String,
    /// How far apart they may be, where they are numbers.
    pub tolerance: Option<f64>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} -> {}", self.place, self.expected, self.actual)?;
        self.tolerance.map_or(Ok(()), |tolerance| write!(formatter, " (tolerance {tolerance})"))
    }
}

/// Everything in which `actual` is not as `golden` expects: rows, columns, seeds, and every mean that
/// is farther away than the tolerance that the golden states for its column, if it is not measured.
/// Single replicates,
/// deviations and the breakdown by skill are not compared: they vary more than what is claimed.
pub fn differences(golden: &Table, actual: &Table) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |place: String, expected: String, actual: String, tolerance| {
        differences.push(Difference { place, expected, actual, tolerance });
    };
    for (place, expected, found) in [
        ("title", golden.title.clone(), actual.title.clone()),
        ("seeds", numbers(&golden.seeds), numbers(&actual.seeds)),
    ] {
        if expected != found {
            add(place.to_string(), expected, found, None);
        }
    }
    let (absent, present) = (|| "absent".to_string(), || "present".to_string());
    for head in actual.columns.iter().filter(|head| place_of(head, golden).is_none()) {
        add(format!("column `{}`", head.heading), absent(), present(), None);
    }
    for row in actual.body.iter().filter(|row| row_of(&row.label, golden).is_none()) {
        add(format!("row `{}`", row.label), absent(), present(), None);
    }
    for head in golden.columns.iter().filter(|head| place_of(head, actual).is_none()) {
        add(format!("column `{}`", head.heading), present(), absent(), None);
    }
    for row in &golden.body {
        let Some(found) = row_of(&row.label, actual) else {
            add(format!("row `{}`", row.label), present(), absent(), None);
            continue;
        };
        for (head, cell) in golden.columns.iter().zip(&row.cells) {
            let Some(place) = place_of(head, actual) else { continue };
            if head.measured || actual.columns[place].measured {
                continue;
            }
            let (expected, found) = (cell.mean, found.cells[place].mean);
            if !agree(expected, found, head.tolerance) {
                let place = format!("{}, {}", row.label, head.heading);
                add(place, number(expected), number(found), Some(head.tolerance));
            }
        }
    }
    differences
}

/// Where `table` has the column `head`.
fn place_of(head: &Head, table: &Table) -> Option<usize> {
    table.columns.iter().position(|column| column.name == head.name && column.arm == head.arm)
}

fn row_of<'a>(label: &str, table: &'a Table) -> Option<&'a Row> {
    table.body.iter().find(|row| row.label == label)
}

fn agree(expected: Option<f64>, actual: Option<f64>, tolerance: f64) -> bool {
    match (expected, actual) {
        (Some(expected), Some(actual)) => (expected - actual).abs() <= tolerance,
        (None, None) => true,
        _ => false,
    }
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_string(),
        Some(value) if value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn numbers(seeds: &[u64]) -> String {
    let numbers: Vec<String> = seeds.iter().map(u64::to_string).collect();
    if numbers.is_empty() { "none".to_string() } else { numbers.join(", ") }
}
