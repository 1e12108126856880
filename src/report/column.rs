//! The columns that a table can have: what each one means, its unit, and how far it may drift.

use super::Rows;
use super::cost::{CostColumn, Measure};
use crate::text::ticked_list;

/// A column of a table. Results are taken at the last time step, where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Percent of the best results over time of the first arm in `relative_to`.
    RelativeGain,
    /// `relative_gain_to.<arm>`: the same for another arm in `relative_to`.
    RelativeGainTo(String),
    /// Percent lost of the best earlier results; an improvement counts as 0.
    ForgettingRate,
    /// The same, where an improvement counts as negative forgetting.
    ForgettingSigned,
    /// Results in percent, mean over skills.
    AverageAccuracy,
    /// Results in percent, mean over benchmarks.
    BenchmarkAccuracy,
    /// A column for every skill, each a [`Column::SkillAccuracy`].
    Skills,
    /// `skills.<skill>`: percent, mean over the benchmarks of the skill.
    SkillAccuracy(String),
    /// Samples trained on at a time step.
    DataSize,
    /// Samples in the pool after the last time step.
    PoolSize,
    /// The average accuracy that the arms in `compute_reference` reach at the cost of the run.
    AtEqualCompute,
    /// By how many points the run is better than that.
    GainAtEqualCompute,
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
    /// Time, memory or number of stages.
    Cost(CostColumn),
    /// A number in the summary of an artifact.
    Summary(Summary),
}

/// `stage.slot.key`, or `sum(stage.slot.key)` and the like.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Summary {
    /// What becomes of the values of the time steps.
    pub over: OverSteps,
    /// The stage.
    pub stage: String,
    /// The output slot.
    pub slot: String,
    /// The key in the summary.
    pub key: String,
}

/// What becomes of the values that a number has at the time steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OverSteps {
    /// The last one counts.
    Last,
    /// The first one counts.
    First,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The greatest.
    Max,
    /// The least.
    Min,
}

/// Which of two values is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The greater one.
    Up,
    /// The lesser one.
    Down,
}

/// How far a result in percent may differ from the golden, in percentage points: another machine
/// rounds differently, and what is trained on then differs in a few answers.
const RESULT_TOLERANCE: f64 = 2.0;

/// The same for a rate over a result, for a small result makes a point of it a large rate; and for the
/// result of one skill, which has fewer answers.
const RATE_TOLERANCE: f64 = 5.0;

/// The same for a number that is not a count, as a share of it.
const NUMBER_TOLERANCE: f64 = 0.05;

impl Column {
    /// The columns with a name of their own, in the order of the documentation.
    pub const BUILTIN: [(&'static str, Column); 15] = [
        ("relative_gain", Column::RelativeGain),
        ("forgetting_rate", Column::ForgettingRate),
        ("forgetting_signed", Column::ForgettingSigned),
        ("average_accuracy", Column::AverageAccuracy),
        ("benchmark_accuracy", Column::BenchmarkAccuracy),
        ("skills", Column::Skills),
        ("data_size", Column::DataSize),
        ("pool_size", Column::PoolSize),
        ("at_equal_compute", Column::AtEqualCompute),
        ("gain_at_equal_compute", Column::GainAtEqualCompute),
        ("accuracy", Column::Accuracy),
        ("chance", Column::Chance),
        ("samples", Column::Samples),
        ("size", Column::Size),
        ("chosen", Column::Chosen),
    ];

    /// The column called `name`, if there is one. Whether there is such an arm, skill, stage, slot or
    /// stage kind is not known here.
    pub fn parse(name: &str) -> Option<Column> {
        if let Some((_, column)) = Column::BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
            return Some(column.clone());
        }
        let of = |start: &str| name.strip_prefix(start).filter(|rest| !rest.is_empty()).map(str::to_string);
        let of_arm = || of("relative_gain_to.").map(Column::RelativeGainTo);
        let of_skill = || of("skills.").map(Column::SkillAccuracy);
        let cost = || CostColumn::parse(name).map(Column::Cost);
        of_arm().or_else(of_skill).or_else(cost).or_else(|| Summary::parse(name).map(Column::Summary))
    }

