//! The weights of a model and the checkpoint directories that hold them, in the Hugging Face layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use super::config::LlavaConfig;
use super::names;
use super::tensors::{self, Numbers, Values};
use crate::text::ticked_list;

/// The tensors of a model by canonical name, wherever they are: in files, in memory or on a device.
/// Matrices of linear layers are `[outputs, inputs]`.
#[derive(Clone, Default)]
pub struct Weights {
    tensors: BTreeMap<String, Arc<dyn Values>>,
}

impl Weights {
    /// Puts a tensor under its canonical name, in place of what was there.
    pub fn insert(&mut self, name: impl Into<String>, tensor: impl Values + 'static) {
        self.tensors.insert(name.into(), Arc::new(tensor));
    }

    /// The shape of the tensor `name`, if there is one.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape().to_vec())
    }

    /// The values of the tensor `name`.
    ///
    /// # Errors
    ///
    /// If there is none, it has another shape, or it cannot be read.
    pub fn fetch(&self, name: &str, shape: &[usize]) -> anyhow::Result<Vec<f32>> {
        let tensor = self.tensors.get(name).with_context(|| format!("the weights have no tensor `{name}`"))?;
        ensure!(tensor.shape() == shape, "tensor `{name}` has the shape {:?}, not {shape:?}", tensor.shape());
        tensor.fetch()
    }

    /// All tensors, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &dyn Values)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.as_ref()))
    }

    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    ///
    /// If there is neither, a file is not whole, or two tensors have one canonical name.
    pub fn open(directory: &Path) -> anyhow::Result<Weights> {
        let mut weights = Weights::default();
        for file in weight_files(directory)? {
            let path = directory.join(file);
            for (name, stored) in tensors::open(&path, |name| !names::is_computed(name))? {
                let canonical = names::canonical(&name);
                let before = weights.tensors.insert(canonical.clone(), Arc::new(stored));
                ensure!(before.is_none(), "`{}` has `{canonical}` again, as `{name}`", path.display());
            }
        }
        Ok(weights)
    }

    /// Writes `model.safetensors`, or shards with an index where it would have more than `largest`
    /// bytes; `name` gives the names in the files.
    fn write(
        &self,
        directory: &Path,
        numbers: Numbers,
        largest: usize,
        name: fn(&str) -> String,
    ) -> anyhow::Result<()> {
        let width = if numbers == Numbers::F32 { 4 } else { 2 };
        let bytes = |tensor: &dyn Values| width * tensor.shape().iter().product::<usize>();
        let named: Vec<(String, &dyn Values)> =
            self.iter().map(|(canonical, tensor)| (name(canonical), tensor)).collect();
        let mut shards: Vec<BTreeMap<&str, &dyn Values>> = vec![BTreeMap::new()];
        let mut size = 0;
        for (name, tensor) in &named {
            let last = shards.len() - 1;
            if size + bytes(*tensor) > largest && !shards[last].is_empty() {
                shards.push(BTreeMap::new());
                size = 0;
            }
            size += bytes(*tensor);
            shards.last_mut().expect("there is a first shard").insert(name, *tensor);
        }
        if let [only] = shards.as_slice() {
            return tensors::write(&directory.join("model.safetensors"), only, numbers);
        }
        let mut map = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            let file = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
            tensors::write(&directory.join(&file), shard, numbers)?;
            map.extend(shard.keys().map(|name| (*name, file.clone())));
        }
        let total: usize = named.iter().map(|(_, tensor)| bytes(*tensor)).sum();
        let index = json!({"metadata": {"total_size": total}, "weight_map": map});
        let path = directory.join("model.safetensors.index.json");
        fs::write(&path, format!("{index:#}\n")).with_context(|| format!("cannot write `{}`", path.display()))
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
                && tensor.shape() != *shape
            {
                problems.push(format!("`{name}` has the shape {:?}, not {shape:?}", tensor.shape()));
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
        let pickles = fs::read_dir(directory).with_context(|| format!("cannot read `{place}`"))?;
        let is_pickle = |name: &str| name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
        let mut names = pickles.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
        if let Some(pickle) = names.find(|name| is_pickle(name)) {
            bail!(
                "`{place}` has its weights in `{pickle}`, which could run any code when it is read\n\
                 hint: save the model again with transformers: `model.save_pretrained(folder)` writes safetensors"
            );
        }
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

/// Most bytes of a file of weights.
const LARGEST_SHARD: usize = 5_000_000_000;

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
#[derive(Clone)]
pub struct Checkpoint {
    /// The architecture.
    pub config: LlavaConfig,
    /// The weights.
    pub weights: Weights,
    /// Where the tokenizer and the other files that never change are.
    pub companions: PathBuf,
}

impl Checkpoint {
    /// Opens the checkpoint in `directory`: its weights are read when they are fetched.
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged, or the weights are not those of the config.
    pub fn read(directory: &Path) -> anyhow::Result<Checkpoint> {
        let config = LlavaConfig::read(directory)?;
        let weights = Weights::open(directory)?;
        weights.check(&config).with_context(|| format!("cannot use the checkpoint `{}`", directory.display()))?;
        Ok(Checkpoint { config, weights, companions: directory.to_path_buf() })
    }

    /// Writes the checkpoint into `directory`, which exists, with copies of its companions.
    pub fn write(&self, directory: &Path, numbers: Numbers) -> anyhow::Result<()> {
        self.weights.check(&self.config)?;
        self.config.write(directory, numbers)?;
        let name = if self.config.vision.is_some() { str::to_string } else { names::of_language_only };
        self.weights.write(directory, numbers, LARGEST_SHARD, name)?;
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
    use super::super::tensors::Tensor;
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

    /// Every tensor with its shape and values.
    fn everything(weights: &Weights) -> BTreeMap<String, Tensor> {
        let fetch = |(name, tensor): (&str, &dyn Values)| {
            (name.to_string(), Tensor::new(tensor.shape(), tensor.fetch().unwrap()))
        };
        weights.iter().map(fetch).collect()
    }

    #[test]
    fn a_checkpoint_is_read_back_with_its_companions() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
        fs::write(source.path().join("optimizer.pt"), "not ours").unwrap();
        let written = checkpoint(source.path());
        written.write(target.path(), Numbers::F32).unwrap();
        let read = Checkpoint::read(target.path()).unwrap();
        assert_eq!((&read.config, everything(&read.weights)), (&written.config, everything(&written.weights)));
        assert!(target.path().join("tokenizer.json").is_file());
        assert!(!target.path().join("optimizer.pt").exists());
    }

    #[test]
    fn shards_in_the_spelling_of_transformers_5_are_one_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let written = checkpoint(directory.path());
        written.config.write(directory.path(), Numbers::F32).unwrap();
        let respell = |name: &str| {
            let name = name.replace("language_model.model.", "model.language_model.");
            name.replace("language_model.lm_head", "lm_head")
                .replace("vision_tower.vision_model.", "model.vision_tower.")
        };
        let mut respelt = Weights::default();
        for (name, tensor) in everything(&written.weights) {
            respelt.insert(respell(&name), tensor);
        }
        respelt.write(directory.path(), Numbers::F32, 200, str::to_string).unwrap();
        assert!(!directory.path().join("model.safetensors").exists(), "there are several shards");
        assert_eq!(everything(&Checkpoint::read(directory.path()).unwrap().weights), everything(&written.weights));
    }

    #[test]
    fn weights_in_pickles_are_never_read() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("pytorch_model.bin"), "cos\nsystem").unwrap();
        let problem = Weights::open(directory.path()).err().unwrap().to_string();
        assert!(problem.contains("`pytorch_model.bin`") && problem.contains("save_pretrained"), "{problem}");
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
        assert!(Weights::open(directory.path()).err().unwrap().to_string().contains("not a file beside it"));
    }
}
