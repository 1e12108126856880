//! The fused operations on the CPU, over slices. Each sequence (or row) is computed by one thread
//! in a fixed order, so results do not depend on the number of threads.

use burn::backend::Flex;
use burn::tensor::TensorData;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use rayon::prelude::*;

use super::{Heads, Kernels};

type Primitive = FloatTensor<Flex>;

/// Rows that one task of the thread pool takes.
const ROWS: usize = 256;

impl Kernels for Flex {
    fn rms_norm(x: Primitive, weight: Primitive, epsilon: f32) -> Primitive {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
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
        tensor(y, width)
    }

    fn rms_norm_backward(x: Primitive, weight: Primitive, gradient: Primitive, epsilon: f32) -> [Primitive; 2] {
        let (x, weight, gradient) = (x.to_contiguous(), weight.to_contiguous(), gradient.to_contiguous());
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
        [tensor(of_x, width), of_weight]
    }

    fn swiglu(gate: Primitive, up: Primitive) -> Primitive {
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let width = width(&gate);
        let (gate, up) = (slice(&gate), slice(&up));
        let mut y = vec![0.0; gate.len()];
        let block = ROWS * width;
        y.par_chunks_mut(block).zip(gate.par_chunks(block)).zip(up.par_chunks(block)).for_each(|((y, gate), up)| {
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                *y = gate * sigmoid(*gate) * up;
            }
        });
        tensor(y, width)
    }

    fn swiglu_backward(gate: Primitive, up: Primitive, gradient: Primitive) -> [Primitive; 2] {
        let (gate, up, gradient) = (gate.to_contiguous(), up.to_contiguous(), gradient.to_contiguous());
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
        [tensor(of_gate, width), tensor(of_up, width)]
    }

    fn grouped_attention(query: Primitive, key: Primitive, value: Primitive, heads: Heads) -> Primitive {
        let (query, key, value) = (query.to_contiguous(), key.to_contiguous(), value.to_contiguous());
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
        tensor(output, heads.query * heads.width)
    }

    fn grouped_attention_backward(
        query: Primitive,
        key: Primitive,
        value: Primitive,
        gradient: Primitive,
        heads: Heads,
    ) -> [Primitive; 3] {
        let (query, key, value) = (query.to_contiguous(), key.to_contiguous(), value.to_contiguous());
        let gradient = gradient.to_contiguous();
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
        [tensor(of_query, heads.query * heads.width), tensor(of_key, narrow), tensor(of_value, narrow)]
    }
}

