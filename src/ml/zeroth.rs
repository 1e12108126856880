//! Gradients of samples without a backward pass: differences of losses along random directions
//! (simultaneous perturbation, Spall 1992; MeZO, Malladi et al. 2023).
//!
//! With W = W₀ + s·A·B the weight of an adapted layer, a direction (P, Q) of its adapter and a step ε,
//! the perturbed weight is `W₀ + s·(A ± εP)(B ± εQ) = W ± sε·(P(B ± εQ) + AQ)`: a low-rank update of W
//! itself, so the adapter may be merged. The terms in ε² are the same on both sides, and half the
//! difference of the losses over ε is the derivative ⟨∂L/∂A, P⟩ + ⟨∂L/∂B, Q⟩ but for an error in ε².
//!
//! The elements of the directions are ±1: the columns of the [`Projection`] of the same seed. With
//! directions that all samples share, the vector of a sample's derivatives therefore is its gradient
//! projected to as many dimensions as there are directions, and angles between samples are kept. With
//! directions of its own each sample's vector is a number times an independent random direction, and
//! says nothing about its angle to another's. Layers below the lowest adapted one are computed once for
//! all directions.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::gradient::Adapters;
use super::kernels::Kernels;
use super::linear::Adapter;
use super::llava::{Llava, host};
use super::loss::{Targets, log_probabilities, token_losses};
use super::projection::{Projection, WORD};
use super::samples::Inputs;

/// The adapters that are perturbed, and how far.
pub struct Perturbation<B: Backend> {
    /// The decoder layers, ascending.
    layers: Vec<usize>,
    /// Alpha over rank.
    scale: f64,
    /// The step ε along a direction.
    epsilon: f64,
    /// The adapted linear layers of these decoder layers: place among all, A `[in, rank]`, B `[rank, out]`.
    adapters: Vec<(usize, Tensor<B, 2>, Tensor<B, 2>)>,
}

/// Directions in the space of the adapters' parameters.
pub struct Probes<B: Backend> {
    projection: Projection,
    /// The signs of every parameter's row, in words of [`WORD`] directions.
    signs: Vec<u64>,
    /// The directions on the device, where they fit.
    kept: Vec<Vec<[Tensor<B, 2>; 2]>>,
}

/// Linear layers of a decoder layer that have an adapter.
const LINEARS: usize = 7;
/// Elements of directions that are kept on the device: 256 MiB.
const KEPT: usize = 64 << 20;

impl<B: Kernels> Perturbation<B> {
    /// Perturbs the adapters of these decoder layers, which `model`'s weights already include (or whose
    /// B is zero).
    ///
    /// # Errors
    ///
    /// If an adapter is missing.
    pub fn new(
        model: &mut Llava<B>,
        adapters: &Adapters<B>,
        layers: Vec<usize>,
        scale: f64,
        epsilon: f64,
    ) -> anyhow::Result<Perturbation<B>> {
        let linears = model.language.adapted_mut().enumerate();
        let chosen = linears.filter(|(place, _)| layers.contains(&(place / LINEARS)));
        let found = chosen.map(|(place, linear)| {
            let (a, b) = adapters
                .get(&linear.name)
                .ok_or_else(|| anyhow::anyhow!("there is no adapter for `{}`", linear.name))?;
            anyhow::Ok((place, a.clone(), b.clone()))
        });
        let adapters = found.collect::<anyhow::Result<_>>()?;
        Ok(Perturbation { layers, scale, epsilon, adapters })
    }

    /// How many parameters are perturbed.
    pub fn parameters(&self) -> usize {
        self.adapters.iter().map(|(_, a, b)| a.dims()[0] * a.dims()[1] + b.dims()[0] * b.dims()[1]).sum()
    }

    /// As many directions as `projection` has dimensions.
    pub fn probes(&self, projection: Projection) -> Probes<B> {
        let parameters = self.parameters();
        let mut probes = Probes { projection, signs: projection.signs(0..parameters), kept: vec![] };
        if parameters * projection.dimensions <= KEPT {
            probes.kept = (0..projection.dimensions).map(|probe| self.direction(&probes, probe)).collect();
        }
        probes
    }