    /// The name that experiments write.
    pub fn name(&self) -> String {
        match self {
            Column::RelativeGainTo(arm) => format!("relative_gain_to.{arm}"),
            Column::SkillAccuracy(skill) => format!("skills.{skill}"),
            Column::Cost(cost) => cost.name(),
            Column::Summary(summary) => summary.name(),
            builtin => {
                let known = Column::BUILTIN.iter().find(|(_, column)| column == builtin);
                known.map_or(String::new(), |(name, _)| name.to_string())
            }
        }
    }

    /// Whether a table with these rows can have the column.
    pub fn fits(&self, rows: Rows) -> bool {
        match self {
            Column::Cost(cost) if rows == Rows::Stage => cost.is_whole(),
            column => column.rows() == rows,
        }
    }

    /// The rows of the tables that the column is meant for.
    pub fn rows(&self) -> Rows {
        match self {
            Column::Accuracy | Column::Chance | Column::Samples => Rows::Skill,
            Column::Size | Column::Chosen => Rows::Cluster,
            _ => Rows::Arm,
        }
    }

    /// Whether the column is there once for each arm where a row is not an arm: what came out is, what
    /// a benchmark is does not depend on the arm.
    pub fn is_by_arm(&self) -> bool {
        matches!(self, Column::Accuracy | Column::Chosen | Column::Cost(_))
    }

    /// Whether the column is a mean over skills of what is known of each benchmark.
    pub fn is_over_skills(&self) -> bool {
        let gain = matches!(self, Column::RelativeGain | Column::RelativeGainTo(_));
        gain || matches!(self, Column::ForgettingRate | Column::ForgettingSigned | Column::AverageAccuracy)
    }

    /// Whether the column is measured, and comes out differently on every machine.
    pub fn is_measured(&self) -> bool {
        match self {
            Column::AtEqualCompute | Column::GainAtEqualCompute => true,
            Column::Cost(cost) => cost.measure != Measure::Stages,
            _ => false,
        }
    }

    /// Which values are better, where that can be said: costs and counts are what they are.
    pub fn direction(&self) -> Option<Direction> {
        match self {
            Column::ForgettingRate | Column::ForgettingSigned => Some(Direction::Down),
            Column::BenchmarkAccuracy | Column::SkillAccuracy(_) | Column::Accuracy | Column::GainAtEqualCompute => {
                Some(Direction::Up)
            }
            column => column.is_over_skills().then_some(Direction::Up),
        }
    }

    /// The heading: the name in words, with the unit where it is no count.
    pub fn heading(&self) -> String {
        let words = match self {
            Column::Summary(summary) => return summary.name(),
            Column::RelativeGainTo(arm) => format!("relative gain to {arm}"),
            Column::SkillAccuracy(skill) => skill.clone(),
            column => column.name().replace('_', " "),
        };
        match self {
            Column::Cost(cost) => match cost.measure {
                Measure::Stages => words,
                Measure::Memory => format!("{words} (MiB)"),
                _ => format!("{} (s)", words.trim_end_matches(" seconds")),
            },
            column if column.is_count() => words,
            Column::GainAtEqualCompute => format!("{words} (points)"),
            _ => format!("{words} (%)"),
        }
    }

    /// What the definition below a table calls the column.
    pub fn term(&self) -> String {
        match self {
            Column::SkillAccuracy(_) => "a skill by its name (%)".to_string(),
            column => column.heading(),
        }
    }

