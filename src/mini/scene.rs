//! The world of the miniature suite: two rows of two cells, each with nothing, an object or a glyph.
//!
//! A cell is as large as a patch of the miniature model. Scenes are split for good by a hash of their
//! content: a held-out scene occurs in benchmarks only, whatever dataset draws it.

use super::dice::{Dice, hash};

/// The shape of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A disc.
    Circle,
    /// A square on its side.
    Square,
    /// A triangle that points up.
    Triangle,
    /// An upright cross.
    Cross,
}

/// The colour of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Yellow.
    Yellow,
    /// Pink.
    Pink,
    /// White.
    White,
}

/// The size of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Half as wide as its cell.
    Small,
    /// Nearly as wide as its cell.
    Large,
}

/// All shapes.
pub const SHAPES: [Shape; 4] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Cross];
/// All colours.
pub const COLOURS: [Colour; 6] =
    [Colour::Red, Colour::Green, Colour::Blue, Colour::Yellow, Colour::Pink, Colour::White];
/// Both sizes.
pub const SIZES: [Size; 2] = [Size::Small, Size::Large];
/// The names of the cells, in reading order.
pub const PLACES: [&str; 4] = ["top left", "top right", "bottom left", "bottom right"];
/// The digits that glyphs show.
pub const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
/// The letters that glyphs show.
pub const LETTERS: [char; 10] = ['A', 'C', 'E', 'F', 'H', 'J', 'L', 'P', 'T', 'U'];

/// An object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its shape.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Its size.
    pub size: Size,
}

/// What is in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// An object.
    Object(Object),
    /// A digit or a letter.
    Glyph(char),
}

/// Four cells in reading order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// The cells.
    pub cells: [Cell; 4],
}

/// A kind of scene that questions need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// One object.
    One,
    /// Two or three objects, no two alike in shape or colour.
    Distinct,
    /// One to four objects of two shapes and two colours.
    Crowd,
    /// One to three digits and letters.
    Text,
    /// Two digits.
    Digits,
}

impl Shape {
    /// The English name.
    pub fn name(self) -> &'static str {
        ["circle", "square", "triangle", "cross"][self as usize]
    }

    /// The English name of several.
    pub fn plural(self) -> &'static str {
        ["circles", "squares", "triangles", "crosses"][self as usize]
    }
}

impl Colour {
    /// The English name.
    pub fn name(self) -> &'static str {
        ["red", "green", "blue", "yellow", "pink", "white"][self as usize]
    }
}

impl Size {
    /// The English name.
    pub fn name(self) -> &'static str {
        ["small", "large"][self as usize]
    }
}

impl Scene {
    /// Draws a scene of a kind, from the held-out scenes or from all others. Of a single object there
    /// are 192 scenes, too few to learn its shape and colour from a part of them: there only the
    /// picture of a benchmark is new.
    pub fn draw(world: World, held_out: bool, dice: &mut Dice) -> Scene {
        loop {
            let scene = Scene::any(world, dice);
            if matches!(world, World::One) || scene.held_out() == held_out {
                return scene;
            }
        }
    }

    /// Whether the scene occurs in benchmarks only: every fifth does.
    pub fn held_out(&self) -> bool {
        hash(&format!("{:?}", self.cells)).is_multiple_of(5)
    }

    /// The objects with their cells.
    pub fn objects(&self) -> Vec<(usize, Object)> {
        let object = |(place, cell): (usize, &Cell)| match cell {
            Cell::Object(object) => Some((place, *object)),
            Cell::Empty | Cell::Glyph(_) => None,
        };
        self.cells.iter().enumerate().filter_map(object).collect()
    }

    /// The glyphs in reading order.
    pub fn glyphs(&self) -> Vec<char> {
        let glyph = |cell: &Cell| match cell {
            Cell::Glyph(glyph) => Some(*glyph),
            Cell::Empty | Cell::Object(_) => None,
        };
        self.cells.iter().filter_map(glyph).collect()
    }

    fn any(world: World, dice: &mut Dice) -> Scene {
        let mut places = [0, 1, 2, 3];
        let mut colours = COLOURS;
        let mut shapes = SHAPES;
        let mut cells = [Cell::Empty; 4];
        let count = match world {
            World::One => 1,
            World::Distinct => dice.pick(&[2, 3]),
            World::Crowd => dice.pick(&[1, 2, 3, 4]),
            World::Text => dice.pick(&[1, 2, 3]),
            World::Digits => 2,
        };
        let places = dice.draw(&mut places, count);
        let colours = dice.draw(&mut colours, 3);
        let shapes = dice.draw(&mut shapes, 3);
        for (number, place) in places.iter().enumerate() {
            let size = dice.pick(&SIZES);
            cells[*place] = match world {
                World::One | World::Distinct => {
                    Cell::Object(Object { shape: shapes[number], colour: colours[number], size })
                }
                World::Crowd => {
                    Cell::Object(Object { shape: dice.pick(&shapes[..2]), colour: dice.pick(&colours[..2]), size })
                }
                World::Text if dice.chance(50) => Cell::Glyph(dice.pick(&LETTERS)),
                World::Text | World::Digits => Cell::Glyph(dice.pick(&DIGITS)),
            };
        }
        Scene { cells }
    }
}
