//! The language suite: datasets without pictures, row by row, and what is held out of them.
//!
//! | dataset | stands for | rows | what is in it | style | near-duplicates |
//! |---|---|---|---|---|---|
//! | `natural_instructions` | Natural Instructions (t = 0) | 20,000 | mostly classification, ordering, arithmetic, instructions and choices, few of everything else | brief | 20 % |
//! | `alpaca_cot` | Alpaca-CoT | 900 | reasoning step by step, arithmetic, writing, choices | thoughts | 30 % |
//! | `xp3` | xP3 | 900 | German, Chinese, choices | bare | 25 % |
//! | `ultrachat` | UltraChat | 700 | conversation, writing, knowledge | sentences | 35 % |
//! | `firefly` | Firefly | 900 | Chinese, and a tail of everything | bare | 25 % |
//!
//! A near-duplicate repeats the turns of a row before it, led in by other words. Row `i` is a function of
//! the seed, the dataset and `i`.

mod lexicon;
mod skills;

use skills::{Style, Task};

pub use skills::{Choice, LETTER, Skill};

use super::datasets::Row;
use super::dice::Dice;
use super::held_out::{BENCHMARK_ROWS, VALIDATION_ROWS};

/// How a dataset is made.
pub struct Dataset {
    /// Its name and folder.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: usize,
    /// How many rows in a hundred repeat an earlier one.
    pub redundancy: usize,
    /// What may lead a row in.
    leads: &'static [&'static str],
    /// The style of what is not brief.
    style: Style,
    /// What it asks: skill, weight, and how many rows of it in a hundred are brief.
    skills: &'static [(Skill, usize, usize)],
}

/// All datasets, in the order of the sequence.
pub const DATASETS: [Dataset; 5] = [
    Dataset {
        name: "natural_instructions",
        rows: 20_000,
        redundancy: 20,
        leads: &["", "Task: "],
        style: Style::Brief,
        skills: &[
            (Skill::Classification, 23, 100),
            (Skill::Ordering, 20, 100),
            (Skill::Arithmetic, 19, 100),
            (Skill::Instructions, 15, 100),
            (Skill::Choices, 12, 100),
            (Skill::Reasoning, 4, 100),
            (Skill::Knowledge, 2, 100),
            (Skill::German, 2, 100),
            (Skill::Chinese, 1, 100),
            (Skill::Writing, 1, 100),
            (Skill::Conversation, 1, 100),
        ],
    },
    Dataset {
        name: "alpaca_cot",
        rows: 900,
        redundancy: 30,
        leads: &["", "Instruction: "],
        style: Style::Thought,
        skills: &[
            (Skill::Reasoning, 40, 40),
            (Skill::Arithmetic, 20, 0),
            (Skill::Writing, 15, 100),
            (Skill::Choices, 15, 100),
            (Skill::Knowledge, 10, 50),
        ],
    },
    Dataset {
        name: "xp3",
        rows: 900,
        redundancy: 25,
        leads: &["", "Question: "],
        style: Style::Bare,
        skills: &[
            (Skill::German, 42, 100),
            (Skill::Chinese, 20, 100),
            (Skill::Choices, 20, 100),
            (Skill::Classification, 12, 50),
            (Skill::Knowledge, 6, 50),
        ],
    },
    Dataset {
        name: "ultrachat",
        rows: 700,
        redundancy: 35,
        leads: &["", "Hello. ", "Please help me. "],
        style: Style::Sentence,
        skills: &[
            (Skill::Conversation, 60, 100),
            (Skill::Writing, 20, 100),
            (Skill::Knowledge, 12, 0),
            (Skill::Reasoning, 8, 0),
        ],
    },
    Dataset {
        name: "firefly",
        rows: 900,
        redundancy: 25,
        leads: &["", "问题："],
        style: Style::Bare,
        skills: &[
            (Skill::Chinese, 60, 100),
            (Skill::Arithmetic, 10, 50),
            (Skill::Ordering, 8, 50),
            (Skill::Instructions, 8, 100),
            (Skill::Classification, 8, 50),
            (Skill::German, 6, 100),
        ],
    },
];

impl Dataset {
    /// The row with the number `index`.
    pub fn row(&self, index: usize) -> Row {
        let mut row = self.unled(index);
        let lead = Dice::new(&format!("{} lead", self.name), index).pick(self.leads);
        row.turns[0].0.insert_str(0, lead);
        row
    }

    fn unled(&self, index: usize) -> Row {
        if index > 0 {
            let mut dice = Dice::new(&format!("{} origin", self.name), index);
            if dice.chance(self.redundancy) {
                return self.unled(dice.below(index));
            }
        }
        let mut dice = Dice::new(self.name, index);
        let weights: Vec<(usize, usize)> =
            self.skills.iter().enumerate().map(|(number, (_, weight, _))| (number, *weight)).collect();
        let (skill, _, brief) = self.skills[dice.weighted(&weights)];
        let style = if dice.chance(brief) { Style::Brief } else { self.style };
        row(skill, skill.ask(style, false, &mut dice))
    }

    /// A question without what may lead it in.
    #[cfg(test)]
    pub fn plain<'a>(&self, question: &'a str) -> &'a str {
        let leads = self.leads.iter().filter(|lead| !lead.is_empty());
        let question = leads.fold(question, |question, lead| question.strip_prefix(lead).unwrap_or(question));
        skills::plain(question)
    }
}

fn row(skill: Skill, task: Task) -> Row {
    Row { skill: skill.name(), pictures: vec![], turns: task.turns }
}

/// Every row of every dataset and benchmark.
pub fn rows() -> impl Iterator<Item = Row> {
    let datasets = DATASETS.iter().flat_map(|dataset| (0..dataset.rows).map(|index| dataset.row(index)));
    let held_out = Skill::ALL.into_iter().flat_map(benchmark).chain(validation());
    datasets.chain(held_out)
}

/// The samples of the benchmark of `skill`: held-out questions, no two alike.
pub fn benchmark(skill: Skill) -> Vec<Row> {
    benchmark_tasks(skill).into_iter().map(|task| row(skill, task)).collect()
}

/// The samples of the benchmark [`Skill::Choices`], with their choices apart.
pub fn choices() -> Vec<Choice> {
    benchmark_tasks(Skill::Choices).into_iter().filter_map(|task| task.choice).collect()
}

/// The validation samples of all skills: drawn as the benchmarks are, and none of them in a benchmark.
pub fn validation() -> Vec<Row> {
    let of_skill = |skill: Skill| {
        let purpose = format!("language validation {}", skill.benchmark());
        let tasks = draw(skill, &purpose, VALIDATION_ROWS, &benchmark_tasks(skill));
        tasks.into_iter().map(move |task| row(skill, task))
    };
    Skill::ALL.into_iter().flat_map(of_skill).collect()
}

fn benchmark_tasks(skill: Skill) -> Vec<Task> {
    draw(skill, &format!("language benchmark {}", skill.benchmark()), BENCHMARK_ROWS, &[])
}

/// Draws `count` held-out questions that are not alike and not among `others`.
fn draw(skill: Skill, purpose: &str, count: usize, others: &[Task]) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::with_capacity(count);
    let mut dice = Dice::new(purpose, 0);
    while tasks.len() < count {
        let task = skill.ask(Style::Brief, true, &mut dice);
        if !tasks.iter().chain(others).any(|other| other.turns == task.turns) {
            tasks.push(task);
        }
    }
    tasks
}

#[cfg(test)]
mod tests;
