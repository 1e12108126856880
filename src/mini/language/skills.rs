//! The skills of the language suite: what is asked and answered. Questions are split for good by a hash of
//! their content: every fifth is held out and occurs in benchmarks only, whatever dataset draws it.

use super::lexicon::{
    ADJECTIVES, Adjective, CHINESE_NUMBERS, KINDS, NOUNS, Noun, PEOPLE, RELATIONS, fact, phrase, statement,
    with_article,
};
use crate::mini::dice::{Dice, hash};
use crate::mini::skills::Exchange;

/// What a sample exercises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skill {
    /// Kinds of things, what does not belong, and whether something sounds good or bad.
    Classification,
    /// Sorting, reversing, and finding a place in a list.
    Ordering,
    /// Sums and differences of up to three numbers.
    Arithmetic,
    /// Doing exactly what is said: how often, and in which format.
    Instructions,
    /// Facts about the people of this world.
    Knowledge,
    /// The same facts and more, with four choices to tell the letter of.
    Choices,
    /// A sentence from words, and many sentences in one.
    Writing,
    /// Conclusions from two or three premises.
    Reasoning,
    /// Several turns, of which the last asks about those before it.
    Conversation,
    /// To and from German.
    German,
    /// To and from Chinese, and numbers in Chinese.
    Chinese,
}

/// How a dataset asks and answers where the skill leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The question asks for a brief answer and gets one. Benchmarks are in this style.
    Brief,
    /// The plain question, with a brief answer.
    Bare,
    /// The plain question, answered by `It is …`.
    Sentence,
    /// The plain question, answered by how the answer comes about, and `So the answer is …`.
    Thought,
}

/// A question with four choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What it is about.
    pub subject: &'static str,
    /// The question.
    pub question: String,
    /// The choices.
    pub choices: [String; 4],
    /// The number of the right one.
    pub answer: usize,
}

/// Questions and answers, and the choices where the question has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Turn by turn.
    pub turns: Vec<Exchange>,
    /// The same as a question with four choices.
    pub choice: Option<Choice>,
}

/// What asks for the letter of a choice.
pub const LETTER: &str = "Answer with the letter.";

/// A question whose answer a [`Style`] may dress.
struct Plain {
    question: String,
    answer: String,
    /// How the answer comes about.
    thought: Option<String>,
}

impl Skill {
    /// All skills.
    pub const ALL: [Skill; 11] = [
        Skill::Classification,
        Skill::Ordering,
        Skill::Arithmetic,
        Skill::Instructions,
        Skill::Knowledge,
        Skill::Choices,
        Skill::Writing,
        Skill::Reasoning,
        Skill::Conversation,
        Skill::German,
        Skill::Chinese,
    ];

    /// The name of its benchmark.
    pub fn benchmark(self) -> &'static str {
        match self {
            Skill::Chinese => "chinese",
            Skill::German => "german",
            _ => self.name(),
        }
    }

    /// The skill as samples and tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Skill::Classification => "classification",
            Skill::Ordering => "ordering",
            Skill::Arithmetic => "arithmetic",
            Skill::Instructions => "instructions",
            Skill::Knowledge => "knowledge",
            Skill::Choices => "choices",
            Skill::Writing => "writing",
            Skill::Reasoning => "reasoning",
            Skill::Conversation => "conversation",
            Skill::German | Skill::Chinese => "multilingual",
        }
    }

    /// How its benchmark is scored; [`Skill::Choices`] is scored as MMLU is.
    pub fn metric(self) -> &'static str {
        match self {
            Skill::Choices => "mmlu",
            Skill::Writing => "rouge_l",
            _ => "exact_match",
        }
    }

    /// Asks something of the held-out questions, or of all others.
    pub fn ask(self, style: Style, held_out: bool, dice: &mut Dice) -> Task {
        loop {
            let task = self.any(style, dice);
            let asked: Vec<&str> = task.turns.iter().map(|(question, _)| plain(question)).collect();
            if hash(&asked.join("\n")).is_multiple_of(5) == held_out {
                return task;
            }
        }
    }

    fn any(self, style: Style, dice: &mut Dice) -> Task {
        let turns = match self {
            Skill::Classification => vec![style.apply(classification(dice))],
            Skill::Ordering => vec![style.apply(ordering(dice))],
            Skill::Arithmetic => vec![style.apply(arithmetic(dice))],
            Skill::Knowledge => vec![style.apply(knowledge(dice))],
            Skill::Reasoning => vec![style.apply(reasoning(dice))],
            Skill::Instructions => vec![instruction(dice)],
            Skill::Writing => vec![writing(dice)],
            Skill::German => vec![german(dice)],
            Skill::Chinese => vec![chinese(dice)],
            Skill::Conversation => conversation(dice),
            Skill::Choices => {
                let choice = choice(dice);
                return Task { turns: vec![choice.exchange()], choice: Some(choice) };
            }
        };
        Task { turns, choice: None }
    }
}

