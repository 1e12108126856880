//! `config.json` field by field as transformers writes it, with its defaults, and the checks that make a
//! [`LlavaConfig`] of it.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{FeatureSelect, LlavaConfig, SYSTEM_PROMPT, TextConfig, VisionConfig};

/// `config.json` as it is written, with the defaults of `LlavaConfig` in transformers.
#[derive(Deserialize)]
#[serde(default)]
pub struct LlavaFile {
    #[serde(skip)]
    sees: bool,
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
            sees: true,
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
    /// The same as a model without a vision tower.
    pub fn of_language(file: LanguageFile) -> LlavaFile {
        let LanguageFile { text, conversation } = file;
        LlavaFile { text_config: text, conversation, sees: false, ..LlavaFile::default() }
    }

    /// The config, and with `problems` all reasons why it cannot be computed. `raw` is the whole file.
    pub fn check(self, raw: Map<String, Value>, problems: &mut Vec<String>) -> LlavaConfig {
        let text = self.text_config.check(self.tie_word_embeddings, problems);
        let vision = self.sees.then(|| self.vision(problems));
        let eos = |ids: &Option<TokenIds>| ids.as_ref().and_then(TokenIds::first);
        // A negative id is how some LLaMA checkpoints say that there is none.
        let token = |candidates: [Option<i64>; 2], default: u32| {
            let given = candidates.into_iter().flatten().find(|id| *id >= 0);
            given.map_or(default, |id| u32::try_from(id).unwrap_or(u32::MAX))
        };
        let config = LlavaConfig {
            pad_token: token([self.pad_token_id, self.text_config.pad_token_id], 0),
            bos_token: token([self.text_config.bos_token_id, self.bos_token_id], 1),
            eos_token: token([eos(&self.text_config.eos_token_id), eos(&self.eos_token_id)], 2),
            system: self.conversation.system.unwrap_or_else(|| SYSTEM_PROMPT.to_string()),
            text,
            vision,
            raw,
        };
        let tokens = [
            ("image token", config.vision.as_ref().map(|vision| vision.image_token)),
            ("pad token", Some(config.pad_token)),
            ("bos token", Some(config.bos_token)),
            ("eos token", Some(config.eos_token)),
        ];
        for (name, id) in tokens {
            if let Some(id) = id.filter(|id| *id as usize >= config.text.vocab_size) {
                problems.push(format!("the {name} {id} is not below `vocab_size` {}", config.text.vocab_size));
            }
        }
        config
    }

    fn vision(&self, problems: &mut Vec<String>) -> VisionConfig {
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
        let layers = self.vision_config.num_hidden_layers;
        // The hidden states that transformers counts are the embedding and the output of each layer.
        let states = layers as i64 + 1;
        let feature_layers = match self.vision_feature_layer.as_i64() {
            Some(layer) if (-states..states).contains(&layer) => layer.rem_euclid(states) as usize,
            Some(layer) => {
                problems.push(format!("`vision_feature_layer` is {layer}, and there are {layers} layers"));
                0
            }
            None => {
                problems.push(format!("`vision_feature_layer` is {}, not one number", self.vision_feature_layer));
                0
            }
        };
        let image_token = self.image_token_index.or(self.image_token_id).unwrap_or(32000);
        self.vision_config.check(feature_layers, feature_select, image_token, problems)
    }
}

/// `config.json` of a LLaMA model that reads text only, as it is written.
#[derive(Deserialize)]
pub struct LanguageFile {
    #[serde(flatten)]
    text: TextFile,
    #[serde(default)]
    conversation: ConversationFile,
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
    fn check(
        &self,
        feature_layers: usize,
        feature_select: FeatureSelect,
        image_token: u32,
        problems: &mut Vec<String>,
    ) -> VisionConfig {
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
            feature_layers,
            feature_select,
            image_token,
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
