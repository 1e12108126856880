//! Yes or no: the rule and the figures of POPE (Li et al. 2023).

/// Whether an answer says no, as LLaVA evaluates POPE (`eval_pope.py`): its first sentence has the word `No`,
/// `no` or `not`. Any other answer says yes.
pub fn says_no(answered: &str) -> bool {
    words(answered).any(|word| ["No", "no", "not"].contains(&word.as_str()))
}

/// Whether the first sentence of an answer has one of the words that the rule or its reader goes by.
pub fn says_anything(answered: &str) -> bool {
    says_no(answered) || words(answered).any(|word| word.eq_ignore_ascii_case("yes"))
}

/// The words of the first sentence, without commas.
fn words(answered: &str) -> impl Iterator<Item = String> {
    let sentence = answered.split('.').next().unwrap_or_default().replace(',', "");
    sentence.split_whitespace().map(str::to_string).collect::<Vec<_>>().into_iter()
}

/// How often what is and what was said fell together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// It is, and yes was said.
    pub true_yes: usize,
    /// It is not, and yes was said.
    pub false_yes: usize,
    /// It is not, and no was said.
    pub true_no: usize,
    /// It is, and no was said.
    pub false_no: usize,
}

impl Tally {
    /// Counts pairs of what is and what was said, `true` for yes.
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Tally {
        let mut tally = Tally::default();
        for pair in pairs {
            match pair {
                (true, true) => tally.true_yes += 1,
                (false, true) => tally.false_yes += 1,
                (false, false) => tally.true_no += 1,
                (true, false) => tally.false_no += 1,
            }
        }
        tally
    }

    /// The share of right answers.
    pub fn accuracy(&self) -> f64 {
        share(self.true_yes + self.true_no, self.all())
    }

    /// The share of what is, among what was said to be.
    pub fn precision(&self) -> f64 {
        share(self.true_yes, self.true_yes + self.false_yes)
    }

    /// The share of what was said to be, among what is.
    pub fn recall(&self) -> f64 {
        share(self.true_yes, self.true_yes + self.false_no)
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        share(2 * self.true_yes, 2 * self.true_yes + self.false_yes + self.false_no)
    }

    /// How often yes was said.
    pub fn yes_ratio(&self) -> f64 {
        share(self.true_yes + self.false_yes, self.all())
    }

    fn all(&self) -> usize {
        self.true_yes + self.false_yes + self.true_no + self.false_no
    }
}

/// A share from 0 to 1; of nothing, 0.
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_no_only_with_the_word_in_its_first_sentence() {
        for no in ["no", "No", "No, there is none", "There is not a dog", "There is no dog. Yes"] {
            assert!(says_no(no), "{no}");
        }
        for yes in ["yes", "Yes. There is no cat", "NO", "There isn't", "a dog", "nothing", ""] {
            assert!(!says_no(yes), "{yes}");
        }
        assert!(says_anything("Yes, there is") && says_anything("no"));
        assert!(!says_anything("a dog") && !says_anything(""));
    }

    #[test]
    fn figures_follow_from_the_four_counts() {
        // Ten questions, half of them yes: 4 found, 1 missed, 2 wrongly found.
        let pairs = [(true, true); 4].into_iter().chain([(true, false)]);
        let tally = Tally::of(pairs.chain([(false, true); 2]).chain([(false, false); 3]));
        assert_eq!(tally, Tally { true_yes: 4, false_yes: 2, true_no: 3, false_no: 1 });
        assert_eq!(tally.accuracy(), 0.7);
        assert_eq!(tally.precision(), 4.0 / 6.0);
        assert_eq!(tally.recall(), 0.8);
        let (precision, recall) = (tally.precision(), tally.recall());
        assert!((tally.f1() - 2.0 * precision * recall / (precision + recall)).abs() < 1e-12);
        assert_eq!(tally.yes_ratio(), 0.6);
        assert_eq!(Tally::default().f1(), 0.0);
    }
}
