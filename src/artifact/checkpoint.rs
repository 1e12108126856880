//! What can be known of a checkpoint by the names of its files alone, before any of them is read.

use crate::text::ticked_list;

/// Ends of the names of files that may be pickles with weights.
const PICKLES: [&str; 4] = [".bin", ".pt", ".pth", ".ckpt"];

/// Why a directory is no checkpoint in the Hugging Face layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is a file.
    #[error("is a file, not the folder of a checkpoint")]
    File,
    /// It does not say its architecture.
    #[error("has no `config.json`, so it is no checkpoint")]
    NoConfig,
    /// It has no weights at all.
    #[error("has a `config.json` but no weights")]
    NoWeights,
    /// It has weights only in files that can execute code when they are opened.
    #[error("has its weights only as pickles ({0}), which can execute code when they are opened")]
    OnlyPickles(String),
}

impl Malformed {
    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Malformed::File | Malformed::NoConfig => {
                "name the folder that has `config.json`, `tokenizer.json` and `model.safetensors` or its shards"
            }
            Malformed::NoWeights => "add `model.safetensors`, or its shards with `model.safetensors.index.json`",
            Malformed::OnlyPickles(_) => {
                "convert them with `save_pretrained(..., safe_serialization=True)` of transformers, where you trust them"
            }
        }
    }
}

/// Whether a directory with files of these names can be a checkpoint; a file has none. An adapter
/// alone, in the layout of PEFT, is left to its reader.
///
/// # Errors
///
/// If it cannot be one, whatever is in the files.
pub fn check(names: Option<&[String]>) -> Result<(), Malformed> {
    let names = names.ok_or(Malformed::File)?;
    let has = |name: &str| names.iter().any(|known| known == name);
    if has("adapter_config.json") && has("adapter_model.safetensors") {
        return Ok(());
    }
    if !has("config.json") {
        return Err(Malformed::NoConfig);
    }
    if names.iter().any(|name| name.ends_with(".safetensors")) {
        return Ok(());
    }
    let pickles: Vec<&String> = names.iter().filter(|name| PICKLES.iter().any(|end| name.ends_with(end))).collect();
    match pickles.is_empty() {
        true => Err(Malformed::NoWeights),
        false => Err(Malformed::OnlyPickles(ticked_list(pickles))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        check(Some(&names)).map_or_else(|malformed| malformed.to_string(), |()| "fits".to_string())
    }

    #[test]
    fn a_checkpoint_has_a_config_and_weights_that_are_no_pickles() {
        assert_eq!(told(&["config.json", "model.safetensors"]), "fits");
        assert_eq!(told(&["config.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"]), "fits");
        assert_eq!(told(&["adapter_config.json", "adapter_model.safetensors"]), "fits");
        assert_eq!(told(&["model.safetensors"]), "has no `config.json`, so it is no checkpoint");
        assert_eq!(told(&["config.json", "tokenizer.json"]), "has a `config.json` but no weights");
        assert_eq!(
            told(&["config.json", "pytorch_model.bin"]),
            "has its weights only as pickles (`pytorch_model.bin`), which can execute code when they are opened"
        );
        assert_eq!(check(None), Err(Malformed::File));
    }
}
