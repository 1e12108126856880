//! Samples as the LLaVA-style JSON that trainers read: `id`, `image`, `conversations`.
//!
//! A pool is read as a stream, so that only one of its samples is held in memory.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::Path;

use anyhow::ensure;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::columns::{Clusters, Scores};
use super::files::read_json_lines;
use super::image_folder::ImageFolder;
use super::pool::{Choice, Sample, Turn};
use super::samples::PoolReader;

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One JSON list, a line for each sample.
    List,
    /// JSON Lines: a sample per line and nothing else.
    Lines,
}

/// What is known of why samples were chosen, by their ids in the pool.
#[derive(Debug, Default)]
pub struct Reasons {
    choices: HashMap<String, Choice>,
    clusters: HashMap<String, usize>,
    /// Scorer → one score per row.
    scores: IndexMap<String, Vec<f32>>,
    /// Sample → row of the scores.
    rows: HashMap<String, usize>,
}

impl Reasons {
    /// Reads the choices of a subset where it has them, the clusters and the scores.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read.
    pub fn read(subset: &Path, clusters: Option<&Path>, scores: Option<&Path>) -> anyhow::Result<Reasons> {
        let mut reasons = Reasons::default();
        let choices = subset.join("choices.jsonl");
        if choices.exists() {
            let choices: Vec<Choice> = read_json_lines(&choices)?;
            reasons.choices = choices.into_iter().map(|choice| (choice.id.clone(), choice)).collect();
        }
        if let Some(directory) = clusters {
            let Clusters { ids, labels, .. } = Clusters::read(directory)?;
            reasons.clusters = ids.into_iter().zip(labels).collect();
        }
        if let Some(directory) = scores {
            let Scores { ids, columns } = Scores::read(directory)?;
            reasons.scores = columns;
            reasons.scores.sort_unstable_keys();
            reasons.rows = ids.into_iter().enumerate().map(|(row, id)| (id, row)).collect();
        }
        Ok(reasons)
    }

    /// Whether nothing is known of any sample.
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty() && self.clusters.is_empty() && self.scores.is_empty()
    }

    /// What is known of one sample. A score that is not finite is `null`.
    fn of(&self, id: &str) -> Map<String, Value> {
        let mut known = Map::new();
        let choice = self.choices.get(id);
        let cluster = choice.and_then(|choice| choice.cluster).or_else(|| self.clusters.get(id).copied());
        known.extend(cluster.map(|cluster| ("cluster".to_string(), json!(cluster))));
        if let Some(choice) = choice {
            known.extend(choice.scorer.as_ref().map(|scorer| ("scorer".to_string(), json!(scorer))));
            known.extend(choice.score.map(|score| ("score".to_string(), number(score))));
        }
        if let Some(row) = self.rows.get(id) {
            let scores = self.scores.iter().map(|(scorer, values)| (scorer.clone(), number(values[*row])));
            known.insert("scores".to_string(), Value::Object(scores.collect()));
        }
        known
    }
}

/// The shortest decimal number that reads back as the same `f32`.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |value| json!(value))
}

/// How samples are exported.
pub struct ExportOptions<'a> {
    /// How they are written.
    pub layout: Layout,
    /// What is added to each, if anything.
    pub reasons: Option<&'a Reasons>,
    /// Where their images are brought to, if anywhere.
    pub images: Option<&'a ImageFolder<'a>>,
    /// Hears how many samples are done, and how many there are.
    pub progress: &'a dyn Fn(u64, u64),
}

/// What an export came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Samples written.
    pub samples: usize,
    /// The datasets that they come from.
    pub datasets: BTreeSet<String>,
}

/// A sample as it is written.
#[derive(Serialize)]
struct Written {
    id: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    image: Value,
    conversations: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
    #[serde(flatten)]
    reasons: Map<String, Value>,
}

/// Writes the samples of a pool or subset in its order. Each has the `id` that its dataset gave it,
/// else its id in the pool; one image is a path, several are a list of them, relative to the folder
/// that images are brought to, else to the one that the dataset was read with. Where samples come from several
/// datasets each names its own.
///
/// # Errors
///
/// If the samples cannot be read, they or their images cannot be written, or an image is no file of its own, which
/// a path cannot name, and is brought nowhere.
pub fn export(pool: &PoolReader, options: &ExportOptions<'_>, to: &mut dyn Write) -> anyhow::Result<Exported> {
    let mut exported = Exported { samples: 0, datasets: pool.datasets().keys().cloned().collect() };
    let several = exported.datasets.len() > 1;
    let samples = pool.samples()?;
    let (begin, between, end) = match options.layout {
        Layout::List => ("[\n", ",\n", "\n]\n"),
        Layout::Lines => ("", "\n", "\n"),
    };
    to.write_all(begin.as_bytes())?;
    for sample in samples {
        let written = written(sample?, several, options)?;
        if exported.samples > 0 {
            to.write_all(between.as_bytes())?;
        }
        serde_json::to_writer(&mut *to, &written).map_err(io::Error::from)?;
        exported.samples += 1;
        (options.progress)(exported.samples as u64, pool.len() as u64);
    }
    if options.layout == Layout::List || exported.samples > 0 {
        to.write_all(end.as_bytes())?;
    }
    to.flush()?;
    Ok(exported)
}

