//! What charts have in common: their frame, axes, headings and legends.

use super::font::{self, Weight, width};
use super::palette::{Colour, Style};
use super::scene::{Anchor, Fill, Scene, Shape, Stroke, Words};

/// Width of a figure over both columns of a page.
pub const WIDE: f64 = 504.0;
/// Width of a figure in one column.
pub const NARROW: f64 = 252.0;
/// Size of words.
pub const TEXT: f64 = 8.0;
/// Size of words in cells and under axes.
pub const SMALL: f64 = 7.0;
/// Size of headlines.
const HEADLINE: f64 = 9.5;
/// Room at the edges of a picture.
pub const EDGE: f64 = 6.0;
/// How far datasets' names are turned where they do not fit side by side.
const TURN: f64 = -40.0;

/// Where the data of a chart are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Its left edge.
    pub left: f64,
    /// Its upper edge.
    pub top: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

impl Frame {
    /// Its lower edge.
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Its right edge.
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    /// The middle of one of several equal parts from left to right.
    pub fn part(&self, place: usize, parts: usize) -> f64 {
        self.left + self.width * (place as f64 + 0.5) / parts.max(1) as f64
    }
}

/// A numeric axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The least value on it.
    pub low: f64,
    /// The greatest value on it.
    pub high: f64,
    /// The values that are written.
    pub ticks: Vec<f64>,
    /// Whether equal steps are equal ratios.
    pub logarithmic: bool,
}

impl Axis {
    /// An axis for values, with about `count` round ticks. It begins at zero where the values come near
    /// to it.
    pub fn linear(values: impl IntoIterator<Item = f64>, count: usize) -> Axis {
        let (mut low, mut high) = range(values);
        if low > 0.0 && low < 0.4 * high {
            low = 0.0;
        }
        if high - low < 1e-9 {
            let room = (high.abs() * 0.1).max(1.0);
            (low, high) = (low - room, high + room);
        }
        let step = round_step((high - low) / count.max(1) as f64);
        // A little room beyond the values, and no further than the next tick.
        let room = 0.05 * (high - low);
        let low = if low == 0.0 { low } else { (low - room).max((low / step + 1e-9).floor() * step) };
        let high = if high == 0.0 { high } else { (high + room).min(((high + 0.5 * room) / step).ceil() * step) };
        let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
        let ticks: Vec<f64> = (first as i64..=last as i64).map(|tick| tick as f64 * step).collect();
        Axis { low, high, ticks, logarithmic: false }
    }

    /// An axis on which equal steps are equal ratios; for positive values.
    pub fn logarithmic(values: impl IntoIterator<Item = f64>) -> Axis {
        let (low, high) = range(values.into_iter().filter(|value| *value > 0.0));
        let (low, high) = if high > 0.0 { (low / 1.25, high * 1.25) } else { (0.1, 1.0) };
        let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
        let within = |steps: &[f64]| -> Vec<f64> {
            let ticks = decades.clone().flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
            ticks.filter(|tick| (low..=high).contains(tick)).collect()
        };
        let candidates = [within(&[1.0]), within(&[1.0, 3.0]), within(&[1.0, 2.0, 5.0])];
        let ticks = candidates.iter().find(|ticks| ticks.len() >= 3).unwrap_or(&candidates[2]).clone();
        if ticks.len() < 2 {
            return Axis::linear([low, high], 4);
        }
        Axis { low, high, ticks, logarithmic: true }
    }

    /// Where a value is, from 0 at the low end to 1.
    pub fn share(&self, value: f64) -> f64 {
        let share = match self.logarithmic {
            true => (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        share.clamp(-0.02, 1.02)
    }

    /// Where a value is from left to right.
    pub fn x(&self, value: f64, frame: &Frame) -> f64 {
        frame.left + frame.width * self.share(value)
    }

    /// Where a value is upwards.
    pub fn y(&self, value: f64, frame: &Frame) -> f64 {
        frame.bottom() - frame.height * self.share(value)
    }

    /// A tick in words.
    fn word(&self, tick: f64) -> String {
        let gaps = self.ticks.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        let step = if self.logarithmic { tick.abs() } else { gaps.fold(f64::INFINITY, f64::min) };
        let digits = (-step.log10().floor()).clamp(0.0, 6.0);
        let digits = if digits.is_finite() { digits as usize } else { 0 };
        match tick.abs() {
            big if big >= 1e6 => format!("{}M", trimmed(tick / 1e6, 2)),
            big if big >= 1e4 => format!("{}k", trimmed(tick / 1e3, 2)),
            _ => {
                let text = format!("{tick:.digits$}");
                if text.trim_start_matches('-').parse() == Ok(0.0) { "0".to_string() } else { text.replace('-', "−") }
            }
        }
    }
}

fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').replace('-', "−")
}

fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|round| *round >= step * 0.999)
        .unwrap_or(10.0 * power)
}

