//! `prune`: the pool after permanent pruning.

use anyhow::Context as _;
use serde::Deserialize;

use super::alignment::{self, AlignedVectors};
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
    order: Order,
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
    by_cluster(context, params, ids, |cluster, members, budget| {
        let mut draws = Draws::new(params.seed, &format!("prune cluster {cluster}"));
        sampler::coverage(&columns[0].of(members), STRATA, CUT, budget, &mut draws)
    })
}

/// What is left of each cluster without its most redundant samples.
fn deduplicate(context: &Context<'_>, params: &Params, ids: &[String]) -> anyhow::Result<Vec<usize>> {
    let vectors = AlignedVectors::read(context.input("vectors")?, ids)?;
    let order = match params.order {
        Order::Paper => duplicates::Order::FarthestFirst,
        Order::Reference => duplicates::Order::AsGiven,
    };
    let threads = rayon::ThreadPoolBuilder::new().num_threads(context.execution().threads).build();
    let threads = threads.context("cannot start the threads of the stage")?;
    threads.install(|| {
        by_cluster(context, params, ids, |_, members, budget| duplicates::keep(&vectors.of(members), budget, order))
    })
}

/// Shares the budget equally over the clusters and lets `keep` choose among the members of each:
/// given the cluster, its members and its budget it returns places in the members.
fn by_cluster(
    context: &Context<'_>,
    params: &Params,
    ids: &[String],
    keep: impl Fn(usize, &[usize], usize) -> Vec<usize>,
) -> anyhow::Result<Vec<usize>> {
    let (_, members) = alignment::clusters(context.input("clusters")?, ids)?;
    let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
    let budgets = budget::uniform(&sizes, params.budget);
    let mut kept = Vec::new();
    let mut done = 0;
    for (cluster, (members, budget)) in members.iter().zip(budgets).enumerate() {
        kept.extend(keep(cluster, members, budget).into_iter().map(|place| members[place]));
        done += members.len();
        context.progress(done, ids.len(), "samples");
    }
    kept.sort_unstable();
    Ok(kept)
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
