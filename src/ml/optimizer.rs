//! Which parameters are trained, their gradients, and AdamW (Loshchilov and Hutter 2019).

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use super::kernels::{Kernels, sum_of_squares};
use super::linear::Linear;
use super::parameters::{Part, Visitor, weight_and_bias};
use super::precision::single;

/// What a training changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// Every parameter.
    Everything,
    /// The adapters of the language model, and the projector.
    Adapters,
}

/// Gradients by parameter name, flattened.
pub type Gradients<B> = BTreeMap<String, Tensor<<B as AutodiffBackend>::InnerBackend, 1>>;

impl Trained {
    /// Calls `visitor` for the trained parameters only.
    fn includes(self, part: Part) -> bool {
        self == Trained::Everything || part == Part::Projector
    }
}

/// Marks the trained parameters, so that gradients reach them. They are kept in f32, whatever the rest of
/// the model is in: steps of the optimiser are too small for less.
pub struct Mark(pub Trained);

impl<B: AutodiffBackend> Visitor<B> for Mark {
    fn tensor<const D: usize>(&mut self, _: &str, part: Part, _: bool, tensor: &mut Tensor<B, D>) {
        if self.0.includes(part) {
            *tensor = single(tensor.clone().detach()).require_grad();
        }
    }

    fn linear(&mut self, part: Part, linear: &mut Linear<B>) {
        weight_and_bias(self, part, linear);
        if let Some(adapter) = &mut linear.adapter {
            adapter.a = adapter.a.clone().detach().require_grad();
            adapter.b = adapter.b.clone().detach().require_grad();
        }
    }
}

/// Adds the gradients of one backward pass to `sum`.
pub struct Collect<'a, B: AutodiffBackend> {
    /// What the backward pass left.
    pub found: &'a B::Gradients,
    /// Where to add.
    pub sum: &'a mut Gradients<B>,
}

impl<B: AutodiffBackend> Visitor<B> for Collect<'_, B> {
    fn tensor<const D: usize>(&mut self, name: &str, _: Part, _: bool, tensor: &mut Tensor<B, D>) {
        let Some(gradient) = tensor.grad(self.found) else { return };
        let gradient = gradient.reshape([-1]);
        let gradient = match self.sum.remove(name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.sum.insert(name.to_string(), gradient);
    }

    fn linear(&mut self, part: Part, linear: &mut Linear<B>) {
        weight_and_bias(self, part, linear);
        each_adapter(self, part, linear);
    }
}

/// Shows the adapter of a linear layer, if it has one.
pub(super) fn each_adapter<B: AutodiffBackend>(visitor: &mut impl Visitor<B>, part: Part, linear: &mut Linear<B>) {
    if let Some(adapter) = &mut linear.adapter {
        visitor.tensor(&format!("{}.lora_A", linear.name), part, true, &mut adapter.a);
        visitor.tensor(&format!("{}.lora_B", linear.name), part, true, &mut adapter.b);
    }
}

/// The L2 norm over all gradients.
pub fn norm<B: AutodiffBackend>(gradients: &Gradients<B>) -> f64
where
    B::InnerBackend: Kernels,
{
    gradients.values().map(|gradient| sum_of_squares(gradient.clone())).sum::<f64>().sqrt()
}

/// AdamW with β = (0.9, 0.999) and ε = 1e-8, as `transformers` trains LLaVA.
pub struct AdamW<B: AutodiffBackend> {
    /// Decoupled weight decay, on matrices only.
    pub weight_decay: f64,
    steps: i32,
    moments: BTreeMap<String, [Tensor<B::InnerBackend, 1>; 2]>,
}

/// One step of the optimiser, as a visitor.
pub struct Step<'a, B: AutodiffBackend> {
    /// The state.
    pub optimizer: &'a mut AdamW<B>,
    /// The gradients; taken as they are used.
    pub gradients: Gradients<B>,
    /// Factor on every gradient: what clipping asks for.
    pub factor: f64,
    /// Learning rate of the language model and the vision tower.
    pub learning_rate: f64,
    /// Learning rate of the projector.
    pub projector_learning_rate: f64,
}

/// β₁ and β₂.
pub const BETAS: [f64; 2] = [0.9, 0.999];
/// What keeps the update finite.
pub const EPSILON: f64 = 1e-8;

impl<B: AutodiffBackend> AdamW<B> {
    /// An optimiser that has seen nothing.
    pub fn new(weight_decay: f64) -> AdamW<B> {
        AdamW { weight_decay, steps: 0, moments: BTreeMap::new() }
    }

    /// Counts a step; to be called before the step's visitor walks.
    pub fn advance(&mut self) {
        self.steps += 1;
    }

    /// Brings an optimiser that has seen nothing to where it was after so many steps.
    pub fn resume(&mut self, steps: usize, moments: BTreeMap<String, [Tensor<B::InnerBackend, 1>; 2]>) {
        self.steps = i32::try_from(steps).expect("BUG: more steps than an optimiser makes");
        self.moments = moments;
    }

    /// The running averages of a parameter's gradients and of their squares, flattened and not corrected for
    /// the start; none for a parameter without gradients.
    pub fn moments(&self, name: &str) -> Option<&[Tensor<B::InnerBackend, 1>; 2]> {
        self.moments.get(name)
    }
}

impl<B: AutodiffBackend> Visitor<B> for Step<'_, B> {
    fn tensor<const D: usize>(&mut self, name: &str, part: Part, _: bool, tensor: &mut Tensor<B, D>) {
        let Some(gradient) = self.gradients.remove(name) else { return };
        let gradient = if self.factor == 1.0 { gradient } else { gradient * self.factor };
        let rate = if part == Part::Projector { self.projector_learning_rate } else { self.learning_rate };
        let [first, second] = match self.optimizer.moments.remove(name) {
            Some(moments) => moments,
            None => [gradient.zeros_like(), gradient.zeros_like()],
        };
        let first = first * BETAS[0] + gradient.clone() * (1.0 - BETAS[0]);
        let second = second * BETAS[1] + gradient.clone() * gradient * (1.0 - BETAS[1]);
        let corrections = BETAS.map(|beta| 1.0 - beta.powi(self.optimizer.steps));
        let spread = second.clone().sqrt() / corrections[1].sqrt() + EPSILON;
        let mut update = first.clone() / spread * (rate / corrections[0]);
        self.optimizer.moments.insert(name.to_string(), [first, second]);
        let shape = tensor.dims();
        let value = tensor.clone().inner().reshape([-1]);
        if D > 1 && self.optimizer.weight_decay > 0.0 {
            update = update + value.clone() * (rate * self.optimizer.weight_decay);
        }
        *tensor = Tensor::from_inner((value - update).reshape(shape)).require_grad();
    }

    fn linear(&mut self, part: Part, linear: &mut Linear<B>) {
        weight_and_bias(self, part, linear);
        each_adapter(self, part, linear);
    }
}