const BRIEFLY: &str = " Answer briefly.";

/// A question without what its style adds.
pub fn plain(question: &str) -> &str {
    question.strip_suffix(BRIEFLY).unwrap_or(question)
}

impl Style {
    fn apply(self, Plain { question, answer, thought }: Plain) -> Exchange {
        match (self, thought) {
            (Style::Brief, _) => (format!("{question}{BRIEFLY}"), answer),
            (Style::Bare, _) => (question, answer),
            (Style::Sentence, _) => (question, format!("It is {answer}.")),
            (Style::Thought, Some(thought)) => (question, format!("{thought} So the answer is {answer}.")),
            (Style::Thought, None) => (question, format!("The answer is {answer}.")),
        }
    }
}

impl Choice {
    /// The question as it is read, and the letter.
    fn exchange(&self) -> Exchange {
        let letters = ["A", "B", "C", "D"];
        let line = |(letter, choice): (&&str, &String)| format!("{letter}. {choice}\n");
        let lines: String = letters.iter().zip(&self.choices).map(line).collect();
        (format!("{}\n{lines}{LETTER}", self.question), text(letters[self.answer]))
    }
}

fn text(text: &str) -> String {
    text.to_string()
}

fn answered(question: String, answer: impl ToString) -> Plain {
    Plain { question, answer: answer.to_string(), thought: None }
}

/// So many different things.
fn nouns<const COUNT: usize>(dice: &mut Dice) -> [Noun; COUNT] {
    let mut all = NOUNS;
    std::array::from_fn(|place| {
        dice.draw(&mut all[place..], 1);
        all[place]
    })
}

/// So many different people.
fn people<const COUNT: usize>(dice: &mut Dice) -> [&'static str; COUNT] {
    let mut all = PEOPLE;
    std::array::from_fn(|place| {
        dice.draw(&mut all[place..], 1);
        all[place]
    })
}

fn classification(dice: &mut Dice) -> Plain {
    match dice.weighted(&[("kind", 1), ("odd", 4), ("tone", 3)]) {
        "kind" => {
            let noun = dice.pick(&NOUNS);
            let question = dice.pick(&["What kind of thing is", "Name the kind of", "Which kind is"]);
            answered(format!("{question} {}?", with_article(noun.english)), noun.kind)
        }
        "odd" => {
            let [one] = nouns(dice);
            let other = loop {
                let noun = dice.pick(&NOUNS);
                if noun.kind != one.kind {
                    break noun;
                }
            };
            let mut alike: Vec<Noun> = NOUNS.into_iter().filter(|noun| noun.kind == other.kind).collect();
            let mut words: Vec<&str> = dice.draw(&mut alike, 3).iter().map(|noun| noun.english).collect();
            words.insert(dice.below(4), one.english);
            answered(format!("Which does not belong: {}?", words.join(", ")), one.english)
        }
        _ => {
            let (person, adjective, noun) = (dice.pick(&PEOPLE), dice.pick(&ADJECTIVES), dice.pick(&NOUNS));
            let good = dice.chance(50);
            let verb = dice.pick(if good { &["likes", "loves", "enjoys"] } else { &["hates", "fears", "dislikes"] });
            let sentence = format!("{person} {verb} the {} {}", adjective.english, noun.english);
            answered(format!("Good or bad: {sentence}?"), if good { "good" } else { "bad" })
        }
    }
}

