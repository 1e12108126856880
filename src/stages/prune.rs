//! `prune`: the pool after permanent pruning.

use anyhow::Context as _;
use serde::Deserialize;

use super::alignment::{self, AlignedVectors};
use super::keep::Keep;
use crate::artifact::Pool;
use crate::selection::random::Draws;
use crate::selection::{budget, duplicates, sampler};
use crate::stage::{Context, Stage};

/// The kind `prune`.
pub struct Prune;

/// Strata and cut of coverage-centric sampling, as the paper has them.
const STRATA: usize = 50;
const CUT: f64 = 0.05;

#[derive(Deserialize)]
struct Params {
    method: Method,
    budget: usize,
    scorer: String,
    allocation: Allocation,
    order: Order,
    keep: Keep,
    epsilon: Option<f64>,
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    None,
    Random,
    Score,
    Semantic,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Allocation {
    Uniform,
    Duplicates,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Paper,
    Reference,
}

impl Stage for Prune {
    fn declaration(&self) -> &'static str {
        include_str!("../../stages/prune.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let params: Params = context.params()?;
        let pool = Pool::read(context.input("pool")?)?;
        let ids = alignment::ids(&pool);
        let everything: Vec<usize> = (0..ids.len()).collect();
        let kept = match params.method {
            Method::None => everything,
            Method::Random => Draws::new(params.seed, "prune").sample(&everything, params.budget),
            Method::Score => cover(context, &params, &ids)?,
            Method::Semantic => deduplicate(context, &params, &ids)?,
        };
        pool.select(&kept).write(context.output("pool")?)
    }
}

/// What coverage-centric sampling keeps of each cluster.
fn cover(context: &Context<'_>, params: &Params, ids: &[String]) -> anyhow::Result<Vec<usize>> {
    let columns = alignment::scores(context.input("scores")?, ids, Some(&params.scorer))?;
    let (_, clusters) = alignment::clusters(context.input("clusters")?, ids)?;
    let budgets = equal(&clusters, params.budget);
    let mut kept = Vec::new();
    for (cluster, members) in clusters.iter().enumerate() {
        let mut draws = Draws::new(params.seed, &format!("prune cluster {cluster}"));
        let places = sampler::coverage(&columns[0].of(members), STRATA, CUT, budgets[cluster], &mut draws);
        kept.extend(places.into_iter().map(|place| members[place]));
    }
    kept.sort_unstable();
    Ok(kept)
}

/// What is left of each cluster without its most redundant samples.
fn deduplicate(context: &Context<'_>, params: &Params, ids: &[String]) -> anyhow::Result<Vec<usize>> {
    let vectors = AlignedVectors::read(context.input("vectors")?, ids)?;
    let (_, clusters) = alignment::clusters(context.input("clusters")?, ids)?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(context.execution().threads).build();
    let threads = threads.context("cannot start the threads of the stage")?;
    let mut done = 0;
    let mut rank = |cluster: usize, members: &Vec<usize>| {
        let order = match params.order {
            Order::Paper => params.keep.order(),
            Order::Reference => duplicates::Order::AsGiven,
        };
        let mut draws = Draws::new(params.seed, &format!("compare cluster {cluster}"));
        let ranking = threads.install(|| duplicates::rank(&vectors.of(members), order, &mut draws));
        done += members.len();
        context.progress(done, ids.len(), "samples");
        ranking
    };
    let rankings: Vec<_> = clusters.iter().enumerate().map(|(cluster, members)| rank(cluster, members)).collect();
    let budgets = match params.allocation {
        Allocation::Uniform => {
            let budgets = equal(&clusters, params.budget);
            let left = |(budget, ranking): (usize, &Vec<_>)| budget.min(duplicates::left(ranking, params.epsilon));
            budgets.into_iter().zip(&rankings).map(left).collect()
        }
        Allocation::Duplicates => duplicates::shares(&rankings, params.epsilon, params.budget),
    };
    let mut kept: Vec<usize> = Vec::new();
    for ((members, ranking), budget) in clusters.iter().zip(&rankings).zip(budgets) {
        kept.extend(duplicates::least_redundant(ranking, budget).into_iter().map(|place| members[place]));
    }
    kept.sort_unstable();
    Ok(kept)
}

/// The budget shared equally over the clusters.
fn equal(clusters: &[Vec<usize>], budget: usize) -> Vec<usize> {
    let sizes: Vec<usize> = clusters.iter().map(Vec::len).collect();
    budget::uniform(&sizes, budget)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::Bench;
    use serde_json::json;

    /// 40 samples in two clusters of 20. In the first, every sample has a twin in the other half of
    /// the pool; in the second, all directions differ.
    fn bench() -> Bench {
        let bench = Bench::new(&Prune);
        bench.pool("pool", 40);
        let labels: Vec<usize> = (0..40).map(|sample| sample % 2).collect();
        bench.clusters("clusters", &labels);
        let direction = |sample: usize| {
            let angle = if labels[sample] == 0 { (sample % 20) as f32 } else { sample as f32 } * 0.15;
            [angle.cos(), angle.sin()]
        };
        bench.vectors("vectors", &(0..40).map(direction).collect::<Vec<_>>());
        bench.scores("scores", &[("el2n", (0..40).map(|sample| sample as f32).collect())]);
        bench
    }

    fn kept(bench: &Bench) -> Vec<usize> {
        let kept = bench.numbers(&Pool::read(&bench.output("pool")).unwrap());
        assert!(kept.is_sorted(), "the order of the pool is kept");
        kept
    }

    #[test]
    fn semantic_pruning_removes_twins_first() {
        for order in ["paper", "reference"] {
            let bench = bench();
            bench.run(json!({"budget": 20, "order": order})).unwrap();
            let kept = kept(&bench);
            let first: Vec<usize> = kept.iter().copied().filter(|sample| sample % 2 == 0).collect();
            assert_eq!(first.len(), 10);
            let mut twins: Vec<usize> = first.iter().map(|sample| sample % 20).collect();
            twins.sort_unstable();
            twins.dedup();
            assert_eq!(twins.len(), 10, "one of each pair of twins is left: {first:?}");
        }
    }

    #[test]
    fn over_all_clusters_together_the_twins_of_one_cluster_go() {
        let bench = bench();
        bench.run(json!({"budget": 30, "allocation": "duplicates"})).unwrap();
        let kept = kept(&bench);
        assert_eq!(kept.iter().filter(|sample| **sample % 2 == 1).count(), 20, "nothing of the cluster without twins");
        assert_eq!(kept.len(), 30);
    }

    #[test]
    fn a_threshold_prunes_to_what_is_left() {
        for (allocation, budget, expected) in
            [("duplicates", 40, 30), ("uniform", 40, 30), ("duplicates", 25, 25), ("uniform", 16, 16)]
        {
            let bench = bench();
            // Neighbours are 0.15 radians apart, twins not at all.
            let params = json!({"budget": budget, "allocation": allocation, "epsilon": 0.001, "keep": "easy"});
            bench.run(params).unwrap();
            assert_eq!(kept(&bench).len(), expected, "{allocation} to {budget}");
        }
    }

    #[test]
    fn every_method_keeps_its_budget_and_none_keeps_everything() {
        for (method, expected) in [("none", 40), ("random", 13), ("score", 13), ("semantic", 13)] {
            let bench = bench();
            bench.run(json!({"budget": 13, "method": method})).unwrap();
            assert_eq!(kept(&bench).len(), expected, "{method}");
        }
    }

    #[test]
    fn threads_do_not_change_what_is_kept() {
        let keep = |threads| {
            let bench = bench();
            bench.run_with_threads(json!({"budget": 17}), threads).unwrap();
            kept(&bench)
        };
        assert_eq!(keep(1), keep(3));
    }

    #[test]
    fn a_vector_with_a_component_that_is_no_number_is_refused_by_name() {
        let bench = bench();
        let mut rows = vec![[1.0f32, 0.0]; 40];
        rows[3][1] = f32::NAN;
        bench.vectors("vectors", &rows);
        let error = bench.run(json!({"budget": 13})).unwrap_err();
        assert_eq!(format!("{error:#}"), "the vector of 1 sample is not a finite number: `d/3`");
    }
}
