use burn::backend::{Autodiff, Flex};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Distribution, Int, Tensor};

use super::{Heads, Kernels, composed, grouped_attention, rms_norm, swiglu, unwrap, wrap};
use crate::ml::projection::Projection;

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

/// Operations of GPU backends, computed here.
type C = Flex;

fn plain_random(rows: usize, width: usize) -> Tensor<C, 2> {
    random(rows, width).inner()
}

fn assert_equal<const N: usize>(composed: [Tensor<C, 2>; N], fused: [Tensor<C, 2>; N]) {
    for (index, (composed, fused)) in composed.into_iter().zip(fused).enumerate() {
        assert_eq!(composed.dims(), fused.dims());
        let error = (composed - fused).abs().max().into_scalar();
        assert!(error < 2e-5, "result {index} is off by {error}");
    }
}

#[test]
fn composed_norms_and_gates_are_the_fused_ones() {
    let [x, gate, gradient] = [0; 3].map(|_| plain_random(9, 12));
    let weight: Tensor<C, 1> = plain_random(1, 12).reshape([12]);
    let (p, w, g) = (unwrap(x.clone()), unwrap(weight.clone()), unwrap(gradient.clone()));
    assert_equal(
        [wrap(composed::rms_norm::<C>(p.clone(), w.clone(), 1e-5))],
        [wrap(C::rms_norm(p.clone(), w.clone(), 1e-5))],
    );
    let both = |[of_x, of_weight]: [_; 2]| [wrap::<C, 2>(of_x), wrap::<C, 1>(of_weight).unsqueeze()];
    assert_equal(
        both(composed::rms_norm_backward::<C>(p.clone(), w.clone(), g.clone(), 1e-5)),
        both(C::rms_norm_backward(p.clone(), w, g.clone(), 1e-5)),
    );
    let gate = unwrap(gate);
    assert_equal([wrap(composed::swiglu::<C>(gate.clone(), p.clone()))], [wrap(C::swiglu(gate.clone(), p.clone()))]);
    assert_equal(
        composed::swiglu_backward::<C>(gate.clone(), p.clone(), g.clone()).map(wrap),
        C::swiglu_backward(gate, p.clone(), g).map(wrap),
    );
    let (ours, theirs) = (composed::sum_of_squares::<C>(p.clone()), C::sum_of_squares(p));
    assert!((ours - theirs).abs() < 1e-4 * theirs);
}

#[test]
fn composed_attention_is_the_fused_one() {
    let all = Heads { batch: 2, tokens: 5, queries: 5, query: 4, key: 2, width: 6, causal: true, rope: Some(1e4) };
    let seeing = Heads { causal: false, rope: None, key: 4, ..all };
    let cached = Heads { queries: 2, ..all };
    for heads in [all, seeing, cached] {
        let query = unwrap(plain_random(2 * heads.queries, 24));
        let [key, value] = [0; 2].map(|_| unwrap(plain_random(10, 6 * heads.key)));
        let arguments = || (query.clone(), key.clone(), value.clone());
        let (q, k, v) = arguments();
        let composed = composed::grouped_attention::<C>(q, k, v, heads);
        let (q, k, v) = arguments();
        assert_equal([wrap(composed)], [wrap(C::grouped_attention(q, k, v, heads))]);
        if heads.queries == heads.tokens {
            let gradient = unwrap(plain_random(10, 24));
            let (q, k, v) = arguments();
            let composed = composed::grouped_attention_backward::<C>(q, k, v, gradient.clone(), heads);
            let (q, k, v) = arguments();
            let fused = C::grouped_attention_backward(q, k, v, gradient, heads);
            assert_equal(composed.map(wrap), fused.map(wrap));
        }
    }
}

#[test]
fn the_composed_projection_has_the_same_signs() {
    for dimensions in [1, 64, 100, 256] {
        let projection = Projection { seed: 7, dimensions };
        let composed: Tensor<C, 2> = wrap(composed::projection::<C>(&projection, 3..40, &Default::default()));
        let fused: Tensor<C, 2> = wrap(C::projection(&projection, 3..40, &Default::default()));
        assert_equal([composed], [fused]);
    }
}

#[test]
fn operations_on_bf16_are_rounded_ones() {
    use burn::tensor::{DType, FloatDType};
    let heads = Heads { batch: 2, tokens: 5, queries: 5, query: 4, key: 2, width: 6, causal: true, rope: Some(1e4) };
    let [query, key, value] = [24, 12, 12].map(|width| plain_random(10, width));
    let exact = grouped_attention(query.clone(), key.clone(), value.clone(), heads);
    let [query, key, value] = [query, key, value].map(|x| x.cast(FloatDType::BF16));
    let fused = grouped_attention(query.clone(), key.clone(), value.clone(), heads);
    let composed: Tensor<C, 2> =
        wrap(composed::grouped_attention::<C>(unwrap(query), unwrap(key), unwrap(value), heads));
    for rounded in [fused, composed] {
        assert_eq!(rounded.dtype(), DType::BF16);
        assert!((rounded.cast(FloatDType::F32) - exact.clone()).abs().max().into_scalar() < 0.05);
    }
}
