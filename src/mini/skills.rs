//! The skills of the suite: which scenes a question needs, and what is asked and answered about them.
//!
//! Unaware of datasets and pictures.

use super::dice::{Dice, hash};
use super::scene::{COLOURS, Colour, Object, PLACES, SHAPES, Scene, Shape, Size, World};
use super::words;

/// What a sample exercises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skill {
    /// Colour, shape or size of an object.
    Attribute,
    /// How many objects, or how many of a colour or shape.
    Count,
    /// Which cell something is in, and what is in a cell.
    Position,
    /// A fact of this world about the creature in the picture.
    Knowledge,
    /// Digits and letters.
    Reading,
    /// The box of an object, in text.
    Grounding,
    /// A description in a phrase, or in sentences.
    Captioning,
    /// Questions in Chinese.
    Chinese,
    /// Questions in German.
    German,
    /// Comparisons, relations and sums.
    Reasoning,
    /// Questions about two pictures.
    MultiImage,
    /// Questions without a picture.
    Language,
    /// Several questions about one picture, each building on the one before.
    Conversation,
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
    /// The plain question, answered by `The answer is …`.
    Statement,
}

/// A question and its answer.
pub type Exchange = (String, String);

impl Skill {
    /// All skills.
    pub const ALL: [Skill; 13] = [
        Skill::Attribute,
        Skill::Count,
        Skill::Position,
        Skill::Knowledge,
        Skill::Reading,
        Skill::Grounding,
        Skill::Captioning,
        Skill::Chinese,
        Skill::German,
        Skill::Reasoning,
        Skill::MultiImage,
        Skill::Language,
        Skill::Conversation,
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
            Skill::Attribute => "attribute",
            Skill::Count => "count",
            Skill::Position => "position",
            Skill::Knowledge => "knowledge",
            Skill::Reading => "reading",
            Skill::Grounding => "grounding",
            Skill::Captioning => "captioning",
            Skill::Chinese | Skill::German => "multilingual",
            Skill::Reasoning => "reasoning",
            Skill::MultiImage => "multi_image",
            Skill::Language => "language",
            Skill::Conversation => "conversation",
        }
    }

    /// How its benchmark is scored.
    pub fn metric(self) -> &'static str {
        match self {
            Skill::Captioning => "rouge_l",
            Skill::Grounding => "iou",
            _ => "exact_match",
        }
    }

    /// The scenes that the next question needs.
    pub fn worlds(self, dice: &mut Dice) -> Vec<World> {
        match self {
            Skill::Attribute => vec![dice.weighted(&[(World::One, 2), (World::Distinct, 3)])],
            Skill::Position => vec![dice.weighted(&[(World::One, 1), (World::Distinct, 3)])],
            Skill::Grounding | Skill::Captioning => vec![dice.pick(&[World::One, World::Distinct])],
            Skill::Conversation => vec![World::Distinct],
            Skill::Count => vec![World::Crowd],
            Skill::Knowledge => vec![World::One],
            Skill::Chinese | Skill::German => vec![dice.weighted(&[(World::One, 7), (World::Crowd, 3)])],
            Skill::Reading => vec![World::Text],
            Skill::Reasoning => vec![dice.weighted(&[(World::Distinct, 3), (World::Crowd, 5), (World::Digits, 2)])],
            Skill::MultiImage => vec![World::One, World::One],
            Skill::Language => vec![],
        }
    }

    /// Asks about `scenes`, which are as [`Skill::worlds`] said. `held_out` says from which half of
    /// the questions a question without a picture is.
    pub fn ask(self, scenes: &[Scene], style: Style, held_out: bool, dice: &mut Dice) -> Vec<Exchange> {
        let plain = match self {
            Skill::Attribute => attribute(&scenes[0], dice),
            Skill::Count => count(&scenes[0], dice),
            Skill::Position => position(&scenes[0], dice),
            Skill::Knowledge => knowledge(&scenes[0], dice),
            Skill::Reading => (text("What does it say?"), spell(&scenes[0])),
            Skill::Reasoning => reasoning(&scenes[0], dice),
            Skill::MultiImage => comparison(&scenes[0], &scenes[1], dice),
            Skill::Grounding => return vec![grounding(&scenes[0], dice)],
            Skill::Captioning if style == Style::Brief => return vec![phrase(&scenes[0])],
            Skill::Captioning => return vec![description(&scenes[0])],
            Skill::Chinese => return vec![words::chinese(&scenes[0], dice)],
            Skill::German => return vec![words::german(&scenes[0], dice)],
            Skill::Language => return vec![language(held_out, dice)],
            Skill::Conversation => return conversation(&scenes[0], dice),
        };
        vec![style.apply(plain)]
    }
}

impl Style {
    fn apply(self, (question, answer): Exchange) -> Exchange {
        match self {
            Style::Brief => (format!("{question} Answer briefly."), answer),
            Style::Bare => (question, answer),
            Style::Sentence => (question, format!("It is {answer}.")),
            Style::Statement => (question, format!("The answer is {answer}.")),
        }
    }
}

