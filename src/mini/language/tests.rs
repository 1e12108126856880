use std::collections::BTreeSet;
use std::fs;

use super::lexicon::{ADJECTIVES, NOUNS, PEOPLE, fact};
use super::skills::{Style, Task};
use super::*;
use crate::mini::make;

/// The questions of a row as they were before a style or a lead was added.
fn asked(dataset: &Dataset, row: &Row) -> String {
    let questions: Vec<&str> = row.turns.iter().map(|(question, _)| dataset.plain(question)).collect();
    questions.join("\n")
}

fn held_out() -> Vec<Row> {
    Skill::ALL.into_iter().flat_map(benchmark).chain(validation()).collect()
}

/// Everything that a skill asks in the plain style, as `question answer`, turn by turn.
fn exchanges(skill: Skill, style: Style) -> Vec<Vec<(String, String)>> {
    (0..2000).map(|roll| skill.ask(style, false, &mut Dice::new("test", roll)).turns).collect()
}

#[test]
fn nothing_held_out_is_asked_in_any_dataset() {
    let rows = |dataset: &'static Dataset| (0..dataset.rows).map(|index| asked(dataset, &dataset.row(index)));
    let questions: BTreeSet<String> = DATASETS.iter().flat_map(rows).collect();
    for row in held_out() {
        assert!(!questions.contains(&asked(&DATASETS[0], &row)), "{row:?} is also in a dataset");
    }
}

#[test]
fn nothing_held_out_is_there_twice() {
    let rows: BTreeSet<String> = held_out().iter().map(|row| format!("{row:?}")).collect();
    assert_eq!(rows.len(), Skill::ALL.len() * (BENCHMARK_ROWS + VALIDATION_ROWS));
}

#[test]
fn datasets_repeat_themselves_as_often_as_documented() {
    for dataset in &DATASETS {
        let mut seen = BTreeSet::new();
        let repeated = (0..dataset.rows).filter(|index| !seen.insert(asked(dataset, &dataset.row(*index)))).count();
        let rate = 100 * repeated / dataset.rows;
        // Skills with few questions repeat themselves by chance too.
        assert!((dataset.redundancy - 5..dataset.redundancy + 25).contains(&rate), "{}: {rate} %", dataset.name);
    }
}

#[test]
fn a_near_duplicate_is_led_in_by_other_words() {
    let dataset = &DATASETS[3];
    let leads: BTreeSet<bool> = (0..20).map(|index| dataset.row(index).turns[0].0.starts_with("Hello. ")).collect();
    assert_eq!(leads.len(), 2);
}

#[test]
fn answers_follow_from_the_questions() {
    for turns in exchanges(Skill::Arithmetic, Style::Bare) {
        let (question, answer) = &turns[0];
        let numbers: Vec<i32> = question.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let expected = match question {
            taken if taken.starts_with("Take") => numbers[1] - numbers[0],
            minus if minus.contains("minus") => numbers[0] - numbers[1],
            _ => numbers.iter().sum(),
        };
        assert_eq!(answer.parse(), Ok(expected), "{question}");
    }
    for turns in exchanges(Skill::Ordering, Style::Bare) {
        let (question, answer) = &turns[0];
        if let Some(given) = question.strip_prefix("Sort ").and_then(|rest| rest.strip_suffix('.')) {
            let numbers = |text: &str| text.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<usize>>();
            let mut sorted = numbers(given);
            sorted.sort_unstable();
            assert_eq!(numbers(answer), sorted);
        }
    }
    for turns in exchanges(Skill::Reasoning, Style::Thought) {
        let (question, answer) = &turns[0];
        assert!(answer.contains(" So the answer is "), "{question} {answer}");
        let whom = answer.rsplit(' ').next().unwrap().trim_end_matches('.');
        if question.ends_with("Who is the tallest?") {
            assert!(!question.contains(&format!("than {whom}.")), "{question} {answer}");
        }
    }
    for turns in exchanges(Skill::Knowledge, Style::Bare) {
        let (question, answer) = &turns[0];
        let person = PEOPLE.iter().find(|person| question.contains(**person)).unwrap();
        assert!((0..5).any(|relation| fact(person, relation) == answer), "{question} {answer}");
    }
    for turns in exchanges(Skill::Conversation, Style::Bare) {
        let (last, before) = turns.split_last().unwrap();
        if last.0 == "What is my name?" {
            assert_eq!(before[0].0, format!("I am {}.", last.1));
        }
    }
}

#[test]
fn german_adjectives_and_articles_agree_and_chinese_counts() {
    let cat = lexicon::phrase(ADJECTIVES[0], NOUNS[0]);
    assert_eq!(cat, ["the red cat", "die rote Katze", "红的猫"]);
    let horse = lexicon::statement(ADJECTIVES[7], NOUNS[3]);
    assert_eq!(horse, ["the horse is old", "das Pferd ist alt", "马是旧的"]);
    let said: BTreeSet<String> =
        exchanges(Skill::Chinese, Style::Bare).into_iter().flatten().map(|(asked, answer)| asked + &answer).collect();
    assert!(said.contains("三加四是几？七") || said.contains("四加三是几？七"));
}

#[test]
fn the_choice_that_is_right_is_right_only_once() {
    for roll in 0..500 {
        let Task { turns, choice } = Skill::Choices.ask(Style::Brief, false, &mut Dice::new("test", roll));
        let choice = choice.unwrap();
        let distinct: BTreeSet<&String> = choice.choices.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert_eq!(turns[0].1, ["A", "B", "C", "D"][choice.answer]);
        let line = format!("\n{}. {}\n", turns[0].1, choice.choices[choice.answer]);
        assert!(turns[0].0.contains(&line), "{}", turns[0].0);
    }
}

#[test]
fn the_parts_are_made_without_pictures() {
    let directory = tempfile::tempdir().unwrap();
    let names = |part: &str| {
        make(part, &directory.path().join(part)).unwrap();
        let listing = fs::read_dir(directory.path().join(part)).unwrap();
        listing.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<String>>()
    };
    assert_eq!(names("firefly"), BTreeSet::from(["samples.json".to_string()]));
    assert_eq!(names("language-validation"), BTreeSet::from(["samples.json".to_string()]));
    assert_eq!(names("language-benchmarks-small").len(), Skill::ALL.len() + 1);
}
