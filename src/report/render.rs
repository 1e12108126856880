//! A table as text: Markdown for files, plain lines for terminals.

use console::{Alignment, measure_text_width, pad_str};

use super::rank::Mark;
use super::{Column, Rows, Table};

impl Table {
    /// The table in Markdown, aligned so that it also reads as text, with the definitions of its
    /// columns.
    pub fn to_markdown(&self) -> String {
        let marks = self.marks();
        let mut grid = self.grid();
        grid.iter_mut().flatten().for_each(|text| *text = text.replace('|', "\\|"));
        for (row, marks) in grid.iter_mut().skip(1).zip(&marks) {
            for (text, mark) in row.iter_mut().skip(1).zip(marks) {
                match mark {
                    Some(Mark::Best) => *text = format!("**{text}**"),
                    Some(Mark::Second) => *text = format!("_{text}_"),
                    None => {}
                }
            }
        }
        let widths = widths(&grid);
        let mut text = format!("# {}\n\n", self.title);
        for (number, row) in grid.iter().enumerate() {
            text += &format!("| {} |\n", aligned(row, &widths).join(" | "));
            if number == 0 {
                let rule = |(place, width): (usize, &usize)| match place {
                    0 => format!(":{}", "-".repeat(width + 1)),
                    _ => format!("{}:", "-".repeat(width + 1)),
                };
                let rules: Vec<String> = widths.iter().enumerate().map(rule).collect();
                text += &format!("|{}|\n", rules.join("|"));
            }
        }
        text += &format!("\n{}.", self.caption());
        text += &self.legend(&marks, "**best**", "_second best_").map_or(String::new(), |legend| format!(" {legend}"));
        text += "\n\n";
        self.notes.iter().for_each(|note| text += &format!("{note}\n\n"));
        for (term, definition) in self.definitions() {
            text += &format!("- **{term}**: {definition}.\n");
        }
        text
    }

    /// The table for a terminal or a log: plain text without a trailing newline.
    pub fn to_text(&self) -> String {
        let grid = self.grid();
        let widths = widths(&grid);
        let mut lines = vec![self.title.clone(), String::new()];
        for (number, row) in grid.iter().enumerate() {
            lines.push(aligned(row, &widths).join("  ").trim_end().to_string());
            if number == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
                lines.push(rules.join("  "));
            }
        }
        lines.extend([String::new(), self.caption()]);
        lines.extend(self.notes.iter().cloned());
        lines.join("\n")
    }

    /// What the columns mean, each meaning once, in the order of the columns.
    pub(super) fn definitions(&self) -> Vec<(String, &str)> {
        let mut definitions: Vec<(String, &str)> = Vec::new();
        for head in &self.columns {
            let term = Column::parse(&head.name).map_or(head.name.clone(), |column| column.term());
            if definitions.iter().all(|(known, _)| *known != term) {
                definitions.push((term, &head.definition));
            }
        }
        definitions
    }

    /// What the marks mean, if there are any: `best` and `second` are marked as the cells are.
    pub(super) fn legend(&self, marks: &[Vec<Option<Mark>>], best: &str, second: &str) -> Option<String> {
        let of = match self.rows {
            Rows::Skill => "row",
            _ => "column",
        };
        let is = |wanted: Mark| marks.iter().flatten().any(|mark| *mark == Some(wanted));
        let unranked = match self.unranked.is_empty() {
            true => String::new(),
            false => format!(" without {}", self.unranked.join(", ")),
        };
        match (is(Mark::Best), is(Mark::Second)) {
            (false, _) => None,
            (true, false) => Some(format!("Of each {of}{unranked} the {best} is marked.")),
            (true, true) => Some(format!("Of each {of}{unranked} the {best} and the {second} are marked.")),
        }
    }

    /// What a cell is.
    pub(super) fn caption(&self) -> String {
        match self.seeds.as_slice() {
            [] => "One run per cell".to_string(),
            [seed] => format!("One run per cell, seed {seed}"),
            seeds => {
                let numbers: Vec<String> = seeds.iter().map(u64::to_string).collect();
                format!("Mean ± standard deviation over {} seeds ({})", seeds.len(), numbers.join(", "))
            }
        }
    }

    /// Decimal places of a column.
    pub(super) fn digits(&self, place: usize) -> usize {
        let means: Vec<f64> = self.body.iter().filter_map(|row| row.cells[place].mean).collect();
        Column::parse(&self.columns[place].name).map_or(1, |column| column.digits(&means))
    }

    /// Heading and rows as text.
    fn grid(&self) -> Vec<Vec<String>> {
        let heads = self.columns.iter().map(|head| head.heading.clone());
        let mut grid = vec![std::iter::once(self.rows.word().to_string()).chain(heads).collect()];
        let digits: Vec<usize> = (0..self.columns.len()).map(|place| self.digits(place)).collect();
        for row in &self.body {
            let cells = row.cells.iter().zip(&digits).map(|(cell, digits)| cell.text(*digits));
            grid.push(std::iter::once(row.label.clone()).chain(cells).collect());
        }
        grid
    }
}

/// The width of each column in terminal cells.
fn widths(grid: &[Vec<String>]) -> Vec<usize> {
    let width = |place: usize| grid.iter().map(|row| measure_text_width(&row[place])).max().unwrap_or(0);
    (0..grid[0].len()).map(width).collect()
}

/// A row padded to the widths: the label to the left, numbers to the right.
fn aligned(row: &[String], widths: &[usize]) -> Vec<String> {
    let pad = |(place, (text, width)): (usize, (&String, &usize))| {
        let alignment = if place == 0 { Alignment::Left } else { Alignment::Right };
        pad_str(text, *width, alignment, None).into_owned()
    };
    row.iter().zip(widths).enumerate().map(pad).collect()
}
