//! The ways to a sample's vectors: a forward pass alone, a backward pass, or differences of losses.

use anyhow::{Context as _, bail, ensure};
use burn::tensor::{Tensor, TensorData};

use super::{Kind, Order, Owner, Params, ProjectionKind};
use crate::ml::device::Compute;
use crate::ml::factors::{self, Factors};
use crate::ml::gradient::{Extraction, Preconditioner};
use crate::ml::hidden::Readout;
use crate::ml::language;
use crate::ml::llava::Llava;
use crate::ml::moments::Moments;
use crate::ml::precision::Precision;
use crate::ml::projection::Projection;
use crate::ml::samples::Inputs;
use crate::ml::weights::Checkpoint;
use crate::ml::zeroth::{Perturbation, Probes};
use crate::selection::random::Draws;
use crate::stage::Context;
use crate::stages::learned::preparation::{Adapted, adapters};

/// How vectors are made.
pub enum Way<B: Compute> {
    /// Hidden vectors only.
    Forward(Box<Llava<B>>),
    /// By a backward pass.
    Backward(Box<Backward<B>>),
    /// By differences of losses.
    Differences(Box<Differences<B>>),
}

/// What a backward pass needs.
pub struct Backward<B: Compute> {
    model: Llava<B::Differentiable>,
    adapted: Adapted<B>,
    extraction: Extraction,
    factors: Option<Factors<B>>,
    preconditioner: Option<Preconditioner<B>>,
    sign: bool,
}

/// What differences of losses need.
pub struct Differences<B: Compute> {
    model: Llava<B>,
    perturbation: Perturbation<B>,
    /// The directions that all samples share; none where each has its own.
    shared: Option<Probes<B>>,
    /// How many directions each sample has.
    probes: usize,
    seed: u64,
}

/// The gradients that a way gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// None.
    Absent,
    /// Vectors of this length as they are to be written.
    Final(usize),
    /// Gradients of so many parameters that are still to be projected to so many dimensions.
    Raw {
        /// Length of a gradient.
        parameters: usize,
        /// Length of a vector.
        dimensions: usize,
    },
}

/// The vectors of a batch.
pub struct Found<B: Compute> {
    /// `[batch, …]`, where there are any.
    pub gradients: Option<Tensor<B, 2>>,
    /// One per sample.
    pub hidden: Vec<Vec<f32>>,
}

/// Most parameters whose gradients are written without a projection: half a megabyte for a sample.
const UNPROJECTED: usize = 1 << 17;

impl<B: Compute> Way<B> {
    /// The way that the params ask for, and what it gives.
    pub fn new(
        context: &Context<'_>,
        params: &Params,
        checkpoint: &Checkpoint,
        layers: Vec<usize>,
        device: &B::Device,
    ) -> anyhow::Result<(Way<B>, Form)> {
        if params.gradient == Kind::None {
            let model = Llava::load(checkpoint, params.precision, device)?;
            return Ok((Way::Forward(Box::new(model)), Form::Absent));
        }
        let adapted = adapters::<B>(checkpoint, params.rank, params.alpha, params.seed, device)?;
        match params.order {
            Order::First => {
                let (backward, form) = Backward::new(context, params, checkpoint, adapted, layers, device)?;
                Ok((Way::Backward(Box::new(backward)), form))
            }
            Order::Zeroth => {
                let (differences, form) = Differences::new(context, params, checkpoint, adapted, layers, device)?;
                Ok((Way::Differences(Box::new(differences)), form))
            }
        }
    }

    /// The vectors of a batch of samples with these names: the first of `inputs` is the batch, where they are
    /// wanted the others are its samples one by one.
    pub fn run(&mut self, inputs: &[Inputs], names: &[&str], readout: &Readout) -> anyhow::Result<Found<B>> {
        let whole = &inputs[0];
        match self {
            Way::Forward(model) => Ok(Found { gradients: None, hidden: readout.run(model, whole)? }),
            Way::Backward(backward) => {
                let Backward { model, adapted, extraction, factors, preconditioner, sign } = &mut **backward;
                let found = extraction.read(model, &adapted.adapters, whole, readout, factors.as_mut())?;
                let gradients = match (preconditioner, sign) {
                    (Some(preconditioner), _) => preconditioner.apply(found.gradients),
                    (None, true) => found.gradients.sign(),
                    (None, false) => found.gradients,
                };
                Ok(Found { gradients: Some(gradients), hidden: found.hidden })
            }
            Way::Differences(differences) => {
                let Differences { model, perturbation, shared, probes, seed } = &mut **differences;
                let hidden = readout.run(model, whole)?;
                let rows = match shared {
                    Some(shared) => perturbation.derivatives(model, shared, whole),
                    None => {
                        let own = inputs[1..].iter().zip(names).map(|(inputs, name)| {
                            let seed = Draws::new(*seed, &format!("probes of {name}")).seed();
                            let probes = perturbation.probes(Projection { seed, dimensions: *probes });
                            perturbation.estimate(model, &probes, inputs)
                        });
                        own.collect()
                    }
                };
                let shape = [rows.len(), rows.first().map_or(0, Vec::len)];
                let data = TensorData::new(rows.concat(), shape);
                Ok(Found { gradients: Some(Tensor::from_data(data, model.device())), hidden })
            }
        }
    }

