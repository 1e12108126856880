//! Text to nodes. serde_yaml says what every value is; an event parser, which sees the text first,
//! says where it is, and refuses what would be dangerous to expand.

use std::collections::HashMap;
use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Entry, Map, Mark, Node, Problem, ProblemKind, Problems, SourceIndex, Value};

/// Lists and maps inside each other.
const DEEPEST: usize = 64;
/// Values after aliases are expanded.
const MOST: usize = 1_000_000;

/// Reads the text of `source`. Its first line starts at `column` of the line that is shown (1 for a
/// file). Problems are noted; `None` if they leave nothing to work with.
pub(super) fn parse(problems: &mut Problems, source: SourceIndex, text: &str, column: u32) -> Option<Node> {
    let places = match Scan::new(source, column).scan(text, problems) {
        Ok(places) => places,
        Err(problem) => {
            problems.add(problem);
            return None;
        }
    };
    let Some(places) = places else {
        return Some(Node::new(Mark { column, ..source.start() }, Value::Null));
    };
    match Seed(&places).deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(node) => Some(node),
        Err(error) => {
            let mark = match error.location() {
                Some(at) => Mark { source, line: at.line() as u32, column: at.column() as u32, width: 1 },
                None => places.mark,
            };
            problems.add(syntax(error.to_string(), text, mark));
            None
        }
    }
}

/// Where a value is, and where its parts are.
#[derive(Clone)]
struct Places {
    mark: Mark,
    /// Values in it, itself included.
    size: usize,
    parts: Parts,
}

#[derive(Clone)]
enum Parts {
    Scalar,
    List(Vec<Places>),
    Map(Vec<Key>),
}

#[derive(Clone)]
struct Key {
    name: String,
    mark: Mark,
    /// Whether it is `<<` without quotes.
    merges: bool,
    value: Places,
}

/// A list or map that is not closed yet.
struct Open {
    mark: Mark,
    anchor: usize,
    parts: Parts,
    key: Option<(String, Mark, bool)>,
}

/// Finds the places, event by event, without recursion.
struct Scan {
    source: SourceIndex,
    column: u32,
    open: Vec<Open>,
    anchors: HashMap<usize, Places>,
    size: usize,
    root: Option<Places>,
}

impl Scan {
    fn new(source: SourceIndex, column: u32) -> Scan {
        Scan { source, column, open: Vec::new(), anchors: HashMap::new(), size: 0, root: None }
    }

    fn scan(mut self, text: &str, problems: &mut Problems) -> Result<Option<Places>, Problem> {
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let at = *error.marker();
                let mark = self.mark(&Span::new(at, at));
                match error.info() {
                    "recursion limit exceeded" => ProblemKind::TooDeep { limit: DEEPEST }.at(mark),
                    info => syntax(info.to_string(), text, mark),
                }
            })?;
            let mark = self.mark(&span);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let message = "a second document in one file".to_string();
                        return Err(ProblemKind::Syntax { message, hint: None }.at(mark));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    refuse_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), mark)?;
                    let merges = style == ScalarStyle::Plain && text == "<<";
                    if self.wants_key() {
                        self.key(text.into_owned(), mark, merges, problems);
                    } else {
                        self.value(Places { mark, size: 1, parts: Parts::Scalar }, anchor)?;
                    }
                }
                Event::SequenceStart(anchor, tag) => {
                    refuse_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), mark)?;
                    self.start(mark, anchor, Parts::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    refuse_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), mark)?;
                    self.start(mark, anchor, Parts::Map(Vec::new()))?;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(Open { mark, anchor, parts, .. }) = self.open.pop() else { continue };
                    let size = match &parts {
                        Parts::Scalar => 1,
                        Parts::List(items) => 1 + items.iter().map(|item| item.size).sum::<usize>(),
                        Parts::Map(keys) => 1 + keys.iter().map(|key| key.value.size).sum::<usize>(),
                    };
                    self.place(Places { mark, size, parts }, anchor);
                }
                Event::Alias(anchor) => {
                    if self.wants_key() {
                        return Err(not_a_key(mark));
                    }
                    let Some(size) = self.anchors.get(&anchor).map(|target| target.size) else {
                        let message = "an alias inside the value that it stands for".to_string();
                        return Err(ProblemKind::Syntax { message, hint: None }.at(mark));
                    };
                    self.count(size, mark)?;
                    self.place(self.anchors[&anchor].clone(), 0);
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(self.root)
    }

    fn mark(&self, span: &Span) -> Mark {
        let shift = if span.start.line() == 1 { self.column } else { 1 };
        let same_line = span.end.line() == span.start.line();
        let width = if same_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
        Mark {
            source: self.source,
            line: span.start.line() as u32,
            column: span.start.col() as u32 + shift,
            width: width.max(1) as u32,
        }
    }

    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.key.is_none() && matches!(open.parts, Parts::Map(_)))
    }

    fn key(&mut self, name: String, mark: Mark, merges: bool, problems: &mut Problems) {
        let Some(open) = self.open.last_mut() else { return };
        if let Parts::Map(keys) = &open.parts
            && let Some(first) = keys.iter().find(|key| key.name == name)
        {
            problems.add(ProblemKind::DuplicateKey(name.clone()).at(mark).related(first.mark, "first here"));
        }
        open.key = Some((name, mark, merges));
    }

    fn start(&mut self, mark: Mark, anchor: usize, parts: Parts) -> Result<(), Problem> {
        if self.wants_key() {
            return Err(not_a_key(mark));
        }
        self.count(1, mark)?;
        if self.open.len() == DEEPEST {
            return Err(ProblemKind::TooDeep { limit: DEEPEST }.at(mark));
        }
        self.open.push(Open { mark, anchor, parts, key: None });
        Ok(())
    }

    fn value(&mut self, places: Places, anchor: usize) -> Result<(), Problem> {
        self.count(1, places.mark)?;
        self.place(places, anchor);
        Ok(())
    }

    fn count(&mut self, values: usize, mark: Mark) -> Result<(), Problem> {
        self.size += values;
        let problem = || ProblemKind::TooLarge { what: "aliases", limit: MOST }.at(mark);
        if self.size > MOST { Err(problem()) } else { Ok(()) }
    }

    fn place(&mut self, places: Places, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, places.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(places),
            Some(Open { parts: Parts::List(items), .. }) => items.push(places),
            Some(Open { parts: Parts::Map(keys), key, .. }) => {
                if let Some((name, mark, merges)) = key.take() {
                    keys.push(Key { name, mark, merges, value: places });
                }
            }
            Some(Open { parts: Parts::Scalar, .. }) => {}
        }
    }
}

