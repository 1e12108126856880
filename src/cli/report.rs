//! From the artifacts of a run to the items of its report, their files and their goldens.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value as Json;

use super::failure::Failure;
use super::figures;
use super::sources::{Sources, provenance};
use super::tables;
use super::workspace::Workspace;
use crate::plan::Plan;
use crate::report::figure::Figure;
use crate::report::{ItemSpec, Table, differences};
use crate::scheduler::Outcome;

/// An item of a report with the name of its files.
pub struct Rendered {
    /// The name of its files, without their ends.
    pub stem: String,
    /// The item.
    pub item: Item,
}

/// An item of a report with its results.
pub enum Item {
    /// A table.
    Table(Table),
    /// A figure, and the same as PNG.
    Figure(Figure, Vec<u8>),
}

/// The items of a plan's report whose stages are all done.
pub fn render(plan: &Plan, outcome: &Outcome, workspace: &mut Workspace) -> Result<Vec<Rendered>, Failure> {
    let provenance = match plan.report.is_empty() {
        true => Vec::new(),
        false => provenance(plan, workspace.cache()?)?,
    };
    let sources = Sources { plan, outcome, workspace, provenance };
    let mut rendered = Vec::new();
    for planned in &plan.report {
        let item = match &planned.spec {
            ItemSpec::Table(spec) => tables::build(spec, &planned.runs, &sources)?.map(Item::Table),
            ItemSpec::Figure(spec) => match figures::build(spec, &planned.runs, &sources)? {
                Some(figure) => {
                    let picture = figure.scene.to_png()?;
                    Some(Item::Figure(figure, picture))
                }
                None => None,
            },
        };
        let Some(item) = item else { continue };
        let stem = match plan.report.len() {
            1 => plan.experiment.clone(),
            _ => format!("{}-{}", plan.experiment, planned.spec.name()),
        };
        rendered.push(Rendered { stem, item });
    }
    Ok(rendered)
}

impl Item {
    /// What it is, in a word.
    pub fn noun(&self) -> &'static str {
        match self {
            Item::Table(_) => "table",
            Item::Figure(..) => "figure",
        }
    }

    /// What a terminal shows of it.
    pub fn text(&self) -> String {
        match self {
            Item::Table(table) => table.to_text(),
            Item::Figure(figure, _) => figure.to_text(),
        }
    }

    /// What a program reads of it.
    pub fn json(&self) -> Json {
        match self {
            Item::Table(table) => serde_json::to_value(table).expect("BUG: a table is plain data"),
            Item::Figure(figure, _) => figure.to_json(),
        }
    }

    /// The end of each of its files, and what is in it.
    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        match self {
            Item::Table(table) => {
                let mut files = vec![
                    ("md", table.to_markdown()),
                    ("csv", table.to_csv()),
                    ("tex", table.to_latex()),
                    ("json", table.to_json()),
                ];
                files.extend(table.matrix_csv().map(|matrix| ("matrix.csv", matrix)));
                files.into_iter().map(|(end, text)| (end, text.into_bytes())).collect()
            }
            Item::Figure(figure, picture) => {
                let mut files = vec![
                    ("csv", figure.numbers.to_csv().into_bytes()),
                    ("svg", figure.scene.to_svg().into_bytes()),
                    ("png", picture.clone()),
                ];
                files.extend(figure.page.as_ref().map(|page| ("html", page.clone().into_bytes())));
                files
            }
        }
    }

    /// The end of the file that is its golden.
    fn golden(&self) -> &'static str {
        match self {
            Item::Table(_) => "json",
            Item::Figure(..) => "csv",
        }
    }

    /// In what it differs from the golden with this text.
    fn differences(&self, golden: &str) -> anyhow::Result<Vec<String>> {
        match self {
            Item::Table(table) => {
                let golden = Table::from_json(golden)?;
                Ok(differences(&golden, table).iter().map(ToString::to_string).collect())
            }
            Item::Figure(figure, _) => figure.numbers.differences(golden),
        }
    }
}

