//! A LoRA adapter on disk, in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors` in
//! the folder `adapter` of a checkpoint.
//!
//! Unaware of how an adapter is applied and trained.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::names;
use super::tensors::{self, Numbers, Stored, Tensor, Values};
use crate::text::ticked_list;

/// The low-rank update of one linear layer: its output grows by alpha/rank · B·A·input.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// `[rank, inputs]`.
    pub a: Tensor,
    /// `[outputs, rank]`.
    pub b: Tensor,
}

/// The updates of a model's linear layers.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAdapter {
    /// Inner dimension of all updates.
    pub rank: usize,
    /// Scale of the updates, times the rank.
    pub alpha: f64,
    /// Dropout on the updates' input while they were trained.
    pub dropout: f64,
    /// Canonical module path, such as `language_model.model.layers.0.self_attn.q_proj` → update.
    pub layers: BTreeMap<String, LowRank>,
}

/// The folder of a checkpoint that its adapter is in.
pub const FOLDER: &str = "adapter";
const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

impl StoredAdapter {
    /// By what B·A·input is multiplied.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Reads the adapter of a checkpoint, if it has one.
    ///
    /// # Errors
    ///
    /// If the files are damaged, or describe an adapter of another kind than plain LoRA.
    pub fn find(checkpoint: &Path) -> anyhow::Result<Option<StoredAdapter>> {
        let directory = checkpoint.join(FOLDER);
        if directory.is_dir() { StoredAdapter::read(&directory).map(Some) } else { Ok(None) }
    }

    /// Reads the adapter in a folder, as PEFT saves one.
    ///
    /// # Errors
    ///
    /// As [`StoredAdapter::find`], or if there is none.
    pub fn read(directory: &Path) -> anyhow::Result<StoredAdapter> {
        let path = directory.join(CONFIG);
        let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let file: AdapterFile =
            serde_json::from_slice(&text).with_context(|| format!("`{}` is not as expected", path.display()))?;
        file.check().with_context(|| format!("cannot use `{}`", path.display()))?;
        let path = directory.join(MODEL);
        let fetch =
            |(name, stored): (String, Stored)| Ok((canonical(&name), Tensor::new(stored.shape(), stored.fetch()?)));
        let matrices = tensors::open(&path, |_| true)?.into_iter().map(fetch).collect::<anyhow::Result<_>>()?;
        let layers = pair(matrices, file.r).with_context(|| format!("cannot use `{}`", path.display()))?;
        Ok(StoredAdapter { rank: file.r, alpha: file.lora_alpha, dropout: file.lora_dropout, layers })
    }

    /// Writes the adapter into the folder of a checkpoint.
    pub fn write(&self, checkpoint: &Path) -> anyhow::Result<()> {
        let directory = checkpoint.join(FOLDER);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
        let path = directory.join(CONFIG);
        let mut text = serde_json::to_string_pretty(&self.config())?;
        text.push('\n');
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        let named: BTreeMap<String, &Tensor> = self
            .layers
            .iter()
            .flat_map(|(layer, update)| {
                [(format!("{PREFIX}{layer}{A}"), &update.a), (format!("{PREFIX}{layer}{B}"), &update.b)]
            })
            .collect();
        let named = named.iter().map(|(name, tensor)| (name.as_str(), *tensor as &dyn Values)).collect();
        tensors::write(&directory.join(MODEL), &named, Numbers::F32)
    }

    fn config(&self) -> Value {
        let last = |layer: &String| layer.rsplit('.').next().unwrap_or_default().to_string();
        let modules: BTreeSet<String> = self.layers.keys().map(last).collect();
        let modules = modules.into_iter().collect::<Vec<_>>().join("|");
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": null,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            // A pattern, for the vision tower has layers of the same names.
            "target_modules": format!(r".*language_model.*\.({modules})"),
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "modules_to_save": null,
            "use_dora": false,
            "use_rslora": false,
        })
    }
}

/// The parts of `adapter_config.json` that say what the matrices mean.
#[derive(Deserialize)]
struct AdapterFile {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, Value>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, Value>,
}