fn refuse_tag(tagged: bool, mark: Mark) -> Result<(), Problem> {
    let kind = || ProblemKind::Syntax { message: "tags have no meaning here".to_string(), hint: None };
    if tagged { Err(kind().at(mark)) } else { Ok(()) }
}

fn not_a_key(mark: Mark) -> Problem {
    let hint = Some("put quotes around a reference: `\"${name}\"`");
    ProblemKind::Syntax { message: "a key must be a word".to_string(), hint }.at(mark)
}

/// A syntax error. The commonest is a bare `${…}` inside braces or brackets, which YAML takes for a
/// map.
fn syntax(message: String, text: &str, mark: Mark) -> Problem {
    let bare_reference = |line: &str| {
        line.match_indices("${").any(|(at, _)| {
            let before = &line[..at];
            let quotes = before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1;
            !quotes && before.contains(['{', '['])
        })
    };
    let nearby = |number: usize| (number.max(2) - 2..number).filter_map(|index| text.lines().nth(index));
    let bare = nearby(mark.line as usize).any(bare_reference);
    let hint = bare.then_some("put quotes around a reference inside braces: `{key: \"${name}\"}`");
    ProblemKind::Syntax { message, hint }.at(mark)
}

/// Deserialises the value at some places into a node.
struct Seed<'a>(&'a Places);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let mark = self.0.mark;
        deserializer.deserialize_any(self).map(|value| Node::new(mark, value))
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let Parts::List(places) = &self.0.parts else { return Err(disagreement()) };
        let mut items = Vec::with_capacity(places.len());
        for places in places {
            items.push(list.next_element_seed(Seed(places))?.ok_or_else(disagreement)?);
        }
        match list.next_element::<IgnoredAny>()? {
            None => Ok(Value::List(items)),
            Some(_) => Err(disagreement()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Parts::Map(keys) = &self.0.parts else { return Err(disagreement()) };
        let mut entries = Map::with_capacity(keys.len());
        let mut merged = Vec::new();
        for key in keys {
            map.next_key::<IgnoredAny>()?.ok_or_else(disagreement)?;
            let node = map.next_value_seed(Seed(&key.value))?;
            if key.merges {
                match node.value {
                    Value::List(items) => merged.extend(items),
                    _ => merged.push(node),
                }
            } else {
                entries.entry(key.name.clone()).or_insert(Entry { key: key.mark, node });
            }
        }
        for node in merged {
            let Value::Map(map) = node.value else {
                return Err(serde::de::Error::custom("`<<` takes a map or a list of maps"));
            };
            for (name, entry) in map {
                entries.entry(name).or_insert(entry);
            }
        }
        match map.next_key::<IgnoredAny>()? {
            None => Ok(Value::Map(entries)),
            Some(_) => Err(disagreement()),
        }
    }
}

/// The two parsers read the text differently, which happens only at the edges of YAML.
fn disagreement<E: serde::de::Error>() -> E {
    E::custom("the text is ambiguous; write it in a plainer way")
}
