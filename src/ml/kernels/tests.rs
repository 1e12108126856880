use burn::backend::{Autodiff, Flex};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Distribution, Int, Tensor};

use super::{Heads, grouped_attention, rms_norm, swiglu};

type B = Autodiff<Flex>;
type Matrix = Tensor<B, 2>;

fn random(rows: usize, width: usize) -> Matrix {
    Tensor::random([rows, width], Distribution::Normal(0.0, 1.0), &Default::default())
}

/// Asserts that two functions agree in value and in the gradients of all inputs.
fn same<const N: usize>(
    inputs: [Matrix; N],
    fused: impl Fn([Matrix; N]) -> Matrix,
    plain: impl Fn([Matrix; N]) -> Matrix,
) {
    let run = |function: &dyn Fn([Matrix; N]) -> Matrix| {
        let inputs = inputs.clone().map(|input| input.detach().require_grad());
        let output = function(inputs.clone());
        let [rows, width] = output.dims();
        // A weight per element, so that errors cannot cancel.
        let weights = Tensor::<B, 1, Int>::arange(0..(rows * width) as i64, &Default::default());
        let weights = weights.float().sin().reshape([rows, width]);
        let gradients = (output.clone() * weights).sum().backward();
        (output.inner(), inputs.map(|input| input.grad(&gradients).expect("every input has a gradient")))
    };
    let ((fused, fused_gradients), (plain, plain_gradients)) = (run(&fused), run(&plain));
    let error = |a: Tensor<Flex, 2>, b: Tensor<Flex, 2>| (a - b).abs().max().into_scalar();
    assert!(error(fused, plain) < 1e-5, "values differ");
    for (index, (fused, plain)) in fused_gradients.into_iter().zip(plain_gradients).enumerate() {
        assert!(error(fused, plain) < 1e-4, "gradients of input {index} differ");
    }
}

#[test]
fn rms_norm_is_what_its_formula_says() {
    same(
        [random(300, 12), random(1, 12)],
        |[x, weight]| rms_norm(x, weight.reshape([12]), 1e-5),
        |[x, weight]| x.clone() * (x.powf_scalar(2.0).mean_dim(1) + 1e-5).sqrt().recip() * weight,
    );
}

#[test]
fn swiglu_is_what_its_formula_says() {
    same([random(7, 10), random(7, 10)], |[gate, up]| swiglu(gate, up), |[gate, up]| sigmoid(gate.clone()) * gate * up);
}

#[test]
fn grouped_causal_attention_is_what_its_formula_says() {
    let heads =
        Heads { batch: 2, tokens: 5, queries: 5, query: 4, key: 2, width: 6, causal: true, rope: Some(10_000.0) };
    same(
        [random(10, 24), random(10, 12), random(10, 12)],
        |[query, key, value]| grouped_attention(query, key, value, heads),
        |[query, key, value]| plain_attention(query, key, value, heads),
    );
}

#[test]
fn full_attention_without_positions_is_what_its_formula_says() {
    let heads = Heads { batch: 3, tokens: 4, queries: 4, query: 2, key: 2, width: 5, causal: false, rope: None };
    same(
        [random(12, 10), random(12, 10), random(12, 10)],
        |[query, key, value]| grouped_attention(query, key, value, heads),
        |[query, key, value]| plain_attention(query, key, value, heads),
    );
}

/// The same from ordinary operations.
fn plain_attention(query: Matrix, key: Matrix, value: Matrix, heads: Heads) -> Matrix {
    let device = Default::default();
    let split = |x: Matrix, count: usize| x.reshape([heads.batch, heads.tokens, count, heads.width]).swap_dims(1, 2);
    let rotate = |x: Tensor<B, 4>| {
        let Some(base) = heads.rope else { return x };
        let half = heads.width / 2;
        let positions = Tensor::<B, 1, Int>::arange(0..heads.tokens as i64, &device).float().reshape([heads.tokens, 1]);
        let powers =
            Tensor::<B, 1, Int>::arange(0..half as i64, &device).float() * (-2.0 / heads.width as f32 * base.ln());
        let angles = positions * powers.exp().reshape([1, half]);
        let angles = Tensor::cat(vec![angles.clone(), angles], 1).reshape([1, 1, heads.tokens, heads.width]);
        let (first, second) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
        x * angles.clone().cos() + Tensor::cat(vec![second.neg(), first], 3) * angles.sin()
    };
    let spread = |x: Tensor<B, 4>| {
        let [batch, count, tokens, width] = x.dims();
        let times = heads.query / count;
        x.reshape([batch, count, 1, tokens, width]).repeat_dim(2, times).reshape([batch, heads.query, tokens, width])
    };
    let query = rotate(split(query, heads.query));
    let key = spread(rotate(split(key, heads.key)));
    let value = spread(split(value, heads.key));
    let mut scores = query.matmul(key.swap_dims(2, 3)) / (heads.width as f32).sqrt();
    if heads.causal {
        let mask = Tensor::<B, 2, burn::tensor::Bool>::tril_mask([heads.tokens, heads.tokens], 0, &device);
        scores = scores.mask_fill(mask.reshape([1, 1, heads.tokens, heads.tokens]), f32::NEG_INFINITY);
    }
    softmax(scores, 3).matmul(value).swap_dims(1, 2).reshape([heads.batch * heads.tokens, heads.query * heads.width])
}