fn ordering(dice: &mut Dice) -> Plain {
    let joined = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    match dice.weighted(&[("sort", 3), ("reverse", 3), ("place", 2), ("largest", 2)]) {
        "reverse" => {
            let words = nouns::<3>(dice).map(|noun| noun.english);
            let [one, two, three] = words;
            answered(format!("Reverse {one} {two} {three}."), format!("{three} {two} {one}"))
        }
        "place" => {
            let words = nouns::<3>(dice).map(|noun| noun.english);
            let (number, place) = dice.pick(&[(0, "first"), (1, "second"), (2, "third")]);
            answered(format!("Which is the {place} of {}?", words.join(", ")), words[number])
        }
        what => {
            let mut all: [usize; 20] = std::array::from_fn(|number| number);
            let mut numbers = dice.draw(&mut all, 3).to_vec();
            let given = joined(&numbers);
            numbers.sort_unstable();
            match what {
                "sort" => answered(format!("Sort {given}."), joined(&numbers)),
                _ => {
                    let (word, number) = dice.pick(&[("largest", numbers[2]), ("smallest", numbers[0])]);
                    answered(format!("Which is the {word} of {given}?"), number)
                }
            }
        }
    }
}

fn arithmetic(dice: &mut Dice) -> Plain {
    match dice.weighted(&[("sum", 4), ("difference", 3), ("three", 2)]) {
        "sum" => {
            let (one, two) = (dice.below(16), dice.below(16));
            let plain = format!("What is {one} plus {two}?");
            answered(dice.either(plain, format!("Add {one} and {two}.")), one + two)
        }
        "difference" => {
            let (one, two) = (dice.below(16), dice.below(16));
            let (large, small) = (one.max(two), one.min(two));
            let plain = format!("What is {large} minus {small}?");
            answered(dice.either(plain, format!("Take {small} from {large}.")), large - small)
        }
        _ => {
            let [one, two, three] = [dice.below(8), dice.below(8), dice.below(8)];
            let (some, all) = (one + two, one + two + three);
            let thought = format!("{one} plus {two} is {some}. {some} plus {three} is {all}.");
            let question = format!("What is {one} plus {two} plus {three}?");
            Plain { question, answer: all.to_string(), thought: Some(thought) }
        }
    }
}

fn instruction(dice: &mut Dice) -> Exchange {
    let [one, two] = nouns(dice);
    let adjective = dice.pick(&ADJECTIVES);
    let words = dice.pick(&["one", "two", "phrase"]);
    let words = match words {
        "one" => text(one.english),
        "two" => format!("{} {}", one.english, two.english),
        _ => format!("{} {}", adjective.english, one.english),
    };
    let (times, count) = dice.pick(&[("once", 1), ("twice", 2), ("three times", 3)]);
    let repeated = |separator: &str| vec![words.as_str(); count].join(separator);
    let (format, answer) = match dice.pick(&["plain", "brackets", "commas", "mark", "colon"]) {
        "brackets" => (" in brackets", format!("[{}]", repeated(" "))),
        "commas" => (" with commas", repeated(", ")),
        "mark" => (" with a !", format!("{}!", repeated(" "))),
        "colon" => (" after a colon", format!(": {}", repeated(" "))),
        _ => ("", repeated(" ")),
    };
    (format!("Say {words} {times}{format}."), answer)
}

fn knowledge(dice: &mut Dice) -> Plain {
    let (person, relation) = (dice.pick(&PEOPLE), dice.below(RELATIONS.len()));
    let question = about(person, relation, dice);
    answered(question, fact(person, relation))
}

