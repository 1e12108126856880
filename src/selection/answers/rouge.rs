//! ROUGE-L: the longest common subsequence of words.

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
}
