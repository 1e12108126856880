//! MMMU's rule for open questions: whether a right number or phrase is in the telling part of an answer
//! (`parse_open_response` and `eval_open` of MMMU-Benchmark/MMMU).
//!
//! The published code cuts an answer into sentences before a capital, having put it into lower case
//! before: it cuts lines only, and so does this.

use std::sync::LazyLock;

use fancy_regex::Regex;

/// What an answer says: a number, compared as such, or a phrase.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Rounded to two decimals.
    Number(f64),
    /// In lower case.
    Phrase(String),
}

/// Words after which the answer comes; in the last line also `=`.
const SIGNS: [&str; 8] = ["could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result "];

/// Numbers with commas between thousands, in scientific notation, and simple ones.
static NUMBERS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        r"-?\b\d{1,3}(?:,\d{3})+\b",
        r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
        r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
    ]
    .map(|text| Regex::new(text).expect("BUG: a pattern of this file is not well formed"))
});

/// Whether an answer says one of the expected ones: the same number to two decimals, or a phrase that
/// contains the expected one.
pub fn is_open_answer<S: AsRef<str>>(expected: &[S], answered: &str) -> bool {
    let expected: Vec<Said> = expected.iter().flat_map(|text| normalised(text.as_ref())).collect();
    said(answered).iter().any(|said| {
        expected.iter().any(|expected| match (said, expected) {
            (Said::Phrase(said), Said::Phrase(expected)) => said.contains(expected),
            (Said::Number(said), Said::Number(expected)) => said == expected,
            _ => false,
        })
    })
}

/// What an answer says: the shortest text after a sign of each line that has one, or the whole answer
/// where none has; and all numbers in these.
pub fn said(answered: &str) -> Vec<Said> {
    let text = answered.trim().trim_matches('.').to_lowercase();
    let lines: Vec<&str> = text.split('\n').collect();
    let mut telling: Vec<&str> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let equals = (number + 1 == lines.len()).then_some("=");
        let tails = SIGNS.into_iter().chain(equals).filter_map(|sign| line.rsplit_once(sign));
        let shortest = tails.map(|(_, tail)| tail.trim()).reduce(|best, tail| {
            // An empty tail gives way to any other.
            if best.is_empty() || tail.len() < best.len() { tail } else { best }
        });
        telling.extend(shortest.filter(|tail| !["", ":", ",", ".", "!", "?", ";", "'"].contains(tail)));
    }
    if telling.is_empty() {
        telling.push(&text);
    }
    let numbers = telling.iter().flat_map(|tail| numbers(tail));
    telling.iter().map(|tail| tail.to_string()).chain(numbers).flat_map(|text| normalised(&text)).collect()
}

fn numbers(text: &str) -> Vec<String> {
    let all = NUMBERS.iter().flat_map(|pattern| pattern.find_iter(text));
    all.filter_map(|found| Some(found.ok()?.as_str().to_string())).collect()
}

/// A number, or a phrase in lower case. A phrase of one letter counts only beside a space.
fn normalised(text: &str) -> Vec<Said> {
    let text = text.trim();
    if let Ok(number) = text.replace(',', "").parse::<f64>() {
        let rounded = format!("{number:.2}").parse().unwrap_or(number);
        return vec![Said::Number(rounded)];
    }
    let lower = text.to_lowercase();
    match lower.chars().count() {
        1 => vec![Said::Phrase(format!(" {lower}")), Said::Phrase(format!("{lower} "))],
        _ => vec![Said::Phrase(lower)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_form_are_found() {
        assert_eq!(numbers("about 1,234,567 people"), ["1,234,567", "567"]);
        // The pattern of simple numbers finds pieces of the others, in the published rule too.
        assert_eq!(numbers("1.5e-3 and -2e5"), ["1.5e-3", "-2e5", "1", "-3", "5"]);
        assert_eq!(numbers("-3.14 or .5 or 42"), ["-3.14", ".5", "42"]);
        assert_eq!(numbers("none"), Vec::<String>::new());
    }

    #[test]
    fn the_tail_after_the_last_sign_is_what_is_said() {
        let phrase = |text: &str| Said::Phrase(text.to_string());
        assert_eq!(said("The result is 24.5"), [Said::Number(24.5), Said::Number(24.5)]);
        assert_eq!(said("Mitosis"), [phrase("mitosis")]);
        assert_eq!(said("x = 3\ny = 4.126"), [Said::Number(4.13), Said::Number(4.13)]);
        assert_eq!(said("It is blue.\nso it could be red."), [phrase("blue."), phrase("red")]);
        // A one-letter answer must not be found inside a word.
        assert_eq!(said("The answer is x"), [phrase(" x"), phrase("x ")]);
    }

    #[test]
    fn a_right_number_or_a_phrase_that_contains_the_right_one_counts() {
        assert!(is_open_answer(&["1234"], "The total is 1,234 dollars"));
        assert!(is_open_answer(&["3.14"], "3.1402"));
        assert!(!is_open_answer(&["3.14"], "3.15"));
        assert!(is_open_answer(&["24/7", "3.429"], "Therefore the value is 24/7."));
        assert!(is_open_answer(&["24/7", "3.429"], "= 3.43"));
        assert!(is_open_answer(&["Mitosis"], "the process of mitosis"));
        assert!(!is_open_answer(&["Mitosis"], "meiosis"));
        assert!(!is_open_answer(&["7"], "seven"));
        assert!(!is_open_answer(&["v"], "very"));
    }

    #[test]
    fn answers_are_judged_as_by_the_published_evaluation() {
        #[derive(serde::Deserialize)]
        struct Case {
            expected: Vec<String>,
            answered: String,
            right: bool,
        }
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/answers.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_value(fixture["open"].clone()).unwrap();
        assert!(cases.iter().filter(|case| case.right).count() > 30);
        for case in cases {
            let ours = is_open_answer(&case.expected, &case.answered);
            assert_eq!(ours, case.right, "{:?} for {:?}", case.answered, case.expected);
        }
    }
}
