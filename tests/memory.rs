//! How much memory it takes to load a model: the model itself and little more.
//!
//! Alone in its own program, because the peak is that of the whole process.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use burn::backend::Flex;
use runner::ml::config::LlavaConfig;
use runner::ml::llava::Llava;
use runner::ml::names;
use runner::ml::precision::Precision;
use runner::ml::weights::Checkpoint;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

/// A text-only model of about 400 MB in f32, most of it in layers, as real ones are.
const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 4000, "hidden_size": 1024, "intermediate_size": 2816,
    "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 4, "eos_token_id": 2}"#;

/// Writes a checkpoint of zeros that takes no room on disk, and gives its size in bytes.
fn write(directory: &Path) -> u64 {
    fs::write(directory.join("config.json"), CONFIG).unwrap();
    let config = LlavaConfig::parse(CONFIG).unwrap();
    let mut end = 0;
    let infos = names::shapes(&config).into_iter().map(|(name, shape)| {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        (names::of_language_only(&name), TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
    });
    let metadata = Metadata::new(Some(HashMap::new()), infos.collect()).unwrap();
    let header = serde_json::to_vec(&metadata).unwrap();
    let mut file = File::create(directory.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    end as u64
}

/// The most memory that this process has had so far, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn loading_a_model_takes_no_more_than_fifteen_percent_above_the_model() {
    let directory = tempfile::tempdir().unwrap();
    let size = write(directory.path());
    assert!(size > 300 << 20);
    let before = peak();
    let checkpoint = Checkpoint::read(directory.path()).unwrap();
    let model = Llava::<Flex>::load(&checkpoint, Precision::F32, &Default::default()).unwrap();
    let taken = (peak() - before) as f64 / size as f64;
    assert_eq!(model.language.depth(), 8);
    assert!((1.0..1.15).contains(&taken), "{taken:.3} times the model");
}
