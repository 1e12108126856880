//! How right an answer is: the published rules of the benchmarks, on strings and numbers.
//!
//! | file | what | whose rule |
//! |---|---|---|
//! | [`rouge`] | longest common subsequence of words | Lin 2004 |
//! | [`boxes`] | intersection over union of boxes | RefCOCO, Yu et al. 2016 |
//! | [`vqa`] | agreement with ten annotators, after normalisation | VQA v2 and TextVQA; GQA's single answer |
//! | [`options`] | which letter an answer names | ScienceQA, MMLU, MMBench, MMMU |
//! | [`open`] | numbers and phrases in a free answer | MMMU |
//! | [`yes_no`] | yes or no, precision and recall | POPE |
//! | [`bleu`] | n-grams that captions share | Papineni et al. 2002, Chen and Cherry 2014 |
//! | [`cider`] | n-grams that captions share, rare ones more | Vedantam et al. 2015 |
//!
//! Where a published evaluation does something that its authors cannot have meant, the function says
//! so. Nothing here draws at random: an answer in which a rule finds no option is wrong. Unaware of
//! models, files and of which benchmark uses which rule.

pub mod bleu;
pub mod boxes;
pub mod cider;
pub mod open;
pub mod options;
pub mod rouge;
pub mod vqa;
pub mod yes_no;
