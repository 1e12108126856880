//! Results by skill and time step as tiles, and beside them which scorer each cluster chose.

use indexmap::IndexMap;

use super::chart::{self, Frame, Look, Sample};
use super::font::{self, Weight};
use super::history::{Course, History, ONLY};
use super::numbers::{Numbers, Role};
use super::palette::{Colour, diverging, sequential, style};
use super::scene::{Anchor, Fill, Scene, Stroke, Words};
use super::spec::{FigureSpec, Skills, Value};
use super::{Figure, FigureError, value_words};
use crate::artifact::Share;
use crate::report::{Cell, Moment};

/// The subsets of one replicate of one arm.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choices {
    /// The arm, where the experiment has arms.
    pub arm: Option<String>,
    /// When each was selected.
    pub moments: Vec<Moment>,
    /// What each cluster gave to each.
    pub steps: Vec<Vec<Share>>,
}

/// Height of a tile.
const TILE: f64 = 15.0;

/// The figure that `spec` asks for. `choices` are those of one replicate of each arm: clusters of
/// different seeds have nothing to do with each other.
///
/// # Errors
///
/// If results are missing or cannot be compared.
pub fn build(
    spec: &FigureSpec,
    skills: &Skills,
    title: &str,
    histories: &[History],
    choices: &[Choices],
) -> Result<Figure, FigureError> {
    let course = Course::of(spec, histories, skills.value, skills.relative_to.as_deref())?;
    let names = course.names(skills.start.as_deref());
    let (label, tolerance) = value_words(skills.value, skills.relative_to.as_deref());
    let mut numbers = Numbers::new(&[
        ("panel", Role::Key),
        ("arm", Role::Key),
        ("row", Role::Key),
        ("after", Role::Key),
        ("mean", Role::Compared(tolerance)),
        ("deviation", Role::Shown),
        ("scorer", Role::Shown),
        ("size", Role::Shown),
        ("chosen", Role::Shown),
    ]);
    for (arm, rows) in &course.arms {
        for (skill, cells) in rows {
            for (step, cell) in cells.iter().enumerate() {
                let after = if course.follows(cells) { names[step].as_str() } else { "one result" };
                let row = vec!["skills".into(), arm.as_str().into(), skill.as_str().into(), after.into()];
                let rest = [cell.mean.into(), cell.deviation.into(), "".into(), "".into(), "".into()];
                numbers.rows.push(row.into_iter().chain(rest).collect());
            }
        }
    }
    let chosen: Vec<&Choices> = choices
        .iter()
        .filter(|choices| {
            spec.shows(choices.arm.as_deref()) && choices.steps.iter().flatten().any(|share| share.scorer.is_some())
        })
        .collect();
    for choices in &chosen {
        for (moment, shares) in choices.moments.iter().zip(&choices.steps) {
            for share in shares {
                let arm = choices.arm.as_deref().unwrap_or(ONLY);
                let row =
                    vec!["scorers".into(), arm.into(), cluster(share).as_str().into(), moment.name.as_str().into()];
                let scorer = share.scorer.as_deref().unwrap_or_default().into();
                let rest = [None.into(), None.into(), scorer, share.size.into(), share.chosen.into()];
                numbers.rows.push(row.into_iter().chain(rest).collect());
            }
        }
    }
    let scene = draw(skills, &course, &names, label, title, &chosen);
    Ok(Figure::new(spec, title, numbers, scene))
}

fn cluster(share: &Share) -> String {
    share.cluster.map_or_else(|| "pool".to_string(), |cluster| cluster.to_string())
}

