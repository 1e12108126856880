//! Image files to the numbers that a vision tower sees, as LLaVA-1.5 does it: pad to a square with the
//! mean colour, resize the shorter edge, crop the centre, scale to 0…1, normalise each channel.
//!
//! The resize is Pillow's bicubic filter (a = −½, widened when shrinking, in fixed point, first along rows
//! and then along columns with rounding to bytes between them) to the last bit; from Pillow 13 on, images
//! that shrink more in height than in width come out a little different there, columns going first.
//! Unaware of samples and tensors' devices.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use image::{ImageReader, Limits, RgbImage};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::config::LlavaConfig;

/// Images with a longer side are refused: nothing of use is that large, and decoding is bounded.
const LONGEST_SIDE: u32 = 16_384;
/// Most bytes that decoding an image may allocate.
const MOST_BYTES: u64 = 1 << 30;
/// Most bytes of results that are kept for images that come again.
const CACHE_BYTES: usize = 128 << 20;

/// What is done to every image of a model. Results are `[3, size, size]`, row-major.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    size: usize,
    /// The colour of the border that makes an image square; without it the longer edge is cropped.
    border: Option<[u8; 3]>,
    /// Channel → byte → normalised value.
    values: Vec<[f32; 256]>,
}

impl Preprocessor {
    /// Reads `preprocessor_config.json` in `directory`; without the file it is that of CLIP. Images are
    /// padded to a square, as LLaVA-1.5 was trained, unless the file says `"do_pad": false`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, asks for something else than what this module does, or makes
    /// images of another size than the model takes.
    pub fn read(directory: &Path, config: &LlavaConfig) -> anyhow::Result<Preprocessor> {
        let path = directory.join("preprocessor_config.json");
        let file = if path.is_file() {
            let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("`{}` is not as expected", path.display()))?
        } else {
            PreprocessorFile::default()
        };
        Preprocessor::new(&file, config.vision.image_size).with_context(|| format!("cannot use `{}`", path.display()))
    }

    fn new(file: &PreprocessorFile, size: usize) -> anyhow::Result<Preprocessor> {
        for (name, key, value) in [("size", "shortest_edge", &file.size), ("crop_size", "height", &file.crop_size)] {
            let given = value.as_ref().map(|value| value.get(key).unwrap_or(value));
            if let Some(given) = given {
                ensure!(
                    given.as_u64() == Some(size as u64),
                    "`{name}` is {given}, and the model takes images of {size}"
                );
            }
        }
        let steps = [
            ("do_resize", file.do_resize),
            ("do_center_crop", file.do_center_crop),
            ("do_rescale", file.do_rescale),
            ("do_normalize", file.do_normalize),
        ];
        if let Some((name, _)) = steps.iter().find(|(_, done)| !done) {
            bail!("`{name}` is false, and every step is always done");
        }
        ensure!(file.resample == 3, "`resample` is {}, and only 3 (bicubic) is known", file.resample);
        ensure!(file.image_std.iter().all(|deviation| *deviation > 0.0), "a value of `image_std` is not positive");
        let border = file.image_mean.map(|mean| (mean * 255.0) as u8);
        let values = std::iter::zip(file.image_mean, file.image_std).map(|(mean, deviation)| {
            std::array::from_fn(|byte| ((byte as f64 * file.rescale_factor) as f32 - mean as f32) / deviation as f32)
        });
        Ok(Preprocessor { size, border: file.do_pad.then_some(border), values: values.collect() })
    }

    /// How many numbers an image becomes.
    pub fn len(&self) -> usize {
        3 * self.size * self.size
    }

    /// Decodes and prepares an image file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not an image of a known format, or is too large.
    pub fn load(&self, path: &Path) -> anyhow::Result<Vec<f32>> {
        let image = decode(path).with_context(|| format!("cannot read the image `{}`", path.display()))?;
        Ok(self.prepare(&image))
    }

    /// Prepares an image.
    pub fn prepare(&self, image: &RgbImage) -> Vec<f32> {
        let bytes = self.resize(image);
        let channel = |channel: usize| {
            let values = &self.values[channel];
            bytes.iter().skip(channel).step_by(3).map(|byte| values[usize::from(*byte)])
        };
        (0..3).flat_map(channel).collect()
    }

    /// The image as `size` × `size` pixels of 3 bytes.
    fn resize(&self, image: &RgbImage) -> Vec<u8> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        if (width, height) == (self.size, self.size) {
            return image.as_raw().clone();
        }
        let canvas = Canvas::new(image, self.border);
        let shorter = canvas.width.min(canvas.height);
        let columns = Pass::new(canvas.width, self.size * canvas.width / shorter, self.size);
        let rows = Pass::new(canvas.height, self.size * canvas.height / shorter, self.size);
        let needed = rows.reads();
        let mut narrow = Vec::with_capacity(needed.len() * self.size * 3);
        let mut line = Vec::with_capacity(canvas.width * 3);
        for row in needed.clone() {
            canvas.row(row, &mut line);
            for taps in &columns.taps {
                narrow.extend(taps.apply(|position| &line[position * 3..]));
            }
        }
        let mut bytes = Vec::with_capacity(self.size * self.size * 3);
        for taps in &rows.taps {
            for column in 0..self.size {
                bytes.extend(taps.apply(|row| &narrow[((row - needed.start) * self.size + column) * 3..]));
            }
        }
        bytes
    }
}

