//! What a picture is made of. Lengths are points (1/72 inch), y grows downwards.

use super::font::{self, Weight};
use super::palette::Colour;

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// What it shows, in words.
    pub title: String,
    /// What is drawn, one over the other.
    pub shapes: Vec<Shape>,
}

/// A thing in a picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Straight lines through points.
    Path {
        /// The points.
        points: Vec<[f64; 2]>,
        /// Whether the last point joins the first.
        closed: bool,
        /// What is inside.
        fill: Option<Fill>,
        /// The line itself.
        stroke: Option<Stroke>,
    },
    /// A circle.
    Circle {
        /// Its middle.
        centre: [f64; 2],
        /// Its radius.
        radius: f64,
        /// What is inside.
        fill: Option<Fill>,
        /// The line itself.
        stroke: Option<Stroke>,
    },
    /// Words.
    Text(Words),
    /// An image.
    Image {
        /// Left, top, width, height.
        place: [f64; 4],
        /// The file.
        bytes: Vec<u8>,
        /// Its type, such as `image/png`.
        media: &'static str,
    },
}

/// A line of words.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// The text.
    pub text: String,
    /// Where its anchor is, on the baseline.
    pub at: [f64; 2],
    /// Which part of it is there.
    pub anchor: Anchor,
    /// Size of the letters.
    pub size: f64,
    /// How heavy they are.
    pub weight: Weight,
    /// Their colour.
    pub colour: Colour,
    /// Degrees that it is turned by around the anchor, clockwise.
    pub turn: f64,
}

/// Which part of a text is at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// The inside of a shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fill {
    /// Its colour.
    pub colour: Colour,
    /// From 0, nothing, to 1.
    pub opacity: f64,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Stroke {
    /// Its colour.
    pub colour: Colour,
    /// Its width.
    pub width: f64,
    /// Lengths of dashes and gaps in turn; empty for a solid line.
    pub dash: Vec<f64>,
}

impl Fill {
    /// Opaque.
    pub fn of(colour: Colour) -> Option<Fill> {
        Some(Fill { colour, opacity: 1.0 })
    }
}

impl Stroke {
    /// Solid.
    pub fn of(colour: Colour, width: f64) -> Option<Stroke> {
        Some(Stroke { colour, width, dash: Vec::new() })
    }
}

impl Scene {
    /// An empty picture.
    pub fn new(width: f64, height: f64, title: &str) -> Scene {
        Scene { width, height, title: title.to_string(), shapes: Vec::new() }
    }

    /// Adds a rectangle: left, top, width, height.
    pub fn rectangle(&mut self, [x, y, width, height]: [f64; 4], fill: Option<Fill>, stroke: Option<Stroke>) {
        let points = vec![[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
        self.shapes.push(Shape::Path { points, closed: true, fill, stroke });
    }

    /// Adds lines through points.
    pub fn line(&mut self, points: Vec<[f64; 2]>, stroke: Option<Stroke>) {
        self.shapes.push(Shape::Path { points, closed: false, fill: None, stroke });
    }

    /// Adds words.
    pub fn text(&mut self, words: Words) {
        if !words.text.is_empty() {
            self.shapes.push(Shape::Text(words));
        }
    }

    /// Adds all of another picture, moved.
    pub fn place(&mut self, other: Scene, [x, y]: [f64; 2]) {
        let moved = |at: [f64; 2]| [at[0] + x, at[1] + y];
        self.shapes.extend(other.shapes.into_iter().map(|shape| match shape {
            Shape::Path { points, closed, fill, stroke } => {
                Shape::Path { points: points.into_iter().map(moved).collect(), closed, fill, stroke }
            }
            Shape::Circle { centre, radius, fill, stroke } => {
                Shape::Circle { centre: moved(centre), radius, fill, stroke }
            }
            Shape::Text(words) => Shape::Text(Words { at: moved(words.at), ..words }),
            Shape::Image { place: [left, top, width, height], bytes, media } => {
                Shape::Image { place: [left + x, top + y, width, height], bytes, media }
            }
        }));
    }
}

impl Words {
    /// Dark words of this size that begin at a place.
    pub fn new(text: impl Into<String>, at: [f64; 2], size: f64) -> Words {
        let (anchor, weight, colour) = (Anchor::Start, Weight::Regular, Colour::INK);
        Words { text: text.into(), at, anchor, size, weight, colour, turn: 0.0 }
    }

    /// The same with another part at the place.
    pub fn anchored(self, anchor: Anchor) -> Words {
        Words { anchor, ..self }
    }

    /// The same in bold.
    pub fn bold(self) -> Words {
        Words { weight: Weight::Bold, ..self }
    }

    /// The same in a colour.
    pub fn coloured(self, colour: Colour) -> Words {
        Words { colour, ..self }
    }

    /// The same turned around its place.
    pub fn turned(self, turn: f64) -> Words {
        Words { turn, ..self }
    }

    /// How far left of its place the text begins.
    pub fn before(&self) -> f64 {
        let width = font::width(&self.text, self.size, self.weight);
        match self.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        }
    }
}