fn draw(skills: &Skills, course: &Course, names: &[String], label: &str, title: &str, chosen: &[&Choices]) -> Scene {
    let mut scene = Scene::new(chart::WIDE, 0.0, title);
    let mut y = chart::headline(&mut scene, title);
    // Percent of the best and results in percent have other colours: around 100, and from 0.
    let means = || course.arms.values().flatten().flat_map(|(_, cells)| cells).filter_map(|cell| cell.mean);
    let relative = skills.value == Value::RelativeGain;
    let reach = means().map(|mean| (mean - 100.0).abs()).fold(20.0, f64::max).min(100.0);
    let colour = |mean: f64| match relative {
        true => diverging((mean - 100.0) / reach),
        false => sequential(mean / 100.0),
    };
    let widest =
        course.skills.iter().map(|skill| font::width(skill, chart::SMALL, Weight::Regular)).fold(0.0, f64::max);
    let left = chart::EDGE + widest.min(110.0) + 5.0;
    let columns = course.arms.len().clamp(1, if names.len() > 8 { 1 } else { 2 });
    let gap = 16.0;
    let width = (scene.width - left - chart::EDGE - gap * (columns - 1) as f64) / columns as f64;
    let width = width.min(names.len() as f64 * 58.0);
    let slot = width / names.len().max(1) as f64;
    let height = TILE * course.skills.len() as f64;
    let arms: Vec<(&String, &IndexMap<String, Vec<Cell>>)> = course.arms.iter().collect();
    for row in arms.chunks(columns) {
        for (column, (arm, rows)) in row.iter().enumerate() {
            let frame = Frame { left: left + column as f64 * (width + gap), top: y + chart::TEXT + 8.0, width, height };
            chart::heading(&mut scene, &frame, &format!("{arm}: {label}"));
            for (place, (skill, cells)) in rows.iter().enumerate() {
                let top = frame.top + TILE * place as f64;
                if column == 0 {
                    let text = font::cut(skill, chart::SMALL, Weight::Regular, left - chart::EDGE - 5.0);
                    let at = [left - 5.0, top + TILE / 2.0 + chart::SMALL * 0.36];
                    scene.text(Words::new(text, at, chart::SMALL).anchored(Anchor::End));
                }
                let (cells, slot) = match course.follows(cells) {
                    true => (cells.as_slice(), slot),
                    false => (&cells[..cells.len().min(1)], width),
                };
                for (step, cell) in cells.iter().enumerate() {
                    let text = cell.mean.map_or("–".to_string(), |mean| format!("{mean:.0}"));
                    let colour = cell.mean.map_or(Colour::FAINT, colour);
                    tile(&mut scene, [frame.left + slot * step as f64, top, slot, TILE], colour, &text);
                }
            }
            let places: Vec<f64> = (0..names.len()).map(|place| frame.part(place, names.len())).collect();
            chart::names_below(&mut scene, names, &places, slot, frame.bottom());
        }
        y += chart::TEXT + 8.0 + height + chart::room_below(names, slot) + 4.0;
    }
    y = scorers(&mut scene, chosen, left, columns, y);
    let mut notes = vec![match relative {
        true => format!(
            "Relative gain: percent of the best result over time of {}; blue is more, orange is less; – where that is no better than chance.",
            skills.relative_to.as_deref().unwrap_or("the reference")
        ),
        false => "Results in percent; lighter is more.".to_string(),
    }];
    let replicates = course.means.values().flatten().map(|cell| cell.n).max().unwrap_or(0);
    if replicates > 1 {
        notes.push(format!("Means over {replicates} seeds."));
    }
    if !chosen.is_empty() {
        notes.push("Scorers: letters name the scorer, numbers the samples in the cluster; clusters of different steps and seeds are not the same, the first seed is shown.".to_string());
    }
    y = chart::caption(&mut scene, &notes.join(" "), y);
    scene.height = y + chart::EDGE / 2.0;
    scene
}

fn tile(scene: &mut Scene, place: [f64; 4], colour: Colour, text: &str) {
    scene.rectangle(place, Fill::of(colour), Stroke::of(Colour::PAPER, 0.8));
    let [x, y, width, height] = place;
    let text = if font::width(text, chart::SMALL, Weight::Regular) > width - 2.0 { "" } else { text };
    let at = [x + width / 2.0, y + height / 2.0 + chart::SMALL * 0.36];
    scene.text(Words::new(text, at, chart::SMALL).anchored(Anchor::Middle).coloured(colour.letters()));
}

