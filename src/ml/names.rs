//! What the tensors of a LLaVA checkpoint are called and what shape they have.
//!
//! Canonical are the names of the published `llava-hf` checkpoints. transformers has moved the parts
//! about since; all its spellings are understood.

use std::collections::BTreeMap;

use super::config::{LlavaConfig, TextConfig, VisionConfig};

/// The name of the token embedding.
pub const EMBEDDING: &str = "language_model.model.embed_tokens.weight";
/// The name of the head, absent where it is tied to the embedding.
pub const HEAD: &str = "language_model.lm_head.weight";

/// The canonical name of the tensor or module that a checkpoint calls `name`.
///
/// | spelling | canonical |
/// |---|---|
/// | `model.language_model.…`, `language_model.…` | `language_model.model.…` |
/// | `lm_head.…` | `language_model.lm_head.…` |
/// | `model.layers.…`, `model.embed_tokens.…`, `model.norm.…` (text only) | `language_model.model.…` |
/// | `model.vision_tower.…`, `vision_tower.…` | `vision_tower.vision_model.…` |
/// | `model.multi_modal_projector.…` | `multi_modal_projector.…` |
pub fn canonical(name: &str) -> String {
    const PARTS: [&str; 3] = ["language_model.", "vision_tower.", "multi_modal_projector."];
    let name = match name.strip_prefix("model.") {
        Some(rest) if PARTS.iter().any(|part| rest.starts_with(part)) => rest,
        _ => name,
    };
    const LANGUAGE: [&str; 3] = ["model.layers.", "model.embed_tokens.", "model.norm."];
    if LANGUAGE.iter().any(|part| name.starts_with(part)) {
        return format!("language_model.{name}");
    }
    if let Some(rest) = name.strip_prefix("language_model.") {
        let whole = rest.starts_with("model.") || rest.starts_with("lm_head.");
        return if whole { name.to_string() } else { format!("language_model.model.{rest}") };
    }
    if let Some(rest) = name.strip_prefix("vision_tower.") {
        let rest = rest.strip_prefix("vision_model.").unwrap_or(rest);
        return format!("vision_tower.vision_model.{rest}");
    }
    if name.starts_with("lm_head.") { format!("language_model.{name}") } else { name.to_string() }
}

/// The name that a text-only checkpoint has for the canonical one.
pub fn of_language_only(canonical: &str) -> String {
    canonical.strip_prefix("language_model.").unwrap_or(canonical).to_string()
}

/// Whether `name` is of something that old checkpoints store though it is computed.
pub fn is_computed(name: &str) -> bool {
    name.ends_with(".position_ids") || name.ends_with(".rotary_emb.inv_freq")
}

/// The shape of every tensor of a checkpoint, by canonical name. Matrices of linear layers are
/// `[outputs, inputs]`.
pub fn shapes(config: &LlavaConfig) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    text_shapes(&config.text, &mut shapes);
    if let Some(vision) = &config.vision {
        vision_shapes(vision, &mut shapes);
        let (text, vision) = (config.text.hidden_size, vision.hidden_size);
        insert_linear(&mut shapes, "multi_modal_projector.linear_1", text, vision);
        insert_linear(&mut shapes, "multi_modal_projector.linear_2", text, text);
    }
    shapes
}

fn text_shapes(text: &TextConfig, shapes: &mut BTreeMap<String, Vec<usize>>) {
    let (hidden, inner) = (text.hidden_size, text.intermediate_size);
    let (queries, keys) = (text.heads * text.head_dim, text.key_value_heads * text.head_dim);
    shapes.insert(EMBEDDING.to_string(), vec![text.vocab_size, hidden]);
    shapes.insert("language_model.model.norm.weight".to_string(), vec![hidden]);
    if !text.tie_word_embeddings {
        shapes.insert(HEAD.to_string(), vec![text.vocab_size, hidden]);
    }
    for layer in 0..text.layers {
        let layer = format!("language_model.model.layers.{layer}");
        let matrices = [
            ("self_attn.q_proj", queries, hidden),
            ("self_attn.k_proj", keys, hidden),
            ("self_attn.v_proj", keys, hidden),
            ("self_attn.o_proj", hidden, queries),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ];
        for (name, outputs, inputs) in matrices {
            shapes.insert(format!("{layer}.{name}.weight"), vec![outputs, inputs]);
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            shapes.insert(format!("{layer}.{name}.weight"), vec![hidden]);
        }
    }
}

