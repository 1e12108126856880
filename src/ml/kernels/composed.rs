//! The fused operations as compositions of burn's own, for backends whose strength is large operations.
//! Products of matrices are computed in the type of the inputs, everything else in f32.

use std::ops::Range;

use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, ElementConversion, Int, Tensor, TensorData};

use super::rotation::Rotation;
use super::{Heads, unwrap, wrap};
use crate::ml::precision::{as_type, single};
use crate::ml::projection::{Projection, WORD};

/// See [`super::rms_norm`].
pub fn rms_norm<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, epsilon: f32) -> FloatTensor<B> {
    let (x, weight): (Tensor<B, 2>, Tensor<B, 1>) = (wrap(x), wrap(weight));
    let here = x.dtype();
    let x = single(x);
    let scale = inverse_root_mean_square(&x, epsilon);
    unwrap(as_type(x * scale * single(weight).unsqueeze::<2>(), here))
}

/// With r = 1/rms: ∂L/∂x = r·(g·w − x·r²·mean(g·w·x)), ∂L/∂w = Σ g·x·r.
pub fn rms_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
    epsilon: f32,
) -> [FloatTensor<B>; 2] {
    let (x, weight): (Tensor<B, 2>, Tensor<B, 1>) = (wrap(x), wrap(weight));
    let gradient: Tensor<B, 2> = single(wrap(gradient));
    let (of_x, of_weight) = (x.dtype(), weight.dtype());
    let x = single(x);
    let scale = inverse_root_mean_square(&x, epsilon);
    let weighted = gradient.clone() * single(weight).unsqueeze::<2>();
    let pull = (weighted.clone() * x.clone()).mean_dim(1) * scale.clone() * scale.clone();
    let to_x = (weighted - x.clone() * pull) * scale.clone();
    let to_weight = (gradient * x * scale).sum_dim(0).squeeze_dim::<1>(0);
    [unwrap(as_type(to_x, of_x)), unwrap(as_type(to_weight, of_weight))]
}

/// `[rows, 1]`.
fn inverse_root_mean_square<B: Backend>(x: &Tensor<B, 2>, epsilon: f32) -> Tensor<B, 2> {
    ((x.clone() * x.clone()).mean_dim(1) + epsilon).sqrt().recip()
}

/// See [`super::swiglu`].
pub fn swiglu<B: Backend>(gate: FloatTensor<B>, up: FloatTensor<B>) -> FloatTensor<B> {
    let (gate, up): (Tensor<B, 2>, Tensor<B, 2>) = (wrap(gate), wrap(up));
    let here = gate.dtype();
    let gate = single(gate);
    unwrap(as_type(gate.clone() * sigmoid(gate) * single(up), here))
}

/// With σ = sigmoid(gate): ∂L/∂up = g·gate·σ, ∂L/∂gate = g·up·(σ + gate·σ·(1 − σ)).
pub fn swiglu_backward<B: Backend>(
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> [FloatTensor<B>; 2] {
    let gate: Tensor<B, 2> = wrap(gate);
    let here = gate.dtype();
    let (gate, up, gradient) = (single(gate), single::<B, 2>(wrap(up)), single::<B, 2>(wrap(gradient)));
    let sigma = sigmoid(gate.clone());
    let silu = gate * sigma.clone();
    let slope = sigma.clone() + silu.clone() * (sigma.neg() + 1.0);
    [unwrap(as_type(gradient.clone() * up * slope, here)), unwrap(as_type(gradient * silu, here))]
}

/// See [`super::grouped_attention`].
pub fn grouped_attention<B: Backend>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    heads: Heads,
) -> FloatTensor<B> {
    let attention = Attention::<B>::new(wrap(query), wrap(key), wrap(value), heads);
    let here = attention.value.dtype();
    let output = as_type(attention.probabilities(), here).matmul(attention.value.clone());
    unwrap(ungrouped(output, heads))
}

