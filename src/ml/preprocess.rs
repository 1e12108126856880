//! Images to the numbers that a vision tower sees, as LLaVA-1.5 does it: pad to a square with the
//! mean colour, resize the shorter edge, crop the centre, scale to 0…1, normalise each channel.
//!
//! Unaware of samples and tensors' devices.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use image::RgbImage;
use serde::Deserialize;
use serde_json::Value;

use super::config::VisionConfig;
use super::resize::resize;
use crate::images::Place;

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
    pub fn read(directory: &Path, vision: &VisionConfig) -> anyhow::Result<Preprocessor> {
        let path = directory.join("preprocessor_config.json");
        let file = if path.is_file() {
            let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("`{}` is not as expected", path.display()))?
        } else {
            PreprocessorFile::default()
        };
        Preprocessor::new(&file, vision.image_size).with_context(|| format!("cannot use `{}`", path.display()))
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

    /// Decodes and prepares the image at a place.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not an image of a known format, or is too large.
    pub fn load(&self, place: &Place) -> anyhow::Result<Vec<f32>> {
        let image = place.decode().with_context(|| format!("cannot read the image {place}"))?;
        Ok(self.prepare(&image))
    }

    /// Prepares an image.
    pub fn prepare(&self, image: &RgbImage) -> Vec<f32> {
        let bytes = resize(image, self.size, self.border);
        let channel = |channel: usize| {
            let values = &self.values[channel];
            bytes.iter().skip(channel).step_by(3).map(|byte| values[usize::from(*byte)])
        };
        (0..3).flat_map(channel).collect()
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

/// Prepared images by place, for data in which images come again. Safe to share between threads.
pub struct Images {
    preprocessor: Preprocessor,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    images: HashMap<Place, Arc<Vec<f32>>>,
    /// The places in the order of their arrival; the oldest goes first.
    arrivals: VecDeque<Place>,
}

impl Images {
    /// Prepares images with `preprocessor`.
    pub fn new(preprocessor: Preprocessor) -> Images {
        Images { preprocessor, cache: Mutex::default() }
    }

    /// The image at a place.
    ///
    /// # Errors
    ///
    /// As [`Preprocessor::load`].
    pub fn load(&self, place: &Place) -> anyhow::Result<Arc<Vec<f32>>> {
        // The map is whole at every moment, so a panic elsewhere does not make it unusable.
        if let Some(image) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).images.get(place) {
            return Ok(Arc::clone(image));
        }
        let image = Arc::new(self.preprocessor.load(place)?);
        let most = (CACHE_BYTES / (4 * image.len())).max(1);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.images.insert(place.clone(), Arc::clone(&image)).is_none() {
            cache.arrivals.push_back(place.clone());
        }
        while cache.arrivals.len() > most {
            if let Some(oldest) = cache.arrivals.pop_front() {
                cache.images.remove(&oldest);
            }
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn preprocessor(size: usize, do_pad: bool) -> Preprocessor {
        Preprocessor::new(&PreprocessorFile { do_pad, ..PreprocessorFile::default() }, size).unwrap()
    }

    #[test]
    fn an_image_of_the_right_size_is_only_normalised() {
        let image = RgbImage::from_fn(4, 4, |x, y| Rgb([x as u8, (50 * x + y) as u8, 7]));
        let values = preprocessor(4, true).prepare(&image);
        let green = image.get_pixel(3, 2)[1];
        let expected = ((f64::from(green) / 255.0 - 0.4578275) / 0.26130258) as f32;
        assert!((values[16 + 2 * 4 + 3] - expected).abs() < 1e-6);
        assert_eq!(values.len(), 48);
    }

    #[test]
    fn a_file_is_known_by_its_content_and_bad_ones_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::from(directory.path().join("picture.jpg"));
        RgbImage::from_pixel(5, 3, Rgb([1, 2, 3])).save_with_format(&place.file, image::ImageFormat::Png).unwrap();
        let images = Images::new(preprocessor(3, true));
        let once = images.load(&place).unwrap();
        assert_eq!(once.len(), 27);
        assert_eq!(images.load(&place).unwrap(), once);
        fs::write(&place.file, "no image").unwrap();
        assert!(images.load(&place).is_ok(), "it is remembered");
        let other = Place::from(directory.path().join("other.png"));
        fs::write(&other.file, "no image").unwrap();
        assert!(images.load(&other).unwrap_err().to_string().contains("other.png"));
    }

    #[test]
    fn a_preprocessor_of_another_model_is_refused() {
        let file: PreprocessorFile = serde_json::from_str(r#"{"size": {"shortest_edge": 224}}"#).unwrap();
        assert!(Preprocessor::new(&file, 336).unwrap_err().to_string().contains("224"));
        let file: PreprocessorFile = serde_json::from_str(r#"{"resample": 2}"#).unwrap();
        assert!(Preprocessor::new(&file, 336).unwrap_err().to_string().contains("resample"));
    }
}
