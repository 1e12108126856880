//! Stories of `select`: artifacts in, the chosen samples and the shares out.

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
    bench.run(json!({"budget": 20, "allocation": "density", "density": "reference"})).unwrap();
    let budgets: Vec<usize> = shares(&bench).iter().map(|share| share.budget).collect();
    assert_eq!(budgets.iter().sum::<usize>(), 20);
    assert!(budgets[2] > 4 * budgets[0] && budgets[0] > budgets[1], "{budgets:?}");
}

#[test]
fn the_authors_rounding_is_there_with_its_sum_and_its_failure() {
    let bench = bench();
    let params =
        |budget: usize| json!({"budget": budget, "rounding": "reference", "ccs": "reference", "entropy": "reference"});
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

/// 60 samples in two clusters of 30 that lie around the directions (1, 0) and (0, 1). Those of the first
/// are three directions, ten times each; those of the second all differ.
fn directions() -> Bench {
    let bench = Bench::new(&Select);
    bench.pool("pool", 60);
    let labels: Vec<usize> = (0..60).map(|sample| sample / 30).collect();
    bench.clusters_at("clusters", &labels, &[[1.0, 0.0], [0.0, 1.0]]);
    let direction = |sample: usize| {
        let angle = match labels[sample] {
            0 => (sample % 3) as f32 * 0.2 - 0.2,
            _ => std::f32::consts::FRAC_PI_2 + (sample - 30) as f32 * 0.04 - 0.58,
        };
        [angle.cos(), angle.sin()]
    };
    bench.vectors("vectors", &(0..60).map(direction).collect::<Vec<_>>());
    bench
}

fn chosen(bench: &Bench) -> Vec<usize> {
    bench.numbers(&Pool::read(&bench.output("subset")).unwrap())
}

#[test]
fn duplicates_of_all_clusters_go_before_anything_else() {
    let run = |params: serde_json::Value| {
        let bench = directions();
        bench.run(params).unwrap();
        (chosen(&bench), shares(&bench).iter().map(|share| share.chosen).collect::<Vec<usize>>())
    };
    let semdedup = |budget: usize, epsilon: Option<f64>| {
        run(json!({"budget": budget, "allocation": "duplicates", "sampler": "distinct", "epsilon": epsilon}))
    };
    assert_eq!(semdedup(33, None).1, [3, 30], "one of each direction");
    assert_eq!(semdedup(60, Some(1e-4)).1, [3, 30], "less than the budget");
    assert_eq!(semdedup(60, None).1, [30, 30]);
    let (few, shared) = semdedup(10, None);
    assert_eq!((few.len(), shared.iter().sum::<usize>()), (10, 10));
    assert!(
        semdedup(11, None).0.iter().filter(|sample| few.contains(sample)).count() == 10,
        "a budget of one more keeps them"
    );
    let equal = json!({"budget": 20, "allocation": "uniform", "sampler": "distinct", "epsilon": 1e-4});
    assert_eq!(run(equal).1, [3, 10], "a threshold holds below a budget per cluster too");
}

#[test]
fn density_takes_more_of_a_cluster_that_is_spread_out_and_its_far_side_first() {
    let bench = directions();
    bench.run(json!({"budget": 20, "allocation": "density", "sampler": "far", "temperature": 0.02})).unwrap();
    let budgets: Vec<usize> = shares(&bench).iter().map(|share| share.budget).collect();
    assert!(budgets[1] > budgets[0] && budgets[0] >= 5, "a quarter is the least: {budgets:?}");
    let chosen = chosen(&bench);
    assert!(chosen.contains(&30) && chosen.contains(&59) && !chosen.contains(&44) && !chosen.contains(&45));
    assert!(
        chosen.iter().filter(|sample| **sample < 30).all(|sample| sample % 3 != 1),
        "the middle one of three is near"
    );
}

#[test]
fn transferability_and_discrepancy_spend_the_budget_on_what_stands_for_the_rest() {
    let bench = directions();
    bench.run(json!({"budget": 8, "allocation": "transferability", "sampler": "mmd", "gamma": 0.2})).unwrap();
    let budgets: Vec<usize> = shares(&bench).iter().map(|share| share.budget).collect();
    assert_eq!(budgets.iter().sum::<usize>(), 8);
    let first: std::collections::BTreeSet<usize> =
        chosen(&bench).iter().filter(|sample| **sample < 30).map(|sample| sample % 3).collect();
    assert_eq!(first.len(), budgets[0].min(3), "another direction before a second time the same");
}

#[test]
fn concept_vectors_are_compared_by_their_language_halves() {
    let bench = directions();
    let labels: Vec<usize> = (0..60).map(|sample| sample / 20).collect();
    bench.clusters_at("clusters", &labels, &[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]);
    let budgets = |layers: usize| {
        let summary = json!({"samples": 60, "dimensions": 2, "concept_layers": layers});
        std::fs::write(bench.input("vectors").join("summary.json"), summary.to_string()).unwrap();
        bench.run(json!({"budget": 8, "allocation": "transferability", "sampler": "mmd", "gamma": 0.2}))?;
        anyhow::Ok(shares(&bench).iter().map(|share| share.budget).collect::<Vec<_>>())
    };
    let whole = {
        bench.run(json!({"budget": 8, "allocation": "transferability", "sampler": "mmd", "gamma": 0.2})).unwrap();
        shares(&bench).iter().map(|share| share.budget).collect::<Vec<_>>()
    };
    assert_ne!(budgets(1).unwrap(), whole, "the second coordinate alone says something else");
    assert_eq!(format!("{:#}", budgets(3).unwrap_err()), "2 dimensions are not those of 3 layers");
}

#[test]
fn threads_do_not_change_what_is_chosen() {
    for (allocation, sampler) in [("duplicates", "distinct"), ("transferability", "mmd"), ("density", "near")] {
        let run = |threads| {
            let bench = directions();
            bench
                .run_with_threads(json!({"budget": 17, "allocation": allocation, "sampler": sampler}), threads)
                .unwrap();
            chosen(&bench)
        };
        assert_eq!(run(1), run(3), "{allocation} and {sampler}");
    }
}

#[test]
fn replay_draws_from_the_newest_dataset_and_from_the_older_ones() {
    let run = |budget: usize, new_share: f64| {
        let bench = Bench::new(&Select);
        bench.pool("pool", 60);
        let input = bench.input("pool");
        let mut pool = Pool::read(&input).unwrap();
        for (number, sample) in pool.samples.iter_mut().enumerate() {
            sample.dataset = ["first", "second", "newest"][number / 20].to_string();
        }
        pool.write(&input).unwrap();
        let params = json!({"budget": budget, "allocation": "replay", "new_share": new_share, "sampler": "random"});
        bench.run(params).unwrap();
        let names: Vec<String> = shares(&bench).into_iter().filter_map(|share| share.part).collect();
        assert_eq!(names, ["older datasets", "newest dataset"]);
        let chosen = chosen(&bench);
        [chosen.iter().filter(|number| **number < 40).count(), chosen.iter().filter(|number| **number >= 40).count()]
    };
    assert_eq!(run(10, 0.5), [5, 5]);
    assert_eq!(run(50, 0.5), [30, 20], "all of the newest");
    assert_eq!(run(10, 0.3), [7, 3]);
}

#[test]
fn only_what_a_method_looks_at_is_an_input() {
    let signature = crate::stage::Signature::parse(Select.declaration()).unwrap();
    let used = |allocation: &str, sampler: &str| -> Vec<String> {
        let params = json!({"allocation": allocation, "sampler": sampler});
        let params = params.as_object().unwrap();
        signature
            .inputs
            .iter()
            .filter(|(_, input)| input.when.holds(|name| params.get(name)))
            .map(|(slot, _)| slot.clone())
            .collect()
    };
    assert_eq!(used("whole", "random"), ["pool"]);
    assert_eq!(used("replay", "random"), ["pool"]);
    assert_eq!(used("whole", "top"), ["pool", "scores"]);
    assert_eq!(used("uniform", "ccs"), ["pool", "clusters", "scores"]);
    assert_eq!(used("score_weighted", "random"), ["pool", "clusters", "scores"]);
    assert_eq!(used("duplicates", "distinct"), ["pool", "clusters", "vectors"]);
    assert_eq!(used("density", "far"), ["pool", "clusters", "vectors"]);
    assert_eq!(used("density", "ccs"), ["pool", "clusters", "scores", "vectors"]);
    assert_eq!(used("transferability", "mmd"), ["pool", "clusters", "vectors"]);
    assert_eq!(used("whole", "distinct"), ["pool", "vectors"]);
}