fn written(sample: Sample, several: bool, options: &ExportOptions<'_>) -> anyhow::Result<Written> {
    let Sample { id, dataset, source_id, images, turns, .. } = sample;
    let mut paths: Vec<Value> = Vec::with_capacity(images.len());
    for image in images {
        paths.push(Value::from(match options.images {
            Some(folder) => folder.bring(&dataset, &image)?,
            None => {
                ensure!(
                    image.part.is_whole(),
                    "an image of sample `{id}` is inside a file of `{dataset}`, and LLaVA-style JSON can only name image \
                     files\nhint: `--images FOLDER` writes such images to a folder, and the samples then name them there"
                );
                image.path
            }
        }));
    }
    let image = match paths.len() {
        0 => Value::Null,
        1 => paths.remove(0),
        _ => Value::Array(paths),
    };
    let message = |from: &str, value: String| json!({"from": from, "value": value});
    let conversations =
        turns.into_iter().flat_map(|Turn { question, answer }| [message("human", question), message("gpt", answer)]);
    let reasons = options.reasons.map_or_else(Map::new, |reasons| {
        let mut known = Map::from_iter([("sample".to_string(), json!(id))]);
        known.extend(reasons.of(&id));
        known
    });
    Ok(Written {
        conversations: conversations.collect(),
        id: source_id.unwrap_or(Value::String(id)),
        image,
        dataset: several.then_some(dataset),
        reasons,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Pool, Sample, write_json_lines};

    fn sample(row: usize) -> Sample {
        Sample {
            id: format!("d/{row}"),
            source_id: None,
            dataset: "d".into(),
            skill: None,
            source: None,
            images: vec![],
            turns: vec![Turn { question: "What?".into(), answer: "That".into() }],
        }
    }

    #[test]
    fn what_is_known_of_a_choice_is_added_in_whatever_order_it_was_kept() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let place = directory.path().join(name);
            std::fs::create_dir(&place).unwrap();
            place
        };
        let (subset, scores, clusters) = (place("subset"), place("scores"), place("clusters"));
        Pool { samples: vec![sample(0), sample(2)], ..Pool::default() }.write(&subset).unwrap();
        let choice = |row: usize, score: f32| Choice {
            id: format!("d/{row}"),
            cluster: Some(row),
            scorer: Some("el2n".into()),
            score: Some(score),
        };
        write_json_lines(&subset.join("choices.jsonl"), [choice(2, 0.3), choice(0, 0.1)]).unwrap();
        let ids = ["d/2", "d/1", "d/0"].map(String::from).to_vec();
        let columns = [("el2n".to_string(), vec![0.3, 0.2, 0.1]), ("grand".to_string(), vec![7.5, f32::INFINITY, 8.0])];
        Scores { ids: ids.clone(), columns: columns.into_iter().collect() }.write(&scores).unwrap();
        let centroids = vec![0.0, 1.0, 2.0];
        let (labels, within_sum_of_squares) = (vec![2, 1, 0], 0.0);
        let made = Clusters { ids, labels, dimensions: 1, centroids, within_sum_of_squares, sweep: None };
        made.write(&clusters).unwrap();

        let told = |reasons: &Reasons, layout| {
            let mut text = Vec::new();
            let options = ExportOptions { layout, reasons: Some(reasons), images: None, progress: &|_, _| {} };
            let exported = export(&PoolReader::open(&subset).unwrap(), &options, &mut text).unwrap();
            assert_eq!((exported.samples, exported.datasets.len()), (2, 1));
            String::from_utf8(text).unwrap()
        };
        let conversations = r#""conversations":[{"from":"human","value":"What?"},{"from":"gpt","value":"That"}]"#;
        let reasons = Reasons::read(&subset, Some(&clusters), Some(&scores)).unwrap();
        let lines = told(&reasons, Layout::Lines);
        let first = r#""sample":"d/0","cluster":0,"scorer":"el2n","score":0.1,"scores":{"el2n":0.1,"grand":8.0}"#;
        assert_eq!(lines.lines().next().unwrap(), format!("{{\"id\":\"d/0\",{conversations},{first}}}"));
        let list: Vec<Value> = serde_json::from_str(&told(&reasons, Layout::List)).unwrap();
        assert_eq!((&list[1]["score"], &list[1]["scores"]["grand"]), (&json!(0.3), &json!(7.5)));

        std::fs::remove_file(subset.join("choices.jsonl")).unwrap();
        let reasons = Reasons::read(&subset, Some(&clusters), None).unwrap();
        assert!(
            told(&reasons, Layout::Lines)
                .starts_with(&format!("{{\"id\":\"d/0\",{conversations},\"sample\":\"d/0\",\"cluster\":0}}"))
        );
        assert_eq!(number(f32::INFINITY), Value::Null);
    }
}