/// `preprocessor_config.json`, with the defaults of `CLIPImageProcessor` in transformers.
#[derive(Deserialize)]
#[serde(default)]
struct PreprocessorFile {
    size: Option<Value>,
    crop_size: Option<Value>,
    image_mean: [f64; 3],
    image_std: [f64; 3],
    rescale_factor: f64,
    resample: u8,
    do_pad: bool,
    do_resize: bool,
    do_center_crop: bool,
    do_rescale: bool,
    do_normalize: bool,
}

impl Default for PreprocessorFile {
    fn default() -> PreprocessorFile {
        PreprocessorFile {
            size: None,
            crop_size: None,
            image_mean: [0.48145466, 0.4578275, 0.40821073],
            image_std: [0.26862954, 0.26130258, 0.27577711],
            rescale_factor: 1.0 / 255.0,
            resample: 3,
            do_pad: true,
            do_resize: true,
            do_center_crop: true,
            do_rescale: true,
            do_normalize: true,
        }
    }
}

fn decode(path: &Path) -> anyhow::Result<RgbImage> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    // By content: published datasets have many files with another format's ending.
    let mut reader = ImageReader::open(path)?.with_guessed_format()?;
    reader.limits(limits);
    let image = reader.decode()?.into_rgb8();
    ensure!(image.width() > 0 && image.height() > 0, "it has no pixels");
    Ok(image)
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

/// Prepared images by file, for data in which images come again. Safe to share between threads.
pub struct Images {
    preprocessor: Preprocessor,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    images: HashMap<PathBuf, Arc<Vec<f32>>>,
    /// The files in the order of their arrival; the oldest goes first.
    arrivals: VecDeque<PathBuf>,
}

impl Images {
    /// Prepares images with `preprocessor`.
    pub fn new(preprocessor: Preprocessor) -> Images {
        Images { preprocessor, cache: Mutex::default() }
    }

