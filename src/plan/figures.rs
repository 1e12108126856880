//! `figure:` items of a report, and what they need of every arm.

use super::report::{Fields, Known, Place, Want};
use super::tables::Table;
use super::wiring::Wiring;
use crate::report::figure::{
    Clusters, FigureKind, FigureSpec, Gallery, Lines, Projection, Scatter, Shown, Skills, Value as Shows, When,
};
use crate::spec::{Entry, Map, Mark, Node, ProblemKind, Problems, Value};

/// A figure with the places of what it says.
pub(super) struct Figure {
    pub spec: FigureSpec,
    mark: Mark,
    /// Field → the place of the whole and of its items.
    marks: Vec<(&'static str, Vec<Mark>)>,
    /// The table whose columns a scatter shows.
    table: Option<Box<Table>>,
}

/// Keys that every figure can have.
const COMMON: [&str; 4] = ["name", "kind", "title", "arms"];

/// The kinds with their own keys: those that must be there, and those that may.
const KINDS: [(&str, &[&str], &[&str]); 5] = [
    ("lines", &["metrics"], &["value", "relative_to", "skills", "start"]),
    ("skills", &["metrics"], &["value", "relative_to", "start", "subsets"]),
    ("clusters", &["clusters", "pool"], &["vectors", "step", "sweep", "map", "points"]),
    ("scatter", &["x", "y", "metrics"], &[]),
    ("gallery", &["answers"], &["skills", "start", "questions", "pictured"]),
];

/// Points of a map, unless the experiment says otherwise.
const POINTS: usize = 800;
/// Most points of a map: t-SNE compares every pair.
const MOST_POINTS: usize = 1500;
/// Questions of a gallery, unless the experiment says otherwise.
const QUESTIONS: usize = 24;
/// Questions of its picture.
const PICTURED: usize = 4;

impl Figure {
    /// Reads a figure whose key is at `mark` and notes what is wrong with it.
    pub(super) fn read(mark: Mark, node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<Figure> {
        let kind = kind(mark, node, problems)?;
        let (word, required, optional) = KINDS[kind];
        let table = (word == "scatter").then(|| columns_of(mark, node, known, problems));
        let mut keys = [COMMON.as_slice(), required, optional].concat();
        if table.is_some() {
            // What a table of arms can have, a scatter of its columns can have; the table looks at it.
            keys.extend(node.as_map().into_iter().flat_map(Map::keys).map(String::as_str));
        }
        let required = [&["name"], required].concat();
        let fields = Fields::read((mark, node), ("figure", "the figure"), &keys, &required, problems)?;
        let reader = Reader { fields: &fields, mark };
        let name = fields.text("name", problems);
        let title = fields.text("title", problems);
        let shown = fields.one_or_more("arms", problems);
        let (kind, mut marks) = match word {
            "lines" => reader.lines(problems),
            "skills" => reader.skills(problems),
            "clusters" => reader.clusters(problems),
            "scatter" => {
                let table = table.as_ref().and_then(Option::as_ref)?;
                (FigureKind::Scatter(Scatter { table: Box::new(table.spec.clone()) }), Vec::new())
            }
            _ => reader.gallery(problems),
        };
        marks.push(("arms", shown.iter().map(|(_, mark)| *mark).collect()));
        let arms_shown = shown.into_iter().map(|(text, _)| text).collect();
        let figure = Figure {
            spec: FigureSpec { name: name?, title, arms: arms_shown, kind },
            mark,
            marks,
            table: table.flatten().map(Box::new),
        };
        for mistake in figure.spec.mistakes(&known.arms) {
            // What is not there was noted.
            if required.contains(&mistake.field) && !fields.map.contains_key(mistake.field) {
                continue;
            }
            let item = mistake.index.and_then(|index| figure.marks_of(mistake.field).get(index).copied());
            let mark = item.unwrap_or_else(|| fields.mark(mistake.field, mark));
            problems.add(ProblemKind::Table { message: mistake.message, hint: mistake.hint }.at(mark));
        }
        Some(figure)
    }

    /// What the figure needs of an arm, as far as the arm has it; what it lacks is noted.
    pub(super) fn wanted<'a>(&self, wiring: &Wiring<'a>, problems: &mut Problems) -> Vec<Want<'a>> {
        if !self.spec.needs(wiring.arm.name.as_deref()) {
            return Vec::new();
        }
        if let Some(table) = &self.table {
            return table.wanted(wiring, problems);
        }
        let mut wanted = Vec::new();
        for want in self.spec.kind.wants() {
            let written = want.references.iter().zip(self.marks_of(want.field));
            for (reference, mark) in written.filter(|(reference, _)| !reference.is_empty()) {
                let Some((stage, slot)) = reference.split_once('.') else {
                    problems.add(ProblemKind::NotAnOutput(reference.clone()).at(*mark));
                    continue;
                };
                if want.optional && !wiring.stages.iter().any(|wired| wired.name == stage) {
                    continue;
                }
                let (index, slot) = match wiring.output(stage, slot, *mark) {
                    Ok(found) => found,
                    Err(problem) => {
                        problems.add(problem);
                        continue;
                    }
                };
                let output = wiring.stages[index].signature.and_then(|signature| signature.outputs.get(slot));
                if let Some(found) = output.filter(|output| !want.kinds.contains(&output.kind.as_str())) {
                    let kind = ProblemKind::WrongArtifact {
                        slot: format!("`{}` of the figure", want.field),
                        expected: want.kinds.iter().map(ToString::to_string).collect(),
                        reference: reference.clone(),
                        found: found.kind.clone(),
                    };
                    problems.add(kind.at(*mark));
                }
                let place = match want.when {
                    When::Every => Place::Every(index, slot),
                    When::Last => Place::Last(index, slot),
                    When::Step(step) => {
                        let steps = wiring.steps.len();
                        if step > steps && index >= wiring.outside {
                            let (minimum, maximum) = (Some(1.0), Some(steps as f64));
                            let what = "`step` of the figure".to_string();
                            let kind = ProblemKind::OutOfRange { what, value: step as f64, minimum, maximum };
                            problems.add(kind.at(self.marks_of("step").first().copied().unwrap_or(self.mark)));
                        }
                        Place::At(step.clamp(1, steps.max(1)) - 1, index, slot)
                    }
                };
                wanted.push(Want { name: want.field.to_string(), place });
            }
        }
        wanted
    }

