//! A whole experiment: its arms, each as a tree of its own, its seeds and its report.

use std::path::Path;

use super::experiment::{KEYS, map, refuse_unknown_keys};
use super::load::Loader;
use super::patch::{expand, merge, merge_experiment};
use super::source::Origin;
use super::{Experiment, Map, Mark, Node, ProblemKind, Problems, Scope, Value, parse};

/// What the command line changes.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `key=value`, each a patch whose value is YAML.
    pub set: Vec<String>,
    /// The suite.
    pub suite: Option<String>,
    /// A number of seeds, or seeds with commas between them.
    pub seeds: Option<String>,
}

/// An experiment, read.
#[derive(Debug)]
pub struct Document {
    /// The file's stem.
    pub name: String,
    /// Where the experiment begins.
    pub mark: Mark,
    /// The headline, not resolved.
    pub title: Option<Node>,
    /// The variants to plan; one without a name where the experiment has no arms.
    pub arms: Vec<Arm>,
    /// The replicates; none where the experiment does not say.
    pub seeds: Vec<u64>,
    /// The `report:` section.
    pub report: Option<Node>,
    /// The params and the suite of the experiment itself, for its title.
    pub params: Node,
    /// See `params`.
    pub suite: Node,
}

/// One variant of an experiment.
#[derive(Debug)]
pub struct Arm {
    /// Its name, if the experiment has arms.
    pub name: Option<String>,
    /// Where it is said.
    pub mark: Mark,
    /// What it runs.
    pub experiment: Experiment,
    /// What references starting with `suite` refer to.
    pub suite: Node,
}

impl Document {
    /// What references in the title and the report can refer to.
    pub fn scope(&self) -> Scope<'_> {
        let (suite, params) = (Some(&self.suite), &self.params);
        Scope { suite, params, variable: None, seed: None, step: None, arm: None }
    }
}

const BY_ARM: [&str; 5] = ["params", "suite", "execution", "stages", "chain"];
const BY_COMMAND_LINE: [&str; 8] = ["params", "suite", "execution", "stages", "chain", "seeds", "title", "report"];

/// An arm before it is read: its name, its place and its tree.
struct Variant {
    name: Option<String>,
    mark: Mark,
    tree: Node,
}

/// Reads the experiment in a file. What is wrong with it is in the loader; `None` if that leaves
/// nothing to work with.
///
/// # Errors
///
/// If the file itself cannot be read.
pub fn read(path: &Path, overrides: &Overrides) -> std::io::Result<(Option<Document>, Problems)> {
    let mut loader = Loader::new(path);
    let Some(mut root) = loader.experiment()? else { return Ok((None, loader.problems)) };
    let options = options(overrides, &mut loader.problems);
    if let Some(entries) = root.as_map() {
        refuse_unknown_keys(entries, &KEYS, "the experiment", &mut loader.problems);
    }
    let variants = matrix(&root, arms(&root, &mut loader), &mut loader.problems);
    let variants: Vec<Variant> = variants
        .into_iter()
        .map(|mut variant| {
            apply(&mut variant.tree, &options, &BY_COMMAND_LINE, &mut loader.problems);
            variant
        })
        .collect();
    // The experiment's own tree gives the title, the seeds and the report; a stage that only an arm
    // has is no mistake here, and was reported above if no arm has it.
    let mut ignored = Problems::default();
    apply(&mut root, &options, &BY_COMMAND_LINE, &mut ignored);

    let section = |key: &str| root.get(key).map(|entry| entry.node.clone());
    let seeds = root.get("seeds").map(|entry| seeds(&entry.node, &mut loader.problems)).unwrap_or_default();
    let suite = section("suite").unwrap_or_else(|| Node::empty_map(root.mark));
    let suite = loader.suite(&suite).unwrap_or_else(|| Node::empty_map(root.mark));
    let mut read = Vec::new();
    for Variant { name, mark, tree } in variants {
        let before = loader.problems.list.len();
        let experiment = Experiment::read(&tree, &mut loader.problems);
        let said = tree.get("suite").map(|entry| entry.node.clone());
        let suite = said.and_then(|said| loader.suite(&said)).unwrap_or_else(|| Node::empty_map(mark));
        for problem in &mut loader.problems.list[before..] {
            problem.arm = name.clone();
        }
        read.push(Arm { name, mark, experiment, suite });
    }
    let document = Document {
        name: name(path),
        mark: root.mark,
        title: section("title"),
        arms: read,
        seeds,
        report: section("report"),
        params: section("params").unwrap_or_else(|| Node::empty_map(root.mark)),
        suite,
    };
    Ok((Some(document), loader.problems))
}

