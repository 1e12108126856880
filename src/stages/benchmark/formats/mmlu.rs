//! MMLU (Hendrycks et al. 2021): a table without a head for each subject, `abstract_algebra_test.csv`, or JSON Lines
//! or Parquet of the Hugging Face dataset `cais/mmlu`.

use std::path::Path;

use anyhow::{Context, ensure};
use csv::ReaderBuilder;
use serde::Deserialize;

use super::{Source, stem};
use crate::stages::benchmark::layout;
use crate::stages::benchmark::prompt::{LETTER, instructed, lettered, plain};
use crate::stages::benchmark::question::{Expected, Question};

const ROW: &str = r#"{"question": …, "subject": …, "choices": [four], "answer": 0 to 3}"#;
const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

#[derive(Deserialize)]
struct Row {
    question: String,
    subject: String,
    choices: Vec<String>,
    answer: usize,
}

/// Asked without examples, as the method's authors do. They ask the validation split; which split is
/// asked here is which files are given, and the one that the benchmark's authors report is `test`.
pub fn read(source: &Source<'_>) -> anyhow::Result<Vec<Question>> {
    let instruction = source.entry.prompt(LETTER);
    let mut questions = Vec::new();
    for file in source.files()? {
        let rows = if file.extension().is_some_and(|end| end == "csv") {
            table(&file)?
        } else {
            layout::rows::<Row>(&file, ROW)?
        };
        for (number, row) in rows.into_iter().enumerate() {
            let place = || format!("`{}`, row {}", file.display(), number + 1);
            ensure!(row.choices.len() == 4 && row.answer < 4, "{}: it has not four choices with a right one", place());
            let choices: Vec<String> = row.choices.iter().map(|choice| plain(choice)).collect();
            let text = instructed(&format!("{}\n{}", plain(&row.question), lettered(&choices)), instruction);
            let id = source.id(format!("{}/{number}", stem(&file)));
            let expected = Expected::Option { right: row.answer, options: choices };
            questions.push(Question::new(id, text, vec![], expected).in_groups([format!("subject/{}", row.subject)]));
        }
    }
    Ok(questions)
}

/// Question, four choices and a letter in each row; the subject is in the file's name.
fn table(file: &Path) -> anyhow::Result<Vec<Row>> {
    let name = stem(file);
    let subject = ["_test", "_val", "_dev"].iter().find_map(|split| name.strip_suffix(split)).unwrap_or(&name);
    let problem = || format!("cannot read `{}`", file.display());
    let reader = ReaderBuilder::new().has_headers(false).flexible(true).from_path(file);
    let mut rows = Vec::new();
    for (number, record) in reader.with_context(problem)?.records().enumerate() {
        let record = record.with_context(problem)?;
        let place = || format!("`{}`, row {}", file.display(), number + 1);
        ensure!(
            record.len() == 6,
            "{} has {} cells; needed are a question, four choices and a letter",
            place(),
            record.len()
        );
        let letter = record[5].trim();
        let answer = LETTERS.iter().position(|known| *known == letter);
        let answer = answer.with_context(|| format!("{}: its last cell is `{letter}` and not a letter", place()))?;
        let choices = (1..5).map(|choice| record[choice].to_string()).collect();
        rows.push(Row { question: record[0].to_string(), subject: subject.to_string(), choices, answer });
    }
    Ok(rows)
}
