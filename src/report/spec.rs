//! What an experiment says of a table.

use serde::{Deserialize, Serialize};

use super::Column;
use crate::text::{did_you_mean, ticked_list};

/// A table of the `report:` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// Name of the files that it is written to.
    pub name: String,
    /// Headline; by default the experiment's title.
    #[serde(default)]
    pub title: Option<String>,
    /// What a row stands for.
    pub rows: Rows,
    /// The metrics artifacts of the time steps, first to last, as `stage.slot` references. A stage
    /// of the chain stands for all its steps in order. With `rows: cluster` subsets instead.
    pub metrics: Vec<String>,
    /// [`Column`] names.
    pub columns: Vec<String>,
    /// The arms whose best results over time are upper bounds: that of `relative_gain` first.
    #[serde(default)]
    pub relative_to: Vec<String>,
    /// The arms, each with another budget, between which `at_equal_compute` interpolates.
    #[serde(default)]
    pub compute_reference: Vec<String>,
    /// Arms that take no part when the best are marked and compared, such as upper bounds.
    #[serde(default)]
    pub unranked: Vec<String>,
    /// The column by which rows are compared with the best one; by default the first that is a mean
    /// over skills or benchmarks.
    #[serde(default)]
    pub test: Option<String>,
    /// What the values of a cell differ in; replicates of an experiment are always aggregated.
    #[serde(default)]
    pub over: Over,
}

/// What a row of a table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// An arm of the experiment, over all skills and time steps.
    Arm,
    /// A skill at the last time step, with the columns repeated for every arm.
    Skill,
    /// The stages of one kind that serve one purpose, with the columns repeated for every arm, and all
    /// of them.
    Stage,
    /// A cluster of the pool at the last time step that something was selected from, and the sum of
    /// all. `metrics` names the subsets.
    Cluster,
}

impl Rows {
    /// All of them.
    pub const ALL: [Rows; 4] = [Rows::Arm, Rows::Skill, Rows::Stage, Rows::Cluster];

    /// The word that experiments write.
    pub fn word(self) -> &'static str {
        match self {
            Rows::Arm => "arm",
            Rows::Skill => "skill",
            Rows::Stage => "stage",
            Rows::Cluster => "cluster",
        }
    }

    /// The kind of the artifacts that `metrics` names.
    pub fn artifact(self) -> &'static str {
        match self {
            Rows::Arm | Rows::Skill | Rows::Stage => "metrics",
            Rows::Cluster => "subset",
        }
    }
}

/// What a table aggregates to mean and standard deviation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The replicates of `seeds:`.
    #[default]
    Seed,
}