    /// What the column means, for readers of the table; `relative_to` and `compute_reference` are the
    /// table's.
    pub fn definition(&self, relative_to: &[String], compute_reference: &[String]) -> String {
        const OVER_SKILLS: &str = "mean over skills of the mean over a skill's benchmarks";
        const LEARNT: &str =
            "mean over skills of the mean over those of a skill's benchmarks on which that best is above chance";
        let gain = |arm: &str| {
            format!(
                "result after the last time step in percent of the best result that {arm} reached over time, {LEARNT}"
            )
        };
        match self {
            Column::RelativeGain => gain(relative_to.first().map_or("the reference", String::as_str)),
            Column::RelativeGainTo(arm) => gain(arm),
            Column::ForgettingRate => format!(
                "what the last time step lost of the best earlier result, in percent of it; an improvement counts as 0; \
                 {LEARNT}"
            ),
            Column::ForgettingSigned => {
                format!("the forgetting rate with an improvement counted as negative; {LEARNT}")
            }
            Column::AverageAccuracy => format!("result after the last time step, {OVER_SKILLS}"),
            Column::BenchmarkAccuracy => "result after the last time step, mean over benchmarks".to_string(),
            Column::Skills | Column::SkillAccuracy(_) | Column::Accuracy => {
                "result after the last time step, mean over the skill's benchmarks".to_string()
            }
            Column::DataSize => {
                "samples that the evaluated model was trained on at a time step, mean over the time steps".to_string()
            }
            Column::PoolSize => "samples in the pool after the last time step".to_string(),
            Column::AtEqualCompute => format!(
                "average accuracy that {} would reach with the seconds of compute of the row: {}; linear in the logarithm \
                 of the seconds between the two nearest, and that of the nearest one, marked *, beyond their range",
                ticked_list(compute_reference),
                CostColumn::COMPUTE.definition()
            ),
            Column::GainAtEqualCompute => {
                "average accuracy of the row less the average accuracy at equal compute".to_string()
                    + &format!(", which interpolates {}; marked * beyond their range", ticked_list(compute_reference))
            }
            Column::Chance => "what always giving the commonest answer would score".to_string(),
            Column::Samples => "samples in the skill's benchmarks".to_string(),
            Column::Size => "samples in the cluster".to_string(),
            Column::Chosen => "samples chosen from the cluster".to_string(),
            Column::Cost(cost) => cost.definition(),
            Column::Summary(summary) => summary.definition(),
        }
    }

    /// Decimal places of a mean and its deviation, for readers.
    pub fn digits(&self, means: &[f64]) -> usize {
        let whole = means.iter().all(|mean| mean.fract() == 0.0);
        let most = means.iter().fold(0.0, |most: f64, mean| most.max(mean.abs()));
        match self {
            Column::Summary(_) | Column::Cost(_) if whole => 0,
            Column::Cost(cost) if cost.measure == Measure::Memory || most >= 1000.0 => 0,
            Column::Summary(_) => 3,
            column if column.is_count() && whole => 0,
            _ => 1,
        }
    }

    /// How far a mean of this column may differ from the golden, in the unit of the column: nothing
    /// for counts. `means` are those of the golden itself.
    pub fn tolerance(&self, means: &[f64]) -> f64 {
        match self {
            Column::AverageAccuracy | Column::BenchmarkAccuracy | Column::Accuracy => RESULT_TOLERANCE,
            Column::SkillAccuracy(_) => RATE_TOLERANCE,
            column if column.is_over_skills() => RATE_TOLERANCE,
            Column::Summary(_) if means.iter().any(|mean| mean.fract() != 0.0) => {
                NUMBER_TOLERANCE * means.iter().fold(0.0, |most: f64, mean| most.max(mean.abs()))
            }
            _ => 0.0,
        }
    }

    fn is_count(&self) -> bool {
        let samples = matches!(self, Column::DataSize | Column::PoolSize | Column::Samples);
        samples || matches!(self, Column::Size | Column::Chosen)
    }
}

