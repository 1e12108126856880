//! The language model: a LLaMA decoder (Touvron et al. 2023) with grouped-query attention.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::config::TextConfig;
use super::kernels::{Heads, Kernels, grouped_attention, rms_norm, swiglu};
use super::linear::{Linear, Taps};
use super::parameters::{Part, Source, Visitor};

/// The decoder, from embeddings to final hidden states. Embedding and head are used by the caller.
#[derive(Debug, Clone)]
pub struct Language<B: Backend> {
    /// Token embeddings, `[vocabulary, hidden]`.
    pub embedding: Tensor<B, 2>,
    /// The head, `[hidden, vocabulary]`; absent where it is the embedding transposed.
    pub head: Option<Linear<B>>,
    layers: Vec<Layer<B>>,
    norm: Tensor<B, 1>,
    config: TextConfig,
}

#[derive(Debug, Clone)]
struct Layer<B: Backend> {
    input_norm: Tensor<B, 1>,
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    output: Linear<B>,
    post_norm: Tensor<B, 1>,
    gate: Linear<B>,
    up: Linear<B>,
    down: Linear<B>,
}

/// Keys and values of the positions seen so far, per layer `[batch, tokens, key heads · width]`.
#[derive(Debug, Clone, Default)]
pub struct Cache<B: Backend> {
    layers: Vec<(Tensor<B, 3>, Tensor<B, 3>)>,
}

/// What a forward pass is asked to keep besides its result.
#[derive(Debug)]
pub struct Watch<B: Backend> {
    /// Taps of the linear layers of chosen decoder layers.
    pub taps: Taps<B>,
    /// The layer whose output is kept in `hidden`.
    pub layer: usize,
    /// That layer's output, `[positions, hidden]`.
    pub hidden: Option<Tensor<B, 2>>,
}

/// The prefix of the decoder's canonical names.
pub const PREFIX: &str = "language_model.model";

impl<B: Kernels> Language<B> {
    /// Builds the decoder from weights.
    pub fn load(config: &TextConfig, source: &Source<'_, B>) -> Language<B> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (wide, narrow) = (config.heads * config.head_dim, config.key_value_heads * config.head_dim);
        let layer = |index: usize| {
            let name = |suffix: &str| format!("{PREFIX}.layers.{index}.{suffix}");
            Layer {
                input_norm: source.vector(&name("input_layernorm.weight"), hidden),
                query: source.linear(&name("self_attn.q_proj"), hidden, wide, false),
                key: source.linear(&name("self_attn.k_proj"), hidden, narrow, false),
                value: source.linear(&name("self_attn.v_proj"), hidden, narrow, false),
                output: source.linear(&name("self_attn.o_proj"), wide, hidden, false),
                post_norm: source.vector(&name("post_attention_layernorm.weight"), hidden),
                gate: source.linear(&name("mlp.gate_proj"), hidden, inner, false),
                up: source.linear(&name("mlp.up_proj"), hidden, inner, false),
                down: source.linear(&name("mlp.down_proj"), inner, hidden, false),
            }
        };
        Language {
            embedding: source.matrix(&format!("{PREFIX}.embed_tokens.weight"), [config.vocab_size, hidden]),
            head: (!config.tie_word_embeddings)
                .then(|| source.linear("language_model.lm_head", hidden, config.vocab_size, false)),
            layers: (0..config.layers).map(layer).collect(),
            norm: source.vector(&format!("{PREFIX}.norm.weight"), hidden),
            config: config.clone(),
        }
    }