/// With P the probabilities and G the gradient of the output: ∂V = Pᵀ G, ∂P = G Vᵀ,
/// ∂S = P ∘ (∂P − rowsum(P ∘ ∂P)), ∂Q = ∂S K / √width, ∂K = ∂Sᵀ Q / √width.
pub fn grouped_attention_backward<B: Backend>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    gradient: FloatTensor<B>,
    heads: Heads,
) -> [FloatTensor<B>; 3] {
    assert_eq!(heads.queries, heads.tokens, "BUG: a cached forward pass has no backward pass");
    let attention = Attention::<B>::new(wrap(query), wrap(key), wrap(value), heads);
    let gradient = grouped(wrap(gradient), heads);
    let here = attention.value.dtype();
    let probabilities = attention.probabilities();
    let of_value = as_type(probabilities.clone(), here).transpose().matmul(gradient.clone());
    let back = single(gradient.matmul(attention.value.clone().transpose()));
    let dot = (probabilities.clone() * back.clone()).sum_dim(3);
    let of_scores = as_type(probabilities * (back - dot), here);
    let scale = 1.0 / (heads.width as f32).sqrt();
    let of_query = of_scores.clone().matmul(attention.key.clone()) * scale;
    // The query is scaled already.
    let of_key = of_scores.transpose().matmul(attention.query.clone());
    let of_query = attention.turns.turn(of_query, heads, heads.tokens, -1.0);
    let of_key = attention.turns.turn(of_key, heads, heads.tokens, -1.0);
    [unwrap(ungrouped(of_query, heads)), unwrap(joined(of_key)), unwrap(joined(of_value))]
}

/// Rotated queries and keys. The query heads of a key head are further rows of one matrix.
struct Attention<B: Backend> {
    /// `[batch, key heads, query heads / key heads · queries, width]`, scaled by 1/√width.
    query: Tensor<B, 4>,
    /// `[batch, key heads, tokens, width]`.
    key: Tensor<B, 4>,
    /// Likewise.
    value: Tensor<B, 4>,
    turns: Turns<B>,
    heads: Heads,
}

impl<B: Backend> Attention<B> {
    fn new(query: Tensor<B, 2>, key: Tensor<B, 2>, value: Tensor<B, 2>, heads: Heads) -> Attention<B> {
        let turns = Turns::new(heads, &query.device());
        let query = turns.turn(grouped(query, heads), heads, heads.queries, 1.0) * (1.0 / (heads.width as f32).sqrt());
        let key = turns.turn(split(key, heads), heads, heads.tokens, 1.0);
        Attention { query, key, value: split(value, heads), turns, heads }
    }

    /// `[batch, key heads, query heads / key heads · queries, tokens]`, in f32.
    fn probabilities(&self) -> Tensor<B, 4> {
        let mut scores = single(self.query.clone().matmul(self.key.clone().transpose()));
        if self.heads.causal {
            let dims = scores.dims();
            let masked = scores.reshape([dims[0], dims[1], dims[2] / self.heads.queries, self.heads.queries, dims[3]])
                + mask(self.heads, &self.key.device()).unsqueeze::<5>();
            scores = masked.reshape(dims);
        }
        let most = scores.clone().max_dim(3);
        let weights = (scores - most).exp();
        let total = weights.clone().sum_dim(3);
        weights / total
    }
}

/// `[queries, tokens]`: 0 where a position is seen, and what no score outweighs where it is not.
fn mask<B: Backend>(heads: Heads, device: &B::Device) -> Tensor<B, 2> {
    let row = |index: usize| (0..heads.tokens).map(move |token| if token < heads.seen(index) { 0.0 } else { -1e30 });
    let values: Vec<f32> = (0..heads.queries).flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, [heads.queries, heads.tokens]), device)
}

/// `[batch · tokens, key heads · width]` as `[batch, key heads, tokens, width]`.
fn split<B: Backend>(x: Tensor<B, 2>, heads: Heads) -> Tensor<B, 4> {
    x.reshape([heads.batch, heads.tokens, heads.key, heads.width]).swap_dims(1, 2)
}

/// The inverse of [`split`].
fn joined<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 2> {
    let [batch, key, tokens, width] = x.dims();
    x.swap_dims(1, 2).reshape([batch * tokens, key * width])
}

