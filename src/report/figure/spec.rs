//! What an experiment says of a figure.

use crate::report::{Mistake, TableSpec};
use crate::text::ticked_list;

/// A figure of the `report:` section.
#[derive(Debug, Clone, PartialEq)]
pub struct FigureSpec {
    /// Name of the files that it is written to.
    pub name: String,
    /// Headline; by default the experiment's title.
    pub title: Option<String>,
    /// The arms that it shows, in this order; empty for all.
    pub arms: Vec<String>,
    /// What it shows.
    pub kind: FigureKind,
}

/// What a figure shows.
#[derive(Debug, Clone, PartialEq)]
pub enum FigureKind {
    /// Results over the time steps, a line for each arm.
    Lines(Lines),
    /// Results by skill and time step, and which scorer each cluster chose.
    Skills(Skills),
    /// Pseudo-task clusters of different vectors: how tight they are, how well they agree with the true
    /// skills, and how the vectors lie.
    Clusters(Clusters),
    /// Two columns of a table of arms against each other.
    Scatter(Scatter),
    /// Images and questions with the answers after each time step.
    Gallery(Gallery),
}

/// Results over the time steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    /// The metrics artifacts of the time steps, first to last, as `stage.slot` references.
    pub metrics: Vec<String>,
    /// What a point is.
    pub value: Value,
    /// The arm against whose best results over time `relative_gain` is measured.
    pub relative_to: Option<String>,
    /// A panel for each.
    pub skills: Shown,
    /// What the time before the chain is called; by default its stage.
    pub start: Option<String>,
}

/// Results by skill and time step.
#[derive(Debug, Clone, PartialEq)]
pub struct Skills {
    /// As [`Lines::metrics`].
    pub metrics: Vec<String>,
    /// As [`Lines::relative_to`].
    pub relative_to: Option<String>,
    /// What a cell is.
    pub value: Value,
    /// As [`Lines::start`].
    pub start: Option<String>,
    /// The subsets whose choice of scorers is shown; none for none. An arm without such a stage has no
    /// such panel.
    pub subsets: Vec<String>,
}

/// Pseudo-task clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// The clusters, as a `stage.slot` reference.
    pub clusters: String,
    /// The pool whose samples know their true skills.
    pub pool: String,
    /// The vectors that are mapped; without them there are no maps.
    pub vectors: Option<String>,
    /// The time step of the chain that is shown, counted from 1; by default the last.
    pub step: Option<usize>,
    /// The key of `matrix:` in which arms of the same kind of vectors differ, such as `cluster.clusters`.
    pub sweep: Option<String>,
    /// How a map is made.
    pub map: Projection,
    /// At most so many samples are on a map.
    pub points: usize,
}

/// Two columns against each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// A table of arms with two columns: the one to the right, in which less is better, and the one upwards.
    pub table: Box<TableSpec>,
}

/// Images and questions with answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Gallery {
    /// The answers artifacts of the time steps, first to last, as `stage.slot` references.
    pub answers: Vec<String>,
    /// The skills whose questions are shown.
    pub skills: Shown,
    /// As [`Lines::start`].
    pub start: Option<String>,
    /// How many questions the page shows.
    pub questions: usize,
    /// How many of them the picture shows.
    pub pictured: usize,
}

/// Which skills are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Shown {
    /// The mean over all skills; in a gallery, the questions of all.
    #[default]
    Mean,
    /// Every skill.
    All,
    /// These.
    Named(Vec<String>),
}

/// What a point or cell of results is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Value {
    /// The result in percent.
    #[default]
    Accuracy,
    /// Percent of the best results over time of the arm named in `relative_to`.
    RelativeGain,
}

/// How vectors come to lie in a plane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Projection {
    /// The two directions in which they vary most.
    #[default]
    Pca,
    /// t-SNE started from those.
    Tsne,
}

/// Artifacts that a figure needs of every arm that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The field of the spec that names them.
    pub field: &'static str,
    /// `stage.slot`.
    pub references: Vec<String>,
    /// The artifact kinds that fit.
    pub kinds: &'static [&'static str],
    /// Of which time steps.
    pub when: When,
    /// Whether an arm may lack the stage.
    pub optional: bool,
}

/// The time steps from which a figure takes the artifacts of a stage in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All, first to last.
    Every,
    /// The last.
    Last,
    /// This one, counted from 1.
    Step(usize),
}

