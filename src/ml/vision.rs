//! The vision tower: a CLIP vision transformer (Radford et al. 2021).

use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::config::{FeatureSelect, VisionConfig};
use super::kernels::{Heads, Kernels, grouped_attention};
use super::linear::Linear;
use super::parameters::{Part, Source, Transfer, Visitor};
use super::precision::{as_type, single};

/// The tower up to the layer whose output is used.
#[derive(Debug, Clone)]
pub struct Vision<B: Backend> {
    class: Tensor<B, 1>,
    /// `[3 · patch · patch, hidden]`.
    patch: Tensor<B, 2>,
    position: Tensor<B, 2>,
    pre_norm: LayerNorm<B>,
    layers: Vec<Layer<B>>,
    config: VisionConfig,
}

#[derive(Debug, Clone)]
struct Layer<B: Backend> {
    norm1: LayerNorm<B>,
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    output: Linear<B>,
    norm2: LayerNorm<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
}

/// Layer normalisation (Ba et al. 2016) over the last dimension.
#[derive(Debug, Clone)]
struct LayerNorm<B: Backend> {
    name: String,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
}

/// The prefix of the tower's canonical names.
const PREFIX: &str = "vision_tower.vision_model";

impl<B: Kernels> Vision<B> {
    /// Builds the layers of the tower that are used from weights.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or cannot be read.
    pub fn load(config: &VisionConfig, source: &Source<'_, B>) -> anyhow::Result<Vision<B>> {
        let (hidden, inner, patch) = (config.hidden_size, config.intermediate_size, config.patch_size);
        let positions = config.patches() + 1;
        let norm = |name: String| {
            anyhow::Ok(LayerNorm {
                weight: source.vector(&format!("{name}.weight"), hidden)?,
                bias: source.vector(&format!("{name}.bias"), hidden)?,
                epsilon: config.layer_norm_eps,
                name,
            })
        };
        let layer = |index: usize| {
            let name = |suffix: &str| format!("{PREFIX}.encoder.layers.{index}.{suffix}");
            anyhow::Ok(Layer {
                norm1: norm(name("layer_norm1"))?,
                query: source.linear(&name("self_attn.q_proj"), hidden, hidden, true)?,
                key: source.linear(&name("self_attn.k_proj"), hidden, hidden, true)?,
                value: source.linear(&name("self_attn.v_proj"), hidden, hidden, true)?,
                output: source.linear(&name("self_attn.out_proj"), hidden, hidden, true)?,
                norm2: norm(name("layer_norm2"))?,
                fc1: source.linear(&name("mlp.fc1"), hidden, inner, true)?,
                fc2: source.linear(&name("mlp.fc2"), inner, hidden, true)?,
            })
        };
        Ok(Vision {
            class: source.vector(&format!("{PREFIX}.embeddings.class_embedding"), hidden)?,
            patch: source
                .flattened(&format!("{PREFIX}.embeddings.patch_embedding.weight"), &[hidden, 3, patch, patch])?,
            position: source.matrix(&format!("{PREFIX}.embeddings.position_embedding.weight"), [positions, hidden])?,
            pre_norm: norm(format!("{PREFIX}.pre_layrnorm"))?,
            layers: (0..config.feature_layers).map(layer).collect::<anyhow::Result<_>>()?,
            config: config.clone(),
        })
    }

    /// Shows every parameter to `visitor`, in a fixed order.
    pub fn visit(&mut self, visitor: &mut impl Visitor<B>) {
        let name = |suffix: &str| format!("{PREFIX}.embeddings.{suffix}");
        visitor.tensor(&name("class_embedding"), Part::Vision, false, &mut self.class);
        visitor.tensor(&name("patch_embedding.weight"), Part::Vision, true, &mut self.patch);
        visitor.tensor(&name("position_embedding.weight"), Part::Vision, false, &mut self.position);
        self.pre_norm.visit(visitor);
        for Layer { norm1, query, key, value, output, norm2, fc1, fc2 } in &mut self.layers {
            norm1.visit(visitor);
            norm2.visit(visitor);
            for linear in [query, key, value, output, fc1, fc2] {
                visitor.linear(Part::Vision, linear);
            }
        }
    }

