//! `${a.b.c}`: finding references in texts and putting values in their place. A reference may be made
//! with others inside it: `${methods.${name}}`.

use std::borrow::Cow;

use super::{Entry, Mark, Node, Problem, ProblemKind, Value};

/// References inside the values of references.
const DEEPEST: usize = 64;
/// Values, or characters of text, that one value may grow to.
const MOST: usize = 1_000_000;

/// What references can refer to.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// `suite`, once it is known.
    pub suite: Option<&'a Node>,
    /// `params`.
    pub params: &'a Node,
    /// The chain's variable with the element of this step.
    pub variable: Option<(&'a str, &'a Node)>,
    /// `seed`; 0 in an experiment without seeds.
    pub seed: Option<u64>,
    /// `step`, counted from 1.
    pub step: Option<usize>,
    /// `arm`.
    pub arm: Option<&'a str>,
}

/// A piece of a text.
enum Piece<'t> {
    Text(&'t str),
    Reference(&'t str),
}

/// Whether a value has references anywhere in it.
pub fn has_references(node: &Node) -> bool {
    match &node.value {
        Value::String(text) => text.contains("${"),
        Value::List(items) => items.iter().any(has_references),
        Value::Map(map) => map.values().any(|entry| has_references(&entry.node)),
        _ => false,
    }
}

impl<'a> Scope<'a> {
    /// `node` with values in place of all references. A text that is one reference becomes the value
    /// itself, whatever its type, with the value's own place.
    ///
    /// # Errors
    ///
    /// The first reference that cannot be resolved.
    pub fn resolve(&self, node: &Node) -> Result<Node, Problem> {
        let mut resolver = Resolver { scope: self, path: Vec::new(), size: 0 };
        resolver.resolve(node)
    }

    /// The value of one of the names that references start with.
    fn root(&self, name: &str, mark: Mark) -> Option<Root<'a>> {
        let number = |number: u64| Root::Made(Node::new(mark, Value::Integer(number as i64)));
        match name {
            "suite" => self.suite.map(Root::Written),
            "params" => Some(Root::Written(self.params)),
            "seed" => self.seed.map(number),
            "step" => self.step.map(|step| number(step as u64)),
            "arm" => self.arm.map(|arm| Root::Made(Node::new(mark, Value::String(arm.to_string())))),
            name => self.variable.filter(|(variable, _)| *variable == name).map(|(_, node)| Root::Written(node)),
        }
    }

    /// The names that references can start with.
    fn names(&self) -> Vec<String> {
        let named = [
            ("suite", self.suite.is_some()),
            ("params", true),
            ("seed", self.seed.is_some()),
            ("step", self.step.is_some()),
            ("arm", self.arm.is_some()),
        ];
        let names = named.into_iter().filter(|(_, known)| *known).map(|(name, _)| name);
        names.chain(self.variable.map(|(name, _)| name)).map(str::to_string).collect()
    }
}

/// A value that was written somewhere, or that exists only for a reference.
enum Root<'a> {
    Written(&'a Node),
    Made(Node),
}

struct Resolver<'a, 's> {
    scope: &'s Scope<'a>,
    /// The references that are being resolved.
    path: Vec<String>,
    size: usize,
}

impl Resolver<'_, '_> {
    fn resolve(&mut self, node: &Node) -> Result<Node, Problem> {
        self.count(1, node.mark)?;
        let value = match &node.value {
            Value::String(text) if text.contains("${") => return self.text(text, node.mark),
            Value::List(items) => {
                Value::List(items.iter().map(|item| self.resolve(item)).collect::<Result<_, Problem>>()?)
            }
            Value::Map(map) => {
                let entry = |(name, entry): (&String, &Entry)| {
                    Ok((name.clone(), Entry { key: entry.key, node: self.resolve(&entry.node)? }))
                };
                Value::Map(map.iter().map(entry).collect::<Result<_, Problem>>()?)
            }
            other => other.clone(),
        };
        Ok(Node::new(node.mark, value))
    }

