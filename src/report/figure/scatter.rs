//! Two columns of a table of arms against each other: what quality costs.

use super::chart::{self, Axis, Frame};
use super::font::{Weight, width};
use super::numbers::{Numbers, Role};
use super::palette::{Colour, style};
use super::scene::{Anchor, Scene, Stroke, Words};
use super::spec::FigureSpec;
use super::{Figure, FigureError};
use crate::report::{Cell, Column, Direction, Table};

/// An arm.
struct Point<'t> {
    name: &'t str,
    x: &'t Cell,
    y: &'t Cell,
    /// Whether no other arm has more for less.
    front: bool,
}

impl Point<'_> {
    fn place(&self) -> Option<(f64, f64)> {
        Some((self.x.mean?, self.y.mean?))
    }
}

/// The figure that `spec` asks for, of the table with its two columns.
///
/// # Errors
///
/// If no arm has both.
pub fn build(spec: &FigureSpec, table: &Table) -> Result<Figure, FigureError> {
    let shown = table.body.iter().filter(|row| spec.shows(Some(&row.label)));
    let mut points: Vec<Point<'_>> =
        shown.map(|row| Point { name: &row.label, x: &row.cells[0], y: &row.cells[1], front: false }).collect();
    let places: Vec<Option<(f64, f64)>> = points.iter().map(Point::place).collect();
    if places.iter().all(Option::is_none) {
        return Err(FigureError::NoResults(spec.name.clone()));
    }
    let [x, y] = [&table.columns[0], &table.columns[1]];
    // A rate of forgetting, say, is better where it is less.
    let down = Column::parse(&y.name).and_then(|column| column.direction()) == Some(Direction::Down);
    let at_least = |one: f64, other: f64| if down { one <= other } else { one >= other };
    for (point, place) in points.iter_mut().zip(&places) {
        let beaten = |(x, y): (f64, f64)| {
            places.iter().flatten().any(|other| other.0 <= x && at_least(other.1, y) && (other.0 < x || other.1 != y))
        };
        point.front = place.is_some_and(|place| !beaten(place));
    }
    let mut numbers = Numbers::new(&[
        ("arm", Role::Key),
        ("x", Role::Compared(x.tolerance)),
        ("x_deviation", Role::Shown),
        ("y", Role::Compared(y.tolerance)),
        ("y_deviation", Role::Shown),
        ("pareto_front", Role::Shown),
    ]);
    for point in &points {
        let front = if point.front { "yes" } else { "no" };
        let numbers_of = |cell: &Cell| [cell.mean.into(), cell.deviation.into()];
        let row = [vec![point.name.into()], numbers_of(point.x).to_vec(), numbers_of(point.y).to_vec()].concat();
        numbers.rows.push(row.into_iter().chain([front.into()]).collect());
    }
    let scene = draw(&points, &x.heading, &y.heading, &table.title);
    Ok(Figure::new(spec, &table.title, numbers, scene))
}

