//! Images and questions with what each arm answered after each time step.

use std::collections::{BTreeMap, HashMap};

use super::chart;
use super::font::{self, Weight};
use super::history::ONLY;
use super::numbers::{Numbers, Role};
use super::palette::Colour;
use super::scene::{Anchor, Fill, Scene, Shape, Stroke, Words};
use super::spec::{FigureSpec, Gallery, Shown};
use super::{Figure, FigureError, check_skills, page};
use crate::artifact::Answer;
use crate::report::Moment;
use crate::selection::metrics;

/// The answers of one arm over time, in one replicate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// The arm, where the experiment has arms.
    pub arm: Option<String>,
    /// When it was asked.
    pub moments: Vec<Moment>,
    /// Its answers each time.
    pub steps: Vec<Vec<Answer>>,
}

/// A question with its images.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The question, as [`Answer::id`].
    pub id: String,
    /// The skill of its benchmark.
    pub skill: String,
    /// The words, without marks of images.
    pub question: String,
    /// The right answer.
    pub expected: String,
    /// Its images.
    pub images: Vec<Picture>,
}

/// An image as it is put into pages.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its type, such as `image/png`.
    pub media: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

impl Told {
    /// What a figure calls the arm.
    pub fn label(&self) -> &str {
        self.arm.as_deref().unwrap_or(ONLY)
    }
}

/// The ids of the questions that are shown, the most telling first. `skills` has the skill of each
/// benchmark. Taken are, skill by skill in turn, those whose scores vary most over arms and time; among
/// equals those with more different answers, then in the order of their ids.
///
/// # Errors
///
/// If there are no answers, or no benchmark has a skill that the figure names.
pub fn choose(
    spec: &FigureSpec,
    gallery: &Gallery,
    told: &[Told],
    skills: &BTreeMap<String, String>,
) -> Result<Vec<String>, FigureError> {
    let mut known: Vec<String> = skills.values().cloned().collect();
    known.sort_unstable();
    known.dedup();
    let wanted = match &gallery.skills {
        Shown::Named(names) => Some(check_skills(names, &known)?),
        Shown::Mean | Shown::All => None,
    };
    let mut questions: BTreeMap<&str, (&str, Vec<&Answer>)> = BTreeMap::new();
    for answer in
        told.iter().filter(|told| spec.shows(told.arm.as_deref())).flat_map(|told| told.steps.iter().flatten())
    {
        let Some(skill) = skills.get(&answer.benchmark) else { continue };
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&skill.as_str())) {
            questions.entry(&answer.id).or_insert_with(|| (skill, Vec::new())).1.push(answer);
        }
    }
    let mut by_skill: BTreeMap<&str, Vec<(f64, usize, &str)>> = BTreeMap::new();
    for (id, (skill, answers)) in questions {
        let scores: Vec<f64> = answers.iter().map(|answer| answer.score).collect();
        let mut texts: Vec<Option<&str>> = answers.iter().map(|answer| answer.answered.as_deref()).collect();
        texts.sort_unstable();
        texts.dedup();
        let varies = metrics::sample_deviation(&scores).unwrap_or(0.0);
        by_skill.entry(skill).or_default().push((varies, texts.len(), id));
    }
    for questions in by_skill.values_mut() {
        questions
            .sort_by(|left, right| right.0.total_cmp(&left.0).then(right.1.cmp(&left.1)).then(left.2.cmp(right.2)));
    }
    let most = by_skill.values().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..most).flat_map(|place| by_skill.values().filter_map(move |questions| questions.get(place)));
    let chosen: Vec<String> = in_turn.take(gallery.questions).map(|(_, _, id)| id.to_string()).collect();
    if chosen.is_empty() { Err(FigureError::NoResults(spec.name.clone())) } else { Ok(chosen) }
}

/// What an arm answered to one question, each time.
pub(super) struct Row<'t> {
    pub arm: &'t str,
    pub answers: Vec<Option<&'t Answer>>,
}

/// A question with what was answered.
pub(super) struct Card<'t> {
    pub asked: &'t Asked,
    pub rows: Vec<Row<'t>>,
}

/// How right an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Partly,
    Wrong,
}

