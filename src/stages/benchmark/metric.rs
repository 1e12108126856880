//! How a reply is scored: which rule of [`crate::selection::answers`] a metric is.

use anyhow::bail;
use serde::Deserialize;

use super::question::{Expected, Region};
use crate::selection::answers::bleu::{characters, sentence_bleu, words};
use crate::selection::answers::boxes::{bracketed, overlap, overlap_of_boxes};
use crate::selection::answers::open::is_open_answer;
use crate::selection::answers::options::{letter, mmbench_option, mmlu_option, mmmu_option, scienceqa_option};
use crate::selection::answers::rouge::rouge_l;
use crate::selection::answers::vqa::{is_gqa_answer, textvqa_accuracy, vqa_accuracy};
use crate::selection::answers::yes_no::{says_anything, says_no};

/// A box is found if it overlaps the right one by more than this.
const FOUND: f64 = 0.5;

/// How replies are scored. `stages/evaluate.yaml` says what each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The right answer token for token.
    #[serde(rename = "exact_match")]
    ExactMatch,
    /// The longest common subsequence of words.
    #[serde(rename = "rouge_l")]
    RougeL,
    /// A box as a text that overlaps another by more than half.
    Iou,
    /// VQA accuracy.
    Vqa,
    /// VQA accuracy as TextVQA normalises.
    TextVqa,
    /// GQA's single answer.
    Gqa,
    /// A letter as ScienceQA reads it.
    ScienceQa,
    /// Yes or no as POPE reads it.
    Pope,
    /// An option as MMBench matches it.
    MmBench,
    /// An option, number or phrase as MMMU reads it.
    Mmmu,
    /// A letter as MMLU reads it.
    Mmlu,
    /// A box that overlaps the right one by more than half, in pixels.
    RefCoco,
    /// Sentence BLEU of characters.
    #[serde(rename = "character_bleu")]
    CharacterBleu,
    /// Sentence BLEU of words.
    #[serde(rename = "word_bleu")]
    WordBleu,
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// From 0 to 1.
    pub score: f64,
    /// What the metric took the answer to be, unless that is the text itself.
    pub read_as: Option<String>,
    /// Whether the metric found what it looks for.
    pub readable: bool,
}

impl Scored {
    fn as_it_is(score: f64) -> Scored {
        Scored { score, read_as: None, readable: true }
    }

    /// By what was found in an answer, if anything was.
    fn found<T: ToString>(found: Option<T>, score: impl Fn(&T) -> f64) -> Scored {
        let score = found.as_ref().map_or(0.0, score);
        Scored { score, readable: found.is_some(), read_as: found.map(|found| found.to_string()) }
    }
}

fn one_if(is: bool) -> f64 {
    f64::from(u8::from(is))
}

impl Metric {
    /// All, in the order of their documentation.
    pub const ALL: [Metric; 14] = [
        Metric::ExactMatch,
        Metric::RougeL,
        Metric::Iou,
        Metric::Vqa,
        Metric::TextVqa,
        Metric::Gqa,
        Metric::ScienceQa,
        Metric::Pope,
        Metric::MmBench,
        Metric::Mmmu,
        Metric::Mmlu,
        Metric::RefCoco,
        Metric::CharacterBleu,
        Metric::WordBleu,
    ];

