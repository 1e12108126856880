//! The backward pass of a training step: at once, or layer by layer with activations that are computed
//! again (Chen et al. 2016, "gradient checkpointing"): then only the inputs of the layers are kept, at the
//! cost of a second forward pass. Both give the same numbers. Unaware of what is done with gradients.

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use super::kernels::Kernels;
use super::llava::{Llava, host};
use super::samples::Inputs;

/// A backward pass through a whole model.
#[derive(Debug, Clone, Copy)]
pub struct Backward {
    /// Whether it goes layer by layer.
    pub checkpointing: bool,
    /// By what the objective is divided.
    pub divisor: f32,
    /// Whether embeddings depend on what is trained: on the projector or the embedding itself.
    pub reaches_embeddings: bool,
}

impl Backward {
    /// Computes `objective` of the final hidden states `[samples · tokens, hidden]`, and shows the
    /// gradients of every part of the pass to `found`. Gives the objective's value, before division; if
    /// it is not finite, there is no backward pass.
    pub fn run<B: Kernels + AutodiffBackend>(
        &self,
        model: &mut Llava<B>,
        inputs: &Inputs,
        objective: impl Fn(&Llava<B>, Tensor<B, 2>) -> Tensor<B, 1>,
        mut found: impl FnMut(&mut Llava<B>, &B::Gradients),
    ) -> f32
    where
        B::InnerBackend: Kernels,
    {
        let batch = inputs.text.samples;
        let embedded = model.embed(inputs);
        if !self.checkpointing {
            let hidden = model.language.forward(embedded, batch, None, None);
            let sum = objective(model, hidden);
            let value = host(sum.clone())[0];
            if value.is_finite() {
                found(model, &(sum / self.divisor).backward());
            }
            return value;
        }
        let mut states = model.language.states(embedded.clone().inner(), batch, None);
        let mut state =
            || Tensor::<B, 2>::from_inner(states.pop().expect("BUG: there is a state per layer")).require_grad();
        let top = state();
        let sum = objective(model, model.language.normed(top.clone()));
        let value = host(sum.clone())[0];
        if !value.is_finite() {
            return value;
        }
        let gradients = (sum / self.divisor).backward();
        found(model, &gradients);
        let mut above = upstream(&top, &gradients);
        for index in (0..model.language.depth()).rev() {
            let input = state();
            let output = model.language.layer(index, input.clone(), batch, None, None);
            let gradients = through(output, above).backward();
            found(model, &gradients);
            above = upstream(&input, &gradients);
        }
        if self.reaches_embeddings {
            found(model, &through(embedded, above).backward());
        }
        value
    }
}

/// The gradient with respect to an input of a part of the pass.
pub fn upstream<B: AutodiffBackend>(input: &Tensor<B, 2>, gradients: &B::Gradients) -> Tensor<B::InnerBackend, 2> {
    input.grad(gradients).expect("BUG: every part of the pass depends on its input")
}

/// A number whose gradient with respect to `output` is `gradient`.
pub fn through<B: AutodiffBackend>(output: Tensor<B, 2>, gradient: Tensor<B::InnerBackend, 2>) -> Tensor<B, 1> {
    (output * Tensor::from_inner(gradient)).sum()
}
