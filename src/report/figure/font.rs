//! The letters of a figure: how wide a text is, and its outlines.
//!
//! The font is part of the program, so that a figure is the same on every machine: DejaVu Sans, and for
//! what it does not have, such as Chinese, the bitmaps of GNU Unifont.

use std::sync::LazyLock;

use ttf_parser::{Face, OutlineBuilder};

/// How heavy letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// As usual.
    Regular,
    /// For titles.
    Bold,
}

static REGULAR: LazyLock<Face<'static>> = LazyLock::new(|| face(dejavu::sans::regular()));
static BOLD: LazyLock<Face<'static>> = LazyLock::new(|| face(dejavu::sans::bold()));

fn face(bytes: &'static [u8]) -> Face<'static> {
    Face::parse(bytes, 0).expect("BUG: the embedded font can be read")
}

impl Weight {
    fn face(self) -> &'static Face<'static> {
        match self {
            Weight::Regular => &REGULAR,
            Weight::Bold => &BOLD,
        }
    }
}

/// Rows and columns of a bitmap; a full-width one is square.
const BITMAP: usize = 16;
/// How far a bitmap reaches below the baseline, in its rows.
const BELOW: f64 = 2.0;

/// Width of a text in the unit of `size`.
pub fn width(text: &str, size: f64, weight: Weight) -> f64 {
    text.chars().map(|character| advance(character, weight)).sum::<f64>() * size
}

/// As much of a text as fits, with an ellipsis if that is not all.
pub fn cut(text: &str, size: f64, weight: Weight, room: f64) -> String {
    if width(text, size, weight) <= room {
        return text.to_string();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if width(&kept, size, weight) + width("…", size, weight) > room {
            kept.pop();
            break;
        }
    }
    format!("{}…", kept.trim_end())
}

/// A text in lines that fit, broken at spaces, or between letters where there are none; at most `most`
/// lines, the last of them cut.
pub fn wrap(text: &str, size: f64, weight: Weight, room: f64, most: usize) -> Vec<String> {
    let fits = |line: &str| width(line, size, weight) <= room;
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
        if fits(&longer) {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for character in word.chars() {
            line.push(character);
            if !fits(&line) && line.chars().count() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, character.to_string()));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    if lines.len() > most {
        let rest = lines.split_off(most.max(1) - 1).join(" ");
        lines.push(cut(&rest, size, weight, room));
    }
    lines
}

/// Where the next letter begins, in units of the size.
fn advance(character: char, weight: Weight) -> f64 {
    let face = weight.face();
    match face.glyph_index(character).and_then(|glyph| face.glyph_hor_advance(glyph)) {
        Some(advance) => f64::from(advance) / f64::from(face.units_per_em()),
        None => bitmap(character).map_or(0.5, |glyph| glyph.get_width() as f64 / BITMAP as f64),
    }
}

fn bitmap(character: char) -> Option<&'static unifont::Glyph> {
    unifont::get_glyph(character)
}

/// A part of an outline, in the coordinates of the page.
pub trait Pen {
    /// Begins a contour.
    fn move_to(&mut self, x: f64, y: f64);
    /// A straight line.
    fn line_to(&mut self, x: f64, y: f64);
    /// A quadratic curve.
    fn quad_to(&mut self, control: [f64; 2], x: f64, y: f64);
    /// A cubic curve.
    fn cubic_to(&mut self, first: [f64; 2], second: [f64; 2], x: f64, y: f64);
    /// Ends a contour.
    fn close(&mut self);
}

/// Draws a text that begins at the origin, on a baseline along the x axis; y grows downwards.
pub fn outline(text: &str, size: f64, weight: Weight, pen: &mut dyn Pen) {
    let mut x = 0.0;
    let face = weight.face();
    for character in text.chars() {
        match face.glyph_index(character) {
            Some(glyph) => {
                let scale = size / f64::from(face.units_per_em());
                face.outline_glyph(glyph, &mut Placed { pen, x, scale });
            }
            None => dots(character, x, size, pen),
        }
        x += advance(character, weight) * size;
    }
}

/// The bitmap of a letter as runs of squares.
fn dots(character: char, left: f64, size: f64, pen: &mut dyn Pen) {
    let Some(glyph) = bitmap(character) else { return };
    let dot = size / BITMAP as f64;
    for row in 0..BITMAP {
        let mut column = 0;
        while column < glyph.get_width() {
            let run = (column..glyph.get_width()).take_while(|column| glyph.get_pixel(*column, row)).count();
            if run > 0 {
                let (x, y) = (left + column as f64 * dot, (row as f64 + BELOW - BITMAP as f64) * dot);
                let (right, bottom) = (x + run as f64 * dot, y + dot);
                pen.move_to(x, y);
                pen.line_to(right, y);
                pen.line_to(right, bottom);
                pen.line_to(x, bottom);
                pen.close();
            }
            column += run.max(1);
        }
    }
}

/// A pen for the units of the font, in which y grows upwards.
struct Placed<'p> {
    pen: &'p mut dyn Pen,
    x: f64,
    scale: f64,
}

impl Placed<'_> {
    fn place(&self, x: f32, y: f32) -> [f64; 2] {
        [self.x + f64::from(x) * self.scale, -f64::from(y) * self.scale]
    }
}

impl OutlineBuilder for Placed<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let [x, y] = self.place(x, y);
        self.pen.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let [x, y] = self.place(x, y);
        self.pen.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (control, [x, y]) = (self.place(x1, y1), self.place(x, y));
        self.pen.quad_to(control, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (first, second, [x, y]) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.pen.cubic_to(first, second, x, y);
    }

    fn close(&mut self) {
        self.pen.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_has_a_width_in_any_script() {
        let width = |text| width(text, 10.0, Weight::Regular);
        assert!(width("iii") < width("mmm"));
        assert_eq!(width("红色"), 20.0);
        assert!((width("Adapt-∞ ± 1") - 62.0).abs() < 3.0, "{}", width("Adapt-∞ ± 1"));
        assert_eq!(width(""), 0.0);
    }

    #[test]
    fn a_text_is_cut_or_broken_where_it_is_too_long() {
        let lines = |text, room, most| wrap(text, 10.0, Weight::Regular, room, most);
        assert_eq!(cut("vision", 10.0, Weight::Regular, 100.0), "vision");
        assert_eq!(cut("vision_flan", 10.0, Weight::Regular, 40.0), "vision…");
        assert_eq!(lines("what is the colour of it", 70.0, 9), ["what is the", "colour of it"]);
        assert_eq!(lines("what is the colour of it", 50.0, 2), ["what is", "the col…"]);
        assert_eq!(lines("这是什么颜色", 35.0, 9), ["这是什", "么颜色"]);
    }
}
