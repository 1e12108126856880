//! BLEU (Papineni et al. 2002): the share of an answer's n-grams, up to four tokens long, that a reference
//! has, less where the answer is shorter.
//!
//! Equal to `sentence_bleu` with smoothing method 4 and to `corpus_bleu` of nltk 3.10, on the same tokens.

use std::collections::HashMap;

/// The longest n-grams.
const ORDERS: usize = 4;
/// The constant of smoothing method 4.
const SMOOTHING: f64 = 5.0;

/// Each character for itself, without spaces: the tokens of Chinese.
pub fn characters(text: &str) -> Vec<&str> {
    let ends = text.char_indices().map(|(at, letter)| (at, letter, at + letter.len_utf8()));
    ends.filter(|(_, letter, _)| !letter.is_whitespace()).map(|(at, _, end)| &text[at..end]).collect()
}

/// The words between spaces.
pub fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// How often each n-gram of length `order` is in `tokens`.
pub(super) fn counts<'a, 'b>(tokens: &'b [&'a str], order: usize) -> HashMap<&'b [&'a str], usize> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// What BLEU is made of.
struct Matches {
    /// By order: n-grams of the answer that a reference has, and all of them, at least 1.
    grams: [(usize, usize); ORDERS],
    /// Tokens of the answer.
    length: usize,
    /// Tokens of the reference that is nearest in length; of two, the shorter.
    reference: usize,
}

fn matches(references: &[Vec<&str>], answered: &[&str]) -> Matches {
    let grams = std::array::from_fn(|index| {
        let known: Vec<_> = references.iter().map(|reference| counts(reference, index + 1)).collect();
        let most = |gram: &[&str]| known.iter().filter_map(|counts| counts.get(gram)).max().copied().unwrap_or(0);
        let own = counts(answered, index + 1);
        let matching = own.iter().map(|(gram, count)| (*count).min(most(gram))).sum();
        (matching, own.values().sum::<usize>().max(1))
    });
    let lengths = references.iter().map(Vec::len);
    let reference = lengths.min_by_key(|length| (length.abs_diff(answered.len()), *length)).unwrap_or(0);
    Matches { grams, length: answered.len(), reference }
}

/// The geometric mean of the precisions that are not zero, times the brevity penalty.
fn combined(precisions: impl Iterator<Item = f64>, length: usize, reference: usize) -> f64 {
    let brevity = match length {
        0 => 0.0,
        _ if length > reference => 1.0,
        _ => (1.0 - reference as f64 / length as f64).exp(),
    };
    let logarithms = precisions.filter(|precision| *precision > 0.0).map(|precision| precision.ln() / ORDERS as f64);
    brevity * logarithms.sum::<f64>().exp()
}

/// BLEU of one answer, from 0 to 1, smoothed by method 4 of Chen and Cherry (2014): an order without
/// a match counts as a fraction of a match, which halves with each such order and grows with the
/// logarithm of the answer's length. Zero where no token matches.
pub fn sentence_bleu(references: &[Vec<&str>], answered: &[&str]) -> f64 {
    let matches = matches(references, answered);
    if matches.grams[0].0 == 0 {
        return 0.0;
    }
    let mut halvings = 1;
    let precisions = matches.grams.map(|(matching, all)| {
        if matching > 0 || matches.length <= 1 {
            return matching as f64 / all as f64;
        }
        let part = (matches.length as f64).ln() / (2f64.powi(halvings) * SMOOTHING);
        halvings += 1;
        part / all as f64
    });
    combined(precisions.into_iter(), matches.length, matches.reference)
}

/// BLEU of all answers together, from 0 to 1, unsmoothed: matches and lengths are added up first. Zero
/// where an order has no match at all.
pub fn corpus_bleu(references: &[Vec<Vec<&str>>], answered: &[Vec<&str>]) -> f64 {
    let mut grams = [(0, 0); ORDERS];
    let (mut length, mut reference) = (0, 0);
    for (references, answered) in references.iter().zip(answered) {
        let matches = matches(references, answered);
        for (sum, own) in grams.iter_mut().zip(matches.grams) {
            *sum = (sum.0 + own.0, sum.1 + own.1);
        }
        length += matches.length;
        reference += matches.reference;
    }
    if grams.iter().any(|(matching, _)| *matching == 0) {
        return 0.0;
    }
    combined(grams.into_iter().map(|(matching, all)| matching as f64 / all as f64), length, reference)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::selection::answers::cider::cider;

    /// Captions and what nltk and pycocoevalcap say of them; see `tests/fixtures/captions.py`.
    #[derive(Deserialize)]
    struct Fixture {
        cases: Vec<Case>,
        corpus_bleu: f64,
        cider: f64,
    }

    #[derive(Deserialize)]
    struct Case {
        references: Vec<String>,
        answered: String,
        sentence_bleu: f64,
        cider: f64,
    }

    #[test]
    fn captions_score_as_with_the_published_implementations() {
        let fixture = include_str!("../../../tests/fixtures/captions.json");
        let fixture: Fixture = serde_json::from_str(fixture).unwrap();
        let references: Vec<Vec<Vec<&str>>> = fixture
            .cases
            .iter()
            .map(|case| case.references.iter().map(|reference| characters(reference)).collect())
            .collect();
        let answered: Vec<Vec<&str>> = fixture.cases.iter().map(|case| characters(&case.answered)).collect();
        let near = |ours: f64, theirs: f64, what: &str| {
            assert!((ours - theirs).abs() < 1e-9, "{what}: {ours} and not {theirs}");
        };
        let ciders = cider(&references, &answered);
        for (index, case) in fixture.cases.iter().enumerate() {
            near(sentence_bleu(&references[index], &answered[index]), case.sentence_bleu, &case.answered);
            near(ciders[index], case.cider, &case.answered);
        }
        near(corpus_bleu(&references, &answered), fixture.corpus_bleu, "corpus BLEU");
        near(ciders.iter().sum::<f64>() / ciders.len() as f64, fixture.cider, "CIDEr");
    }

    #[test]
    fn a_sentence_worked_by_hand() {
        // Five of six words, three of five pairs, one of four triples, none of three fours; the smoothed
        // fourth precision is ln 6 / (2 · 5) / 3, and the lengths are equal.
        let reference = words("the cat is on the mat");
        let answered = words("the cat sat on the mat");
        let fourth = 6f64.ln() / 10.0 / 3.0;
        let expected = (5.0 / 6.0 * 3.0 / 5.0 * 1.0 / 4.0 * fourth).powf(0.25);
        assert!((sentence_bleu(&[reference], &answered) - expected).abs() < 1e-12);
    }

    #[test]
    fn tokens_are_characters_or_words() {
        assert_eq!(characters("一只 狗。"), ["一", "只", "狗", "。"]);
        assert_eq!(words(" a  dog "), ["a", "dog"]);
    }
}
