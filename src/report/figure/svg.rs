//! A picture as SVG. Words stay words, so that they can be searched, read aloud and edited.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::font::Weight;
use super::scene::{Anchor, Fill, Scene, Shape, Stroke, Words};

/// DejaVu Sans is what the widths are measured with; the others are no wider, and the last ones have
/// Chinese.
const FAMILY: &str =
    "DejaVu Sans, Verdana, Arial, Noto Sans CJK SC, Noto Sans SC, PingFang SC, Microsoft YaHei, sans-serif";

impl Scene {
    /// The picture as an SVG document, the same bytes for the same picture.
    pub fn to_svg(&self) -> String {
        let (width, height) = (number(self.width), number(self.height));
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}pt\" height=\"{height}pt\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{FAMILY}\">\n<title>{}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
            escaped(&self.title)
        );
        for shape in &self.shapes {
            write(shape, &mut text);
            text.push('\n');
        }
        text.push_str("</svg>\n");
        text
    }
}

fn write(shape: &Shape, text: &mut String) {
    let _ = match shape {
        Shape::Path { points, closed, fill, stroke } => {
            let points: Vec<String> = points.iter().map(|[x, y]| format!("{},{}", number(*x), number(*y))).collect();
            let end = if *closed { "Z" } else { "" };
            write!(text, "<path d=\"M{}{end}\"{}/>", points.join("L"), look(fill.as_ref(), stroke.as_ref()))
        }
        Shape::Circle { centre: [x, y], radius, fill, stroke } => {
            let (x, y, radius) = (number(*x), number(*y), number(*radius));
            write!(text, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"{}/>", look(fill.as_ref(), stroke.as_ref()))
        }
        Shape::Text(words) => write!(text, "{}", line(words)),
        Shape::Image { place: [x, y, width, height], bytes, media } => {
            let (x, y, width, height) = (number(*x), number(*y), number(*width), number(*height));
            let data = STANDARD.encode(bytes);
            write!(
                text,
                "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" image-rendering=\"pixelated\" \
                 href=\"data:{media};base64,{data}\"/>"
            )
        }
    };
}

fn line(words: &Words) -> String {
    let [x, y] = words.at.map(number);
    let anchor = match words.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let weight = if words.weight == Weight::Bold { " font-weight=\"bold\"" } else { "" };
    let turn = match words.turn {
        0.0 => String::new(),
        turn => format!(" transform=\"rotate({} {x} {y})\"", number(turn)),
    };
    let (size, colour) = (number(words.size), words.colour.hex());
    format!(
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{colour}\"{anchor}{weight}{turn}>{}</text>",
        escaped(&words.text)
    )
}

fn look(fill: Option<&Fill>, stroke: Option<&Stroke>) -> String {
    let mut look = match fill {
        None => " fill=\"none\"".to_string(),
        Some(fill) if fill.opacity < 1.0 => {
            format!(" fill=\"{}\" fill-opacity=\"{}\"", fill.colour.hex(), number(fill.opacity))
        }
        Some(fill) => format!(" fill=\"{}\"", fill.colour.hex()),
    };
    if let Some(stroke) = stroke {
        let _ = write!(look, " stroke=\"{}\" stroke-width=\"{}\"", stroke.colour.hex(), number(stroke.width));
        if !stroke.dash.is_empty() {
            let dash: Vec<String> = stroke.dash.iter().map(|length| number(*length)).collect();
            let _ = write!(look, " stroke-dasharray=\"{}\"", dash.join(" "));
        }
        look.push_str(" stroke-linejoin=\"round\"");
    }
    look
}

/// At most two decimals, and none that say nothing.
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

/// A text between tags or in an attribute. Characters that XML cannot have are left out.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character if character.is_control() && !matches!(character, '\n' | '\t') => {}
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::palette::Colour;

    #[test]
    fn a_small_picture_reads_well() {
        let mut scene = Scene::new(100.0, 40.5, "a < b");
        scene.rectangle([1.0, 2.0, 3.0, 4.0], Fill::of(Colour::FAINT), None);
        let dash = Stroke { colour: Colour(0, 114, 178), width: 1.25, dash: vec![5.0, 2.0] };
        scene.line(vec![[0.0, 0.0], [1.0 / 3.0, 10.0]], Some(dash));
        let words = Words::new("“x” & y", [10.0, 20.0], 8.0).anchored(Anchor::End).bold().turned(-35.0);
        scene.text(words);
        let text = scene.to_svg();
        let (_, rest) = text.split_once("\n").unwrap();
        insta::assert_snapshot!(rest, @r##"
        <title>a &lt; b</title>
        <rect width="100" height="40.5" fill="#ffffff"/>
        <path d="M1,2L4,2L4,6L1,6Z" fill="#e2e2e2"/>
        <path d="M0,0L0.33,10" fill="none" stroke="#0072b2" stroke-width="1.25" stroke-dasharray="5 2" stroke-linejoin="round"/>
        <text x="10" y="20" font-size="8" fill="#222222" text-anchor="end" font-weight="bold" transform="rotate(-35 10 20)">“x” &amp; y</text>
        </svg>
        "##);
        assert!(text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100pt\" height=\"40.5pt\""));
    }
}
