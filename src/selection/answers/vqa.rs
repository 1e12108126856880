//! The accuracy of visual question answering: agreement with ten annotators, after normalisation.
//!
//! The rules are those of the VQA evaluation (Antol et al. 2015; `vqaEval.py` of GT-Vision-Lab/VQA) and of
//! TextVQA's evaluator (Singh et al. 2019; `EvalAIAnswerProcessor` of facebookresearch/mmf), which
//! differ in what they do before the same normalisation. Both sides are always normalised; `vqaEval.py`
//! leaves the annotators' answers as they are where all ten agree.

use std::collections::HashMap;
use std::sync::OnceLock;

/// VQA accuracy of an answer, from 0 to 1: the mean over all ways of leaving one annotator out of
/// min(1, k / 3), k of the others having given this answer. Of ten annotators, one gives 0.3, two 0.6,
/// three 0.9, and four or more 1.
pub fn vqa_accuracy<S: AsRef<str>>(annotators: &[S], answered: &str) -> f64 {
    let answered = normalised(answered);
    agreement(annotators.iter().filter(|answer| normalised(answer.as_ref()) == answered).count(), annotators.len())
}

/// The same with the normalisation of TextVQA: commas and question marks are dropped first, and a
/// possessive `'s` is a word of its own.
pub fn textvqa_accuracy<S: AsRef<str>>(annotators: &[S], answered: &str) -> f64 {
    let answered = textvqa_normalised(answered);
    let same = annotators.iter().filter(|answer| textvqa_normalised(answer.as_ref()) == answered);
    agreement(same.count(), annotators.len())
}

/// Whether an answer is GQA's single right one: equal in lower case, without full stops at its end.
pub fn is_gqa_answer(expected: &str, answered: &str) -> bool {
    answered.trim().trim_end_matches('.').to_lowercase() == expected.to_lowercase()
}

/// The accuracy of an answer that `matching` of `annotators` gave.
fn agreement(matching: usize, annotators: usize) -> f64 {
    let share = |others: usize| (others as f64 / 3.0).min(1.0);
    let left_out_another = (annotators - matching) as f64 * share(matching);
    let left_out_one_of_them = matching as f64 * share(matching.saturating_sub(1));
    (left_out_another + left_out_one_of_them) / annotators.max(1) as f64
}

/// As [`normalised`], without commas and question marks, and with `'s` as a word of its own.
pub fn textvqa_normalised(text: &str) -> String {
    normalised(text.to_lowercase().replace([',', '?'], "").replace("'s", " 's").trim())
}

/// Lower case, without articles and punctuation, number words as digits, contractions with their
/// apostrophe.
pub fn normalised(text: &str) -> String {
    let text = without_punctuation(text.replace(['\n', '\t'], " ").trim());
    let lower = text.to_lowercase();
    let words = lower.split_whitespace().map(|word| digits(word).unwrap_or(word));
    let words = words.filter(|word| !["a", "an", "the"].contains(word));
    words.map(|word| contractions().get(word).map_or(word, String::as_str)).collect::<Vec<_>>().join(" ")
}

/// What stands for nothing in an answer.
const PUNCTUATION: [char; 21] =
    [';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',', '?', '!'];

/// Each mark goes where it stands beside a space anywhere in the text, or where any comma divides a
/// number; else it becomes a space. A full stop goes unless a digit follows.
fn without_punctuation(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let divided =
        letters.windows(3).any(|three| three[0].is_ascii_digit() && three[1] == ',' && three[2].is_ascii_digit());
    let mut cleared = text.to_string();
    for mark in PUNCTUATION {
        let beside_space = letters.windows(2).any(|two| two == [mark, ' '] || two == [' ', mark]);
        cleared = cleared.replace(mark, if beside_space || divided { "" } else { " " });
    }
    let letters: Vec<char> = cleared.chars().collect();
    let digit_follows = |index: usize| letters.get(index + 1).is_some_and(char::is_ascii_digit);
    let kept = letters.iter().enumerate().filter(|(index, letter)| **letter != '.' || digit_follows(*index));
    kept.map(|(_, letter)| letter).collect()
}

fn digits(word: &str) -> Option<&'static str> {
    const WORDS: [&str; 11] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    const DIGITS: [&str; 11] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    if word == "none" {
        return Some("0");
    }
    WORDS.iter().position(|known| *known == word).map(|number| DIGITS[number])
}

/// The contractions that are known when exactly one apostrophe is left out. Those whose letters are
/// another word (`she'll`, `we'd`, `let's`) are none of them.
const CONTRACTIONS: &str = "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've \
    hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've \
    mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've \
    somebody'd somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd \
    something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've \
    'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've \
    who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd \
    you'd've you'll you're you've";

