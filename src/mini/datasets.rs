//! The datasets of the sequence, row by row: what each asks, in which style, how
//! often it repeats itself.
//!
//! | dataset | stands for | rows | what is in it | style | near-duplicates |
//! |---|---|---|---|---|---|
//! | `llava` | LLaVA-665K (t = 0) | 24,000 over 8,000 pictures | mostly attribute, count and position, few of everything else | brief | 20 % of the pictures |
//! | `m3it` | M3IT | 900 | knowledge, Chinese, German | sentences | 30 % |
//! | `minigpt4` | MiniGPT-4 stage 2 | 300 | detailed captions | sentences | 15 % |
//! | `mantis` | MANTIS-Instruct | 700 | two pictures, reasoning | bare | 30 % |
//! | `lamm` | LAMM | 700 | grounding, reading, conversation, count | statements | 40 % |
//! | `vision_flan` | Vision-FLAN | 900 | a long tail of everything | mixed | 20 % |
//!
//! A near-duplicate repeats the question and the scene of a row before it in a new picture. Row `i`
//! is a function of the suite's seed, the dataset and `i`.

use super::dice::Dice;
use super::scene::{Scene, World};
use super::skills::{Exchange, Skill, Style};

/// How a dataset is made.
pub struct Dataset {
    /// Its name and folder.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: usize,
    /// Over how many pictures its rows are spread; without a number each row has its own.
    pub shared_pictures: Option<usize>,
    /// How many rows (or shared pictures) in a hundred repeat an earlier one.
    pub redundancy: usize,
    /// The average background colour of its pictures.
    pub tint: [i32; 3],
    /// The style of what is not brief.
    pub style: Style,
    /// What it asks: skill, weight, and how many rows of it in a hundred are brief.
    pub skills: &'static [(Skill, usize, usize)],
}

/// All datasets, in the order of the sequence.
pub const DATASETS: [Dataset; 6] = [
    Dataset {
        name: "llava",
        rows: 24_000,
        shared_pictures: Some(8000),
        redundancy: 20,
        tint: [36, 36, 36],
        style: Style::Brief,
        skills: &[
            (Skill::Attribute, 30, 100),
            (Skill::Count, 20, 100),
            (Skill::Position, 21, 100),
            (Skill::Captioning, 5, 100),
            (Skill::Reasoning, 4, 100),
            (Skill::Conversation, 4, 100),
            (Skill::Language, 4, 100),
            (Skill::Reading, 3, 100),
            (Skill::Grounding, 3, 100),
            (Skill::Knowledge, 2, 100),
            (Skill::Chinese, 1, 100),
            (Skill::German, 1, 100),
            (Skill::MultiImage, 1, 100),
        ],
    },
    Dataset {
        name: "m3it",
        rows: 900,
        shared_pictures: None,
        redundancy: 30,
        tint: [48, 40, 28],
        style: Style::Sentence,
        skills: &[
            (Skill::Knowledge, 40, 50),
            (Skill::Chinese, 22, 100),
            (Skill::German, 18, 100),
            (Skill::Attribute, 14, 0),
            (Skill::Count, 6, 0),
        ],
    },
    Dataset {
        name: "minigpt4",
        rows: 300,
        shared_pictures: None,
        redundancy: 15,
        tint: [30, 42, 48],
        style: Style::Sentence,
        skills: &[(Skill::Captioning, 100, 0)],
    },
    Dataset {
        name: "mantis",
        rows: 700,
        shared_pictures: None,
        redundancy: 30,
        tint: [42, 30, 46],
        style: Style::Bare,
        skills: &[(Skill::MultiImage, 65, 50), (Skill::Reasoning, 30, 50), (Skill::Language, 5, 100)],
    },
    Dataset {
        name: "lamm",
        rows: 700,
        shared_pictures: None,
        redundancy: 40,
        tint: [28, 46, 32],
        style: Style::Statement,
        skills: &[
            (Skill::Grounding, 35, 100),
            (Skill::Reading, 25, 50),
            (Skill::Conversation, 20, 100),
            (Skill::Count, 14, 0),
            (Skill::Position, 6, 0),
        ],
    },
    Dataset {
        name: "vision_flan",
        rows: 900,
        shared_pictures: None,
        redundancy: 20,
        tint: [44, 44, 44],
        style: Style::Bare,
        skills: &[
            (Skill::Attribute, 18, 40),
            (Skill::Reasoning, 16, 40),
            (Skill::Position, 12, 40),
            (Skill::Count, 11, 40),
            (Skill::Reading, 9, 40),
            (Skill::Knowledge, 8, 40),
            (Skill::Language, 8, 100),
            (Skill::Captioning, 5, 50),
            (Skill::Grounding, 4, 100),
            (Skill::MultiImage, 3, 40),
            (Skill::Conversation, 3, 100),
            (Skill::German, 2, 100),
            (Skill::Chinese, 1, 100),
        ],
    },
];

