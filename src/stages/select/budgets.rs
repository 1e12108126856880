//! How many samples each part may give.

use anyhow::Context as _;

use super::measures::Measures;
use super::params::{Allocation, Params, Version};
use super::parts::Parts;
use crate::artifact::{Clusters, Vectors};
use crate::selection::budget::{self, density, transferability};
use crate::selection::duplicates;
use crate::stage::Context;
use crate::stages::alignment::{self, AlignedVectors};

/// Shares the budget over the parts.
pub fn share(
    context: &Context<'_>,
    params: &Params,
    ids: &[String],
    parts: &Parts,
    measures: &Measures<'_>,
    vectors: Option<&AlignedVectors>,
) -> anyhow::Result<Vec<usize>> {
    let (sizes, budget) = (parts.sizes(), params.budget);
    let clusters = match parts {
        Parts::Whole(_) => return Ok(vec![budget.min(ids.len())]),
        Parts::Arrivals([older, newest]) => {
            return Ok(budget::replay(older.len(), newest.len(), params.new_share, budget).to_vec());
        }
        Parts::Clusters(clusters, _) => clusters,
    };
    let rounding = params.rounding;
    let shares = match params.allocation {
        Allocation::Whole | Allocation::Replay => anyhow::bail!("BUG: clusters were read for nothing"),
        Allocation::Uniform => match rounding {
            Version::Paper => Some(budget::uniform(&sizes, budget)),
            Version::Reference => budget::reference::uniform(&sizes, budget),
        },
        Allocation::ScoreWeighted => {
            let weights = spreads(context, params, ids, parts)?;
            match rounding {
                Version::Paper => Some(budget::weighted(&sizes, &weights, budget)),
                Version::Reference => budget::reference::weighted(&sizes, &weights, budget),
            }
        }
        Allocation::Density => {
            let vectors = vectors.context("BUG: density without vectors")?;
            same_vectors(clusters, vectors)?;
            let rows = parts
                .all()
                .iter()
                .enumerate()
                .flat_map(|(cluster, members)| members.iter().map(move |sample| (cluster, vectors.row(*sample))));
            let (centroids, dimensions) = (&clusters.centroids, clusters.dimensions);
            let (temperature, balance) = (params.temperature, params.balance);
            match (params.density, rounding) {
                (Version::Paper, _) => {
                    let weights = density::weights(centroids, dimensions, params.neighbours, rows);
                    let share = match rounding {
                        Version::Paper => density::shares,
                        Version::Reference => density::rounded_shares,
                    };
                    Some(share(&sizes, &weights, temperature, balance, budget))
                }
                (Version::Reference, Version::Paper) => {
                    let weights = budget::reference::density(centroids, dimensions, rows);
                    Some(budget::weighted(&sizes, &weights, budget))
                }
                (Version::Reference, Version::Reference) => {
                    let weights = budget::reference::density(centroids, dimensions, rows);
                    budget::reference::proportional(&weights, budget)
                }
            }
        }
        Allocation::Transferability => {
            same_vectors(clusters, vectors.context("BUG: transferability without vectors")?)?;
            let scores = transferabilities(context, clusters)?;
            let densities = measures.kernels.iter().map(|kernel| kernel.density());
            let scores: Vec<f64> = scores.iter().zip(densities).map(|(score, density)| score / density).collect();
            let share = match rounding {
                Version::Paper => transferability::shares,
                Version::Reference => transferability::one_round,
            };
            Some(share(&sizes, &scores, params.temperature, budget))
        }
        Allocation::Duplicates => Some(duplicates::shares(&measures.rankings, params.epsilon, budget)),
    };
    shares.with_context(|| {
        format!(
            "`rounding: reference` cannot share a budget of {budget} over {} samples in {} clusters; hint: `rounding: paper` can",
            ids.len(),
            sizes.len()
        )
    })
}

/// The standard deviation of the scores that weigh clusters, in each of them.
fn spreads(context: &Context<'_>, params: &Params, ids: &[String], parts: &Parts) -> anyhow::Result<Vec<f64>> {
    let needed = || format!("allocation `score_weighted` weighs by `{}`", params.weight_scorer);
    let directory = context.input("scores").with_context(needed)?;
    let columns = alignment::scores(directory, ids, Some(&params.weight_scorer)).with_context(needed)?;
    Ok(parts.all().iter().map(|members| budget::spread(&columns[0].of(members))).collect())
}

/// How much of what a cluster teaches helps the others: concept vectors are compared by what they say of
/// the text, as in COINCIDE, others whole.
fn transferabilities(context: &Context<'_>, clusters: &Clusters) -> anyhow::Result<Vec<f64>> {
    let (centroids, dimensions) = (&clusters.centroids, clusters.dimensions);
    let compared = match Vectors::language_halves(context.input("vectors")?)? {
        Some(halves) => transferability::language(centroids, dimensions, &halves),
        None => centroids.chunks_exact(dimensions).map(<[f32]>::to_vec).collect(),
    };
    Ok(transferability::transferability(&compared))
}

/// Whether centroids and vectors can be compared.
fn same_vectors(clusters: &Clusters, vectors: &AlignedVectors) -> anyhow::Result<()> {
    anyhow::ensure!(
        vectors.dimensions() == clusters.dimensions,
        "the vectors have {} dimensions, the centroids {}: these vectors are not what was clustered",
        vectors.dimensions(),
        clusters.dimensions
    );
    Ok(())
}
