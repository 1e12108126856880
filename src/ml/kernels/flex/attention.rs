//! Attention of one head of one sequence, on slices.

use super::exp;
use crate::ml::kernels::Heads;
use crate::ml::kernels::rotation::Rotation;

/// The working memory of one head of one sequence.
pub struct Room {
    /// `[queries, width]`, scaled by 1/√width.
    query: Vec<f32>,
    /// `[width, tokens]`, so that scores are sums of whole rows.
    key: Vec<f32>,
    value: Vec<f32>,
    /// `[queries, tokens]`; what a position does not see is 0.
    probabilities: Vec<f32>,
    /// `[queries, width]`.
    pub output: Vec<f32>,
    plain_key: Vec<f32>,
}

impl Room {
    /// Room for heads of this geometry.
    pub fn new(heads: Heads) -> Room {
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

    /// Takes one head of a sequence, rotated and scaled.
    pub fn load(&mut self, query: &[f32], key: &[f32], value: &[f32], head: usize, heads: Heads, rotation: &Rotation) {
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

    /// The softmax over what each query sees.
    pub fn probabilities(&mut self, heads: Heads) {
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

    /// The values, weighted by the probabilities.
    pub fn mix(&mut self, heads: Heads) {
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
pub struct Back {
    /// Of the output.
    pub gradient: Vec<f32>,
    /// Of the rotated query.
    pub of_query: Vec<f32>,
    /// Of the rotated key.
    pub of_key: Vec<f32>,
    /// Of the value.
    pub of_value: Vec<f32>,
    /// `[tokens]`: gradient of one row of scores.
    row: Vec<f32>,
    /// `[width, tokens]`.
    value: Vec<f32>,
}

impl Back {
    /// Room for heads of this geometry.
    pub fn new(heads: Heads) -> Back {
        let size = heads.tokens * heads.width;
        let zeros = || vec![0.0; size];
        let row = vec![0.0; heads.tokens];
        Back { gradient: zeros(), of_query: zeros(), of_key: zeros(), of_value: zeros(), row, value: zeros() }
    }

    /// With P the probabilities and G the gradient of the output: ∂V = Pᵀ G, ∂P = G Vᵀ,
    /// ∂S = P ∘ (∂P − rowsum(P ∘ ∂P)), ∂Q = ∂S K / √width, ∂K = ∂Sᵀ Q / √width.
    pub fn run(&mut self, room: &Room, heads: Heads) {
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
pub fn gather(rows: &[f32], head: &mut [f32], index: usize, count: usize, heads: Heads) {
    let start = index * heads.width;
    for (row, head) in rows.chunks_exact(count * heads.width).zip(head.chunks_exact_mut(heads.width)) {
        head.copy_from_slice(&row[start..start + heads.width]);
    }
}

/// Adds `head` `[tokens, width]` to its place in `rows` `[tokens, count · width]`.
pub fn scatter(head: &[f32], rows: &mut [f32], index: usize, count: usize, heads: Heads) {
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
