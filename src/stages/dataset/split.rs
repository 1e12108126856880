//! Cuts a JSON file into its samples without parsing them: the elements of a list, or one value after the
//! other as in JSON Lines.
//!
//! Only strings, brackets and line ends are looked at, in large buffers, so the cutting is far faster than
//! any parsing, and what was cut can be parsed in parallel. Memory is bounded by the largest sample.
//! Unaware of what a sample is.

use std::io::{self, Read};
use std::ops::Range;

/// Bytes that are read together.
const CHUNK: usize = 4 << 20;
/// Most bytes of one sample. A video of M3IT, eight frames in base64, has a few million.
const MOST: usize = 1 << 28;

/// How the samples of a JSON file follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A list, whose bracket is the first byte that is read.
    List,
    /// The same, and what comes after the list is of no interest.
    ListInside,
    /// Values with nothing but blanks between them.
    Lines,
}

/// Where a piece of text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Bytes of the file before it.
    pub offset: u64,
    /// Counted from 1.
    pub line: usize,
    /// In bytes, counted from 1.
    pub column: usize,
}

/// The text of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Where it begins in the file.
    pub at: Position,
    /// Where it is in the bytes of its batch.
    pub range: Range<usize>,
}

/// Samples that were read together.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// In the order of the file; never empty.
    pub elements: Vec<Element>,
}

impl Batch {
    /// The text of an element of this batch.
    pub fn text(&self, element: &Element) -> &[u8] {
        &self.bytes[element.range.clone()]
    }
}

/// Why a file cannot be cut.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not JSON.
    #[error("{what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where in the file.
        at: Position,
    },
}

/// What comes next between samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The bracket of the list.
    List,
    /// A sample or the end of the list.
    First,
    /// A sample.
    Sample,
    /// A comma or the end of the list.
    Comma,
    /// A sample or the end of the file.
    Line,
    /// Nothing but blanks.
    Nothing,
}

/// The sample that is being cut.
#[derive(Debug, Clone, Copy)]
struct Open {
    at: Position,
    start: usize,
    depth: usize,
    /// Whether the next byte is inside a string.
    quoted: bool,
    /// Whether the next byte comes after a backslash.
    escaped: bool,
    /// Whether it is a number or a word, which ends before the next blank, comma or bracket.
    scalar: bool,
}

/// Cuts what it reads.
pub struct Splitter<R> {
    reader: R,
    shape: Shape,
    expected: Expected,
    open: Option<Open>,
    batch: Batch,
    /// What was scanned of the batch's bytes.
    scanned: usize,
    /// Bytes of the file before those of the batch.
    base: u64,
    line: usize,
    line_start: u64,
    ended: bool,
    /// What is wrong after the samples that were handed out last.
    failed: Option<SplitError>,
    /// Bytes that are read together.
    chunk: usize,
}

impl<R: Read> Splitter<R> {
    /// Cuts what comes from `reader`, whose first byte is at `from` in its file.
    pub fn new(reader: R, shape: Shape, from: Position) -> Splitter<R> {
        let expected = if shape == Shape::Lines { Expected::Line } else { Expected::List };
        Splitter {
            reader,
            shape,
            expected,
            open: None,
            batch: Batch::default(),
            scanned: 0,
            base: from.offset,
            line: from.line,
            line_start: (from.offset + 1).saturating_sub(from.column as u64),
            ended: false,
            failed: None,
            chunk: CHUNK,
        }
    }

    /// The next samples; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not JSON between its samples. Samples before that come first.
    pub fn next(&mut self) -> Result<Option<Batch>, SplitError> {
        while self.batch.elements.is_empty() && !self.ended && self.failed.is_none() {
            self.fill()?;
            // What is whole before an error is handed out first.
            self.failed = self.scan().err();
            let length = self.open.map_or(0, |open| self.batch.bytes.len() - open.start);
            if length > MOST && self.failed.is_none() {
                self.failed = Some(self.malformed("a sample takes more than 256 MiB", self.scanned));
            }
        }
        if self.batch.elements.is_empty() {
            return self.failed.take().map_or(Ok(None), Err);
        }
        let kept = self.open.map_or(self.scanned, |open| open.start);
        let rest = self.batch.bytes[kept..].to_vec();
        self.base += kept as u64;
        self.scanned -= kept;
        if let Some(open) = &mut self.open {
            open.start = 0;
        }
        Ok(Some(std::mem::replace(&mut self.batch, Batch { bytes: rest, elements: Vec::new() })))
    }