/// Something in a [`TableSpec`] that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The field that holds it.
    pub field: &'static str,
    /// Its place in the field, where that is a list.
    pub index: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl TableSpec {
    /// The columns whose names are known, in order.
    pub fn columns(&self) -> Vec<Column> {
        self.columns.iter().filter_map(|name| Column::parse(name)).collect()
    }

    /// Whether a column shows what stages cost, or is computed from that.
    pub fn shows_costs(&self) -> bool {
        let cost = |column: &Column| matches!(column, Column::Cost(_)) || column.is_measured();
        self.columns().iter().any(cost)
    }

    /// The column by which rows are compared with the best one.
    pub fn tested(&self) -> Option<Column> {
        let comparable = |column: &Column| column.is_over_skills() || *column == Column::BenchmarkAccuracy;
        match &self.test {
            Some(name) => Column::parse(name).filter(comparable),
            None => self.columns().into_iter().find(comparable),
        }
    }

    /// Everything that cannot be meant, in an experiment with these arms and stage kinds.
    pub fn mistakes(&self, arms: &[&str], kinds: &[&str]) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut add = |field, index, message, hint| mistakes.push(Mistake { field, index, message, hint });
        let file_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        if self.name.is_empty() || !self.name.chars().all(file_name) {
            let hint = "letters, digits, `_` and `-` only: the table's files are called like it";
            add("name", None, format!("`{}` is not a table name", self.name), Some(hint.to_string()));
        }
        if self.metrics.is_empty() {
            add("metrics", None, "no metrics to make a table of".to_string(), None);
        }
        if self.columns.is_empty() {
            add("columns", None, "a table without columns".to_string(), None);
        }
        for (index, name) in self.columns.iter().enumerate() {
            if let Some((message, hint)) = self.column_mistake(index, name, kinds) {
                add("columns", Some(index), message, hint);
            }
        }
        let arms_of = [
            ("relative_to", &self.relative_to),
            ("compute_reference", &self.compute_reference),
            ("unranked", &self.unranked),
        ];
        for (field, named) in arms_of {
            for (index, arm) in named.iter().enumerate() {
                if !arms.contains(&arm.as_str()) {
                    let near = did_you_mean(arm, arms.iter().copied());
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    add(field, Some(index), format!("no arm `{arm}`"), hint);
                } else if named[..index].contains(arm) {
                    add(field, Some(index), format!("arm `{arm}` is there twice"), None);
                }
            }
        }
        if let Some(name) = self.test.as_ref().filter(|_| self.tested().is_none()) {
            let hint = "rows are compared by a mean over skills or benchmarks, such as `average_accuracy`".to_string();
            add("test", None, format!("rows cannot be compared by `{name}`"), Some(hint));
        }
        if self.rows == Rows::Arm && arms.is_empty() {
            let hint = "use `rows: skill`, or add `arms:`".to_string();
            add("rows", None, "a row per arm, but the experiment has no arms".to_string(), Some(hint));
        }
        mistakes
    }

    /// Why the column `name`, which is the one at `index`, cannot be meant, and how to mend it.
    fn column_mistake(&self, index: usize, name: &str, kinds: &[&str]) -> Option<(String, Option<String>)> {
        let Some(column) = Column::parse(name) else {
            let names = Column::BUILTIN.iter().filter(|(_, column)| column.fits(self.rows)).map(|(name, _)| *name);
            let names: Vec<&str> =
                names.chain((self.rows == Rows::Stage).then_some(WHOLE_COSTS).into_iter().flatten()).collect();
            let hint = match did_you_mean(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}, and `stage.slot.key` reads an artifact's summary", ticked_list(names)),
            };
            return Some((format!("unknown column `{name}`"), Some(hint)));
        };
        if !column.fits(self.rows) {
            let rows = match self.rows {
                Rows::Arm => "an arm",
                Rows::Skill => "a skill",
                Rows::Stage => "a stage kind",
                Rows::Cluster => "a cluster",
            };
            let hint = format!("it belongs to a table with `rows: {}`", column.rows().word());
            return Some((format!("no column `{name}` where a row is {rows}"), Some(hint)));
        }
        if self.columns[..index].iter().any(|other| Column::parse(other).as_ref() == Some(&column)) {
            return Some((format!("column `{name}` is there twice"), None));
        }
        let relative = |hint: &str| Some((format!("`{name}` is relative to nothing"), Some(hint.to_string())));
        match &column {
            Column::RelativeGain if self.relative_to.is_empty() => {
                relative("name the arm to compare with in `relative_to`")
            }
            Column::RelativeGainTo(arm) if !self.relative_to.contains(arm) => {
                let hint = format!("add `{arm}` to the list `relative_to`");
                Some((format!("`{arm}` is none of the arms in `relative_to`"), Some(hint)))
            }
            Column::AtEqualCompute | Column::GainAtEqualCompute if self.compute_reference.len() < 2 => {
                relative("name two arms or more with different budgets in `compute_reference`")
            }
            Column::Cost(cost) => {
                let kind = cost.kind().filter(|kind| !kinds.contains(kind))?;
                let near = did_you_mean(kind, kinds.iter().copied());
                let hint = near.map(|near| format!("did you mean `{}`?", name.replacen(kind, near, 1)));
                Some((format!("column `{name}`: no stage of the kind `{kind}`"), hint))
            }
            _ => None,
        }
    }
}

/// The costs that a table of stages can show.
const WHOLE_COSTS: [&str; 5] = ["total_seconds", "cpu_seconds", "device_seconds", "peak_memory", "stages"];

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> TableSpec {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn the_table_of_the_design_is_read() {
        let spec = spec(
            "{name: t, rows: arm, metrics: [start.metrics, evaluate.metrics], relative_to: [Sequential],\n\
             columns: [relative_gain, forgetting_rate, pool_size, train.curve.steps], over: seed}",
        );
        assert_eq!(spec.mistakes(&["Sequential", "Random"], &[]), []);
        assert_eq!(spec.columns()[0], Column::RelativeGain);
    }

    #[test]
    fn all_mistakes_of_a_table_are_found_at_once() {
        let spec = spec(
            "{name: t, rows: arm, metrics: [evaluate.metrics], relative_to: [sequential],\n\
             columns: [relative_gian, accuracy, pool_size, pool_size]}",
        );
        let mistakes = spec.mistakes(&["Sequential"], &["train"]);
        let place = |index: Option<usize>| index.map_or(String::new(), |index| format!("[{index}]"));
        let told: Vec<String> =
            mistakes.iter().map(|m| format!("{}{}: {}", m.field, place(m.index), m.message)).collect();
        let hints: Vec<&str> = mistakes.iter().filter_map(|m| m.hint.as_deref()).collect();
        assert_eq!(
            told,
            [
                "columns[0]: unknown column `relative_gian`",
                "columns[1]: no column `accuracy` where a row is an arm",
                "columns[3]: column `pool_size` is there twice",
                "relative_to[0]: no arm `sequential`",
            ]
        );
        assert_eq!(
            hints,
            ["did you mean `relative_gain`?", "it belongs to a table with `rows: skill`", "did you mean `Sequential`?"]
        );
    }

    #[test]
    fn a_key_that_no_table_has_is_refused() {
        let error = serde_yaml::from_str::<TableSpec>("{name: t, rows: arm, metrics: [], columns: [], sort: x}");
        assert!(error.unwrap_err().to_string().contains("unknown field `sort`"));
    }
}
