//! Images as Pillow and `CLIPImageProcessor` prepare them.

use std::collections::BTreeMap;
use std::fs;

use runner::ml::config::LlavaConfig;
use runner::ml::preprocess::Preprocessor;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::json;

use super::support::{fixture, json};

#[derive(Deserialize)]
struct Known {
    images: BTreeMap<String, Image>,
}

#[derive(Deserialize)]
struct Image {
    size: usize,
    decoding: Decoding,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decoding {
    /// Every decoder gives the same bytes.
    Exact,
    /// Decoders are free in their last bits.
    Lossy,
}

const MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const DEVIATION: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

fn preprocessor(size: usize, pad: bool) -> Preprocessor {
    let config = json!({"model_type": "llava", "image_token_index": 0, "vision_config": {"image_size": size, "patch_size": size}});
    let config = LlavaConfig::parse(&config.to_string()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(fixture("images/preprocessor_config.json")).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["size"] = json!({"shortest_edge": size});
    file["crop_size"] = json!({"height": size, "width": size});
    file["do_pad"] = json!(pad);
    fs::write(directory.path().join("preprocessor_config.json"), file.to_string()).unwrap();
    Preprocessor::read(directory.path(), &config.vision.unwrap()).unwrap()
}

/// The greatest difference in levels of 0 to 255.
fn difference(values: &[f32], theirs: &[u8]) -> f64 {
    assert_eq!(values.len(), theirs.len());
    let channel = values.len() / 3;
    let level = |(index, value): (usize, &f32)| {
        (f64::from(*value) * DEVIATION[index / channel] + MEAN[index / channel]) * 255.0
    };
    let levels = values.iter().enumerate().map(level);
    levels.zip(theirs).map(|(ours, theirs)| (ours - f64::from(*theirs)).abs()).fold(0.0, f64::max)
}

/// Pairs of image name and greatest difference, of all images that are decoded so.
fn differences(decoding: Decoding) -> BTreeMap<String, f64> {
    let known: Known = json("images.json");
    let bytes = fs::read(fixture("images.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut differences = BTreeMap::new();
    for (name, image) in known.images.iter().filter(|(_, image)| image.decoding == decoding) {
        for (how, pad) in [("padded", true), ("cropped", false)] {
            let key = format!("{name}.{how}");
            let values = preprocessor(image.size, pad).load(&fixture(&format!("images/{name}")).into()).unwrap();
            let difference = difference(&values, expected.tensor(&key).unwrap().data());
            differences.insert(key, difference);
        }
    }
    assert!(!differences.is_empty());
    differences
}

/// Bytes are compared, so a level is one; the rest is rounding of f32.
fn beyond(differences: &BTreeMap<String, f64>, levels: f64) -> Vec<(&String, &f64)> {
    differences.iter().filter(|(_, difference)| **difference > levels + 1e-3).collect()
}

#[test]
fn images_of_any_size_and_kind_are_prepared_as_in_python() {
    let differences = differences(Decoding::Exact);
    assert!(beyond(&differences, 1.0).is_empty(), "{:?}", beyond(&differences, 1.0));
}

/// A decoder that brings halved colours to full size otherwise is a level or two off.
#[test]
fn images_of_lossy_formats_are_prepared_as_in_python_but_for_their_decoders() {
    let differences = differences(Decoding::Lossy);
    assert!(beyond(&differences, 2.0).is_empty(), "{:?}", beyond(&differences, 2.0));
}
