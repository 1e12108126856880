//! The architecture of a LLaVA model, read from the `config.json` of a Hugging Face checkpoint.
//!
//! Fields that a file leaves out have the values that transformers gives them. Everything that this
//! library cannot compute is refused here, so that no later part has to ask. Unaware of weights.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The system prompt of the conversation template v1, which LLaVA-1.5 was trained with.
pub const SYSTEM_PROMPT: &str = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.";

/// The architecture of a LLaVA model and the ids of its special tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct LlavaConfig {
    /// The language model.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// How many encoder layers of the vision tower are run: the output of the last of them is what
    /// the projector sees. LLaVA-1.5 leaves out the tower's last layer.
    pub feature_layers: usize,
    /// Which positions of the vision tower the projector sees.
    pub feature_select: FeatureSelect,
    /// The id that stands for one position of an image.
    pub image_token: u32,
    /// The id that fills up short sequences of a batch. Nothing attends to it.
    pub pad_token: u32,
    /// The id that starts every sequence.
    pub bos_token: u32,
    /// The id that ends every answer.
    pub eos_token: u32,
    /// What every conversation starts with; may be empty. From `conversation.system`, an extension of
    /// the Hugging Face layout; without it the system prompt of LLaVA-1.5.
    pub system: String,
    raw: Map<String, Value>,
}

/// A LLaMA decoder: RMS norms, rotary positions, grouped-query attention, gated MLP with silu, no
/// biases.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads: a divisor of the query heads.
    pub key_value_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
    /// Added to the mean square inside the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary wavelengths.
    pub rope_theta: f64,
    /// The longest sequence that the model is meant for.
    pub max_positions: usize,
    /// Whether the head shares the matrix of the embedding.
    pub tie_word_embeddings: bool,
}

/// A CLIP vision transformer with a class token and quick GELU (x·σ(1.702x)).
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels: a divisor of the image size.
    pub patch_size: usize,
    /// Added to the variance inside the norms.
    pub layer_norm_eps: f64,
}

/// Which positions of the vision tower are image features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureSelect {
    /// The patches without the class token (`default`).
    Patches,
    /// The class token and the patches (`full`).
    All,
}

impl VisionConfig {
    /// Patches of an image.
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }
}

