//! `select`: the subset to train on.

use anyhow::Context as _;
use indexmap::IndexMap;
use serde::Deserialize;

use super::alignment::{self, AlignedVectors, Column};
use crate::artifact::{Choice, Pool, Share, write_json_lines};
use crate::selection::random::Draws;
use crate::selection::{budget, entropy, sampler};
use crate::stage::{Context, Stage};

/// The kind `select`.
pub struct Select;

#[derive(Deserialize)]
struct Params {
    budget: usize,
    allocation: Allocation,
    rounding: Version,
    scorer: String,
    entropy: Version,
    sampler: Sampler,
    ccs: Version,
    bins: usize,
    cut: f64,
    weight_scorer: String,
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Allocation {
    Uniform,
    ScoreWeighted,
    Density,
    Whole,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sampler {
    Ccs,
    Top,
    Middle,
    Low,
    Random,
}

/// What the paper says, or what the authors' code does.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Version {
    Paper,
    Reference,
}

impl Stage for Select {
    fn declaration(&self) -> &'static str {
        include_str!("../../stages/select.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let params: Params = context.params()?;
        let pool = Pool::read(context.input("pool")?)?;
        let ids = alignment::ids(&pool);
        let clusters = Clusters::read(context, &params, &ids)?;
        let ranking = match params.sampler {
            Sampler::Random => Vec::new(),
            _ => {
                let wanted = (params.scorer != "multiway").then_some(params.scorer.as_str());
                alignment::scores(context.input("scores")?, &ids, wanted)?
            }
        };

        let mut choices: Vec<(usize, Choice)> = Vec::new();
        let mut shares = Vec::new();
        for (number, (members, budget)) in clusters.members.iter().zip(&clusters.budgets).enumerate() {
            let cluster = (params.allocation != Allocation::Whole).then_some(number);
            let (column, entropies) = choose_scorer(&ranking, members, &params);
            let chosen = draw(&params, column, members, *budget, number)?;
            shares.push(Share {
                cluster,
                size: members.len(),
                budget: *budget,
                chosen: chosen.len(),
                scorer: column.map(|column| column.scorer.clone()),
                entropies,
            });
            choices.extend(chosen.into_iter().map(|sample| {
                let (scorer, score) = column.map(|column| (column.scorer.clone(), column.raw[sample])).unzip();
                (sample, Choice { id: ids[sample].clone(), cluster, scorer, score })
            }));
        }
        choices.sort_by_key(|(sample, _)| *sample);

        let output = context.output("subset")?;
        let indices: Vec<usize> = choices.iter().map(|(sample, _)| *sample).collect();
        pool.select(&indices).write(output)?;
        write_json_lines(&output.join("choices.jsonl"), choices.iter().map(|(_, choice)| choice))?;
        write_json_lines(&output.join("shares.jsonl"), &shares)
    }
}

/// The parts of the pool that share the budget.
struct Clusters {
    /// Indices of samples in the pool.
    members: Vec<Vec<usize>>,
    budgets: Vec<usize>,
}

impl Clusters {
    fn read(context: &Context<'_>, params: &Params, ids: &[String]) -> anyhow::Result<Clusters> {
        if params.allocation == Allocation::Whole {
            let budgets = vec![params.budget.min(ids.len())];
            return Ok(Clusters { members: vec![(0..ids.len()).collect()], budgets });
        }
        let (clusters, members) = alignment::clusters(context.input("clusters")?, ids)?;
        let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
        let weights: Option<Vec<f64>> = match params.allocation {
            Allocation::Uniform | Allocation::Whole => None,
            Allocation::ScoreWeighted => {
                let needed = || format!("allocation `score_weighted` weighs by `{}`", params.weight_scorer);
                let directory = context.input("scores").with_context(needed)?;
                let columns = alignment::scores(directory, ids, Some(&params.weight_scorer)).with_context(needed)?;
                Some(members.iter().map(|members| budget::spread(&columns[0].of(members))).collect())
            }
            Allocation::Density => {
                let vectors = AlignedVectors::read(context.input("vectors")?, ids)?;
                anyhow::ensure!(
                    vectors.dimensions() == clusters.dimensions,
                    "the vectors have {} dimensions, the centroids {}: these vectors are not what was clustered",
                    vectors.dimensions(),
                    clusters.dimensions
                );
                let rows = members.iter().enumerate().flat_map(|(cluster, members)| {
                    members.iter().map(|sample| (cluster, vectors.row(*sample))).collect::<Vec<_>>()
                });
                Some(budget::density(&clusters.centroids, clusters.dimensions, rows))
            }
        };
        let budgets = match (params.rounding, &weights) {
            (Version::Paper, None) => Some(budget::uniform(&sizes, params.budget)),
            (Version::Paper, Some(weights)) => Some(budget::weighted(&sizes, weights, params.budget)),
            (Version::Reference, None) => budget::reference::uniform(&sizes, params.budget),
            (Version::Reference, Some(weights)) if params.allocation == Allocation::Density => {
                budget::reference::proportional(weights, params.budget)
            }
            (Version::Reference, Some(weights)) => budget::reference::weighted(&sizes, weights, params.budget),
        };
        let budgets = budgets.with_context(|| {
            format!(
                "`rounding: reference` cannot share a budget of {} over {} samples in {} clusters; hint: `rounding: paper` can",
                params.budget,
                ids.len(),
                sizes.len()
            )
        })?;
        Ok(Clusters { members, budgets })
    }
}

/// The scorer that rules a cluster, with the entropies that decided if there was a choice.
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

/// Draws a cluster's share of the budget: indices of samples in the pool.
fn draw(
    params: &Params,
    column: Option<&Column>,
    members: &[usize],
    budget: usize,
    cluster: usize,
) -> anyhow::Result<Vec<usize>> {
    let mut draws = Draws::new(params.seed, &format!("select from cluster {cluster}"));
    let Some(column) = column else { return Ok(draws.sample(members, budget)) };
    let scores = column.of(members);
    let (bins, cut) = (params.bins, params.cut);
    let chosen = match (params.sampler, params.ccs) {
        (Sampler::Random, _) => return Ok(draws.sample(members, budget)),
        (Sampler::Top, _) => sampler::top(&scores, budget),
        (Sampler::Middle, _) => sampler::middle(&scores, budget),
        (Sampler::Low, _) => sampler::low(&scores, budget),
        (Sampler::Ccs, Version::Paper) => sampler::coverage(&scores, bins, cut, budget, &mut draws),
        (Sampler::Ccs, Version::Reference) => sampler::reference_coverage(&scores, bins, cut, budget, &mut draws)
            .with_context(|| {
                format!(
                    "`ccs: reference` cannot draw {budget} of the {} samples in cluster {cluster}; hint: `ccs: paper` can",
                    members.len()
                )
            })?,
    };
    Ok(chosen.into_iter().map(|index| members[index]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::read_json_lines;
    use crate::stages::testing::Bench;
    use serde_json::json;

    /// 60 samples in three clusters of 10, 20 and 30. Perplexity is spread in the first cluster and
    /// constant in the others, EL2N the other way round.
    fn bench() -> Bench {
        let bench = Bench::new(&Select);
        bench.pool("pool", 60);
        let labels: Vec<usize> = (0..60).map(|sample| [0, 1, 1, 2, 2, 2][sample % 6]).collect();
        bench.clusters("clusters", &labels);
        let score = |sample: usize, cluster: usize| {
            if (labels[sample] == 0) == (cluster == 0) { 1.0 + sample as f32 } else { 2.0 }
        };
        let column = |cluster| (0..60).map(|sample| score(sample, cluster)).collect::<Vec<f32>>();
        bench.scores("scores", &[("perplexity", column(0)), ("el2n", column(1))]);
        bench
    }

    fn shares(bench: &Bench) -> Vec<Share> {
        read_json_lines(&bench.output("subset").join("shares.jsonl")).unwrap()
    }

    #[test]
    fn each_cluster_is_ranked_by_the_scorer_that_tells_its_samples_apart() {
        let bench = bench();
        bench.run(json!({"budget": 36})).unwrap();
        let shares = shares(&bench);
        let scorers: Vec<&str> = shares.iter().filter_map(|share| share.scorer.as_deref()).collect();
        assert_eq!(scorers, ["perplexity", "el2n", "el2n"]);
        assert_eq!(shares.iter().map(|share| share.chosen).collect::<Vec<_>>(), [10, 13, 13]);
        assert_eq!(shares[0].entropies["el2n"], Some(0.0));

        let subset = Pool::read(&bench.output("subset")).unwrap();
        let choices: Vec<Choice> = read_json_lines(&bench.output("subset").join("choices.jsonl")).unwrap();
        assert_eq!(subset.samples.len(), 36);
        assert!(subset.samples.iter().zip(&choices).all(|(sample, choice)| sample.id == choice.id));
        let order: Vec<usize> = bench.numbers(&subset);
        assert!(order.is_sorted(), "the order of the pool is kept");
        let first = choices.iter().find(|choice| choice.id == "d/0").unwrap();
        assert_eq!((first.cluster, first.scorer.as_deref(), first.score), (Some(0), Some("perplexity"), Some(1.0)));
    }

    #[test]
    fn equal_seeds_choose_equal_bytes() {
        let read = |seed: u64| {
            let bench = bench();
            bench.run(json!({"budget": 20, "seed": seed})).unwrap();
            std::fs::read(bench.output("subset").join("samples.jsonl")).unwrap()
        };
        assert_eq!(read(0), read(0));
        assert_ne!(read(0), read(1));
    }

    #[test]
    fn a_random_draw_from_the_whole_pool_needs_the_pool_only() {
        let bench = Bench::new(&Select);
        bench.pool("pool", 60);
        bench.run(json!({"budget": 7, "allocation": "whole", "sampler": "random"})).unwrap();
        assert_eq!(Pool::read(&bench.output("subset")).unwrap().samples.len(), 7);
    }

    #[test]
    fn a_budget_beyond_the_pool_takes_it_all() {
        let bench = bench();
        bench.run(json!({"budget": 1000})).unwrap();
        assert_eq!(Pool::read(&bench.output("subset")).unwrap().samples.len(), 60);
    }

    #[test]
    fn rank_samplers_follow_one_scorer() {
        let bench = bench();
        let params = json!({"budget": 3, "allocation": "whole", "sampler": "top", "scorer": "el2n"});
        bench.run(params).unwrap();
        assert_eq!(bench.numbers(&Pool::read(&bench.output("subset")).unwrap()), [57, 58, 59]);
    }

    #[test]
    fn spread_and_density_weigh_clusters() {
        let bench = bench();
        bench.run(json!({"budget": 20, "allocation": "score_weighted", "scorer": "el2n"})).unwrap();
        let budgets: Vec<usize> = shares(&bench).iter().map(|share| share.budget).collect();
        assert_eq!(budgets, [0, 10, 10], "EL2N does not vary in the first cluster");

        let bench = self::bench();
        // The centroids of the bench are at 0, 1 and 2 on a line; members of the last lie farthest off.
        let offset = |sample: usize| [[0.0, 0.1], [1.0, 0.1], [2.0, 0.8]][[0, 1, 1, 2, 2, 2][sample % 6]];
        bench.vectors("vectors", &(0..60).map(offset).collect::<Vec<_>>());
        bench.run(json!({"budget": 20, "allocation": "density"})).unwrap();
        let budgets: Vec<usize> = shares(&bench).iter().map(|share| share.budget).collect();
        assert_eq!(budgets.iter().sum::<usize>(), 20);
        assert!(budgets[2] > 4 * budgets[0] && budgets[0] > budgets[1], "{budgets:?}");
    }

    #[test]
    fn the_authors_rounding_is_there_with_its_sum_and_its_failure() {
        let bench = bench();
        let params = |budget: usize| json!({"budget": budget, "rounding": "reference", "ccs": "reference", "entropy": "reference"});
        bench.run(params(20)).unwrap();
        assert_eq!(shares(&bench).iter().map(|share| share.budget).collect::<Vec<_>>(), [7, 7, 7]);
        let error = self::bench().run(params(61)).unwrap_err();
        let expected = "`rounding: reference` cannot share a budget of 61 over 60 samples in 3 clusters; \
                        hint: `rounding: paper` can";
        assert_eq!(format!("{error:#}"), expected);
    }

    #[test]
    fn a_score_that_is_no_number_is_refused_by_name() {
        let bench = bench();
        let mut column = vec![1.0f32; 60];
        column[7] = f32::NAN;
        column[9] = f32::INFINITY;
        bench.scores("scores", &[("el2n", column)]);
        let error = bench.run(json!({"budget": 3})).unwrap_err();
        let expected = "the score by `el2n` of 2 samples is not a finite number: `d/7` and `d/9`";
        assert_eq!(format!("{error:#}"), expected);
        let error = bench.run(json!({"budget": 3, "scorer": "grand"})).unwrap_err();
        let expected = "no scores by `grand`: there are `el2n`; hint: add it to `scorers` of the score stage";
        assert_eq!(format!("{error:#}"), expected);
    }
}