    /// Shows every parameter to `visitor`, in a fixed order.
    pub fn visit(&mut self, visitor: &mut impl Visitor<B>) {
        visitor.tensor(&format!("{PREFIX}.embed_tokens.weight"), Part::Language, false, &mut self.embedding);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let name = |suffix: &str| format!("{PREFIX}.layers.{index}.{suffix}");
            visitor.tensor(&name("input_layernorm.weight"), Part::Language, false, &mut layer.input_norm);
            visitor.tensor(&name("post_attention_layernorm.weight"), Part::Language, false, &mut layer.post_norm);
            for linear in layer.linears_mut() {
                visitor.linear(Part::Language, linear);
            }
        }
        visitor.tensor(&format!("{PREFIX}.norm.weight"), Part::Language, false, &mut self.norm);
        if let Some(head) = &mut self.head {
            visitor.linear(Part::Language, head);
        }
    }

    /// The linear layers that LoRA adapts: all of the decoder layers', in the order q, k, v, o, gate,
    /// up, down, layer by layer.
    pub fn adapted_mut(&mut self) -> impl Iterator<Item = &mut Linear<B>> {
        self.layers.iter_mut().flat_map(Layer::linears_mut)
    }

    /// The final hidden states of embedded tokens.
    ///
    /// # Shapes
    ///
    /// `x` and the result: `[batch · tokens, hidden]`, with the tokens of a sequence together. With
    /// a cache, `tokens` are those after the cached ones.
    pub fn forward(
        &self,
        mut x: Tensor<B, 2>,
        batch: usize,
        mut cache: Option<&mut Cache<B>>,
        mut watch: Option<&mut Watch<B>>,
    ) -> Tensor<B, 2> {
        for (index, layer) in self.layers.iter().enumerate() {
            let taps = watch.as_deref_mut().map(|watch| &mut watch.taps).filter(|taps| taps.layers.contains(&index));
            x = layer.forward(x, batch, index, &self.config, cache.as_deref_mut(), taps);
            if let Some(watch) = watch.as_deref_mut()
                && watch.layer == index
            {
                watch.hidden = Some(x.clone());
            }
        }
        rms_norm(x, self.norm.clone(), self.config.rms_norm_eps as f32)
    }

    /// Logits of hidden states `[positions, hidden]`: `[positions, vocabulary]`.
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.head {
            Some(head) => head.forward(hidden, None),
            None => hidden.matmul(self.embedding.clone().transpose()),
        }
    }
}

impl<B: Kernels> Layer<B> {
    fn linears_mut(&mut self) -> [&mut Linear<B>; 7] {
        let Layer { query, key, value, output, gate, up, down, .. } = self;
        [query, key, value, output, gate, up, down]
    }

    fn forward(
        &self,
        x: Tensor<B, 2>,
        batch: usize,
        index: usize,
        config: &TextConfig,
        cache: Option<&mut Cache<B>>,
        mut taps: Option<&mut Taps<B>>,
    ) -> Tensor<B, 2> {
        let epsilon = config.rms_norm_eps as f32;
        let queries = x.dims()[0] / batch;
        let normed = rms_norm(x.clone(), self.input_norm.clone(), epsilon);
        let query = self.query.forward(normed.clone(), taps.as_deref_mut());
        let mut key = self.key.forward(normed.clone(), taps.as_deref_mut());
        let mut value = self.value.forward(normed, taps.as_deref_mut());
        if let Some(cache) = cache {
            (key, value) = cache.extend(index, batch, key, value);
        }
        let heads = Heads {
            batch,
            tokens: key.dims()[0] / batch,
            queries,
            query: config.heads,
            key: config.key_value_heads,
            width: config.head_dim,
            causal: true,
            rope: Some(config.rope_theta as f32),
        };
        let attended = grouped_attention(query, key, value, heads);
        let x = x + self.output.forward(attended, taps.as_deref_mut());
        let normed = rms_norm(x.clone(), self.post_norm.clone(), epsilon);
        let gate = self.gate.forward(normed.clone(), taps.as_deref_mut());
        let up = self.up.forward(normed, taps.as_deref_mut());
        x + self.down.forward(swiglu(gate, up), taps)
    }
}

impl<B: Backend> Cache<B> {
    /// An empty cache.
    pub fn new() -> Cache<B> {
        Cache { layers: Vec::new() }
    }

    /// Appends the keys and values of one layer and returns all of them, `[batch · tokens, …]`.
    fn extend(
        &mut self,
        layer: usize,
        batch: usize,
        key: Tensor<B, 2>,
        value: Tensor<B, 2>,
    ) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let split = |x: Tensor<B, 2>| {
            let [rows, width] = x.dims();
            x.reshape([batch, rows / batch, width])
        };
        let join = |x: &Tensor<B, 3>| {
            let [batch, tokens, width] = x.dims();
            x.clone().reshape([batch * tokens, width])
        };
        let (key, value) = (split(key), split(value));
        if self.layers.len() == layer {
            self.layers.push((key, value));
        } else {
            let (keys, values) = &mut self.layers[layer];
            *keys = Tensor::cat(vec![keys.clone(), key], 1);
            *values = Tensor::cat(vec![values.clone(), value], 1);
        }
        let (keys, values) = &self.layers[layer];
        (join(keys), join(values))
    }
}
