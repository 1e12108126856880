//! LLaVA (Liu et al. 2023): a vision tower, a projector and a language model that reads image
//! features in the place of `<image>` tokens. Unaware of text and image files.

use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::kernels::Kernels;
use super::language::{Cache, Language, Watch};
use super::linear::Linear;
use super::parameters::{Part, Source, Visitor, transposed};
use super::samples::Inputs;
use super::vision::Vision;
use super::weights::{Checkpoint, Weights};

/// The whole model.
#[derive(Debug, Clone)]
pub struct Llava<B: Backend> {
    /// The vision tower.
    pub vision: Vision<B>,
    /// The language model.
    pub language: Language<B>,
    first: Linear<B>,
    second: Linear<B>,
    device: B::Device,
}

impl<B: Kernels> Llava<B> {
    /// Builds the model of a checkpoint on `device`.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Llava<B> {
        let source = Source::new(&checkpoint.weights, device);
        let config = &checkpoint.config;
        let (seen, hidden) = (config.vision.hidden_size, config.text.hidden_size);
        Llava {
            vision: Vision::load(config, &source),
            first: source.linear("multi_modal_projector.linear_1", seen, hidden, true),
            second: source.linear("multi_modal_projector.linear_2", hidden, hidden, true),
            language: Language::load(&config.text, &source),
            device: device.clone(),
        }
    }

    /// Where the model computes.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// Shows every parameter to `visitor`, in a fixed order.
    pub fn visit(&mut self, visitor: &mut impl Visitor<B>) {
        self.vision.visit(visitor);
        visitor.linear(Part::Projector, &mut self.first);
        visitor.linear(Part::Projector, &mut self.second);
        self.language.visit(visitor);
    }

    /// Writes the model's tensors into `weights`, which keep what the model does not have (such as
    /// layers of the vision tower above the one that is used).
    pub fn store(&mut self, weights: &mut Weights) {
        self.visit(&mut Store { weights });
    }

    /// The embeddings that stand for images: `images` times `[3, size, size]` pixels to
    /// `[images · patches, hidden]`.
    pub fn see(&self, pixels: &[f32], images: usize) -> Tensor<B, 2> {
        let features = self.vision.forward(pixels, images);
        self.second.forward(gelu(self.first.forward(features, None)), None)
    }

    /// The embedded batch, `[samples · tokens, hidden]`, with image features in their places.
    pub fn embed(&self, inputs: &Inputs) -> Tensor<B, 2> {
        let ids: Vec<i64> = inputs.text.ids.iter().map(|id| i64::from(*id)).collect();
        let rows = ids.len();
        let text = self.language.embedding.clone().select(0, integers(&ids, &self.device));
        let images: usize = inputs.text.images.iter().sum();
        if images == 0 {
            return text;
        }
        let seen = self.see(&inputs.pixels, images);
        let mut index: Vec<i64> = (0..rows as i64).collect();
        for (feature, position) in inputs.text.image_positions.iter().enumerate() {
            index[*position] = (rows + feature) as i64;
        }
        Tensor::cat(vec![text, seen], 0).select(0, integers(&index, &self.device))
    }

    /// Final hidden states of a batch, `[samples · tokens, hidden]`.
    pub fn forward(&self, inputs: &Inputs, cache: Option<&mut Cache<B>>, watch: Option<&mut Watch<B>>) -> Tensor<B, 2> {
        self.language.forward(self.embed(inputs), inputs.text.samples, cache, watch)
    }
}

/// Integers as a tensor.
pub fn integers<B: Backend>(values: &[i64], device: &B::Device) -> Tensor<B, 1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// A tensor's values on the host.
///
/// # Panics
///
/// If the tensor is not f32: all of this library's are.
pub fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("BUG: tensors are f32")
}

struct Store<'a> {
    weights: &'a mut Weights,
}

impl<B: Backend> Visitor<B> for Store<'_> {
    fn tensor<const D: usize>(&mut self, name: &str, _: Part, is_transposed: bool, tensor: &mut Tensor<B, D>) {
        let shape = tensor.dims();
        let mut values = host(tensor.clone());
        if is_transposed {
            values = transposed(&values, shape[0], shape[1]);
        }
        self.weights.replace(name, values);
    }
}
