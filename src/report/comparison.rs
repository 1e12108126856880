//! What can be said of the rows of a table as a whole: which of them cannot be told from the best.

use super::results::Results;
use super::run::TableError;
use super::{Column, Direction, Rows, TableSpec};
use crate::selection::significance;

/// The p-value from which on a difference counts as one that chance may have made.
const LEVEL: f64 = 0.05;

/// How an arm differs from the best one.
struct Compared<'a> {
    arm: &'a str,
    /// How many pairs were compared.
    pairs: usize,
    p: f64,
}

/// Which arms cannot be told from the best one, in words. Nothing where the table has no ranked arms to
/// compare, or no column to compare them by.
pub(super) fn note(spec: &TableSpec, results: &Results<'_>) -> Result<Option<String>, TableError> {
    let Some(column) = spec.tested().filter(|_| spec.rows == Rows::Arm) else { return Ok(None) };
    let ranked = results.arms.iter().flatten().filter(|arm| !spec.unranked.iter().any(|unranked| unranked == *arm));
    let ranked: Vec<&str> = ranked.copied().collect();
    let mut means = Vec::new();
    for arm in &ranked {
        let mean = results.cell(Some(arm), |run| run.overall(&column))?.mean;
        let sign = if column.direction() == Some(Direction::Down) { -1.0 } else { 1.0 };
        means.extend(mean.map(|mean| (sign * mean, *arm)));
    }
    // Of equal ones the first.
    let Some((_, best)) = means.iter().rev().max_by(|left, right| left.0.total_cmp(&right.0)).copied() else {
        return Ok(None);
    };
    let others = means.iter().map(|(_, arm)| *arm).filter(|arm| *arm != best);
    let compared: Vec<Compared<'_>> = others.map(|arm| compare(&column, best, arm, results)).collect();
    Ok((!compared.is_empty()).then(|| words(&column, best, &compared, results)))
}

fn compare<'a>(column: &Column, best: &str, arm: &'a str, results: &Results<'_>) -> Compared<'a> {
    let mut differences = Vec::new();
    for run in results.of(Some(best)) {
        let Some(other) = results.of(Some(arm)).find(|other| other.seed() == run.seed()) else { continue };
        let pairs = run.units(column).into_iter().zip(other.units(column));
        differences.extend(pairs.filter_map(|(best, other)| Some(best? - other?)));
    }
    Compared { arm, pairs: differences.len(), p: significance::sign_flip(&differences, 0) }
}

fn words(column: &Column, best: &str, compared: &[Compared<'_>], results: &Results<'_>) -> String {
    let what = match column {
        Column::BenchmarkAccuracy => crate::text::count(results.benchmarks(), "benchmark"),
        _ => crate::text::count(results.skills.len(), "skill"),
    };
    let seeds = match results.seeds.iter().flatten().count() {
        0 => String::new(),
        seeds => format!(" × {}", crate::text::count(seeds, "seed")),
    };
    let heading = column.name().replace(['_', '.'], " ");
    let test = format!("paired permutation test over {what}{seeds}");
    if compared.iter().all(|other| significance::least(other.pairs) >= LEVEL) {
        return format!(
            "Whether rows differ from the best ({best}) cannot be said: a {test} cannot reach p < {LEVEL}."
        );
    }
    let alike = compared.iter().filter(|other| other.p >= LEVEL);
    let alike: Vec<String> = alike.map(|other| format!("{} (p = {:.2})", other.arm, other.p)).collect();
    let rest = "two-sided, each row on its own";
    match alike.as_slice() {
        [] => format!("All ranked rows differ from the best ({best}) in {heading} by a {test} (p < {LEVEL}, {rest})."),
        alike => format!(
            "Not told apart from the best ({best}) in {heading} by a {test} at p < {LEVEL} ({rest}): {}.",
            alike.join(", ")
        ),
    }
}
