//! Conversations in tokens, with the mask of what is learnt.

use std::collections::BTreeMap;

use runner::ml::config::LlavaConfig;
use runner::ml::conversation::{IGNORE, Labelled, Tokenizer, Turn};
use serde::Deserialize;
use serde_json::json;

use super::support::{fixture, json};

#[derive(Deserialize)]
struct Known {
    systems: Vec<String>,
    image_tokens: usize,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    tokenizer: String,
    system: usize,
    max_length: usize,
    turns: Vec<(String, String)>,
    ids: Vec<u32>,
    /// First and behind the last position of each run that is learnt.
    learnt: Vec<(usize, usize)>,
    images: usize,
    cut: usize,
    /// What LLaVA's training script would do, where that is something else.
    original: Option<Original>,
}

#[derive(Deserialize)]
struct Original {
    differs: String,
}

/// The template of a system prompt, with a tokenizer.
fn tokenizer(scheme: &str, system: &str) -> Tokenizer {
    let directory = fixture("tokenizers").join(scheme);
    let file = std::fs::read_to_string(directory.join("tokenizer.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let added = file["added_tokens"].as_array().unwrap();
    let id = |token: &str| added.iter().find(|added| added["content"] == token).unwrap()["id"].clone();
    let config = json!({
        "model_type": "llava", "image_token_index": id("<image>"), "pad_token_id": id("<pad>"),
        "conversation": {"system": system}, "text_config": {"vocab_size": 512},
        "vision_config": {"image_size": 28, "patch_size": 14},
    });
    Tokenizer::read(&directory, &LlavaConfig::parse(&config.to_string()).unwrap()).unwrap()
}

#[test]
fn ids_and_masks_are_those_that_the_rule_gives_in_python() {
    let known: Known = json("conversations.json");
    assert_eq!(known.image_tokens, 4);
    let mut tokenizers = BTreeMap::new();
    for (number, row) in known.rows.iter().enumerate() {
        let system = &known.systems[row.system];
        let key = (row.tokenizer.as_str(), row.system);
        let tokenizer = tokenizers.entry(key).or_insert_with(|| tokenizer(&row.tokenizer, system));
        let turns: Vec<Turn<'_>> = row.turns.iter().map(|(question, answer)| Turn { question, answer }).collect();
        let encoded = tokenizer.encode(&turns, Labelled::All, row.max_length).unwrap();
        assert_eq!(encoded.ids, row.ids, "ids of row {number}: {:?}", row.turns);
        let learnt = |position: usize| row.learnt.iter().any(|(first, behind)| (*first..*behind).contains(&position));
        let labels: Vec<i64> =
            row.ids.iter().enumerate().map(|(at, id)| if learnt(at) { i64::from(*id) } else { IGNORE }).collect();
        assert_eq!(encoded.labels, labels, "labels of row {number}: {:?}", row.turns);
        assert_eq!((encoded.images, encoded.cut), (row.images, row.cut), "images of row {number}: {:?}", row.turns);
    }
    assert!(known.rows.len() > 300);
}

/// The rule differs from LLaVA's script only where that loses or mislabels something, and every kind of that is in
/// the fixture.
#[test]
fn the_rule_differs_from_the_original_only_where_it_is_known_to() {
    let known: Known = json("conversations.json");
    let odd = |text: &str| ["</s>", "ASSISTANT:", "<unk>"].iter().any(|mark| text.contains(mark));
    for row in &known.rows {
        let Some(original) = &row.original else { continue };
        let texts: Vec<&String> = row.turns.iter().flat_map(|(question, answer)| [question, answer]).collect();
        let explained = match original.differs.as_str() {
            "nothing learnt" => texts.iter().any(|text| odd(text)) || row.cut > 0,
            // An empty message is left out with its blank and its end, or an image is cut in two.
            "other tokens" | "other tokens, nothing learnt" => texts.iter().any(|text| text.is_empty()) || row.cut > 0,
            "other mask" => row.cut > 0,
            other => panic!("the fixture has the new kind `{other}`"),
        };
        assert!(explained, "{} in {:?}", original.differs, row.turns);
    }
    let differing = known.rows.iter().filter(|row| row.original.is_some()).count();
    assert!((20..known.rows.len() / 5).contains(&differing), "{differing} rows differ");
}
