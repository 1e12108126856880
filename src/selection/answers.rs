//! How near an answer is to the right one. Unaware of models.

/// ROUGE-L (Lin 2004): the F1 of the longest common subsequence of words, from 0 to 1.
pub fn rouge_l(expected: &str, answered: &str) -> f64 {
    let (expected, answered): (Vec<&str>, Vec<&str>) = (words(expected), words(answered));
    if expected.is_empty() || answered.is_empty() {
        return f64::from(u8::from(expected.is_empty() && answered.is_empty()));
    }
    let mut row = vec![0usize; answered.len() + 1];
    for word in &expected {
        let mut diagonal = 0;
        for (index, other) in answered.iter().enumerate() {
            let above = row[index + 1];
            row[index + 1] = if word == other { diagonal + 1 } else { above.max(row[index]) };
            diagonal = above;
        }
    }
    let common = row[answered.len()] as f64;
    2.0 * common / (expected.len() + answered.len()) as f64
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace()
        .map(|word| word.trim_matches(['.', ',', '!', '?']))
        .filter(|word| !word.is_empty())
        .collect()
}

/// Intersection over union of two boxes written as `[left, top, right, bottom]`; none where a text
/// has no such box. Only the first four numbers of a text are read.
pub fn overlap_of_boxes(expected: &str, answered: &str) -> Option<f64> {
    let (a, b) = (corners(expected)?, corners(answered)?);
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let union = area(a) + area(b) - common;
    (union > 0.0).then(|| common / union)
}

fn corners(text: &str) -> Option<[f64; 4]> {
    let numbers = text.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let numbers: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).take(4).collect();
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rouge_is_the_f1_of_the_longest_common_subsequence() {
        // Lin's example: "police killed the gunman" against "police kill the gunman" shares three words.
        assert_eq!(rouge_l("police killed the gunman", "police kill the gunman"), 0.75);
        assert_eq!(rouge_l("a red circle .", "a red circle"), 1.0);
        assert_eq!(rouge_l("a red circle", ""), 0.0);
    }

    #[test]
    fn boxes_overlap_by_intersection_over_union() {
        assert_eq!(overlap_of_boxes("[0.00, 0.00, 0.50, 1.00]", "[0.00, 0.00, 1.00, 1.00]"), Some(0.5));
        assert_eq!(overlap_of_boxes("[ 0.50 , 0.00 , 1.00 , 0.50 ]", "[0.50, 0.00, 1.00, 0.50]"), Some(1.0));
        assert_eq!(overlap_of_boxes("[0.00, 0.00, 0.50, 0.50]", "top left"), None);
    }
}