fn about(person: &str, relation: usize, dice: &mut Dice) -> String {
    let wordings = match RELATIONS[relation].0 {
        "home" => ["Where does {} live?", "What is the home of {}?", "In which city is {}?", "Name the city of {}."],
        "job" => ["What does {} do?", "What is the job of {}?", "What is {}?", "Name the job of {}."],
        "sport" => {
            ["What does {} play?", "What is the sport of {}?", "Which sport is for {}?", "Name the sport of {}."]
        }
        "drink" => {
            ["What does {} drink?", "What is the drink of {}?", "Which drink is for {}?", "Name the drink of {}."]
        }
        _ => ["When was {} born?", "What is the month of {}?", "In which month was {} born?", "Name the month of {}."],
    };
    dice.pick(&wordings).replace("{}", person)
}

fn choice(dice: &mut Dice) -> Choice {
    let (subject, question, right, mut wrong): (_, _, String, Vec<String>) = match dice.pick(&["fact", "kind", "word"])
    {
        "fact" => {
            let (person, relation) = (dice.pick(&PEOPLE), dice.below(RELATIONS.len()));
            let right = fact(person, relation);
            let wrong = RELATIONS[relation].1.into_iter().filter(|value| *value != right);
            ("people", about(person, relation, dice), text(right), wrong.map(text).collect())
        }
        "kind" => {
            let kind = dice.pick(&KINDS);
            let of = |alike: bool| NOUNS.iter().filter(move |noun| (noun.kind == kind) == alike);
            let right = dice.pick(&of(true).map(|noun| noun.english).collect::<Vec<_>>());
            let question = format!("Which is of the kind {kind}?");
            ("things", question, text(right), of(false).map(|noun| text(noun.english)).collect())
        }
        _ => {
            let noun = dice.pick(&NOUNS);
            let wrong = NOUNS.iter().filter(|other| **other != noun).map(|other| text(other.german.1));
            ("words", format!("What is {} in German?", noun.english), text(noun.german.1), wrong.collect())
        }
    };
    let answer = dice.below(4);
    let mut choices = dice.draw(&mut wrong, 3).to_vec();
    choices.insert(answer, right);
    let choices = choices.try_into().unwrap_or_else(|_| unreachable!("BUG: three wrong choices and the right one"));
    Choice { subject, question, choices, answer }
}

fn writing(dice: &mut Dice) -> Exchange {
    let person = dice.pick(&PEOPLE);
    let things = nouns::<3>(dice).map(|noun| with_article(noun.english));
    if dice.chance(50) {
        let (adjective, [noun]) = (dice.pick(&ADJECTIVES), nouns(dice));
        let (verb, said) = dice.pick(&[("has", "has"), ("wants", "wants"), ("sees", "sees")]);
        let question = format!("Make a sentence: {person}, {verb}, {}, {}.", noun.english, adjective.english);
        let thing = with_article(&format!("{} {}", adjective.english, noun.english));
        return (question, format!("{person} {said} {thing}."));
    }
    let count = dice.pick(&[2, 3]);
    let sentences: Vec<String> = things[..count].iter().map(|thing| format!("{person} has {thing}.")).collect();
    let (last, first) = things[..count].split_last().unwrap_or_else(|| unreachable!("BUG: there are things"));
    (format!("Say in one sentence: {}", sentences.join(" ")), format!("{person} has {} and {last}.", first.join(", ")))
}

