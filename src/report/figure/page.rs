//! A gallery as a page of its own: one HTML file that needs nothing else, on screens light or dark and on
//! paper.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::gallery::{Card, Verdict};
use super::svg::escaped;
use crate::artifact::Answer;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --line: #ccc; --soft: #666;
  --right: #dceef8; --wrong: #fbe6da; --partly: #f3f0e3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #1b1b1b; --line: #444; --soft: #a8a8a8;
  --right: #12384d; --wrong: #4d2612; --partly: #3a3620; } }
@media print { :root { --ink: #000; --paper: #fff; --line: #999; --soft: #444;
  --right: #dceef8; --wrong: #fbe6da; --partly: #f3f0e3; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.05rem; margin: 0; }
p.note, .expected { color: var(--soft); }
section { border-top: 1px solid var(--line); padding: 1rem 0; display: flex; gap: 1.2rem; flex-wrap: wrap;
  break-inside: avoid; }
.images { display: flex; gap: .4rem; } .images img { width: 168px; height: auto; align-self: start; }
.images img.small { image-rendering: pixelated; }
.said { flex: 1; min-width: 22rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: .5rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border: 1px solid var(--line); }
thead th { font-weight: normal; color: var(--soft); } tbody th { white-space: nowrap; }
td.right { background: var(--right); } td.wrong { background: var(--wrong); } td.partly { background: var(--partly); }
* { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
";

/// Writes the page.
pub(super) fn write(title: &str, names: &[String], cards: &[Card<'_>]) -> String {
    let title = escaped(title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n<p class=\"note\">✓ right, ≈ partly right, ✗ wrong. Shown are the \
         questions whose answers vary most over arms and time, skill by skill in turn; the first seed.</p>\n"
    );
    cards.iter().for_each(|card| write_card(card, names, &mut text));
    text.push_str("</body>\n</html>\n");
    text
}

fn write_card(card: &Card<'_>, names: &[String], text: &mut String) {
    let asked = card.asked;
    let _ = write!(text, "<section id=\"{}\">\n<div class=\"images\">", escaped(&asked.id));
    for (number, picture) in asked.images.iter().enumerate() {
        let data = STANDARD.encode(&picture.bytes);
        let small = if picture.size.0 < 168 { " class=\"small\"" } else { "" };
        let _ = write!(
            text,
            "<img{small} alt=\"image {} of the question\" src=\"data:{};base64,{data}\">",
            number + 1,
            picture.media
        );
    }
    let (question, expected) = (escaped(&asked.question), escaped(&asked.expected));
    let skill = escaped(&asked.skill);
    let _ = write!(
        text,
        "</div>\n<div class=\"said\">\n<h2>{question}</h2>\n<div class=\"expected\">Right: {expected} ({skill})</div>\n\
         <table>\n<thead><tr><th></th>"
    );
    for name in names {
        let _ = write!(text, "<th scope=\"col\">{}</th>", escaped(name));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for row in &card.rows {
        let _ = write!(text, "<tr><th scope=\"row\">{}</th>", escaped(row.arm));
        row.answers.iter().for_each(|answer| cell(*answer, text));
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody>\n</table>\n</div>\n</section>\n");
}

fn cell(answer: Option<&Answer>, text: &mut String) {
    let Some(answer) = answer else { return text.push_str("<td></td>") };
    let verdict = Verdict::of(answer.score);
    let (class, word) = match verdict {
        Verdict::Right => ("right", "right"),
        Verdict::Partly => ("partly", "partly right"),
        Verdict::Wrong => ("wrong", "wrong"),
    };
    let said = match answer.answered.as_deref().map(str::trim) {
        Some("") => "(nothing)".to_string(),
        Some(said) => escaped(said),
        None => word.to_string(),
    };
    let sign = verdict.sign();
    let _ = write!(text, "<td class=\"{class}\"><span aria-label=\"{word}\">{sign}</span> {said}</td>");
}
