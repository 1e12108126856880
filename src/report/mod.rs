//! Tables and figures: what an experiment says of them, what the runs brought, how they are written and how
//! they differ from a golden.
//!
//! Unaware of where numbers come from: of stages, the plan and the cache.

mod cell;
mod column;
mod comparison;
mod cost;
pub mod figure;
mod golden;
mod item;
mod json;
mod latex;
mod rank;
mod render;
mod results;
mod run;
mod separated;
mod spec;
mod table;

pub use cell::Cell;
pub use column::{Column, Direction, OverSteps, Summary};
pub use cost::{Cost, CostColumn, Measure, Part, Phase};
pub use golden::{Difference, differences};
pub use item::{ItemSpec, Moment};
pub use run::{Run, TableError};
pub use spec::{Mistake, Over, Rows, TableSpec};
pub use table::{BenchmarkRecord, Head, Row, RunRecord, SkillRow, Table};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Benchmark, Metrics};

    /// An evaluation: results on two benchmarks of counting and one of text in Chinese.
    fn step(values: [f64; 3]) -> Metrics {
        let names = [("count-a", "counting"), ("count-b", "counting"), ("ocr", "文字")];
        let benchmark = |((name, skill), value): ((&str, &str), f64)| {
            let metric = "exact_match".to_string();
            let skill = skill.to_string();
            (
                name.to_string(),
                Benchmark { skill, metric, value, chance: 25.0, samples: 100, details: Default::default() },
            )
        };
        Metrics { benchmarks: names.into_iter().zip(values).map(benchmark).collect() }
    }

    fn run(arm: &str, seed: u64, pool_size: usize, steps: &[[f64; 3]]) -> Run {
        Run {
            arm: Some(arm.to_string()),
            seed: Some(seed),
            steps: steps.iter().copied().map(step).collect(),
            values: [
                ("pool_size".to_string(), pool_size as f64),
                ("train.curve.loss".to_string(), 0.25 + seed as f64 / 10.0),
            ]
            .into(),
            costs: Vec::new(),
        }
    }

    fn runs() -> Vec<Run> {
        vec![
            run("Sequential", 0, 900, &[[80.0, 40.0, 0.0], [40.0, 40.0, 50.0], [20.0, 30.0, 50.0]]),
            run("Sequential", 1, 900, &[[80.0, 40.0, 0.0], [60.0, 20.0, 40.0], [40.0, 20.0, 40.0]]),
            run("Adapt-∞", 0, 500, &[[80.0, 40.0, 0.0], [80.0, 40.0, 40.0], [80.0, 40.0, 50.0]]),
            run("Adapt-∞", 1, 500, &[[80.0, 40.0, 0.0], [70.0, 50.0, 40.0], [72.0, 60.0, 45.0]]),
        ]
    }

    fn spec(rows: &str, columns: &str) -> TableSpec {
        let text = format!(
            "{{name: t, rows: {rows}, metrics: [evaluate.metrics], relative_to: [Sequential], columns: [{columns}]}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    fn arms() -> Table {
        let columns =
            "relative_gain, forgetting_rate, forgetting_signed, average_accuracy, pool_size, train.curve.loss";
        Table::build(&spec("arm", columns), "Two arms (toy suite)", &runs()).unwrap()
    }

    #[test]
    fn a_table_of_arms_aggregates_seeds_and_defines_its_columns() {
        insta::assert_snapshot!(arms().to_markdown(), @r#"
        # Two arms (toy suite)

        | arm        | relative gain (%) | forgetting rate (%) | forgetting signed (%) | average accuracy (%) | pool size | train.curve.loss |
        |:-----------|------------------:|--------------------:|----------------------:|---------------------:|----------:|-----------------:|
        | Sequential |        75.0 ± 0.0 |          25.0 ± 0.0 |            25.0 ± 0.0 |           36.2 ± 1.8 |   900 ± 0 |    0.300 ± 0.071 |
        | Adapt-∞    |  **108.1 ± 11.5** |       **1.2 ± 1.8** |       **-10.6 ± 2.7** |       **55.2 ± 0.4** |   500 ± 0 |    0.300 ± 0.071 |

        Mean ± standard deviation over 2 seeds (0, 1). Of each column the **best** is marked.

        Whether rows differ from the best (Adapt-∞) cannot be said: a paired permutation test over 2 skills × 2 seeds cannot reach p < 0.05.

        - **relative gain (%)**: result after the last time step in percent of the best result that Sequential reached over time, mean over skills of the mean over those of a skill's benchmarks on which that best is above chance.
        - **forgetting rate (%)**: what the last time step lost of the best earlier result, in percent of it; an improvement counts as 0; mean over skills of the mean over those of a skill's benchmarks on which that best is above chance.
        - **forgetting signed (%)**: the forgetting rate with an improvement counted as negative; mean over skills of the mean over those of a skill's benchmarks on which that best is above chance.
        - **average accuracy (%)**: result after the last time step, mean over skills of the mean over a skill's benchmarks.
        - **pool size**: samples in the pool after the last time step.
        - **train.curve.loss**: `train.curve.loss` at the last time step.
        "#);
    }

    #[test]
    fn a_terminal_gets_the_same_cells() {
        insta::assert_snapshot!(arms().to_text(), @r#"
        Two arms (toy suite)

        arm         relative gain (%)  forgetting rate (%)  forgetting signed (%)  average accuracy (%)  pool size  train.curve.loss
        ──────────  ─────────────────  ───────────────────  ─────────────────────  ────────────────────  ─────────  ────────────────
        Sequential         75.0 ± 0.0           25.0 ± 0.0             25.0 ± 0.0            36.2 ± 1.8    900 ± 0     0.300 ± 0.071
        Adapt-∞          108.1 ± 11.5            1.2 ± 1.8            -10.6 ± 2.7            55.2 ± 0.4    500 ± 0     0.300 ± 0.071

        Mean ± standard deviation over 2 seeds (0, 1)
        Whether rows differ from the best (Adapt-∞) cannot be said: a paired permutation test over 2 skills × 2 seeds cannot reach p < 0.05.
        "#);
    }

    #[test]
    fn a_table_of_skills_shows_every_arm_and_each_benchmark_once() {
        let table = Table::build(&spec("skill", "accuracy, chance, samples"), "Skills (toy suite)", &runs()).unwrap();
        insta::assert_snapshot!(table.to_text(), @r#"
        Skills (toy suite)

        skill     Sequential: accuracy (%)  Adapt-∞: accuracy (%)  chance (%)  samples
        ────────  ────────────────────────  ─────────────────────  ──────────  ───────
        counting                27.5 ± 3.5             63.0 ± 4.2        25.0      200
        文字                    45.0 ± 7.1             47.5 ± 3.5        25.0      100

        Mean ± standard deviation over 2 seeds (0, 1)
        "#);
    }

    #[test]
    fn an_experiment_without_arms_and_seeds_has_tables_too() {
        let run = Run { steps: vec![step([50.0, 100.0, 12.5])], ..Run::default() };
        let spec = TableSpec { relative_to: Vec::new(), ..spec("skill", "accuracy") };
        let table = Table::build(&spec, "One run (toy suite)", &[run]).unwrap();
        insta::assert_snapshot!(table.to_text(), @r#"
        One run (toy suite)

        skill     accuracy (%)
        ────────  ────────────
        counting          75.0
        文字              12.5

        One run per cell
        "#);
    }

    #[test]
    fn relative_gain_is_measured_against_the_same_seed() {
        let table = arms();
        // The best of Sequential is (80, 40, 50) with seed 0 and (80, 40, 40) with seed 1.
        let gain = &table.body[1].cells[0];
        assert_eq!(gain.values, [Some(100.0), Some((100.0 * (0.9 + 1.5) / 2.0 + 112.5) / 2.0)]);
        assert_eq!(gain.n, 2);
    }

    #[test]
    fn json_keeps_every_value_and_the_results_of_every_skill_and_step() {
        let table = arms();
        assert_eq!(Table::from_json(&table.to_json()).unwrap(), table);
        let skill = table.skills.iter().find(|row| row.arm == "Sequential" && row.skill == "counting").unwrap();
        assert_eq!(skill.cells["forgetting_rate"].values, [Some((75.0 + 25.0) / 2.0), Some((50.0 + 50.0) / 2.0)]);
        assert!(!skill.cells.contains_key("pool_size"));
        assert_eq!(table.runs[3].results["ocr"], [0.0, 40.0, 45.0]);
    }

    #[test]
    fn json_is_one_line_for_what_fits_on_it() {
        let table = Table { columns: Vec::new(), body: Vec::new(), skills: Vec::new(), ..arms() };
        insta::assert_snapshot!(table.to_json(), @r#"
        {
          "name": "t",
          "title": "Two arms (toy suite)",
          "rows": "arm",
          "seeds": [0,1],
          "columns": [],
          "body": [],
          "notes": [
            "Whether rows differ from the best (Adapt-∞) cannot be said: a paired permutation test over 2 skills × 2 seeds cannot reach p < 0.05."
          ],
          "benchmarks": {
            "count-a": {"skill":"counting","metric":"exact_match","chance":25.0,"samples":100},
            "count-b": {"skill":"counting","metric":"exact_match","chance":25.0,"samples":100},
            "ocr": {"skill":"文字","metric":"exact_match","chance":25.0,"samples":100}
          },
          "runs": [
            {"arm":"Sequential","seed":0,"results":{"count-a":[80.0,40.0,20.0],"count-b":[40.0,40.0,30.0],"ocr":[0.0,50.0,50.0]}},
            {"arm":"Sequential","seed":1,"results":{"count-a":[80.0,60.0,40.0],"count-b":[40.0,20.0,20.0],"ocr":[0.0,40.0,40.0]}},
            {"arm":"Adapt-∞","seed":0,"results":{"count-a":[80.0,80.0,80.0],"count-b":[40.0,40.0,40.0],"ocr":[0.0,40.0,50.0]}},
            {"arm":"Adapt-∞","seed":1,"results":{"count-a":[80.0,70.0,72.0],"count-b":[40.0,50.0,60.0],"ocr":[0.0,40.0,45.0]}}
          ]
        }
        "#);
    }

    #[test]
    fn a_golden_allows_for_its_tolerances_and_names_what_exceeds_them() {
        let golden = arms();
        let mut near = runs();
        near[2].steps[2] = step([80.0, 40.0, 52.0]);
        let near =
            Table::build(&spec("arm", "relative_gain, average_accuracy, pool_size"), &golden.title, &near).unwrap();
        let golden =
            Table::build(&spec("arm", "relative_gain, average_accuracy, pool_size"), &golden.title, &runs()).unwrap();
        assert_eq!(differences(&golden, &near), []);

        let mut far = runs();
        far[2].steps[2] = step([40.0, 40.0, 50.0]);
        far[2].values.insert("pool_size".to_string(), 501.0);
        far.push(run("Random", 0, 500, &[[1.0; 3], [1.0; 3], [1.0; 3]]));
        let far = Table::build(&spec("arm", "relative_gain, pool_size"), &golden.title, &far).unwrap();
        let told: Vec<String> = differences(&golden, &far).iter().map(Difference::to_string).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        row `Random`: absent -> present
        column `average accuracy (%)`: present -> absent
        Adapt-∞, relative gain (%): 108.12 -> 101.88 (tolerance 5)
        Adapt-∞, pool size: 500 -> 500.50 (tolerance 0)
        "#);
    }

    #[test]
    fn runs_that_cannot_be_compared_are_refused() {
        let columns = spec("arm", "relative_gain, pool_size");
        let build = |runs: &[Run]| Table::build(&columns, "t", runs).unwrap_err().to_string();
        let mut other = runs();
        other[1].steps[2].benchmarks.swap_remove("ocr");
        let mut alone = runs();
        alone.remove(1);
        let mut poolless = runs();
        poolless[0].values.clear();
        let told = [build(&[]), build(&other), build(&alone), build(&poolless)];
        insta::assert_snapshot!(told.join("\n"), @r#"
        table `t` has no runs
        arm `Sequential` with seed 1 has other benchmarks after time step 2 than the first run at its start
        arm `Adapt-∞` with seed 1 cannot be compared with arm `Sequential`, which has no run with the same seed
        arm `Sequential` with seed 0 brings no `pool_size`
        "#);
    }
}
