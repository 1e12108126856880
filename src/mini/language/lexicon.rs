//! The words of the language suite in three languages, its people, and what is true of them. Unaware of
//! what is asked.

use crate::mini::dice::hash;

/// A thing in three languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noun {
    /// In English.
    pub english: &'static str,
    /// In German, with its article.
    pub german: (&'static str, &'static str),
    /// In Chinese.
    pub chinese: &'static str,
    /// What kind of thing it is: one of [`KINDS`].
    pub kind: &'static str,
}

/// What a thing is like, in three languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjective {
    /// In English.
    pub english: &'static str,
    /// In German, without an ending.
    pub german: &'static str,
    /// In Chinese.
    pub chinese: &'static str,
}

/// The kinds of things.
pub const KINDS: [&str; 4] = ["animal", "fruit", "vehicle", "furniture"];

/// All things, six of each kind.
pub const NOUNS: [Noun; 24] = [
    noun("cat", ("die", "Katze"), "猫", 0),
    noun("dog", ("der", "Hund"), "狗", 0),
    noun("bird", ("der", "Vogel"), "鸟", 0),
    noun("horse", ("das", "Pferd"), "马", 0),
    noun("fish", ("der", "Fisch"), "鱼", 0),
    noun("cow", ("die", "Kuh"), "牛", 0),
    noun("apple", ("der", "Apfel"), "苹果", 1),
    noun("pear", ("die", "Birne"), "梨", 1),
    noun("plum", ("die", "Pflaume"), "李子", 1),
    noun("cherry", ("die", "Kirsche"), "樱桃", 1),
    noun("lemon", ("die", "Zitrone"), "柠檬", 1),
    noun("melon", ("die", "Melone"), "瓜", 1),
    noun("boat", ("das", "Boot"), "船", 2),
    noun("car", ("das", "Auto"), "汽车", 2),
    noun("bus", ("der", "Bus"), "公交车", 2),
    noun("train", ("der", "Zug"), "火车", 2),
    noun("bike", ("das", "Rad"), "自行车", 2),
    noun("truck", ("der", "Laster"), "卡车", 2),
    noun("chair", ("der", "Stuhl"), "椅子", 3),
    noun("table", ("der", "Tisch"), "桌子", 3),
    noun("bed", ("das", "Bett"), "床", 3),
    noun("lamp", ("die", "Lampe"), "灯", 3),
    noun("shelf", ("das", "Regal"), "架子", 3),
    noun("sofa", ("das", "Sofa"), "沙发", 3),
];

/// What things are like: four colours first.
pub const ADJECTIVES: [Adjective; 8] = [
    adjective("red", "rot", "红"),
    adjective("green", "grün", "绿"),
    adjective("blue", "blau", "蓝"),
    adjective("white", "weiß", "白"),
    adjective("big", "groß", "大"),
    adjective("small", "klein", "小"),
    adjective("new", "neu", "新"),
    adjective("old", "alt", "旧"),
];

/// The Chinese numbers from zero to ten.
pub const CHINESE_NUMBERS: [&str; 11] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十"];

/// The people.
pub const PEOPLE: [&str; 24] = [
    "Ada", "Bela", "Cleo", "Dora", "Emil", "Fred", "Gina", "Hugo", "Ines", "Jon", "Karl", "Lena", "Mia", "Nils",
    "Olga", "Paul", "Quin", "Rosa", "Sam", "Tina", "Ugo", "Vera", "Walt", "Yara",
];

/// What is true of everybody: the relation, and what it can be.
pub const RELATIONS: [(&str, [&str; 5]); 5] = [
    ("home", ["Rome", "Paris", "Oslo", "Cairo", "Lima"]),
    ("job", ["baker", "doctor", "farmer", "painter", "pilot"]),
    ("sport", ["chess", "golf", "rugby", "tennis", "judo"]),
    ("drink", ["coffee", "cocoa", "juice", "milk", "tea"]),
    ("month", ["April", "August", "June", "March", "May"]),
];

const fn noun(english: &'static str, german: (&'static str, &'static str), chinese: &'static str, kind: usize) -> Noun {
    Noun { english, german, chinese, kind: KINDS[kind] }
}

const fn adjective(english: &'static str, german: &'static str, chinese: &'static str) -> Adjective {
    Adjective { english, german, chinese }
}

/// What is true of `person` in a relation of [`RELATIONS`].
pub fn fact(person: &str, relation: usize) -> &'static str {
    let (name, values) = RELATIONS[relation];
    values[hash(&format!("{person} {name}")) as usize % values.len()]
}

/// A word with `a` or `an`.
pub fn with_article(words: &str) -> String {
    let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {words}")
}

/// A phrase in three languages: `the red cat`, `die rote Katze`, `红的猫`.
pub fn phrase(adjective: Adjective, noun: Noun) -> [String; 3] {
    let (article, german) = noun.german;
    [
        format!("the {} {}", adjective.english, noun.english),
        format!("{article} {}e {german}", adjective.german),
        format!("{}的{}", adjective.chinese, noun.chinese),
    ]
}

/// A statement in three languages: `the cat is red`, `die Katze ist rot`, `猫是红的`.
pub fn statement(adjective: Adjective, noun: Noun) -> [String; 3] {
    let (article, german) = noun.german;
    [
        format!("the {} is {}", noun.english, adjective.english),
        format!("{article} {german} ist {}", adjective.german),
        format!("{}是{}的", noun.chinese, adjective.chinese),
    ]
}
