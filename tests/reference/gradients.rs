//! LoRA adapters that PEFT wrote: what they add to a model, what is left when they are merged, and the gradient of
//! each sample with respect to them.

use burn::tensor::Tensor;
use runner::ml::adapter::StoredAdapter;
use runner::ml::gradient::Extraction;
use runner::ml::llava::{Llava, host};
use runner::ml::lora;
use runner::ml::samples::Inputs;
use serde::Deserialize;

use super::support::{
    Differentiable, Plain, Row, arrays, assert_close, checkpoint, inputs, json, model, without_padding,
};

#[derive(Deserialize)]
struct Cases {
    cases: Batches,
}

#[derive(Deserialize)]
struct Batches {
    batch: Rows,
}

#[derive(Deserialize)]
struct Rows {
    rows: Vec<Row>,
}

/// The linear layers of a decoder layer, in the order of the gradients.
const MODULES: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

fn logits(model: &Llava<Differentiable>, inputs: &Inputs) -> Vec<f32> {
    let logits = host(model.language.logits(model.forward(inputs, None, None)));
    without_padding(&logits, &inputs.text)
}

fn check(name: &str) {
    let checkpoint = checkpoint(name);
    let stored = StoredAdapter::find(&checkpoint.companions).unwrap().expect("it has an adapter");
    assert_eq!((stored.rank, stored.scale()), (4, 2.0));
    let cases: Cases = json(&format!("models/{name}/cases.json"));
    let pixels = &arrays(&format!("models/{name}/cases.safetensors"))["batch.pixels"].values;
    let expected = arrays(&format!("models/{name}/lora.safetensors"));
    let inputs = inputs(&cases.cases.batch.rows, pixels, &checkpoint.config);

    let mut model = model::<Differentiable>(&checkpoint);
    lora::restore(&mut model, &stored).unwrap();
    assert_close("logits with the adapter", &logits(&model, &inputs), &expected["unmerged.logits"].values, 1e-4);
    let merged = lora::merge(&mut model, stored.rank, stored.alpha, stored.dropout);
    assert_eq!(merged, stored, "merging gives back what was read");
    assert_close("logits of merged weights", &logits(&model, &inputs), &expected["merged.logits"].values, 1e-4);

    let adapters = lora::loaded::<Plain>(&stored, &Default::default()).unwrap();
    let layers = checkpoint.config.text.layers;
    let chosen = [(0..layers).collect::<Vec<_>>(), vec![layers - 2]];
    for (chosen, checkpointing) in chosen.into_iter().flat_map(|chosen| [(chosen.clone(), false), (chosen, true)]) {
        let extraction = Extraction { layers: chosen.clone(), scale: stored.scale(), checkpointing };
        let gradients = extraction.run(&model, &adapters, &inputs).unwrap().gradients;
        let mut read = Columns { gradients, at: 0 };
        for layer in chosen {
            for module in MODULES {
                for matrix in ["lora_A", "lora_B"] {
                    let key = format!("gradient.language_model.model.layers.{layer}.{module}.{matrix}");
                    let theirs = &expected[&key];
                    let size = theirs.values.len() / theirs.shape[0];
                    let ours = read.next(size);
                    for (sample, theirs) in theirs.values.chunks_exact(size).enumerate() {
                        let what = format!("{name}: {key} of sample {sample}");
                        assert_close(&what, &ours[sample * size..(sample + 1) * size], theirs, 1e-3);
                    }
                }
            }
        }
        read.end();
    }
}

/// Gradients `[samples, parameters]`, read some columns at a time.
struct Columns {
    gradients: Tensor<Plain, 2>,
    at: usize,
}

impl Columns {
    fn next(&mut self, size: usize) -> Vec<f32> {
        self.at += size;
        host(self.gradients.clone().narrow(1, self.at - size, size))
    }

    fn end(&self) {
        assert_eq!(self.at, self.gradients.dims()[1], "there are gradients of nothing");
    }
}

#[test]
fn gradients_of_every_sample_are_those_of_a_loop_in_peft() {
    check("untied");
}

#[test]
fn gradients_with_grouped_queries_are_those_of_a_loop_in_peft() {
    check("grouped");
}
