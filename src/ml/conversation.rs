//! Conversations to token ids and back: the template v1 of LLaVA-1.5, image positions and the mask of
//! what is learnt.
//!
//! A conversation reads
//!
//! ```text
//! {system} USER: {question} ASSISTANT: {answer}</s>USER: {question} ASSISTANT: {answer}</s>
//! ```
//!
//! The text is cut at its `<image>` marks, and each piece is tokenised for itself, as LLaVA does. What is
//! learnt are the tokens after `ASSISTANT:` up to and with `</s>`: those that a model which is shown the
//! text up to `ASSISTANT:` has to produce. The mask follows from where in the text each token lies, not
//! from counting tokens of parts, which can differ from tokens of the whole.
//!
//! Unaware of samples, batches and the pixels of images.

use std::ops::Range;
use std::path::Path;

use anyhow::{anyhow, bail, ensure};

use super::config::LlavaConfig;

/// The label of a position that is not learnt.
pub const IGNORE: i64 = -100;

/// The mark that stands for an image in a question.
pub const IMAGE_MARK: &str = "<image>";

const END: &str = "</s>";

/// One exchange of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn<'a> {
    /// What the user says, with an [`IMAGE_MARK`] for each image.
    pub question: &'a str,
    /// What the assistant answers.
    pub answer: &'a str,
}

/// Which answers of a conversation are labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labelled {
    /// All: for training and scoring.
    All,
    /// The last; the others are history: for evaluation.
    Last,
}

/// A conversation in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The tokens. Each image is a run of as many image tokens as it has positions.
    pub ids: Vec<u32>,
    /// For each position the token there, or [`IGNORE`]. Not shifted: the label at a position is what
    /// the position before it predicts.
    pub labels: Vec<i64>,
    /// How many images are in the tokens: the first ones of the conversation, if it was cut.
    pub images: usize,
    /// How many tokens were cut off at the end.
    pub cut: usize,
}

impl Encoded {
    /// How many tokens are learnt.
    pub fn targets(&self) -> usize {
        self.labels.iter().filter(|label| **label != IGNORE).count()
    }
}

