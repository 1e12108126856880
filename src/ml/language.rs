//! The language model: a LLaMA decoder (Touvron et al. 2023) with grouped-query attention.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use super::config::TextConfig;
use super::kernels::{Heads, Kernels, grouped_attention, rms_norm, swiglu};
use super::linear::{Linear, Taps};
use super::parameters::{Detached, Part, Source, Transfer, Visitor};
use super::precision::as_type;

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
    /// What the dropout of the next forward pass is drawn from, together with the layer: a layer that
    /// is computed again is computed with the same dropout.
    pub dropout_seed: u64,
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
    /// Outputs of whole decoder layers: the residual stream after them.
    pub outputs: Kept<B>,
    /// Outputs of the attention of decoder layers (of `o_proj`): what it adds to the residual stream.
    pub attentions: Kept<B>,
}

/// States `[positions, hidden]` that chosen decoder layers leave.
#[derive(Debug)]
pub struct Kept<B: Backend> {
    /// The layers.
    pub layers: Vec<usize>,
    /// What they left so far, in the order of the forward pass.
    pub states: Vec<Tensor<B, 2>>,
}

impl<B: Backend> Default for Watch<B> {
    /// Nothing.
    fn default() -> Watch<B> {
        Watch { taps: Taps::of(vec![]), outputs: Kept::of(vec![]), attentions: Kept::of(vec![]) }
    }
}

impl<B: Backend> Kept<B> {
    /// Keeps the states of these layers.
    pub fn of(layers: Vec<usize>) -> Kept<B> {
        Kept { layers, states: vec![] }
    }

    fn see(&mut self, layer: usize, state: &Tensor<B, 2>) {
        if self.layers.contains(&layer) {
            self.states.push(state.clone());
        }
    }
}

/// The prefix of the decoder's canonical names.
pub const PREFIX: &str = "language_model.model";

/// The linear layers that LoRA adapts with their inputs and outputs, in the order of
/// [`Language::adapted_mut`].
pub fn adapted(config: &TextConfig) -> Vec<(String, [usize; 2])> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (wide, narrow) = (config.heads * config.head_dim, config.key_value_heads * config.head_dim);
    let of_layer = |index: usize| {
        let shapes = [
            ("self_attn.q_proj", [hidden, wide]),
            ("self_attn.k_proj", [hidden, narrow]),
            ("self_attn.v_proj", [hidden, narrow]),
            ("self_attn.o_proj", [wide, hidden]),
            ("mlp.gate_proj", [hidden, inner]),
            ("mlp.up_proj", [hidden, inner]),
            ("mlp.down_proj", [inner, hidden]),
        ];
        shapes.map(|(suffix, shape)| (format!("{PREFIX}.layers.{index}.{suffix}"), shape))
    };
    (0..config.layers).flat_map(of_layer).collect()
}

impl<B: Kernels> Language<B> {
    /// Builds the decoder from weights.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or cannot be read.
    pub fn load(config: &TextConfig, source: &Source<'_, B>) -> anyhow::Result<Language<B>> {
        let hidden = config.hidden_size;
        let mut linears = adapted(config).into_iter();
        let mut linear = || {
            let (name, [inputs, outputs]) = linears.next().expect("BUG: every layer has seven linear layers");
            source.linear(&name, inputs, outputs, false)
        };
        let mut layer = |index: usize| {
            let norm = |name: &str| source.vector(&format!("{PREFIX}.layers.{index}.{name}.weight"), hidden);
            anyhow::Ok(Layer {
                input_norm: norm("input_layernorm")?,
                query: linear()?,
                key: linear()?,
                value: linear()?,
                output: linear()?,
                post_norm: norm("post_attention_layernorm")?,
                gate: linear()?,
                up: linear()?,
                down: linear()?,
            })
        };
        Ok(Language {
            embedding: source.matrix(&format!("{PREFIX}.embed_tokens.weight"), [config.vocab_size, hidden])?,
            head: (!config.tie_word_embeddings)
                .then(|| source.linear("language_model.lm_head", hidden, config.vocab_size, false))
                .transpose()?,
            layers: (0..config.layers).map(&mut layer).collect::<anyhow::Result<_>>()?,
            norm: source.vector(&format!("{PREFIX}.norm.weight"), hidden)?,
            config: config.clone(),
            dropout_seed: 0,
        })
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
        x: Tensor<B, 2>,
        batch: usize,
        cache: Option<&mut Cache<B>>,
        watch: Option<&mut Watch<B>>,
    ) -> Tensor<B, 2> {
        self.normed(self.through(0..self.depth(), x, batch, cache, watch))
    }

