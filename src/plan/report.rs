//! The `report:` section: its items, and what each of them needs of every arm.
//!
//! An item is a map with one key, which says what it is; how its fields are read is the business of a
//! module of its own.

use super::figures::Figure;
use super::instance::{Run, Target};
use super::tables::Table;
use super::wiring::Wiring;
use crate::report::ItemSpec;
use crate::spec::{Document, Map, Mark, Node, ProblemKind, Problems, Value, refuse_unknown_keys};

/// The keys of the items that there are.
const ITEMS: [&str; 2] = ["table", "figure"];

/// An item of the report with the places of what it says.
pub(super) enum Item {
    /// `table:`
    Table(Table),
    /// `figure:`
    Figure(Figure),
}

/// What an item needs of an arm.
pub(super) struct Want<'a> {
    /// What the item calls it. Several wants of one name follow each other.
    pub name: String,
    /// Where it is.
    pub place: Place<'a>,
}

/// Where something is that an item needs.
pub(super) enum Place<'a> {
    /// A slot of a stage: at every time step, first to last, if the stage is in the chain.
    Every(usize, &'a str),
    /// A slot of a stage: at the last time step, if the stage is in the chain.
    Last(usize, &'a str),
    /// A slot of a stage: at this time step, counted from 0, if the stage is in the chain.
    At(usize, usize, &'a str),
    /// What the chain carries by this index after the last time step.
    Carried(usize),
}

/// What the items of a report can name.
pub(super) struct Known<'d> {
    /// The arms.
    pub arms: Vec<&'d str>,
    /// The stage kinds that any arm uses.
    pub kinds: Vec<&'d str>,
}

impl<'d> Known<'d> {
    fn of(document: &'d Document) -> Known<'d> {
        let stages = document.arms.iter().flat_map(|arm| {
            let chain = arm.experiment.chain.iter().flat_map(|chain| chain.stages.values());
            arm.experiment.stages.values().chain(chain)
        });
        let mut kinds: Vec<&str> = stages.filter_map(|stage| stage.kind.as_ref()?.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Known { arms: document.arms.iter().filter_map(|arm| arm.name.as_deref()).collect(), kinds }
    }
}

/// Reads the report of an experiment and notes what is wrong with it.
pub(super) fn read(document: &Document, problems: &mut Problems) -> Vec<Item> {
    let Some(report) = document.report.as_ref().filter(|report| !report.is_null()) else { return Vec::new() };
    let report = match document.scope().resolve(report) {
        Ok(report) => report,
        Err(problem) => {
            problems.add(problem);
            return Vec::new();
        }
    };
    let Value::List(nodes) = &report.value else {
        problems.add(ProblemKind::wrong_type("`report`", "a list of tables and figures", &report).at(report.mark));
        return Vec::new();
    };
    let known = Known::of(document);
    let mut items: Vec<Item> = Vec::new();
    for node in nodes {
        let Some(map) = node.as_map() else {
            problems.add(
                ProblemKind::wrong_type("an item of `report`", "`table: {…}` or `figure: {…}`", node).at(node.mark),
            );
            continue;
        };
        refuse_unknown_keys(map, &ITEMS, "`report`", problems);
        for (key, entry) in map {
            let item = match key.as_str() {
                "table" => Table::read(entry.key, &entry.node, &known, problems).map(Item::Table),
                "figure" => Figure::read(entry.key, &entry.node, &known, problems).map(Item::Figure),
                _ => None,
            };
            let Some(item) = item else { continue };
            if items.iter().any(|other| other.name() == item.name()) {
                let message = format!("two items of the report are called `{}`", item.name());
                problems.add(ProblemKind::Table { message, hint: None }.at(entry.key));
            }
            items.push(item);
        }
    }
    items
}

impl Item {
    /// The name of its files.
    fn name(&self) -> &str {
        match self {
            Item::Table(table) => &table.spec.name,
            Item::Figure(figure) => &figure.spec.name,
        }
    }

    /// What it needs of an arm, as far as the arm has it; what the arm lacks is noted.
    pub(super) fn wanted<'a>(&self, wiring: &Wiring<'a>, problems: &mut Problems) -> Vec<Want<'a>> {
        match self {
            Item::Table(table) => table.wanted(wiring, problems),
            Item::Figure(figure) => figure.wanted(wiring, problems),
        }
    }

    /// Notes what none of the arms has, which together have these stages.
    pub(super) fn check(&self, stages: &[&str], problems: &mut Problems) {
        match self {
            Item::Table(_) => {}
            Item::Figure(figure) => figure.check(stages, problems),
        }
    }

    /// What the experiment says of it, without the places.
    pub(super) fn spec(self) -> ItemSpec {
        match self {
            Item::Table(table) => ItemSpec::Table(table.spec),
            Item::Figure(figure) => ItemSpec::Figure(figure.spec),
        }
    }
}

impl<'a> Place<'a> {
    /// The instances and slots of a run that it means, first to last.
    pub(super) fn instances(&self, run: &Run<'_, 'a>) -> Vec<(usize, &'a str)> {
        let last = run.wiring.steps.len().checked_sub(1);
        match self {
            Place::Every(stage, slot) => {
                let steps = if *stage < run.wiring.outside { 1 } else { run.wiring.steps.len() };
                (0..steps).map(|step| (run.place(*stage, Some(step)), *slot)).collect()
            }
            Place::Last(stage, slot) => vec![(run.place(*stage, last), *slot)],
            Place::At(step, stage, slot) => vec![(run.place(*stage, Some(*step)), *slot)],
            Place::Carried(index) => match run.last.get(*index) {
                Some(Some(Target::Instance(instance, slot))) => vec![(*instance, slot)],
                _ => Vec::new(),
            },
        }
    }
}

/// The fields of an item, for reading them with their places.
pub(super) struct Fields<'m> {
    /// The fields.
    pub map: &'m Map,
    /// What has them, such as `the table`.
    pub owner: &'static str,
}

