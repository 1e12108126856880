//! MMBench (Liu et al. 2023): `mmbench_dev_20230712.tsv`, a table with an image in base64 in each row.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use csv::{ReaderBuilder, StringRecord};

use super::Source;
use crate::stages::benchmark::prompt::{LETTER, about_image, instructed, lettered, plain};
use crate::stages::benchmark::question::{Expected, Question};
use crate::text;

/// Rows whose indices differ by a multiple of this ask the same with rotated options.
const ROTATION: u64 = 1_000_000;
/// What is shorter stands for the image of the row with this index.
const SHORTEST_IMAGE: usize = 64;
const OPTIONS: [&str; 4] = ["A", "B", "C", "D"];
const NEEDED: [&str; 6] = ["index", "question", "A", "B", "answer", "image"];

/// Where each column is.
struct Columns(HashMap<String, usize>);

impl Columns {
    /// The cell of a row, unless it is empty or stands for nothing.
    fn get<'a>(&self, row: &'a StringRecord, column: &str) -> Option<&'a str> {
        let cell = row.get(*self.0.get(column)?)?.trim();
        (!["", "nan", "none"].contains(&cell.to_lowercase().as_str())).then_some(cell)
    }
}

/// Where the file holds rotated copies, all copies of a question must be answered right (CircularEval).
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let file = source.file()?;
    let problem = || format!("cannot read `{}`", file.display());
    let reader = ReaderBuilder::new().delimiter(b'\t').flexible(true).from_path(&file);
    let mut reader = reader.with_context(problem)?;
    let head = reader.headers().with_context(problem)?;
    let columns = Columns(head.iter().enumerate().map(|(place, name)| (name.to_string(), place)).collect());
    ensure!(
        NEEDED.iter().all(|column| columns.0.contains_key(*column)),
        "`{}` has another layout than its format: it has the columns {}; needed are {}\nhint: the columns of a table \
         end in tabs; a split without public answers has no `answer` and cannot be scored",
        file.display(),
        text::ticked_list(head.iter().map(|name| name.chars().take(40).collect::<String>())),
        text::ticked_list(NEEDED)
    );
    let mut questions = Vec::new();
    let mut images = HashMap::new();
    for (number, row) in reader.records().enumerate() {
        let row = row.with_context(problem)?;
        let place = || format!("`{}`, row {}", file.display(), number + 1);
        if source.entry.split().is_some_and(|split| columns.get(&row, "split") != Some(split)) {
            continue;
        }
        let question = question(source, &columns, &row, &mut images).with_context(place)?;
        questions.push(question);
    }
    let in_circles = questions.iter().any(|(index, _)| *index >= ROTATION);
    let question = |(index, question): (u64, Question)| match in_circles {
        true => Question { circle: Some(index % ROTATION), rotated: index >= ROTATION, ..question },
        false => question,
    };
    Ok(questions.into_iter().map(question).collect())
}

/// The index of a row and its question. `images` are those of the rows before, by index.
fn question(
    source: &Source<'_>,
    columns: &Columns,
    row: &StringRecord,
    images: &mut HashMap<String, PathBuf>,
) -> anyhow::Result<(u64, Question)> {
    let need = |column: &str| columns.get(row, column).with_context(|| format!("it has no `{column}`"));
    let index: u64 = need("index")?.parse().context("its `index` is no number")?;
    let picture = need("image")?;
    let image = if picture.len() >= SHORTEST_IMAGE {
        source.pictures.embedded(picture)?
    } else {
        let same = images.get(picture).cloned();
        same.with_context(|| format!("its image is that of the row `{picture}`, which is not before it"))?
    };
    images.insert(index.to_string(), image.clone());
    let options = OPTIONS.iter().map_while(|option| columns.get(row, option));
    let options: Vec<String> = options.map(plain).collect();
    let answer = need("answer")?;
    let right = OPTIONS[..options.len()].iter().position(|option| *option == answer);
    let right = right.with_context(|| format!("its answer is `{answer}`, and it has {} options", options.len()))?;
    let asked = plain(need("question")?);
    let asked = columns.get(row, "hint").map_or(asked.clone(), |hint| format!("{}\n{asked}", plain(hint)));
    let instruction = source.entry.prompt(LETTER);
    let text = about_image(&instructed(&format!("{asked}\n{}", lettered(&options)), instruction));
    let expected = Expected::Option { right, options };
    let groups = [("category", "category"), ("l2-category", "ability")];
    let groups = groups.iter().filter_map(|(column, kind)| Some(format!("{kind}/{}", columns.get(row, column)?)));
    Ok((index, Question::new(source.id(index), text, vec![image], expected).in_groups(groups)))
}
