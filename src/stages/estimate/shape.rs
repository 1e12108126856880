//! The sizes of a model as its `config.json` says them, and what is counted from them: parameters,
//! and operations of a forward pass.
//!
//! A multiplication and an addition are two operations, so a product with a matrix takes two for each
//! of its elements and each token. Norms, activations and embeddings are left out: they are below one
//! percent.

use std::path::Path;

use serde::Deserialize;

use crate::artifact::read_json;

/// A LLaVA model, or a language model alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The language model.
    pub text: Text,
    /// The vision tower, where there is one.
    pub vision: Option<Vision>,
    /// Hidden states of the tower that are computed: the features are one of the last.
    vision_layers: usize,
    tied: bool,
}

/// `text_config`, with the defaults of `LlamaConfig` in transformers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Text {
    /// Width.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    /// Tokens.
    pub vocab_size: usize,
    tie_word_embeddings: Option<bool>,
}

impl Default for Text {
    fn default() -> Text {
        Text {
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            vocab_size: 32000,
            tie_word_embeddings: None,
        }
    }
}

/// `vision_config`, with the defaults of `LlavaConfig` in transformers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Vision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    image_size: usize,
    patch_size: usize,
}

impl Default for Vision {
    fn default() -> Vision {
        Vision { hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, image_size: 336, patch_size: 14 }
    }
}

#[derive(Deserialize)]
struct File {
    /// What makes a language model's file one.
    hidden_size: Option<usize>,
    text_config: Option<Text>,
    #[serde(default)]
    vision_config: Vision,
    vision_feature_layer: Option<i64>,
    tie_word_embeddings: Option<bool>,
}

impl Shape {
    /// Reads `config.json` in a folder; `None` where there is none, or none that can be understood.
    pub fn read(directory: &Path) -> Option<Shape> {
        let path = directory.join("config.json");
        let file: File = read_json(&path).ok()?;
        let (text, vision) = match file.text_config {
            Some(text) => (text, Some(file.vision_config)),
            // A language model says its sizes without a section.
            None => (file.hidden_size.and_then(|_| read_json(&path).ok())?, None),
        };
        let tied = text.tie_word_embeddings.or(file.tie_word_embeddings).unwrap_or(false);
        let whole = vision.as_ref().map_or(0, |vision| vision.num_hidden_layers);
        let vision_layers = match file.vision_feature_layer.unwrap_or(-2) {
            back if back < 0 => (whole + 1).saturating_sub(back.unsigned_abs() as usize),
            layer => (layer as usize).min(whole),
        };
        let sane = text.num_attention_heads > 0 && vision.as_ref().is_none_or(|vision| vision.patch_size > 0);
        sane.then_some(Shape { text, vision, vision_layers, tied })
    }

    fn head_width(&self) -> usize {
        self.text.head_dim.unwrap_or(self.text.hidden_size / self.text.num_attention_heads)
    }

    /// Width of all query heads together.
    fn query_width(&self) -> usize {
        self.text.num_attention_heads * self.head_width()
    }

    /// Width of all key heads together, which is that of all values.
    pub fn key_width(&self) -> usize {
        self.text.num_key_value_heads.unwrap_or(self.text.num_attention_heads) * self.head_width()
    }

    /// Input and output width of the linear layers of a decoder layer: query, key, value, output, gate,
    /// up, down.
    fn linears(&self) -> [(usize, usize); 7] {
        let (hidden, inner) = (self.text.hidden_size, self.text.intermediate_size);
        let (query, key) = (self.query_width(), self.key_width());
        let attention = [(hidden, query), (hidden, key), (hidden, key), (query, hidden)];
        let [a, b, c, d] = attention;
        [a, b, c, d, (hidden, inner), (hidden, inner), (inner, hidden)]
    }

    /// Parameters of the linear layers of one decoder layer.
    pub fn layer(&self) -> f64 {
        self.linears().iter().map(|(from, to)| (from * to) as f64).sum()
    }

    /// Parameters of the adapters of one decoder layer at a rank: A is `[rank, in]`, B `[out, rank]`.
    pub fn adapter(&self, rank: f64) -> f64 {
        self.linears().iter().map(|(from, to)| rank * (from + to) as f64).sum()
    }

    /// Parameters of the output head, which are also those of the embeddings.
    fn head(&self) -> f64 {
        (self.text.vocab_size * self.text.hidden_size) as f64
    }

