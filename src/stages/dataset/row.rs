//! The fields of a row, whatever its layout: read from the text of a JSON object without copying it, or
//! filled from a row of a Parquet file. Unaware of what layouts make of them.

use std::borrow::Cow;
use std::fmt;

use parquet::data_type::ByteArray;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a row of a dataset can have.
#[derive(Debug, Default, Deserialize)]
pub struct Row<'a> {
    /// Images of LLaVA-style rows: a path, a list of paths or of objects with a path.
    #[serde(borrow, default)]
    pub image: Pictures<'a>,
    /// The same under another name (MANTIS).
    #[serde(borrow, default)]
    pub images: Pictures<'a>,
    /// Images as base64 text (M3IT).
    #[serde(borrow, default, alias = "image_str")]
    pub image_base64_str: Texts<'a>,
    /// The messages of a conversation (`conversation` in MANTIS, `messages` elsewhere).
    #[serde(borrow, default, alias = "conversation", alias = "messages")]
    pub conversations: Option<Vec<Message<'a>>>,
    /// What to do (M3IT, Alpaca).
    #[serde(borrow, default)]
    pub instruction: Loose<'a>,
    /// What to do it with.
    #[serde(borrow, default, alias = "inputs")]
    pub input: Loose<'a>,
    /// What should come out.
    #[serde(borrow, default, alias = "outputs")]
    pub output: Loose<'a>,
    /// The name of an image without its ending (MiniGPT4).
    #[serde(borrow, default)]
    pub image_id: Loose<'a>,
    /// What is to be seen on it.
    #[serde(borrow, default)]
    pub caption: Loose<'a>,
    /// The skill that the row says it exercises.
    #[serde(borrow, default)]
    pub skill: Loose<'a>,
    /// The kind of task (LAMM).
    #[serde(borrow, default)]
    pub task_type: Loose<'a>,
    /// The part of the dataset (`task_name` in Vision-FLAN).
    #[serde(borrow, default, alias = "subset", alias = "task_name")]
    pub source: Loose<'a>,
    /// The name that the dataset gives it: a text or a number, if there is one. Last, for a list would be taken
    /// for the fields in order, and any value fits here.
    #[serde(default)]
    pub id: Value,
}

/// A message of a conversation.
#[derive(Debug, Deserialize)]
pub struct Message<'a> {
    /// `human` or `user`, `gpt` or `assistant`, `system`.
    #[serde(borrow, alias = "role")]
    pub from: Loose<'a>,
    /// What is said.
    #[serde(borrow, default, alias = "content")]
    pub value: Loose<'a>,
}

/// An image of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture<'a> {
    /// A file, by its path.
    File(Cow<'a, str>),
    /// Base64 text in a JSON file: the inside of a string.
    Text(&'a str),
    /// The cell of a Parquet file that has this content; which of the row's, the caller knows.
    Cell(ByteArray),
    /// Base64 text in such a cell.
    TextCell(String),
    /// A place in a list of images with nothing in it.
    Nothing,
}

/// A text where there is one: anything else than a text or a number counts as none.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Loose<'a>(pub Option<Cow<'a, str>>);

/// The images of a row.
#[derive(Debug, Default)]
pub struct Pictures<'a>(pub Vec<Picture<'a>>);

/// One text or a list of texts, as pictures of base64 text.
#[derive(Debug, Default)]
pub struct Texts<'a>(pub Vec<Picture<'a>>);

impl<'a> Row<'a> {
    /// Reads a JSON object.
    ///
    /// # Errors
    ///
    /// If the text is not JSON (`is_syntax`, `is_eof`), or not an object with such fields (`is_data`).
    pub fn parse(text: &'a [u8]) -> serde_json::Result<Row<'a>> {
        serde_json::from_slice(text).map_err(|error| match error.is_data() {
            // Parsing has stopped there; what comes after has to be JSON too.
            true => serde_json::from_slice::<IgnoredAny>(text).err().unwrap_or(error),
            false => error,
        })
    }

    /// Bytes of the images that it holds.
    pub fn size(&self) -> usize {
        let size = |picture: &Picture<'_>| match picture {
            Picture::Cell(bytes) => bytes.len(),
            Picture::TextCell(text) => text.len(),
            Picture::File(_) | Picture::Text(_) | Picture::Nothing => 0,
        };
        self.images.0.iter().map(size).sum()
    }

    /// All images, in order.
    pub fn take_pictures(&mut self) -> Vec<Picture<'a>> {
        let mut all = std::mem::take(&mut self.image.0);
        all.append(&mut self.images.0);
        all.append(&mut self.image_base64_str.0);
        all
    }
}

