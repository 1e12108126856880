//! A question of a benchmark and what answers it, in the form that its metric needs.

use std::path::PathBuf;

use crate::artifact::Turn;
use crate::selection::answers::boxes::Frame;
use crate::selection::answers::options::letter;

/// What a model is asked once.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Unique in the suite: `<benchmark>/<id in the file>`.
    pub id: String,
    /// What was said before.
    pub history: Vec<Turn>,
    /// The question, with an `<image>` mark for each image that the history has not.
    pub text: String,
    /// Image files in the order of their marks.
    pub images: Vec<PathBuf>,
    /// What answers it.
    pub expected: Expected,
    /// The groups that results are also given for, each as `<kind>/<group>`.
    pub groups: Vec<String>,
    /// What several questions that are the same but for the order of their options have in common: all of
    /// them must be answered right.
    pub circle: Option<u64>,
    /// Whether it is one of several such questions, and not the first.
    pub rotated: bool,
}

/// What answers a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// This text.
    Text(String),
    /// What ten people answered.
    Annotators(Vec<String>),
    /// The option with this number, counted from 0.
    Option {
        /// Its number.
        right: usize,
        /// The texts of all.
        options: Vec<String>,
    },
    /// Any of these numbers or phrases. Never empty.
    AnyOf(Vec<String>),
    /// Yes or no.
    YesNo(bool),
    /// A part of the image.
    Region(Region),
    /// Something like these captions. Never empty.
    Captions(Vec<String>),
}

/// A box in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left, top, right, bottom, in pixels.
    pub corners: [f64; 4],
    /// Width of the image in pixels.
    pub width: f64,
    /// Height of the image in pixels.
    pub height: f64,
    /// What the coordinates of an answer are shares of.
    pub frame: Frame,
}

impl Expected {
    /// An answer that is right, as a model would put it: of ten people's the commonest, of captions the
    /// first.
    pub fn target(&self) -> String {
        match self {
            Expected::Text(text) => text.clone(),
            Expected::Annotators(answers) => {
                let votes = |answer: &String| answers.iter().filter(|other| *other == answer).count();
                let most = answers.iter().map(votes).max();
                answers.iter().find(|answer| Some(votes(answer)) == most).cloned().unwrap_or_default()
            }
            Expected::Option { right, .. } => letter(*right).to_string(),
            Expected::AnyOf(answers) | Expected::Captions(answers) => answers[0].clone(),
            Expected::YesNo(yes) => String::from(if *yes { "yes" } else { "no" }),
            Expected::Region(region) => region.text(),
        }
    }

    /// What kind it is, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Expected::Text(_) => "one text",
            Expected::Annotators(_) => "the answers of ten people",
            Expected::Option { .. } => "an option",
            Expected::AnyOf(_) => "a number or phrase",
            Expected::YesNo(_) => "yes or no",
            Expected::Region(_) => "a box",
            Expected::Captions(_) => "captions",
        }
    }
}

impl Region {
    /// `[0.12, 0.30, 0.50, 0.95]`: shares with two decimals, as LLaVA's training data has them.
    pub fn text(&self) -> String {
        let [left, top, right, bottom] = self.frame.shares(self.corners, self.width, self.height);
        format!("[{left:.2}, {top:.2}, {right:.2}, {bottom:.2}]")
    }
}

impl Question {
    /// A question without history, groups and circle.
    pub fn new(id: String, text: String, images: Vec<PathBuf>, expected: Expected) -> Question {
        Question { id, history: vec![], text, images, expected, groups: vec![], circle: None, rotated: false }
    }

    /// The same, also counted in these groups.
    pub fn in_groups(mut self, groups: impl IntoIterator<Item = String>) -> Question {
        self.groups.extend(groups);
        self
    }
}