fn text(text: &str) -> String {
    text.to_string()
}

fn yes_or_no(truth: bool) -> String {
    text(if truth { "yes" } else { "no" })
}

fn attribute(scene: &Scene, dice: &mut Dice) -> Exchange {
    let objects = scene.objects();
    let (_, Object { shape, colour, size }) = dice.pick(&objects);
    let (shape, colour, size) = (shape.name(), colour.name(), size.name());
    let question = dice.weighted(&[("colour", 4), ("shape", 4), ("size", 2)]);
    let alone = objects.len() == 1;
    match question {
        "colour" if alone => (text("What color is it?"), text(colour)),
        "shape" if alone => (text("What shape is it?"), text(shape)),
        "size" if alone => (text("What size is it?"), text(size)),
        "colour" => (format!("What color is the {shape}?"), text(colour)),
        "shape" => (format!("What shape is the {colour} one?"), text(shape)),
        _ => (format!("What size is the {shape}?"), text(size)),
    }
}

fn count(scene: &Scene, dice: &mut Dice) -> Exchange {
    let objects = scene.objects();
    let (_, some) = dice.pick(&objects);
    // One question in five is about something that may well be absent.
    let colour = if dice.chance(80) { some.colour } else { dice.pick(&COLOURS) };
    let shape = if dice.chance(80) { some.shape } else { dice.pick(&SHAPES) };
    let of = |matches: &dyn Fn(&Object) -> bool| objects.iter().filter(|(_, object)| matches(object)).count();
    let (what, number) = match dice.weighted(&[("all", 2), ("colour", 2), ("shape", 2)]) {
        "colour" => (format!("{} objects", colour.name()), of(&|object| object.colour == colour)),
        "shape" => (text(shape.plural()), of(&|object| object.shape == shape)),
        _ => (text("objects"), objects.len()),
    };
    (format!("How many {what} are there?"), number.to_string())
}

fn position(scene: &Scene, dice: &mut Dice) -> Exchange {
    let (place, object) = dice.pick(&scene.objects());
    match dice.weighted(&[("shape", 2), ("colour", 2), ("place", 3)]) {
        "shape" => (format!("Where is the {}?", object.shape.name()), text(PLACES[place])),
        "colour" => (format!("Where is the {} one?", object.colour.name()), text(PLACES[place])),
        _ => {
            let place = if dice.chance(75) { place } else { dice.below(4) };
            let found = scene.objects().into_iter().find(|(other, _)| *other == place);
            let answer = found.map_or(text("nothing"), |(_, object)| name(object));
            (format!("What is {}?", PLACES[place]), answer)
        }
    }
}

fn name(object: Object) -> String {
    format!("{} {}", object.colour.name(), object.shape.name())
}

/// The facts of this world: food goes by shape, home by colour, and the maker by both.
fn knowledge(scene: &Scene, dice: &mut Dice) -> Exchange {
    let (_, Object { shape, colour, .. }) = scene.objects()[0];
    match dice.pick(&["food", "home", "maker"]) {
        "food" => (text("What does it eat?"), text(["berries", "leaves", "fish", "seeds"][shape as usize])),
        "home" => {
            let homes = ["desert", "forest", "sea", "meadow", "garden", "mountain"];
            (text("Where does it live?"), text(homes[colour as usize]))
        }
        _ => {
            let makers = ["Ada", "Bela", "Cleo"];
            (text("Who made it?"), text(makers[hash(&format!("{colour:?} {shape:?}")) as usize % makers.len()]))
        }
    }
}

fn spell(scene: &Scene) -> String {
    scene.glyphs().iter().map(char::to_string).collect::<Vec<_>>().join(" ")
}

fn reasoning(scene: &Scene, dice: &mut Dice) -> Exchange {
    let digits: Vec<u32> = scene.glyphs().iter().filter_map(|glyph| glyph.to_digit(10)).collect();
    let objects = scene.objects();
    if objects.is_empty() {
        return (text("What is the sum?"), digits.iter().sum::<u32>().to_string());
    }
    let colours: Vec<Colour> = distinct(objects.iter().map(|(_, object)| object.colour));
    let shapes: Vec<Shape> = distinct(objects.iter().map(|(_, object)| object.shape));
    if colours.len() == objects.len() && shapes.len() == objects.len() && objects.len() > 1 {
        let mut order = objects.clone();
        let pair = dice.draw(&mut order, 2);
        let ((one, first), (two, second)) = (pair[0], pair[1]);
        let (first, second) = (first.shape.name(), second.shape.name());
        return if dice.chance(50) {
            (format!("Is the {first} above the {second}?"), yes_or_no(one / 2 < two / 2))
        } else {
            (format!("Is the {first} left of the {second}?"), yes_or_no(one % 2 < two % 2))
        };
    }
    let number = |colour: Colour| objects.iter().filter(|(_, object)| object.colour == colour).count();
    match dice.pick(&["more", "colour", "shape"]) {
        "more" => {
            let mut pair = colours;
            while pair.len() < 2 {
                let other = dice.pick(&COLOURS);
                if !pair.contains(&other) {
                    pair.push(other);
                }
            }
            dice.draw(&mut pair, 2);
            let question = format!("Are there more {} than {} objects?", pair[0].name(), pair[1].name());
            (question, yes_or_no(number(pair[0]) > number(pair[1])))
        }
        "colour" => (text("Do all have the same color?"), yes_or_no(colours.len() == 1)),
        _ => (text("Do all have the same shape?"), yes_or_no(shapes.len() == 1)),
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut all, item| {
        if !all.contains(&item) {
            all.push(item);
        }
        all
    })
}

