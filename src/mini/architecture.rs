//! The architecture of the miniature model: a LLaVA so small that it trains in minutes, and the
//! tokenizer that knows exactly the words of the suite, all in the Hugging Face layout.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::datasets::{DATASETS, benchmark};
use super::picture::{CELL, SIDE};
use super::skills::Skill;

/// Tokens that are not words, in the order of their ids.
const SPECIAL: [&str; 5] = ["<unk>", "<s>", "</s>", "<image>", "<pad>"];
/// Words of the prompt that the model is trained with.
const PROMPT: [&str; 3] = ["USER", "ASSISTANT", ":"];
/// How the tokenizer cuts a text: numbers, Chinese characters, words, and every other character on
/// its own.
const PIECES: &str = "[0-9]+(?:\\.[0-9]+)?|[一-鿿]|(?:(?![一-鿿])\\p{L})+|\\S";

/// The files of the architecture: name and content.
pub fn files() -> Vec<(&'static str, String)> {
    let vocabulary = vocabulary();
    let text = |value: Value| format!("{value:#}\n");
    vec![
        ("config.json", text(config(vocabulary.len()))),
        ("preprocessor_config.json", text(preprocessor())),
        ("tokenizer.json", text(tokenizer(&vocabulary))),
        ("tokenizer_config.json", text(tokenizer_config())),
    ]
}

/// The special tokens, the words of the prompt, and every word that the suite says, sorted.
fn vocabulary() -> Vec<String> {
    let mut said = BTreeSet::new();
    let datasets = DATASETS.iter().flat_map(|dataset| (0..dataset.rows).map(|index| dataset.row(index)));
    for row in datasets.chain(Skill::ALL.into_iter().flat_map(benchmark)) {
        for (question, answer) in row.turns {
            said.extend(pieces(&question));
            said.extend(pieces(&answer));
        }
    }
    for word in PROMPT {
        said.remove(word);
    }
    let fixed = SPECIAL.into_iter().chain(PROMPT).map(String::from);
    fixed.chain(said).collect()
}

/// Cuts `text` as [`PIECES`] says.
fn pieces(text: &str) -> Vec<String> {
    let chinese = |character: char| ('\u{4e00}'..='\u{9fff}').contains(&character);
    let letter = |character: char| character.is_alphabetic() && !chinese(character);
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let run = |of: &dyn Fn(char) -> bool, text: &str| text.find(|character| !of(character)).unwrap_or(text.len());
        let digits = |text: &str| run(&|character| character.is_ascii_digit(), text);
        let length = if first.is_ascii_digit() {
            let whole = digits(rest);
            match rest[whole..].strip_prefix('.').map(digits) {
                None | Some(0) => whole,
                Some(fraction) => whole + 1 + fraction,
            }
        } else if letter(first) {
            run(&letter, rest)
        } else {
            first.len_utf8()
        };
        pieces.push(rest[..length].to_string());
        rest = rest[length..].trim_start();
    }
    pieces
}

fn id(token: &str) -> usize {
    let position = SPECIAL.iter().position(|special| *special == token);
    position.unwrap_or_else(|| unreachable!("BUG: `{token}` is not a special token"))
}

fn tokenizer(vocabulary: &[String]) -> Value {
    let ids: Map<String, Value> = vocabulary.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
    let added: Vec<Value> = SPECIAL
        .iter()
        .map(|token| {
            json!({
                "id": id(token), "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let without = |pattern: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": ""});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Removed", "invert": true},
        "post_processor": null,
        // The pieces with a space before each but the first, less the spaces that nobody writes.
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "WordPiece", "prefix": "##", "cleanup": false},
            {"type": "Fuse"},
            without(" (?=[.,?!:\\]？])"),
            without("(?<=\\[) "),
            without("(?<=[一-鿿]) (?=[一-鿿])"),
        ]},
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "<unk>"},
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "image_token": "<image>",
        "model_max_length": 256,
        "clean_up_tokenization_spaces": false,
    })
}

fn preprocessor() -> Value {
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": true,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": true,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "do_convert_rgb": true,
    })
}

fn config(words: usize) -> Value {
    json!({
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "conversation": {"system": ""},
        "image_token_index": id("<image>"),
        "image_seq_length": (SIDE / CELL) * (SIDE / CELL),
        "pad_token_id": id("<pad>"),
        "bos_token_id": id("<s>"),
        "eos_token_id": id("</s>"),
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": true,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": true,
        "dtype": "float32",
        "text_config": {
            "model_type": "llama",
            "vocab_size": words.next_multiple_of(8),
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 24,
            "hidden_act": "silu",
            "max_position_embeddings": 256,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "attention_bias": false,
            "mlp_bias": false,
            "tie_word_embeddings": true,
            "bos_token_id": id("<s>"),
            "eos_token_id": id("</s>"),
            "pad_token_id": id("<pad>"),
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_channels": 3,
            "image_size": SIDE,
            "patch_size": CELL,
            "projection_dim": 96,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
    })
}