impl AdapterFile {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.peft_type == "LORA", "`peft_type` is `{}`, and only `LORA` is known", self.peft_type);
        ensure!(self.r > 0, "the rank `r` is 0");
        ensure!(!self.use_dora && !self.use_rslora, "DoRA and rank-stabilised LoRA are not known");
        let patterns = self.rank_pattern.len() + self.alpha_pattern.len();
        ensure!(patterns == 0, "ranks and alphas of single layers are not known");
        Ok(())
    }
}

/// `<canonical module path>.lora_A.weight`, for the spellings of PEFT and of its models in memory.
fn canonical(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    names::canonical(&name.replace(".lora_A.default.", ".lora_A.").replace(".lora_B.default.", ".lora_B."))
}

fn pair(mut matrices: BTreeMap<String, Tensor>, rank: usize) -> anyhow::Result<BTreeMap<String, LowRank>> {
    let mut layers = BTreeMap::new();
    let names: Vec<String> = matrices.keys().filter_map(|name| name.strip_suffix(A)).map(str::to_string).collect();
    for layer in names {
        let a = matrices.remove(&format!("{layer}{A}")).context("BUG: a name was listed twice")?;
        let b = matrices.remove(&format!("{layer}{B}")).with_context(|| format!("`{layer}` has no `lora_B`"))?;
        let fits = a.shape.len() == 2 && b.shape.len() == 2 && a.shape[0] == rank && b.shape[1] == rank;
        ensure!(
            fits,
            "the matrices of `{layer}` have the shapes {:?} and {:?}, and the rank is {rank}",
            a.shape,
            b.shape
        );
        layers.insert(layer, LowRank { a, b });
    }
    ensure!(matrices.is_empty(), "unknown tensors: {}", ticked_list(matrices.keys()));
    ensure!(!layers.is_empty(), "it has no tensors");
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter() -> StoredAdapter {
        let update = |inputs: usize, outputs: usize| LowRank {
            a: Tensor::new([2, inputs], (0..2 * inputs).map(|value| value as f32).collect()),
            b: Tensor::new([outputs, 2], (0..2 * outputs).map(|value| -(value as f32)).collect()),
        };
        let layer = "language_model.model.layers.0";
        let layers = BTreeMap::from([
            (format!("{layer}.mlp.down_proj"), update(5, 3)),
            (format!("{layer}.self_attn.q_proj"), update(3, 4)),
        ]);
        StoredAdapter { rank: 2, alpha: 4.0, dropout: 0.05, layers }
    }

    #[test]
    fn an_adapter_is_read_back_as_written() {
        let checkpoint = tempfile::tempdir().unwrap();
        assert_eq!(StoredAdapter::find(checkpoint.path()).unwrap(), None);
        adapter().write(checkpoint.path()).unwrap();
        let read = StoredAdapter::find(checkpoint.path()).unwrap().unwrap();
        assert_eq!((&read, read.scale()), (&adapter(), 2.0));
        let config = fs::read_to_string(checkpoint.path().join("adapter/adapter_config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["target_modules"], r".*language_model.*\.(down_proj|q_proj)");
    }

    #[test]
    fn names_of_newer_models_are_the_same_layers() {
        let newer = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight";
        assert_eq!(canonical(newer), "language_model.model.layers.0.self_attn.q_proj.lora_A.weight");
        let in_memory = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.default.weight";
        assert_eq!(canonical(in_memory), canonical(newer));
    }

    #[test]
    fn half_an_update_and_other_kinds_of_adapters_are_refused() {
        let mut matrices = BTreeMap::from([("x.lora_A.weight".to_string(), Tensor::new([2, 1], vec![0.0; 2]))]);
        assert!(pair(matrices.clone(), 2).unwrap_err().to_string().contains("`x` has no `lora_B`"));
        matrices.insert("x.lora_B.weight".into(), Tensor::new([1, 3], vec![0.0; 3]));
        assert!(pair(matrices, 2).unwrap_err().to_string().contains("the rank is 2"));
        let file = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_dora": true}"#;
        assert!(serde_json::from_str::<AdapterFile>(file).unwrap().check().is_err());
    }
}