impl<'a> Loose<'a> {
    /// The text, if there is one that is not blank.
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.trim().is_empty())
    }

    /// The text, or nothing.
    pub fn or_empty(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Loose<'a>, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Loose<'de>, E> {
        Ok(Loose(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Loose<'de>, E> {
        Ok(Loose(Some(Cow::Owned(text.to_string()))))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Loose<'de>, E> {
        Ok(Loose(Some(Cow::Owned(text))))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Loose<'de>, E> {
        self.visit_string(number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Loose<'de>, E> {
        self.visit_string(number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Loose<'de>, E> {
        self.visit_string(number.to_string())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Loose<'de>, E> {
        Ok(Loose(None))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Loose<'de>, E> {
        Ok(Loose(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose(None))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pictures<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pictures<'a>, D::Error> {
        deserializer.deserialize_any(PicturesVisitor)
    }
}

struct PicturesVisitor;

impl<'de> Visitor<'de> for PicturesVisitor {
    type Value = Pictures<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a path, or a list of paths or objects with a path")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Pictures<'de>, E> {
        Ok(Pictures(vec![Picture::File(Cow::Borrowed(text))]))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Pictures<'de>, E> {
        Ok(Pictures(vec![Picture::File(Cow::Owned(text.to_string()))]))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Pictures<'de>, E> {
        Ok(Pictures::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pictures<'de>, A::Error> {
        let mut pictures = Vec::new();
        while let Some(mut inner) = list.next_element::<Pictures<'de>>()? {
            match inner.0.len() {
                0 => pictures.push(Picture::Nothing),
                _ => pictures.append(&mut inner.0),
            }
        }
        Ok(Pictures(pictures))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pictures<'de>, A::Error> {
        let mut path = Loose::default();
        while let Some(key) = map.next_key::<Loose<'de>>()? {
            match key.or_empty() {
                "path" => path = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Pictures(vec![path.0.map_or(Picture::Nothing, Picture::File)]))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Texts<'a>, D::Error> {
        // The texts are not copied: they are long, and only where they are matters.
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        let texts = match raw.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str::<Vec<&'de RawValue>>(raw.get()).map_err(de::Error::custom)?,
            _ => vec![raw],
        };
        let picture = |raw: &&'de RawValue| match raw.get().strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) => Ok(Picture::Text(text)),
            None if raw.get() == "null" => Ok(Picture::Nothing),
            None => Err(de::Error::custom("an image is not a text")),
        };
        let alone = texts.len() == 1 && raw.get() == "null";
        Ok(Texts(if alone { vec![] } else { texts.iter().map(picture).collect::<Result<_, _>>()? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row<'_> {
        Row::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn images_are_one_or_many_paths_objects_or_texts() {
        let file = |path: &'static str| Picture::File(Cow::Borrowed(path));
        for (text, expected) in [
            (r#"{"image": "a.png"}"#, vec![file("a.png")]),
            (r#"{"image": null}"#, vec![]),
            (
                r#"{"images": ["a.png", {"bytes": null, "path": "b.png"}, null]}"#,
                vec![file("a.png"), file("b.png"), Picture::Nothing],
            ),
            (r#"{"image_base64_str": ["aGk=", "aGk\/"]}"#, vec![Picture::Text("aGk="), Picture::Text(r"aGk\/")]),
            (r#"{"image_base64_str": "aGk="}"#, vec![Picture::Text("aGk=")]),
            (r#"{"image_base64_str": null, "image": []}"#, vec![]),
        ] {
            assert_eq!(row(text).take_pictures(), expected, "{text}");
        }
    }

    #[test]
    fn fields_have_a_name_in_each_layout_and_others_are_passed_over() {
        let told = row(r#"{"id": [1], "conversation": [{"role": "user", "content": "a\nb"}], "extra": {"x": 1}}"#);
        let messages = told.conversations.unwrap();
        assert_eq!((messages[0].from.text(), messages[0].value.or_empty()), (Some("user"), "a\nb"));
        let told = row(r#"{"instruction": "do", "inputs": "", "outputs": "done", "image_id": 17, "source": {}}"#);
        assert_eq!((told.instruction.text(), told.input.text(), told.output.text()), (Some("do"), None, Some("done")));
        assert_eq!((told.image_id.text(), told.source.text()), (Some("17"), None));
    }

    #[test]
    fn what_is_no_json_differs_from_what_is_no_row() {
        assert!(Row::parse(b"[1]").unwrap_err().is_data());
        assert!(Row::parse(br#"{"conversations": 7}"#).unwrap_err().is_data());
        assert!(Row::parse(br#"{"conversations": 7, "a": tru}"#).unwrap_err().is_syntax());
        assert!(Row::parse(b"{\"image\": \"\xff\"}").is_err());
    }
}
