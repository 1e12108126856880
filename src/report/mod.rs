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

    /// A run of few or many samples: five benchmarks of skills of their own, and what it cost.
    fn priced(arm: &str, values: [[f64; 6]; 2], compute: f64) -> Run {
        let step = |values: [f64; 6]| {
            let names = ["a", "b", "c", "d", "e_f", "g"];
            let benchmark = |(name, value): (&str, f64)| {
                let (skill, metric) = (format!("skill {name}"), "exact_match".to_string());
                let benchmark =
                    Benchmark { skill, metric, value, chance: 10.0, samples: 50, details: Default::default() };
                (name.to_string(), benchmark)
            };
            Metrics { benchmarks: names.into_iter().zip(values).map(benchmark).collect() }
        };
        let cost = |phase, kind: &str, cpu: f64| Cost {
            phase,
            kind: kind.to_string(),
            stages: 2,
            wall: cpu / 2.0,
            cpu,
            device: 0.0,
            compute: cpu,
            memory: Some((cpu as u64) << 20),
        };
        let mut costs = vec![cost(Phase::Training, "train", compute - 10.0), cost(Phase::Evaluation, "evaluate", 7.0)];
        costs.insert(0, cost(Phase::Selection, "select", 10.0));
        Run {
            arm: Some(arm.to_string()),
            seed: None,
            steps: values.map(step).to_vec(),
            values: [("data_size".to_string(), 250.0), ("mean(train.model.samples)".to_string(), 250.5)].into(),
            costs,
        }
    }

    fn priced_runs() -> Vec<Run> {
        vec![
            priced("Multi-task", [[30.0; 6], [90.0; 6]], 400.0),
            priced("Random, 25 %", [[30.0; 6], [40.0; 6]], 20.0),
            priced("Random", [[50.0; 6], [60.0; 6]], 80.0),
            priced("Adapt-∞", [[60.0; 6], [58.0, 61.0, 66.0, 60.0, 70.0, 63.0]], 40.0),
            priced("Slow", [[70.0; 6], [30.0; 6]], 160.0),
        ]
    }

    fn priced_table(rows: &str, columns: &str) -> Table {
        let spec = format!(
            "{{name: priced, rows: {rows}, metrics: [evaluate.metrics], relative_to: [Multi-task, Random], \
             compute_reference: ['Random, 25 %', Random], unranked: [Multi-task], test: average_accuracy, \
             columns: [{columns}]}}"
        );
        Table::build(&serde_yaml::from_str(&spec).unwrap(), "What 50 % cost", &priced_runs()).unwrap()
    }

    const PRICED: &str = "data_size, average_accuracy, relative_gain, relative_gain_to.Random, forgetting_rate, \
                          compute_seconds, gain_at_equal_compute, at_equal_compute, peak_memory";

    #[test]
    fn a_table_with_upper_bounds_costs_and_accuracy_at_equal_compute() {
        insta::assert_snapshot!(priced_table("arm", PRICED).to_markdown(), @r#"
        # What 50 % cost

        | arm          | data size | average accuracy (%) | relative gain (%) | relative gain to Random (%) | forgetting rate (%) | compute (s) | gain at equal compute (points) | at equal compute (%) | peak memory (MiB) |
        |:-------------|----------:|---------------------:|------------------:|----------------------------:|--------------------:|------------:|-------------------------------:|---------------------:|------------------:|
        | Multi-task   |       250 |                 90.0 |             100.0 |                       150.0 |                 0.0 |         400 |                          30.0* |                60.0* |               390 |
        | Random, 25 % |       250 |                 40.0 |              44.4 |                        66.7 |             **0.0** |          20 |                          _0.0_ |                 40.0 |                10 |
        | Random       |       250 |               _60.0_ |            _66.7_ |                     _100.0_ |             **0.0** |          80 |                          _0.0_ |                 60.0 |                70 |
        | Adapt-∞      |       250 |             **63.0** |          **70.0** |                   **105.0** |                 0.6 |          40 |                       **13.0** |                 50.0 |                30 |
        | Slow         |       250 |                 30.0 |              33.3 |                        50.0 |                57.1 |         160 |                         -30.0* |                60.0* |               150 |

        One run per cell. Of each column without Multi-task the **best** and the _second best_ are marked.

        Not told apart from the best (Adapt-∞) in average accuracy by a paired permutation test over 6 skills at p < 0.05 (two-sided, each row on its own): Random (p = 0.19).

        Costs are those that were recorded when a stage ran, on the machine that it ran on: a stage counts in full in every row that needs it, also where rows share it or its result was in the cache. They are measured, not compared with the golden.

        - **data size**: samples that the evaluated model was trained on at a time step, mean over the time steps.
        - **average accuracy (%)**: result after the last time step, mean over skills of the mean over a skill's benchmarks.
        - **relative gain (%)**: result after the last time step in percent of the best result that Multi-task reached over time, mean over skills of the mean over those of a skill's benchmarks on which that best is above chance.
        - **relative gain to Random (%)**: result after the last time step in percent of the best result that Random reached over time, mean over skills of the mean over those of a skill's benchmarks on which that best is above chance.
        - **forgetting rate (%)**: what the last time step lost of the best earlier result, in percent of it; an improvement counts as 0; mean over skills of the mean over those of a skill's benchmarks on which that best is above chance.
        - **compute (s)**: elapsed time of the stages of selection and training that ran on an accelerator, and processor time of the others.
        - **gain at equal compute (points)**: average accuracy of the row less the average accuracy at equal compute, which interpolates `Random, 25 %` and `Random`; marked * beyond their range.
        - **at equal compute (%)**: average accuracy that `Random, 25 %` and `Random` would reach with the seconds of compute of the row: elapsed time of the stages of selection and training that ran on an accelerator, and processor time of the others; linear in the logarithm of the seconds between the two nearest, and that of the nearest one, marked *, beyond their range.
        - **peak memory (MiB)**: the most memory that the process of one of all stages that the results depend on had.
        "#);
    }

    #[test]
    fn a_table_in_latex_compiles_and_marks_the_best() {
        insta::assert_snapshot!(priced_table("arm", "average_accuracy, skills, mean(train.model.samples)").to_latex(), @r#"
        % needs \usepackage{booktabs} and \usepackage{graphicx}
        \begin{table}
          \centering
          \small
          \caption{What 50 \% cost}
          \label{tab:priced}
          \begin{tabular}{lrrrrrrrr}
            \toprule
            arm & \shortstack[r]{average \\ accuracy (\%)} & \rotatebox{90}{skill a} & \rotatebox{90}{skill b} & \rotatebox{90}{skill c} & \rotatebox{90}{skill d} & \rotatebox{90}{skill e\_f} & \rotatebox{90}{skill g} & mean(train.model.samples) \\
            \midrule
            Multi-task & 90.0 & 90.0 & 90.0 & 90.0 & 90.0 & 90.0 & 90.0 & 250.500 \\
            Random, 25 \% & 40.0 & 40.0 & 40.0 & 40.0 & 40.0 & 40.0 & 40.0 & 250.500 \\
            Random & \underline{60.0} & \textbf{60.0} & \underline{60.0} & \underline{60.0} & \textbf{60.0} & \underline{60.0} & \underline{60.0} & 250.500 \\
            Adapt-$\infty$ & \textbf{63.0} & \underline{58.0} & \textbf{61.0} & \textbf{66.0} & \textbf{60.0} & \textbf{70.0} & \textbf{63.0} & 250.500 \\
            Slow & 30.0 & 30.0 & 30.0 & 30.0 & 30.0 & 30.0 & 30.0 & 250.500 \\
            \bottomrule
          \end{tabular}

          \medskip
          \begin{minipage}{\linewidth}
            \footnotesize
            One run per cell.
            Not told apart from the best (Adapt-$\infty$) in average accuracy by a paired permutation test over 6 skills at p $<$ 0.05 (two-sided, each row on its own): Random (p = 0.19).
            Of each column without Multi-task the \textbf{best} and the \underline{second best} are marked.
            \textbf{average accuracy (\%)}: result after the last time step, mean over skills of the mean over a skill's benchmarks.
            \textbf{a skill by its name (\%)}: result after the last time step, mean over the skill's benchmarks.
            \textbf{mean(train.model.samples)}: \texttt{train.model.samples}, mean over the time steps.
          \end{minipage}
        \end{table}
        "#);
    }

    #[test]
    fn a_table_as_comma_separated_values_has_everything_and_so_has_its_matrix() {
        let table = priced_table("arm", "average_accuracy, skills.skill e_f, total_seconds");
        insta::assert_snapshot!(table.to_csv(), @r#"
        arm,average_accuracy,average_accuracy deviation,average_accuracy n,skills.skill e_f,skills.skill e_f deviation,skills.skill e_f n,total_seconds,total_seconds deviation,total_seconds n
        Multi-task,90,,1,90,,1,203.5,,1
        "Random, 25 %",40,,1,40,,1,13.5,,1
        Random,60,,1,60,,1,43.5,,1
        Adapt-∞,63,,1,70,,1,23.5,,1
        Slow,30,,1,30,,1,83.5,,1
        "#);
        let matrix = table.matrix_csv().unwrap();
        assert_eq!(matrix.lines().count(), 1 + 5 * 2 * 6);
        insta::assert_snapshot!(matrix.lines().take(3).collect::<Vec<_>>().join("\n"), @r#"
        arm,seed,step,skill,benchmark,chance,samples,value
        Multi-task,,0,skill a,a,10,50,30
        Multi-task,,1,skill a,a,10,50,90
        "#);
    }

    #[test]
    fn a_table_of_stages_shows_what_each_kind_cost_every_arm() {
        let mut runs = priced_runs();
        runs.truncate(2);
        runs[0].costs.remove(0);
        let spec = "{name: t, rows: stage, metrics: [evaluate.metrics], columns: [total_seconds, stages, peak_memory]}";
        let table = Table::build(&serde_yaml::from_str(spec).unwrap(), "Stages", &runs).unwrap();
        insta::assert_snapshot!(table.to_text(), @r#"
        Stages

        stage                 Multi-task: total (s)  Random, 25 %: total (s)  Multi-task: stages  Random, 25 %: stages  Multi-task: peak memory (MiB)  Random, 25 %: peak memory (MiB)
        ────────────────────  ─────────────────────  ───────────────────────  ──────────────────  ────────────────────  ─────────────────────────────  ───────────────────────────────
        selection: select                         –                      5.0                   –                     2                              –                               10
        training: train                       195.0                      5.0                   2                     2                            390                               10
        evaluation: evaluate                    3.5                      3.5                   2                     2                              7                                7
        all                                   198.5                     13.5                   4                     6                            390                               10

        One run per cell
        Costs are those that were recorded when a stage ran, on the machine that it ran on: a stage counts in full in every row that needs it, also where rows share it or its result was in the cache. They are measured, not compared with the golden.
        "#);
        assert_eq!(Table::from_json(&table.to_json()).unwrap(), table);
    }

    #[test]
    fn costs_are_not_compared_with_a_golden_but_must_be_there() {
        let golden = priced_table("arm", "average_accuracy, total_seconds, stages");
        let mut later = priced_table("arm", "average_accuracy, total_seconds, stages");
        later.body[0].cells[1] = Cell::of(vec![Some(1e6)]);
        assert_eq!(differences(&golden, &later), []);
        later.body[0].cells[2] = Cell::of(vec![Some(7.0)]);
        assert_eq!(differences(&golden, &later)[0].to_string(), "Multi-task, stages: 6 -> 7 (tolerance 0)");
        let later = priced_table("arm", "average_accuracy, stages");
        assert_eq!(differences(&golden, &later)[0].to_string(), "column `total (s)`: present -> absent");
    }
}
