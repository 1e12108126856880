//! The params of `select`; `stages/select.yaml` says what they mean.

use serde::Deserialize;

use crate::stages::keep::Keep;

#[derive(Deserialize)]
pub struct Params {
    pub budget: usize,
    pub allocation: Allocation,
    pub rounding: Version,
    pub density: Version,
    pub neighbours: usize,
    pub balance: f64,
    pub temperature: f64,
    pub gamma: f64,
    pub new_share: f64,
    pub scorer: String,
    pub entropy: Version,
    pub sampler: Sampler,
    pub ccs: Coverage,
    pub bins: usize,
    pub cut: f64,
    pub hard_cut: f64,
    pub keep: Keep,
    pub epsilon: Option<f64>,
    pub weight_scorer: String,
    pub seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    Uniform,
    ScoreWeighted,
    Density,
    Transferability,
    Duplicates,
    Replay,
    Whole,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    Ccs,
    Top,
    Middle,
    Low,
    Random,
    Far,
    Near,
    Mmd,
    Distinct,
}

/// What the paper says, or what the authors' code does.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    Paper,
    Reference,
}

/// The paper's coverage-centric sampling, that of its inventors, or what the paper's code does.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    Paper,
    Original,
    Reference,
}

impl Params {
    /// Whether samples are compared by their vectors.
    pub fn needs_vectors(&self) -> bool {
        let by_part = matches!(self.sampler, Sampler::Far | Sampler::Near | Sampler::Mmd | Sampler::Distinct);
        by_part || matches!(self.allocation, Allocation::Density) || self.needs_kernels() || self.needs_rankings()
    }

    /// Whether the kernels of the parts are needed.
    pub fn needs_kernels(&self) -> bool {
        self.allocation == Allocation::Transferability || self.sampler == Sampler::Mmd
    }

    /// Whether it must be known how redundant samples are.
    pub fn needs_rankings(&self) -> bool {
        self.allocation == Allocation::Duplicates || self.sampler == Sampler::Distinct
    }
}
