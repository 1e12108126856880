//! How a model's tensors come from weights and go back: one source to build from, one visitor to
//! walk with.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::linear::Linear;
use super::weights::Weights;

/// The part of the model that a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The language model.
    Language,
    /// The projector between vision tower and language model.
    Projector,
    /// The vision tower.
    Vision,
}

/// Sees every parameter of a model, in a fixed order.
pub trait Visitor<B: Backend> {
    /// A parameter by its canonical name. `transposed` says that the files have it transposed.
    fn tensor<const D: usize>(&mut self, name: &str, part: Part, transposed: bool, tensor: &mut Tensor<B, D>);

    /// A linear layer: by default its weight and bias, not its adapter.
    fn linear(&mut self, part: Part, linear: &mut Linear<B>) {
        let name = linear.name.clone();
        self.tensor(&format!("{name}.weight"), part, true, &mut linear.weight);
        if let Some(bias) = &mut linear.bias {
            self.tensor(&format!("{name}.bias"), part, false, bias);
        }
    }
}

/// Builds tensors from weights that have passed [`Weights::check`].
pub struct Source<'a, B: Backend> {
    weights: &'a Weights,
    device: B::Device,
}

impl<'a, B: Backend> Source<'a, B> {
    /// A source of tensors on `device`.
    pub fn new(weights: &'a Weights, device: &B::Device) -> Source<'a, B> {
        Source { weights, device: device.clone() }
    }

    /// The tensor `name` of `length` elements.
    pub fn vector(&self, name: &str, length: usize) -> Tensor<B, 1> {
        Tensor::from_data(TensorData::new(self.values(name, &[length]), [length]), &self.device)
    }

    /// The tensor `name`, laid out as in the files.
    pub fn matrix(&self, name: &str, shape: [usize; 2]) -> Tensor<B, 2> {
        Tensor::from_data(TensorData::new(self.values(name, &shape), shape), &self.device)
    }

    /// The tensor `name` of any shape with a leading dimension `rows`, as `[rest, rows]`.
    pub fn flattened(&self, name: &str, shape: &[usize]) -> Tensor<B, 2> {
        let values = self.values(name, shape);
        let rows = shape[0];
        let rest = shape[1..].iter().product();
        Tensor::from_data(TensorData::new(transposed(&values, rows, rest), [rest, rows]), &self.device)
    }

    /// The linear layer `name`: `name.weight` `[output, input]` in the files, and `name.bias`.
    pub fn linear(&self, name: &str, input: usize, output: usize, bias: bool) -> Linear<B> {
        Linear {
            name: name.to_string(),
            weight: self.flattened(&format!("{name}.weight"), &[output, input]),
            bias: bias.then(|| self.vector(&format!("{name}.bias"), output)),
            adapter: None,
        }
    }

    fn values(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let tensor = self.weights.expect(name, shape);
        tensor.expect("BUG: the weights were checked against the config").values.clone()
    }
}

/// `values` `[rows, columns]` as `[columns, rows]`.
pub fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(values.len());
    for column in 0..columns {
        result.extend((0..rows).map(|row| values[row * columns + column]));
    }
    result
}