impl Summary {
    /// `stage.slot.key`, alone or in the brackets of an [`OverSteps`] word.
    fn parse(name: &str) -> Option<Summary> {
        let inside = |(word, over)| Some((over, name.strip_prefix(word)?.strip_prefix('(')?.strip_suffix(')')?));
        let (over, path) = OverSteps::WORDS.into_iter().find_map(inside).unwrap_or((OverSteps::Last, name));
        let part = |part: &str| !part.is_empty() && !part.contains(['(', ')']);
        let parts: Vec<&str> = path.split('.').collect();
        let [stage, slot, key] = *parts.as_slice() else { return None };
        let named = [stage, slot, key].into_iter().all(part);
        named.then(|| Summary { over, stage: stage.to_string(), slot: slot.to_string(), key: key.to_string() })
    }

    /// The name that experiments write.
    fn name(&self) -> String {
        let path = format!("{}.{}.{}", self.stage, self.slot, self.key);
        match self.over {
            OverSteps::Last => path,
            over => format!("{}({path})", over.word()),
        }
    }

    fn definition(&self) -> String {
        let path = format!("`{}.{}.{}`", self.stage, self.slot, self.key);
        match self.over {
            OverSteps::Last => format!("{path} at the last time step"),
            OverSteps::First => format!("{path} at the first time step"),
            OverSteps::Mean => format!("{path}, mean over the time steps"),
            OverSteps::Sum => format!("{path}, sum over the time steps"),
            OverSteps::Max => format!("{path}, the greatest of the time steps"),
            OverSteps::Min => format!("{path}, the least of the time steps"),
        }
    }
}

impl OverSteps {
    /// The words that experiments write before the brackets.
    pub const WORDS: [(&'static str, OverSteps); 6] = [
        ("mean", OverSteps::Mean),
        ("sum", OverSteps::Sum),
        ("max", OverSteps::Max),
        ("min", OverSteps::Min),
        ("first", OverSteps::First),
        ("last", OverSteps::Last),
    ];

    fn word(self) -> &'static str {
        OverSteps::WORDS.into_iter().find(|(_, over)| *over == self).map_or("", |(word, _)| word)
    }

    /// One value of the values at the time steps, first to last; none of none.
    pub fn of(self, values: &[f64]) -> Option<f64> {
        let sum = || values.iter().sum::<f64>();
        let reduced = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick);
        match self {
            OverSteps::Last => values.last().copied(),
            OverSteps::First => values.first().copied(),
            OverSteps::Mean => (!values.is_empty()).then(|| sum() / values.len() as f64),
            OverSteps::Sum => (!values.is_empty()).then(sum),
            OverSteps::Max => reduced(f64::max),
            OverSteps::Min => reduced(f64::min),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_read_back_as_it_is_called() {
        for (name, column) in Column::BUILTIN {
            assert_eq!(column.name(), name);
            assert_eq!(Column::parse(name), Some(column));
        }
        for name in [
            "relative_gain_to.Multi-task",
            "relative_gain_to.Random, 25 %, v1.5",
            "skills.text in Chinese",
            "gradient_seconds",
            "train.curve.loss",
            "mean(train.model.samples)",
        ] {
            assert_eq!(Column::parse(name).expect(name).name(), name);
        }
        assert_eq!(Column::parse("last(train.curve.loss)"), Column::parse("train.curve.loss"));
        for name in ["", "a.b", "a..c", "skills.", "median(train.curve.loss)", "mean(train.curve)", "mean(a.b.c"] {
            assert_eq!(Column::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_number_has_one_value_for_all_time_steps() {
        let of = |over: OverSteps| over.of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!(OverSteps::WORDS.map(|(_, over)| of(over)), [2.0, 6.0, 3.0, 1.0, 3.0, 2.0]);
        assert!(OverSteps::WORDS.into_iter().all(|(_, over)| over.of(&[]).is_none()));
    }

    #[test]
    fn counts_may_not_drift() {
        let loss = Column::parse("train.curve.loss").unwrap();
        assert_eq!(Column::PoolSize.tolerance(&[1500.0]), 0.0);
        assert_eq!(loss.tolerance(&[500.0, 480.0]), 0.0);
        assert_eq!(loss.tolerance(&[0.5, -2.0]), 0.1);
    }
}