    /// The image in a file.
    ///
    /// # Errors
    ///
    /// As [`Preprocessor::load`].
    pub fn load(&self, path: &Path) -> anyhow::Result<Arc<Vec<f32>>> {
        // The map is whole at every moment, so a panic elsewhere does not make it unusable.
        if let Some(image) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).images.get(path) {
            return Ok(Arc::clone(image));
        }
        let image = Arc::new(self.preprocessor.load(path)?);
        let most = (CACHE_BYTES / (4 * image.len())).max(1);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.images.insert(path.to_path_buf(), Arc::clone(&image)).is_none() {
            cache.arrivals.push_back(path.to_path_buf());
        }
        while cache.arrivals.len() > most {
            if let Some(oldest) = cache.arrivals.pop_front() {
                cache.images.remove(&oldest);
            }
        }
        Ok(image)
    }

    /// The images in several files, one after the other: `[files, 3, size, size]`.
    ///
    /// # Errors
    ///
    /// As [`Preprocessor::load`].
    pub fn load_all(&self, paths: &[PathBuf]) -> anyhow::Result<Vec<f32>> {
        let images: Vec<Arc<Vec<f32>>> = paths.par_iter().map(|path| self.load(path)).collect::<anyhow::Result<_>>()?;
        let mut values = Vec::with_capacity(images.len() * self.preprocessor.len());
        images.iter().for_each(|image| values.extend_from_slice(image));
        Ok(values)
    }

    /// As many images of zeros: what stands for an image that the model may not see.
    pub fn blind(&self, count: usize) -> Vec<f32> {
        vec![0.0; count * self.preprocessor.len()]
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn preprocessor(size: usize, do_pad: bool) -> Preprocessor {
        Preprocessor::new(&PreprocessorFile { do_pad, ..PreprocessorFile::default() }, size).unwrap()
    }

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
    fn an_image_of_the_right_size_is_only_normalised() {
        let image = pattern(4, 4);
        let values = preprocessor(4, true).prepare(&image);
        let green = image.get_pixel(3, 2)[1];
        let expected = (f32::from(green) / 255.0 - 0.4578275) / 0.26130258;
        assert!((values[16 + 2 * 4 + 3] - expected).abs() < 1e-6);
        assert_eq!(values.len(), 48);
    }

    #[test]
    fn the_border_of_a_wide_image_has_the_mean_colour() {
        let image = RgbImage::from_pixel(12, 4, Rgb([200, 10, 90]));
        let bytes = preprocessor(12, true).resize(&image);
        assert_eq!(bytes[..3], [122, 116, 104]);
        assert_eq!(bytes[(5 * 12 + 6) * 3..][..3], [200, 10, 90]);
    }

    #[test]
    fn an_unpadded_image_is_cropped_to_its_centre() {
        let image = RgbImage::from_fn(12, 4, |x, _| if (4..8).contains(&x) { Rgb([255; 3]) } else { Rgb([0; 3]) });
        assert!(preprocessor(4, false).resize(&image).iter().all(|byte| *byte == 255));
    }

    #[test]
    fn a_file_is_known_by_its_content_and_bad_ones_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("picture.jpg");
        pattern(5, 3).save_with_format(&path, image::ImageFormat::Png).unwrap();
        let images = Images::new(preprocessor(3, true));
        let twice = images.load_all(&[path.clone(), path.clone()]).unwrap();
        assert_eq!(twice[..27], twice[27..]);
        assert_eq!(images.blind(2), vec![0.0; 54]);
        fs::write(&path, "no image").unwrap();
        assert!(images.load(&path).is_ok(), "it is remembered");
        let other = directory.path().join("other.png");
        fs::write(&other, "no image").unwrap();
        assert!(images.load(&other).unwrap_err().to_string().contains("other.png"));
    }

    #[test]
    fn a_preprocessor_of_another_model_is_refused() {
        let file: PreprocessorFile = serde_json::from_str(r#"{"size": {"shortest_edge": 224}}"#).unwrap();
        assert!(Preprocessor::new(&file, 336).unwrap_err().to_string().contains("224"));
        let file: PreprocessorFile = serde_json::from_str(r#"{"resample": 2}"#).unwrap();
        assert!(Preprocessor::new(&file, 336).unwrap_err().to_string().contains("resample"));
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
            let bytes = preprocessor(size, pad).resize(&pattern(width, height));
            assert_eq!(checksum(&bytes), expected, "{width}×{height} to {size}, padded: {pad}");
        }
    }
}