    /// The features of images: the hidden states of all patches, with the class token first where
    /// the config says so.
    ///
    /// # Shapes
    ///
    /// `pixels`: `images` times `[3, size, size]`, one after the other; the result:
    /// `[images · image tokens, hidden]`.
    pub fn forward(&self, pixels: &[f32], images: usize) -> Tensor<B, 2> {
        let (patches, hidden) = (self.config.patches(), self.config.hidden_size);
        let device = self.class.device();
        let rows = unfold(pixels, images, self.config.image_size, self.config.patch_size);
        let inputs = rows.len() / (images * patches);
        let rows = TensorData::new(rows, [images * patches, inputs]);
        let rows = Tensor::<B, 2>::from_data(rows, (&device, self.patch.dtype()));
        let embedded = rows.matmul(self.patch.clone()).reshape([images, patches, hidden]);
        let class = self.class.clone().reshape([1, 1, hidden]).repeat_dim(0, images);
        let x = Tensor::cat(vec![class, embedded], 1) + self.position.clone().unsqueeze::<3>();
        let mut x = self.pre_norm.forward(x.reshape([images * (patches + 1), hidden]));
        for layer in &self.layers {
            x = layer.forward(x, images, &self.config);
        }
        match self.config.feature_select {
            FeatureSelect::All => x,
            FeatureSelect::Patches => {
                let x = x.reshape([images, patches + 1, hidden]).narrow(1, 1, patches);
                x.reshape([images * patches, hidden])
            }
        }
    }
}

impl<B: Kernels> Layer<B> {
    fn forward(&self, x: Tensor<B, 2>, images: usize, config: &VisionConfig) -> Tensor<B, 2> {
        let tokens = x.dims()[0] / images;
        let normed = self.norm1.forward(x.clone());
        let heads = Heads {
            batch: images,
            tokens,
            queries: tokens,
            query: config.heads,
            key: config.heads,
            width: config.hidden_size / config.heads,
            causal: false,
            rope: None,
        };
        let attended = grouped_attention(
            self.query.forward(normed.clone(), None),
            self.key.forward(normed.clone(), None),
            self.value.forward(normed, None),
            heads,
        );
        let x = x + self.output.forward(attended, None);
        let inner = self.fc1.forward(self.norm2.forward(x.clone()), None);
        // The "quick" approximation of GELU that CLIP was trained with: z · σ(1.702 z).
        let activated = inner.clone() * sigmoid(inner * 1.702);
        x + self.fc2.forward(activated, None)
    }
}

impl<B: Backend> Vision<B> {
    /// The tower in another backend.
    pub fn transferred<To: Backend>(&self, by: &impl Transfer<B, To>) -> Vision<To> {
        let layer = |layer: &Layer<B>| Layer {
            norm1: layer.norm1.transferred(by),
            query: layer.query.transferred(by),
            key: layer.key.transferred(by),
            value: layer.value.transferred(by),
            output: layer.output.transferred(by),
            norm2: layer.norm2.transferred(by),
            fc1: layer.fc1.transferred(by),
            fc2: layer.fc2.transferred(by),
        };
        Vision {
            class: by.tensor(&self.class),
            patch: by.tensor(&self.patch),
            position: by.tensor(&self.position),
            pre_norm: self.pre_norm.transferred(by),
            layers: self.layers.iter().map(layer).collect(),
            config: self.config.clone(),
        }
    }
}

impl<B: Backend> LayerNorm<B> {
    fn transferred<To: Backend>(&self, by: &impl Transfer<B, To>) -> LayerNorm<To> {
        LayerNorm {
            name: self.name.clone(),
            weight: by.tensor(&self.weight),
            bias: by.tensor(&self.bias),
            epsilon: self.epsilon,
        }
    }

    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let number_type = x.dtype();
        let x = single(x);
        let centred = x.clone() - x.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        let normed = centred / (variance + self.epsilon).sqrt();
        let (weight, bias) = (single(self.weight.clone()), single(self.bias.clone()));
        as_type(normed * weight.unsqueeze::<2>() + bias.unsqueeze::<2>(), number_type)
    }

    fn visit(&mut self, visitor: &mut impl Visitor<B>) {
        visitor.tensor(&format!("{}.weight", self.name), Part::Vision, false, &mut self.weight);
        visitor.tensor(&format!("{}.bias", self.name), Part::Vision, false, &mut self.bias);
    }
}

/// Cuts images `[3, size, size]` into patches, row by row: `[images · patches, 3 · patch · patch]`,
/// channel first inside a patch, as a convolution kernel has it.
fn unfold(pixels: &[f32], images: usize, size: usize, patch: usize) -> Vec<f32> {
    let side = size / patch;
    let mut rows = Vec::with_capacity(pixels.len());
    for image in pixels.chunks_exact(3 * size * size).take(images) {
        for index in 0..side * side {
            let (top, left) = (index / side * patch, index % side * patch);
            for channel in 0..3 {
                for y in top..top + patch {
                    let start = (channel * size + y) * size + left;
                    rows.extend_from_slice(&image[start..start + patch]);
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::unfold;

    #[test]
    fn patches_are_cut_row_by_row_with_channels_first() {
        let image: Vec<f32> = (0..3 * 16).map(|value| value as f32).collect();
        let rows = unfold(&image, 1, 4, 2);
        assert_eq!(rows[..12], [0., 1., 4., 5., 16., 17., 20., 21., 32., 33., 36., 37.]);
        assert_eq!(rows[12..16], [2., 3., 6., 7.]);
    }
}
