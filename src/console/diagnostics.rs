//! What is wrong with an experiment, as text: each problem with its place, an excerpt and a hint.

use std::fmt::Write as _;

use console::style;

use crate::spec::{Mark, Origin, Problem, Problems, Sources};
use crate::text::count;

/// The most characters of a line that are shown.
const WIDEST: usize = 140;

/// All problems, ready to print, with how many there are at the end.
pub fn render(problems: &Problems) -> String {
    let found = count(problems.list.len(), "problem");
    format!("{}{found}; nothing was run\n", each(problems))
}

/// All problems, ready to print.
pub fn each(problems: &Problems) -> String {
    let mut text = String::new();
    for problem in &problems.list {
        render_one(problem, &problems.sources, &mut text);
        text.push('\n');
    }
    text
}

fn render_one(problem: &Problem, sources: &Sources, text: &mut String) {
    let _ =
        writeln!(text, "{} {}", style("error:").for_stderr().red().bold(), style(&problem.kind).for_stderr().bold());
    let places = || std::iter::once(&problem.mark).chain(problem.related.iter().map(|(mark, _)| mark));
    let gutter = places().map(|mark| mark.line.to_string().len()).max().unwrap_or(1);
    excerpt(problem.mark, "", "-->", gutter, sources, text);
    for (mark, what) in &problem.related {
        excerpt(*mark, what, ":::", gutter, sources, text);
    }
    if let Some(arm) = &problem.arm {
        let _ = writeln!(text, "{:gutter$} = in the arm `{arm}`", "");
    }
    if let Some(hint) = problem.kind.hint() {
        let _ = writeln!(text, "{:gutter$} = {} {hint}", "", style("hint:").for_stderr().cyan());
    }
}

/// The line of a place, with what is meant underlined.
fn excerpt(mark: Mark, label: &str, arrow: &str, gutter: usize, sources: &Sources, text: &mut String) {
    let source = sources.get(mark.source);
    let place = match &source.origin {
        Origin::File(path) => format!("{}:{}:{}", path.display(), mark.line, mark.column),
        Origin::Option(option) => option.to_string(),
    };
    let _ = writeln!(text, "{:gutter$}{arrow} {place}", "");
    let Some(line) = source.text.lines().nth(mark.line as usize - 1) else { return };
    let line = line.trim_end().replace('\t', " ");
    // Of a line that is too long, the part around the place.
    let place = mark.column as usize - 1;
    let first = if line.chars().count() > WIDEST { place.saturating_sub(WIDEST / 2) } else { 0 };
    let line: String = line.chars().skip(first).take(WIDEST).collect();
    let indent: usize = line.chars().take(place - first).map(width).sum();
    let underlined: usize = line.chars().skip(place - first).take(mark.width as usize).map(width).sum();
    let underline = format!("{:indent$}{} {label}", "", "^".repeat(underlined.max(1)));
    let _ = writeln!(text, "{:gutter$} |", "");
    let _ = writeln!(text, "{:gutter$} | {line}", mark.line);
    let _ = writeln!(text, "{:gutter$} | {}", "", style(underline.trim_end()).for_stderr().red());
}

/// The columns that a character takes on a terminal.
fn width(character: char) -> usize {
    console::measure_text_width(character.encode_utf8(&mut [0; 4]))
}