fn reasoning(dice: &mut Dice) -> Plain {
    let people: [&str; 3] = people(dice);
    let [one, two, three] = people;
    match dice.weighted(&[("order", 3), ("class", 3), ("story", 2)]) {
        "order" => {
            let mut premises = [format!("{one} is taller than {two}."), format!("{two} is taller than {three}.")];
            let thought = premises.join(" ");
            dice.draw(&mut premises, 1);
            let (word, answer) = dice.pick(&[("tallest", one), ("smallest", three)]);
            let question = format!("{} Who is the {word}?", premises.join(" "));
            Plain { question, answer: text(answer), thought: Some(thought) }
        }
        "class" => {
            let things: [Noun; 2] = nouns(dice);
            let mut colours: [Adjective; 4] = std::array::from_fn(|number| ADJECTIVES[number]);
            let colours = dice.draw(&mut colours, 2).to_vec();
            let asked = dice.below(2);
            let rule = |number: usize| format!("Every {} is {}.", things[number].english, colours[number].english);
            let (noun, colour) = (things[asked].english, colours[asked].english);
            let thing = with_article(noun);
            let question = format!("{} {} {one} has {thing}. Which color is it?", rule(0), rule(1));
            let thought = format!("{one} has {thing}. {}", rule(asked));
            Plain { question, answer: text(colour), thought: Some(thought) }
        }
        _ => {
            let noun = dice.pick(&["books", "coins", "cards", "keys"]);
            let (has, gets) = (dice.below(10) + 1, dice.below(10) + 1);
            let (question, answer, sign) = if has > gets && dice.chance(50) {
                (format!("{one} has {has} {noun} and loses {gets}."), has - gets, "minus")
            } else {
                (format!("{one} has {has} {noun} and gets {gets}."), has + gets, "plus")
            };
            let thought = format!("{has} {sign} {gets} is {answer}.");
            let question = format!("{question} How many has {one} now?");
            Plain { question, answer: answer.to_string(), thought: Some(thought) }
        }
    }
}

/// The last question is about what was said before it.
fn conversation(dice: &mut Dice) -> Vec<Exchange> {
    let (person, adjective, [noun, other]) = (dice.pick(&PEOPLE), dice.pick(&ADJECTIVES), nouns(dice));
    let thing = format!("{} {}", adjective.english, noun.english);
    let mut turns = vec![(format!("I am {person}."), format!("Hello {person}, how can I help you?"))];
    turns.push((format!("I have {}.", with_article(&thing)), format!("I see, {}.", with_article(&thing))));
    let mut known = noun;
    if dice.chance(40) {
        turns.push((
            format!("No, it is {}.", with_article(other.english)),
            format!("Oh, {}.", with_article(other.english)),
        ));
        known = other;
    }
    let thing = format!("{} {}", adjective.english, known.english);
    turns.push(match dice.pick(&["name", "thing", "kind", "which"]) {
        "name" => (text("What is my name?"), text(person)),
        "thing" => (text("What do I have?"), with_article(&thing)),
        "kind" => (text("What kind of thing is it?"), text(known.kind)),
        _ => (text("What is it like?"), text(adjective.english)),
    });
    turns
}

/// Something to translate, in three languages.
fn said(dice: &mut Dice) -> [String; 3] {
    let (one, another) = (dice.pick(&ADJECTIVES), dice.pick(&ADJECTIVES));
    let [noun, other] = nouns(dice);
    match dice.weighted(&[("phrase", 3), ("statement", 2), ("both", 2)]) {
        "phrase" => phrase(one, noun),
        "statement" => statement(one, noun),
        _ => {
            let ([english, german, chinese], right) = (phrase(one, noun), phrase(another, other));
            [
                format!("{english} and {}", right[0]),
                format!("{german} und {}", right[1]),
                format!("{chinese}和{}", right[2]),
            ]
        }
    }
}

fn german(dice: &mut Dice) -> Exchange {
    let [english, german, _] = said(dice);
    if dice.chance(60) {
        (format!("In German: {english}"), german)
    } else {
        (format!("Auf Englisch: {german}"), english)
    }
}

fn chinese(dice: &mut Dice) -> Exchange {
    match dice.weighted(&[("to", 4), ("from", 3), ("number", 3)]) {
        "number" => {
            let one = dice.below(11);
            let two = dice.below(11 - one);
            let [one_said, two_said, sum] = [one, two, one + two].map(|number| CHINESE_NUMBERS[number]);
            if dice.chance(50) {
                (format!("{one_said}加{two_said}是几？"), text(sum))
            } else {
                (format!("{sum}减{two_said}是几？"), text(one_said))
            }
        }
        direction => {
            let [english, _, chinese] = said(dice);
            match direction {
                "to" => (format!("In Chinese: {english}"), chinese),
                _ => (format!("用英语说：{chinese}"), english),
            }
        }
    }
}