impl<'m> Fields<'m> {
    /// The fields of `node`, which must be a map of `known` keys with all that are `required`. `mark`
    /// is where the item begins.
    pub(super) fn read(
        (mark, node): (Mark, &'m Node),
        (name, owner): (&str, &'static str),
        known: &[&str],
        required: &[&str],
        problems: &mut Problems,
    ) -> Option<Fields<'m>> {
        let Some(map) = node.as_map() else {
            problems.add(ProblemKind::wrong_type(format!("`{name}`"), "a map", node).at(node.mark));
            return None;
        };
        refuse_unknown_keys(map, known, owner, problems);
        for key in required.iter().filter(|key| !map.contains_key(**key)) {
            let (owner, what) = (owner.to_string(), format!("`{key}`"));
            problems.add(ProblemKind::Missing { owner, what, hint: None }.at(mark));
        }
        Some(Fields { map, owner })
    }

    /// A field that is there and not null.
    pub(super) fn node(&self, key: &str) -> Option<&'m Node> {
        self.map.get(key).map(|entry| &entry.node).filter(|node| !node.is_null())
    }

    /// The place of a field, or `otherwise`.
    pub(super) fn mark(&self, key: &str, otherwise: Mark) -> Mark {
        self.map.get(key).map_or(otherwise, |entry| entry.node.mark)
    }

    /// A text.
    pub(super) fn text(&self, key: &str, problems: &mut Problems) -> Option<String> {
        let node = self.node(key)?;
        if node.as_str().is_none() {
            problems.add(ProblemKind::wrong_type(self.field(key), "a text", node).at(node.mark));
        }
        node.as_str().map(str::to_string)
    }

    /// One of several words, as what it means.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let value = self.text(key, problems)?;
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let values = words.iter().map(|(word, _)| word.to_string()).collect();
            problems.add(ProblemKind::NotAChoice { what: self.field(key), value, values }.at(self.node(key)?.mark));
        }
        found
    }

    /// A list of texts with their places.
    pub(super) fn texts(&self, key: &str, problems: &mut Problems) -> Option<Vec<(String, Mark)>> {
        let node = &self.map.get(key)?.node;
        let Value::List(items) = &node.value else {
            problems.add(ProblemKind::wrong_type(self.field(key), "a list", node).at(node.mark));
            return None;
        };
        Some(self.items(key, items, problems))
    }

    /// A text or a list of texts, with their places; none where the field is absent or null.
    pub(super) fn one_or_more(&self, key: &str, problems: &mut Problems) -> Vec<(String, Mark)> {
        match self.node(key) {
            None => Vec::new(),
            Some(node) => match &node.value {
                Value::List(items) => self.items(key, items, problems),
                Value::String(text) => vec![(text.clone(), node.mark)],
                _ => {
                    let kind = ProblemKind::wrong_type(self.field(key), "a text or a list of texts", node);
                    problems.add(kind.at(node.mark));
                    Vec::new()
                }
            },
        }
    }

    fn items(&self, key: &str, items: &[Node], problems: &mut Problems) -> Vec<(String, Mark)> {
        let mut texts = Vec::new();
        for item in items {
            match item.as_str() {
                Some(text) => texts.push((text.to_string(), item.mark)),
                None => {
                    let kind = ProblemKind::wrong_type(format!("an item of `{key}`"), "a text", item);
                    problems.add(kind.at(item.mark));
                }
            }
        }
        texts
    }

    fn field(&self, key: &str) -> String {
        format!("`{key}` of {}", self.owner)
    }
}
