//! How a model's tensors come from weights and go back: one source to build from, one visitor to
//! walk with.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::linear::Linear;
use super::precision::Precision;
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
        weight_and_bias(self, part, linear);
    }
}

/// Shows the weight and bias of a linear layer.
pub fn weight_and_bias<B: Backend>(visitor: &mut (impl Visitor<B> + ?Sized), part: Part, linear: &mut Linear<B>) {
    let name = linear.name.clone();
    visitor.tensor(&format!("{name}.weight"), part, true, &mut linear.weight);
    if let Some(bias) = &mut linear.bias {
        visitor.tensor(&format!("{name}.bias"), part, false, bias);
    }
}

/// Moves a tensor between a backend and its differentiable counterpart; both share its memory.
pub trait Transfer<From: Backend, To: Backend> {
    /// The same numbers in the other backend.
    fn tensor<const D: usize>(&self, tensor: &Tensor<From, D>) -> Tensor<To, D>;
}

/// To the plain backend, away from every graph.
pub struct Detached;

/// To the differentiable backend; nothing is marked for gradients.
pub struct Differentiable;

impl<B: AutodiffBackend> Transfer<B, B::InnerBackend> for Detached {
    fn tensor<const D: usize>(&self, tensor: &Tensor<B, D>) -> Tensor<B::InnerBackend, D> {
        tensor.clone().inner()
    }
}

impl<B: AutodiffBackend> Transfer<B::InnerBackend, B> for Differentiable {
    fn tensor<const D: usize>(&self, tensor: &Tensor<B::InnerBackend, D>) -> Tensor<B, D> {
        Tensor::from_inner(tensor.clone())
    }
}

/// Builds tensors from weights, one after the other: no more than two copies of one tensor are on the
/// host besides the model itself.
pub struct Source<'a, B: Backend> {
    weights: &'a Weights,
    precision: Precision,
    device: B::Device,
}

impl<'a, B: Backend> Source<'a, B> {
    /// A source of tensors on `device`.
    pub fn new(weights: &'a Weights, precision: Precision, device: &B::Device) -> Source<'a, B> {
        Source { weights, precision, device: device.clone() }
    }

    /// The tensor `name` of `length` elements.
    ///
    /// # Errors
    ///
    /// As all others here: if the tensor is missing, has another shape or cannot be read.
    pub fn vector(&self, name: &str, length: usize) -> anyhow::Result<Tensor<B, 1>> {
        Ok(self.tensor(self.weights.fetch(name, &[length])?, [length]))
    }

    /// The tensor `name`, laid out as in the files.
    pub fn matrix(&self, name: &str, shape: [usize; 2]) -> anyhow::Result<Tensor<B, 2>> {
        Ok(self.tensor(self.weights.fetch(name, &shape)?, shape))
    }

    /// The tensor `name` of any shape with a leading dimension `rows`, as `[rest, rows]`.
    pub fn flattened(&self, name: &str, shape: &[usize]) -> anyhow::Result<Tensor<B, 2>> {
        let values = self.weights.fetch(name, shape)?;
        let rows = shape[0];
        let rest = shape[1..].iter().product();
        Ok(self.tensor(transposed(&values, rows, rest), [rest, rows]))
    }

    /// The linear layer `name`: `name.weight` `[output, input]` in the files, and `name.bias`.
    pub fn linear(&self, name: &str, input: usize, output: usize, bias: bool) -> anyhow::Result<Linear<B>> {
        Ok(Linear {
            name: name.to_string(),
            weight: self.flattened(&format!("{name}.weight"), &[output, input])?,
            bias: bias.then(|| self.vector(&format!("{name}.bias"), output)).transpose()?,
            adapter: None,
        })
    }

    fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<B, D> {
        Tensor::from_data(TensorData::new(values, shape), (&self.device, self.precision.number_type()))
    }
}

/// `values` `[rows, columns]` as `[columns, rows]`.
pub fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    /// Columns that are gathered together, so that each line of the source is read once.
    const TILE: usize = 16;
    let mut result = vec![0.0; values.len()];
    result.par_chunks_mut((TILE * rows).max(1)).enumerate().for_each(|(tile, result)| {
        let first = tile * TILE;
        for row in 0..rows {
            let source = &values[row * columns + first..row * columns + (first + TILE).min(columns)];
            for (column, value) in source.iter().enumerate() {
                result[column * rows + row] = *value;
            }
        }
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_moves_every_element_to_its_place() {
        for (rows, columns) in [(3, 50), (40, 16), (1, 7), (7, 1)] {
            let values: Vec<f32> = (0..rows * columns).map(|index| index as f32).collect();
            let turned = transposed(&values, rows, columns);
            let at = |row: usize, column: usize| values[row * columns + column];
            assert!((0..rows * columns).all(|index| turned[index] == at(index % rows, index / rows)));
        }
    }
}