/// Turns conversations into tokens, for one model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    system: String,
    /// What ends every answer.
    end: String,
    bos: u32,
    /// The id that stands for a position of an image, and how many there are; none where the model reads
    /// text only.
    image: Option<(u32, usize)>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `directory`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or does not belong to the config: an id is out of range, or `</s>` is not
    /// the config's end token.
    pub fn read(directory: &Path, config: &LlavaConfig) -> anyhow::Result<Tokenizer> {
        let path = directory.join("tokenizer.json");
        let problem = |error: String| anyhow!("cannot use `{}`: {error}", path.display());
        let mut inner = tokenizers::Tokenizer::from_file(&path).map_err(|error| problem(error.to_string()))?;
        inner.with_padding(None).with_truncation(None).map_err(|error| problem(error.to_string()))?;
        let greatest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        ensure!(
            (greatest as usize) < config.text.vocab_size,
            problem(format!("its id {greatest} is not below the model's `vocab_size` {}", config.text.vocab_size))
        );
        let end = inner.token_to_id(END);
        ensure!(
            end.is_none_or(|end| end == config.eos_token),
            problem(format!("`{END}` has the id {end:?}, and the model's end token is {}", config.eos_token))
        );
        let Some(end) = inner.id_to_token(config.eos_token) else {
            return Err(problem(format!("it has no token with the model's end id {}", config.eos_token)));
        };
        if let Some(vision) = &config.vision {
            let image = inner.token_to_id(IMAGE_MARK);
            ensure!(
                image == Some(vision.image_token),
                problem(format!(
                    "{}, and the model's image token is {}\n\
                     hint: a tokenizer of the language model alone lacks it: take the one that belongs to the LLaVA checkpoint",
                    image.map_or(format!("it has no `{IMAGE_MARK}`"), |id| format!("`{IMAGE_MARK}` has the id {id}")),
                    vision.image_token
                ))
            );
        }
        Ok(Tokenizer {
            inner,
            system: config.system.clone(),
            end,
            bos: config.bos_token,
            image: config.vision.as_ref().map(|vision| (vision.image_token, vision.image_tokens())),
        })
    }

    /// A conversation with its labels, cut to at most `max_length` tokens. An image that would be cut is
    /// left out whole with all that follows; nothing before it can see it.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn encode(&self, turns: &[Turn<'_>], labelled: Labelled, max_length: usize) -> anyhow::Result<Encoded> {
        let mut text = self.beginning();
        let mut answers = Vec::with_capacity(turns.len());
        for turn in turns {
            ask(&mut text, turn.question);
            let start = text.len();
            self.answer(&mut text, turn.answer);
            answers.push(start..text.len());
        }
        if labelled == Labelled::Last {
            answers.drain(..answers.len().saturating_sub(1));
        }
        self.tokens(&text, &answers, max_length)
    }

    /// What a model is shown to answer `question` after `history`. Nothing is labelled or cut.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn prompt(&self, history: &[Turn<'_>], question: &str) -> anyhow::Result<Encoded> {
        let mut text = self.beginning();
        for turn in history {
            ask(&mut text, turn.question);
            self.answer(&mut text, turn.answer);
        }
        ask(&mut text, question);
        self.tokens(&text, &[], usize::MAX)
    }

    /// The text of `ids` without special tokens.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> anyhow::Result<String> {
        self.inner.decode(ids, true).map_err(|error| anyhow!("cannot decode tokens: {error}"))
    }

    fn answer(&self, text: &mut String, answer: &str) {
        text.push(' ');
        text.push_str(answer);
        text.push_str(&self.end);
    }

    fn beginning(&self) -> String {
        if self.system.is_empty() { String::new() } else { format!("{} ", self.system) }
    }

    fn tokens(&self, text: &str, answers: &[Range<usize>], max_length: usize) -> anyhow::Result<Encoded> {
        let mut encoded = Encoded { ids: vec![self.bos], labels: vec![IGNORE], images: 0, cut: 0 };
        let mut images = Vec::new();
        let mut at = 0;
        for (number, piece) in text.split(IMAGE_MARK).enumerate() {
            if number > 0 {
                let Some((image, positions)) = self.image else {
                    bail!(
                        "it has an image, and the model reads text only\nhint: leave such samples out, or use a LLaVA checkpoint"
                    );
                };
                images.push(encoded.ids.len());
                encoded.ids.resize(encoded.ids.len() + positions, image);
                encoded.labels.resize(encoded.ids.len(), IGNORE);
                at += IMAGE_MARK.len();
            }
            let tokens = self.inner.encode(piece, false).map_err(|error| anyhow!("cannot tokenise a text: {error}"))?;
            for (id, (start, end)) in tokens.get_ids().iter().zip(tokens.get_offsets()) {
                let (start, end) = (at + start, at + end);
                // The space after the colon belongs to a token of the answer, or is one.
                let learnt = answers.iter().any(|answer| start < answer.end && answer.start < end);
                encoded.ids.push(*id);
                encoded.labels.push(if learnt { i64::from(*id) } else { IGNORE });
            }
            at += piece.len();
        }
        let positions = self.image.map_or(0, |(_, positions)| positions);
        let cut_image = images.iter().find(|start| *start + positions > max_length);
        let kept = encoded.ids.len().min(max_length).min(cut_image.copied().unwrap_or(usize::MAX));
        encoded.cut = encoded.ids.len() - kept;
        encoded.ids.truncate(kept);
        encoded.labels.truncate(kept);
        encoded.images = images.iter().filter(|start| **start < kept).count();
        Ok(encoded)
    }
}

