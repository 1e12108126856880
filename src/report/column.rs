//! The columns that a table can have: what each one means, its unit, and how far it may drift.

use super::Rows;

/// A column of a table. Results are taken at the last time step, where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Percent of the best results over time of the arm named in `relative_to`.
    RelativeGain,
    /// Percent lost of the best earlier results; an improvement counts as 0.
    ForgettingRate,
    /// The same, where an improvement counts as negative forgetting.
    ForgettingSigned,
    /// Results in percent.
    AverageAccuracy,
    /// Samples in the pool after the last time step.
    PoolSize,
    /// Percent, mean over the benchmarks of a skill.
    Accuracy,
    /// Percent that always giving the commonest answer would score.
    Chance,
    /// Samples in the benchmarks of a skill.
    Samples,
    /// Samples in a cluster.
    Size,
    /// Samples chosen from a cluster.
    Chosen,
    /// `stage.slot.key`: a number in an artifact's summary.
    Summary(String),
}

/// How far a result in percent may differ from the golden, in percentage points: another machine
/// rounds differently, and what is trained on then differs in a few answers.
const RESULT_TOLERANCE: f64 = 2.0;

/// The same for a rate over a result: a small result makes a point of it a large rate.
const RATE_TOLERANCE: f64 = 5.0;

/// The same for a number that is not a count, as a share of it.
const NUMBER_TOLERANCE: f64 = 0.05;

impl Column {
    /// The columns with a name of their own, in the order of the documentation.
    pub const BUILTIN: [(&'static str, Column); 10] = [
        ("relative_gain", Column::RelativeGain),
        ("forgetting_rate", Column::ForgettingRate),
        ("forgetting_signed", Column::ForgettingSigned),
        ("average_accuracy", Column::AverageAccuracy),
        ("pool_size", Column::PoolSize),
        ("accuracy", Column::Accuracy),
        ("chance", Column::Chance),
        ("samples", Column::Samples),
        ("size", Column::Size),
        ("chosen", Column::Chosen),
    ];

    /// The column called `name`, if there is one. A name with two dots reads a summary; whether
    /// there is such a stage and slot is not known here.
    pub fn parse(name: &str) -> Option<Column> {
        if let Some((_, column)) = Column::BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
            return Some(column.clone());
        }
        let parts: Vec<&str> = name.split('.').collect();
        (parts.len() == 3 && parts.iter().all(|part| !part.is_empty())).then(|| Column::Summary(name.to_string()))
    }

    /// The name that experiments write.
    pub fn name(&self) -> &str {
        match self {
            Column::Summary(name) => name,
            builtin => {
                let known = Column::BUILTIN.iter().find(|(_, column)| column == builtin);
                known.map_or("", |(name, _)| name)
            }
        }
    }

    /// The rows of the tables that can have the column.
    pub fn rows(&self) -> Rows {
        match self {
            Column::Accuracy | Column::Chance | Column::Samples => Rows::Skill,
            Column::Size | Column::Chosen => Rows::Cluster,
            _ => Rows::Arm,
        }
    }

    /// Whether a table with these rows can have the column.
    pub fn fits(&self, rows: Rows) -> bool {
        self.rows() == rows
    }

    /// The heading: the name in words, with `%` where it is a percentage.
    pub fn heading(&self) -> String {
        let words = match self {
            Column::Summary(name) => return name.clone(),
            builtin => builtin.name().replace('_', " "),
        };
        match self {
            Column::PoolSize | Column::Samples | Column::Size | Column::Chosen => words,
            _ => format!("{words} (%)"),
        }
    }

    /// What the column means, for readers of the table; `relative_to` is the table's.
    pub fn definition(&self, relative_to: Option<&str>) -> String {
        const OVER_SKILLS: &str = "mean over skills of the mean over a skill's benchmarks";
        const LEARNT: &str =
            "mean over skills of the mean over those of a skill's benchmarks on which that best is above chance";
        match self {
            Column::RelativeGain => format!(
                "result after the last time step in percent of the best result that {} reached over time, {LEARNT}",
                relative_to.unwrap_or("the reference")
            ),
            Column::ForgettingRate => format!(
                "what the last time step lost of the best earlier result, in percent of it; an improvement counts as 0; \
                 {LEARNT}"
            ),
            Column::ForgettingSigned => {
                format!("the forgetting rate with an improvement counted as negative; {LEARNT}")
            }
            Column::AverageAccuracy => format!("result after the last time step, {OVER_SKILLS}"),
            Column::PoolSize => "samples in the pool after the last time step".to_string(),
            Column::Accuracy => "result after the last time step, mean over the skill's benchmarks".to_string(),
            Column::Chance => "what always giving the commonest answer would score".to_string(),
            Column::Samples => "samples in the skill's benchmarks".to_string(),
            Column::Size => "samples in the cluster".to_string(),
            Column::Chosen => "samples chosen from the cluster".to_string(),
            Column::Summary(name) => format!("`{name}` at the last time step"),
        }
    }

    /// Decimal places of a mean and its deviation, for readers.
    pub fn digits(&self, means: &[f64]) -> usize {
        let whole = means.iter().all(|mean| mean.fract() == 0.0);
        match self {
            Column::PoolSize | Column::Samples | Column::Size | Column::Chosen | Column::Summary(_) if whole => 0,
            Column::Summary(_) => 3,
            _ => 1,
        }
    }

    /// How far a mean of this column may differ from the golden, in the unit of the column: nothing
    /// for counts. `means` are those of the golden itself.
    pub fn tolerance(&self, means: &[f64]) -> f64 {
        match self {
            Column::RelativeGain | Column::ForgettingRate | Column::ForgettingSigned => RATE_TOLERANCE,
            Column::AverageAccuracy | Column::Accuracy => RESULT_TOLERANCE,
            Column::PoolSize | Column::Chance | Column::Samples | Column::Size | Column::Chosen => 0.0,
            Column::Summary(_) if means.iter().all(|mean| mean.fract() == 0.0) => 0.0,
            Column::Summary(_) => NUMBER_TOLERANCE * means.iter().fold(0.0, |most: f64, mean| most.max(mean.abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_column_has_one_name() {
        for (name, column) in Column::BUILTIN {
            assert_eq!(column.name(), name);
            assert_eq!(Column::parse(name), Some(column));
        }
    }

    #[test]
    fn counts_may_not_drift() {
        let loss = Column::parse("train.curve.loss").unwrap();
        assert_eq!(Column::PoolSize.tolerance(&[1500.0]), 0.0);
        assert_eq!(loss.tolerance(&[500.0, 480.0]), 0.0);
        assert_eq!(loss.tolerance(&[0.5, -2.0]), 0.1);
    }
}