    /// Whether samples are wanted one by one besides.
    pub fn wants_each(&self) -> bool {
        matches!(self, Way::Differences(differences) if differences.shared.is_none())
    }
}

impl<B: Compute> Backward<B> {
    fn new(
        context: &Context<'_>,
        params: &Params,
        checkpoint: &Checkpoint,
        adapted: Adapted<B>,
        layers: Vec<usize>,
        device: &B::Device,
    ) -> anyhow::Result<(Backward<B>, Form)> {
        let matrices = matrices(checkpoint, &adapted, &layers)?;
        let parameters: usize = matrices.iter().map(|(_, [rows, columns])| rows * columns).sum();
        let mut factors = None;
        let form = match params.projection {
            ProjectionKind::Rademacher => Form::Raw { parameters, dimensions: params.dimensions },
            ProjectionKind::None => {
                ensure!(
                    parameters <= UNPROJECTED,
                    "`projection: none` would write {parameters} numbers for each sample, and at most {UNPROJECTED} are \
                     allowed\nhint: `projection: rademacher`, or fewer `layers`"
                );
                Form::Final(parameters)
            }
            ProjectionKind::Factorized => {
                ensure!(
                    params.gradient == Kind::Sgd,
                    "`projection: factorized` projects the factors of a gradient before it is formed, so there is no \
                     gradient to take the sign or Adam's step of\nhint: `gradient: sgd`, or `projection: rademacher`"
                );
                let side = factors::side(params.dimensions, matrices.len()).with_context(|| {
                    format!(
                        "`projection: factorized` needs a number for each of {} matrices, and `dimensions` is {}",
                        matrices.len(),
                        params.dimensions
                    )
                })?;
                factors = Some(Factors::new(params.seed, side));
                Form::Final(factors::dimensions(matrices.iter().map(|(_, shape)| *shape), side))
            }
        };
        let preconditioner = match params.gradient {
            Kind::Adam => {
                let Some(moments) = Moments::find(&checkpoint.companions)? else {
                    bail!(
                        "`gradient: adam` needs what Adam knew after the training of the checkpoint, and `{}` has no \
                         `adapter/optimizer.safetensors`\nhint: train it with `keep_optimizer: true`, or take `gradient: sgd`",
                        checkpoint.companions.display()
                    )
                };
                let sizes: Vec<(String, usize)> =
                    matrices.into_iter().map(|(name, [rows, columns])| (name, rows * columns)).collect();
                let [first, second] = moments.of(&sizes).context("cannot use `adapter/optimizer.safetensors`")?;
                Some(Preconditioner::new(first, second, device))
            }
            _ => None,
        };
        let checkpointing = context.execution().gradient_checkpointing;
        let extraction = Extraction { layers, scale: adapted.scale, checkpointing };
        let model = Llava::load(checkpoint, params.precision, device)?;
        let sign = params.gradient == Kind::Sign;
        Ok((Backward { model, adapted, extraction, factors, preconditioner, sign }, form))
    }
}

impl<B: Compute> Differences<B> {
    fn new(
        context: &Context<'_>,
        params: &Params,
        checkpoint: &Checkpoint,
        adapted: Adapted<B>,
        layers: Vec<usize>,
        device: &B::Device,
    ) -> anyhow::Result<(Differences<B>, Form)> {
        ensure!(
            params.gradient == Kind::Sgd,
            "`order: zeroth` knows derivatives of losses only, not the sign of a gradient or Adam's step\n\
             hint: `gradient: sgd`, or `order: first`"
        );
        if params.precision != Precision::F32 {
            context.warn("differences of losses in bf16 are mostly rounding: `order: zeroth` wants `precision: f32`");
        }
        let mut model = Llava::load(checkpoint, params.precision, device)?;
        let perturbation = Perturbation::new(&mut model, &adapted.adapters, layers, adapted.scale, params.epsilon)?;
        let (seed, probes) = (params.seed, params.probes);
        let (shared, form) = match params.probes_of {
            Owner::Shared => (Some(perturbation.probes(Projection { seed, dimensions: probes })), Form::Final(probes)),
            Owner::Sample => {
                let parameters = perturbation.parameters();
                (None, Form::Raw { parameters, dimensions: params.dimensions })
            }
        };
        Ok((Differences { model, perturbation, shared, probes, seed }, form))
    }
}

/// The adapters' matrices in the chosen layers with their shapes, in the order of the gradients.
fn matrices<B: Compute>(
    checkpoint: &Checkpoint,
    adapted: &Adapted<B>,
    layers: &[usize],
) -> anyhow::Result<Vec<(String, [usize; 2])>> {
    let all = language::adapted(&checkpoint.config.text);
    let each = all.len() / checkpoint.config.text.layers;
    let mut matrices = Vec::new();
    for layer in layers {
        for (name, [inputs, outputs]) in &all[layer * each..(layer + 1) * each] {
            let (a, _) = adapted.adapters.get(name).with_context(|| format!("there is no adapter for `{name}`"))?;
            let rank = a.dims()[1];
            matrices.push((format!("{name}.lora_A"), [rank, *inputs]));
            matrices.push((format!("{name}.lora_B"), [*outputs, rank]));
        }
    }
    Ok(matrices)
}
