//! The rotary position embedding (Su et al. 2021), in the half-rotation order of Hugging Face's LLaMA.

use super::Heads;

/// Cosines and sines of the rotary embedding, `[tokens, width / 2]` each.
pub struct Rotation {
    /// Row by row; empty where positions are embedded otherwise.
    pub cosines: Vec<f32>,
    /// Likewise.
    pub sines: Vec<f32>,
}

impl Rotation {
    /// The tables for all positions of a sequence.
    pub fn new(heads: Heads) -> Rotation {
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
    pub fn apply(&self, rows: &mut [f32], heads: Heads, start: usize, direction: f32) {
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
