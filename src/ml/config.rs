//! The architecture of a LLaVA model, or of a LLaMA model that reads text only, read from the `config.json` of a Hugging Face checkpoint.
//!
//! Fields that a file leaves out have the values that transformers gives them. Everything that this
//! library cannot compute is refused here, so that no later part has to ask. Unaware of weights.

mod file;

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use self::file::LlavaFile;
use super::tensors::Numbers;

/// The system prompt of the conversation template v1, which LLaVA-1.5 was trained with.
pub const SYSTEM_PROMPT: &str = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.";

/// The architecture of a LLaVA model and the ids of its special tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct LlavaConfig {
    /// The language model.
    pub text: TextConfig,
    /// The vision tower; none where the model reads text only.
    pub vision: Option<VisionConfig>,
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
    /// How many encoder layers are run: the output of the last of them is what the projector sees.
    /// LLaVA-1.5 leaves out the tower's last layer.
    pub feature_layers: usize,
    /// Which positions the projector sees.
    pub feature_select: FeatureSelect,
    /// The token id that stands for one position of an image.
    pub image_token: u32,
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

    /// Positions that one image takes in a sequence.
    pub fn image_tokens(&self) -> usize {
        match self.feature_select {
            FeatureSelect::Patches => self.patches(),
            FeatureSelect::All => self.patches() + 1,
        }
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
        let whole = Value::Object(raw.clone());
        let mut problems = Vec::new();
        let file: LlavaFile = match raw.get("model_type").and_then(Value::as_str) {
            Some("llava") => serde_json::from_value(whole).context("not a LLaVA config")?,
            Some("llama") => LlavaFile::of_language(serde_json::from_value(whole).context("not a LLaMA config")?),
            Some(other) => bail!("`model_type` is `{other}`, and only `llava` and `llama` are known"),
            None => bail!("it has no `model_type`, which would be `llava` or `llama`"),
        };
        let config = file.check(raw, &mut problems);
        match problems.as_slice() {
            [] => Ok(config),
            problems => bail!("{}", problems.join("; ")),
        }
    }

    /// Writes `config.json` into `directory`: what was read, with the type of the numbers that the
    /// weights are written in.
    pub fn write(&self, directory: &Path, numbers: Numbers) -> anyhow::Result<()> {
        let mut raw = self.raw.clone();
        set_number_type(&mut raw, numbers);
        for section in ["text_config", "vision_config"] {
            if let Some(Value::Object(section)) = raw.get_mut(section) {
                set_number_type(section, numbers);
            }
        }
        let path = directory.join("config.json");
        let mut text = serde_json::to_string_pretty(&raw)?;
        text.push('\n');
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    }
}

/// transformers loads weights in the number type that the config names, under either of two keys.
fn set_number_type(config: &mut Map<String, Value>, numbers: Numbers) {
    let name = match numbers {
        Numbers::F32 => "float32",
        Numbers::Bf16 => "bfloat16",
    };
    for key in ["dtype", "torch_dtype"] {
        if let Some(value) = config.get_mut(key) {
            *value = Value::from(name);
        }
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
        let vision = config.vision.unwrap();
        assert_eq!((vision.feature_layers, vision.image_tokens(), vision.image_token), (23, 576, 32000));
        assert_eq!((config.pad_token, config.bos_token, config.eos_token), (32001, 1, 2));
        assert_eq!(config.system, SYSTEM_PROMPT);
    }

    #[test]
    fn the_rope_base_is_found_where_transformers_5_puts_it() {
        let rope = serde_json::json!({"rope_type": "default", "rope_theta": 500.0});
        let config = with(|config| config["text_config"]["rope_parameters"] = rope.clone()).unwrap();
        assert_eq!(config.text.rope_theta, 500.0);
    }

    #[test]
    fn a_llama_model_is_one_that_reads_text_only() {
        let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256,
            "hidden_size": 4096, "num_key_value_heads": 8, "intermediate_size": 14336, "rope_theta": 500000.0,
            "bos_token_id": 128000, "eos_token_id": 128001, "tie_word_embeddings": false}"#;
        let config = LlavaConfig::parse(config).unwrap();
        assert_eq!((config.text.vocab_size, config.text.key_value_heads), (128_256, 8));
        assert_eq!((config.vision, config.bos_token, config.eos_token), (None, 128_000, 128_001));
        let other = LlavaConfig::parse(r#"{"model_type": "qwen2_vl"}"#).unwrap_err();
        insta::assert_snapshot!(other, @"`model_type` is `qwen2_vl`, and only `llava` and `llama` are known");
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
        insta::assert_snapshot!(refused.unwrap_err(), @"`text_config.model_type` is `mistral`, and only `llama` is known; `vision_feature_layer` is [-2,-5], not one number; `vision_config.hidden_act` is `gelu`, and only `quick_gelu` is known; the image token 99999 is not below `vocab_size` 32064");
    }

    #[test]
    fn what_is_not_understood_is_written_back_and_the_number_type_is_ours() {
        let directory = tempfile::tempdir().unwrap();
        for (numbers, name) in [(Numbers::F32, "float32"), (Numbers::Bf16, "bfloat16")] {
            LlavaConfig::parse(PUBLISHED).unwrap().write(directory.path(), numbers).unwrap();
            let written = fs::read_to_string(directory.path().join("config.json")).unwrap();
            let written: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(written["vision_config"]["projection_dim"], 768);
            assert_eq!(written["text_config"]["torch_dtype"], name);
        }
    }
}