impl Verdict {
    /// Of a score from 0 to 1.
    pub(super) fn of(score: f64) -> Verdict {
        match score {
            score if score >= 0.999 => Verdict::Right,
            score if score > 0.001 => Verdict::Partly,
            _ => Verdict::Wrong,
        }
    }

    /// A sign that is not only a colour.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Verdict::Right => "✓",
            Verdict::Partly => "≈",
            Verdict::Wrong => "✗",
        }
    }

    fn colours(self) -> (Colour, Colour) {
        match self {
            Verdict::Right => (Colour(0xdc, 0xee, 0xf8), Colour(0x00, 0x4f, 0x7d)),
            Verdict::Partly => (Colour(0xf3, 0xf0, 0xe3), Colour(0x5c, 0x50, 0x10)),
            Verdict::Wrong => (Colour(0xfb, 0xe6, 0xda), Colour(0x8a, 0x3a, 0x00)),
        }
    }
}

/// The figure that `spec` asks for, of the questions in `asked`.
///
/// # Errors
///
/// If nobody was asked.
pub fn build(
    spec: &FigureSpec,
    gallery: &Gallery,
    title: &str,
    told: &[Told],
    asked: &[Asked],
) -> Result<Figure, FigureError> {
    let mut told: Vec<&Told> = told.iter().filter(|told| spec.shows(told.arm.as_deref())).collect();
    told.sort_by_key(|told| spec.arms.iter().position(|arm| arm == told.label()));
    let longest = told.iter().max_by_key(|told| told.moments.len());
    let moments = &longest.ok_or_else(|| FigureError::NoResults(spec.name.clone()))?.moments;
    let name = |moment: &Moment| match (moment.step, &gallery.start) {
        (None, Some(start)) => start.clone(),
        _ => moment.name.clone(),
    };
    let names: Vec<String> = moments.iter().map(name).collect();
    let mut numbers = Numbers::new(&[
        ("arm", Role::Key),
        ("step", Role::Key),
        ("after", Role::Key),
        ("answers", Role::Compared(0.0)),
        ("mean_score", Role::Compared(2.0)),
    ]);
    for told in &told {
        for (step, answers) in told.steps.iter().enumerate() {
            let scores: Vec<f64> = answers.iter().map(|answer| 100.0 * answer.score).collect();
            let after = told.moments.get(step).map(name).unwrap_or_default();
            let row = [told.label().into(), step.into(), after.as_str().into(), answers.len().into()];
            numbers.rows.push(row.into_iter().chain([metrics::mean(&scores).into()]).collect());
        }
    }
    let cards = cards(&told, asked);
    let scene = draw(&cards[..cards.len().min(gallery.pictured)], &names, title);
    let mut figure = Figure::new(spec, title, numbers, scene);
    figure.page = Some(page::write(title, &names, &cards));
    Ok(figure)
}

fn cards<'t>(told: &[&'t Told], asked: &'t [Asked]) -> Vec<Card<'t>> {
    let index = |told: &&'t Told| -> Vec<HashMap<&'t str, &'t Answer>> {
        told.steps.iter().map(|step| step.iter().map(|answer| (answer.id.as_str(), answer)).collect()).collect()
    };
    let known: Vec<Vec<HashMap<&str, &Answer>>> = told.iter().map(index).collect();
    let card = |asked: &'t Asked| {
        let row = |(told, steps): (&&'t Told, &Vec<HashMap<&str, &'t Answer>>)| Row {
            arm: told.label(),
            answers: steps.iter().map(|step| step.get(asked.id.as_str()).copied()).collect(),
        };
        Card { asked, rows: told.iter().zip(&known).map(row).collect() }
    };
    asked.iter().map(card).collect()
}

/// Side of an image.
const IMAGE: f64 = 74.0;
/// Most lines of an answer.
const LINES: usize = 3;

