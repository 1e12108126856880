//! The centre of an image at another size, as Pillow makes it.
//!
//! The filter is Pillow's bicubic one (a = −½, widened when shrinking, in fixed point, first along rows and
//! then along columns with rounding to bytes between them) to the last bit. From Pillow 13 on, images that
//! shrink more in height than in width come out a little different there, for columns go first.

use std::ops::Range;

use image::RgbImage;

/// The centre of `image` as `size` × `size` pixels of 3 bytes, with its shorter edge resized to `size`. With
/// a border colour the image is first put into the middle of a square of it.
pub fn resize(image: &RgbImage, size: usize, border: Option<[u8; 3]>) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    if (width, height) == (size, size) {
        return image.as_raw().clone();
    }
    let canvas = Canvas::new(image, border);
    let shorter = canvas.width.min(canvas.height);
    let columns = Pass::new(canvas.width, size * canvas.width / shorter, size);
    let rows = Pass::new(canvas.height, size * canvas.height / shorter, size);
    let needed = rows.reads();
    let mut narrow = Vec::with_capacity(needed.len() * size * 3);
    let mut line = Vec::with_capacity(canvas.width * 3);
    for row in needed.clone() {
        canvas.row(row, &mut line);
        for taps in &columns.taps {
            narrow.extend(taps.apply(|position| &line[position * 3..]));
        }
    }
    let mut bytes = Vec::with_capacity(size * size * 3);
    for taps in &rows.taps {
        for column in 0..size {
            bytes.extend(taps.apply(|row| &narrow[((row - needed.start) * size + column) * 3..]));
        }
    }
    bytes
}

/// An image in the middle of a square of the border's colour, or the image alone. The square is never
/// in memory: rows are made as they are read.
struct Canvas<'a> {
    image: &'a RgbImage,
    border: [u8; 3],
    width: usize,
    height: usize,
    left: usize,
    top: usize,
}

impl<'a> Canvas<'a> {
    fn new(image: &'a RgbImage, border: Option<[u8; 3]>) -> Canvas<'a> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        match border {
            None => Canvas { image, border: [0; 3], width, height, left: 0, top: 0 },
            Some(border) => {
                let side = width.max(height);
                let (left, top) = ((side - width) / 2, (side - height) / 2);
                Canvas { image, border, width: side, height: side, left, top }
            }
        }
    }

    fn row(&self, row: usize, line: &mut Vec<u8>) {
        line.clear();
        let border = |pixels: usize| self.border.into_iter().cycle().take(pixels * 3);
        let (width, height) = (self.image.width() as usize, self.image.height() as usize);
        if !(self.top..self.top + height).contains(&row) {
            return line.extend(border(self.width));
        }
        line.extend(border(self.left));
        let start = (row - self.top) * width * 3;
        line.extend(&self.image.as_raw()[start..start + width * 3]);
        line.extend(border(self.width - self.left - width));
    }
}

/// The weights of one output position: fixed-point numbers over consecutive input positions.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// Binary places of the weights: 8 bits for the value and 2 for overshoot remain of 32.
const PLACES: u32 = 32 - 8 - 2;

impl Taps {
    fn apply<'a>(&self, pixel: impl Fn(usize) -> &'a [u8]) -> [u8; 3] {
        let mut sums = [1 << (PLACES - 1); 3];
        for (position, weight) in self.weights.iter().enumerate() {
            let pixel = pixel(self.first + position);
            for (sum, byte) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*byte) * weight;
            }
        }
        sums.map(|sum| (sum >> PLACES).clamp(0, 255) as u8)
    }
}

/// One direction of a resize, for the centre of the output only.
struct Pass {
    taps: Vec<Taps>,
}

impl Pass {
    /// From `input` positions to `output`, of which the `kept` in the middle are made.
    fn new(input: usize, output: usize, kept: usize) -> Pass {
        let scale = input as f64 / output as f64;
        // A shrinking filter is widened, so that every input counts.
        let stretch = scale.max(1.0);
        let support = 2.0 * stretch;
        let start = (output - kept) / 2;
        let taps = (start..start + kept).map(|position| {
            let centre = (position as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            let weights: Vec<f64> =
                (first..last).map(|input| bicubic((input as f64 - centre + 0.5) / stretch)).collect();
            let total: f64 = weights.iter().sum();
            let fixed = |weight: &f64| (weight / total * f64::from(1 << PLACES)).round() as i32;
            Taps { first, weights: weights.iter().map(fixed).collect() }
        });
        Pass { taps: taps.collect() }
    }

    /// The input positions that are read.
    fn reads(&self) -> Range<usize> {
        let first = self.taps.iter().map(|taps| taps.first).min().unwrap_or(0);
        let last = self.taps.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);
        first..last
    }
}

/// Keys' cubic convolution kernel with a = −½.
fn bicubic(distance: f64) -> f64 {
    const A: f64 = -0.5;
    let x = distance.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// An image with structure at every scale.
    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 37 + y * 11) as u8, (x * y + 7 * x) as u8, ((x ^ y) * 29 + (x * x) / 3) as u8])
        })
    }

    fn checksum(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
    }

    #[test]
    fn the_border_of_a_wide_image_has_the_mean_colour() {
        let image = RgbImage::from_pixel(12, 4, Rgb([200, 10, 90]));
        let bytes = resize(&image, 12, Some([122, 116, 104]));
        assert_eq!(bytes[..3], [122, 116, 104]);
        assert_eq!(bytes[(5 * 12 + 6) * 3..][..3], [200, 10, 90]);
    }

    #[test]
    fn an_unpadded_image_is_cropped_to_its_centre() {
        let image = RgbImage::from_fn(12, 4, |x, _| if (4..8).contains(&x) { Rgb([255; 3]) } else { Rgb([0; 3]) });
        assert!(resize(&image, 4, None).iter().all(|byte| *byte == 255));
    }

    /// Made with Pillow 12.3: the pattern, padded or not, resized and cropped as `CLIPImageProcessor` does.
    #[test]
    fn resizing_agrees_with_pillow_to_the_bit() {
        let cases: [(u32, u32, usize, bool, u64); 10] = [
            (50, 30, 24, true, 8587898976321033815),
            (31, 77, 24, true, 7556726225239206873),
            (50, 30, 24, false, 8783318580626276312),
            (31, 77, 24, false, 16183748937687667877),
            (10, 10, 24, true, 3245832133139008106),
            (640, 427, 336, true, 767168107186327174),
            (427, 640, 336, false, 13899321607925043717),
            (24, 11, 24, true, 7122019796843195316),
            (1, 1, 24, true, 0),
            (100, 24, 24, false, 14539239567115075568),
        ];
        for (width, height, size, pad, expected) in cases {
            let bytes = resize(&pattern(width, height), size, pad.then_some([122, 116, 104]));
            assert_eq!(checksum(&bytes), expected, "{width}×{height} to {size}, padded: {pad}");
        }
    }
}
