use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::datasets::{DATASETS, Row};
use super::dice::Dice;
use super::held_out::{BENCHMARK_ROWS, SMALL_BENCHMARK_ROWS, VALIDATION_ROWS, benchmark, validation, visual_chat};
use super::scene::{Cell, Colour, Object, Scene, Shape, Size};
use super::skills::{Skill, Style};
use super::{architecture, make, picture};

/// What a sample asks: its scenes and its questions.
fn asked(row: &Row) -> String {
    let scenes: Vec<&Scene> = row.pictures.iter().map(|picture| &picture.scene).collect();
    let questions: Vec<&String> = row.turns.iter().map(|(question, _)| question).collect();
    format!("{scenes:?} {questions:?}")
}

/// Everything that a skill asks about some scenes, as `question answer`, turn by turn.
fn exchanges(skill: Skill, scenes: &[Scene]) -> BTreeSet<String> {
    let rolls = 0..400;
    let ask = |roll| skill.ask(scenes, Style::Bare, false, &mut Dice::new("test", roll));
    let line = |turns: Vec<(String, String)>| {
        turns.into_iter().map(|(question, answer)| format!("{question} {answer}")).collect::<Vec<_>>().join(" ")
    };
    rolls.map(ask).map(line).collect()
}

/// A small blue triangle above a large red circle, both on the right.
fn two_objects() -> Scene {
    let triangle = Object { shape: Shape::Triangle, colour: Colour::Blue, size: Size::Small };
    let circle = Object { shape: Shape::Circle, colour: Colour::Red, size: Size::Large };
    Scene { cells: [Cell::Empty, Cell::Object(triangle), Cell::Empty, Cell::Object(circle)] }
}

#[test]
fn nothing_held_out_shares_a_scene_of_several_objects_or_a_question_without_a_picture_with_any_dataset() {
    let mut questions = BTreeSet::new();
    let mut scenes = BTreeSet::new();
    for dataset in &DATASETS {
        for row in (0..dataset.rows).map(|index| dataset.row(index)) {
            questions.insert(asked(&row));
            scenes.extend(row.pictures.iter().map(|picture| format!("{:?}", picture.scene)));
        }
    }
    // Of a single object there are too few scenes to hold any out: there the picture is new.
    let single = |row: &Row| row.pictures.iter().any(|picture| picture.scene.objects().len() == 1);
    let held_out = Skill::ALL.into_iter().flat_map(benchmark).chain(validation()).chain(visual_chat());
    for row in held_out.filter(|row| !single(row)) {
        assert!(!questions.contains(&asked(&row)), "{row:?} is also in a dataset");
        for picture in &row.pictures {
            assert!(!scenes.contains(&format!("{:?}", picture.scene)), "{picture:?} is also in a dataset");
        }
    }
}

#[test]
fn a_benchmark_has_no_sample_twice() {
    for skill in Skill::ALL {
        let rows: BTreeSet<String> = benchmark(skill).iter().map(asked).collect();
        assert_eq!(rows.len(), BENCHMARK_ROWS, "{}", skill.benchmark());
    }
}

#[test]
fn no_validation_sample_is_there_twice_or_in_a_benchmark() {
    let mut seen: BTreeSet<String> = Skill::ALL.into_iter().flat_map(benchmark).map(|row| asked(&row)).collect();
    let rows = validation();
    assert_eq!(rows.len(), VALIDATION_ROWS * Skill::ALL.len());
    for row in &rows {
        assert!(seen.insert(asked(row)), "{row:?} is there twice");
    }
}

#[test]
fn the_visual_chat_is_a_dozen_questions_about_four_pictures() {
    let rows = visual_chat();
    let pictures: BTreeSet<&str> = rows.iter().map(|row| row.pictures[0].file.as_str()).collect();
    assert_eq!((rows.len(), pictures.len()), (12, 4));
    let skills: BTreeSet<&str> = rows.iter().map(|row| row.skill).collect();
    assert!(skills.len() >= 6, "{skills:?}");
    assert!(rows.iter().any(|row| row.turns.len() > 1));
}

#[test]
fn the_models_know_every_word_that_is_held_out() {
    let tokenizer = architecture::tokenizer();
    for (question, answer) in validation().into_iter().chain(visual_chat()).flat_map(|row| row.turns) {
        assert!(tokenizer.knows(&question) && tokenizer.knows(&answer), "{question} {answer}");
    }
}

