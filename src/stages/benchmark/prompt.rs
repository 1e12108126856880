//! How questions are worded: as LLaVA-1.5 was trained and is evaluated (`docs/Evaluation.md` of
//! haotian-liu/LLaVA).

use crate::selection::answers::options::letter;

/// Stands for an image.
pub const MARK: &str = "<image>";
/// Asks for a short answer.
pub const SHORT: &str = "Answer the question using a single word or phrase.";
/// Asks for a letter.
pub const LETTER: &str = "Answer with the option's letter from the given choices directly.";

/// A text of a file without anything that would stand for an image.
pub fn plain(text: &str) -> String {
    text.replace(MARK, "image").trim().to_string()
}

/// A question about one image, whose mark comes first on a line of its own.
pub fn about_image(question: &str) -> String {
    format!("{MARK}\n{question}")
}

/// A question with the instruction on a line of its own; without one if the instruction is empty.
pub fn instructed(question: &str, instruction: &str) -> String {
    if instruction.is_empty() { question.to_string() } else { format!("{question}\n{instruction}") }
}

/// `A. {option}` on a line for each option.
pub fn lettered<S: AsRef<str>>(options: &[S]) -> String {
    let lines = options.iter().enumerate().map(|(number, option)| format!("{}. {}", letter(number), option.as_ref()));
    lines.collect::<Vec<_>>().join("\n")
}