fn draw(cards: &[Card<'_>], names: &[String], title: &str) -> Scene {
    let mut scene = Scene::new(chart::WIDE, 0.0, title);
    let mut y = chart::headline(&mut scene, title) + 2.0;
    let arms = cards.iter().flat_map(|card| card.rows.iter().map(|row| row.arm));
    let widest = arms.map(|arm| font::width(arm, chart::SMALL, Weight::Bold)).fold(0.0, f64::max).min(90.0);
    for (place, card) in cards.iter().enumerate() {
        if place > 0 {
            scene.line(vec![[chart::EDGE, y], [chart::WIDE - chart::EDGE, y]], Stroke::of(Colour::FAINT, 0.8));
            y += 6.0;
        }
        let top = y;
        let images = card.asked.images.len().min(2) as f64;
        let beside = chart::EDGE + images * (IMAGE + 4.0) + if images > 0.0 { 6.0 } else { 0.0 };
        let table = beside + widest + 6.0;
        let slot = (chart::WIDE - chart::EDGE - table) / names.len().max(1) as f64;
        for (number, picture) in card.asked.images.iter().take(2).enumerate() {
            let left = chart::EDGE + number as f64 * (IMAGE + 4.0);
            let (width, height) = (f64::from(picture.size.0.max(1)), f64::from(picture.size.1.max(1)));
            let scale = IMAGE / width.max(height);
            let place = [left, top, width * scale, height * scale];
            scene.shapes.push(Shape::Image { place, bytes: picture.bytes.clone(), media: picture.media });
        }
        let room = chart::WIDE - chart::EDGE - beside;
        for line in font::wrap(&card.asked.question, chart::TEXT, Weight::Bold, room, 3) {
            y += chart::TEXT * 1.25;
            scene.text(Words::new(line, [beside, y], chart::TEXT).bold());
        }
        let right = format!("Right: {}   ({})", card.asked.expected, card.asked.skill);
        for line in font::wrap(&right, chart::SMALL, Weight::Regular, room, 2) {
            y += chart::SMALL * 1.4;
            scene.text(Words::new(line, [beside, y], chart::SMALL).coloured(Colour::GREY));
        }
        y += 3.0;
        for (step, name) in names.iter().enumerate() {
            let text = font::cut(name, chart::SMALL, Weight::Regular, slot - 3.0);
            let at = [table + slot * (step as f64 + 0.5), y + chart::SMALL];
            scene.text(Words::new(text, at, chart::SMALL).anchored(Anchor::Middle).coloured(Colour::GREY));
        }
        y += chart::SMALL + 4.0;
        for row in &card.rows {
            y = answers(&mut scene, row, [beside, y], table, slot);
        }
        y = y.max(top + if card.asked.images.is_empty() { 0.0 } else { IMAGE }) + 7.0;
    }
    let note = "✓ right, ≈ partly right, ✗ wrong. Shown are the questions whose answers vary most over arms and time, skill by skill in turn; the first seed.";
    y = chart::caption(&mut scene, note, y - 2.0);
    scene.height = y + chart::EDGE / 2.0;
    scene
}

/// A row of answers; returns where the next begins.
fn answers(scene: &mut Scene, row: &Row<'_>, [left, top]: [f64; 2], table: f64, slot: f64) -> f64 {
    let words = |answer: &Answer| {
        let sign = Verdict::of(answer.score).sign();
        match answer.answered.as_deref().map(str::trim) {
            Some("") => format!("{sign} (nothing)"),
            Some(text) => format!("{sign} {text}"),
            None => sign.to_string(),
        }
    };
    let lines: Vec<Vec<String>> = row
        .answers
        .iter()
        .map(|answer| {
            answer.map_or(Vec::new(), |answer| {
                font::wrap(&words(answer), chart::SMALL, Weight::Regular, slot - 6.0, LINES)
            })
        })
        .collect();
    let height = lines.iter().map(Vec::len).max().unwrap_or(1).max(1) as f64 * chart::SMALL * 1.25 + 4.0;
    let text = font::cut(row.arm, chart::SMALL, Weight::Bold, table - left - 6.0);
    scene.text(Words::new(text, [left, top + chart::SMALL + 2.0], chart::SMALL).bold());
    for (step, (answer, lines)) in row.answers.iter().zip(&lines).enumerate() {
        let Some(answer) = answer else { continue };
        let (paper, ink) = Verdict::of(answer.score).colours();
        let x = table + slot * step as f64;
        scene.rectangle([x + 1.0, top, slot - 2.0, height - 1.5], Fill::of(paper), None);
        for (number, line) in lines.iter().enumerate() {
            let at = [x + 4.0, top + chart::SMALL + 2.0 + number as f64 * chart::SMALL * 1.25];
            scene.text(Words::new(line, at, chart::SMALL).coloured(ink));
        }
    }
    top + height
}