/// `[batch · queries, query heads · width]` as `[batch, key heads, query heads / key heads · queries, width]`.
fn grouped<B: Backend>(x: Tensor<B, 2>, heads: Heads) -> Tensor<B, 4> {
    let each = heads.query / heads.key;
    let x = x.reshape([heads.batch, heads.queries, heads.query, heads.width]).swap_dims(1, 2);
    x.reshape([heads.batch, heads.key, each * heads.queries, heads.width])
}

/// The inverse of [`grouped`].
fn ungrouped<B: Backend>(x: Tensor<B, 4>, heads: Heads) -> Tensor<B, 2> {
    let x = x.reshape([heads.batch, heads.query, heads.queries, heads.width]).swap_dims(1, 2);
    x.reshape([heads.batch * heads.queries, heads.query * heads.width])
}

/// The rotary embedding's tables on a device, `[tokens, width / 2]` each.
struct Turns<B: Backend>(Option<[Tensor<B, 2>; 2]>);

impl<B: Backend> Turns<B> {
    fn new(heads: Heads, device: &B::Device) -> Turns<B> {
        let Rotation { cosines, sines } = Rotation::new(heads);
        let table = |values| Tensor::from_data(TensorData::new(values, [heads.tokens, heads.width / 2]), device);
        Turns(heads.rope.map(|_| [cosines, sines].map(table)))
    }

    /// Rotates `x` `[batch, heads, groups · rows, width]`, whose last row is at the last position, by its
    /// position times `direction` (±1).
    fn turn(&self, x: Tensor<B, 4>, heads: Heads, rows: usize, direction: f32) -> Tensor<B, 4> {
        let Some([cosines, sines]) = &self.0 else { return x };
        let (here, dims, half) = (x.dtype(), x.dims(), heads.width / 2);
        let x = single(x).reshape([dims[0], dims[1], dims[2] / rows, rows, heads.width]);
        let rows_of = |table: &Tensor<B, 2>| table.clone().narrow(0, heads.tokens - rows, rows).unsqueeze::<5>();
        let (cosines, sines) = (rows_of(cosines), rows_of(sines) * direction);
        let (first, second) = (x.clone().narrow(4, 0, half), x.narrow(4, half, half));
        let left = first.clone() * cosines.clone() - second.clone() * sines.clone();
        let right = second * cosines + first * sines;
        as_type(Tensor::cat(vec![left, right], 4).reshape(dims), here)
    }
}

/// See [`super::projection`]: words of signs travel to the device, one bit for each element, and are
/// spread there.
pub fn projection<B: Backend>(projection: &Projection, rows: Range<usize>, device: &B::Device) -> FloatTensor<B> {
    /// Bits of a number on the device.
    const BITS: usize = 32;
    let (count, columns) = (rows.len(), projection.dimensions.next_multiple_of(WORD));
    let words: Vec<i32> =
        projection.signs(rows).into_iter().flat_map(|word| [word as u32 as i32, (word >> 32) as u32 as i32]).collect();
    let integers = |values: Vec<i32>, shape: [usize; 3]| {
        Tensor::<B, 3, Int>::from_data(TensorData::new(values, shape), (device, DType::I32))
    };
    let words = integers(words, [count, columns / BITS, 1]);
    let places = integers((0..BITS as i32).collect(), [1, 1, BITS]);
    // The sign of an arithmetic shift does not reach the lowest bit.
    let shifted =
        words.expand([count, columns / BITS, BITS]).bitwise_right_shift(places.expand([count, columns / BITS, BITS]));
    let bits = single(shifted.bitwise_and_scalar(1.elem()).float()).reshape([count, columns]);
    let magnitude = 1.0 / (projection.dimensions as f64).sqrt();
    unwrap((bits * (-2.0 * magnitude) + magnitude).narrow(1, 0, projection.dimensions))
}

/// See [`super::sum_of_squares`].
pub fn sum_of_squares<B: Backend>(x: FloatTensor<B>) -> f64 {
    let x: Tensor<B, 1> = single(wrap(x));
    let sum: Vec<f32> = (x.clone() * x).sum().into_data().into_vec().expect("BUG: it is f32");
    f64::from(sum[0])
}
