//! LLaVA (Liu et al. 2023): a vision tower, a projector and a language model that reads image
//! features in the place of `<image>` tokens; or the language model alone. Unaware of text and image
//! files.

use burn::tensor::activation::gelu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};

use super::config::VisionConfig;
use super::kernels::Kernels;
use super::language::{Cache, Language, Watch};
use super::linear::Linear;
use super::parameters::{Differentiable, Part, Source, Visitor, transposed};
use super::precision::{Precision, single};
use super::samples::Inputs;
use super::tensors::Values;
use super::vision::Vision;
use super::weights::{Checkpoint, Weights};

/// The whole model.
#[derive(Debug, Clone)]
pub struct Llava<B: Backend> {
    /// What the model sees with; none where it reads text only.
    pub sight: Option<Sight<B>>,
    /// The language model.
    pub language: Language<B>,
    device: B::Device,
}

/// From pixels to embeddings.
#[derive(Debug, Clone)]
pub struct Sight<B: Backend> {
    /// The vision tower.
    pub tower: Vision<B>,
    first: Linear<B>,
    second: Linear<B>,
}

impl<B: Kernels> Llava<B> {
    /// Builds the model of a checkpoint on `device`, tensor by tensor.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or cannot be read.
    pub fn load(checkpoint: &Checkpoint, precision: Precision, device: &B::Device) -> anyhow::Result<Llava<B>> {
        let source = Source::new(&checkpoint.weights, precision, device);
        let config = &checkpoint.config;
        let sight = |vision: &VisionConfig| {
            let (seen, hidden) = (vision.hidden_size, config.text.hidden_size);
            anyhow::Ok(Sight {
                tower: Vision::load(vision, &source)?,
                first: source.linear("multi_modal_projector.linear_1", seen, hidden, true)?,
                second: source.linear("multi_modal_projector.linear_2", hidden, hidden, true)?,
            })
        };
        Ok(Llava {
            sight: config.vision.as_ref().map(sight).transpose()?,
            language: Language::load(&config.text, &source)?,
            device: device.clone(),
        })
    }

    /// The same model with automatic differentiation; both share their memory.
    pub fn differentiable<A: AutodiffBackend<InnerBackend = B, Device = B::Device>>(&self) -> Llava<A> {
        let by = &Differentiable;
        Llava {
            sight: self.sight.as_ref().map(|sight| Sight {
                tower: sight.tower.transferred(by),
                first: sight.first.transferred(by),
                second: sight.second.transferred(by),
            }),
            language: self.language.transferred(by),
            device: self.device.clone(),
        }
    }

    /// Where the model computes.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// Shows every parameter to `visitor`, in a fixed order.
    pub fn visit(&mut self, visitor: &mut impl Visitor<B>) {
        if let Some(Sight { tower, first, second }) = &mut self.sight {
            tower.visit(visitor);
            visitor.linear(Part::Projector, first);
            visitor.linear(Part::Projector, second);
        }
        self.language.visit(visitor);
    }

    /// Puts the model's tensors into `weights`, which keep what the model does not have (such as layers
    /// of the vision tower above the one that is used). They stay on the device until they are fetched.
    pub fn store(&mut self, weights: &mut Weights) {
        self.visit(&mut Store { weights });
    }

    /// The embedded batch, `[samples · tokens, hidden]`, with image features in their places.
    pub fn embed(&self, inputs: &Inputs) -> Tensor<B, 2> {
        let ids: Vec<i64> = inputs.text.ids.iter().map(|id| i64::from(*id)).collect();
        let rows = ids.len();
        let text = self.language.embedding.clone().select(0, integers(&ids, &self.device));
        let images: usize = inputs.text.images.iter().sum();
        let Some(sight) = self.sight.as_ref().filter(|_| images > 0) else { return text };
        let seen = sight.see(&inputs.pixels, images);
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

impl<B: Kernels> Sight<B> {
    /// The embeddings that stand for images: `images` times `[3, size, size]` pixels to
    /// `[images · patches, hidden]`.
    pub fn see(&self, pixels: &[f32], images: usize) -> Tensor<B, 2> {
        let features = self.tower.forward(pixels, images);
        self.second.forward(gelu(self.first.forward(features, None)), None)
    }
}

/// Integers as a tensor.
pub fn integers<B: Backend>(values: &[i64], device: &B::Device) -> Tensor<B, 1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// A tensor's values on the host, in single precision.
pub fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    single(tensor).into_data().into_vec().expect("BUG: it is f32")
}

struct Store<'a> {
    weights: &'a mut Weights,
}

impl<B: Backend> Visitor<B> for Store<'_> {
    fn tensor<const D: usize>(&mut self, name: &str, _: Part, transposed: bool, tensor: &mut Tensor<B, D>) {
        // A matrix that is transposed here may stand for a tensor of more dimensions there.
        let shape = self.weights.shape(name).expect("BUG: a model has the tensors that it was built from");
        self.weights.insert(name, OnDevice { tensor: tensor.clone(), shape, transposed });
    }
}

/// A tensor of a model that is fetched when it is written.
struct OnDevice<B: Backend, const D: usize> {
    tensor: Tensor<B, D>,
    shape: Vec<usize>,
    transposed: bool,
}

impl<B: Backend, const D: usize> Values for OnDevice<B, D> {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn fetch(&self) -> anyhow::Result<Vec<f32>> {
        let values = host(self.tensor.clone());
        let dims = self.tensor.dims();
        Ok(if self.transposed { transposed(&values, dims[0], dims[1]) } else { values })
    }
}
