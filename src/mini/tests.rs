use std::collections::BTreeSet;
use std::path::Path;

use super::architecture;
use super::datasets::{DATASETS, Row, benchmark};
use super::scene::Scene;
use super::skills::Skill;

/// What a sample asks: its scenes and its questions.
fn asked(row: &Row) -> String {
    let scenes: Vec<&Scene> = row.pictures.iter().map(|picture| &picture.scene).collect();
    let questions: Vec<&String> = row.turns.iter().map(|(question, _)| question).collect();
    format!("{scenes:?} {questions:?}")
}

#[test]
fn no_benchmark_shares_a_scene_with_any_dataset_but_those_of_a_single_object() {
    let mut seen = BTreeSet::new();
    let mut scenes = BTreeSet::new();
    for dataset in &DATASETS {
        for row in (0..dataset.rows).map(|index| dataset.row(index)) {
            seen.insert(asked(&row));
            scenes.extend(row.pictures.iter().map(|picture| format!("{:?}", picture.scene)));
        }
    }
    let single = |row: &Row| row.pictures.iter().any(|picture| picture.scene.objects().len() == 1);
    for row in Skill::ALL.into_iter().flat_map(benchmark).filter(|row| !single(row)) {
        assert!(!seen.contains(&asked(&row)), "{row:?} is also in a dataset");
        for picture in &row.pictures {
            assert!(!scenes.contains(&format!("{:?}", picture.scene)), "{picture:?} is also in a dataset");
        }
    }
}

#[test]
fn the_committed_architecture_is_what_the_suite_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/suites/mini/architecture");
    for (file, text) in architecture::files() {
        let committed = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(committed == text, "{file} differs: make `architecture` again, and the base checkpoint with it");
    }
}