    /// Parameters of the projector: two linear layers with biases.
    pub fn projector(&self) -> f64 {
        let hidden = self.text.hidden_size as f64;
        self.vision.as_ref().map_or(0.0, |vision| (vision.hidden_size as f64 + hidden + 2.0) * hidden)
    }

    /// All parameters but those of norms.
    pub fn parameters(&self) -> f64 {
        let text = self.layer() * self.text.num_hidden_layers as f64 + self.head() * if self.tied { 1.0 } else { 2.0 };
        let tower = self.vision.as_ref().map_or(0.0, |vision| {
            let pixels = 3 * vision.patch_size * vision.patch_size;
            vision.layer() * vision.num_hidden_layers as f64 + (pixels * vision.hidden_size) as f64
        });
        text + self.projector() + tower
    }

    /// Tokens of one image.
    pub fn image_tokens(&self) -> f64 {
        self.vision.as_ref().map_or(0.0, |vision| (vision.image_size / vision.patch_size).pow(2) as f64)
    }

    /// Operations of the decoder layers for a sequence of so many tokens, a layer's share of them:
    /// products with the weights, and with all keys and values.
    pub fn layers_forward(&self, tokens: f64) -> f64 {
        let attention = 4.0 * tokens * tokens * self.query_width() as f64;
        (2.0 * tokens * self.layer() + attention) * self.text.num_hidden_layers as f64
    }

    /// Operations of the output head at every token.
    pub fn head_forward(&self, tokens: f64) -> f64 {
        2.0 * tokens * self.head()
    }

    /// Operations of the tower and the projector for one image.
    pub fn image_forward(&self) -> f64 {
        let Some(vision) = &self.vision else { return 0.0 };
        let positions = self.image_tokens() + 1.0;
        let layer = 2.0 * positions * vision.layer() + 4.0 * positions * positions * vision.hidden_size as f64;
        layer * self.vision_layers as f64 + 2.0 * self.image_tokens() * self.projector()
    }
}

impl Vision {
    /// Parameters of one layer: four products of attention and two of the feed-forward part.
    fn layer(&self) -> f64 {
        (4 * self.hidden_size * self.hidden_size + 2 * self.hidden_size * self.intermediate_size) as f64
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The model of the full suite.
    pub fn llava() -> Shape {
        let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/suites");
        Shape::read(&suites.join("full/llava-1.5-7b")).unwrap()
    }

    /// Whether two numbers are within so many percent.
    pub fn near(value: f64, expected: f64, percent: f64) -> bool {
        (value / expected - 1.0).abs() * 100.0 <= percent
    }

    #[test]
    fn llava_has_the_parameters_that_it_is_known_for() {
        let shape = llava();
        assert_eq!(shape.adapter(128.0), 9_994_240.0);
        assert_eq!(shape.image_tokens(), 576.0);
        assert!(near(shape.parameters(), 7.063e9, 0.1), "{}", shape.parameters());
    }

    #[test]
    fn a_forward_pass_takes_what_two_operations_per_parameter_and_token_make() {
        let shape = llava();
        let decoder = shape.layers_forward(850.0) + shape.head_forward(850.0);
        assert!(near(decoder, 2.0 * 6.74e9 * 850.0, 2.0), "{decoder}");
        // 23 layers of the tower, attention among 577 positions, and the projector.
        assert!(near(shape.image_forward(), 0.334e12 + 0.031e12 + 0.024e12, 1.0), "{}", shape.image_forward());
    }

    #[test]
    fn what_a_config_leaves_out_is_as_transformers_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(directory.path().join("config.json"), text).unwrap();
        write(r#"{"model_type": "llava", "text_config": {"vocab_size": 32064}, "vision_feature_layer": -2}"#);
        assert_eq!(Shape::read(directory.path()).unwrap().parameters(), llava().parameters());
        let grouped =
            r#"{"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_key_value_heads": 4}"#;
        write(grouped);
        let small = Shape::read(directory.path()).unwrap();
        assert_eq!((small.image_tokens(), small.image_forward(), small.key_width()), (0.0, 0.0, 256));
        assert!(near(small.parameters(), 1.1e9, 1.0), "{}", small.parameters());
        for other in ["[]", "{}"] {
            write(other);
            assert_eq!(Shape::read(directory.path()), None);
        }
    }
}
