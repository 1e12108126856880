//! The fused operations on the CPU, over slices. Each sequence (or row) is computed by one thread
//! in a fixed order, so results do not depend on the number of threads.

mod attention;

use std::ops::Range;

use burn::backend::Flex;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, TensorData};
use rayon::prelude::*;

use self::attention::{Back, Room, gather, scatter};
use super::rotation::Rotation;
use super::{Heads, Kernels};
use crate::ml::projection::Projection;

type Primitive = FloatTensor<Flex>;

/// Rows that one task of the thread pool takes.
const ROWS: usize = 256;

impl Kernels for Flex {
    fn rms_norm(x: Primitive, weight: Primitive, epsilon: f32) -> Primitive {
        let kind = x.dtype();
        let (x, weight) = (plain(x), plain(weight));
        let (x, weight) = (slice(&x), slice(&weight));
        let mut y = vec![0.0; x.len()];
        let width = weight.len();
        y.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                let scale = inverse_root_mean_square(x, epsilon);
                for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
                    *y = x * scale * weight;
                }
            }
        });
        tensor(y, width, kind)
    }

    fn rms_norm_backward(x: Primitive, weight: Primitive, gradient: Primitive, epsilon: f32) -> [Primitive; 2] {
        let (kind, weight_kind) = (x.dtype(), weight.dtype());
        let (x, weight, gradient) = (plain(x), plain(weight), plain(gradient));
        let (x, weight, gradient) = (slice(&x), slice(&weight), slice(&gradient));
        let width = weight.len();
        let mut of_x = vec![0.0; x.len()];
        // With r = 1/rms: ∂L/∂x = r·(g·w − x·r²·mean(g·w·x)), ∂L/∂w = Σ g·x·r. Weight sums are kept
        // per block of rows and added in order.
        let of_weight: Vec<Vec<f32>> = of_x
            .par_chunks_mut(ROWS * width)
            .zip(x.par_chunks(ROWS * width))
            .zip(gradient.par_chunks(ROWS * width))
            .map(|((of_x, x), gradient)| {
                let mut of_weight = vec![0.0; width];
                let rows = of_x.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gradient.chunks_exact(width));
                for ((of_x, x), gradient) in rows {
                    let scale = inverse_root_mean_square(x, epsilon);
                    let mut dot = 0.0;
                    for (((out, x), gradient), weight) in of_x.iter_mut().zip(x).zip(gradient).zip(weight) {
                        *out = gradient * weight;
                        dot += *out * x;
                    }
                    let pull = dot * scale * scale / width as f32;
                    for (((out, x), gradient), sum) in of_x.iter_mut().zip(x).zip(gradient).zip(&mut of_weight) {
                        *out = scale * (*out - x * pull);
                        *sum += gradient * x * scale;
                    }
                }
                of_weight
            })
            .collect();
        let mut sum = vec![0.0; width];
        for part in of_weight {
            for (sum, part) in sum.iter_mut().zip(part) {
                *sum += part;
            }
        }
        let of_weight = Flex::float_from_data(TensorData::new(sum, [width]), &Default::default());
        [tensor(of_x, width, kind), of_kind(of_weight, weight_kind)]
    }

    fn swiglu(gate: Primitive, up: Primitive) -> Primitive {
        let kind = gate.dtype();
        let (gate, up) = (plain(gate), plain(up));
        let width = width(&gate);
        let (gate, up) = (slice(&gate), slice(&up));
        let mut y = vec![0.0; gate.len()];
        let block = ROWS * width;
        y.par_chunks_mut(block).zip(gate.par_chunks(block)).zip(up.par_chunks(block)).for_each(|((y, gate), up)| {
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                *y = gate * sigmoid(*gate) * up;
            }
        });
        tensor(y, width, kind)
    }

    fn swiglu_backward(gate: Primitive, up: Primitive, gradient: Primitive) -> [Primitive; 2] {
        let kind = gate.dtype();
        let (gate, up, gradient) = (plain(gate), plain(up), plain(gradient));
        let width = width(&gate);
        let (gate, up, gradient) = (slice(&gate), slice(&up), slice(&gradient));
        let mut of_gate = vec![0.0; gate.len()];
        let mut of_up = vec![0.0; gate.len()];
        let block = ROWS * width;
        of_gate
            .par_chunks_mut(block)
            .zip(of_up.par_chunks_mut(block))
            .zip(gate.par_chunks(block).zip(up.par_chunks(block)).zip(gradient.par_chunks(block)))
            .for_each(|((of_gate, of_up), ((gate, up), gradient))| {
                let inputs = gate.iter().zip(up).zip(gradient);
                for ((of_gate, of_up), ((gate, up), gradient)) in of_gate.iter_mut().zip(of_up).zip(inputs) {
                    let sigma = sigmoid(*gate);
                    let silu = gate * sigma;
                    *of_up = gradient * silu;
                    *of_gate = gradient * up * (sigma + silu * (1.0 - sigma));
                }
            });
        [tensor(of_gate, width, kind), tensor(of_up, width, kind)]
    }

    fn grouped_attention(query: Primitive, key: Primitive, value: Primitive, heads: Heads) -> Primitive {
        let kind = query.dtype();
        let (query, key, value) = (plain(query), plain(key), plain(value));
        let (query, key, value) = (slice(&query), slice(&key), slice(&value));
        let rotation = Rotation::new(heads);
        let (wide, narrow) = (heads.queries * heads.query * heads.width, heads.tokens * heads.key * heads.width);
        let mut output = vec![0.0; query.len()];
        output
            .par_chunks_mut(wide)
            .zip(query.par_chunks(wide))
            .zip(key.par_chunks(narrow).zip(value.par_chunks(narrow)))
            .for_each(|((output, query), (key, value))| {
                let mut room = Room::new(heads);
                for head in 0..heads.query {
                    room.load(query, key, value, head, heads, &rotation);
                    room.probabilities(heads);
                    room.mix(heads);
                    scatter(&room.output, output, head, heads.query, heads);
                }
            });
        tensor(output, heads.query * heads.width, kind)
    }

    fn grouped_attention_backward(
        query: Primitive,
        key: Primitive,
        value: Primitive,
        gradient: Primitive,
        heads: Heads,
    ) -> [Primitive; 3] {
        let kind = query.dtype();
        let (query, key, value, gradient) = (plain(query), plain(key), plain(value), plain(gradient));
        let (query, key, value, gradient) = (slice(&query), slice(&key), slice(&value), slice(&gradient));
        assert_eq!(heads.queries, heads.tokens, "BUG: a cached forward pass has no backward pass");
        let rotation = Rotation::new(heads);
        let (wide, narrow) = (heads.tokens * heads.query * heads.width, heads.tokens * heads.key * heads.width);
        let mut of_query = vec![0.0; query.len()];
        let mut of_key = vec![0.0; key.len()];
        let mut of_value = vec![0.0; value.len()];
        of_query
            .par_chunks_mut(wide)
            .zip(of_key.par_chunks_mut(narrow).zip(of_value.par_chunks_mut(narrow)))
            .zip(query.par_chunks(wide).zip(gradient.par_chunks(wide)))
            .zip(key.par_chunks(narrow).zip(value.par_chunks(narrow)))
            .for_each(|(((of_query, (of_key, of_value)), (query, gradient)), (key, value))| {
                let mut room = Room::new(heads);
                let mut back = Back::new(heads);
                for head in 0..heads.query {
                    room.load(query, key, value, head, heads, &rotation);
                    room.probabilities(heads);
                    gather(gradient, &mut back.gradient, head, heads.query, heads);
                    back.run(&room, heads);
                    rotation.apply(&mut back.of_query, heads, 0, -1.0);
                    rotation.apply(&mut back.of_key, heads, 0, -1.0);
                    let group = head * heads.key / heads.query;
                    scatter(&back.of_query, of_query, head, heads.query, heads);
                    scatter(&back.of_key, of_key, group, heads.key, heads);
                    scatter(&back.of_value, of_value, group, heads.key, heads);
                }
            });
        let narrow = heads.key * heads.width;
        [
            tensor(of_query, heads.query * heads.width, kind),
            tensor(of_key, narrow, kind),
            tensor(of_value, narrow, kind),
        ]
    }

    fn projection(projection: &Projection, rows: Range<usize>, device: &Self::Device) -> Primitive {
        let shape = [rows.len(), projection.dimensions];
        Flex::float_from_data(TensorData::new(projection.block(rows), shape), device)
    }

    fn sum_of_squares(x: Primitive) -> f64 {
        slice(&plain(x)).iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
    }
}