    /// The output of the last of a run of layers, given the input of the first.
    pub fn through(
        &self,
        layers: Range<usize>,
        mut x: Tensor<B, 2>,
        batch: usize,
        mut cache: Option<&mut Cache<B>>,
        mut watch: Option<&mut Watch<B>>,
    ) -> Tensor<B, 2> {
        for index in layers {
            x = self.layer(index, x, batch, cache.as_deref_mut(), watch.as_deref_mut());
        }
        x
    }

    /// How many layers there are.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// The output of one layer, `[batch · tokens, hidden]` as its input `x`.
    pub fn layer(
        &self,
        index: usize,
        x: Tensor<B, 2>,
        batch: usize,
        cache: Option<&mut Cache<B>>,
        watch: Option<&mut Watch<B>>,
    ) -> Tensor<B, 2> {
        let layer = &self.layers[index];
        if layer.drops() {
            // Neighbouring seeds must not give neighbouring draws, nor the same to two layers.
            let seed = self.dropout_seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64);
            B::seed(&x.device(), seed);
        }
        layer.forward(x, batch, index, &self.config, cache, watch)
    }

    /// The last layer's output, normalised for the head.
    pub fn normed(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        rms_norm(x, self.norm.clone(), self.config.rms_norm_eps as f32)
    }

    /// Logits of hidden states `[positions, hidden]`: `[positions, vocabulary]`.
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.head {
            Some(head) => head.forward(hidden, None),
            None => {
                let here = hidden.dtype();
                hidden.matmul(as_type(self.embedding.clone(), here).transpose())
            }
        }
    }
}

impl<B: Kernels + AutodiffBackend> Language<B>
where
    B::InnerBackend: Kernels,
{
    /// The inputs of all layers and the output of the last, without a graph: `depth + 1` tensors
    /// `[batch · tokens, hidden]`.
    pub fn states(
        &self,
        x: Tensor<B::InnerBackend, 2>,
        batch: usize,
        mut watch: Option<&mut Watch<B::InnerBackend>>,
    ) -> Vec<Tensor<B::InnerBackend, 2>> {
        let plain = self.transferred(&Detached);
        let mut states = vec![x];
        for index in 0..plain.depth() {
            states.push(plain.layer(index, states[index].clone(), batch, None, watch.as_deref_mut()));
        }
        states
    }
}

impl<B: Backend> Language<B> {
    /// The decoder in another backend.
    pub fn transferred<To: Backend>(&self, by: &impl Transfer<B, To>) -> Language<To> {
        Language {
            embedding: by.tensor(&self.embedding),
            head: self.head.as_ref().map(|head| head.transferred(by)),
            layers: self.layers.iter().map(|layer| layer.transferred(by)).collect(),
            norm: by.tensor(&self.norm),
            config: self.config.clone(),
            dropout_seed: self.dropout_seed,
        }
    }
}

impl<B: Backend> Layer<B> {
    fn transferred<To: Backend>(&self, by: &impl Transfer<B, To>) -> Layer<To> {
        Layer {
            input_norm: by.tensor(&self.input_norm),
            query: self.query.transferred(by),
            key: self.key.transferred(by),
            value: self.value.transferred(by),
            output: self.output.transferred(by),
            post_norm: by.tensor(&self.post_norm),
            gate: self.gate.transferred(by),
            up: self.up.transferred(by),
            down: self.down.transferred(by),
        }
    }
}

impl<B: Kernels> Layer<B> {
    /// Whether its adapters drop inputs.
    fn drops(&self) -> bool {
        self.query.adapter.as_ref().is_some_and(|adapter| adapter.dropout > 0.0)
    }

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
        watch: Option<&mut Watch<B>>,
    ) -> Tensor<B, 2> {
        let (mut taps, mut outputs, mut attentions) = match watch {
            Some(Watch { taps, outputs, attentions }) => (Some(taps), Some(outputs), Some(attentions)),
            None => (None, None, None),
        };
        taps = taps.filter(|taps| taps.layers.contains(&index));
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
        let attended = self.output.forward(attended, taps.as_deref_mut());
        if let Some(attentions) = &mut attentions {
            attentions.see(index, &attended);
        }
        let x = x + attended;
        let normed = rms_norm(x.clone(), self.post_norm.clone(), epsilon);
        let gate = self.gate.forward(normed.clone(), taps.as_deref_mut());
        let up = self.up.forward(normed, taps.as_deref_mut());
        let x = x + self.down.forward(swiglu(gate, up), taps);
        if let Some(outputs) = &mut outputs {
            outputs.see(index, &x);
        }
        x
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
