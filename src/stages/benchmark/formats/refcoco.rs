//! RefCOCO, RefCOCO+ and RefCOCOg (Yu et al. 2016), as a JSON list or JSON Lines in one of the layouts that are
//! in use: a row for each object or sentence, or a row for each image with its list of references.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::Source;
use crate::selection::answers::boxes::Frame;
use crate::stages::benchmark::entry::BoxLayout;
use crate::stages::benchmark::layout::{self, Id};
use crate::stages::benchmark::prompt::{about_image, plain};
use crate::stages::benchmark::question::{Expected, Question, Region};

const ROW: &str = r#"{"image": …, "width": …, "height": …, "bbox": [four], "sentence": …}, {"img_id": …, …, "sents": […]}, or {"image_info": {"file_name", "width", "height"}, "ref_list": [{"ann_info": {"bbox"}, "ref_info": {"sentences": [{"sent"}]}}]}"#;
/// What LLaVA-1.5 was trained with.
const PROMPT: &str = "Please provide the bounding box coordinate of the region this sentence describes: {}.";

#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    OfImage { image_info: ImageInfo, ref_list: Vec<Reference> },
    OfObject(Object),
}

#[derive(Deserialize)]
struct Object {
    #[serde(alias = "file_name", alias = "img_path", alias = "img_id", alias = "image_id")]
    image: Id,
    width: f64,
    height: f64,
    bbox: [f64; 4],
    #[serde(alias = "sents", alias = "sentences", alias = "expression", alias = "text")]
    sentence: Sentences,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sentences {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct ImageInfo {
    file_name: String,
    width: f64,
    height: f64,
}

#[derive(Deserialize)]
struct Reference {
    ann_info: AnnotationInfo,
    ref_info: ReferenceInfo,
}

#[derive(Deserialize)]
struct AnnotationInfo {
    bbox: [f64; 4],
}

#[derive(Deserialize)]
struct ReferenceInfo {
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    sent: String,
}

/// Each sentence is a question; the authors of the method ask only the first of an object.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let prompt = source.entry.prompt(PROMPT);
    ensure!(prompt.contains("{}"), "its `prompt` has no `{{}}`, which stands for the sentence");
    let (frame, boxes) = (source.entry.answer_frame(), source.entry.box_layout());
    let mut questions = Vec::new();
    for file in source.files()? {
        let rows: Vec<Row> = layout::rows(&file, ROW)?;
        for (number, object) in rows.into_iter().flat_map(objects).enumerate() {
            let place = || format!("`{}`, object {number}", file.display());
            let region = region(&object, boxes, frame).with_context(place)?;
            let image = image(source, &object.image).with_context(place)?;
            let sentences = match &object.sentence {
                Sentences::One(sentence) => std::slice::from_ref(sentence),
                Sentences::Several(sentences) => sentences.as_slice(),
            };
            for (sentence, words) in sentences.iter().enumerate() {
                let text = about_image(&prompt.replace("{}", plain(words).trim_end_matches('.')));
                let id = source.id(format!("{}/{number}-{sentence}", super::stem(&file)));
                questions.push(Question::new(id, text, vec![image.clone()], Expected::Region(region)));
            }
        }
    }
    Ok(questions)
}

fn objects(row: Row) -> Vec<Object> {
    match row {
        Row::OfObject(object) => vec![object],
        Row::OfImage { image_info: info, ref_list } => {
            let object = |reference: Reference| Object {
                image: Id::Text(info.file_name.clone()),
                width: info.width,
                height: info.height,
                bbox: reference.ann_info.bbox,
                sentence: Sentences::Several(
                    reference.ref_info.sentences.into_iter().map(|sentence| sentence.sent).collect(),
                ),
            };
            ref_list.into_iter().map(object).collect()
        }
    }
}

fn region(object: &Object, boxes: BoxLayout, frame: Frame) -> anyhow::Result<Region> {
    let [left, top, third, fourth] = object.bbox;
    let corners = match boxes {
        BoxLayout::Xywh => [left, top, left + third, top + fourth],
        BoxLayout::Xyxy => object.bbox,
    };
    let (width, height) = (object.width, object.height);
    // Annotated boxes reach over the border by rounding.
    let inside = corners[0] >= -1.0 && corners[1] >= -1.0 && corners[2] <= width + 1.0 && corners[3] <= height + 1.0;
    ensure!(
        inside && corners[0] < corners[2] && corners[1] < corners[3],
        "its box {:?} is not in its image of {width} × {height}\nhint: `box_layout` says whether the last two numbers \
         are width and height (`xywh`) or right and bottom (`xyxy`)",
        object.bbox
    );
    Ok(Region { corners, width, height, frame })
}

/// A path, or the name or number of an image of COCO 2014's training part, which all objects are of. Names of
/// references have the number of the object behind that of the image.
fn image(source: &Source<'_>, image: &Id) -> anyhow::Result<PathBuf> {
    const PREFIX: &str = "COCO_train2014_";
    let path = image.to_string();
    let digits = match image {
        Id::Number(number) => Some(format!("{number:012}")),
        Id::Text(text) => text.strip_prefix(PREFIX).and_then(|rest| rest.get(..12)).map(str::to_string),
    };
    let name = digits.map_or(path, |digits| format!("{PREFIX}{digits}.jpg"));
    source.pictures.first_of(&[name.clone(), format!("train2014/{name}")])
}