/// The arms of the experiment; itself, if it has none.
fn arms(root: &Node, loader: &mut Loader) -> Vec<Variant> {
    let Some(entry) = root.get("arms").filter(|entry| !entry.node.is_null()) else {
        return vec![Variant { name: None, mark: root.mark, tree: root.clone() }];
    };
    let mut variants = Vec::new();
    for (name, entry) in map("`arms`", &entry.node, &mut loader.problems) {
        if name.is_empty() || name.contains('/') {
            let kind = ProblemKind::BadName { noun: "an arm", name: name.clone(), reason: "it needs one, without `/`" };
            loader.problems.add(kind.at(entry.key));
        }
        let mut tree = root.clone();
        match &entry.node.value {
            Value::Null => {}
            Value::Map(patch) => {
                let mut patch = patch.clone();
                let file = patch.shift_remove("extends");
                if file.is_none_or(|file| replace_by_file(&mut tree, &file.node, &name, loader)) {
                    merge_patch(&mut tree, &patch, &BY_ARM, &mut loader.problems);
                }
            }
            Value::String(_) => {
                replace_by_file(&mut tree, &entry.node, &name, loader);
            }
            _ => {
                let kind = ProblemKind::wrong_type(format!("arm `{name}`"), "a map of changes or a file", &entry.node);
                loader.problems.add(kind.at(entry.node.mark));
            }
        }
        variants.push(Variant { name: Some(name), mark: entry.key, tree });
    }
    if variants.is_empty() && loader.problems.is_empty() {
        let hint = Some("remove `arms`, or name some".to_string());
        let missing = ProblemKind::Missing { owner: "`arms`".to_string(), what: "arms".to_string(), hint };
        loader.problems.add(missing.at(entry.key));
    }
    variants
}

/// Puts what another experiment runs in the place of what `tree` runs. Whether there is such a file; if not,
/// that is noted.
fn replace_by_file(tree: &mut Node, file: &Node, arm: &str, loader: &mut Loader) -> bool {
    let Some(path) = file.as_str() else {
        let kind = ProblemKind::wrong_type(format!("`extends` of arm `{arm}`"), "a file", file);
        loader.problems.add(kind.at(file.mark));
        return false;
    };
    let Some(mut other) = loader.experiment_file(path, file.mark) else { return false };
    if let (Value::Map(own), Value::Map(other)) = (&mut tree.value, &mut other.value) {
        refuse_unknown_keys(other, &KEYS, "the experiment", &mut loader.problems);
        for section in ["params", "stages", "chain"] {
            own.shift_remove(section);
            own.extend(other.shift_remove_entry(section));
        }
        // How stages run is no part of what an arm is: what this experiment says of it holds for all arms.
        if let Some((name, mut entry)) = other.shift_remove_entry("execution") {
            if let Some(over) = own.shift_remove("execution") {
                merge(&mut entry.node, over.node);
            }
            own.insert(name, entry);
        }
    }
    true
}

