//! A table as LaTeX, for papers: a `table` environment that needs the packages booktabs and graphicx.

use super::rank::Mark;
use super::{Column, Rows, Table};

/// Headings with more characters are set in lines of about so many.
const LINE: usize = 12;

impl Table {
    /// The table as a `table` environment with its caption, its notes and the definitions of its columns.
    pub fn to_latex(&self) -> String {
        let marks = self.marks();
        let digits: Vec<usize> = (0..self.columns.len()).map(|place| self.digits(place)).collect();
        let mut text = String::from("% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n");
        text += "\\begin{table}\n  \\centering\n  \\small\n";
        text += &format!("  \\caption{{{}}}\n  \\label{{tab:{}}}\n", escaped(&self.title), self.name);
        text += &format!("  \\begin{{tabular}}{{l{}}}\n    \\toprule\n", "r".repeat(self.columns.len()));
        let word = escaped(self.rows.word());
        let heads = self.columns.iter().map(|head| match Column::parse(&head.name) {
            // A column per skill is narrower than the names of most skills.
            Some(Column::SkillAccuracy(skill)) => format!("\\rotatebox{{90}}{{{}}}", escaped(&skill)),
            _ => stacked(&head.heading),
        });
        text += &format!("    {}", std::iter::once(word).chain(heads).collect::<Vec<_>>().join(" & "));
        text += " \\\\\n    \\midrule\n";
        for (row, marks) in self.body.iter().zip(&marks) {
            let cells = row.cells.iter().zip(&digits).zip(marks).map(|((cell, digits), mark)| {
                let cell = escaped(&cell.text(*digits));
                match mark {
                    Some(Mark::Best) => format!("\\textbf{{{cell}}}"),
                    Some(Mark::Second) => format!("\\underline{{{cell}}}"),
                    None => cell,
                }
            });
            let last = self.rows != Rows::Arm && row.label == "all" && self.body.len() > 1;
            if last {
                text += "    \\midrule\n";
            }
            text += &format!(
                "    {} \\\\\n",
                std::iter::once(escaped(&row.label)).chain(cells).collect::<Vec<_>>().join(" & ")
            );
        }
        text +=
            "    \\bottomrule\n  \\end{tabular}\n\n  \\medskip\n  \\begin{minipage}{\\linewidth}\n    \\footnotesize\n";
        let legend = self.legend(&marks, "\\textbf{best}", "\\underline{second best}");
        for paragraph in std::iter::once(format!("{}.", self.caption())).chain(self.notes.iter().cloned()) {
            text += &format!("    {}\n", escaped(&paragraph));
        }
        text += &legend.map_or(String::new(), |legend| format!("    {legend}\n"));
        for (term, definition) in self.definitions() {
            text += &format!("    \\textbf{{{}}}: {}.\n", escaped(&term), escaped(definition));
        }
        text + "  \\end{minipage}\n\\end{table}\n"
    }
}

/// A heading in several lines where it is long.
fn stacked(heading: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in heading.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < LINE => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    match lines.as_slice() {
        [line] => escaped(line),
        lines => {
            let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
            format!("\\shortstack[r]{{{}}}", lines.join(" \\\\ "))
        }
    }
}

/// `text` as LaTeX, with what it reads as commands escaped, and symbols that its fonts lack as
/// mathematics.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    let mut code = false;
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' | '>' => escaped.push_str(&format!("${character}$")),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.push_str(&format!("\\{character}")),
            '`' => {
                escaped.push_str(if code { "}" } else { "\\texttt{" });
                code = !code;
            }
            '–' => escaped.push_str("--"),
            '±' => escaped.push_str("$\\pm$"),
            '×' => escaped.push_str("$\\times$"),
            '∞' => escaped.push_str("$\\infty$"),
            '≥' => escaped.push_str("$\\geq$"),
            '≤' => escaped.push_str("$\\leq$"),
            '→' => escaped.push_str("$\\rightarrow$"),
            'α' => escaped.push_str("$\\alpha$"),
            'β' => escaped.push_str("$\\beta$"),
            'γ' => escaped.push_str("$\\gamma$"),
            'ε' => escaped.push_str("$\\varepsilon$"),
            'τ' => escaped.push_str("$\\tau$"),
            other => escaped.push(other),
        }
    }
    if code { escaped + "}" } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_latex_would_read_as_a_command_is_escaped() {
        assert_eq!(escaped("Adapt-∞ & 25 % of a_b"), "Adapt-$\\infty$ \\& 25 \\% of a\\_b");
        assert_eq!(escaped("95.2 ± 1.3"), "95.2 $\\pm$ 1.3");
        assert_eq!(
            escaped("`a.b` at {x}^2 \\ ~"),
            "\\texttt{a.b} at \\{x\\}\\textasciicircum{}2 \\textbackslash{} \\textasciitilde{}"
        );
        assert_eq!(escaped("one ` alone"), "one \\texttt{ alone}");
    }

    #[test]
    fn a_long_heading_is_set_in_lines() {
        assert_eq!(stacked("pool size"), "pool size");
        assert_eq!(stacked("relative gain (%)"), "\\shortstack[r]{relative \\\\ gain (\\%)}");
    }
}
