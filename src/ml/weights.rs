//! The weights of a model and the checkpoint directories that hold them, in the Hugging Face layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::config::LlavaConfig;
use super::names;
use super::tensors::{self, Tensor};
use crate::text::ticked_list;

/// The tensors of a model by canonical name. Matrices of linear layers are `[outputs, inputs]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// Puts a tensor under its canonical name, in place of what was there.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// Puts new values into the tensor `name`, which keeps its shape.
    ///
    /// # Panics
    ///
    /// If there is no such tensor, or its size is another.
    pub fn replace(&mut self, name: &str, values: Vec<f32>) {
        let tensor = self.tensors.get_mut(name).expect("BUG: a model has the tensors that it was built from");
        assert_eq!(tensor.values.len(), values.len(), "BUG: `{name}` keeps its size");
        tensor.values = values;
    }

    /// The tensor `name`.
    ///
    /// # Errors
    ///
    /// If there is none, or it has another shape.
    pub fn expect(&self, name: &str, shape: &[usize]) -> anyhow::Result<&Tensor> {
        let tensor = self.tensors.get(name).with_context(|| format!("the weights have no tensor `{name}`"))?;
        ensure!(tensor.shape == shape, "tensor `{name}` has the shape {:?}, not {shape:?}", tensor.shape);
        Ok(tensor)
    }

    /// All tensors, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Reads `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    ///
    /// If there is neither, or a file cannot be read.
    pub fn read(directory: &Path) -> anyhow::Result<Weights> {
        let mut weights = Weights::default();
        let rename = |name: &str| (!names::is_computed(name)).then(|| names::canonical(name));
        for file in weight_files(directory)? {
            tensors::read(&directory.join(file), rename, &mut weights.tensors)?;
        }
        Ok(weights)
    }

    /// Writes `model.safetensors` in f32.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        tensors::write(&directory.join("model.safetensors"), self.iter())
    }

    /// Checks that these are the tensors of a model of this architecture.
    ///
    /// # Errors
    ///
    /// If tensors are missing, have another shape, or do not belong: all of them at once. Where the
    /// head is tied to the embedding, a stored head is no error.
    pub fn check(&self, config: &LlavaConfig) -> anyhow::Result<()> {
        let shapes = names::shapes(config);
        let mut problems = Vec::new();
        let missing = shapes.keys().filter(|name| !self.tensors.contains_key(*name));
        list(missing, "missing", &mut problems);
        let extra = self.tensors.keys().filter(|name| !shapes.contains_key(*name) && *name != names::HEAD);
        list(extra, "unknown", &mut problems);
        for (name, shape) in &shapes {
            if let Some(tensor) = self.tensors.get(name)
                && tensor.shape != *shape
            {
                problems.push(format!("`{name}` has the shape {:?}, not {shape:?}", tensor.shape));
            }
        }
        ensure!(problems.is_empty(), "the weights do not fit the config: {}", problems.join("; "));
        Ok(())
    }
}

/// At most so many names of a kind of problem are listed.
const LISTED: usize = 8;