impl FigureKind {
    /// The word that experiments write.
    pub fn word(&self) -> &'static str {
        match self {
            FigureKind::Lines(_) => "lines",
            FigureKind::Skills(_) => "skills",
            FigureKind::Clusters(_) => "clusters",
            FigureKind::Scatter(_) => "scatter",
            FigureKind::Gallery(_) => "gallery",
        }
    }

    /// What it needs of an arm. What a scatter needs is what its columns need.
    pub fn wants(&self) -> Vec<Want> {
        let every = |field, references: &Vec<String>, kinds, optional| Want {
            field,
            references: references.clone(),
            kinds,
            when: When::Every,
            optional,
        };
        match self {
            FigureKind::Lines(lines) => vec![every("metrics", &lines.metrics, &["metrics"], false)],
            FigureKind::Skills(skills) => {
                let mut wants = vec![every("metrics", &skills.metrics, &["metrics"], false)];
                if !skills.subsets.is_empty() {
                    wants.push(every("subsets", &skills.subsets, &["subset"], true));
                }
                wants
            }
            FigureKind::Clusters(clusters) => {
                let when = clusters.step.map_or(When::Last, When::Step);
                let one = |field, reference: &String, kinds| Want {
                    field,
                    references: vec![reference.clone()],
                    kinds,
                    when,
                    optional: false,
                };
                let mut wants = vec![
                    one("clusters", &clusters.clusters, &["clusters"] as &[&str]),
                    one("pool", &clusters.pool, &["pool", "subset"]),
                ];
                wants.extend(clusters.vectors.as_ref().map(|vectors| one("vectors", vectors, &["vectors"])));
                wants
            }
            FigureKind::Scatter(_) => Vec::new(),
            FigureKind::Gallery(gallery) => vec![every("answers", &gallery.answers, &["answers"], false)],
        }
    }
}

/// The arm that results are relative to, and whether they are.
fn relative(kind: &FigureKind) -> (Option<&String>, bool) {
    match kind {
        FigureKind::Lines(Lines { relative_to, value, .. }) | FigureKind::Skills(Skills { relative_to, value, .. }) => {
            (relative_to.as_ref(), *value == Value::RelativeGain)
        }
        _ => (None, false),
    }
}

impl FigureSpec {
    /// Whether it shows an arm.
    pub fn shows(&self, arm: Option<&str>) -> bool {
        self.arms.is_empty() || arm.is_some_and(|arm| self.arms.iter().any(|shown| shown == arm))
    }

    /// Whether it needs what an arm brings: it shows it, or shows others relative to it.
    pub fn needs(&self, arm: Option<&str>) -> bool {
        // A table looks at all of its arms.
        let all = matches!(self.kind, FigureKind::Scatter(_));
        all || self.shows(arm) || arm.is_some_and(|arm| relative(&self.kind).0.is_some_and(|other| other == arm))
    }

    /// Everything that cannot be meant, in an experiment with these arms.
    pub fn mistakes(&self, arms: &[&str]) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut add = |field, index, message: String, hint: Option<String>| {
            mistakes.push(Mistake { field, index, message, hint });
        };
        let file_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        if self.name.is_empty() || !self.name.chars().all(file_name) {
            let hint = Some("use letters, digits, `_` and `-`: it names files".to_string());
            add("name", None, format!("`{}` cannot be the name of a figure", self.name), hint);
        }
        let known = || match arms {
            [] => "the experiment has no arms".to_string(),
            arms => format!("there are {}", ticked_list(arms)),
        };
        for (index, arm) in self.arms.iter().enumerate() {
            if !arms.contains(&arm.as_str()) {
                add("arms", Some(index), format!("no arm `{arm}`"), Some(known()));
            }
        }
        let (relative_to, is_relative) = relative(&self.kind);
        match relative_to {
            Some(arm) if !arms.contains(&arm.as_str()) => {
                add("relative_to", None, format!("no arm `{arm}`"), Some(known()));
            }
            None if is_relative => {
                let hint = Some("name an arm with `relative_to:`".to_string());
                add("value", None, "`relative_gain` needs an arm that results are relative to".to_string(), hint);
            }
            _ => {}
        }
        for want in self.kind.wants() {
            if want.references.is_empty() {
                add(want.field, None, format!("`{}` of the figure is empty", want.field), None);
            }
        }
        mistakes
    }
}