    /// Notes what no arm has and some arm must have.
    pub(super) fn check(&self, stages: &[&str], problems: &mut Problems) {
        for want in self.spec.kind.wants().into_iter().filter(|want| want.optional) {
            for (reference, mark) in want.references.iter().zip(self.marks_of(want.field)) {
                let stage = reference.split('.').next().unwrap_or_default();
                if !stages.contains(&stage) {
                    problems.add(ProblemKind::unknown("stage", stage, None, stages).at(*mark));
                }
            }
        }
    }

    fn marks_of(&self, field: &str) -> &[Mark] {
        self.marks.iter().find(|(name, _)| *name == field).map_or(&[], |(_, marks)| marks)
    }
}

/// The place of a kind in [`KINDS`].
fn kind(mark: Mark, node: &Node, problems: &mut Problems) -> Option<usize> {
    let Some(map) = node.as_map() else {
        problems.add(ProblemKind::wrong_type("`figure`", "a map", node).at(node.mark));
        return None;
    };
    let Some(entry) = map.get("kind") else {
        let words: Vec<&str> = KINDS.iter().map(|(word, _, _)| *word).collect();
        let hint = Some(format!("it is one of {}", crate::text::ticked_list(words)));
        let (owner, what) = ("the figure".to_string(), "`kind`".to_string());
        problems.add(ProblemKind::Missing { owner, what, hint }.at(mark));
        return None;
    };
    let fields = Fields { map, owner: "the figure" };
    let words: Vec<(&str, usize)> = KINDS.iter().enumerate().map(|(place, (word, _, _))| (*word, place)).collect();
    if entry.node.is_null() {
        problems.add(ProblemKind::wrong_type("`kind` of the figure", "a text", &entry.node).at(entry.node.mark));
    }
    fields.word("kind", &words, problems)
}

/// The table of arms whose two columns a scatter shows: everything that the figure says, but for what
/// is the figure's own.
fn columns_of(mark: Mark, node: &Node, known: &Known<'_>, problems: &mut Problems) -> Option<Table> {
    let map = node.as_map()?;
    let (x, y) = (map.get("x")?, map.get("y")?);
    let own = |key: &&String| !matches!(key.as_str(), "kind" | "arms" | "x" | "y");
    let mut table: Map = map.keys().filter(own).map(|key| (key.clone(), map[key].clone())).collect();
    let columns = Node::new(x.node.mark, Value::List(vec![x.node.clone(), y.node.clone()]));
    table.insert("columns".to_string(), Entry { key: x.key, node: columns });
    let rows = Node::new(mark, Value::String("arm".to_string()));
    table.insert("rows".to_string(), Entry { key: mark, node: rows });
    Table::read(mark, &Node::new(node.mark, Value::Map(table)), known, problems)
}