    fn fill(&mut self) -> Result<(), SplitError> {
        self.batch.bytes.reserve(self.chunk);
        let read = self.reader.by_ref().take(self.chunk as u64).read_to_end(&mut self.batch.bytes)?;
        self.ended = read < self.chunk;
        Ok(())
    }

    fn scan(&mut self) -> Result<(), SplitError> {
        while self.scanned < self.batch.bytes.len() {
            match self.open {
                Some(open) => self.inside(open),
                None => self.between()?,
            }
        }
        if !self.ended {
            return Ok(());
        }
        if let Some(open) = self.open.take() {
            if !open.scalar {
                self.open = Some(open);
                return Err(self.malformed("EOF while parsing a value", self.scanned));
            }
            self.close(open);
        }
        match self.expected {
            Expected::List => Err(self.malformed("EOF while parsing a value", self.scanned)),
            Expected::First | Expected::Comma => Err(self.malformed("EOF while parsing a list", self.scanned)),
            Expected::Sample => Err(self.malformed("EOF while parsing a value", self.scanned)),
            Expected::Line | Expected::Nothing => Ok(()),
        }
    }

    /// Looks at the next byte, which is in no sample.
    fn between(&mut self) -> Result<(), SplitError> {
        let at = self.scanned;
        let byte = self.batch.bytes[at];
        match (self.expected, byte) {
            (_, b'\n') => self.new_line(at),
            (_, b' ' | b'\t' | b'\r') => {}
            (Expected::List, b'[') => self.expected = Expected::First,
            (Expected::List, _) => return Err(self.malformed("expected a list", at)),
            (Expected::First | Expected::Comma, b']') => self.expected = Expected::Nothing,
            (Expected::Comma, b',') => self.expected = Expected::Sample,
            (Expected::Comma, _) => return Err(self.malformed("expected `,` or `]`", at)),
            (Expected::Sample, b']') => return Err(self.malformed("trailing comma", at)),
            (Expected::Nothing, _) if self.shape == Shape::ListInside => {
                self.scanned = self.batch.bytes.len();
                return Ok(());
            }
            (Expected::Nothing, _) => return Err(self.malformed("trailing characters", at)),
            (_, b',' | b']' | b'}' | b':') => return Err(self.malformed("expected value", at)),
            (Expected::First | Expected::Sample | Expected::Line, _) => {
                let nested = matches!(byte, b'{' | b'[');
                self.open = Some(Open {
                    at: self.position(at),
                    start: at,
                    depth: usize::from(nested),
                    quoted: byte == b'"',
                    escaped: false,
                    scalar: !nested && byte != b'"',
                });
            }
        }
        self.scanned += 1;
        Ok(())
    }

    /// Goes on to the end of the open sample or of the bytes.
    fn inside(&mut self, mut open: Open) {
        let mut at = self.scanned;
        let end = self.batch.bytes.len();
        while at < end {
            let rest = &self.batch.bytes[at..];
            if open.escaped {
                open.escaped = false;
                at += 1;
                continue;
            }
            if open.quoted {
                let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                    at = end;
                    break;
                };
                at += found + 1;
                open.escaped = rest[found] == b'\\';
                open.quoted = open.escaped;
                if open.quoted || open.depth > 0 {
                    continue;
                }
                self.scanned = at;
                return self.close(open);
            }
            if open.scalar {
                let Some(found) =
                    rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']'))
                else {
                    at = end;
                    break;
                };
                self.scanned = at + found;
                return self.close(open);
            }
            let Some(found) = rest.iter().position(|byte| STRUCTURAL[usize::from(*byte)]) else {
                at = end;
                break;
            };
            match rest[found] {
                b'"' => open.quoted = true,
                b'{' | b'[' => open.depth += 1,
                b'\n' => self.new_line(at + found),
                _ => open.depth -= 1,
            }
            at += found + 1;
            if open.depth == 0 {
                self.scanned = at;
                return self.close(open);
            }
        }
        self.scanned = at;
        self.open = Some(open);
    }

    /// Ends the open sample where the scan stands.
    fn close(&mut self, open: Open) {
        self.open = None;
        self.batch.elements.push(Element { at: open.at, range: open.start..self.scanned });
        self.expected = if self.shape == Shape::Lines { Expected::Line } else { Expected::Comma };
    }

    fn new_line(&mut self, at: usize) {
        self.line += 1;
        self.line_start = self.base + at as u64 + 1;
    }

    fn position(&self, at: usize) -> Position {
        let offset = self.base + at as u64;
        Position { offset, line: self.line, column: (offset + 1 - self.line_start) as usize }
    }

    fn malformed(&self, what: &'static str, at: usize) -> SplitError {
        SplitError::Malformed { what, at: self.position(at) }
    }
}