fn list<'a>(names: impl Iterator<Item = &'a String>, problem: &str, problems: &mut Vec<String>) {
    let names: Vec<&String> = names.collect();
    let more = names.len().saturating_sub(LISTED);
    match (names.len(), more) {
        (0, _) => {}
        (_, 0) => problems.push(format!("{problem}: {}", ticked_list(&names))),
        _ => problems.push(format!("{problem}: {} and {more} more", ticked_list(&names[..LISTED]))),
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn weight_files(directory: &Path) -> anyhow::Result<BTreeSet<String>> {
    if directory.join("model.safetensors").is_file() {
        return Ok(BTreeSet::from(["model.safetensors".to_string()]));
    }
    let index = directory.join("model.safetensors.index.json");
    if !index.is_file() {
        let place = directory.display();
        bail!("`{place}` has neither `model.safetensors` nor `model.safetensors.index.json`");
    }
    let text = fs::read(&index).with_context(|| format!("cannot read `{}`", index.display()))?;
    let read: Index = serde_json::from_slice(&text).with_context(|| format!("`{}` is damaged", index.display()))?;
    let files: BTreeSet<String> = read.weight_map.into_values().collect();
    // A shard is a file beside the index, never something elsewhere.
    if let Some(file) = files.iter().find(|file| Path::new(file).file_name().is_none_or(|name| name != file.as_str())) {
        bail!("`{}` names `{file}`, which is not a file beside it", index.display());
    }
    Ok(files)
}

/// Files of a checkpoint that training does not change: they are carried along.
const COMPANIONS: [&str; 11] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// A model with everything that is needed to use it: a directory that transformers loads.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The architecture.
    pub config: LlavaConfig,
    /// The weights.
    pub weights: Weights,
    /// Where the tokenizer and the other files that never change are.
    pub companions: PathBuf,
}

impl Checkpoint {
    /// Reads the checkpoint in `directory`.
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged, or the weights are not those of the config.
    pub fn read(directory: &Path) -> anyhow::Result<Checkpoint> {
        let config = LlavaConfig::read(directory)?;
        let weights = Weights::read(directory)?;
        weights.check(&config).with_context(|| format!("cannot use the checkpoint `{}`", directory.display()))?;
        Ok(Checkpoint { config, weights, companions: directory.to_path_buf() })
    }

    /// Writes the checkpoint into `directory`, which exists, with copies of its companions.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        self.weights.check(&self.config)?;
        self.config.write(directory)?;
        self.weights.write(directory)?;
        for name in COMPANIONS {
            let source = self.companions.join(name);
            if source.is_file() {
                fs::copy(&source, directory.join(name))
                    .with_context(|| format!("cannot copy `{}` to `{}`", source.display(), directory.display()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"model_type": "llava", "image_token_index": 5, "vision_feature_layer": -1,
        "text_config": {"vocab_size": 8, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1},
        "vision_config": {"hidden_size": 2, "intermediate_size": 3, "num_hidden_layers": 1,
            "num_attention_heads": 1, "image_size": 4, "patch_size": 2}}"#;

    fn checkpoint(companions: &Path) -> Checkpoint {
        let config = LlavaConfig::parse(CONFIG).unwrap();
        let mut weights = Weights::default();
        for (number, (name, shape)) in names::shapes(&config).into_iter().enumerate() {
            let values = (0..shape.iter().product()).map(|index: usize| number as f32 + index as f32 / 100.0).collect();
            weights.insert(name, Tensor::new(shape, values));
        }
        Checkpoint { config, weights, companions: companions.to_path_buf() }
    }

    #[test]
    fn a_checkpoint_is_read_back_with_its_companions() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
        fs::write(source.path().join("optimizer.pt"), "not ours").unwrap();
        let written = checkpoint(source.path());
        written.write(target.path()).unwrap();
        let read = Checkpoint::read(target.path()).unwrap();
        assert_eq!((&read.config, &read.weights), (&written.config, &written.weights));
        assert!(target.path().join("tokenizer.json").is_file());
        assert!(!target.path().join("optimizer.pt").exists());
    }

    #[test]
    fn shards_in_the_spelling_of_transformers_5_are_one_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let written = checkpoint(directory.path());
        written.config.write(directory.path()).unwrap();
        let respell = |name: &str| {
            let name = name.replace("language_model.model.", "model.language_model.");
            name.replace("language_model.lm_head", "lm_head")
                .replace("vision_tower.vision_model.", "model.vision_tower.")
        };
        let mut map = serde_json::Map::new();
        for (number, (name, _)) in written.weights.iter().enumerate() {
            map.insert(respell(name), format!("model-0000{}-of-00002.safetensors", number % 2 + 1).into());
        }
        for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
            let respelt: Vec<(String, &Tensor)> =
                written.weights.iter().map(|(name, tensor)| (respell(name), tensor)).collect();
            let here = respelt.iter().filter(|(name, _)| map[name] == shard);
            tensors::write(&directory.path().join(shard), here.map(|(name, tensor)| (name.as_str(), *tensor))).unwrap();
        }
        let index = serde_json::json!({"metadata": {}, "weight_map": map});
        fs::write(directory.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        assert_eq!(Checkpoint::read(directory.path()).unwrap().weights, written.weights);
    }

    #[test]
    fn everything_that_does_not_fit_is_named_at_once() {
        let Checkpoint { config, mut weights, .. } = checkpoint(Path::new("."));
        weights.tensors.remove("language_model.model.norm.weight");
        weights.insert("language_model.model.embed_tokens.weight", Tensor::new([2, 4], vec![0.0; 8]));
        weights.insert("language_model.model.layers.7.bonus", Tensor::new([1], vec![0.0]));
        insta::assert_snapshot!(weights.check(&config).unwrap_err(), @"the weights do not fit the config: missing: `language_model.model.norm.weight`; unknown: `language_model.model.layers.7.bonus`; `language_model.model.embed_tokens.weight` has the shape [2, 4], not [8, 4]");
    }

    #[test]
    fn an_index_cannot_point_outside_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let index = r#"{"weight_map": {"a": "../elsewhere.safetensors"}}"#;
        fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();
        assert!(Weights::read(directory.path()).unwrap_err().to_string().contains("not a file beside it"));
    }
}
