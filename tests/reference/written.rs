//! Checkpoints and adapters that this library writes. They are left in the folder `written` of cargo's folder for
//! tests, with the logits that they should have, for `make/load_back.py` to load with transformers and PEFT.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use runner::ml::adapter::StoredAdapter;
use runner::ml::llava::host;
use runner::ml::lora;
use runner::ml::samples::Inputs;
use runner::ml::tensors::{self, Numbers, Tensor, Values};
use runner::ml::weights::Checkpoint;

use super::models;
use super::support::{Plain, arrays, assert_close, checkpoint, inputs, model};
use super::training::{Learnt, known, learn};

/// An empty folder of this name.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("written").join(name);
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a checkpoint, reads it again, and leaves beside it what it makes of inputs of one sample each.
fn write(checkpoint: &Checkpoint, numbers: Numbers, folder: &Path, inputs: &[Inputs]) {
    checkpoint.write(folder, numbers).unwrap();
    let (before, after) = (model::<Plain>(checkpoint), model::<Plain>(&Checkpoint::read(folder).unwrap()));
    let mut kept = BTreeMap::new();
    for (number, inputs) in inputs.iter().enumerate() {
        let logits = host(after.language.logits(after.forward(inputs, None, None)));
        let expected = host(before.language.logits(before.forward(inputs, None, None)));
        assert_close("logits of what was read again", &logits, &expected, 1e-6);
        let ids: Vec<f32> = inputs.text.ids.iter().map(|id| *id as f32).collect();
        kept.insert(format!("{number}.logits"), Tensor::new([ids.len(), logits.len() / ids.len()], logits));
        kept.insert(format!("{number}.ids"), Tensor::new([ids.len()], ids));
        let images: usize = inputs.text.images.iter().sum();
        if images > 0 {
            let size = checkpoint.config.vision.as_ref().unwrap().image_size;
            kept.insert(format!("{number}.pixels"), Tensor::new([images, 3, size, size], inputs.pixels.clone()));
        }
    }
    let kept = kept.iter().map(|(name, tensor)| (name.as_str(), tensor as &dyn Values)).collect();
    tensors::write(&folder.join("logits.safetensors"), &kept, Numbers::F32).unwrap();
}

/// As the stage `train` leaves it: merged weights with the adapter beside them.
#[test]
fn a_trained_model_is_written_with_its_adapter() {
    let known = known();
    let Learnt { mut checkpoint, samples, before, mut model, .. } = learn(&known, &known.runs["lora"], 4);
    let each: Vec<Inputs> = (0..samples.len()).map(|index| samples.batch(&[index]).unwrap()).collect();
    write(&checkpoint, Numbers::F32, &folder("base"), &each);
    let folder = folder("lora");
    let adapter = lora::merge(&mut model, before.rank, before.alpha, before.dropout);
    adapter.write(&folder).unwrap();
    model.store(&mut checkpoint.weights);
    write(&checkpoint, Numbers::F32, &folder, &each);
    assert_eq!(StoredAdapter::find(&folder).unwrap(), Some(adapter));
}

/// Writes the checkpoint `name` of the fixtures again.
fn write_again(name: &str, numbers: Numbers) {
    let checkpoint = checkpoint(name);
    let expected = arrays(&format!("models/{name}/cases.safetensors"));
    let each: Vec<Inputs> = models::single(name)
        .into_iter()
        .map(|(case, rows)| {
            let pixels = expected.get(&format!("{case}.pixels")).map_or(&[][..], |pixels| &pixels.values);
            inputs(&rows, pixels, &checkpoint.config)
        })
        .collect();
    write(&checkpoint, numbers, &folder(name), &each);
}

#[test]
fn every_layout_is_written_again() {
    for name in ["untied", "grouped", "resized", "text", "text_tied"] {
        write_again(name, Numbers::F32);
    }
}

#[test]
fn a_model_that_came_in_bf16_is_written_in_bf16() {
    write_again("sharded", Numbers::Bf16);
}
