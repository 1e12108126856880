//! Captions by image: COCO-CN (Li et al. 2019), `imageid.human-written-caption.txt` with `coco-cn_test.txt`, or a JSON
//! list.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use indexmap::IndexMap;
use serde::Deserialize;

use super::Source;
use crate::stages::benchmark::layout::{self, Id};
use crate::stages::benchmark::prompt::about_image;
use crate::stages::benchmark::question::{Expected, Question};

const ROW: &str = r#"[{"image_id": …, "captions": […]}, …]"#;
/// Asks for one sentence, in Chinese.
const PROMPT: &str = "请用一句话描述这张图片。";

#[derive(Deserialize)]
struct Row {
    #[serde(alias = "image", alias = "file_name")]
    image_id: Id,
    #[serde(alias = "caption", alias = "references")]
    captions: Captions,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Captions {
    One(String),
    Several(Vec<String>),
}

/// The images of the list in `annotations`, or all. An image is its id with `.jpg`, in the folder or in its
/// folder `train2014` or `val2014`.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let file = source.file()?;
    let mut captions = captions(&file)?;
    if let Some(list) = source.entry.annotations(source.suite) {
        let text = fs::read_to_string(&list).with_context(|| format!("cannot read `{}`", list.display()))?;
        let mut chosen = IndexMap::new();
        for id in text.lines().map(str::trim).filter(|id| !id.is_empty()) {
            let own = captions.get(id).with_context(|| {
                format!("`{}` has no caption of `{id}`, which is in `{}`", file.display(), list.display())
            })?;
            chosen.insert(id.to_string(), own.clone());
        }
        captions = chosen;
    }
    let prompt = source.entry.prompt(PROMPT);
    let question = |(id, captions): (String, Vec<String>)| {
        ensure!(!captions.is_empty(), "`{}`: the image `{id}` has no caption", file.display());
        let name = if Path::new(&id).extension().is_some() { id.clone() } else { format!("{id}.jpg") };
        let folders = ["", "val2014/", "train2014/"];
        let image = source.pictures.first_of(&folders.map(|folder| format!("{folder}{name}")))?;
        Ok(Question::new(source.id(&id), about_image(prompt), vec![image], Expected::Captions(captions)))
    };
    captions.into_iter().map(question).collect()
}

/// Image → its captions, in the order of the file.
fn captions(file: &Path) -> anyhow::Result<IndexMap<String, Vec<String>>> {
    let mut captions: IndexMap<String, Vec<String>> = IndexMap::new();
    if file.extension().is_some_and(|end| end == "json" || end == "jsonl") {
        for row in layout::rows::<Row>(file, ROW)? {
            let own = match row.captions {
                Captions::One(caption) => vec![caption],
                Captions::Several(captions) => captions,
            };
            captions.entry(row.image_id.to_string()).or_default().extend(own);
        }
        return Ok(captions);
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parts = line.split_once(char::is_whitespace);
        let parts = parts.and_then(|(key, caption)| Some((key.split_once('#')?.0, caption.trim())));
        let (id, caption) = parts.filter(|(_, caption)| !caption.is_empty()).with_context(|| {
            format!("`{}`, line {}: needed is `<image id>#<number>`, a tab and a caption", file.display(), number + 1)
        })?;
        captions.entry(id.to_string()).or_default().push(caption.to_string());
    }
    Ok(captions)
}
