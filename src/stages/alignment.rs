//! Artifacts about samples, brought into the order of a pool.

use std::path::Path;

use anyhow::bail;

use crate::artifact::{Clusters, Pool, Scores, Vectors, align};
use crate::selection::scorers;
use crate::text::{count, ticked_list};

/// How many samples an error names.
const NAMED: usize = 5;

/// The ids of a pool's samples, in its order.
pub fn ids(pool: &Pool) -> Vec<String> {
    pool.samples.iter().map(|sample| sample.id.clone()).collect()
}

/// Reads clusters: with them, the indices of the samples `ids` that each one has.
pub fn clusters(directory: &Path, ids: &[String]) -> anyhow::Result<(Clusters, Vec<Vec<usize>>)> {
    let clusters = Clusters::read(directory)?;
    let rows = align(ids, &clusters.ids, "clusters")?;
    let mut members = vec![Vec::new(); clusters.count()];
    for (sample, row) in rows.into_iter().enumerate() {
        members[clusters.labels[row]].push(sample);
    }
    Ok((clusters, members))
}

/// Vectors with the row of each sample.
pub struct AlignedVectors {
    vectors: Vectors,
    rows: Vec<usize>,
}

impl AlignedVectors {
    /// Reads the vectors of the samples `ids`.
    ///
    /// # Errors
    ///
    /// Beside those of reading, if a component is not finite; the samples are named.
    pub fn read(directory: &Path, ids: &[String]) -> anyhow::Result<AlignedVectors> {
        let vectors = Vectors::read(directory)?;
        let rows = align(ids, &vectors.ids, "vectors")?;
        let aligned = AlignedVectors { vectors, rows };
        let broken = |sample: &usize| aligned.row(*sample).iter().any(|value| !value.is_finite());
        refuse((0..ids.len()).filter(broken), ids, "the vector")?;
        Ok(aligned)
    }

    /// The vectors of the samples at these indices.
    pub fn of(&self, samples: &[usize]) -> Vec<&[f32]> {
        samples.iter().map(|sample| self.row(*sample)).collect()
    }

    /// The vector of the sample at this index.
    pub fn row(&self, sample: usize) -> &[f32] {
        self.vectors.row(self.rows[sample])
    }

    /// Length of a vector.
    pub fn dimensions(&self) -> usize {
        self.vectors.dimensions
    }
}

/// The scores of one scorer.
pub struct Column {
    /// The scorer.
    pub scorer: String,
    /// One score per sample, as the scorer gave it.
    pub raw: Vec<f32>,
    /// The same on the scale on which scores are compared: perplexity as its logarithm, all others
    /// as they are.
    pub scaled: Vec<f64>,
}

impl Column {
    /// The scaled scores of the samples at these indices.
    pub fn of(&self, samples: &[usize]) -> Vec<f64> {
        samples.iter().map(|sample| self.scaled[*sample]).collect()
    }
}

/// Reads the scores of the samples `ids` by the scorers that `wanted` names, or by all, in the
/// order in which scorers are documented.
///
/// # Errors
///
/// Beside those of reading, if a scorer is missing or a score is not finite; the samples are named.
pub fn scores(directory: &Path, ids: &[String], wanted: Option<&str>) -> anyhow::Result<Vec<Column>> {
    let scores = Scores::read(directory)?;
    let rows = align(ids, &scores.ids, "scores")?;
    let mut names: Vec<&String> = scores.columns.keys().collect();
    // Files hold columns in alphabetical order; of equal scorers the first in documentation is preferred.
    names.sort_by_key(|name| scorers::place(name));
    if let Some(wanted) = wanted {
        let all = ticked_list(&names);
        names.retain(|name| *name == wanted);
        if names.is_empty() {
            bail!("no scores by `{wanted}`: there are {all}; hint: add it to `scorers` of the score stage");
        }
    }
    let mut columns = Vec::new();
    for name in names {
        let raw: Vec<f32> = rows.iter().map(|row| scores.columns[name][*row]).collect();
        let scorer = scorers::named(name);
        let scale = |score: &f32| scorer.map_or(f64::from(*score), |scorer| scorer.scaled(*score));
        let scaled: Vec<f64> = raw.iter().map(scale).collect();
        refuse((0..ids.len()).filter(|sample| !scaled[*sample].is_finite()), ids, &format!("the score by `{name}`"))?;
        columns.push(Column { scorer: name.clone(), raw, scaled });
    }
    Ok(columns)
}

fn refuse(broken: impl Iterator<Item = usize>, ids: &[String], what: &str) -> anyhow::Result<()> {
    let broken: Vec<usize> = broken.collect();
    if broken.is_empty() {
        return Ok(());
    }
    let named = ticked_list(broken.iter().take(NAMED).map(|sample| &ids[*sample]));
    let more = if broken.len() > NAMED { ", among others" } else { "" };
    bail!("{what} of {} is not a finite number: {named}{more}", count(broken.len(), "sample"))
}
