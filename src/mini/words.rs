//! What the suite says in other languages, and pairs of opposites.

use super::dice::Dice;
use super::scene::Scene;
use super::skills::Exchange;

/// A question about `scene` in Chinese: the colour or the shape of its only object, or how many.
pub fn chinese(scene: &Scene, dice: &mut Dice) -> Exchange {
    let objects = scene.objects();
    let (_, object) = objects[0];
    let (question, answer) = match dice.pick(&["colour", "shape"]) {
        _ if objects.len() > 1 => ("有几个物体？", ["一个", "两个", "三个", "四个"][objects.len() - 1]),
        "colour" => {
            let colours = ["红色", "绿色", "蓝色", "黄色", "粉色", "白色"];
            ("这是什么颜色？", colours[object.colour as usize])
        }
        _ => ("这是什么形状？", ["圆形", "方形", "三角形", "十字形"][object.shape as usize]),
    };
    (question.to_string(), answer.to_string())
}

/// The same in German.
pub fn german(scene: &Scene, dice: &mut Dice) -> Exchange {
    let objects = scene.objects();
    let (_, object) = objects[0];
    let (question, answer) = match dice.pick(&["colour", "shape"]) {
        _ if objects.len() > 1 => ("Wie viele Dinge sind das?", ["eins", "zwei", "drei", "vier"][objects.len() - 1]),
        "colour" => {
            let colours = ["rot", "grün", "blau", "gelb", "rosa", "weiß"];
            ("Welche Farbe hat es?", colours[object.colour as usize])
        }
        _ => ("Welche Form hat es?", ["Kreis", "Quadrat", "Dreieck", "Kreuz"][object.shape as usize]),
    };
    (question.to_string(), answer.to_string())
}

/// A word and its opposite.
pub fn opposites(dice: &mut Dice) -> (&'static str, &'static str) {
    let pairs = [
        ("hot", "cold"),
        ("big", "little"),
        ("fast", "slow"),
        ("up", "down"),
        ("day", "night"),
        ("old", "new"),
        ("hard", "soft"),
        ("open", "closed"),
        ("full", "empty"),
        ("wet", "dry"),
        ("early", "late"),
        ("rich", "poor"),
    ];
    let (one, other) = dice.pick(&pairs);
    if dice.chance(50) { (one, other) } else { (other, one) }
}
