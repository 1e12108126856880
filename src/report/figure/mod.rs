//! Figures: what an experiment says of them, how they are drawn, and the numbers beside them.
//!
//! A figure is made in three steps: the kind ([`lines`], [`skills`], [`clusters`], [`scatter`],
//! [`gallery`]) turns what the runs brought into [`Numbers`] and into a [`Scene`] of simple shapes, and
//! a scene is written as SVG and as PNG. All letters come from fonts that are part of the program, so
//! that equal numbers give equal bytes on every machine. Unaware of where numbers come from.

mod chart;
mod clusters;
mod font;
mod gallery;
mod history;
mod lines;
mod numbers;
mod page;
mod palette;
mod png;
mod scatter;
mod scene;
mod skills;
mod spec;
mod svg;

pub use clusters::{Clustering, Tried};
pub use gallery::{Asked, Picture, Told, choose};
pub use history::History;
pub use numbers::Numbers;
pub use scene::Scene;
pub use skills::Choices;
pub use spec::{
    Clusters, FigureKind, FigureSpec, Gallery, Lines, Projection, Scatter, Shown, Skills, Value, Want, When,
};

/// The figure of each kind.
pub mod draw {
    pub use super::clusters::build as clusters;
    pub use super::gallery::build as gallery;
    pub use super::lines::build as lines;
    pub use super::scatter::build as scatter;
    pub use super::skills::build as skills;
}

use crate::text::{count, did_you_mean, ticked_list};

/// A figure with everything that is written of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Name of the files that it is written to.
    pub name: String,
    /// Headline.
    pub title: String,
    /// What kind it is.
    pub kind: &'static str,
    /// What it shows.
    pub numbers: Numbers,
    /// How it looks.
    pub scene: Scene,
    /// The same and more as a page of its own.
    pub page: Option<String>,
}

/// Why there is no figure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FigureError {
    /// There is nothing to show.
    #[error("figure `{0}` has no results")]
    NoResults(String),
    /// Runs or time steps cannot be compared.
    #[error("arm `{0}` has other benchmarks than the first arm at its start")]
    OtherBenchmarks(String),
    /// The arm that others are compared with was not run with the same seed.
    #[error("arm `{run}` cannot be compared with arm `{arm}`, which has no run with the same seed")]
    NoReference {
        /// Which run.
        run: String,
        /// The arm named in `relative_to`.
        arm: String,
    },
    /// A skill that no benchmark has.
    #[error("no benchmark has the skill `{skill}`; {hint}")]
    UnknownSkill {
        /// The skill.
        skill: String,
        /// What was perhaps meant.
        hint: String,
    },
    /// Artifacts that do not belong together.
    #[error("{0}")]
    Mismatch(String),
}

impl Figure {
    fn new(spec: &FigureSpec, title: &str, numbers: Numbers, scene: Scene) -> Figure {
        let (name, kind) = (spec.name.clone(), spec.kind.word());
        Figure { name, title: title.to_string(), kind, numbers, scene, page: None }
    }

    /// What a terminal shows of it.
    pub fn to_text(&self) -> String {
        format!("{}\n\n(a figure of {}, with {})", self.title, self.kind, count(self.numbers.rows.len(), "row"))
    }

    /// What a program reads of it: its numbers.
    pub fn to_json(&self) -> serde_json::Value {
        let rows: Vec<serde_json::Value> = self.numbers.rows.iter().map(|row| self.numbers.to_json(row)).collect();
        serde_json::json!({"name": self.name, "title": self.title, "kind": self.kind, "numbers": rows})
    }
}

/// The skills of these names, each of which must be known.
fn check_skills<'n>(names: &'n [String], known: &[String]) -> Result<Vec<&'n str>, FigureError> {
    let check = |name: &'n String| match known.contains(name) {
        true => Ok(name.as_str()),
        false => {
            let near = did_you_mean(name, known.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", ticked_list(known)),
            };
            Err(FigureError::UnknownSkill { skill: name.clone(), hint })
        }
    };
    names.iter().map(check).collect()
}

/// A value in words with its unit, and how far a mean of it may be from the golden.
fn value_words(value: Value, relative_to: Option<&str>) -> (&'static str, f64) {
    match (value, relative_to) {
        (Value::RelativeGain, Some(_)) => ("relative gain (%)", 5.0),
        _ => ("accuracy (%)", 2.0),
    }
}

#[cfg(test)]
mod tests;