/// Draws the headline at the upper edge and returns where the rest begins.
pub fn headline(scene: &mut Scene, title: &str) -> f64 {
    let room = scene.width - 2.0 * EDGE;
    let mut y = EDGE;
    for line in font::wrap(title, HEADLINE, Weight::Bold, room, 3) {
        y += HEADLINE * 1.25;
        scene.text(Words::new(line, [EDGE, y - HEADLINE * 0.25], HEADLINE).bold());
    }
    y + 4.0
}

/// Draws small grey lines that say how to read the figure, and returns where the rest begins.
pub fn caption(scene: &mut Scene, text: &str, top: f64) -> f64 {
    let mut y = top;
    for line in font::wrap(text, SMALL, Weight::Regular, scene.width - 2.0 * EDGE, 6) {
        y += SMALL * 1.3;
        scene.text(Words::new(line, [EDGE, y], SMALL).coloured(Colour::GREY));
    }
    y + 3.0
}

/// Draws the heading of a panel above its frame.
pub fn heading(scene: &mut Scene, frame: &Frame, text: &str) {
    let text = font::cut(text, TEXT, Weight::Bold, frame.width);
    scene.text(Words::new(text, [frame.left, frame.top - 5.0], TEXT).bold());
}

/// How much room the numbers of a vertical axis take to its left.
pub fn room_for(axis: &Axis) -> f64 {
    let widest = axis.ticks.iter().map(|tick| width(&axis.word(*tick), SMALL, Weight::Regular));
    widest.fold(0.0, f64::max) + 5.0
}

/// Draws a vertical axis with faint lines across the frame; with words, if `written`.
pub fn vertical(scene: &mut Scene, frame: &Frame, axis: &Axis, label: Option<&str>, written: bool) {
    for tick in &axis.ticks {
        let y = axis.y(*tick, frame);
        scene.line(vec![[frame.left, y], [frame.right(), y]], Stroke::of(Colour::FAINT, 0.6));
        if written {
            let words = Words::new(axis.word(*tick), [frame.left - 4.0, y + SMALL * 0.36], SMALL);
            scene.text(words.anchored(Anchor::End));
        }
    }
    if let Some(label) = label {
        let at = [frame.left - room_for(axis) - 4.0, frame.top + frame.height / 2.0];
        scene.text(Words::new(label, at, TEXT).anchored(Anchor::Middle).turned(-90.0));
    }
    scene.line(vec![[frame.left, frame.top], [frame.left, frame.bottom()]], Stroke::of(Colour::INK, 0.7));
}

/// Draws a horizontal axis of numbers.
pub fn horizontal(scene: &mut Scene, frame: &Frame, axis: &Axis, label: &str) {
    base(scene, frame);
    for tick in &axis.ticks {
        let x = axis.x(*tick, frame);
        scene.line(vec![[x, frame.bottom()], [x, frame.bottom() + 2.5]], Stroke::of(Colour::INK, 0.7));
        let words = Words::new(axis.word(*tick), [x, frame.bottom() + 4.0 + SMALL], SMALL);
        scene.text(words.anchored(Anchor::Middle));
    }
    let at = [frame.left + frame.width / 2.0, frame.bottom() + 4.0 + SMALL + TEXT + 4.0];
    scene.text(Words::new(label, at, TEXT).anchored(Anchor::Middle));
}

/// The lower edge of a frame.
pub fn base(scene: &mut Scene, frame: &Frame) {
    scene.line(vec![[frame.left, frame.bottom()], [frame.right(), frame.bottom()]], Stroke::of(Colour::INK, 0.7));
}

/// Whether names do not fit side by side.
fn turned(names: &[String], slot: f64) -> bool {
    names.iter().any(|name| width(name, SMALL, Weight::Regular) > slot - 4.0)
}

/// How much room names under the parts of a frame take.
pub fn room_below(names: &[String], slot: f64) -> f64 {
    let widest = names.iter().map(|name| width(name, SMALL, Weight::Regular)).fold(0.0, f64::max);
    match turned(names, slot) {
        true => widest * TURN.to_radians().sin().abs() + SMALL + 5.0,
        false => SMALL + 6.0,
    }
}

/// Writes names under places; they are turned where they do not fit into a slot.
pub fn names_below(scene: &mut Scene, names: &[String], places: &[f64], slot: f64, top: f64) {
    for (name, x) in names.iter().zip(places) {
        let words = Words::new(name, [*x, top + SMALL + 3.0], SMALL);
        scene.text(match turned(names, slot) {
            true => Words { at: [*x + 2.5, top + SMALL], ..words }.anchored(Anchor::End).turned(TURN),
            false => words.anchored(Anchor::Middle),
        });
    }
}