/// Cosines and sines of the rotary embedding, `[tokens, width / 2]` each.
struct Rotation {
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Rotation {
    fn new(heads: Heads) -> Rotation {
        let Some(base) = heads.rope else { return Rotation { cosines: vec![], sines: vec![] } };
        let half = heads.width / 2;
        let angle = |index: usize| {
            let (position, pair) = ((index / half) as f64, (index % half) as f64);
            position * f64::from(base).powf(-2.0 * pair / heads.width as f64)
        };
        let angles: Vec<f64> = (0..heads.tokens * half).map(angle).collect();
        Rotation {
            cosines: angles.iter().map(|angle| angle.cos() as f32).collect(),
            sines: angles.iter().map(|angle| angle.sin() as f32).collect(),
        }
    }

    /// Rotates each row of `rows` `[…, width]`, the first of which is at position `start`, by its
    /// position times `direction` (±1).
    fn apply(&self, rows: &mut [f32], heads: Heads, start: usize, direction: f32) {
        let half = heads.width / 2;
        if self.cosines.is_empty() {
            return;
        }
        let angles = self.cosines.chunks_exact(half).zip(self.sines.chunks_exact(half)).skip(start);
        for (row, (cosines, sines)) in rows.chunks_exact_mut(heads.width).zip(angles) {
            let (first, second) = row.split_at_mut(half);
            for (((first, second), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                let (a, b, sine) = (*first, *second, sine * direction);
                *first = a * cosine - b * sine;
                *second = b * cosine + a * sine;
            }
        }
    }
}

/// The working memory of one head of one sequence.
struct Room {
    /// `[queries, width]`, scaled by 1/√width.
    query: Vec<f32>,
    /// `[width, tokens]`, so that scores are sums of whole rows.
    key: Vec<f32>,
    value: Vec<f32>,
    /// `[queries, tokens]`; what a position does not see is 0.
    probabilities: Vec<f32>,
    output: Vec<f32>,
    plain_key: Vec<f32>,
}

impl Room {
    fn new(heads: Heads) -> Room {
        let size = heads.tokens * heads.width;
        Room {
            query: vec![0.0; heads.queries * heads.width],
            key: vec![0.0; size],
            value: vec![0.0; size],
            probabilities: vec![0.0; heads.queries * heads.tokens],
            output: vec![0.0; heads.queries * heads.width],
            plain_key: vec![0.0; size],
        }
    }

    fn load(&mut self, query: &[f32], key: &[f32], value: &[f32], head: usize, heads: Heads, rotation: &Rotation) {
        let group = head * heads.key / heads.query;
        gather(query, &mut self.query, head, heads.query, heads);
        gather(key, &mut self.plain_key, group, heads.key, heads);
        gather(value, &mut self.value, group, heads.key, heads);
        rotation.apply(&mut self.query, heads, heads.tokens - heads.queries, 1.0);
        rotation.apply(&mut self.plain_key, heads, 0, 1.0);
        let scale = 1.0 / (heads.width as f32).sqrt();
        self.query.iter_mut().for_each(|value| *value *= scale);
        for (token, row) in self.plain_key.chunks_exact(heads.width).enumerate() {
            for (dimension, value) in row.iter().enumerate() {
                self.key[dimension * heads.tokens + token] = *value;
            }
        }
    }

    fn probabilities(&mut self, heads: Heads) {
        let tokens = heads.tokens;
        let rows = self.probabilities.chunks_exact_mut(tokens).zip(self.query.chunks_exact(heads.width));
        for (index, (row, query)) in rows.enumerate() {
            let seen = heads.seen(index);
            row.fill(0.0);
            let row = &mut row[..seen];
            for (query, keys) in query.iter().zip(self.key.chunks_exact(tokens)) {
                add_scaled(row, &keys[..seen], *query);
            }
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for value in row.iter_mut() {
                *value = exp(*value - most);
            }
            let total: f32 = row.iter().sum();
            let scale = 1.0 / total;
            row.iter_mut().for_each(|value| *value *= scale);
        }
    }

    fn mix(&mut self, heads: Heads) {
        let rows = self.output.chunks_exact_mut(heads.width).zip(self.probabilities.chunks_exact(heads.tokens));
        for (index, (output, row)) in rows.enumerate() {
            let seen = heads.seen(index);
            output.fill(0.0);
            for (weight, value) in row[..seen].iter().zip(self.value.chunks_exact(heads.width)) {
                add_scaled(output, value, *weight);
            }
        }
    }
}

/// The working memory of the backward pass of one head of one sequence, `[tokens, width]` each.
struct Back {
    gradient: Vec<f32>,
    of_query: Vec<f32>,
    of_key: Vec<f32>,
    of_value: Vec<f32>,
    /// `[tokens]`: gradient of one row of scores.
    row: Vec<f32>,
    /// `[width, tokens]`.
    value: Vec<f32>,
}

impl Back {
    fn new(heads: Heads) -> Back {
        let size = heads.tokens * heads.width;
        let zeros = || vec![0.0; size];
        let row = vec![0.0; heads.tokens];
        Back { gradient: zeros(), of_query: zeros(), of_key: zeros(), of_value: zeros(), row, value: zeros() }
    }

    /// With P the probabilities and G the gradient of the output: ∂V = Pᵀ G, ∂P = G Vᵀ,
    /// ∂S = P ∘ (∂P − rowsum(P ∘ ∂P)), ∂Q = ∂S K / √width, ∂K = ∂Sᵀ Q / √width.
    fn run(&mut self, room: &Room, heads: Heads) {
        let (tokens, width) = (heads.tokens, heads.width);
        let scale = 1.0 / (width as f32).sqrt();
        self.of_key.fill(0.0);
        self.of_value.fill(0.0);
        for (token, row) in room.value.chunks_exact(width).enumerate() {
            for (dimension, value) in row.iter().enumerate() {
                self.value[dimension * tokens + token] = *value;
            }
        }
        for token in 0..tokens {
            let seen = heads.seen(token);
            let gradient = &self.gradient[token * width..(token + 1) * width];
            let probabilities = &room.probabilities[token * tokens..token * tokens + seen];
            let row = &mut self.row[..seen];
            row.fill(0.0);
            for (gradient, values) in gradient.iter().zip(self.value.chunks_exact(tokens)) {
                add_scaled(row, &values[..seen], *gradient);
            }
            let dot: f32 = row.iter().zip(probabilities).map(|(row, probability)| row * probability).sum();
            for (row, probability) in row.iter_mut().zip(probabilities) {
                *row = probability * (*row - dot);
            }
            let of_query = &mut self.of_query[token * width..(token + 1) * width];
            of_query.fill(0.0);
            let query = &room.query[token * width..(token + 1) * width];
            for other in 0..seen {
                let at = other * width..(other + 1) * width;
                add_scaled(of_query, &room.plain_key[at.clone()], row[other] * scale);
                add_scaled(&mut self.of_key[at.clone()], query, row[other]);
                add_scaled(&mut self.of_value[at], gradient, probabilities[other]);
            }
        }
    }
}

/// Copies one head out of `rows` `[tokens, count · width]` into `head` `[tokens, width]`.
fn gather(rows: &[f32], head: &mut [f32], index: usize, count: usize, heads: Heads) {
    let start = index * heads.width;
    for (row, head) in rows.chunks_exact(count * heads.width).zip(head.chunks_exact_mut(heads.width)) {
        head.copy_from_slice(&row[start..start + heads.width]);
    }
}

/// Adds `head` `[tokens, width]` to its place in `rows` `[tokens, count · width]`.
fn scatter(head: &[f32], rows: &mut [f32], index: usize, count: usize, heads: Heads) {
    let start = index * heads.width;
    for (row, head) in rows.chunks_exact_mut(count * heads.width).zip(head.chunks_exact(heads.width)) {
        add_scaled(&mut row[start..start + heads.width], head, 1.0);
    }
}

fn add_scaled(sum: &mut [f32], values: &[f32], factor: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value * factor;
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

fn tensor(values: Vec<f32>, width: usize) -> Primitive {
    let rows = values.len() / width;
    Flex::float_from_data(TensorData::new(values, [rows, width]), &Default::default())
}