/// Every variant with every combination of the values in `matrix:`.
fn matrix(root: &Node, mut variants: Vec<Variant>, problems: &mut Problems) -> Vec<Variant> {
    let Some(entry) = root.get("matrix") else { return variants };
    for (key, entry) in map("`matrix`", &entry.node, problems) {
        let Value::List(values) = &entry.node.value else {
            let kind = ProblemKind::wrong_type(format!("`{key}` in `matrix`"), "a list of values", &entry.node);
            problems.add(kind.at(entry.node.mark));
            continue;
        };
        if values.is_empty() {
            let (owner, what) = (format!("`{key}` in `matrix`"), "values".to_string());
            problems.add(ProblemKind::Missing { owner, what, hint: None }.at(entry.node.mark));
        }
        let mut product = Vec::with_capacity(variants.len() * values.len());
        for variant in variants {
            for value in values {
                let cell = format!("{key}={}", label(value));
                let name = variant.name.as_ref().map_or(cell.clone(), |name| format!("{name}, {cell}"));
                let mut tree = variant.tree.clone();
                let patch = Map::from([(key.clone(), super::Entry { key: entry.key, node: value.clone() })]);
                merge_patch(&mut tree, &patch, &BY_ARM, problems);
                product.push(Variant { name: Some(name.replace('/', "∕")), mark: value.mark, tree });
            }
        }
        variants = product;
    }
    variants
}

/// A value in the name of an arm.
fn label(value: &Node) -> String {
    match value.as_str() {
        Some(text) => text.to_string(),
        None => value.to_json().to_string(),
    }
}

fn merge_patch(tree: &mut Node, patch: &Map, allowed: &[&str], problems: &mut Problems) {
    let expanded = expand(patch, tree, allowed, problems);
    merge_experiment(tree, expanded);
}

fn apply(tree: &mut Node, options: &[Map], allowed: &[&str], problems: &mut Problems) {
    for option in options {
        merge_patch(tree, option, allowed, problems);
    }
}

/// The patches of the command line.
fn options(overrides: &Overrides, problems: &mut Problems) -> Vec<Map> {
    let mut patches = Vec::new();
    let mut add = |option: &'static str, key: Option<&str>, text: &str| {
        let source = problems.sources.add(Origin::Option(option), text.to_string());
        let (key, value, column) = match (key, text.split_once('=')) {
            (Some(key), _) => (key, text, 1),
            (None, Some((key, value))) => (key.trim(), value, key.chars().count() as u32 + 2),
            (None, None) => {
                let hint = "write `--set key=value`".to_string();
                let mark = Mark { width: text.chars().count().max(1) as u32, ..source.start() };
                problems.add(ProblemKind::BadPatch { key: text.to_string(), hint }.at(mark));
                return;
            }
        };
        let mark = Mark { width: key.chars().count().max(1) as u32, ..source.start() };
        // Several seeds are a list that the shell need not quote.
        let list = format!("[{value}]");
        let (value, column) = if option == "--seeds" && value.contains(',') { (&*list, 1) } else { (value, column) };
        if let Some(node) = parse::parse(problems, source, value, column) {
            patches.push(Map::from([(key.to_string(), super::Entry { key: mark, node })]));
        }
    };
    if let Some(suite) = &overrides.suite {
        add("--suite", Some("suite"), suite);
    }
    if let Some(seeds) = &overrides.seeds {
        add("--seeds", Some("seeds"), seeds);
    }
    for text in &overrides.set {
        add("--set", None, text);
    }
    patches
}

/// A list of seeds, or how many.
fn seeds(node: &Node, problems: &mut Problems) -> Vec<u64> {
    const MOST: i64 = 10_000;
    let mut wrong = |node: &Node, expected: &str| {
        problems.add(ProblemKind::wrong_type("`seeds`", expected, node).at(node.mark));
    };
    match &node.value {
        Value::Null => Vec::new(),
        Value::Integer(count) if (1..=MOST).contains(count) => (0..*count as u64).collect(),
        Value::List(items) if !items.is_empty() => {
            let mut seeds = Vec::new();
            for item in items {
                match item.value {
                    Value::Integer(seed) if seed >= 0 && !seeds.contains(&(seed as u64)) => seeds.push(seed as u64),
                    _ => wrong(item, "a list of different whole numbers from 0 up"),
                }
            }
            seeds
        }
        _ => {
            wrong(node, "a list of seeds, or how many from 1 to 10000");
            Vec::new()
        }
    }
}

/// What the experiment in a file is called.
pub fn name(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
