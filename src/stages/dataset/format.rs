//! The layouts of instruction-tuning datasets, and how a dataset's own is told from its first row.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::row::Row;
use crate::text::ticked_list;

/// The layout of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `{image, conversations: [{from, value}]}`.
    Llava,
    /// `{instruction, inputs, outputs, image_base64_str}`.
    M3it,
    /// `{"annotations": [{image_id, caption}]}`.
    Minigpt4,
    /// `{images, conversation: [{role, content}]}`.
    Mantis,
    /// `{image, conversations, task_type}`.
    Lamm,
    /// As LLaVA, with `task_name`.
    VisionFlan,
    /// `{conversations}` without images, perhaps with a system message.
    Sharegpt,
    /// `{instruction, input, output}` without images.
    Alpaca,
}

/// The layouts, with the keys that tell them.
const KNOWN: [(&str, &str); 8] = [
    ("llava", "`conversations`, `image`"),
    ("m3it", "`instruction`, `inputs`, `outputs`, `image_base64_str`"),
    ("minigpt4", "`image_id`, `caption` (in the list `annotations`)"),
    ("mantis", "`images`, `conversation`"),
    ("lamm", "`image`, `conversations`, `task_type`"),
    ("vision_flan", "`image`, `conversations`, `task_name`"),
    ("sharegpt", "`conversations` or `messages`, no image"),
    ("alpaca", "`instruction`, `input`, `output`"),
];

impl Format {
    /// Why something is no row of this layout.
    pub fn no_row(self) -> &'static str {
        match self {
            Format::M3it | Format::Alpaca => "not an object with an instruction",
            Format::Minigpt4 => "not an object with an image and its caption",
            _ => "not an object with conversations",
        }
    }

    /// The layout that has these keys; `row` is the row that they are of, where more than the keys is
    /// needed.
    pub fn of(keys: &BTreeSet<&str>, row: Option<&Row<'_>>) -> Option<Format> {
        let has = |names: &[&str]| names.iter().all(|name| keys.contains(name));
        let any = |names: &[&str]| names.iter().any(|name| keys.contains(name));
        if any(&["image_base64_str", "image_str"]) || has(&["instruction", "outputs"]) {
            return Some(Format::M3it);
        }
        if has(&["image_id", "caption"]) {
            return Some(Format::Minigpt4);
        }
        if any(&["conversations", "conversation", "messages"]) {
            return Some(if any(&["task_type"]) {
                Format::Lamm
            } else if any(&["task_name"]) {
                Format::VisionFlan
            } else if any(&["images"]) {
                Format::Mantis
            } else if any(&["image"]) {
                Format::Llava
            } else if any(&["messages"]) || row.is_some_and(speaks_as_sharegpt) {
                Format::Sharegpt
            } else {
                Format::Llava
            });
        }
        has(&["instruction", "output"]).then_some(Format::Alpaca)
    }

    /// The layout of a row in JSON.
    ///
    /// # Errors
    ///
    /// The keys, in words, if it is none.
    pub fn of_json(text: &[u8]) -> Result<Format, String> {
        let Ok(keys) = serde_json::from_slice::<IndexMap<String, IgnoredAny>>(text) else {
            return Err("is not an object".into());
        };
        let names: BTreeSet<&str> = keys.keys().map(String::as_str).collect();
        Format::of(&names, Row::parse(text).ok().as_ref()).ok_or_else(|| told(keys.keys()))
    }

    /// The layout of a Parquet file with these columns.
    ///
    /// # Errors
    ///
    /// The columns, in words, if it is none.
    pub fn of_columns(columns: &[String]) -> Result<Format, String> {
        let names: BTreeSet<&str> = columns.iter().map(String::as_str).collect();
        Format::of(&names, None).ok_or_else(|| told(columns))
    }

    /// The layouts that are known, for an error: one line each.
    pub fn known() -> String {
        let lines: Vec<String> = KNOWN.iter().map(|(name, keys)| format!("  {name}: {keys}")).collect();
        lines.join("\n")
    }
}

fn told<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> String {
    const SHOWN: usize = 12;
    let keys: Vec<S> = keys.into_iter().collect();
    match keys.len() {
        0 => "has no keys".into(),
        1 => format!("has only the key {}", ticked_list(&keys)),
        2..=SHOWN => format!("has the keys {}", ticked_list(&keys)),
        more => format!("has {more} keys, among them {}", ticked_list(keys.iter().take(SHOWN))),
    }
}

/// Whether a conversation without an image has roles that LLaVA-style data does not have.
fn speaks_as_sharegpt(row: &Row<'_>) -> bool {
    let messages = row.conversations.as_deref().unwrap_or_default();
    messages.iter().any(|message| !matches!(message.from.or_empty(), "human" | "gpt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_is_told_from_its_first_row() {
        for (format, row) in [
            (Format::Llava, r#"{"id": "1", "image": "a.jpg", "conversations": []}"#),
            (Format::Llava, r#"{"conversations": [{"from": "human", "value": "a"}], "model": ""}"#),
            (Format::M3it, r#"{"instruction": "", "inputs": "", "outputs": "", "image_base64_str": []}"#),
            (Format::Minigpt4, r#"{"image_id": "2", "caption": "a dog"}"#),
            (Format::Mantis, r#"{"id": "1", "images": [], "conversation": []}"#),
            (Format::Lamm, r#"{"id": "1", "image": "a.jpg", "task_type": "detection", "conversations": []}"#),
            (Format::VisionFlan, r#"{"image": "a.jpg", "conversations": [], "task_name": "vqa"}"#),
            (Format::Sharegpt, r#"{"conversations": [{"from": "system", "value": "a"}]}"#),
            (Format::Sharegpt, r#"{"messages": [{"role": "user", "content": "a"}]}"#),
            (Format::Alpaca, r#"{"instruction": "", "input": "", "output": ""}"#),
        ] {
            assert_eq!(Format::of_json(row.as_bytes()), Ok(format), "{row}");
        }
    }

    #[test]
    fn what_is_no_layout_is_told_by_its_keys() {
        assert_eq!(Format::of_json(br#"{"a": 1, "b": 2}"#), Err("has the keys `a` and `b`".into()));
        assert_eq!(Format::of_json(b"{}"), Err("has no keys".into()));
        assert_eq!(Format::of_json(b"[1]"), Err("is not an object".into()));
        assert_eq!(Format::known().lines().count(), 8);
        for (name, _) in KNOWN {
            assert!(serde_json::from_value::<Format>(name.into()).is_ok(), "{name}");
        }
    }
}
