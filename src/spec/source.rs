//! Where a piece of an experiment was written.

use std::path::{Component, Path, PathBuf};

/// The place of a key or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The text that it is in.
    pub source: SourceIndex,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// How many characters of the line it takes.
    pub width: u32,
}

/// The place of a text in its [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceIndex(u32);

/// A text that a part of an experiment was read from.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// The file, or the command line option.
    pub origin: Origin,
    /// The whole text.
    pub text: String,
}

/// What holds a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, by the path that led to it.
    File(PathBuf),
    /// A command line option, such as `--set`.
    Option(&'static str),
}

/// All texts that were read for an experiment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    texts: Vec<SourceText>,
}

impl Sources {
    /// Keeps a text.
    pub fn add(&mut self, origin: Origin, text: String) -> SourceIndex {
        self.texts.push(SourceText { origin, text });
        SourceIndex(self.texts.len() as u32 - 1)
    }

    /// Keeps the texts of another experiment, and returns how marks in them are changed by that.
    pub(super) fn append(&mut self, other: Sources) -> impl Fn(Mark) -> Mark + use<> {
        let before = self.texts.len() as u32;
        self.texts.extend(other.texts);
        move |mark| Mark { source: SourceIndex(mark.source.0 + before), ..mark }
    }

    /// The text with this index.
    pub fn get(&self, index: SourceIndex) -> &SourceText {
        &self.texts[index.0 as usize]
    }

    /// The directory that relative paths written at `mark` start from: the file's own, or the
    /// current one for the command line.
    pub fn directory(&self, mark: Mark) -> &Path {
        match &self.get(mark.source).origin {
            Origin::File(path) => path.parent().unwrap_or(Path::new("")),
            Origin::Option(_) => Path::new(""),
        }
    }
}

impl SourceIndex {
    /// The first character of the text.
    pub fn start(self) -> Mark {
        Mark { source: self, line: 1, column: 1, width: 1 }
    }
}

/// `path` without `.`, and without `..` after a name, for people and for comparisons.
pub fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(tidied.components().next_back(), Some(Component::Normal(_))) => {
                tidied.pop();
            }
            other => tidied.push(other),
        }
    }
    tidied
}