/// Bytes outside of strings that matter inside a sample.
const STRUCTURAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut index = 0;
    let bytes = b"\"{}[]\n";
    while index < bytes.len() {
        table[bytes[index] as usize] = true;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const START: Position = Position { offset: 0, line: 1, column: 1 };

    /// The texts of the samples, each with line, column; and what is wrong after them.
    fn split(text: &str, shape: Shape) -> (Vec<(String, usize, usize)>, Option<String>) {
        let whole = split_by(CHUNK, text, shape);
        for chunk in [1, 2, 3, 7] {
            assert_eq!(split_by(chunk, text, shape), whole, "in pieces of {chunk} bytes");
        }
        whole
    }

    fn split_by(chunk: usize, text: &str, shape: Shape) -> (Vec<(String, usize, usize)>, Option<String>) {
        let mut splitter = Splitter { chunk, ..Splitter::new(text.as_bytes(), shape, START) };
        let mut found = Vec::new();
        loop {
            match splitter.next() {
                Ok(None) => return (found, None),
                Ok(Some(batch)) => {
                    for element in &batch.elements {
                        let inside = String::from_utf8(batch.text(element).to_vec()).unwrap();
                        let offset = element.at.offset as usize;
                        assert_eq!(&text[offset..offset + inside.len()], inside);
                        found.push((inside, element.at.line, element.at.column));
                    }
                }
                Err(SplitError::Malformed { what, at }) => {
                    return (found, Some(format!("{}:{}: {what}", at.line, at.column)));
                }
                Err(SplitError::Io(error)) => panic!("{error}"),
            }
        }
    }

    fn texts(text: &str, shape: Shape) -> Vec<String> {
        let (found, problem) = split(text, shape);
        assert_eq!(problem, None);
        found.into_iter().map(|(text, ..)| text).collect()
    }

    #[test]
    fn brackets_commas_and_quotes_in_texts_do_not_cut() {
        let list = r#" [ {"a": "]}, \" [{", "b": [1, {"c": "\\"}]} , "x, \"]" ,17,null, [], {} ] "#;
        let expected = [r#"{"a": "]}, \" [{", "b": [1, {"c": "\\"}]}"#, r#""x, \"]""#, "17", "null", "[]", "{}"];
        assert_eq!(texts(list, Shape::List), expected);
        assert_eq!(texts("[]", Shape::List), [""; 0]);
    }

    #[test]
    fn values_may_follow_each_other_on_lines_or_over_several() {
        let lines = "{\"a\": 1}\n\n{\"b\":\n  2}\r\n\"x\" 3";
        assert_eq!(texts(lines, Shape::Lines), ["{\"a\": 1}", "{\"b\":\n  2}", "\"x\"", "3"]);
        let (found, _) = split(lines, Shape::Lines);
        assert_eq!(found[1].1, 3);
        assert_eq!((found[2].1, found[2].2), (5, 1));
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place_after_the_samples_before_it() {
        for (text, samples, problem) in [
            ("", 0, "1:1: EOF while parsing a value"),
            ("[\n{}", 1, "2:3: EOF while parsing a list"),
            ("[\n{}, ", 1, "2:5: EOF while parsing a value"),
            ("[{},]", 1, "1:5: trailing comma"),
            ("[{}\n {}]", 1, "2:2: expected `,` or `]`"),
            ("[,{}]", 0, "1:2: expected value"),
            ("[] []", 0, "1:4: trailing characters"),
            ("{}", 0, "1:1: expected a list"),
            ("[{\"a\": \"b", 0, "1:10: EOF while parsing a value"),
        ] {
            let (found, told) = split(text, Shape::List);
            assert_eq!((found.len(), told.as_deref()), (samples, Some(problem)), "{text}");
        }
        assert_eq!(split("{}\n{\"a\"", Shape::Lines).1.as_deref(), Some("2:5: EOF while parsing a value"));
        assert_eq!(split("[{}], \"more\": 1}", Shape::ListInside).1, None);
    }

    proptest! {
        #[test]
        fn every_list_is_cut_into_what_it_was_made_of(values in prop::collection::vec(value(), 0..6), pretty: bool) {
            let list = Value::Array(values.clone());
            let text = if pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) }.unwrap();
            let parsed: Vec<Value> =
                texts(&text, Shape::List).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(&parsed, &values);
            let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
            prop_assert_eq!(texts(&lines, Shape::Lines).len(), values.len());
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[\\[\\]{}\",:\\\\ a中\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a\"\\\\]{0,3}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }
}
