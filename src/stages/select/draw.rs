//! Which samples of a part are drawn.

use anyhow::Context as _;
use indexmap::IndexMap;

use super::measures::Measures;
use super::params::{Coverage, Params, Sampler, Version};
use crate::selection::random::Draws;
use crate::selection::{duplicates, entropy, sampler};
use crate::stages::alignment::Column;

/// What was drawn from a part.
pub struct Drawn<'a> {
    /// Indices of samples in the pool.
    pub samples: Vec<usize>,
    /// The scores that ranked them, where some did.
    pub column: Option<&'a Column>,
    /// The entropies that decided whose scores.
    pub entropies: IndexMap<String, Option<f64>>,
}

/// Draws the share of the budget of the part `number` from its members.
pub fn draw<'a>(
    params: &Params,
    ranking: &'a [Column],
    members: &[usize],
    measures: &Measures<'_>,
    budget: usize,
    number: usize,
) -> anyhow::Result<Drawn<'a>> {
    let (column, entropies) = choose_scorer(ranking, members, params);
    let mut draws = Draws::new(params.seed, &format!("select from cluster {number}"));
    let scores = || column.map(|column| column.of(members)).context("BUG: a sampler without scores");
    let chosen = match params.sampler {
        Sampler::Random => {
            let everyone: Vec<usize> = (0..members.len()).collect();
            draws.sample(&everyone, budget)
        }
        Sampler::Top => sampler::top(&scores()?, budget),
        Sampler::Middle => sampler::middle(&scores()?, budget),
        Sampler::Low => sampler::low(&scores()?, budget),
        Sampler::Ccs => cover(params, &scores()?, budget, &mut draws),
        Sampler::Far => sampler::by_distance(&measures.rows[number], false, budget),
        Sampler::Near => sampler::by_distance(&measures.rows[number], true, budget),
        Sampler::Mmd => measures.kernels[number].greedy(budget),
        Sampler::Distinct => {
            let ranking = &measures.rankings[number];
            duplicates::least_redundant(ranking, budget.min(duplicates::left(ranking, params.epsilon)))
        }
    };
    Ok(Drawn { samples: chosen.into_iter().map(|index| members[index]).collect(), column, entropies })
}

fn cover(params: &Params, scores: &[f64], budget: usize, draws: &mut Draws) -> Vec<usize> {
    let (bins, cut) = (params.bins, params.cut);
    match params.ccs {
        Coverage::Paper => sampler::coverage(scores, bins, cut, budget, draws),
        Coverage::Original => sampler::original_coverage(scores, bins, params.hard_cut, budget, draws),
        Coverage::Reference => sampler::reference_coverage(scores, bins, cut, budget, draws),
    }
}

/// The scorer that rules a part, with the entropies that decided if there was a choice.
fn choose_scorer<'a>(
    ranking: &'a [Column],
    members: &[usize],
    params: &Params,
) -> (Option<&'a Column>, IndexMap<String, Option<f64>>) {
    if ranking.is_empty() || params.scorer != "multiway" {
        return (ranking.first(), IndexMap::new());
    }
    let entropy = |column: &Column| match params.entropy {
        Version::Paper => entropy::of_shape(&column.of(members), params.bins),
        Version::Reference => entropy::reference(&column.of(members), params.bins),
    };
    let entropies: Vec<f64> = ranking.iter().map(entropy).collect();
    let finite = |entropy: &f64| entropy.is_finite().then_some(*entropy);
    let record = ranking.iter().zip(&entropies).map(|(column, entropy)| (column.scorer.clone(), finite(entropy)));
    (Some(&ranking[entropy::largest(&entropies)]), record.collect())
}
