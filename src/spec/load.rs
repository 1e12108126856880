//! Reading experiments and suites from files, with everything that they extend.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::patch::{merge, merge_experiment};
use super::source::{Origin, tidy};
use super::{Mark, Node, Problem, ProblemKind, Problems, Value, parse};

/// Reads files, each once, and notes what is wrong with them.
#[derive(Debug)]
pub struct Loader {
    /// What was wrong so far, with the texts.
    pub problems: Problems,
    experiment: PathBuf,
    read: HashMap<PathBuf, Option<Node>>,
}

impl Loader {
    /// A loader for the experiment in a file.
    pub fn new(experiment: &Path) -> Loader {
        Loader { problems: Problems::default(), experiment: tidy(experiment), read: HashMap::new() }
    }

    /// The experiment as a tree, with what it extends merged in.
    ///
    /// # Errors
    ///
    /// If the file itself cannot be read; anything else is noted.
    pub fn experiment(&mut self) -> std::io::Result<Option<Node>> {
        let path = self.experiment.clone();
        let text = fs::read_to_string(&path)?;
        Ok(self.text(&path, text, &[], merge_experiment))
    }

    /// The experiment in a file that `mark` names by `value`.
    pub fn experiment_file(&mut self, value: &str, mark: Mark) -> Option<Node> {
        let path = tidy(&self.problems.sources.directory(mark).join(value));
        self.file(&path, mark, &[], merge_experiment)
    }

    /// The suite that the experiment says: a name, a file or a map, which may extend another.
    pub fn suite(&mut self, said: &Node) -> Option<Node> {
        match &said.value {
            Value::Null => Some(Node::empty_map(said.mark)),
            Value::String(name) => {
                let path = if is_path(name) {
                    tidy(&self.problems.sources.directory(said.mark).join(name))
                } else {
                    self.find_suite(name, said.mark)?
                };
                self.file(&path, said.mark, &[], merge)
            }
            Value::Map(map) => {
                let mut own = map.clone();
                let Some(extended) = own.shift_remove("extends") else { return Some(said.clone()) };
                let mut suite = self.suite(&extended.node)?;
                merge(&mut suite, Node::new(said.mark, Value::Map(own)));
                Some(suite)
            }
            _ => {
                self.problems.add(ProblemKind::wrong_type("`suite`", "a name, a file or a map", said).at(said.mark));
                None
            }
        }
    }

    /// Looks for `suites/<name>.yaml` beside the experiment and in the folders above it.
    fn find_suite(&mut self, name: &str, mark: Mark) -> Option<PathBuf> {
        let beside = self.experiment.parent().unwrap_or(Path::new(""));
        let here = if beside.as_os_str().is_empty() { Path::new(".") } else { beside };
        let absolute = fs::canonicalize(here).unwrap_or_else(|_| here.to_path_buf());
        let goes_up = beside.components().any(|component| component == Component::ParentDir);
        let mut known = Vec::new();
        for (up, folder) in absolute.ancestors().enumerate() {
            // The path as the user would write it, as long as that is possible.
            let relative = if goes_up && up > 0 { None } else { beside.ancestors().nth(up) };
            let shown = relative.unwrap_or(folder);
            let path = shown.join("suites").join(format!("{name}.yaml"));
            if path.is_file() {
                return Some(path);
            }
            known.extend(stems(&folder.join("suites")));
        }
        self.problems.add(ProblemKind::NoSuite { name: name.to_string(), known }.at(mark));
        None
    }

    /// The tree in a file, with what it extends. `open` are the files that extend it, outermost first.
    fn file(&mut self, path: &Path, mark: Mark, open: &[PathBuf], merge: fn(&mut Node, Node)) -> Option<Node> {
        if let Some(start) = open.iter().position(|file| file == path) {
            let cycle = open[start..].iter().map(PathBuf::as_path).chain([path]);
            let cycle = cycle.map(|file| file.display().to_string()).collect();
            self.problems.add(ProblemKind::ExtendsCycle(cycle).at(mark));
            return None;
        }
        if let Some(node) = self.read.get(path) {
            return node.clone();
        }
        match fs::read_to_string(path) {
            Ok(text) => self.text(path, text, open, merge),
            Err(error) => {
                self.problems.add(unreadable(path, &error, mark));
                None
            }
        }
    }

    fn text(&mut self, path: &Path, text: String, open: &[PathBuf], merge: fn(&mut Node, Node)) -> Option<Node> {
        let node = self.tree(path, text, open, merge);
        self.read.insert(path.to_path_buf(), node.clone());
        node
    }

    fn tree(&mut self, path: &Path, text: String, open: &[PathBuf], merge: fn(&mut Node, Node)) -> Option<Node> {
        let source = self.problems.sources.add(Origin::File(path.to_path_buf()), text.clone());
        let mut node = parse::parse(&mut self.problems, source, &text, 1)?;
        let map = match &mut node.value {
            Value::Null => return Some(Node::empty_map(node.mark)),
            Value::Map(map) => map,
            _ => {
                self.problems.add(ProblemKind::wrong_type("the file", "a map", &node).at(node.mark));
                return None;
            }
        };
        let Some(extends) = map.shift_remove("extends") else { return Some(node) };
        let Some(value) = extends.node.as_str() else {
            let kind = ProblemKind::wrong_type("`extends`", "a file", &extends.node);
            self.problems.add(kind.at(extends.node.mark));
            return None;
        };
        let extended = tidy(&path.parent().unwrap_or(Path::new("")).join(value));
        let open: Vec<PathBuf> = open.iter().cloned().chain([path.to_path_buf()]).collect();
        let mut base = self.file(&extended, extends.node.mark, &open, merge)?;
        merge(&mut base, node);
        Some(base)
    }
}

/// Whether the name of an experiment or a suite is a file's.
fn is_path(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// The stems of the YAML files in a folder, sorted.
fn stems(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let name = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".yaml")?.to_string());
    let mut stems: Vec<String> = entries.filter_map(name).collect();
    stems.sort();
    stems
}

fn unreadable(path: &Path, error: &std::io::Error, mark: Mark) -> Problem {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_string(),
        _ => error.to_string(),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let known: Vec<String> = stems(folder).into_iter().map(|stem| format!("{stem}.yaml")).collect();
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let near = crate::text::did_you_mean(&wanted, known.iter().map(String::as_str)).map(str::to_string);
    ProblemKind::Unreadable { path: path.to_path_buf(), reason, near }.at(mark)
}