    /// A direction in the adapters' shapes. Parameters are counted as gradients are: A `[rank, in]` before
    /// B `[out, rank]`, each row by row.
    fn direction(&self, probes: &Probes<B>, probe: usize) -> Vec<[Tensor<B, 2>; 2]> {
        let mut at = 0;
        let mut matrix = |like: &Tensor<B, 2>| {
            let [rows, columns] = like.dims();
            let values = probes.signs_of(probe, at..at + rows * columns);
            at += rows * columns;
            Tensor::<B, 2>::from_data(TensorData::new(values, [columns, rows]), &like.device()).transpose()
        };
        self.adapters.iter().map(|(_, a, b)| [matrix(a), matrix(b)]).collect()
    }

    /// For each sample of a batch, the derivatives of its loss along every direction over the root of
    /// their number: `[batch, directions]`.
    pub fn derivatives(&self, model: &mut Llava<B>, probes: &Probes<B>, inputs: &Inputs) -> Vec<Vec<f32>> {
        let targets = Targets::of(&inputs.text);
        let batch = inputs.text.samples;
        let lowest = self.layers[0];
        let below = model.language.through(0..lowest, model.embed(inputs), batch, None, None);
        let factor = 1.0 / (2.0 * self.epsilon * (probes.count() as f64).sqrt());
        let mut vectors = vec![Vec::with_capacity(probes.count()); batch];
        for probe in 0..probes.count() {
            let direction = match probes.kept.get(probe) {
                Some(kept) => kept.clone(),
                None => self.direction(probes, probe),
            };
            let [up, down] = [1.0, -1.0].map(|sign| {
                self.shift(model, &direction, sign);
                let top = model.language.through(lowest..model.language.depth(), below.clone(), batch, None, None);
                let logs = log_probabilities(model, model.language.normed(top), &targets);
                host(token_losses(logs, &targets))
            });
            // Token by token, for the difference of two means has fewer digits.
            let differences: Vec<f32> = up.iter().zip(&down).map(|(up, down)| up - down).collect();
            for (vector, difference) in vectors.iter_mut().zip(targets.means(&differences)) {
                vector.push((f64::from(difference) * factor) as f32);
            }
        }
        model.language.adapted_mut().for_each(|linear| linear.adapter = None);
        vectors
    }

    /// The gradient of one sample as its own directions show it, `1/m · Σⱼ derivativeⱼ · directionⱼ`,
    /// in the order of the parameters.
    pub fn estimate(&self, model: &mut Llava<B>, probes: &Probes<B>, inputs: &Inputs) -> Vec<f32> {
        let derivatives = self.derivatives(model, probes, inputs).remove(0);
        let mut sum = vec![0.0f32; self.parameters()];
        for (probe, derivative) in derivatives.iter().enumerate() {
            // The derivatives were divided by the root of their number once.
            let weight = derivative / (probes.count() as f32).sqrt();
            let signs = probes.signs_of(probe, 0..sum.len());
            sum.par_iter_mut().zip(signs).for_each(|(sum, sign)| *sum += weight * sign);
        }
        sum
    }

    /// Moves the weights by ±ε along a direction.
    fn shift(&self, model: &mut Llava<B>, direction: &[[Tensor<B, 2>; 2]], sign: f64) {
        let mut linears = model.language.adapted_mut().enumerate();
        for ((place, a, b), [p, q]) in self.adapters.iter().zip(direction) {
            let (_, linear) = linears.find(|(found, _)| found == place).expect("BUG: its adapter was found here");
            let moved = b.clone() + q.clone() * (sign * self.epsilon);
            linear.adapter = Some(Adapter {
                a: Tensor::cat(vec![p.clone(), a.clone()], 1),
                b: Tensor::cat(vec![moved, q.clone()], 0),
                scale: sign * self.epsilon * self.scale,
                dropout: 0.0,
            });
        }
    }
}

impl<B: Backend> Probes<B> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.projection.dimensions
    }

    /// The elements of a direction at these parameters: ±1.
    fn signs_of(&self, probe: usize, parameters: std::ops::Range<usize>) -> Vec<f32> {
        let words = self.count().div_ceil(WORD);
        let sign = |parameter: usize| {
            let word = self.signs[parameter * words + probe / WORD];
            if word >> (probe % WORD) & 1 == 1 { -1.0 } else { 1.0 }
        };
        parameters.into_par_iter().map(sign).collect()
    }
}
