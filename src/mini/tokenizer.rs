//! A tokenizer that knows exactly the words of a suite, in the layout of Hugging Face. Unaware of what is
//! said with them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::datasets::Row;

/// Words of the prompt that the models are trained with.
const PROMPT: [&str; 3] = ["USER", "ASSISTANT", ":"];
/// How the tokenizer cuts a text: numbers, Chinese characters, words, and every other character on
/// its own.
const PIECES: &str = "[0-9]+(?:\\.[0-9]+)?|[一-鿿]|(?:(?![一-鿿])\\p{L})+|\\S";

/// Special tokens and words.
pub struct Tokenizer {
    special: &'static [&'static str],
    vocabulary: Vec<String>,
}

impl Tokenizer {
    /// The tokens that are not words, in the order of their ids; then the words of the prompt, and every
    /// word that `rows` say, sorted.
    pub fn new(special: &'static [&'static str], rows: impl Iterator<Item = Row>) -> Tokenizer {
        let mut said = BTreeSet::new();
        for row in rows {
            for (question, answer) in row.turns {
                said.extend(pieces(&question));
                said.extend(pieces(&answer));
            }
        }
        for word in PROMPT {
            said.remove(word);
        }
        let fixed = special.iter().copied().chain(PROMPT).map(String::from);
        Tokenizer { special, vocabulary: fixed.chain(said).collect() }
    }

    /// How many tokens there are.
    pub fn size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The id of a special token.
    pub fn id(&self, token: &str) -> usize {
        let position = self.special.iter().position(|special| *special == token);
        position.unwrap_or_else(|| unreachable!("BUG: `{token}` is not a special token"))
    }

    /// Whether every word of `text` has a token.
    #[cfg(test)]
    pub fn knows(&self, text: &str) -> bool {
        pieces(text).iter().all(|piece| self.vocabulary.contains(piece))
    }

    /// `tokenizer.json`.
    pub fn file(&self) -> Value {
        let ids: Map<String, Value> =
            self.vocabulary.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
        let added: Vec<Value> = self
            .special
            .iter()
            .map(|token| {
                json!({
                    "id": self.id(token), "content": token, "single_word": false, "lstrip": false, "rstrip": false,
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

    /// `tokenizer_config.json`.
    pub fn settings(&self) -> Value {
        let mut settings = Map::new();
        let mut set = |name: &str, value: Value| settings.insert(name.to_string(), value);
        set("tokenizer_class", json!("PreTrainedTokenizerFast"));
        for name in ["unk", "bos", "eos", "pad", "image"] {
            let token = match name {
                "bos" => "<s>",
                "eos" => "</s>",
                "unk" => "<unk>",
                "pad" => "<pad>",
                _ => "<image>",
            };
            if self.special.contains(&token) {
                set(&format!("{name}_token"), json!(token));
            }
        }
        set("model_max_length", json!(256));
        set("clean_up_tokenization_spaces", json!(false));
        Value::Object(settings)
    }
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