/// What the kinds have of their own.
struct Reader<'f> {
    fields: &'f Fields<'f>,
    mark: Mark,
}

type Read = (FigureKind, Vec<(&'static str, Vec<Mark>)>);

impl Reader<'_> {
    fn lines(&self, problems: &mut Problems) -> Read {
        let (metrics, marks) = self.list("metrics", problems);
        let lines = Lines {
            metrics,
            value: self.value(problems),
            relative_to: self.fields.text("relative_to", problems),
            skills: self.shown(problems),
            start: self.fields.text("start", problems),
        };
        (FigureKind::Lines(lines), vec![("metrics", marks)])
    }

    fn skills(&self, problems: &mut Problems) -> Read {
        let (metrics, marks) = self.list("metrics", problems);
        let (subsets, places) = self.list("subsets", problems);
        let relative_to = self.fields.text("relative_to", problems);
        let said = self.fields.node("value").is_some();
        let value = match (said, &relative_to) {
            (false, Some(_)) => Shows::RelativeGain,
            _ => self.value(problems),
        };
        let start = self.fields.text("start", problems);
        let skills = Skills { metrics, relative_to, value, start, subsets };
        (FigureKind::Skills(skills), vec![("metrics", marks), ("subsets", places)])
    }

    fn clusters(&self, problems: &mut Problems) -> Read {
        let text = |key: &str, problems: &mut Problems| self.fields.text(key, problems);
        let maps = [("pca", Projection::Pca), ("tsne", Projection::Tsne)];
        let clusters = Clusters {
            clusters: text("clusters", problems).unwrap_or_default(),
            pool: text("pool", problems).unwrap_or_default(),
            vectors: text("vectors", problems),
            step: self.number("step", 1, 10_000, problems),
            sweep: text("sweep", problems),
            map: self.fields.word("map", &maps, problems).unwrap_or_default(),
            points: self.number("points", 10, MOST_POINTS, problems).unwrap_or(POINTS),
        };
        let one = |key: &'static str| (key, vec![self.fields.mark(key, self.mark)]);
        (FigureKind::Clusters(clusters), ["clusters", "pool", "vectors", "step"].map(one).to_vec())
    }

    fn gallery(&self, problems: &mut Problems) -> Read {
        let (answers, marks) = self.list("answers", problems);
        let gallery = Gallery {
            answers,
            skills: self.shown(problems),
            start: self.fields.text("start", problems),
            questions: self.number("questions", 1, 1000, problems).unwrap_or(QUESTIONS),
            pictured: self.number("pictured", 1, 12, problems).unwrap_or(PICTURED),
        };
        (FigureKind::Gallery(gallery), vec![("answers", marks)])
    }

    fn value(&self, problems: &mut Problems) -> Shows {
        let words = [("accuracy", Shows::Accuracy), ("relative_gain", Shows::RelativeGain)];
        self.fields.word("value", &words, problems).unwrap_or_default()
    }

    /// `skills: all`, or some of them.
    fn shown(&self, problems: &mut Problems) -> Shown {
        match self.fields.node("skills").map(|node| &node.value) {
            None => Shown::Mean,
            Some(Value::String(word)) if word == "all" => Shown::All,
            Some(_) => {
                let named = self.fields.one_or_more("skills", problems);
                Shown::Named(named.into_iter().map(|(text, _)| text).collect())
            }
        }
    }

    fn list(&self, key: &str, problems: &mut Problems) -> (Vec<String>, Vec<Mark>) {
        self.fields.one_or_more(key, problems).into_iter().unzip()
    }

    /// A whole number between two limits.
    fn number(&self, key: &str, least: usize, most: usize, problems: &mut Problems) -> Option<usize> {
        let node = self.fields.node(key)?;
        let what = format!("`{key}` of {}", self.fields.owner);
        let Value::Integer(value) = node.value else {
            problems.add(ProblemKind::wrong_type(what, "a whole number", node).at(node.mark));
            return None;
        };
        match usize::try_from(value).ok().filter(|value| (least..=most).contains(value)) {
            Some(value) => Some(value),
            None => {
                let (minimum, maximum) = (Some(least as f64), Some(most as f64));
                let kind = ProblemKind::OutOfRange { what, value: value as f64, minimum, maximum };
                problems.add(kind.at(node.mark));
                None
            }
        }
    }
}
