//! Results over the time steps: a line for each arm with a band of one deviation over the seeds.

use super::chart::{self, Axis, Frame, Look, Sample};
use super::history::{Course, History};
use super::numbers::{Entry, Numbers, Role};
use super::palette::{Colour, style};
use super::scene::{Fill, Scene, Shape, Stroke};
use super::spec::{FigureSpec, Lines, Shown};
use super::{Figure, FigureError, check_skills, value_words};
use crate::report::Cell;

/// A panel: its heading, and a line for each arm.
struct Panel<'c> {
    name: &'c str,
    lines: Vec<(&'c str, &'c [Cell])>,
}

/// The figure that `spec` asks for.
///
/// # Errors
///
/// If results are missing or cannot be compared.
pub fn build(spec: &FigureSpec, lines: &Lines, title: &str, histories: &[History]) -> Result<Figure, FigureError> {
    let course = Course::of(spec, histories, lines.value, lines.relative_to.as_deref())?;
    let skills: Vec<&str> = match &lines.skills {
        Shown::Mean => Vec::new(),
        Shown::All => course.skills.iter().map(String::as_str).collect(),
        Shown::Named(names) => check_skills(names, &course.skills)?,
    };
    let of_skill = |skill: &&'_ str| Panel {
        name: course.skills.iter().find(|known| known == skill).map_or("", String::as_str),
        lines: course.arms.iter().map(|(arm, skills)| (arm.as_str(), skills[*skill].as_slice())).collect(),
    };
    let panels: Vec<Panel<'_>> = match lines.skills {
        Shown::Mean => {
            let lines = course.means.iter().map(|(arm, cells)| (arm.as_str(), cells.as_slice())).collect();
            vec![Panel { name: "mean over skills", lines }]
        }
        _ => skills.iter().map(of_skill).collect(),
    };
    let names = course.names(lines.start.as_deref());
    let (label, tolerance) = value_words(lines.value, lines.relative_to.as_deref());
    let mut numbers = Numbers::new(&[
        ("skill", Role::Key),
        ("arm", Role::Key),
        ("step", Role::Key),
        ("after", Role::Key),
        ("mean", Role::Compared(tolerance)),
        ("deviation", Role::Shown),
        ("n", Role::Shown),
    ]);
    for panel in &panels {
        for (arm, cells) in &panel.lines {
            for (step, cell) in cells.iter().enumerate() {
                let (step, after) = match course.follows(cells) {
                    true => (Entry::from(step), names[step].as_str()),
                    false => ("all".into(), "one result"),
                };
                let row = vec![panel.name.into(), (*arm).into(), step, after.into()];
                let values = [cell.mean.into(), cell.deviation.into(), cell.n.into()];
                numbers.rows.push(row.into_iter().chain(values).collect());
            }
        }
    }
    let scene = draw(&course, &panels, &names, label, title);
    Ok(Figure::new(spec, title, numbers, scene))
}

