//! The running averages that Adam left of the gradients of an adapter and of their squares, in the file
//! `optimizer.safetensors` beside the adapter of a checkpoint.
//!
//! Unaware of how they came about and what they are for.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};

use super::adapter::FOLDER;
use super::tensors::{self, Numbers, Stored, Tensor, Values};

/// The averages by matrix, such as `language_model.model.layers.0.self_attn.q_proj.lora_A`, in the shapes of
/// the matrices in the adapter's file: A `[rank, inputs]`, B `[outputs, rank]`. They are not corrected for the
/// start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// Of the gradient and of its square.
    pub matrices: BTreeMap<String, [Tensor; 2]>,
}

const FILE: &str = "optimizer.safetensors";
/// As PyTorch calls them.
const ENDS: [&str; 2] = [".exp_avg", ".exp_avg_sq"];

impl Moments {
    /// Writes the averages beside the adapter in the folder of a checkpoint.
    ///
    /// # Errors
    ///
    /// On a full disk, or if there are none.
    pub fn write(&self, checkpoint: &Path) -> anyhow::Result<()> {
        ensure!(!self.matrices.is_empty(), "no step was taken, so there are no averages of gradients to keep");
        let named: BTreeMap<String, &Tensor> = self
            .matrices
            .iter()
            .flat_map(|(name, moments)| {
                ENDS.iter().zip(moments).map(move |(end, tensor)| (format!("{name}{end}"), tensor))
            })
            .collect();
        let named = named.iter().map(|(name, tensor)| (name.as_str(), *tensor as &dyn Values)).collect();
        tensors::write(&checkpoint.join(FOLDER).join(FILE), &named, Numbers::F32)
    }

    /// Reads the averages of a checkpoint, if it has them.
    ///
    /// # Errors
    ///
    /// If the file is damaged.
    pub fn find(checkpoint: &Path) -> anyhow::Result<Option<Moments>> {
        let path = checkpoint.join(FOLDER).join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let fetch = |(name, stored): (String, Stored)| anyhow::Ok((name, Tensor::new(stored.shape(), stored.fetch()?)));
        let mut found: BTreeMap<String, Tensor> =
            tensors::open(&path, |_| true)?.into_iter().map(fetch).collect::<anyhow::Result<_>>()?;
        let names: Vec<String> =
            found.keys().filter_map(|name| name.strip_suffix(ENDS[0])).map(str::to_string).collect();
        let mut moments = Moments::default();
        for name in names {
            let mut take = |end: &str| {
                let missing = || format!("`{}` has no `{name}{end}`", path.display());
                found.remove(&format!("{name}{end}")).with_context(missing)
            };
            let pair = [take(ENDS[0])?, take(ENDS[1])?];
            moments.matrices.insert(name, pair);
        }
        Ok(Some(moments))
    }

    /// The averages of these matrices one after the other, with the numbers that each must have.
    ///
    /// # Errors
    ///
    /// If one is missing or has another size.
    pub fn of(&self, matrices: &[(String, usize)]) -> anyhow::Result<[Vec<f32>; 2]> {
        let mut rows = [Vec::new(), Vec::new()];
        for (name, size) in matrices {
            let moments = self.matrices.get(name).with_context(|| format!("it has nothing for `{name}`"))?;
            for (row, moment) in rows.iter_mut().zip(moments) {
                ensure!(moment.values.len() == *size, "`{name}` has {} numbers, not {size}", moment.values.len());
                row.extend_from_slice(&moment.values);
            }
        }
        Ok(rows)
    }
}