fn draw(points: &[Point<'_>], x_label: &str, y_label: &str, title: &str) -> Scene {
    let mut scene = Scene::new(360.0, 0.0, title);
    let top = chart::headline(&mut scene, title);
    let ends = |cell: &Cell| {
        let deviation = cell.deviation.unwrap_or(0.0);
        cell.mean.into_iter().flat_map(move |mean| [mean - deviation, mean + deviation])
    };
    let xs: Vec<f64> = points.iter().filter_map(|point| point.x.mean).collect();
    let (least, most) = xs.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), x| (least.min(*x), most.max(*x)));
    // Costs that differ by more than a factor of eight are compared by their ratios.
    let across = match least > 0.0 && most > 8.0 * least {
        true => Axis::logarithmic(xs),
        false => Axis::linear(points.iter().flat_map(|point| ends(point.x)), 5),
    };
    let up = Axis::linear(points.iter().flat_map(|point| ends(point.y)), 5);
    let left = chart::EDGE + chart::TEXT + 6.0 + chart::room_for(&up);
    let frame = Frame { left, top: top + 2.0, width: scene.width - left - chart::EDGE - 4.0, height: 210.0 };
    chart::vertical(&mut scene, &frame, &up, Some(y_label), true);
    chart::horizontal(&mut scene, &frame, &across, x_label);
    let at = |point: &Point<'_>| point.place().map(|(x, y)| [across.x(x, &frame), up.y(y, &frame)]);
    let mut front: Vec<[f64; 2]> = points.iter().filter(|point| point.front).filter_map(at).collect();
    front.sort_by(|left, right| left[0].total_cmp(&right[0]));
    // More is never had for less than the next point of the front costs: stairs, not slopes.
    let mut stairs: Vec<[f64; 2]> = Vec::new();
    for place in &front {
        if let Some(last) = stairs.last().copied() {
            stairs.push([place[0], last[1]]);
        }
        stairs.push(*place);
    }
    let steps: Vec<[f64; 4]> = stairs
        .windows(2)
        .map(|pair| {
            let [[x, y], [right, top]] = [pair[0], pair[1]];
            [x.min(right), y.min(top), (right - x).abs(), (top - y).abs()]
        })
        .collect();
    if stairs.len() > 1 {
        let stroke = Stroke { colour: Colour::GREY, width: 0.9, dash: vec![3.0, 2.0] };
        scene.line(stairs, Some(stroke));
    }
    for (number, point) in points.iter().enumerate() {
        let (Some(at), Some((x, y))) = (at(point), point.place()) else { continue };
        let colour = style(number).colour;
        if let Some(deviation) = point.y.deviation {
            let ends = [y - deviation, y + deviation].map(|end| [at[0], up.y(end, &frame)]);
            scene.line(ends.to_vec(), Stroke::of(colour, 0.9));
        }
        if let Some(deviation) = point.x.deviation {
            let ends = [x - deviation, x + deviation].map(|end| [across.x(end, &frame), at[1]]);
            scene.line(ends.to_vec(), Stroke::of(colour, 0.9));
        }
    }
    let markers: Vec<[f64; 2]> = points.iter().filter_map(at).collect();
    for (number, point) in points.iter().enumerate() {
        if let Some(at) = at(point) {
            chart::marker(&mut scene, at, 3.2, &style(number));
        }
    }
    let mut taken: Vec<[f64; 4]> = markers.iter().map(|[x, y]| [x - 4.0, y - 4.0, 8.0, 8.0]).chain(steps).collect();
    for point in points {
        let Some(at) = at(point) else { continue };
        let weight = if point.front { Weight::Bold } else { Weight::Regular };
        let (place, anchor) = label_place(at, width(point.name, chart::SMALL, weight), &frame, &mut taken);
        let words = Words::new(point.name, place, chart::SMALL).anchored(anchor);
        let far = (place[1] - chart::SMALL * 0.36 - at[1]).abs() > 14.0;
        if far {
            scene.line(vec![at, [place[0], place[1] - chart::SMALL * 0.36]], Stroke::of(Colour::GREY, 0.4));
        }
        scene.text(Words { weight, ..words });
    }
    let y = frame.bottom() + 4.0 + chart::SMALL + chart::TEXT + 10.0;
    let y = chart::caption(&mut scene, "Bold: no other arm is better in both (dashed: the Pareto front).", y);
    scene.height = y + chart::EDGE / 2.0;
    scene
}

/// Where a label of this width goes: right of its point, left of it, above or below, and farther up or
/// down until nothing is there; where something is everywhere, to where the least is.
fn label_place(at: [f64; 2], width: f64, frame: &Frame, taken: &mut Vec<[f64; 4]>) -> ([f64; 2], Anchor) {
    const AWAY: f64 = 6.0;
    let height = chart::SMALL * 1.15;
    let mut choices = Vec::new();
    for shift in (0..8).flat_map(|line| [-9.0 * f64::from(line), 9.0 * f64::from(line)]) {
        let middle = at[1] + shift;
        choices.push(([at[0] + AWAY, middle], Anchor::Start));
        choices.push(([at[0] - AWAY, middle], Anchor::End));
        if shift != 0.0 {
            choices.push(([at[0], middle], Anchor::Middle));
        }
    }
    let area = |([x, middle], anchor): ([f64; 2], Anchor)| {
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        [left, middle - height / 2.0, width, height]
    };
    let inside = |[left, top, width, height]: [f64; 4]| {
        left > frame.left
            && left + width < frame.right() + chart::EDGE
            && top > frame.top - 4.0
            && top + height < frame.bottom()
    };
    let common = |one: &[f64; 4], other: &[f64; 4]| {
        let side =
            |axis: usize| (one[axis] + one[axis + 2]).min(other[axis] + other[axis + 2]) - one[axis].max(other[axis]);
        // A line has no area, and hides a label all the same.
        if side(0) < 0.0 || side(1) < 0.0 { 0.0 } else { 1.0 + side(0) * side(1) }
    };
    let hidden = |choice: &([f64; 2], Anchor)| -> f64 {
        let area = area(*choice);
        taken.iter().map(|other| common(&area, other)).sum()
    };
    let found = choices
        .iter()
        .filter(|choice| inside(area(**choice)))
        .min_by(|one, other| hidden(one).total_cmp(&hidden(other)));
    let (place, anchor) = *found.unwrap_or(&choices[0]);
    taken.push(area((place, anchor)));
    ([place[0], place[1] + chart::SMALL * 0.36], anchor)
}