/// Contraction with one apostrophe left out → contraction.
fn contractions() -> &'static HashMap<String, String> {
    static TABLE: OnceLock<HashMap<String, String>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let misspelt = |word: &'static str| {
            let without = move |(at, _): (usize, &str)| format!("{}{}", &word[..at], &word[at + 1..]);
            word.match_indices('\'').map(without).map(|wrong| (wrong, word.to_string()))
        };
        CONTRACTIONS.split_whitespace().flat_map(misspelt).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten annotators, the first `count` of whom gave `answer`.
    fn ten(answer: &str, count: usize) -> Vec<String> {
        (0..10).map(|number| if number < count { answer.to_string() } else { format!("other {number}") }).collect()
    }

    #[test]
    fn accuracy_is_a_third_per_agreeing_annotator_with_each_left_out_once() {
        // One of ten: nine ways see it once (1/3 each), the tenth not at all: 9/30.
        for (count, expected) in [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (7, 1.0), (10, 1.0)] {
            let accuracy = vqa_accuracy(&ten("red", count), "Red.");
            assert!((accuracy - expected).abs() < 1e-12, "{count} agree: {accuracy}");
            assert_eq!(accuracy, textvqa_accuracy(&ten("red", count), "red"));
        }
    }

    #[test]
    fn articles_number_words_and_case_do_not_matter() {
        assert_eq!(normalised("The Two  dogs\n"), "2 dogs");
        assert_eq!(normalised("an apple and a pear"), "apple and pear");
        assert_eq!(normalised("None"), "0");
        assert_eq!(normalised("ten"), "10");
        assert_eq!(normalised("eleven"), "eleven");
    }

    #[test]
    fn punctuation_goes_or_becomes_a_space_as_the_evaluation_has_it() {
        assert_eq!(normalised("yes."), "yes");
        assert_eq!(normalised("black/white"), "black white");
        assert_eq!(normalised("black / white"), "black white");
        assert_eq!(normalised("t-shirt"), "t shirt");
        // Beside a space once, a mark goes everywhere.
        assert_eq!(normalised("t-shirt - blue"), "tshirt blue");
        // A number with a comma: the comma goes, and so does every other mark.
        assert_eq!(normalised("1,000"), "1000");
        assert_eq!(normalised("1,000-2,000"), "10002000");
        assert_eq!(normalised("3.5"), "3.5");
        assert_eq!(normalised("no. 5."), "no 5");
        assert_eq!(normalised(".5"), ".5");
        assert_eq!(normalised("5 o'clock"), "5 o'clock");
    }

    #[test]
    fn contractions_get_their_apostrophe_back() {
        for (wrong, right) in [
            ("dont", "don't"),
            ("Isnt", "isn't"),
            ("couldnt've", "couldn't've"),
            ("couldn'tve", "couldn't've"),
            ("yall'd've", "y'all'd've"),
            ("'ows'at", "'ow's'at"),
            ("oclock", "o'clock"),
            ("twas", "'twas"),
        ] {
            assert_eq!(normalised(wrong), right);
        }
        // Words of their own, and what the published table does not have.
        for word in ["lets", "shes", "well", "wed", "couldntve", "im"] {
            assert_eq!(normalised(word), word);
        }
        // The published table has 120 rows. Four have a capital and are never met, as words are in lower case
        // by then; `let's` and `she's` stand for themselves; `somebody'd` is the wrong way round.
        assert_eq!(contractions().len(), 120 - 4 - 2);
    }

    #[test]
    fn texts_are_normalised_as_by_the_published_evaluation() {
        #[derive(serde::Deserialize)]
        struct Case {
            text: String,
            vqa: String,
            textvqa: String,
        }
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/answers.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_value(fixture["normalised"].clone()).unwrap();
        assert!(cases.len() > 300);
        for case in cases {
            assert_eq!(normalised(&case.text), case.vqa, "{:?}", case.text);
            assert_eq!(textvqa_normalised(&case.text), case.textvqa, "{:?}", case.text);
        }
    }

    #[test]
    fn textvqa_takes_a_possessive_apart() {
        assert_eq!(textvqa_accuracy(&ten("mcdonald's", 10), "McDonald 's"), 1.0);
        assert_eq!(vqa_accuracy(&ten("mcdonald's", 10), "McDonald 's"), 0.0);
        assert_eq!(textvqa_accuracy(&ten("1,000", 10), "1000"), 1.0);
        assert_eq!(textvqa_accuracy(&ten("who?", 10), "who"), 1.0);
    }

    #[test]
    fn gqa_wants_its_single_answer() {
        assert!(is_gqa_answer("yes", "Yes."));
        assert!(is_gqa_answer("tennis racket", " tennis racket..."));
        assert!(!is_gqa_answer("yes", "yes, it is"));
        assert!(!is_gqa_answer("dog", "the dog"));
    }
}
