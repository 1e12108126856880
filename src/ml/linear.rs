//! A linear layer, with an optional LoRA adapter and an optional tap for per-sample gradients.

use burn::tensor::backend::Backend;
use burn::tensor::module::linear;
use burn::tensor::{Distribution, Tensor};

use super::parameters::Transfer;
use super::precision::{as_type, single};

/// `y = x · weight + bias`, plus `scale · (dropout(x) · a) · b` where there is an adapter.
#[derive(Debug, Clone)]
pub struct Linear<B: Backend> {
    /// The layer's canonical name, such as `language_model.model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// `[in, out]`: transposed against the files.
    pub weight: Tensor<B, 2>,
    /// `[out]`.
    pub bias: Option<Tensor<B, 1>>,
    /// What LoRA trains.
    pub adapter: Option<Adapter<B>>,
}

/// A low-rank update of a weight (Hu et al. 2021): `weight + scale · a · b`.
#[derive(Debug, Clone)]
pub struct Adapter<B: Backend> {
    /// `[in, rank]`, always f32.
    pub a: Tensor<B, 2>,
    /// `[rank, out]`, always f32.
    pub b: Tensor<B, 2>,
    /// Alpha over rank.
    pub scale: f64,
    /// Dropout on the adapter's input while training.
    pub dropout: f64,
}

/// What passed through a linear layer in one forward pass, for the per-sample gradients of its
/// adapter.
#[derive(Debug)]
pub struct Tap<B: Backend> {
    /// The layer's name.
    pub name: String,
    /// The input, `[positions, in]`.
    pub input: Tensor<B, 2>,
    /// A zero that was added to the output, `[positions, out]`: its gradient is the output's.
    pub probe: Tensor<B, 2>,
}

/// Collects the taps of the layers that a forward pass is asked about.
#[derive(Debug)]
pub struct Taps<B: Backend> {
    /// Decoder layers to tap.
    pub layers: Vec<usize>,
    /// What was tapped, in the order of the forward pass.
    pub taps: Vec<Tap<B>>,
}

impl<B: Backend> Taps<B> {
    /// Taps the linear layers of these decoder layers.
    pub fn of(layers: Vec<usize>) -> Taps<B> {
        Taps { layers, taps: vec![] }
    }
}

impl<B: Backend> Linear<B> {
    /// Applies the layer to `x` `[positions, in]`; the result is `[positions, out]`. `taps` are
    /// given where the layer's per-sample gradients are wanted, and only with an autodiff backend.
    pub fn forward(&self, x: Tensor<B, 2>, taps: Option<&mut Taps<B>>) -> Tensor<B, 2> {
        let here = x.dtype();
        let bias = self.bias.clone().map(|bias| as_type(bias, here));
        let mut y = linear(x.clone(), as_type(self.weight.clone(), here), bias);
        if let Some(adapter) = &self.adapter {
            y = y + adapter.forward(x.clone());
        }
        if let Some(taps) = taps {
            let probe = y.zeros_like().detach().require_grad();
            taps.taps.push(Tap { name: self.name.clone(), input: x, probe: probe.clone() });
            y = y + probe;
        }
        y
    }

    /// The layer in another backend.
    pub fn transferred<To: Backend>(&self, by: &impl Transfer<B, To>) -> Linear<To> {
        let adapter = |adapter: &Adapter<B>| Adapter {
            a: by.tensor(&adapter.a),
            b: by.tensor(&adapter.b),
            scale: adapter.scale,
            dropout: adapter.dropout,
        };
        Linear {
            name: self.name.clone(),
            weight: by.tensor(&self.weight),
            bias: self.bias.as_ref().map(|bias| by.tensor(bias)),
            adapter: self.adapter.as_ref().map(adapter),
        }
    }

    /// Adds the adapter to the weight and drops it.
    pub fn merge(&mut self) {
        if let Some(adapter) = self.adapter.take() {
            let update = adapter.a.matmul(adapter.b) * adapter.scale;
            let here = self.weight.dtype();
            self.weight = as_type(single(self.weight.clone()) + update, here);
        }
    }
}

impl<B: Backend> Adapter<B> {
    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let x = match self.dropout {
            0.0 => x,
            rate => {
                let kept = Distribution::Bernoulli(1.0 - rate);
                let mask = as_type(Tensor::random(x.dims(), kept, &x.device()), x.dtype());
                x * mask / (1.0 - rate)
            }
        };
        let here = x.dtype();
        x.matmul(as_type(self.a.clone(), here)).matmul(as_type(self.b.clone(), here)) * self.scale
    }
}
