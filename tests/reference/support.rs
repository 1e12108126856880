//! Reading fixtures and checkpoints, and saying how far numbers are apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::{Autodiff, Flex};
use runner::ml::batch::{Batch, Padding};
use runner::ml::config::LlavaConfig;
use runner::ml::conversation::Encoded;
use runner::ml::kernels::Kernels;
use runner::ml::llava::Llava;
use runner::ml::precision::Precision;
use runner::ml::samples::Inputs;
use runner::ml::tensors::{self, Tensor, Values};
use runner::ml::weights::Checkpoint;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What everything here is computed with.
pub type Plain = Flex;
/// The same with automatic differentiation.
pub type Differentiable = Autodiff<Plain>;

/// Tensors of a file by name.
pub type Arrays = BTreeMap<String, Tensor>;

/// A sample of a case, without padding.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    /// Its tokens, with as many image tokens as its images have positions.
    pub ids: Vec<u32>,
    /// The label of each.
    pub labels: Vec<i64>,
    /// How many images it has.
    pub images: usize,
}

impl Row {
    /// The row as the library has it.
    pub fn encoded(&self) -> Encoded {
        Encoded { ids: self.ids.clone(), labels: self.labels.clone(), images: self.images, cut: 0 }
    }
}

/// A path below the fixtures.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/fixtures").join(path)
}

/// A JSON file of the fixtures.
pub fn json<T: DeserializeOwned>(path: &str) -> T {
    let text = fs::read_to_string(fixture(path)).unwrap_or_else(|error| panic!("`{path}`: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{path}`: {error}"))
}

/// A safetensors file of the fixtures.
pub fn arrays(path: &str) -> Arrays {
    let fetch =
        |(name, stored): (String, tensors::Stored)| (name, Tensor::new(stored.shape(), stored.fetch().unwrap()));
    tensors::open(&fixture(path), |_| true).unwrap().into_iter().map(fetch).collect()
}

/// A checkpoint of the fixtures.
pub fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::read(&fixture(&format!("models/{name}"))).unwrap_or_else(|error| panic!("`{name}`: {error:?}"))
}

/// The model of a checkpoint, in f32 on the processor.
pub fn model<B: Kernels>(checkpoint: &Checkpoint) -> Llava<B> {
    Llava::load(checkpoint, Precision::F32, &B::Device::default()).unwrap()
}

/// The inputs of rows with their images, short ones filled up at the end.
pub fn inputs(rows: &[Row], pixels: &[f32], config: &LlavaConfig) -> Inputs {
    let encoded: Vec<Encoded> = rows.iter().map(Row::encoded).collect();
    let encoded: Vec<&Encoded> = encoded.iter().collect();
    let image = config.vision.as_ref().map(|vision| vision.image_token);
    let text = Batch::new(&encoded, Padding::Right, config.pad_token, image);
    Inputs { text, pixels: pixels.to_vec() }
}

/// The pixels of each row's images, of those of all rows.
pub fn pixels_of<'a>(rows: &[Row], pixels: &'a [f32], config: &LlavaConfig) -> Vec<&'a [f32]> {
    let size = config.vision.as_ref().map_or(0, |vision| 3 * vision.image_size.pow(2));
    let mut rest = pixels;
    let mut take = |images: usize| {
        let (own, others) = rest.split_at(images * size);
        rest = others;
        own
    };
    let parts = rows.iter().map(|row| take(row.images)).collect();
    assert!(rest.is_empty(), "there are pixels of no row");
    parts
}

/// The rows `[samples · tokens, width]` of a batch without those of padding.
pub fn without_padding(values: &[f32], batch: &Batch) -> Vec<f32> {
    let width = values.len() / (batch.samples * batch.tokens);
    let samples = values.chunks_exact(batch.tokens * width).zip(&batch.lengths);
    samples.flat_map(|(sample, length)| sample[..length * width].to_vec()).collect()
}

/// The greatest difference between two arrays, relative to the greatest number of the second.
pub fn relative_error(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len(), "the arrays differ in length");
    let most = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |most: f64, value| if value.is_nan() { f64::INFINITY } else { most.max(value) })
    };
    let scale = most(&mut theirs.iter().map(|value| f64::from(value.abs())));
    assert!(scale > 0.0 && scale.is_finite(), "there is nothing to compare with");
    most(&mut ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b).abs())) / scale
}

/// Fails if two arrays are further apart than `tolerance`, as [`relative_error`] has it.
#[track_caller]
pub fn assert_close(what: &str, ours: &[f32], theirs: &[f32], tolerance: f64) {
    let error = relative_error(ours, theirs);
    assert!(error < tolerance, "{what} differ by {error:.2e} of their size");
}
