//! Which option of a multiple-choice question an answer names. Each benchmark has its own rule; all
//! give the option's letter, or none.

use std::sync::LazyLock;

use fancy_regex::Regex;

/// The letter of the option with this number, counted from 0.
///
/// # Panics
///
/// If there are more options than letters.
pub fn letter(number: usize) -> char {
    assert!(number < 26, "BUG: option {number} has no letter");
    char::from(b'A' + number as u8)
}

/// The letters of so many options.
fn letters(options: usize) -> impl Iterator<Item = char> {
    (0..options).map(letter)
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("BUG: a pattern of this file is not well formed")
}

/// ScienceQA as LLaVA evaluates it (`eval_science_qa.py`): the letter alone, a letter, full stop and space
/// at the start, or `The answer is B`. Letters go up to E.
pub fn scienceqa_option(answered: &str, options: usize) -> Option<char> {
    static SENTENCE: LazyLock<Regex> = LazyLock::new(|| pattern("The answer is ([A-E])"));
    let text = answered.trim().replace('\n', ". ");
    let begins = |letter: &char| text.starts_with(&format!("{letter}. "));
    let alone = letters(5).find(|letter| text.chars().eq([*letter]));
    let named = alone.or_else(|| letters(5).find(begins)).or_else(|| {
        let found = SENTENCE.captures(&text).ok()??;
        found.get(1)?.as_str().chars().next()
    });
    named.filter(|named| letters(options).any(|letter| letter == *named))
}

/// MMLU as the method's authors evaluate it (`model_mmlu.py` of adymaharana/adapt-inf): the letter alone, in
/// either case, apart from full stops.
pub fn mmlu_option(answered: &str, options: usize) -> Option<char> {
    let text = answered.trim().replace('.', "").to_uppercase();
    letters(options).find(|letter| text.chars().eq([*letter]))
}

/// MMBench's matching by rules (Liu et al. 2023, section 4.2; `can_infer` of open-compass/VLMEvalKit): the only
/// letter among the words; failing that, the only option whose text is in the answer.
///
/// An `A` among more than three words is taken for the article. What the rules do not match, the
/// published evaluation gives to a language model behind an interface; here it names no option.
pub fn mmbench_option(answered: &str, options: &[String]) -> Option<char> {
    let spaced = answered.replace(['.', '(', ')', '[', ']', ',', ':', ';', '!', '*', '#', '{', '}'], " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let named: Vec<char> =
        letters(options.len()).filter(|letter| words.iter().any(|word| word.chars().eq([*letter]))).collect();
    match named.as_slice() {
        ['A'] if words.len() > 3 => {}
        [only] => return Some(*only),
        _ => {}
    }
    let lower = answered.to_lowercase();
    let most = 2 * options.iter().map(|option| option.chars().count()).sum::<usize>();
    if lower.chars().count() > most {
        return None;
    }
    let mut told = letters(options.len()).zip(options).filter(|(_, option)| lower.contains(&option.to_lowercase()));
    let first = told.next().map(|(letter, _)| letter);
    if told.next().is_some() { None } else { first }
}

/// MMMU's rule (`parse_multi_choice_response` of MMMU-Benchmark/MMMU): letters in parentheses, failing those
/// letters as words, failing those, in an answer of more than five words, texts of options; of several,
/// the one that is named last.
///
/// The published rule draws an option at random where it finds none; here it names none.
pub fn mmmu_option(answered: &str, options: &[String]) -> Option<char> {
    let mut text = answered;
    for mark in [',', '.', '!', '?', ';', ':', '\''] {
        text = text.trim_matches(mark);
    }
    let text = format!(" {text} ");
    let last = |needle: &dyn Fn(usize) -> String, text: &str| {
        let found = (0..options.len()).filter_map(|number| Some((text.rfind(&needle(number))?, number)));
        // Of two at the same place, the first.
        found.max_by_key(|(at, number)| (*at, usize::MAX - number)).map(|(_, number)| letter(number))
    };
    let bracketed = last(&|number| format!("({})", letter(number)), &text);
    let word = || last(&|number| format!(" {} ", letter(number)), &text);
    let told = || {
        let long = text.split_whitespace().count() > 5;
        long.then(|| last(&|number| options[number].to_lowercase(), &text.to_lowercase())).flatten()
    };
    bracketed.or_else(word).or_else(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn scienceqa_takes_a_letter_alone_in_front_or_in_its_sentence() {
        for (answered, expected) in [
            ("B", Some('B')),
            (" B\n", Some('B')),
            ("B. West Virginia", Some('B')),
            ("B\nbecause", Some('B')),
            ("I think so. The answer is C.", Some('C')),
            ("The answer is C", Some('C')),
            ("b", None),
            ("(B)", None),
            ("B.", None),
            ("West Virginia", None),
            ("The answer is E.", None),
        ] {
            assert_eq!(scienceqa_option(answered, 4), expected, "{answered:?}");
        }
        assert_eq!(scienceqa_option("C", 2), None, "there are two options");
    }

    #[test]
    fn mmlu_takes_a_letter_alone() {
        for (answered, expected) in
            [("d", Some('D')), ("A.", Some('A')), (" B ", Some('B')), ("A. yes", None), ("E", None), ("", None)]
        {
            assert_eq!(mmlu_option(answered, 4), expected, "{answered:?}");
        }
    }

    #[test]
    fn mmbench_takes_the_only_letter_or_the_only_option_that_is_told() {
        let options = options(&["teddy bear", "rabbit", "cat", "dog"]);
        for (answered, expected) in [
            ("B", Some('B')),
            ("(C) cat", Some('C')),
            ("The answer is D.", Some('D')),
            ("A or B", None),
            ("a cute teddy bear", Some('A')),
            ("It is A rabbit here", Some('B')),
            ("A: teddy bear", Some('A')),
            ("a cat and a dog", None),
            ("spider", None),
        ] {
            assert_eq!(mmbench_option(answered, &options), expected, "{answered:?}");
        }
        let long = "this is a very long explanation that mentions a rabbit and goes on and on for ever";
        assert_eq!(mmbench_option(long, &options), None);
    }

    #[test]
    fn mmmu_takes_parentheses_before_words_before_texts_and_the_last_of_several() {
        let options = options(&["$6", "$7", "the red line", "$63"]);
        for (answered, expected) in [
            ("B", Some('B')),
            ("(A)", Some('A')),
            ("A because (C)", Some('C')),
            ("(A) is wrong, so (B)", Some('B')),
            ("Option A or rather B it is", Some('B')),
            ("B.", Some('B')),
            ("'C'", Some('C')),
            ("the curve that is the red line", Some('C')),
            ("the red line", None),
            ("I would say that it costs $7", Some('B')),
            // Both `$6` and `$63` are in it, at the same place.
            ("I would say that it costs $63", Some('A')),
            ("no idea", None),
        ] {
            assert_eq!(mmmu_option(answered, &options), expected, "{answered:?}");
        }
    }
}
