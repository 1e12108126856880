//! The fused operations under automatic differentiation: each registers its backward pass.

use std::ops::Range;

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::{Heads, Kernels};
use crate::ml::projection::Projection;

#[derive(Debug)]
struct RmsNorm;

#[derive(Debug)]
struct Swiglu;

#[derive(Debug)]
struct Attention;

impl<B: Kernels> Backward<B, 2> for RmsNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let results = B::rms_norm_backward(x, weight, gradient, epsilon);
        register::<B, 2>(gradients, ops.parents.map(|parent| Some(parent?.id)), results);
    }
}

impl<B: Kernels> Backward<B, 2> for Swiglu {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (gate, up) = ops.state;
        let results = B::swiglu_backward(gate, up, gradient);
        register::<B, 2>(gradients, ops.parents.map(|parent| Some(parent?.id)), results);
    }
}

impl<B: Kernels> Backward<B, 3> for Attention {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Heads);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (query, key, value, heads) = ops.state;
        let results = B::grouped_attention_backward(query, key, value, gradient, heads);
        register::<B, 3>(gradients, ops.parents.map(|parent| Some(parent?.id)), results);
    }
}

/// Gives every tracked parent of an operation its gradient.
fn register<B: Backend, const N: usize>(
    gradients: &mut Gradients,
    parents: [Option<NodeId>; N],
    results: [FloatTensor<B>; N],
) {
    for (parent, result) in parents.into_iter().zip(results) {
        if let Some(parent) = parent {
            gradients.register::<B>(parent, result);
        }
    }
}

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let output = B::rms_norm(x.primitive.clone(), weight.primitive.clone(), epsilon);
        match RmsNorm.prepare::<C>([x.node.clone(), weight.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((x.primitive, weight.primitive, epsilon), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f32,
    ) -> [FloatTensor<Self>; 2] {
        B::rms_norm_backward(x.primitive, weight.primitive, gradient.primitive, epsilon).map(constant::<B, C>)
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let output = B::swiglu(gate.primitive.clone(), up.primitive.clone());
        match Swiglu.prepare::<C>([gate.node.clone(), up.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((gate.primitive, up.primitive), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2] {
        B::swiglu_backward(gate.primitive, up.primitive, gradient.primitive).map(constant::<B, C>)
    }

    fn grouped_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self> {
        let output =
            B::grouped_attention(query.primitive.clone(), key.primitive.clone(), value.primitive.clone(), heads);
        let parents = [query.node.clone(), key.node.clone(), value.node.clone()];
        match Attention.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                prepared.finish((query.primitive, key.primitive, value.primitive, heads), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn grouped_attention_backward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        heads: Heads,
    ) -> [FloatTensor<Self>; 3] {
        let gradient = gradient.primitive;
        B::grouped_attention_backward(query.primitive, key.primitive, value.primitive, gradient, heads)
            .map(constant::<B, C>)
    }

    fn projection(projection: &Projection, rows: Range<usize>, device: &Self::Device) -> FloatTensor<Self> {
        constant::<B, C>(B::projection(projection, rows, device))
    }

    fn sum_of_squares(x: FloatTensor<Self>) -> f64 {
        B::sum_of_squares(x.primitive)
    }
}

/// A tensor that no gradient flows through: the backward passes are not differentiated again.
fn constant<B: Kernels, C: CheckpointStrategy>(primitive: FloatTensor<B>) -> FloatTensor<Autodiff<B, C>> {
    <Autodiff<B, C> as burn::tensor::backend::AutodiffBackend>::from_inner(primitive)
}
