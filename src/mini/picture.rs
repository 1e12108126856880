//! From a scene to pixels: 24 by 24, with backgrounds and objects in varying shades and with noise, so
//! that no two pictures of a scene are equal. Objects lie still in their cells: a shape is then a linear
//! function of the pixels, which a model can learn from a few thousand pictures. Unaware of questions.

use image::{Rgb, RgbImage};

use super::dice::Dice;
use super::scene::{Cell, Colour, Scene, Shape, Size};

/// Width and height of a picture in pixels.
pub const SIDE: usize = 24;
/// Width and height of a cell: a patch of the miniature model.
pub const CELL: usize = 12;

/// Draws a picture of `scene` on a background of about the colour `tint`.
pub fn paint(scene: &Scene, tint: [i32; 3], dice: &mut Dice) -> RgbImage {
    let background = tint.map(|channel| channel + dice.between(-12, 12));
    let layers: Vec<Layer> = scene.cells.iter().map(|cell| Layer::new(cell, dice)).collect();
    let mut picture = RgbImage::new(SIDE as u32, SIDE as u32);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let layer = &layers[y / CELL * (SIDE / CELL) + x / CELL];
            let colour = if layer.covers(x % CELL, y % CELL) { layer.colour } else { background };
            let pixel = colour.map(|channel| (channel + dice.between(-8, 8)).clamp(0, 255) as u8);
            picture.put_pixel(x as u32, y as u32, Rgb(pixel));
        }
    }
    picture
}

/// What is painted in one cell, and in which shade.
struct Layer {
    cell: Cell,
    colour: [i32; 3],
}

impl Layer {
    fn new(cell: &Cell, dice: &mut Dice) -> Layer {
        let colour = match cell {
            Cell::Object(object) => pigment(object.colour),
            Cell::Empty | Cell::Glyph(_) => pigment(Colour::White),
        };
        Layer { cell: *cell, colour: colour.map(|channel| channel + dice.between(-14, 14)) }
    }

    fn covers(&self, x: usize, y: usize) -> bool {
        // In half pixels from the centre of the cell.
        let middle = CELL as i32 - 1;
        let (across, down) = (2 * x as i32 - middle, 2 * y as i32 - middle);
        match self.cell {
            Cell::Empty => false,
            Cell::Object(object) => {
                let radius = if object.size == Size::Small { 6 } else { 11 };
                inside(object.shape, across, down, radius)
            }
            Cell::Glyph(glyph) => inked(glyph, across, down),
        }
    }
}

fn inside(shape: Shape, across: i32, down: i32, radius: i32) -> bool {
    match shape {
        Shape::Circle => across * across + down * down <= radius * radius,
        Shape::Square => across.abs().max(down.abs()) * 8 <= radius * 7,
        Shape::Triangle => down.abs() <= radius && 2 * across.abs() <= down + radius,
        Shape::Cross => across.abs().min(down.abs()) * 3 <= radius && across.abs().max(down.abs()) <= radius,
    }
}

fn pigment(colour: Colour) -> [i32; 3] {
    match colour {
        Colour::Red => [225, 35, 30],
        Colour::Green => [35, 185, 60],
        Colour::Blue => [50, 85, 240],
        Colour::Yellow => [238, 215, 35],
        Colour::Pink => [240, 100, 215],
        Colour::White => [240, 240, 240],
    }
}

/// Whether the glyph, 3 by 5 dots of 2 by 2 pixels, has ink at this distance from its centre.
fn inked(glyph: char, across: i32, down: i32) -> bool {
    let (column, row) = ((across + 6).div_euclid(4), (down + 10).div_euclid(4));
    let within = (0..3).contains(&column) && (0..5).contains(&row);
    within && dots(glyph)[row as usize] >> (2 - column) & 1 == 1
}

/// The rows of a glyph, three bits each.
fn dots(glyph: char) -> [u8; 5] {
    match glyph {
        '0' => [7, 5, 5, 5, 7],
        '1' => [2, 6, 2, 2, 7],
        '2' => [7, 1, 7, 4, 7],
        '3' => [7, 1, 3, 1, 7],
        '4' => [5, 5, 7, 1, 1],
        '5' => [7, 4, 7, 1, 7],
        '6' => [4, 4, 7, 5, 7],
        '7' => [7, 1, 2, 2, 2],
        '8' => [7, 5, 7, 5, 7],
        '9' => [7, 5, 7, 1, 1],
        'A' => [2, 5, 7, 5, 5],
        'C' => [3, 4, 4, 4, 3],
        'E' => [7, 4, 6, 4, 7],
        'F' => [7, 4, 6, 4, 4],
        'H' => [5, 5, 7, 5, 5],
        'J' => [1, 1, 1, 5, 2],
        'L' => [4, 4, 4, 4, 7],
        'P' => [6, 5, 6, 4, 4],
        'T' => [7, 2, 2, 2, 2],
        'U' => [5, 5, 5, 5, 7],
        _ => unreachable!("BUG: no dots for the glyph `{glyph}`"),
    }
}
