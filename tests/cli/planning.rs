//! What experiments are planned to.

use insta::assert_snapshot;
use proptest::prelude::*;
use runner::plan::{METRICS, Output, Plan, Source, phases, trained};
use runner::stage::{Registry, Stage};

use crate::support::{Declared, Project, declared, describe, overrides};

const DATA: &str = "\
stages:
  data: {use: ingest, params: {name: data, path: data.json}}
  model: {use: train, inputs: {data: data.pool}, params: {batch: 4}}
  vectors: {use: gradient, inputs: {model: model.model, pool: data.pool}}
  groups: {use: cluster, inputs: {vectors: vectors.gradient}}
  scores: {use: score, inputs: {model: model.model, pool: data.pool}}
  pick: {use: select, inputs: {pool: data.pool, clusters: groups.clusters, scores: scores.scores}, params: {budget: 5}}
  final: {use: train, inputs: {model: model.model, data: pick.subset}}
  measure: {use: evaluate, inputs: {model: final.model}, params: {benchmarks: b}}
";
const TABLE: &str =
    "report: [{table: {name: t, rows: arm, metrics: [measure.metrics], columns: [average_accuracy]}}]\n";

fn plan(project: &Project) -> Plan {
    project.plan(&declared(), &overrides(&[])).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn without_a_report_everything_is_planned() {
    assert_snapshot!(Project::of(DATA).planned(&[]), @r#"
    data: ingest
    model: train data=data.pool
    vectors: gradient model=model.model pool=data.pool
    groups: cluster vectors=vectors.gradient
    scores: score model=model.model pool=data.pool
    pick: select clusters=groups.clusters pool=data.pool scores=scores.scores
    final: train data=pick.subset model=model.model
    measure: evaluate model=final.model
    "#);
}

#[test]
fn a_slot_that_the_params_do_not_use_is_not_planned_for() {
    let arms = "arms:\n  Random: {pick: {sampler: random, allocation: whole}}\n  Top: {pick.sampler: top, pick.allocation: whole}\n";
    assert_snapshot!(Project::of(&format!("{DATA}{arms}{TABLE}")).planned(&[]), @r#"
    Random/data = Top/data: ingest
    Random/model = Top/model: train data=Random/data.pool
    Random/pick: select pool=Random/data.pool
    Random/final: train data=Random/pick.subset model=Random/model.model
    Random/measure: evaluate model=Random/final.model
    Top/scores: score model=Random/model.model pool=Random/data.pool
    Top/pick: select pool=Random/data.pool scores=Top/scores.scores
    Top/final: train data=Top/pick.subset model=Random/model.model
    Top/measure: evaluate model=Top/final.model
    "#);
}

#[test]
fn an_arm_can_be_another_experiment_with_changes() {
    let text = "\
stages:
  data: {use: ingest, params: {name: data, path: data.json}}
arms:
  As it is: other.yaml
  Changed: {extends: other.yaml, pick.budget: 9, params.share: 2}
";
    let other = "\
params: {share: 1}
stages:
  data: {use: ingest, params: {name: data, path: other.json, limit: \"${params.share}\"}}
  pick: {use: select, inputs: {pool: data.pool}, params: {budget: 5, sampler: random, allocation: whole}}
";
    let plan = plan(&Project::of(text).write("other.yaml", other));
    let shown = |name: &str| plan[plan.find(name).unwrap()].params.to_map();
    assert_eq!((&shown("As it is/pick")["budget"], &shown("Changed/pick")["budget"]), (&5.into(), &9.into()));
    assert_eq!((&shown("As it is/data")["limit"], &shown("Changed/data")["limit"]), (&1.into(), &2.into()));
    assert_snapshot!(Project::of(&text.replace("other.yaml,", "[other.yaml],")).write("other.yaml", other).problems(&[]), @r#"
    error: `extends` of arm `Changed` must be a file, not a list
     --> e.yaml:5:22
      |
    5 |   Changed: {extends: [other.yaml], pick.budget: 9, params.share: 2}
      |                      ^

    1 problem; nothing was run
    "#);
}

#[test]
fn a_matrix_is_every_combination_within_every_arm() {
    let text = "arms: {A: {}, B: {pick.sampler: random}}\nmatrix: {pick.budget: [1, 2], groups.clusters: [3]}\n";
    let plan = plan(&Project::of(&format!("{DATA}{text}{TABLE}")));
    let runs: Vec<&str> = plan.report[0].runs.iter().filter_map(|run| run.arm.as_deref()).collect();
    assert_snapshot!(runs.join("\n"), @r#"
    A, pick.budget=1, groups.clusters=3
    A, pick.budget=2, groups.clusters=3
    B, pick.budget=1, groups.clusters=3
    B, pick.budget=2, groups.clusters=3
    "#);
}

#[test]
fn a_model_that_only_scores_is_part_of_selection_and_the_evaluated_one_of_training() {
    let text = "  warmup: {use: train, inputs: {data: data.pool}, params: {batch: 2}}\n\
                arms: {Own model: {}, Proxy: {scores.inputs.model: warmup.model}}\n";
    let plan = plan(&Project::of(&format!("{DATA}{text}{TABLE}")));
    let mut told = String::new();
    for run in &plan.report[0].runs {
        for (stage, phase) in phases(&plan, run.outputs(METRICS)) {
            told.push_str(&format!("{}: {} {}\n", run.arm.as_deref().unwrap(), phase.word(), plan[stage].name()));
        }
        let trained: Vec<&str> = trained(&plan, run.outputs(METRICS)).iter().map(|stage| plan[*stage].name()).collect();
        told.push_str(&format!("{} evaluates {}\n", run.arm.as_deref().unwrap(), trained.join(", ")));
    }
    assert_snapshot!(told, @r#"
    Own model: ingest Own model/data
    Own model: training Own model/model
    Own model: selection Own model/vectors
    Own model: selection Own model/groups
    Own model: selection Own model/scores
    Own model: selection Own model/pick
    Own model: training Own model/final
    Own model: evaluation Own model/measure
    Own model evaluates Own model/final
    Proxy: ingest Own model/data
    Proxy: training Own model/model
    Proxy: selection Own model/vectors
    Proxy: selection Own model/groups
    Proxy: selection Proxy/warmup
    Proxy: selection Proxy/scores
    Proxy: selection Proxy/pick
    Proxy: training Proxy/final
    Proxy: evaluation Proxy/measure
    Proxy evaluates Proxy/final
    "#);
}

#[test]
fn a_number_at_every_time_step_needs_the_stage_at_every_step() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/smoke.yaml");
    let columns = "[\"mean(train.model.samples)\", train.curve.steps, data_size, skills, gradient_seconds]";
    let set = format!("report=[{{table: {{name: t, rows: arm, metrics: [evaluate.metrics], columns: {columns}}}}}]");
    let plan = crate::support::plan_file(&file, &declared(), &overrides(&[&set])).unwrap();
    let run = &plan.report[0].runs[1];
    let told: Vec<String> = run
        .outputs
        .iter()
        .map(|(name, outputs)| {
            let stages: Vec<&str> = outputs.iter().map(|output| plan[output.stage].name()).collect();
            format!("{name}: {}", stages.join(", "))
        })
        .collect();
    assert_snapshot!(told.join("\n"), @r#"
    mean(train.model.samples): Adapt-∞/s0/t1/train, Adapt-∞/s0/t2/train
    metrics: Adapt-∞/s0/t1/evaluate, Adapt-∞/s0/t2/evaluate
    train.curve.steps: Adapt-∞/s0/t2/train
    "#);
}

#[test]
fn seeds_are_a_list_or_a_number_and_reach_the_params_that_default_to_them() {
    let seeds = |text: &str| {
        let plan = plan(&Project::of(&format!("{DATA}{text}")));
        let stages = plan.order().filter(|stage| plan[*stage].name().ends_with("final"));
        stages.map(|stage| plan[stage].params["seed"].to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(seeds(""), "0");
    assert_eq!(seeds("seeds: 3\n"), "0 1 2");
    assert_eq!(seeds("seeds: [5, 7]\n"), "5 7");
}

#[test]
fn the_command_line_has_the_last_word() {
    let project = Project::of(&format!("{DATA}arms: {{A: {{final.batch: 8}}}}\n"));
    let plan = project.plan(&declared(), &overrides(&["final.batch=16", "final.inputs.data=data.pool"])).unwrap();
    let last = plan.find("final").unwrap();
    assert_eq!(plan[last].params["batch"], 16);
    let data = plan.find("data").unwrap();
    assert_eq!(plan[last].inputs["data"], Source::Stage(Output { stage: data, slot: "pool".to_string() }));
}

#[test]
fn equal_numbers_are_equal_however_they_are_written() {
    let text = "stages:\n  data: {use: ingest, params: {name: d, path: d.json}}\n  b: {use: train, inputs: {data: data.pool}, params: {alpha: 16}}\n  c: {use: train, inputs: {data: data.pool}, params: {alpha: 16.0}}\n";
    let plan = plan(&Project::of(text));
    assert_eq!(plan.shared, 1);
    assert_eq!(plan[plan.find("b").unwrap()].names, ["b", "c"]);
}

#[test]
fn a_suite_can_be_named_patched_and_written_inline() {
    let text = "\
suite: tiny
stages: {a: {use: ingest, params: {name: \"${suite.name}\", path: \"${suite.path}\", limit: \"${suite.limit}\"}}}
arms:
  As it is: {}
  Patched: {suite.limit: 5}
  Another: {suite: other}
  Inline: {suite: {name: inline, limit: null}}
";
    let project = Project::of(text)
        .write("suites/tiny.yaml", "name: tiny\npath: t.json\nlimit: 3\n")
        .write("suites/other.yaml", "extends: tiny.yaml\nname: other\n");
    let plan = plan(&project);
    let shown: Vec<String> = plan
        .order()
        .map(|stage| &plan[stage])
        .map(|stage| {
            let path = stage.externals["path"].path.strip_prefix(project.path()).unwrap();
            format!("{}: {} {} {}", stage.name(), stage.params["name"], stage.params["limit"], path.display())
        })
        .collect();
    assert_snapshot!(shown.join("\n"), @r#"
    As it is/a: "tiny" 3 suites/t.json
    Patched/a: "tiny" 5 suites/t.json
    Another/a: "other" 3 suites/t.json
    Inline/a: "inline" null suites/t.json
    "#);
}

#[test]
fn anchors_aliases_and_merge_keys_are_yaml_as_usual() {
    let text = "\
stages:
  a: {use: ingest, params: &shared {name: a, path: a.json, limit: 3}}
  b: {use: ingest, params: {<<: *shared, name: b}}
";
    let plan = plan(&Project::of(text));
    let b = &plan[plan.find("b").unwrap()];
    assert_eq!((b.params["name"].as_str(), b.params["limit"].as_i64()), (Some("b"), Some(3)));
}

static JOIN: Declared = Declared(
    "{kind: join, version: 1, summary: Joins., outputs: {out: {kind: thing, doc: A thing.}},
      params: {n: {type: integer, doc: Tells stages apart.}},
      inputs: {a: {kinds: [thing], doc: One., optional: true}, b: {kinds: [thing], doc: Two., optional: true},
               c: {kinds: [thing], doc: Three., optional: true}}}",
);

fn joins() -> Registry {
    let join: &'static dyn Stage = &JOIN;
    Registry::new(&[join])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Stages in any order of writing, each reading up to three that come before it in some order.
    #[test]
    fn random_graphs_are_planned_with_the_right_edges(
        edges in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40),
        shuffle in any::<u64>(),
    ) {
        let producers: Vec<Vec<usize>> = edges
            .iter()
            .enumerate()
            .map(|(stage, picks)| picks.iter().filter(|_| stage > 0).map(|pick| pick.index(stage)).collect())
            .collect();
        let mut written: Vec<usize> = (0..producers.len()).collect();
        written.sort_by_key(|stage| (*stage as u64).wrapping_mul(shuffle | 1));
        let mut text = "stages:\n".to_string();
        for stage in written {
            let slots = ["a", "b", "c"].iter().zip(&producers[stage]);
            let inputs: Vec<String> = slots.map(|(slot, producer)| format!("{slot}: n{producer}.out")).collect();
            text.push_str(&format!("  n{stage}: {{use: join, inputs: {{{}}}, params: {{n: {stage}}}}}\n", inputs.join(", ")));
        }
        let plan = Project::of(&text).plan(&joins(), &overrides(&[])).map_err(TestCaseError::fail)?;
        prop_assert_eq!(plan.len(), producers.len());
        for stage in plan.order() {
            let number = |stage| plan[stage].params["n"].as_u64().unwrap() as usize;
            let mut found: Vec<usize> = plan.producers(stage).map(number).collect();
            let mut expected = producers[number(stage)].clone();
            found.sort();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(found, expected);
            prop_assert!(plan.producers(stage).all(|producer| producer < stage));
        }
    }
}

#[test]
fn a_cycle_of_any_length_is_named_whole() {
    for length in [1, 2, 7] {
        let mut text = "stages:\n".to_string();
        for stage in 0..length {
            text.push_str(&format!(
                "  n{stage}: {{use: join, inputs: {{a: n{}.out}}, params: {{n: 1}}}}\n",
                (stage + 1) % length
            ));
        }
        let problems = Project::of(&text).plan(&joins(), &overrides(&[])).map(|plan| describe(&plan)).unwrap_err();
        assert_eq!(problems.matches('→').count(), length, "{problems}");
    }
}

/// `execution` of every stage that is planned on a device or otherwise than by default.
fn executions(plan: &Plan) -> String {
    let line = |stage| {
        let planned = &plan[stage];
        let runner::stage::Execution { micro_batch, device, gradient_checkpointing, .. } = &*planned.execution;
        let device = if planned.accelerated { "any device".to_string() } else { device.to_string() };
        format!("{}: {micro_batch} on {device}, checkpointing {gradient_checkpointing}\n", planned.name())
    };
    plan.order().map(line).collect()
}

#[test]
fn how_to_run_can_come_from_the_suite_and_be_changed_in_parts() {
    let text = "\
suite: {execution: {train: {micro_batch: 4, gradient_checkpointing: true}, score: null}}
stages:
  data: {use: ingest, params: {name: data, path: d.json}}
  model: {use: train, inputs: {data: data.pool}, execution: \"${suite.execution.train}\"}
  scores: {use: score, inputs: {model: model.model, pool: data.pool}, execution: \"${suite.execution.score}\"}
  again: {use: train, inputs: {data: data.pool}, execution: {extends: \"${suite.execution.train}\", device: cpu}, params: {seed: 1}}
";
    let project = Project::of(text);
    assert_snapshot!(executions(&plan(&project)), @r#"
    data: 32 on cpu, checkpointing false
    model: 4 on any device, checkpointing true
    scores: 32 on any device, checkpointing false
    again: 4 on cpu, checkpointing true
    "#);
    let set = ["model.execution.micro_batch=2", "suite.execution.train.device=cuda:1", "scores.execution.device=cpu"];
    assert_snapshot!(executions(&project.plan(&declared(), &overrides(&set)).unwrap()), @r#"
    data: 32 on cpu, checkpointing false
    model: 2 on cuda:1, checkpointing true
    scores: 32 on cpu, checkpointing false
    again: 4 on cpu, checkpointing true
    "#);
}

/// How long each stage of a plan may take, and how often it is tried again.
fn patience(plan: &Plan) -> String {
    let line = |stage| {
        let planned = &plan[stage];
        let runner::stage::Execution { timeout, retries, .. } = &*planned.execution;
        let timeout = timeout.map_or("no timeout".to_string(), |timeout| timeout.to_string());
        format!("{}: {timeout}, {retries} retries\n", planned.name())
    };
    plan.order().map(line).collect()
}

#[test]
fn how_to_run_can_be_said_of_all_stages_of_a_kind() {
    let text = "\
suite: {execution: {train: {timeout: 1 h, retries: 1}}}
execution:
  train: {timeout: 2 h}
  ingest: {timeout: 90}
stages:
  data: {use: ingest, params: {name: data, path: d.json}}
  model: {use: train, inputs: {data: data.pool}, execution: \"${suite.execution.train}\"}
  again: {use: train, inputs: {data: data.pool}, execution: {retries: 3, timeout: null}, params: {seed: 1}}
";
    let project = Project::of(text);
    assert_snapshot!(patience(&plan(&project)), @"
    data: 1 min 30 s, 0 retries
    model: 2 h, 1 retries
    again: no timeout, 3 retries
    ");
    let set = ["execution.train.timeout=30m", "execution.train.retries=5", "model.execution.timeout=1 d"];
    assert_snapshot!(patience(&project.plan(&declared(), &overrides(&set)).unwrap()), @"
    data: 1 min 30 s, 0 retries
    model: 1 d, 5 retries
    again: no timeout, 3 retries
    ");

    let text = "\
execution: {train: {retries: 1}}
stages:
  data: {use: ingest, params: {name: data, path: d.json}}
  model: {use: train, inputs: {data: data.pool}, params: {seed: 1}}
arms:
  A: {model.seed: 2, execution.train.retries: 5}
  B: b.yaml
";
    let other = "\
execution: {train: {retries: 2, timeout: 1 h}}
stages:
  data: {use: ingest, params: {name: data, path: d.json}}
  model: {use: train, inputs: {data: data.pool}, params: {seed: 3}}
";
    assert_snapshot!(patience(&plan(&Project::of(text).write("b.yaml", other))), @"
    A/data: no timeout, 0 retries
    A/model: no timeout, 5 retries
    B/model: 1 h, 1 retries
    ");
}

#[test]
fn a_reference_can_be_made_with_another_inside() {
    let text = "\
params: {method: best, methods: {best: {limit: 7, name: b}, worst: {limit: 9, name: w}}, number: 1, list: [x, y]}
stages:
  a: {use: ingest, params: {name: \"${params.methods.${params.method}.name}-${params.list.${params.number}}\",
                            path: a.json, limit: \"${params.methods.${params.method}.limit}\"}}
";
    let project = Project::of(text);
    let said = |set: &[&str]| {
        let plan = project.plan(&declared(), &overrides(set)).unwrap();
        plan[plan.find("a").unwrap()].params["name"].to_string()
            + &plan[plan.find("a").unwrap()].params["limit"].to_string()
    };
    assert_eq!(said(&[]), "\"b-y\"7");
    assert_eq!(said(&["params.method=worst"]), "\"w-y\"9");
    assert_snapshot!(project.problems(&["params.method=wurst"]), @r#"
    error: `${params.methods.wurst.name}` refers to nothing
     --> e.yaml:3:35
      |
    3 |   a: {use: ingest, params: {name: "${params.methods.${params.method}.name}-${params.list.${params.number}}",
      |                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: did you mean `worst`?

    error: `${params.methods.wurst.limit}` refers to nothing
     --> e.yaml:4:50
      |
    4 |                             path: a.json, limit: "${params.methods.${params.method}.limit}"}}
      |                                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: did you mean `worst`?

    2 problems; nothing was run
    "#);
    assert_snapshot!(project.problems(&["params.method='a b'"]), @r#"
    error: `${params.methods.a b.name}` is not a reference
     --> e.yaml:3:35
      |
    3 |   a: {use: ingest, params: {name: "${params.methods.${params.method}.name}-${params.list.${params.number}}",
      |                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: write `${name.name}`, or `$${` for a text that is no reference

    error: `${params.methods.a b.limit}` is not a reference
     --> e.yaml:4:50
      |
    4 |                             path: a.json, limit: "${params.methods.${params.method}.limit}"}}
      |                                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: write `${name.name}`, or `$${` for a text that is no reference

    2 problems; nothing was run
    "#);
    assert_snapshot!(project.problems(&["a.limit=${params.methods.${params.methods}}"]), @r#"
    error: `${params.methods}` is a map, which cannot stand inside a text
     --> --set
      |
    1 | a.limit=${params.methods.${params.methods}}
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    1 problem; nothing was run
    "#);
    assert_snapshot!(project.problems(&["params.method=${params.methods.${params.method}}"]), @r#"
    error: references lead back to themselves: `params.method` → `params.method`
     --> --set
      |
    1 | params.method=${params.methods.${params.method}}
      |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    1 problem; nothing was run
    "#);
    assert!(project.problems(&["a.limit=${params.${params.number}"]).contains("is not a reference"));
}

#[test]
fn a_score_by_vectors_alone_is_given_no_model() {
    let text = "\
stages:
  data: {use: ingest, params: {name: data, path: data.json}}
  base: {use: train, inputs: {data: data.pool}}
  vectors: {use: gradient, inputs: {model: {path: checkpoint}, pool: data.pool}}
  score:
    use: score
    inputs: {model: base.model, pool: data.pool, vectors: vectors.gradient, targets: vectors.gradient, target_pool: data.pool}
    params: {scorers: [SCORERS]}
";
    let given = |scorers: &str| {
        let project = Project::of(&text.replace("SCORERS", scorers)).write("checkpoint/config.json", "{}");
        let plan = plan(&project.write("checkpoint/model.safetensors", ""));
        let stage = plan.order().find(|stage| plan[*stage].kind == "score").expect("it is planned");
        plan[stage].inputs.keys().collect::<Vec<_>>().join(" ")
    };
    assert_snapshot!(given("influence"), @"pool target_pool targets vectors");
    assert_snapshot!(given("influence, el2n"), @"model pool target_pool targets vectors");
    assert_snapshot!(given("el2n"), @"model pool");
}