    /// Its name in `benchmarks.json`.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ExactMatch => "exact_match",
            Metric::RougeL => "rouge_l",
            Metric::Iou => "iou",
            Metric::Vqa => "vqa",
            Metric::TextVqa => "textvqa",
            Metric::Gqa => "gqa",
            Metric::ScienceQa => "scienceqa",
            Metric::Pope => "pope",
            Metric::MmBench => "mmbench",
            Metric::Mmmu => "mmmu",
            Metric::Mmlu => "mmlu",
            Metric::RefCoco => "refcoco",
            Metric::CharacterBleu => "character_bleu",
            Metric::WordBleu => "word_bleu",
        }
    }

    /// Whether it only asks if the model would give exactly the right answer, which one forward pass
    /// decides without decoding.
    pub fn is_exact(self) -> bool {
        self == Metric::ExactMatch
    }

    /// Whether it looks for something in an answer that may not be there, and counts where it is not.
    pub fn looks_for_something(self) -> bool {
        use Metric::{MmBench, Mmlu, Mmmu, Pope, RefCoco, ScienceQa};
        [ScienceQa, Pope, MmBench, Mmmu, Mmlu, RefCoco].contains(&self)
    }

    /// Whether it can score answers to what is expected.
    ///
    /// # Errors
    ///
    /// If it cannot: it is said what it needs.
    pub fn check(self, expected: &Expected) -> anyhow::Result<()> {
        let (fits, needed) = match self {
            Metric::ExactMatch => (true, "anything"),
            Metric::RougeL | Metric::CharacterBleu | Metric::WordBleu => {
                (matches!(expected, Expected::Text(_) | Expected::Captions(_)), "one text or captions")
            }
            Metric::Iou | Metric::Gqa => (matches!(expected, Expected::Text(_)), "one text"),
            Metric::Vqa | Metric::TextVqa => (matches!(expected, Expected::Annotators(_)), "the answers of ten people"),
            Metric::ScienceQa | Metric::MmBench | Metric::Mmlu => {
                (matches!(expected, Expected::Option { .. }), "an option")
            }
            Metric::Mmmu => {
                let fits = matches!(expected, Expected::Option { .. } | Expected::AnyOf(_));
                (fits, "an option, or a number or phrase")
            }
            Metric::Pope => (matches!(expected, Expected::YesNo(_)), "yes or no"),
            Metric::RefCoco => (matches!(expected, Expected::Region(_)), "a box"),
        };
        if !fits {
            bail!(
                "the metric `{}` scores {needed}, and what is expected is {}\nhint: without `metric` a format has its \
                 own",
                self.name(),
                expected.kind()
            );
        }
        Ok(())
    }

    /// Scores an answer.
    ///
    /// # Panics
    ///
    /// If [`Metric::check`] refuses what is expected.
    pub fn score(self, expected: &Expected, answered: &str) -> Scored {
        match (self, expected) {
            (Metric::ExactMatch, _) => Scored::as_it_is(one_if(expected.target() == answered)),
            (Metric::RougeL, Expected::Text(text)) => Scored::as_it_is(rouge_l(text, answered)),
            (Metric::RougeL, Expected::Captions(captions)) => {
                Scored::as_it_is(captions.iter().map(|caption| rouge_l(caption, answered)).fold(0.0, f64::max))
            }
            (Metric::Iou, Expected::Text(text)) => {
                Scored::as_it_is(one_if(overlap_of_boxes(text, answered).is_some_and(|overlap| overlap > FOUND)))
            }
            (Metric::Vqa, Expected::Annotators(answers)) => Scored::as_it_is(vqa_accuracy(answers, answered)),
            (Metric::TextVqa, Expected::Annotators(answers)) => Scored::as_it_is(textvqa_accuracy(answers, answered)),
            (Metric::Gqa, Expected::Text(text)) => Scored::as_it_is(one_if(is_gqa_answer(text, answered))),
            (_, Expected::Option { right, options }) => {
                let named = match self {
                    Metric::ScienceQa => scienceqa_option(answered, options.len()),
                    Metric::Mmlu => mmlu_option(answered, options.len()),
                    Metric::MmBench => mmbench_option(answered, options),
                    Metric::Mmmu => mmmu_option(answered, options),
                    _ => self.unfit(expected),
                };
                Scored::found(named, |named| one_if(*named == letter(*right)))
            }
            (Metric::Mmmu, Expected::AnyOf(answers)) => Scored::as_it_is(one_if(is_open_answer(answers, answered))),
            (Metric::Pope, Expected::YesNo(yes)) => {
                let no = says_no(answered);
                let read_as = Some(String::from(if no { "no" } else { "yes" }));
                Scored { score: one_if(*yes != no), read_as, readable: says_anything(answered) }
            }
            (Metric::RefCoco, Expected::Region(region)) => match region_overlap(region, answered) {
                Some((corners, overlap)) => Scored {
                    score: one_if(overlap > FOUND),
                    read_as: Some(Region { corners, ..*region }.text()),
                    readable: true,
                },
                None => Scored { score: 0.0, read_as: None, readable: false },
            },
            (Metric::CharacterBleu | Metric::WordBleu, Expected::Text(_) | Expected::Captions(_)) => {
                let captions = self.tokens(expected);
                Scored::as_it_is(sentence_bleu(&captions, &self.cut(answered)))
            }
            _ => self.unfit(expected),
        }
    }

    /// The captions of a question in the tokens of a metric of captions.
    pub(super) fn tokens(self, expected: &Expected) -> Vec<Vec<&str>> {
        match expected {
            Expected::Text(text) => vec![self.cut(text)],
            Expected::Captions(captions) => captions.iter().map(|caption| self.cut(caption)).collect(),
            _ => self.unfit(expected),
        }
    }

    /// A text in the tokens of a metric of captions.
    pub(super) fn cut(self, text: &str) -> Vec<&str> {
        if self == Metric::CharacterBleu { characters(text) } else { words(text) }
    }

    fn unfit(self, expected: &Expected) -> ! {
        panic!("BUG: the metric `{}` was not checked against {}", self.name(), expected.kind())
    }
}

/// The box of an answer in pixels, and how much it overlaps the right one.
pub(super) fn region_overlap(region: &Region, answered: &str) -> Option<([f64; 4], f64)> {
    let corners = region.frame.pixels(bracketed(answered)?, region.width, region.height);
    Some((corners, overlap(region.corners, corners).unwrap_or(0.0)))
}