/// A picture of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Path of its file below the dataset's image folder.
    pub file: String,
    /// What it shows.
    pub scene: Scene,
    /// The average colour of its background.
    pub tint: [i32; 3],
}

/// One sample: a row of a dataset or a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it exercises.
    pub skill: &'static str,
    /// Its pictures.
    pub pictures: Vec<Picture>,
    /// Questions and answers.
    pub turns: Vec<Exchange>,
}

impl Dataset {
    /// The row with the number `index`.
    pub fn row(&self, index: usize) -> Row {
        if self.shared_pictures.is_none() && index > 0 {
            let mut dice = Dice::new(&format!("{} origin", self.name), index);
            if dice.chance(self.redundancy) {
                let mut row = self.row(dice.below(index));
                for (number, picture) in row.pictures.iter_mut().enumerate() {
                    picture.file = picture_file(index, number);
                }
                return row;
            }
        }
        let mut dice = Dice::new(self.name, index);
        let weights: Vec<(usize, usize)> =
            self.skills.iter().enumerate().map(|(number, (_, weight, _))| (number, *weight)).collect();
        let (skill, _, brief) = self.skills[dice.weighted(&weights)];
        let style = if dice.chance(brief) { Style::Brief } else { self.style };
        let worlds = skill.worlds(&mut dice);
        let pictures: Vec<Picture> = worlds
            .into_iter()
            .enumerate()
            .map(|(number, world)| match self.shared_pictures {
                Some(count) => self.shared_picture(world, dice.below(count), count),
                None => Picture {
                    file: picture_file(index, number),
                    scene: Scene::draw(world, false, &mut dice),
                    tint: self.tint,
                },
            })
            .collect();
        let scenes: Vec<Scene> = pictures.iter().map(|picture| picture.scene).collect();
        let turns = skill.ask(&scenes, style, false, &mut dice);
        Row { skill: skill.name(), pictures, turns }
    }

    /// The shared picture of a world that is nearest to the number `near`, going up.
    fn shared_picture(&self, world: World, near: usize, count: usize) -> Picture {
        let world_of = |number: usize| match number % 20 {
            0..6 => World::One,
            6..12 => World::Distinct,
            12..17 => World::Crowd,
            17..19 => World::Text,
            _ => World::Digits,
        };
        let mut number = near;
        while world_of(number) != world {
            number = (number + 1) % count;
        }
        // A near-duplicate shows the scene of an earlier picture of the same world.
        let mut origin = number;
        loop {
            let mut dice = Dice::new(&format!("{} origin", self.name), origin);
            if origin < 20 || !dice.chance(self.redundancy) {
                break;
            }
            origin = origin % 20 + 20 * dice.below(origin / 20);
        }
        let scene = Scene::draw(world, false, &mut Dice::new(&format!("{} scene", self.name), origin));
        Picture { file: picture_file(number, 0), scene, tint: self.tint }
    }
}

/// `000012.png`; a second picture of the same row is `000012-1.png`.
pub fn picture_file(index: usize, number: usize) -> String {
    if number == 0 { format!("{index:06}.png") } else { format!("{index:06}-{number}.png") }
}