impl LlavaConfig {
    /// Reads `config.json` in `directory`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or describes a model that this library does not compute: all
    /// reasons at once.
    pub fn read(directory: &Path) -> anyhow::Result<LlavaConfig> {
        let path = directory.join("config.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        LlavaConfig::parse(&text).with_context(|| format!("cannot use `{}`", path.display()))
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    ///
    /// As [`LlavaConfig::read`].
    pub fn parse(text: &str) -> anyhow::Result<LlavaConfig> {
        let raw: Map<String, Value> = serde_json::from_str(text).context("not a JSON object")?;
        let file: LlavaFile = serde_json::from_value(Value::Object(raw.clone())).context("not a LLaVA config")?;
        let mut problems = Vec::new();
        let text = file.text_config.check(file.tie_word_embeddings, &mut problems);
        let vision = file.vision_config.check(&mut problems);
        let config = file.check(text, vision, raw, &mut problems);
        match problems.as_slice() {
            [] => Ok(config),
            problems => bail!("{}", problems.join("; ")),
        }
    }

    /// Writes `config.json` into `directory`: what was read, with the number type that
    /// [`Weights`](super::weights::Weights) are written in.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let mut raw = self.raw.clone();
        set_number_type(&mut raw);
        for section in ["text_config", "vision_config"] {
            if let Some(Value::Object(section)) = raw.get_mut(section) {
                set_number_type(section);
            }
        }
        let path = directory.join("config.json");
        let mut text = serde_json::to_string_pretty(&raw)?;
        text.push('\n');
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Positions that one image takes in a sequence.
    pub fn image_tokens(&self) -> usize {
        match self.feature_select {
            FeatureSelect::Patches => self.vision.patches(),
            FeatureSelect::All => self.vision.patches() + 1,
        }
    }
}

/// transformers loads weights in the number type that the config names, under either of two keys.
fn set_number_type(config: &mut Map<String, Value>) {
    for key in ["dtype", "torch_dtype"] {
        if let Some(value) = config.get_mut(key) {
            *value = Value::from("float32");
        }
    }
}

/// `config.json` as it is written, with the defaults of `LlavaConfig` in transformers.
#[derive(Deserialize)]
#[serde(default)]
struct LlavaFile {
    model_type: String,
    text_config: TextFile,
    vision_config: VisionFile,
    vision_feature_layer: Value,
    vision_feature_select_strategy: String,
    projector_hidden_act: String,
    multimodal_projector_bias: bool,
    image_token_index: Option<u32>,
    image_token_id: Option<u32>,
    pad_token_id: Option<i64>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<TokenIds>,
    tie_word_embeddings: Option<bool>,
    conversation: ConversationFile,
}

impl Default for LlavaFile {
    fn default() -> LlavaFile {
        LlavaFile {
            model_type: String::new(),
            text_config: TextFile::default(),
            vision_config: VisionFile {
                hidden_size: 1024,
                intermediate_size: 4096,
                num_hidden_layers: 24,
                num_attention_heads: 16,
                image_size: 336,
                patch_size: 14,
                ..VisionFile::default()
            },
            vision_feature_layer: Value::from(-2),
            vision_feature_select_strategy: String::from("default"),
            projector_hidden_act: String::from("gelu"),
            multimodal_projector_bias: true,
            image_token_index: None,
            image_token_id: None,
            pad_token_id: None,
            bos_token_id: None,
            eos_token_id: None,
            tie_word_embeddings: None,
            conversation: ConversationFile::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConversationFile {
    system: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(i64),
    Several(Vec<i64>),
}

impl TokenIds {
    fn first(&self) -> Option<i64> {
        match self {
            TokenIds::One(id) => Some(*id),
            TokenIds::Several(ids) => ids.first().copied(),
        }
    }
}

impl LlavaFile {
    fn check(
        self,
        text: TextConfig,
        vision: VisionConfig,
        raw: Map<String, Value>,
        problems: &mut Vec<String>,
    ) -> LlavaConfig {
        expect("model_type", &self.model_type, "llava", problems);
        expect("projector_hidden_act", &self.projector_hidden_act, "gelu", problems);
        if !self.multimodal_projector_bias {
            problems
                .push(String::from("`multimodal_projector_bias` is false, and only a projector with biases is known"));
        }
        let feature_select = match self.vision_feature_select_strategy.as_str() {
            "default" => FeatureSelect::Patches,
            "full" => FeatureSelect::All,
            other => {
                problems.push(format!("`vision_feature_select_strategy` is `{other}`, neither `default` nor `full`"));
                FeatureSelect::Patches
            }
        };
        // The hidden states that transformers counts are the embedding and the output of each layer.
        let states = vision.layers as i64 + 1;
        let feature_layers = match self.vision_feature_layer.as_i64() {
            Some(layer) if (-states..states).contains(&layer) => layer.rem_euclid(states) as usize,
            Some(layer) => {
                problems.push(format!("`vision_feature_layer` is {layer}, and there are {} layers", vision.layers));
                0
            }
            None => {
                problems.push(format!("`vision_feature_layer` is {}, not one number", self.vision_feature_layer));
                0
            }
        };
        let eos = |ids: &Option<TokenIds>| ids.as_ref().and_then(TokenIds::first);
        // A negative id is how some LLaMA checkpoints say that there is none.
        let token = |candidates: [Option<i64>; 2], default: u32| {
            let given = candidates.into_iter().flatten().find(|id| *id >= 0);
            given.map_or(default, |id| u32::try_from(id).unwrap_or(u32::MAX))
        };
        let config = LlavaConfig {
            feature_layers,
            feature_select,
            image_token: self.image_token_index.or(self.image_token_id).unwrap_or(32000),
            pad_token: token([self.pad_token_id, self.text_config.pad_token_id], 0),
            bos_token: token([self.text_config.bos_token_id, self.bos_token_id], 1),
            eos_token: token([eos(&self.text_config.eos_token_id), eos(&self.eos_token_id)], 2),
            system: self.conversation.system.unwrap_or_else(|| SYSTEM_PROMPT.to_string()),
            text,
            vision,
            raw,
        };
        let tokens = [
            ("image token", config.image_token),
            ("pad token", config.pad_token),
            ("bos token", config.bos_token),
            ("eos token", config.eos_token),
        ];
        for (name, id) in tokens {
            if id as usize >= config.text.vocab_size {
                problems.push(format!("the {name} {id} is not below `vocab_size` {}", config.text.vocab_size));
            }
        }
        config
    }
}

/// `text_config` as it is written, with the defaults of `LlamaConfig` in transformers.
#[derive(Deserialize)]
#[serde(default)]
struct TextFile {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: String,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeFile>,
    rope_parameters: Option<RopeFile>,
    max_position_embeddings: usize,
    attention_bias: bool,
    mlp_bias: bool,
    tie_word_embeddings: Option<bool>,
    pad_token_id: Option<i64>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<TokenIds>,
}

impl Default for TextFile {
    fn default() -> TextFile {
        TextFile {
            model_type: String::from("llama"),
            vocab_size: 32000,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: String::from("silu"),
            rms_norm_eps: 1e-6,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            max_position_embeddings: 2048,
            attention_bias: false,
            mlp_bias: false,
            tie_word_embeddings: None,
            pad_token_id: None,
            bos_token_id: None,
            eos_token_id: None,
        }
    }
}

#[derive(Deserialize)]
struct RopeFile {
    rope_type: Option<String>,
    /// What `rope_type` was called before; some files have both.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

impl TextFile {
    fn check(&self, tied_above: Option<bool>, problems: &mut Vec<String>) -> TextConfig {
        expect("text_config.model_type", &self.model_type, "llama", problems);
        expect("text_config.hidden_act", &self.hidden_act, "silu", problems);
        for (name, bias) in [("attention_bias", self.attention_bias), ("mlp_bias", self.mlp_bias)] {
            if bias {
                problems.push(format!("`text_config.{name}` is true, and only layers without biases are known"));
            }
        }
        let ropes = [("rope_scaling", &self.rope_scaling), ("rope_parameters", &self.rope_parameters)];
        for (name, rope) in ropes.into_iter().filter_map(|(name, rope)| rope.as_ref().map(|rope| (name, rope))) {
            let kind = rope.rope_type.as_deref().or(rope.r#type.as_deref()).unwrap_or("default");
            expect(&format!("text_config.{name}.rope_type"), kind, "default", problems);
            if rope.partial_rotary_factor.is_some_and(|factor| factor != 1.0) {
                problems.push(format!("`text_config.{name}.partial_rotary_factor` is not 1"));
            }
        }
        if let (Some(above), Some(here)) = (tied_above, self.tie_word_embeddings)
            && above != here
        {
            problems.push(String::from("`tie_word_embeddings` differs between the config and its `text_config`"));
        }
        let key_value_heads = self.num_key_value_heads.unwrap_or(self.num_attention_heads);
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1));
        divides("text_config.num_key_value_heads", key_value_heads, self.num_attention_heads, problems);
        if head_dim == 0 || head_dim % 2 == 1 {
            problems.push(format!("the head width {head_dim} of the language model is not an even positive number"));
        }
        positive("text_config", &[self.vocab_size, self.hidden_size, self.intermediate_size], problems);
        positive("text_config", &[self.num_hidden_layers, self.max_position_embeddings], problems);
        TextConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            key_value_heads,
            head_dim,
            rms_norm_eps: self.rms_norm_eps,
            rope_theta: self
                .rope_parameters
                .as_ref()
                .and_then(|rope| rope.rope_theta)
                .or(self.rope_theta)
                .unwrap_or(10_000.0),
            max_positions: self.max_position_embeddings,
            tie_word_embeddings: self.tie_word_embeddings.or(tied_above).unwrap_or(false),
        }
    }
}

/// `vision_config` as it is written, with the defaults of `CLIPVisionConfig` in transformers.
#[derive(Deserialize)]
#[serde(default)]
struct VisionFile {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: usize,
    image_size: usize,
    patch_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
}

impl Default for VisionFile {
    fn default() -> VisionFile {
        VisionFile {
            model_type: String::from("clip_vision_model"),
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: String::from("quick_gelu"),
            layer_norm_eps: 1e-5,
        }
    }
}

impl VisionFile {
    fn check(&self, problems: &mut Vec<String>) -> VisionConfig {
        expect("vision_config.model_type", &self.model_type, "clip_vision_model", problems);
        expect("vision_config.hidden_act", &self.hidden_act, "quick_gelu", problems);
        if self.num_channels != 3 {
            problems.push(format!("`vision_config.num_channels` is {}, not 3", self.num_channels));
        }
        divides("vision_config.num_attention_heads", self.num_attention_heads, self.hidden_size, problems);
        divides("vision_config.patch_size", self.patch_size, self.image_size, problems);
        positive("vision_config", &[self.intermediate_size, self.num_hidden_layers], problems);
        VisionConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            image_size: self.image_size,
            patch_size: self.patch_size.max(1),
            layer_norm_eps: self.layer_norm_eps,
        }
    }
}

fn expect(name: &str, found: &str, wanted: &str, problems: &mut Vec<String>) {
    if found != wanted {
        problems.push(format!("`{name}` is `{found}`, and only `{wanted}` is known"));
    }
}

fn divides(name: &str, divisor: usize, of: usize, problems: &mut Vec<String>) {
    if divisor == 0 || of == 0 || !of.is_multiple_of(divisor) {
        problems.push(format!("`{name}` is {divisor}, not a divisor of {of}"));
    }
}

fn positive(section: &str, sizes: &[usize], problems: &mut Vec<String>) {
    if sizes.contains(&0) {
        problems.push(format!("a size in `{section}` is 0"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields that `llava-hf/llava-1.5-7b-hf` gives.
    const PUBLISHED: &str = r#"{
        "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": 32000,
        "model_type": "llava", "pad_token_id": 32001, "projector_hidden_act": "gelu",
        "text_config": {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096,
            "model_type": "llama", "rms_norm_eps": 1e-05, "torch_dtype": "float16", "vocab_size": 32064},
        "tie_word_embeddings": false, "torch_dtype": "float16",
        "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
            "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
            "patch_size": 14, "projection_dim": 768, "vocab_size": 32000},
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default"}"#;

    fn with(change: impl Fn(&mut Value)) -> anyhow::Result<LlavaConfig> {
        let mut value: Value = serde_json::from_str(PUBLISHED).unwrap();
        change(&mut value);
        LlavaConfig::parse(&value.to_string())
    }

    #[test]
    fn the_published_config_is_llava_1_5_with_transformers_defaults() {
        let config = LlavaConfig::parse(PUBLISHED).unwrap();
        assert_eq!((config.text.hidden_size, config.text.layers, config.text.head_dim), (4096, 32, 128));
        assert_eq!((config.text.key_value_heads, config.text.rope_theta), (32, 10_000.0));
        assert_eq!((config.feature_layers, config.image_tokens()), (23, 576));
        assert_eq!((config.image_token, config.pad_token, config.bos_token, config.eos_token), (32000, 32001, 1, 2));
        assert_eq!(config.system, SYSTEM_PROMPT);
    }

    #[test]
    fn the_rope_base_is_found_where_transformers_5_puts_it() {
        let rope = serde_json::json!({"rope_type": "default", "rope_theta": 500.0});
        let config = with(|config| config["text_config"]["rope_parameters"] = rope.clone()).unwrap();
        assert_eq!(config.text.rope_theta, 500.0);
    }

    #[test]
    fn an_empty_system_prompt_is_not_the_default_one() {
        let config = with(|config| config["conversation"] = serde_json::json!({"system": ""})).unwrap();
        assert_eq!(config.system, "");
    }

    #[test]
    fn what_cannot_be_computed_is_refused_with_all_reasons() {
        let refused = with(|config| {
            config["text_config"]["model_type"] = Value::from("mistral");
            config["vision_config"]["hidden_act"] = Value::from("gelu");
            config["vision_feature_layer"] = serde_json::json!([-2, -5]);
            config["image_token_index"] = Value::from(99_999);
        });
        insta::assert_snapshot!(refused.unwrap_err(), @"`text_config.model_type` is `mistral`, and only `llama` is known; `vision_config.hidden_act` is `gelu`, and only `quick_gelu` is known; `vision_feature_layer` is [-2,-5], not one number; the image token 99999 is not below `vocab_size` 32064");
    }

    #[test]
    fn what_is_not_understood_is_written_back_and_the_number_type_is_ours() {
        let directory = tempfile::tempdir().unwrap();
        LlavaConfig::parse(PUBLISHED).unwrap().write(directory.path()).unwrap();
        let written = fs::read_to_string(directory.path().join("config.json")).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written["vision_config"]["projection_dim"], 768);
        assert_eq!(written["text_config"]["torch_dtype"], "float32");
    }
}
