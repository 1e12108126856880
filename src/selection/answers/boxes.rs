//! Boxes in an image: left, top, right and bottom.

/// Intersection over union of two boxes written as `[left, top, right, bottom]`; none where a text
/// has no such box. Only the first four numbers of a text are read.
pub fn overlap_of_boxes(expected: &str, answered: &str) -> Option<f64> {
    overlap(corners(expected)?, corners(answered)?)
}

/// Intersection over union of two boxes; none where both are empty.
///
/// Areas are products of sides, as COCO annotates boxes. Evaluations in the tradition of PASCAL VOC
/// count pixels instead and add 1 to each side, which moves the result by less than 0.01 for sides of
/// 200 pixels and more.
pub fn overlap(a: [f64; 4], b: [f64; 4]) -> Option<f64> {
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let union = area(a) + area(b) - common;
    (union > 0.0).then(|| common / union)
}

/// The first list of exactly four numbers in square brackets.
pub fn bracketed(text: &str) -> Option<[f64; 4]> {
    let lists = text.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    lists.map(|(list, _)| list).find_map(|list| {
        let numbers: Result<Vec<f64>, _> = list.split(',').map(|number| number.trim().parse()).collect();
        let corners: [f64; 4] = numbers.ok()?.try_into().ok()?;
        corners.iter().all(|number| number.is_finite()).then_some(corners)
    })
}

/// What the coordinates from 0 to 1 of a box are shares of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The width and height of the image.
    Image,
    /// The side of the square that the image is padded to, the image in its middle: what a model of
    /// LLaVA's kind sees, and how the boxes of its training data were made (haotian-liu/LLaVA#606).
    Square,
}

impl Frame {
    /// A box in shares as a box in pixels of an image of this width and height.
    pub fn pixels(self, shares: [f64; 4], width: f64, height: f64) -> [f64; 4] {
        let (sides, margins) = self.scale(width, height);
        std::array::from_fn(|side| shares[side] * sides[side % 2] - margins[side % 2])
    }

    /// A box in pixels as a box in shares.
    pub fn shares(self, pixels: [f64; 4], width: f64, height: f64) -> [f64; 4] {
        let (sides, margins) = self.scale(width, height);
        std::array::from_fn(|side| (pixels[side] + margins[side % 2]) / sides[side % 2])
    }

    /// What a share is multiplied by, and the border left of and above the image.
    fn scale(self, width: f64, height: f64) -> ([f64; 2], [f64; 2]) {
        match self {
            Frame::Image => ([width, height], [0.0, 0.0]),
            Frame::Square => {
                let side = width.max(height);
                ([side, side], [((side - width) / 2.0).floor(), ((side - height) / 2.0).floor()])
            }
        }
    }
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
    fn boxes_overlap_by_intersection_over_union() {
        assert_eq!(overlap_of_boxes("[0.00, 0.00, 0.50, 1.00]", "[0.00, 0.00, 1.00, 1.00]"), Some(0.5));
        assert_eq!(overlap_of_boxes("[ 0.50 , 0.00 , 1.00 , 0.50 ]", "[0.50, 0.00, 1.00, 0.50]"), Some(1.0));
        assert_eq!(overlap_of_boxes("[0.00, 0.00, 0.50, 0.50]", "top left"), None);
        // Two squares of side 2 that share a square of side 1: 1 / (4 + 4 - 1).
        assert_eq!(overlap([0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0]), Some(1.0 / 7.0));
        assert_eq!(overlap([0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]), Some(0.0));
        assert_eq!(overlap([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]), None);
    }

    #[test]
    fn a_box_is_four_numbers_in_brackets_and_nothing_else() {
        assert_eq!(bracketed("The box is [0.1, 0.2,0.30, 1]."), Some([0.1, 0.2, 0.3, 1.0]));
        assert_eq!(bracketed("[a] and [0, 0, 1, 1]"), Some([0.0, 0.0, 1.0, 1.0]));
        for text in ["0.1, 0.2, 0.3, 0.4", "[0.1, 0.2, 0.3]", "[0, 0, 1, 1, 1]", "[0.1, 0.2, 0.3, 0.4", "[0,0,nan,1]"] {
            assert_eq!(bracketed(text), None, "{text}");
        }
    }

    #[test]
    fn shares_of_the_padded_square_are_pixels_of_the_image() {
        // An image of 200 by 100 lies in a square of 200, with 50 above and below.
        let shares = [0.25, 0.25, 0.75, 0.75];
        assert_eq!(Frame::Square.pixels(shares, 200.0, 100.0), [50.0, 0.0, 150.0, 100.0]);
        assert_eq!(Frame::Image.pixels(shares, 200.0, 100.0), [50.0, 25.0, 150.0, 75.0]);
        for frame in [Frame::Square, Frame::Image] {
            assert_eq!(frame.shares(frame.pixels(shares, 64.0, 256.0), 64.0, 256.0), shares);
        }
    }
}
