//! What no dataset has: the benchmarks, the validation samples, and the questions of the visual chat.

use super::datasets::{Picture, Row, picture_file};
use super::dice::Dice;
use super::scene::{Scene, World};
use super::skills::{Skill, Style};

/// How many samples a benchmark of `benchmarks` has.
pub const BENCHMARK_ROWS: usize = 60;
/// How many a benchmark of `benchmarks-small` has: the first of the same.
pub const SMALL_BENCHMARK_ROWS: usize = 16;
/// How many validation samples there are of a skill.
pub const VALIDATION_ROWS: usize = 8;
/// The average background colour of the pictures.
const TINT: [i32; 3] = [38, 38, 38];

/// The samples of the benchmark of `skill`: held-out scenes and questions, no two alike.
pub fn benchmark(skill: Skill) -> Vec<Row> {
    let name = skill.benchmark();
    draw(skill, &format!("benchmark {name}"), &format!("images/{name}-"), BENCHMARK_ROWS, &[])
}

/// The validation samples of all skills: drawn as the benchmarks are, and none of them in a benchmark.
pub fn validation() -> Vec<Row> {
    let of_skill = |skill: Skill| {
        let name = skill.benchmark();
        draw(skill, &format!("validation {name}"), &format!("{name}-"), VALIDATION_ROWS, &benchmark(skill))
    };
    Skill::ALL.into_iter().flat_map(of_skill).collect()
}

/// Draws `count` samples that are not alike and not among `others`; the files of their pictures start
/// with `files`.
fn draw(skill: Skill, purpose: &str, files: &str, count: usize, others: &[Row]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::with_capacity(count);
    let mut dice = Dice::new(purpose, 0);
    while rows.len() < count {
        let worlds = skill.worlds(&mut dice);
        let scenes: Vec<Scene> = worlds.into_iter().map(|world| Scene::draw(world, true, &mut dice)).collect();
        // Both kinds of captions are asked for.
        let style = if skill == Skill::Captioning { dice.pick(&[Style::Brief, Style::Bare]) } else { Style::Brief };
        let turns = skill.ask(&scenes, style, true, &mut dice);
        let pictures = scenes
            .iter()
            .enumerate()
            .map(|(number, scene)| picture(format!("{files}{}", picture_file(rows.len(), number)), *scene))
            .collect();
        let alike =
            |row: &Row| row.turns == turns && row.pictures.iter().map(|picture| &picture.scene).eq(scenes.iter());
        if !rows.iter().chain(others).any(alike) {
            rows.push(Row { skill: skill.name(), pictures, turns });
        }
    }
    rows
}

/// What is asked about each picture of the visual chat.
const CHAT: [(World, [Skill; 3]); 4] = [
    (World::One, [Skill::Captioning, Skill::Knowledge, Skill::Chinese]),
    (World::Distinct, [Skill::Captioning, Skill::Position, Skill::Conversation]),
    (World::One, [Skill::Attribute, Skill::Knowledge, Skill::German]),
    (World::Distinct, [Skill::Captioning, Skill::Reasoning, Skill::Conversation]),
];

/// A dozen plain questions about four pictures, some in several turns: their answers are decoded, to be
/// read beside each other. A style that a dataset has brought along shows in them.
pub fn visual_chat() -> Vec<Row> {
    let about = |(number, (world, skills)): (usize, &(World, [Skill; 3]))| {
        let mut dice = Dice::new("visual chat", number);
        let scene = Scene::draw(*world, true, &mut dice);
        let picture = picture(format!("images/{}", picture_file(number, 0)), scene);
        skills.map(|skill| {
            let turns = skill.ask(&[scene], Style::Bare, true, &mut dice);
            Row { skill: skill.name(), pictures: vec![picture.clone()], turns }
        })
    };
    CHAT.iter().enumerate().flat_map(about).collect()
}

fn picture(file: String, scene: Scene) -> Picture {
    Picture { file, scene, tint: TINT }
}