fn inverse_root_mean_square(row: &[f32], epsilon: f32) -> f32 {
    let squares: f32 = row.iter().map(|value| value * value).sum();
    1.0 / (squares / row.len() as f32 + epsilon).sqrt()
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + exp(-value))
}

/// eˣ by range reduction to 2ⁿ·eʳ with |r| ≤ ln 2 / 2 and the Taylor polynomial of degree 6: relative
/// error below 3e-7, and branch-free, so that loops over it become vector instructions.
fn exp(value: f32) -> f32 {
    let value = value.clamp(-87.0, 88.0);
    let power = (value * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let rest = value - power * 0.693_359_4 + power * 2.121_944_4e-4;
    let series = 1.0 / 720.0;
    let series = series * rest + 1.0 / 120.0;
    let series = series * rest + 1.0 / 24.0;
    let series = series * rest + 1.0 / 6.0;
    let series = series * rest + 0.5;
    let series = (series * rest + 1.0) * rest + 1.0;
    series * f32::from_bits(((power as i32 + 127) << 23) as u32)
}

fn slice(tensor: &Primitive) -> &[f32] {
    tensor.as_slice().expect("BUG: the tensor is f32 and was made contiguous")
}

fn width(tensor: &Primitive) -> usize {
    *tensor.layout().shape().last().expect("BUG: a tensor has at least one dimension")
}

/// The result `[…, width]` in the type of the inputs.
fn tensor(values: Vec<f32>, width: usize, kind: DType) -> Primitive {
    let rows = values.len() / width;
    of_kind(Flex::float_from_data(TensorData::new(values, [rows, width]), &Default::default()), kind)
}

/// Contiguous, in f32: what is computed with, whatever the type of the inputs.
fn plain(tensor: Primitive) -> Primitive {
    of_kind(tensor, DType::F32).to_contiguous()
}

fn of_kind(tensor: Primitive, kind: DType) -> Primitive {
    if tensor.dtype() == kind { tensor } else { Flex::float_cast(tensor, kind.into()) }
}