#[test]
fn datasets_repeat_themselves_as_often_as_documented() {
    for dataset in DATASETS.iter().filter(|dataset| dataset.shared_pictures.is_none()) {
        let mut seen = BTreeSet::new();
        let repeated = (0..dataset.rows).filter(|index| !seen.insert(asked(&dataset.row(*index)))).count();
        let rate = 100 * repeated / dataset.rows;
        // Small worlds repeat themselves by chance too.
        assert!((dataset.redundancy - 5..dataset.redundancy + 25).contains(&rate), "{}: {rate} %", dataset.name);
    }
}

#[test]
fn two_pictures_of_a_scene_differ_in_shade_and_noise_only() {
    let paint = |roll| picture::paint(&two_objects(), [36, 36, 36], &mut Dice::new("test", roll));
    let (one, other) = (paint(0), paint(1));
    assert_ne!(one, other);
    assert_eq!(one, paint(0));
    for (one, other) in one.pixels().zip(other.pixels()) {
        assert!(one.0.iter().zip(other.0).all(|(one, other)| one.abs_diff(other) <= 2 * (14 + 8)));
    }
}

#[test]
fn what_is_asked_about_a_scene_is_answered_from_it() {
    let scene = [two_objects()];
    let answers = exchanges(Skill::Attribute, &scene);
    assert!(answers.contains("What color is the circle? red"));
    assert!(answers.contains("What shape is the blue one? triangle"));
    assert!(answers.contains("What size is the triangle? small"));
    let answers = exchanges(Skill::Count, &scene);
    assert!(answers.contains("How many objects are there? 2"));
    assert!(answers.contains("How many red objects are there? 1"));
    assert!(answers.contains("How many crosses are there? 0"));
    let answers = exchanges(Skill::Position, &scene);
    assert!(answers.contains("Where is the circle? bottom right"));
    assert!(answers.contains("What is top right? blue triangle"));
    assert!(answers.contains("What is top left? nothing"));
    let answers = exchanges(Skill::Reasoning, &scene);
    assert!(answers.contains("Is the triangle above the circle? yes"));
    assert!(answers.contains("Is the circle left of the triangle? no"));
    let answers = exchanges(Skill::Grounding, &scene);
    assert!(answers.contains("Give the box of the red circle. [0.50, 0.50, 1.00, 1.00]"));
    assert!(answers.contains("Give the box of the blue triangle. [0.62, 0.12, 0.88, 0.38]"));
    let answers = exchanges(Skill::Conversation, &scene);
    assert!(answers.contains("Do you see a circle? Yes, bottom right. And its color? red And its size? large"));
    let sum = Scene { cells: [Cell::Glyph('7'), Cell::Empty, Cell::Empty, Cell::Glyph('5')] };
    assert!(exchanges(Skill::Reasoning, &[sum]).contains("What is the sum? 12"));
    assert!(exchanges(Skill::Reading, &[sum]).contains("What does it say? 7 5"));
}

#[test]
fn the_committed_architectures_are_what_the_suites_make() {
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/suites");
    let parts = [
        ("mini/architecture", architecture::base()),
        ("mini/base", architecture::base()),
        ("mini/proxy-architecture", architecture::proxy()),
        ("mini/proxy", architecture::proxy()),
        ("language/architecture", architecture::of_language()),
        ("language/base", architecture::of_language()),
    ];
    for (folder, files) in parts {
        for (file, text) in files {
            let committed = fs::read_to_string(suites.join(folder).join(file)).unwrap();
            assert!(committed == text, "{folder}/{file} differs: make it again, and the checkpoint with it");
        }
    }
}

#[test]
fn a_part_appears_whole_and_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let part = directory.path().join("benchmarks-small");
    make("benchmarks-small", &part).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&fs::read(part.join("benchmarks.json")).unwrap()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), Skill::ALL.len());
    for entry in list.as_array().unwrap() {
        let text = fs::read(part.join(entry["file"].as_str().unwrap())).unwrap();
        let samples: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        assert_eq!(samples.len(), SMALL_BENCHMARK_ROWS);
        for image in samples.iter().filter_map(|sample| sample["image"].as_str()) {
            assert!(part.join(image).is_file());
        }
    }
    fs::write(part.join("mark"), "").unwrap();
    make("benchmarks-small", &part).unwrap();
    assert!(part.join("mark").is_file());

    let error = make("mmlu", &directory.path().join("mmlu")).unwrap_err();
    assert!(error.to_string().starts_with("the miniature suite has no `mmlu`; it has `llava`, "));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
