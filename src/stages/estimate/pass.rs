//! What one sample takes on its way through a model: operations and memory of forward and backward
//! passes.

use super::shape::Shape;

/// Bytes of an f32.
const F32: f64 = 4.0;

/// A sample of the usual length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Tokens of the sequence, those of images among them.
    pub tokens: f64,
    /// Images.
    pub images: f64,
}

/// Passes of a sample through a model.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// The model.
    pub shape: &'a Shape,
    /// The sample.
    pub sample: Sample,
    /// Bytes of a weight and of an activation.
    pub width: f64,
    /// Whether activations are computed again in the backward pass.
    pub checkpointing: bool,
}

impl Pass<'_> {
    fn layers(&self) -> f64 {
        self.shape.text.num_hidden_layers as f64
    }

    /// The decoder layers that lie above the bottom of the lowest of `layers`, as a share of all.
    pub fn above(&self, lowest: f64) -> f64 {
        ((self.layers() - lowest) / self.layers()).clamp(0.0, 1.0)
    }

    /// Operations of the language model.
    pub fn decoder(&self) -> f64 {
        self.shape.layers_forward(self.sample.tokens) + self.shape.head_forward(self.sample.tokens)
    }

    /// Operations of this share of the decoder layers, counted from the top, and of the head.
    pub fn decoder_above(&self, share: f64) -> f64 {
        self.shape.layers_forward(self.sample.tokens) * share + self.shape.head_forward(self.sample.tokens)
    }

    /// Operations of tower and projector.
    pub fn images(&self) -> f64 {
        self.sample.images * self.shape.image_forward()
    }

    /// Operations of a forward pass.
    pub fn forward(&self) -> f64 {
        self.decoder() + self.images()
    }

    /// Operations of a backward pass to the activations of this share of the decoder layers, counted
    /// from the top: as many as forward, and once more where activations are computed again. Weights
    /// are frozen.
    pub fn backward(&self, share: f64) -> f64 {
        let tokens = self.sample.tokens;
        let layers = self.shape.layers_forward(tokens) * share;
        layers * if self.checkpointing { 2.0 } else { 1.0 } + self.shape.head_forward(tokens)
    }

    /// Bytes of all weights.
    pub fn weights(&self) -> f64 {
        self.shape.parameters() * self.width
    }

    /// Bytes that a decoder layer keeps of a sample for its backward pass: the inputs of its norms and
    /// linear layers, and for each head the scores of all pairs of tokens before and after the softmax.
    fn layer_memory(&self) -> f64 {
        let (text, tokens) = (&self.shape.text, self.sample.tokens);
        let widths = 6 * text.hidden_size + 2 * self.shape.key_width() + 3 * text.intermediate_size;
        (widths as f64 + 2.0 * text.num_attention_heads as f64 * tokens) * tokens * self.width
    }

    /// Bytes of a sample's logits, in f32.
    fn logits(&self) -> f64 {
        self.sample.tokens * self.shape.text.vocab_size as f64 * F32
    }

    /// Bytes that a sample takes at most in a forward pass: what one layer makes, and the logits.
    pub fn forward_memory(&self) -> f64 {
        self.layer_memory() + self.logits()
    }

    /// Bytes that a sample takes at most in a backward pass through this share of the layers: what all
    /// of them keep, or with checkpointing what goes into each and what one keeps; and the logits with
    /// their gradients.
    pub fn backward_memory(&self, share: f64) -> f64 {
        let layers = self.layers() * share;
        let kept = match self.checkpointing {
            true => layers * self.sample.tokens * self.shape.text.hidden_size as f64 * self.width + self.layer_memory(),
            false => layers * self.layer_memory(),
        };
        kept + 2.0 * self.logits()
    }

    /// Bytes of the keys and values of a sample.
    pub fn cache(&self, more: f64) -> f64 {
        2.0 * (self.sample.tokens + more) * self.shape.key_width() as f64 * self.layers() * self.width
    }

    /// Bytes that a trained parameter takes in all: itself, its gradient and the two moments of AdamW, in
    /// f32.
    pub fn trained(parameters: f64) -> f64 {
        4.0 * F32 * parameters
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::{llava, near};
    use super::*;

    fn pass(shape: &Shape, checkpointing: bool) -> Pass<'_> {
        Pass { shape, sample: Sample { tokens: 850.0, images: 1.0 }, width: 2.0, checkpointing }
    }

    #[test]
    fn a_backward_pass_from_the_last_layer_is_cheap_and_from_the_middle_half_a_forward() {
        let shape = llava();
        let pass = pass(&shape, false);
        assert!(pass.backward(pass.above(31.0)) / pass.decoder() < 0.06);
        assert!(near(pass.backward(pass.above(15.0)) / pass.decoder(), 0.54, 2.0));
        assert!(near(pass.backward(1.0), pass.decoder(), 0.01));
    }

    /// A forward pass, a backward pass to the middle and a second forward pass over LLaVA-665K take 13 to
    /// 14 hours at 400 TFLOP/s.
    #[test]
    fn scoring_the_first_dataset_takes_half_a_day() {
        let shape = llava();
        let pass = pass(&shape, false);
        let sample = pass.forward() + pass.backward(pass.above(15.0)) + pass.decoder();
        let hours = 665e3 * sample / 400e12 / 3600.0;
        assert!((13.0..14.0).contains(&hours), "{hours}");
    }

    #[test]
    fn checkpointing_trades_memory_for_time() {
        let shape = llava();
        let (kept, again) = (pass(&shape, false), pass(&shape, true));
        assert!(again.backward(1.0) > 1.9 * kept.backward(1.0));
        // 32 layers keep 120 thousand numbers per token, in two bytes.
        assert!(near(kept.backward_memory(1.0), 32.0 * 120_192.0 * 850.0 * 2.0 + 2.0 * 850.0 * 32_064.0 * 4.0, 0.1));
        assert!(again.backward_memory(1.0) < 0.15 * kept.backward_memory(1.0));
        assert_eq!(kept.weights(), 2.0 * shape.parameters());
    }
}