/// Draws the marker of a style.
pub fn marker(scene: &mut Scene, at: [f64; 2], radius: f64, style: &Style) {
    let (fill, stroke) = (Fill::of(style.colour), Stroke::of(Colour::PAPER, 0.5));
    match style.marker.corners(at, radius) {
        corners if corners.is_empty() => scene.shapes.push(Shape::Circle { centre: at, radius, fill, stroke }),
        points => scene.shapes.push(Shape::Path { points, closed: true, fill, stroke }),
    }
}

/// Draws a small marker among many.
pub fn speck(scene: &mut Scene, at: [f64; 2], style: &Style) {
    const RADIUS: f64 = 1.4;
    let fill = Some(Fill { colour: style.colour, opacity: 0.75 });
    match style.marker.corners(at, RADIUS) {
        corners if corners.is_empty() => {
            scene.shapes.push(Shape::Circle { centre: at, radius: RADIUS, fill, stroke: None });
        }
        points => scene.shapes.push(Shape::Path { points, closed: true, fill, stroke: None }),
    }
}

/// A sample of a style with what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What it means.
    pub name: String,
    /// How it looks.
    pub look: Look,
}

/// How something in a legend looks.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// A line with markers.
    Line(Style),
    /// A line without markers.
    Flat(Style),
    /// A marker.
    Point(Style),
    /// An area with a letter or two in it.
    Area(Colour, String),
}

/// Draws samples one after the other in as many lines as they need, and returns where the rest begins.
pub fn legend(scene: &mut Scene, samples: &[Sample], top: f64) -> f64 {
    const SAMPLE: f64 = 22.0;
    const GAP: f64 = 12.0;
    let room = scene.width - 2.0 * EDGE;
    let (mut x, mut y) = (EDGE, top + TEXT);
    for Sample { name, look } in samples {
        let sample = if matches!(look, Look::Point(_)) { 9.0 } else { SAMPLE };
        let name = font::cut(name, TEXT, Weight::Regular, room - sample - 4.0);
        let needed = sample + 4.0 + width(&name, TEXT, Weight::Regular);
        if x > EDGE && x + needed > EDGE + room {
            (x, y) = (EDGE, y + TEXT * 1.45);
        }
        let middle = y - TEXT * 0.36;
        match look {
            Look::Line(style) | Look::Flat(style) => {
                scene.line(vec![[x, middle], [x + sample, middle]], line_of(style));
                if matches!(look, Look::Line(_)) {
                    marker(scene, [x + sample / 2.0, middle], 2.4, style);
                }
            }
            Look::Point(style) => marker(scene, [x + sample / 2.0, middle], 2.6, style),
            Look::Area(colour, letters) => {
                scene.rectangle([x, y - TEXT * 0.95, sample, TEXT * 1.2], Fill::of(*colour), None);
                let words = Words::new(letters, [x + sample / 2.0, y - TEXT * 0.05], SMALL);
                scene.text(words.anchored(Anchor::Middle).coloured(colour.letters()));
            }
        }
        scene.text(Words::new(name, [x + sample + 4.0, y], TEXT));
        x += needed + GAP;
    }
    if samples.is_empty() { top } else { y + TEXT * 0.8 }
}

/// The line of a style.
pub fn line_of(style: &Style) -> Option<Stroke> {
    Some(Stroke { colour: style.colour, width: 1.3, dash: style.dash.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|tick| axis.word(*tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers_around_the_values() {
        let axis = Axis::linear([12.0, 93.0], 5);
        assert_eq!((words(&axis), axis.low), (["0", "20", "40", "60", "80"].map(String::from).to_vec(), 0.0));
        assert!(axis.high > 95.0 && axis.high < 100.0);
        assert_eq!(words(&Axis::linear([61.2, 68.9], 4)), ["62", "64", "66", "68"]);
        assert_eq!(words(&Axis::linear([-0.02, 0.05], 4)), ["−0.02", "0", "0.02", "0.04"]);
        assert_eq!(words(&Axis::linear([0.0, 1.0], 5)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert!(words(&Axis::linear([5.0], 4)).contains(&"5.0".to_string()));
        assert_eq!(words(&Axis::linear([], 4)).first().map(String::as_str), Some("0"));
        assert_eq!(words(&Axis::logarithmic([3.0, 4000.0])), ["10", "100", "1000"]);
        assert_eq!(words(&Axis::logarithmic([15.0, 95.0])), ["20", "50", "100"]);
    }
}