fn ask(text: &mut String, question: &str) {
    text.push_str("USER: ");
    text.push_str(question);
    text.push_str(" ASSISTANT:");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// A byte-fallback BPE of the build of LLaMA's: a blank is `▁`, each piece gets one in front.
    fn tokenizer(system: &str) -> Tokenizer {
        let merges = ["▁ U", "▁U S", "▁US E", "▁USE R", "U S", "US E", "USE R", "▁ y", "▁y e", "▁ye s", "n o", "▁ no"];
        let mut vocab = Map::new();
        let mut add = |token: &str| {
            let id = vocab.len();
            vocab.entry(token.to_string()).or_insert(Value::from(id));
        };
        for token in ["<unk>", "<s>", "</s>", "<image>"] {
            add(token);
        }
        for byte in 0..=255 {
            add(&format!("<0x{byte:02X}>"));
        }
        for letter in "▁abcdefghijklmnopqrstuvwxyzAISNTUER:.,0123456789".chars() {
            add(&letter.to_string());
        }
        for merge in merges {
            add(&merge.replace(' ', ""));
        }
        let special = |id: usize, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
        let size = vocab.len();
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>"), special(3, "<image>")],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
                "merges": merges},
        });
        let config = json!({"model_type": "llava", "image_token_index": 3, "conversation": {"system": system},
            "text_config": {"vocab_size": size, "hidden_size": 4, "num_attention_heads": 1},
            "vision_config": {"image_size": 4, "patch_size": 2}});
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("tokenizer.json"), file.to_string()).unwrap();
        Tokenizer::read(directory.path(), &LlavaConfig::parse(&config.to_string()).unwrap()).unwrap()
    }

    /// The tokens, those that are learnt in brackets.
    fn show(tokenizer: &Tokenizer, encoded: &Encoded) -> String {
        let show = |(id, label): (&u32, &i64)| {
            let token = tokenizer.inner.id_to_token(*id).unwrap();
            if *label == IGNORE { token } else { format!("[{token}]") }
        };
        encoded.ids.iter().zip(&encoded.labels).map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn answers_and_their_ends_are_learnt_and_nothing_else() {
        let tokenizer = tokenizer("");
        let turns = [Turn { question: "<image>\nis a", answer: "yes" }, Turn { question: "b", answer: "3" }];
        let encoded = tokenizer.encode(&turns, Labelled::All, 100).unwrap();
        insta::assert_snapshot!(show(&tokenizer, &encoded), @"<s> ▁USER : ▁ <image> <image> <image> <image> ▁ <0x0A> i s ▁ a ▁ A S S I S T A N T : [▁yes] [</s>] ▁USER : ▁ b ▁ A S S I S T A N T : [▁] [3] [</s>]");
        assert_eq!((encoded.images, encoded.cut, encoded.targets()), (1, 0, 5));
    }

    #[test]
    fn only_the_last_answer_of_a_history_can_be_learnt() {
        let tokenizer = tokenizer("a");
        let turns = [Turn { question: "a", answer: "yes" }, Turn { question: "b", answer: "no" }];
        let encoded = tokenizer.encode(&turns, Labelled::Last, 100).unwrap();
        insta::assert_snapshot!(show(&tokenizer, &encoded), @"<s> ▁ a ▁USER : ▁ a ▁ A S S I S T A N T : ▁yes </s> ▁USER : ▁ b ▁ A S S I S T A N T : [▁no] [</s>]");
    }

    #[test]
    fn a_prompt_is_what_comes_before_the_labels() {
        let tokenizer = tokenizer("see.");
        let history = [Turn { question: "<image>\nis it", answer: "no" }];
        let turns = [history[0], Turn { question: "is <image> it", answer: "yes" }];
        let prompt = tokenizer.prompt(&history, "is <image> it").unwrap();
        let whole = tokenizer.encode(&turns, Labelled::Last, 100).unwrap();
        assert_eq!(prompt.images, 2);
        assert_eq!(whole.ids[..prompt.ids.len()], prompt.ids);
        assert!(whole.labels[..prompt.ids.len()].iter().all(|label| *label == IGNORE));
        assert!(whole.labels[prompt.ids.len()..].iter().all(|label| *label != IGNORE));
    }

    #[test]
    fn an_image_is_never_cut_in_two() {
        let tokenizer = tokenizer("");
        let turns = [Turn { question: "<image> b <image> c", answer: "no" }];
        let whole = tokenizer.encode(&turns, Labelled::All, usize::MAX).unwrap();
        let second = whole.ids.iter().rposition(|id| *id == 3).unwrap() - 3;
        let cut = tokenizer.encode(&turns, Labelled::All, second + 2).unwrap();
        assert_eq!((cut.images, cut.ids.len()), (1, second));
        assert_eq!(cut.cut, whole.ids.len() - second);
        let barely = tokenizer.encode(&turns, Labelled::All, second + 4).unwrap();
        assert_eq!((barely.images, barely.ids.len()), (2, second + 4));
    }

    #[test]
    fn a_tokenizer_of_another_model_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = json!({"version": "1.0", "added_tokens": [],
            "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "</s>": 1}, "unk_token": "<unk>"}});
        fs::write(directory.path().join("tokenizer.json"), file.to_string()).unwrap();
        let config = LlavaConfig::parse(r#"{"model_type": "llava", "text_config": {"vocab_size": 32064}}"#).unwrap();
        let problem = Tokenizer::read(directory.path(), &config).err().unwrap().to_string();
        assert!(problem.contains("`</s>` has the id Some(1)"), "{problem}");
    }

    proptest! {
        #[test]
        fn what_is_learnt_decodes_to_the_answer(
            question in "[a-z中é ]{0,12}",
            answer in "[a-z0-9中é]{1,4}( [a-z0-9中é.]{1,4}){0,3}",
        ) {
            let tokenizer = tokenizer("see.");
            let turns = [Turn { question: "no", answer: "yes" }, Turn { question: &question, answer: &answer }];
            let encoded = tokenizer.encode(&turns, Labelled::Last, usize::MAX).unwrap();
            let learnt: Vec<u32> =
                encoded.labels.iter().filter(|label| **label != IGNORE).map(|label| *label as u32).collect();
            prop_assert_eq!(tokenizer.decode(&learnt).unwrap(), answer);
            prop_assert_eq!(learnt.last(), Some(&2));
        }
    }
}