impl Rendered {
    /// Writes all files of the item. Returns the name of the first and the ends of the others.
    pub fn write(&self, directory: &Path) -> anyhow::Result<Vec<String>> {
        let mut written: Vec<String> = Vec::new();
        for (end, content) in self.item.files() {
            let path = directory.join(format!("{}.{end}", self.stem));
            let folder = path.parent().unwrap_or(directory);
            fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
            fs::write(&path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
            written.push(match written.is_empty() {
                true => path.display().to_string(),
                false => format!(".{end}"),
            });
        }
        Ok(written)
    }

    /// In what the item differs from its golden.
    pub fn check(&self, directory: &Path) -> Result<Vec<String>, Failure> {
        let path = directory.join(format!("{}.{}", self.stem, self.item.golden()));
        let text = fs::read_to_string(&path).map_err(|error| {
            let message = format!("cannot read the golden `{}`: {error}", path.display());
            Failure::usage(message, Some("`--bless` writes one"))
        })?;
        let not_one = || format!("`{}` is not the golden of a {}", path.display(), self.item.noun());
        Ok(self.item.differences(&text).with_context(not_one)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Benchmark, Metrics};
    use crate::report::Run;

    fn rendered(value: f64) -> Rendered {
        let spec = serde_yaml::from_str(
            "{name: t, rows: skill, metrics: [evaluate.metrics], columns: [accuracy, chance, samples]}",
        );
        let benchmark = Benchmark {
            skill: "counting".into(),
            metric: "exact_match".into(),
            value,
            chance: 25.0,
            samples: 8,
            details: Default::default(),
        };
        let metrics = Metrics { benchmarks: [("count".to_string(), benchmark)].into_iter().collect() };
        let run = Run { steps: vec![metrics], ..Run::default() };
        let table = Table::build(&spec.unwrap(), "A toy", &[run]).unwrap();
        Rendered { item: Item::Table(table), stem: "toy".to_string() }
    }

    #[test]
    fn a_table_that_was_blessed_is_checked_against_later_ones() {
        let directory = tempfile::tempdir().unwrap();
        let goldens = directory.path().join("results");
        assert!(matches!(rendered(50.0).check(&goldens), Err(Failure::Usage { .. })));
        assert_eq!(rendered(50.0).write(&goldens).unwrap().len(), 5);
        assert_eq!(rendered(50.0).check(&goldens).unwrap(), Vec::<String>::new());
        assert_eq!(rendered(90.0).check(&goldens).unwrap().len(), 1);
    }

    #[test]
    fn the_golden_of_a_figure_is_its_numbers_and_pictures_are_written_beside_them() {
        use crate::report::Moment;
        use crate::report::figure::{FigureKind, FigureSpec, History, Lines, Shown, Value, draw};

        let directory = tempfile::tempdir().unwrap();
        let rendered = |value: f64| {
            let lines = Lines {
                metrics: vec!["evaluate.metrics".into()],
                value: Value::Accuracy,
                relative_to: None,
                skills: Shown::Mean,
                start: None,
            };
            let kind = FigureKind::Lines(lines.clone());
            let spec = FigureSpec { name: "f".into(), title: None, arms: Vec::new(), kind };
            let benchmark = Benchmark {
                skill: "counting".into(),
                metric: "exact_match".into(),
                value,
                chance: 25.0,
                samples: 8,
                details: Default::default(),
            };
            let step = Metrics { benchmarks: [("count".to_string(), benchmark)].into_iter().collect() };
            let moments = vec![Moment { step: Some(0), name: "mantis".into() }];
            let history = History { moments, steps: vec![step], ..History::default() };
            let figure = draw::lines(&spec, &lines, "A toy", &[history]).unwrap();
            let picture = figure.scene.to_png().unwrap();
            Rendered { item: Item::Figure(figure, picture), stem: "toy".to_string() }
        };
        let written = rendered(50.0).write(directory.path()).unwrap();
        let ends: Vec<&str> = written.iter().map(|name| name.trim_matches('`').rsplit('.').next().unwrap()).collect();
        assert_eq!(ends, ["csv", "svg", "png"]);
        assert_eq!(rendered(51.0).check(directory.path()).unwrap(), Vec::<String>::new());
        let differences = rendered(60.0).check(directory.path()).unwrap();
        assert_eq!(differences, ["mean over skills, all, 0, mantis, mean: 50 -> 60 (tolerance 2)"]);
    }
}
