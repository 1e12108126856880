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
    /// The arm against whose best results over time `relative_gain` is measured.
    #[serde(default)]
    pub relative_to: Option<String>,
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
    /// A cluster of the pool at the last time step that something was selected from, and the sum of
    /// all. `metrics` names the subsets.
    Cluster,
}

impl Rows {
    /// The word that experiments write.
    pub fn word(self) -> &'static str {
        match self {
            Rows::Arm => "arm",
            Rows::Skill => "skill",
            Rows::Cluster => "cluster",
        }
    }

    /// The kind of the artifacts that `metrics` names.
    pub fn artifact(self) -> &'static str {
        match self {
            Rows::Arm | Rows::Skill => "metrics",
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

    /// The `stage.slot.key` references among the columns: a run must bring a value for each, under
    /// the same name.
    pub fn summaries(&self) -> Vec<String> {
        let summary = |column| match column {
            Column::Summary(name) => Some(name),
            _ => None,
        };
        self.columns().into_iter().filter_map(summary).collect()
    }

    /// Everything that cannot be meant, in an experiment with these arms.
    pub fn mistakes(&self, arms: &[&str]) -> Vec<Mistake> {
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
            let place = Some(index);
            match Column::parse(name) {
                None => {
                    let names =
                        Column::BUILTIN.iter().filter(|(_, column)| column.fits(self.rows)).map(|(name, _)| *name);
                    let hint = match did_you_mean(name, names.clone()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!(
                            "there are {}, and `stage.slot.key` reads an artifact's summary",
                            ticked_list(names)
                        ),
                    };
                    add("columns", place, format!("unknown column `{name}`"), Some(hint));
                }
                Some(column) if !column.fits(self.rows) => {
                    let rows = match self.rows {
                        Rows::Arm => "an arm",
                        Rows::Skill => "a skill",
                        Rows::Cluster => "a cluster",
                    };
                    let hint = format!("it belongs to a table with `rows: {}`", column.rows().word());
                    add("columns", place, format!("no column `{name}` where a row is {rows}"), Some(hint));
                }
                Some(Column::RelativeGain) if self.relative_to.is_none() => {
                    let hint = "name the arm to compare with in `relative_to`".to_string();
                    add("columns", place, "`relative_gain` is relative to nothing".to_string(), Some(hint));
                }
                Some(_) if self.columns[..index].contains(name) => {
                    add("columns", place, format!("column `{name}` is there twice"), None);
                }
                Some(_) => {}
            }
        }
        if let Some(reference) = &self.relative_to
            && !arms.contains(&reference.as_str())
        {
            let near = did_you_mean(reference, arms.iter().copied());
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            add("relative_to", None, format!("no arm `{reference}`"), hint);
        }
        if self.rows == Rows::Arm && arms.is_empty() {
            let hint = "use `rows: skill`, or add `arms:`".to_string();
            add("rows", None, "a row per arm, but the experiment has no arms".to_string(), Some(hint));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> TableSpec {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn the_table_of_the_design_is_read() {
        let spec = spec(
            "{name: t, rows: arm, metrics: [start.metrics, evaluate.metrics], relative_to: Sequential,\n\
             columns: [relative_gain, forgetting_rate, pool_size, train.curve.steps], over: seed}",
        );
        assert_eq!(spec.mistakes(&["Sequential", "Random"]), []);
        assert_eq!(spec.summaries(), ["train.curve.steps"]);
        assert_eq!(spec.columns()[0], Column::RelativeGain);
    }

    #[test]
    fn all_mistakes_of_a_table_are_found_at_once() {
        let spec = spec(
            "{name: t, rows: arm, metrics: [evaluate.metrics], relative_to: sequential,\n\
             columns: [relative_gian, accuracy, pool_size, pool_size]}",
        );
        let mistakes = spec.mistakes(&["Sequential"]);
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
                "relative_to: no arm `sequential`",
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