fn vision_shapes(vision: &VisionConfig, shapes: &mut BTreeMap<String, Vec<usize>>) {
    let (hidden, patch) = (vision.hidden_size, vision.patch_size);
    let tower = "vision_tower.vision_model";
    shapes.insert(format!("{tower}.embeddings.class_embedding"), vec![hidden]);
    shapes.insert(format!("{tower}.embeddings.patch_embedding.weight"), vec![hidden, 3, patch, patch]);
    shapes.insert(format!("{tower}.embeddings.position_embedding.weight"), vec![vision.patches() + 1, hidden]);
    // The first norm is misspelt in every checkpoint.
    insert_norm(shapes, &format!("{tower}.pre_layrnorm"), hidden);
    insert_norm(shapes, &format!("{tower}.post_layernorm"), hidden);
    for layer in 0..vision.layers {
        let layer = format!("{tower}.encoder.layers.{layer}");
        insert_norm(shapes, &format!("{layer}.layer_norm1"), hidden);
        insert_norm(shapes, &format!("{layer}.layer_norm2"), hidden);
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            insert_linear(shapes, &format!("{layer}.self_attn.{name}"), hidden, hidden);
        }
        insert_linear(shapes, &format!("{layer}.mlp.fc1"), vision.intermediate_size, hidden);
        insert_linear(shapes, &format!("{layer}.mlp.fc2"), hidden, vision.intermediate_size);
    }
}

fn insert_linear(shapes: &mut BTreeMap<String, Vec<usize>>, name: &str, outputs: usize, inputs: usize) {
    shapes.insert(format!("{name}.weight"), vec![outputs, inputs]);
    shapes.insert(format!("{name}.bias"), vec![outputs]);
}

fn insert_norm(shapes: &mut BTreeMap<String, Vec<usize>>, name: &str, width: usize) {
    shapes.insert(format!("{name}.weight"), vec![width]);
    shapes.insert(format!("{name}.bias"), vec![width]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_one_canonical_name() {
        let spellings = [
            ("language_model.model.layers.3.mlp.up_proj.weight", "language_model.model.layers.3.mlp.up_proj.weight"),
            ("model.language_model.layers.3.mlp.up_proj.weight", "language_model.model.layers.3.mlp.up_proj.weight"),
            ("language_model.norm.weight", "language_model.model.norm.weight"),
            ("lm_head.weight", HEAD),
            ("model.layers.3.mlp.up_proj.weight", "language_model.model.layers.3.mlp.up_proj.weight"),
            ("model.embed_tokens.weight", EMBEDDING),
            ("language_model.lm_head.weight", HEAD),
            ("vision_tower.pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"),
            ("model.vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"),
            ("model.multi_modal_projector.linear_1.bias", "multi_modal_projector.linear_1.bias"),
            ("model.unknown", "model.unknown"),
        ];
        for (spelling, expected) in spellings {
            assert_eq!(canonical(spelling), expected, "for `{spelling}`");
        }
    }

    #[test]
    fn a_text_only_checkpoint_gets_its_own_names_back() {
        for name in
            ["model.layers.3.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
        {
            assert_eq!(of_language_only(&canonical(name)), name);
        }
    }

    #[test]
    fn llava_1_5_7b_has_its_known_number_of_parameters() {
        let config = LlavaConfig::parse(
            r#"{"model_type": "llava", "text_config": {"vocab_size": 32064}, "image_token_index": 32000}"#,
        );
        let shapes = shapes(&config.unwrap());
        let count = |part: &str| -> usize {
            let of_part = shapes.iter().filter(|(name, _)| name.starts_with(part));
            of_part.map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count("language_model."), 6_738_939_904);
        assert_eq!(count("vision_tower."), 303_507_456);
        assert_eq!(count("multi_modal_projector."), 20_979_712);
    }
}