    fn text(&mut self, text: &str, mark: Mark) -> Result<Node, Problem> {
        let pieces = pieces(text).map_err(|piece| ProblemKind::MalformedReference(piece).at(mark))?;
        if let [Piece::Reference(reference)] = pieces.as_slice() {
            let reference = self.name(reference, mark)?;
            return self.reference(&reference, mark);
        }
        let mut whole = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => whole.push_str(text),
                Piece::Reference(reference) => {
                    let reference = self.name(reference, mark)?;
                    let node = self.reference(&reference, mark)?;
                    match &node.value {
                        Value::String(text) => whole.push_str(text),
                        Value::Integer(value) => whole.push_str(&value.to_string()),
                        Value::Float(value) => whole.push_str(&value.to_string()),
                        Value::Boolean(value) => whole.push_str(&value.to_string()),
                        Value::Null | Value::List(_) | Value::Map(_) => {
                            let (reference, found) = (reference.to_string(), node.describe());
                            return Err(ProblemKind::NotText { reference, found }.at(mark));
                        }
                    }
                }
            }
        }
        self.count(whole.len(), mark)?;
        Ok(Node::new(mark, Value::String(whole)))
    }

    /// The reference that is written as `inside` between its braces, with what references inside it
    /// say.
    fn name<'t>(&mut self, inside: &'t str, mark: Mark) -> Result<Cow<'t, str>, Problem> {
        let mut name = Cow::Borrowed(inside);
        if inside.contains("${") {
            match self.text(inside, mark)?.value {
                Value::String(text) => name = Cow::Owned(text),
                Value::Integer(number) => name = Cow::Owned(number.to_string()),
                _ => return Err(ProblemKind::MalformedReference(format!("${{{inside}}}")).at(mark)),
            }
        }
        let word = |segment: &str| {
            !segment.is_empty() && segment.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        };
        match name.split('.').all(word) {
            true => Ok(name),
            false => Err(ProblemKind::MalformedReference(format!("${{{name}}}")).at(mark)),
        }
    }

    fn reference(&mut self, reference: &str, mark: Mark) -> Result<Node, Problem> {
        if let Some(start) = self.path.iter().position(|open| open == reference) {
            let cycle = self.path[start..].iter().cloned().chain([reference.to_string()]).collect();
            return Err(ProblemKind::ReferenceCycle(cycle).at(mark));
        }
        if self.path.len() == DEEPEST {
            return Err(ProblemKind::TooDeep { limit: DEEPEST }.at(mark));
        }
        let unknown = |segment: &str, known: Vec<String>| {
            let (reference, segment) = (reference.to_string(), segment.to_string());
            ProblemKind::UnknownReference { reference, segment, known }.at(mark)
        };
        let mut segments = reference.split('.');
        let first = segments.next().unwrap_or(reference);
        let found = match self.scope.root(first, mark) {
            None => return Err(unknown(first, self.scope.names())),
            Some(Root::Made(node)) => match segments.next() {
                None => return Ok(node),
                Some(segment) => return Err(unknown(segment, Vec::new())),
            },
            Some(Root::Written(node)) => node,
        };
        self.path.push(reference.to_string());
        // What a reference leads through may itself be a reference: `${params.a.b}` where `a` is `${suite.c}`.
        let mut through: Option<Node> = None;
        for segment in segments {
            let current = through.as_ref().unwrap_or(found);
            let resolved = match &current.value {
                Value::String(text) if text.contains("${") => Some(self.text(text, current.mark)?),
                _ => None,
            };
            let current = resolved.as_ref().unwrap_or(current);
            let next = match &current.value {
                Value::Map(map) => map.get(segment).map(|entry| &entry.node),
                Value::List(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            let Some(next) = next else {
                let known = current.as_map().map(|map| map.keys().cloned().collect()).unwrap_or_default();
                return Err(unknown(segment, known));
            };
            through = Some(next.clone());
        }
        let resolved = self.resolve(through.as_ref().unwrap_or(found))?;
        self.path.pop();
        Ok(resolved)
    }

    fn count(&mut self, size: usize, mark: Mark) -> Result<(), Problem> {
        self.size += size;
        if self.size > MOST { Err(ProblemKind::TooLarge { what: "references", limit: MOST }.at(mark)) } else { Ok(()) }
    }
}

/// Cuts a text at its references; `$${` stands for `${`. The error is the piece that is none.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text("${")]);
            rest = &after[2..];
            continue;
        }
        let Some(end) = end(after) else { return Err(after.to_string()) };
        let reference = after[2..end].trim();
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Reference(reference));
        rest = &after[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// The place of the brace that closes the reference at the start of `text`, which may have others in
/// it.
fn end(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (place, character) in text.char_indices() {
        match character {
            '$' if text[place + 1..].starts_with('{') => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
    }
    None
}
