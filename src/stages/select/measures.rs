//! What is computed once of each part, for its budget and for its draw.

use rayon::prelude::*;

use super::params::Params;
use super::parts::Parts;
use crate::selection::duplicates::{self, Ranked};
use crate::selection::kernel::Kernel;
use crate::selection::random::Draws;
use crate::stages::alignment::AlignedVectors;

/// What samples are like, part by part; empty where nothing asks for it.
pub struct Measures<'a> {
    /// The vectors of the samples.
    pub rows: Vec<Vec<&'a [f32]>>,
    /// How redundant each sample is.
    pub rankings: Vec<Vec<Ranked>>,
    /// How near samples are to each other.
    pub kernels: Vec<Kernel<'a>>,
}

impl<'a> Measures<'a> {
    /// Computes what the params ask for.
    pub fn new(params: &Params, parts: &Parts, vectors: Option<&'a AlignedVectors>) -> Measures<'a> {
        let mut measures = Measures { rows: Vec::new(), rankings: Vec::new(), kernels: Vec::new() };
        let Some(vectors) = vectors else { return measures };
        measures.rows = parts.all().iter().map(|members| vectors.of(members)).collect();
        let rows = &measures.rows;
        if params.needs_rankings() {
            let rank = |part: usize| {
                let mut draws = Draws::new(params.seed, &format!("compare cluster {part}"));
                duplicates::rank(&rows[part], params.keep.order(), &mut draws)
            };
            measures.rankings = (0..rows.len()).into_par_iter().map(rank).collect();
        }
        if params.needs_kernels() {
            measures.kernels = rows.par_iter().map(|rows| Kernel::new(rows.clone(), params.gamma)).collect();
        }
        measures
    }
}
