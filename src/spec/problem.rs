//! What can be wrong with an experiment: a place around a kind.

use std::path::PathBuf;

use super::{Mark, Sources};
use crate::text::{did_you_mean, ticked_list};

/// Something wrong at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Where.
    pub mark: Mark,
    /// What.
    pub kind: Box<ProblemKind>,
    /// Other places that have to do with it, each with what it is.
    pub related: Vec<(Mark, &'static str)>,
    /// The arm that has the problem, where others do not.
    pub arm: Option<String>,
}

/// Everything that is wrong with an experiment, with the texts to show it in.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// The texts that were read.
    pub sources: Sources,
    /// The problems, by place.
    pub list: Vec<Problem>,
}

/// What is wrong. Messages are lowercase fragments; [`ProblemKind::hint`] says how to mend it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProblemKind {
    /// The text is not YAML.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
        /// How to mend it, where the reason is known.
        hint: Option<&'static str>,
    },
    /// Lists and maps inside each other.
    #[error("more than {limit} levels of lists and maps inside each other")]
    TooDeep {
        /// The most that is read.
        limit: usize,
    },
    /// Aliases or references that multiply.
    #[error("more than {limit} values when {what} are expanded")]
    TooLarge {
        /// What multiplies.
        what: &'static str,
        /// The most that is read.
        limit: usize,
    },
    /// A key that is in a map twice.
    #[error("duplicate key `{0}`")]
    DuplicateKey(String),
    /// A file that an experiment names and that cannot be read.
    #[error("cannot read `{}`: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
        /// A file that was perhaps meant.
        near: Option<String>,
    },
    /// Files that extend each other, from one back to itself.
    #[error("files extend each other in a circle: {}", arrows(.0))]
    ExtendsCycle(Vec<String>),
    /// No suite has this name.
    #[error("no suite `{name}`")]
    NoSuite {
        /// The name.
        name: String,
        /// The suites that there are.
        known: Vec<String>,
    },
    /// A name that nothing has.
    #[error("unknown {noun} `{name}`{}", owner.as_ref().map_or(String::new(), |owner| format!(" of {owner}")))]
    Unknown {
        /// What it should be the name of.
        noun: &'static str,
        /// The name.
        name: String,
        /// What should have it, with ticks where they belong.
        owner: Option<String>,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A name that means something else.
    #[error("`{name}` cannot be the name of {noun}")]
    BadName {
        /// What it should name.
        noun: &'static str,
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A value of another type.
    #[error("{what} must be {expected}, not {found}")]
    WrongType {
        /// Whose value it is.
        what: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A number beyond its limits.
    #[error("{what} must be {}, not {value}", limits(*minimum, *maximum))]
    OutOfRange {
        /// Whose value it is.
        what: String,
        /// The number.
        value: f64,
        /// The least that is allowed.
        minimum: Option<f64>,
        /// The most that is allowed.
        maximum: Option<f64>,
    },
    /// A word that is none of those allowed.
    #[error("{what} cannot be `{value}`")]
    NotAChoice {
        /// Whose value it is.
        what: String,
        /// The word.
        value: String,
        /// What is allowed.
        values: Vec<String>,
    },
    /// Something that must be there and is not.
    #[error("{owner} lacks {what}")]
    Missing {
        /// What lacks it.
        owner: String,
        /// What is missing.
        what: String,
        /// How to add it.
        hint: Option<String>,
    },
    /// A `${…}` that cannot be read.
    #[error("`{0}` is not a reference")]
    MalformedReference(String),
    /// A `${…}` that leads to nothing.
    #[error("`${{{reference}}}` refers to nothing")]
    UnknownReference {
        /// The path between the braces.
        reference: String,
        /// The part that is not there.
        segment: String,
        /// What is there instead.
        known: Vec<String>,
    },
    /// References that lead back to themselves.
    #[error("references lead back to themselves: {}", arrows(.0))]
    ReferenceCycle(Vec<String>),
    /// A list or map inside a text.
    #[error("`${{{reference}}}` is {found}, which cannot stand inside a text")]
    NotText {
        /// The path between the braces.
        reference: String,
        /// What it is.
        found: String,
    },
    /// An input that names no output.
    #[error("`{0}` does not name an output")]
    NotAnOutput(String),
    /// A stage that can only be seen from inside the chain.
    #[error("`{reference}` is inside the chain and cannot be read from outside it")]
    InsideChain {
        /// The reference.
        reference: String,
    },
    /// An artifact that does not fit a slot.
    #[error("{slot} takes {}, but `{reference}` is a `{found}`", ticked_list(expected))]
    WrongArtifact {
        /// The slot, with its stage.
        slot: String,
        /// The artifact kinds that fit.
        expected: Vec<String>,
        /// What is wired to it.
        reference: String,
        /// Its artifact kind.
        found: String,
    },
    /// Stages that need each other.
    #[error("stages need each other: {}", arrows(.0))]
    StageCycle(Vec<String>),
    /// A chain over nothing.
    #[error("the chain has no steps: `over` is an empty list")]
    EmptyChain,
    /// Something in a table that cannot be meant.
    #[error("{message}")]
    Table {
        /// What.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },
    /// A file or directory outside the store that cannot be used.
    #[error("{what}: {reason}")]
    External {
        /// Whose value it is.
        what: String,
        /// Why.
        reason: String,
        /// How to mend it, where there is something to say.
        hint: Option<String>,
    },
    /// A part of the experiment that a patch cannot change.
    #[error("an arm cannot change `{0}`")]
    NotPatchable(String),
    /// A patch whose key says too little or too much.
    #[error("`{key}` does not say what to change")]
    BadPatch {
        /// The key.
        key: String,
        /// How to say it.
        hint: String,
    },
}

impl ProblemKind {
    /// How to mend it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ProblemKind::Syntax { hint, .. } => hint.map(str::to_string),
            ProblemKind::Unreadable { near, .. } => near.as_ref().map(|near| format!("did you mean `{near}`?")),
            ProblemKind::NoSuite { name, known } => {
                let all = match known.is_empty() {
                    true => "a suite is a file `suites/<name>.yaml` beside the experiment or above it".to_string(),
                    false => listed(known),
                };
                Some(meant(name, known).unwrap_or(all))
            }
            ProblemKind::Unknown { name, known, .. } => meant_or_listed(name, known),
            ProblemKind::UnknownReference { segment, known, .. } => meant_or_listed(segment, known),
            ProblemKind::NotAChoice { value, values, .. } => meant_or_listed(value, values),
            ProblemKind::BadName { reason, .. } => Some(reason.to_string()),
            ProblemKind::Missing { hint, .. }
            | ProblemKind::Table { hint, .. }
            | ProblemKind::External { hint, .. } => hint.clone(),
            ProblemKind::MalformedReference(_) => {
                Some("write `${name.name}`, or `$${` for a text that is no reference".to_string())
            }
            ProblemKind::NotAnOutput(_) => {
                Some("write `stage.slot`, or `{path: …}` for an artifact directory outside the store".to_string())
            }
            ProblemKind::InsideChain { .. } => {
                Some("a chain stage has an output for every step; move the reader into the chain".to_string())
            }
            ProblemKind::WrongType { expected, found, .. }
                if expected == "a text" && found.starts_with("the number") =>
            {
                Some("put quotes around it".to_string())
            }
            ProblemKind::NotPatchable(_) => {
                Some("arms change `params`, `suite`, `stages` and `chain`; this belongs to the experiment".to_string())
            }
            ProblemKind::BadPatch { hint, .. } => Some(hint.clone()),
            _ => None,
        }
    }

    /// A value of another type.
    pub fn wrong_type(what: impl Into<String>, expected: impl Into<String>, found: &super::Node) -> ProblemKind {
        ProblemKind::WrongType { what: what.into(), expected: expected.into(), found: found.describe() }
    }

    /// A name that nothing has.
    pub fn unknown<S: AsRef<str>>(
        noun: &'static str,
        name: &str,
        owner: Option<String>,
        known: impl IntoIterator<Item = S>,
    ) -> ProblemKind {
        let known = known.into_iter().map(|known| known.as_ref().to_string()).collect();
        ProblemKind::Unknown { noun, name: name.to_string(), owner, known }
    }

    /// The same at a place.
    pub fn at(self, mark: Mark) -> Problem {
        Problem { mark, kind: Box::new(self), related: Vec::new(), arm: None }
    }
}

impl Problem {
    /// The same with another place that has to do with it.
    pub fn related(mut self, mark: Mark, what: &'static str) -> Problem {
        if mark != self.mark {
            self.related.push((mark, what));
        }
        self
    }
}

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Notes the problems of another experiment; those of a file that both extend only once.
    pub fn extend(&mut self, other: Problems) {
        let shift = self.sources.append(other.sources);
        for mut problem in other.list {
            problem.mark = shift(problem.mark);
            problem.related.iter_mut().for_each(|(mark, _)| *mark = shift(*mark));
            let place = |problem: &Problem| {
                let mark = problem.mark;
                (&self.sources.get(mark.source).origin, mark.line, mark.column)
            };
            let known = self.list.iter().any(|known| place(known) == place(&problem) && known.kind == problem.kind);
            if !known {
                self.list.push(problem);
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts the problems in order, each once, and names the arm only for those that not all of the
    /// `arms` have.
    pub fn tidy(mut self, arms: usize) -> Problems {
        let mut tidied: Vec<(Problem, usize)> = Vec::new();
        let place = |problem: &Problem| (problem.mark, problem.kind.to_string());
        self.list.sort_by_cached_key(place);
        for problem in self.list {
            match tidied.last_mut() {
                Some((last, times)) if last.mark == problem.mark && last.kind == problem.kind => {
                    *times += usize::from(last.arm != problem.arm);
                }
                _ => tidied.push((problem, 1)),
            }
        }
        let finish = |(mut problem, times): (Problem, usize)| {
            if times >= arms {
                problem.arm = None;
            }
            problem
        };
        self.list = tidied.into_iter().map(finish).collect();
        self
    }
}

/// `a → b → a`.
fn arrows(names: &[String]) -> String {
    let ticked: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    ticked.join(" → ")
}

/// `at least 1`, `at most 5`, `between 0 and 1`.
fn limits(minimum: Option<f64>, maximum: Option<f64>) -> String {
    match (minimum, maximum) {
        (Some(minimum), Some(maximum)) => format!("between {minimum} and {maximum}"),
        (Some(minimum), None) => format!("at least {minimum}"),
        (None, Some(maximum)) => format!("at most {maximum}"),
        (None, None) => "finite".to_string(),
    }
}

fn meant(word: &str, known: &[String]) -> Option<String> {
    did_you_mean(word, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"))
}

fn meant_or_listed(word: &str, known: &[String]) -> Option<String> {
    meant(word, known).or_else(|| (!known.is_empty()).then(|| listed(known)))
}

/// `there is `a``, `there are `a` and `b``.
fn listed(known: &[String]) -> String {
    let verb = if known.len() == 1 { "is" } else { "are" };
    format!("there {verb} {}", ticked_list(known))
}