/// Which scorer each cluster chose, a row of panels for the arms, with its legend.
fn scorers(scene: &mut Scene, chosen: &[&Choices], left: f64, columns: usize, top: f64) -> f64 {
    let mut names: Vec<&str> = Vec::new();
    for share in chosen.iter().flat_map(|choices| choices.steps.iter().flatten()) {
        names.extend(share.scorer.as_deref().filter(|scorer| !names.contains(scorer)));
    }
    names.sort_unstable();
    let letters = abbreviations(&names);
    let look = |share: &Share| {
        let place = names.iter().position(|name| Some(*name) == share.scorer.as_deref());
        place.map_or((Colour::FAINT, ""), |place| (style(place).colour, letters[place].as_str()))
    };
    let mut y = top;
    let gap = 16.0;
    let width = (scene.width - left - chart::EDGE - gap * (columns - 1) as f64) / columns as f64;
    for row in chosen.chunks(columns) {
        let mut lowest = y;
        for (column, choices) in row.iter().enumerate() {
            let steps: Vec<String> = choices.moments.iter().map(|moment| moment.name.clone()).collect();
            let width = width.min(steps.len() as f64 * 58.0);
            let slot = width / steps.len().max(1) as f64;
            let mut clusters: Vec<Option<usize>> = choices.steps.iter().flatten().map(|share| share.cluster).collect();
            clusters.sort_unstable();
            clusters.dedup();
            let height = TILE * clusters.len() as f64;
            let frame = Frame { left: left + column as f64 * (width + gap), top: y + chart::TEXT + 8.0, width, height };
            let arm = choices.arm.as_deref().unwrap_or(ONLY);
            chart::heading(scene, &frame, &format!("{arm}: scorer and size of each cluster"));
            for (place, cluster) in clusters.iter().enumerate() {
                let top = frame.top + TILE * place as f64;
                let text = cluster.map_or("whole pool".to_string(), |cluster| format!("cluster {cluster}"));
                let at = [frame.left - 5.0, top + TILE / 2.0 + chart::SMALL * 0.36];
                if column == 0 {
                    scene.text(Words::new(text, at, chart::SMALL).anchored(Anchor::End));
                }
                for (step, shares) in choices.steps.iter().enumerate() {
                    let Some(share) = shares.iter().find(|share| share.cluster == *cluster) else { continue };
                    let (colour, letters) = look(share);
                    let text = format!("{letters} {}", share.size);
                    tile(scene, [frame.left + slot * step as f64, top, slot, TILE], colour, text.trim());
                }
            }
            let places: Vec<f64> = (0..steps.len()).map(|place| frame.part(place, steps.len())).collect();
            chart::names_below(scene, &steps, &places, slot, frame.bottom());
            lowest = lowest.max(frame.bottom() + chart::room_below(&steps, slot) + 4.0);
        }
        y = lowest;
    }
    let sample = |(place, name): (usize, &&str)| Sample {
        name: name.replace('_', " "),
        look: Look::Area(style(place).colour, letters[place].clone()),
    };
    let samples: Vec<Sample> = names.iter().enumerate().map(sample).collect();
    if samples.is_empty() { y } else { chart::legend(scene, &samples, y + 2.0) + 2.0 }
}

/// As many first letters of each name as make it different from all others.
fn abbreviations(names: &[&str]) -> Vec<String> {
    let short = |name: &str, length: usize| {
        let mut text: String = name.chars().take(length).collect();
        if let Some(first) = text.get(..1) {
            text = first.to_uppercase() + &text[1..];
        }
        text
    };
    let unique = |name: &&str| {
        let longest = name.chars().count();
        let alone =
            |length: &usize| names.iter().filter(|other| short(other, *length) == short(name, *length)).count() == 1;
        (1..=longest).find(alone).map_or_else(|| name.to_string(), |length| short(name, length))
    };
    names.iter().map(unique).collect()
}
