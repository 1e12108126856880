//! Every kind of bad input, with its place, an excerpt and a hint.

use insta::assert_snapshot;

use crate::support::Project;

/// A small chain that is right.
const CHAIN: &str = "\
suite: {base: base, sequence: [{name: a}, {name: b}]}
stages:
  first: {use: ingest, params: {name: first, path: first.json}}
chain:
  over: ${suite.sequence}
  as: dataset
  carry: {model: {path: \"${suite.base}\"}, pool: first.pool}
  stages:
    ingest: {use: ingest, inputs: {pool: carry.pool}, params: {name: \"${dataset.name}\", path: a.json}}
    train: {use: train, inputs: {model: carry.model, data: ingest.pool}}
    prune: {use: prune, inputs: {pool: ingest.pool}, params: {method: random, budget: 10}}
    evaluate: {use: evaluate, inputs: {model: train.model}, params: {benchmarks: benchmarks}}
  next: {model: train.model, pool: prune.pool}
";

fn chain(more: &str) -> Project {
    Project::of(&format!("{CHAIN}{more}"))
}

#[test]
fn the_chain_that_the_others_break_is_right() {
    assert_snapshot!(chain("").planned(&[]), @"");
}

#[test]
fn malformed_yaml() {
    assert_snapshot!(Project::of("stages: [a, b\nchain: {}\n").problems(&[]), @"");
}

#[test]
fn a_bare_reference_inside_braces() {
    assert_snapshot!(Project::of("stages:\n  a: {use: ingest, params: {name: ${suite.name}}}\n").problems(&[]), @"");
}

#[test]
fn duplicate_keys() {
    assert_snapshot!(Project::of("title: a\nparams: {x: 1, x: 2}\ntitle: b\n").problems(&[]), @"");
}

#[test]
fn an_alias_bomb() {
    let mut text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_string();
    for level in 1..10 {
        let below = level - 1;
        let aliases = vec![format!("*a{below}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_snapshot!(Project::of(&text).problems(&[]), @"");
}

#[test]
fn nesting_without_end() {
    assert_snapshot!(Project::of(&format!("params: {}\n", "[".repeat(100_000))).problems(&[]), @"");
}

#[test]
fn references_that_multiply() {
    let mut text = "title: ${params.p9}\nparams:\n  p0: ababababab\n".to_string();
    for level in 1..10 {
        let below = level - 1;
        text.push_str(&format!("  p{level}: \"{}\"\n", format!("${{params.p{below}}}").repeat(10)));
    }
    text.push_str("stages: {a: {use: ingest, params: {name: a, path: a.json}}}\n");
    assert_snapshot!(Project::of(&text).problems(&[]), @"");
}

#[test]
fn unknown_keys_kinds_params_and_slots_all_at_once() {
    let text = "\
titel: a
stages:
  data: {use: ingset, params: {name: a, path: a.json}}
  load: {use: ingest, params: {nmae: a, path: a.json}}
  train: {use: train, inputs: {date: load.pool}, param: {}}
  measure: {use: evaluate, inputs: {model: train.modle}, params: {benchmarks: b}}
  again: {use: evaluate, inputs: {model: trian.model}, params: {benchmarks: b}, execution: {thread: 2}}
";
    assert_snapshot!(Project::of(text).problems(&[]), @"");
}

#[test]
fn wrong_types_and_ranges() {
    let text = "\
params: {many: [1, 2]}
stages:
  a: {use: ingest, params: {name: 5, path: a.json, limit: 0, on_problem: ignore}}
  b: {use: train, inputs: {data: a.pool}, params: {batch: 2.5, warmup: 1.5, rank: \"${params.many}\"}, execution: {threads: many}}
  c: {use: score, inputs: {model: b.model, pool: a.pool}, params: {scorers: [el2n, el2n], layers: [x]}}
  d: {use: gradient, inputs: {model: b.model, pool: a.pool}, params: {normalize: yes please, alpha: .inf}}
seeds: [0, -1]
";
    assert_snapshot!(Project::of(text).problems(&[]), @"");
}

#[test]
fn references_to_nothing() {
    let text = "\
params: {budget: 5, a: \"${params.b}\", b: \"${params.a}\"}
suite: {name: tiny}
stages:
  a: {use: ingest, params: {name: \"${suite.nmae}\", path: \"${params.a}.json\"}}
  b: {use: ingest, params: {name: \"${parms.budget}\", path: \"${}\"}}
  c: {use: ingest, params: {name: \"x ${params}\", path: \"${dataset.path}\"}}
";
    assert_snapshot!(Project::of(text).problems(&[]), @"");
}

#[test]
fn the_wrong_artifact_on_a_slot() {
    assert_snapshot!(chain("").problems(&["train.inputs.data=carry.model", "prune.inputs.pool=train.curve"]), @"");
}

#[test]
fn what_is_carried_changes_its_kind() {
    assert_snapshot!(chain("").problems(&["chain.next.pool=train.curve"]), @"");
}

#[test]
fn missing_inputs_and_params() {
    let text = "\
stages:
  a: {use: ingest, params: {name: a}}
  b: {use: evaluate, params: {benchmarks: b}}
  c: {use: prune, inputs: {pool: a.pool}}
  d: {}
";
    assert_snapshot!(Project::of(text).problems(&[]), @"");
}

#[test]
fn stages_that_need_each_other() {
    let text = "\
stages:
  a: {use: train, inputs: {model: c.model, data: data.pool}}
  b: {use: train, inputs: {model: a.model, data: data.pool}}
  c: {use: train, inputs: {model: b.model, data: data.pool}}
  data: {use: ingest, params: {name: a, path: a.json}}
  after: {use: train, inputs: {model: c.model, data: data.pool}}
";
    assert_snapshot!(Project::of(text).problems(&[]), @"");
}

#[test]
fn files_that_extend_each_other() {
    let project = Project::of("extends: b.yaml\n").write("b.yaml", "extends: c/c.yaml\n");
    assert_snapshot!(project.write("c/c.yaml", "title: c\nextends: ../e.yaml\n").problems(&[]), @"");
}

#[test]
fn files_and_suites_that_are_not_there() {
    let project = Project::of("extends: liit.yml\n").write("liit.yaml", "title: a\n");
    assert_snapshot!(project.problems(&[]), @"");
    let project = Project::of("suite: smok\nstages: {}\n").write("suites/smoke.yaml", "name: a\n");
    assert_snapshot!(project.problems(&[]), @"");
}

#[test]
fn a_chain_over_nothing() {
    assert_snapshot!(chain("").problems(&["suite.sequence=[]"]), @"");
}

#[test]
fn a_chain_that_is_not_one() {
    let text = "chain: {overt: [1], carry: {pool: a.pool}, next: {pol: a.pool}, stages: {carry: {use: ingest}}}\n";
    assert_snapshot!(Project::of(text).problems(&[]), @"");
}

#[test]
fn a_table_that_cannot_be_made() {
    let text = "\
arms: {All: {}, Random: {}}
report:
  - table:
      name: t
      rows: arm
      metrics: [evaluate.metrics, train.curve, evalute.metrics]
      columns: [relative_gian, pool_size, train.curve.steps, train.curv.steps]
      relative_to: random
      sort: up
  - tabel: {}
";
    assert_snapshot!(chain(text).problems(&[]), @"");
}

#[test]
fn patches_of_nothing_in_arms_and_on_the_command_line() {
    let text = "\
arms:
  One: {pruen.method: none, prune.methd: none}
  Two: {seeds: 5, prune: none}
  Three: [a]
  Four: missing.yaml
";
    assert_snapshot!(chain(text).problems(&["trian.batch=5", "train.batch", "suite.sequence=[{name: 5}]"]), @"");
}

#[test]
fn files_outside_the_store_that_are_not_there() {
    assert_snapshot!(chain("").problems(&["first.path=missing.json", "suite.base=missing"]), @"");
}

#[test]
fn a_stage_that_no_report_needs_is_checked_all_the_same() {
    let text = "  unused: {use: cluster, params: {clusters: none}}\nreport: [{table: {name: t, rows: skill, metrics: [start.metrics], columns: [accuracy]}}]\n";
    let text = format!(
        "stages:\n  start: {{use: evaluate, inputs: {{model: {{path: m}}}}, params: {{benchmarks: b}}}}\n{text}"
    );
    assert_snapshot!(Project::of(&text).problems(&[]), @"");
}

#[test]
fn a_problem_of_one_arm_names_it() {
    let text = "arms: {Good: {}, Bad: bad.yaml}\nreport: [{table: {name: t, rows: arm, metrics: [evaluate.metrics], columns: [average_accuracy]}}]\n";
    let project = chain(text).write("bad.yaml", "stages: {a: {use: ingest, params: {name: a, path: a.json}}}\n");
    assert_snapshot!(project.problems(&[]), @"");
}