fn draw(course: &Course, panels: &[Panel<'_>], names: &[String], label: &str, title: &str) -> Scene {
    let columns = match panels.len() {
        1 => 1,
        2 | 4 => 2,
        _ => 3,
    };
    let rows = panels.len().div_ceil(columns);
    let mut scene = Scene::new(if columns == 1 { chart::NARROW } else { chart::WIDE }, 0.0, title);
    let top = chart::headline(&mut scene, title);
    let low = |cell: &Cell| Some(cell.mean? - cell.deviation.unwrap_or(0.0));
    let high = |cell: &Cell| Some(cell.mean? + cell.deviation.unwrap_or(0.0));
    let cells = || panels.iter().flat_map(|panel| panel.lines.iter().flat_map(|(_, cells)| cells.iter()));
    let axis = Axis::linear(cells().flat_map(|cell| [low(cell), high(cell)]).flatten(), 5);
    let left = chart::EDGE + chart::TEXT + 6.0 + chart::room_for(&axis);
    let gap = 14.0;
    let width = (scene.width - left - chart::EDGE - gap * (columns - 1) as f64) / columns as f64;
    let height = if columns == 1 { 130.0 } else { 96.0 };
    let slot = width / names.len().max(1) as f64;
    let below = chart::room_below(names, slot);
    let above = if panels.len() > 1 || panels[0].name != "mean over skills" { chart::TEXT + 8.0 } else { 4.0 };
    let mut y = top;
    for row in 0..rows {
        let in_row = &panels[row * columns..(row * columns + columns).min(panels.len())];
        let frame_at =
            |column: usize| Frame { left: left + column as f64 * (width + gap), top: y + above, width, height };
        for (column, panel) in in_row.iter().enumerate() {
            let frame = frame_at(column);
            chart::vertical(&mut scene, &frame, &axis, (column == 0).then_some(label), column == 0);
            chart::base(&mut scene, &frame);
            if above > 4.0 {
                chart::heading(&mut scene, &frame, panel.name);
            }
            lines_of(&mut scene, &frame, &axis, course, panel);
            // Names are under the lowest panel of each column.
            if row * columns + column + columns >= panels.len() {
                let places: Vec<f64> = (0..names.len()).map(|place| frame.part(place, names.len())).collect();
                chart::names_below(&mut scene, names, &places, slot, frame.bottom() + 1.0);
            }
        }
        // Where the last row is shorter, the names of the panels that end above it need room too.
        let ragged = !panels.len().is_multiple_of(columns) && row + 2 == rows;
        y += above + height + if row + 1 == rows || ragged { below } else { 6.0 };
    }
    let lines = panels.iter().flat_map(|panel| panel.lines.iter().enumerate()).take(panels[0].lines.len());
    let sample = |(place, (arm, cells)): (usize, &(&str, &[Cell]))| {
        let look = if course.follows(cells) { Look::Line(style(place)) } else { Look::Flat(style(place)) };
        Sample { name: arm.to_string(), look }
    };
    let samples: Vec<Sample> = lines.map(sample).collect();
    y = chart::legend(&mut scene, &samples, y + 4.0);
    let replicates = cells().map(|cell| cell.n).max().unwrap_or(0);
    let mut notes = Vec::new();
    if replicates > 1 {
        notes.push(format!("Bands: ± one standard deviation over {replicates} seeds."));
    }
    if panels[0].lines.iter().any(|(_, cells)| !course.follows(cells)) {
        notes.push("Lines without markers: arms with one result, which do not follow the sequence.".to_string());
    }
    y = chart::caption(&mut scene, &notes.join(" "), y);
    scene.height = y + chart::EDGE / 2.0;
    scene
}

fn lines_of(scene: &mut Scene, frame: &Frame, axis: &Axis, course: &Course, panel: &Panel<'_>) {
    let count = course.moments.len();
    let looks = || panel.lines.iter().enumerate().map(|(place, (_, cells))| (style(place), *cells));
    for (style, cells) in looks() {
        let known = |cell: &Cell| Some((cell.mean?, cell.deviation?));
        let band: Vec<(f64, f64, f64)> = match course.follows(cells) {
            true => cells
                .iter()
                .enumerate()
                .filter_map(|(place, cell)| {
                    known(cell).map(|(mean, deviation)| (frame.part(place, count), mean, deviation))
                })
                .collect(),
            false => cells
                .first()
                .and_then(known)
                .into_iter()
                .flat_map(|(mean, deviation)| [(frame.left, mean, deviation), (frame.right(), mean, deviation)])
                .collect(),
        };
        let upper = band.iter().map(|(x, mean, deviation)| [*x, axis.y(mean + deviation, frame)]);
        let lower = band.iter().rev().map(|(x, mean, deviation)| [*x, axis.y(mean - deviation, frame)]);
        let points: Vec<[f64; 2]> = upper.chain(lower).collect();
        if points.len() > 2 {
            let fill = Some(Fill { colour: style.colour, opacity: 0.14 });
            scene.shapes.push(Shape::Path { points, closed: true, fill, stroke: None });
        }
    }
    for (style, cells) in looks() {
        if !course.follows(cells) {
            if let Some(mean) = cells.first().and_then(|cell| cell.mean) {
                let y = axis.y(mean, frame);
                scene.line(vec![[frame.left, y], [frame.right(), y]], chart::line_of(&style));
            }
            continue;
        }
        let places = cells
            .iter()
            .enumerate()
            .map(|(place, cell)| cell.mean.map(|mean| [frame.part(place, count), axis.y(mean, frame)]));
        let places: Vec<Option<[f64; 2]>> = places.collect();
        for run in places.split(Option::is_none).filter(|run| !run.is_empty()) {
            let points: Vec<[f64; 2]> = run.iter().copied().flatten().collect();
            // A pale edge keeps crossing lines apart.
            scene.line(points.clone(), Stroke::of(Colour::PAPER, 2.4));
            scene.line(points, chart::line_of(&style));
        }
        for at in places.into_iter().flatten() {
            chart::marker(scene, at, 2.4, &style);
        }
    }
}
