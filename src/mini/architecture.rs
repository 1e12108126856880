//! The architectures of the miniature models: a LLaVA so small that it trains in minutes, a smaller one
//! that stands in for it as a proxy, and a LLaMA that reads text only; with tokenizers that know exactly
//! the words of their suite, all in the Hugging Face layout.

use serde_json::{Value, json};

use super::datasets::DATASETS;
use super::held_out::benchmark;
use super::language;
use super::picture::{CELL, SIDE};
use super::skills::Skill;
use super::tokenizer::Tokenizer;

/// Tokens of the LLaVAs that are not words, in the order of their ids.
const SPECIAL: [&str; 5] = ["<unk>", "<s>", "</s>", "<image>", "<pad>"];
/// Those of the model that reads text only.
const SPECIAL_OF_TEXT: [&str; 4] = ["<unk>", "<s>", "</s>", "<pad>"];

/// Name and content of a file.
pub type File = (&'static str, String);

/// How large a model is.
struct Size {
    /// Width of the language model and of the vision tower.
    hidden: usize,
    /// Width inside the MLPs of the language model.
    intermediate: usize,
    /// Layers of the language model.
    layers: usize,
}

const BASE: Size = Size { hidden: 96, intermediate: 256, layers: 3 };
/// 38 % of the parameters of [`BASE`].
const PROXY: Size = Size { hidden: 64, intermediate: 160, layers: 2 };
const LANGUAGE: Size = Size { hidden: 80, intermediate: 192, layers: 3 };

/// Query heads of every model, of which two share a key head.
const HEADS: usize = 4;

/// The LLaVA of the suite.
pub fn base() -> Vec<File> {
    llava(&BASE)
}

/// A LLaVA of the same tokenizer and images, and about a third of the size.
pub fn proxy() -> Vec<File> {
    llava(&PROXY)
}

/// The LLaMA of the language suite.
pub fn of_language() -> Vec<File> {
    let tokenizer = Tokenizer::new(&SPECIAL_OF_TEXT, language::rows());
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "conversation": {"system": ""},
        "dtype": "float32",
    });
    let text = text_config(&LANGUAGE, &tokenizer);
    if let (Value::Object(config), Value::Object(text)) = (&mut config, text) {
        config.extend(text);
    }
    vec![
        ("config.json", pretty(&config)),
        ("tokenizer.json", pretty(&tokenizer.file())),
        ("tokenizer_config.json", pretty(&tokenizer.settings())),
    ]
}

/// The tokenizer of the LLaVAs.
pub fn tokenizer() -> Tokenizer {
    let datasets = DATASETS.iter().flat_map(|dataset| (0..dataset.rows).map(|index| dataset.row(index)));
    Tokenizer::new(&SPECIAL, datasets.chain(Skill::ALL.into_iter().flat_map(benchmark)))
}

fn llava(size: &Size) -> Vec<File> {
    let tokenizer = tokenizer();
    vec![
        ("config.json", pretty(&llava_config(size, &tokenizer))),
        ("preprocessor_config.json", pretty(&preprocessor())),
        ("tokenizer.json", pretty(&tokenizer.file())),
        ("tokenizer_config.json", pretty(&tokenizer.settings())),
    ]
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn preprocessor() -> Value {
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": true,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": true,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "do_convert_rgb": true,
    })
}

fn llava_config(size: &Size, tokenizer: &Tokenizer) -> Value {
    json!({
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "conversation": {"system": ""},
        "image_token_index": tokenizer.id("<image>"),
        "image_seq_length": (SIDE / CELL) * (SIDE / CELL),
        "pad_token_id": tokenizer.id("<pad>"),
        "bos_token_id": tokenizer.id("<s>"),
        "eos_token_id": tokenizer.id("</s>"),
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": true,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": true,
        "dtype": "float32",
        "text_config": text_config(size, tokenizer),
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": size.hidden,
            "intermediate_size": 2 * size.hidden,
            "num_hidden_layers": 1,
            "num_attention_heads": HEADS,
            "num_channels": 3,
            "image_size": SIDE,
            "patch_size": CELL,
            "projection_dim": size.hidden,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
    })
}

fn text_config(size: &Size, tokenizer: &Tokenizer) -> Value {
    json!({
        "model_type": "llama",
        "vocab_size": tokenizer.size().next_multiple_of(8),
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS / 2,
        "head_dim": size.hidden / HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": tokenizer.id("<s>"),
        "eos_token_id": tokenizer.id("</s>"),
        "pad_token_id": tokenizer.id("<pad>"),
    })
}