fn comparison(first: &Scene, second: &Scene, dice: &mut Dice) -> Exchange {
    let ((_, one), (_, two)) = (first.objects()[0], second.objects()[0]);
    let (shape, colour) = (one.shape == two.shape, one.colour == two.colour);
    let asked_of_first = dice.chance(50);
    let asked = if asked_of_first { one } else { two };
    let which = text(if asked_of_first { "first" } else { "second" });
    match dice.pick(&["same color", "same shape", "which color", "which shape"]) {
        "which color" if !colour => (format!("Which image has a {} one?", asked.colour.name()), which),
        "which shape" if !shape => (format!("Which image has a {}?", asked.shape.name()), which),
        "same color" | "which color" => (text("Do both images have the same color?"), yes_or_no(colour)),
        _ => (text("Do both images have the same shape?"), yes_or_no(shape)),
    }
}

fn grounding(scene: &Scene, dice: &mut Dice) -> Exchange {
    let (place, object) = dice.pick(&scene.objects());
    let span = |start: usize| match (object.size, start) {
        (Size::Large, 0) => ["0.00", "0.50"],
        (Size::Large, _) => ["0.50", "1.00"],
        (Size::Small, 0) => ["0.12", "0.38"],
        (Size::Small, _) => ["0.62", "0.88"],
    };
    let ([left, right], [top, bottom]) = (span(place % 2), span(place / 2));
    (format!("Give the box of the {}.", name(object)), format!("[{left}, {top}, {right}, {bottom}]"))
}

fn phrase(scene: &Scene) -> Exchange {
    let part = |(place, object): (usize, Object)| format!("a {} {}", name(object), PLACES[place]);
    let parts: Vec<String> = scene.objects().into_iter().map(part).collect();
    (text("Describe the image."), parts.join(", "))
}

fn description(scene: &Scene) -> Exchange {
    let sentence = |(number, (place, object)): (usize, (usize, Object))| {
        let start = if number == 0 { "The image shows" } else { "There is also" };
        format!("{start} a {} {} in the {}.", object.size.name(), name(object), PLACES[place])
    };
    let sentences: Vec<String> = scene.objects().into_iter().enumerate().map(sentence).collect();
    (text("Describe the image in detail."), sentences.join(" "))
}

fn language(held_out: bool, dice: &mut Dice) -> Exchange {
    loop {
        let exchange = match dice.weighted(&[("sum", 3), ("difference", 2), ("opposite", 2), ("next", 2)]) {
            "sum" => {
                let (one, two) = (dice.below(10), dice.below(10));
                let plain = format!("What is {one} plus {two}?");
                (dice.either(plain, format!("Add {one} and {two}.")), (one + two).to_string())
            }
            "difference" => {
                let (one, two) = (dice.below(10), dice.below(10));
                let (large, small) = (one.max(two), one.min(two));
                let plain = format!("What is {large} minus {small}?");
                (dice.either(plain, format!("Take {small} from {large}.")), (large - small).to_string())
            }
            "next" => {
                let (start, step) = (dice.below(13), dice.pick(&[1, 2, 3]));
                let [one, two, three] = [start, start + step, start + 2 * step];
                (format!("What comes after {one} {two}?"), three.to_string())
            }
            _ => {
                let (one, other) = words::opposites(dice);
                let question = dice.pick(&["What is the opposite of", "What is not", "Name the opposite of"]);
                (format!("{question} {one}?"), text(other))
            }
        };
        if hash(&exchange.0).is_multiple_of(5) == held_out {
            return exchange;
        }
    }
}

/// Each question is about what the answer before it named.
fn conversation(scene: &Scene, dice: &mut Dice) -> Vec<Exchange> {
    let (place, object) = dice.pick(&scene.objects());
    let by_shape = dice.chance(50);
    let mut turns = vec![if by_shape {
        (format!("Do you see a {}?", object.shape.name()), format!("Yes, {}.", PLACES[place]))
    } else {
        (format!("Do you see something {}?", object.colour.name()), format!("Yes, {}.", PLACES[place]))
    }];
    let follow_ups = [
        if by_shape {
            (text("And its color?"), text(object.colour.name()))
        } else {
            (text("And its shape?"), text(object.shape.name()))
        },
        (text("And its size?"), text(object.size.name())),
    ];
    match dice.pick(&[0, 1, 2]) {
        0 => turns.extend(follow_ups),
        number => turns.push(follow_ups[number - 1].clone()),
    }
    turns
}
