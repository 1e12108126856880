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
    assert_snapshot!(chain("").planned(&[]), @r#"
    first: ingest
    t1/ingest: ingest pool=first.pool
    t1/train: train data=t1/ingest.pool model=base
    t1/prune: prune pool=t1/ingest.pool
    t1/evaluate: evaluate model=t1/train.model
    t2/ingest: ingest pool=t1/prune.pool
    t2/train: train data=t2/ingest.pool model=t1/train.model
    t2/prune: prune pool=t2/ingest.pool
    t2/evaluate: evaluate model=t2/train.model
    "#);
}

#[test]
fn malformed_yaml() {
    assert_snapshot!(Project::of("stages: [a, b\nchain: {}\n").problems(&[]), @r#"
    error: illegal placement of ':' indicator
     --> e.yaml:2:6
      |
    2 | chain: {}
      |      ^

    1 problem; nothing was run
    "#);
}

#[test]
fn a_bare_reference_inside_braces() {
    assert_snapshot!(Project::of("stages:\n  a: {use: ingest, params: {name: ${suite.name}}}\n").problems(&[]), @r#"
    error: while parsing a flow mapping, did not find expected ',' or '}'
     --> e.yaml:2:36
      |
    2 |   a: {use: ingest, params: {name: ${suite.name}}}
      |                                    ^
      = hint: put quotes around a reference inside braces: `{key: "${name}"}`

    1 problem; nothing was run
    "#);
}

#[test]
fn duplicate_keys() {
    assert_snapshot!(Project::of("title: a\nparams: {x: 1, x: 2}\ntitle: b\n").problems(&[]), @r#"
    error: duplicate key `x`
     --> e.yaml:2:16
      |
    2 | params: {x: 1, x: 2}
      |                ^
     ::: e.yaml:2:10
      |
    2 | params: {x: 1, x: 2}
      |          ^ first here

    error: duplicate key `title`
     --> e.yaml:3:1
      |
    3 | title: b
      | ^^^^^
     ::: e.yaml:1:1
      |
    1 | title: a
      | ^^^^^ first here

    2 problems; nothing was run
    "#);
}

#[test]
fn an_alias_bomb() {
    let mut text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_string();
    for level in 1..10 {
        let below = level - 1;
        let aliases = vec![format!("*a{below}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_snapshot!(Project::of(&text).problems(&[]), @r#"
    error: more than 1000000 values when aliases are expanded
     --> e.yaml:6:45
      |
    6 | a5: &a5 [*a4, *a4, *a4, *a4, *a4, *a4, *a4, *a4, *a4, *a4]
      |                                             ^^^

    1 problem; nothing was run
    "#);
}

#[test]
fn nesting_without_end() {
    assert_snapshot!(Project::of(&format!("params: {}\n", "[".repeat(100_000))).problems(&[]), @r#"
    error: more than 64 levels of lists and maps inside each other
     --> e.yaml:1:264
      |
    1 | [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
      |                                                                       ^

    1 problem; nothing was run
    "#);
}

#[test]
fn references_that_multiply() {
    let mut text = "title: ${params.p9}\nparams:\n  p0: ababababab\n".to_string();
    for level in 1..10 {
        let below = level - 1;
        text.push_str(&format!("  p{level}: \"{}\"\n", format!("${{params.p{below}}}").repeat(10)));
    }
    text.push_str("stages: {a: {use: ingest, params: {name: a, path: a.json}}}\n");
    assert_snapshot!(Project::of(&text).problems(&[]), @r#"
    error: more than 1000000 values when references are expanded
     --> e.yaml:6:7
      |
    6 |   p3: "${params.p2}${params.p2}${params.p2}${params.p2}${params.p2}${params.p2}${params.p2}${params.p2}${params.p2}${params.p2}"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    1 problem; nothing was run
    "#);
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
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: unknown key `titel` of the experiment
     --> e.yaml:1:1
      |
    1 | titel: a
      | ^^^^^
      = hint: did you mean `title`?

    error: unknown stage kind `ingset`
     --> e.yaml:3:15
      |
    3 |   data: {use: ingset, params: {name: a, path: a.json}}
      |               ^^^^^^
      = hint: did you mean `ingest`?

    error: stage `load` lacks the param `name`
     --> e.yaml:4:3
      |
    4 |   load: {use: ingest, params: {nmae: a, path: a.json}}
      |   ^^^^
      = hint: add `name:` to its `params`. The dataset's name; the first part of its sample ids.

    error: unknown param `nmae` of `load`, a stage of the kind `ingest`
     --> e.yaml:4:32
      |
    4 |   load: {use: ingest, params: {nmae: a, path: a.json}}
      |                                ^^^^
      = hint: did you mean `name`?

    error: stage `train` lacks the input `data`
     --> e.yaml:5:3
      |
    5 |   train: {use: train, inputs: {date: load.pool}, param: {}}
      |   ^^^^^
      = hint: add `data:` to its `inputs`. The samples.

    error: unknown input `date` of `train`
     --> e.yaml:5:32
      |
    5 |   train: {use: train, inputs: {date: load.pool}, param: {}}
      |                                ^^^^
      = hint: did you mean `data`?

    error: unknown key `param` of stage `train`
     --> e.yaml:5:50
      |
    5 |   train: {use: train, inputs: {date: load.pool}, param: {}}
      |                                                  ^^^^^
      = hint: did you mean `params`?

    error: unknown output `modle` of `train`
     --> e.yaml:6:44
      |
    6 |   measure: {use: evaluate, inputs: {model: train.modle}, params: {benchmarks: b}}
      |                                            ^^^^^^^^^^^
      = hint: did you mean `model`?

    error: unknown stage `trian`
     --> e.yaml:7:42
      |
    7 |   again: {use: evaluate, inputs: {model: trian.model}, params: {benchmarks: b}, execution: {thread: 2}}
      |                                          ^^^^^^^^^^^
      = hint: did you mean `train`?

    error: unknown key `thread` of `execution` of `again`
     --> e.yaml:7:93
      |
    7 |   again: {use: evaluate, inputs: {model: trian.model}, params: {benchmarks: b}, execution: {thread: 2}}
      |                                                                                             ^^^^^^
      = hint: did you mean `threads`?

    10 problems; nothing was run
    "#);
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
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: param `rank` of `b` must be a whole number, not a list
     --> e.yaml:1:16
      |
    1 | params: {many: [1, 2]}
      |                ^
     ::: e.yaml:4:83
      |
    4 |   b: {use: train, inputs: {data: a.pool}, params: {batch: 2.5, warmup: 1.5, rank: "${params.many}"}, execution: {threads: many}}
      |                                                                                   ^^^^^^^^^^^^^^^^ used here

    error: param `name` of `a` must be a text, not the number 5
     --> e.yaml:3:35
      |
    3 |   a: {use: ingest, params: {name: 5, path: a.json, limit: 0, on_problem: ignore}}
      |                                   ^
      = hint: put quotes around it

    error: param `limit` of `a` must be at least 1, not 0
     --> e.yaml:3:59
      |
    3 |   a: {use: ingest, params: {name: 5, path: a.json, limit: 0, on_problem: ignore}}
      |                                                           ^

    error: param `on_problem` of `a` cannot be `ignore`
     --> e.yaml:3:74
      |
    3 |   a: {use: ingest, params: {name: 5, path: a.json, limit: 0, on_problem: ignore}}
      |                                                                          ^^^^^^
      = hint: there are `refuse` and `drop`

    error: param `batch` of `b` must be a whole number, not the number 2.5
     --> e.yaml:4:59
      |
    4 |   b: {use: train, inputs: {data: a.pool}, params: {batch: 2.5, warmup: 1.5, rank: "${params.many}"}, execution: {threads: many}}
      |                                                           ^^^

    error: param `warmup` of `b` must be between 0 and 1, not 1.5
     --> e.yaml:4:72
      |
    4 |   b: {use: train, inputs: {data: a.pool}, params: {batch: 2.5, warmup: 1.5, rank: "${params.many}"}, execution: {threads: many}}
      |                                                                        ^^^

    error: `execution.threads` of `b` must be a whole number from 1 up, not the text `many`
     --> e.yaml:4:123
      |
    4 |   b: {use: train, inputs: {data: a.pool}, params: {batch: 2.5, warmup: 1.5, rank: "${params.many}"}, execution: {threads: many}}
      |                                                                                                                           ^^^^

    error: param `scorers` of `c` must be a list of different words, not one with the text `el2n` twice
     --> e.yaml:5:84
      |
    5 |   c: {use: score, inputs: {model: b.model, pool: a.pool}, params: {scorers: [el2n, el2n], layers: [x]}}
      |                                                                                    ^^^^

    error: param `layers` of `c` must be a whole number, not the text `x`
     --> e.yaml:5:100
      |
    5 |   c: {use: score, inputs: {model: b.model, pool: a.pool}, params: {scorers: [el2n, el2n], layers: [x]}}
      |                                                                                                    ^

    error: param `normalize` of `d` must be `true` or `false`, not the text `yes please`
     --> e.yaml:6:82
      |
    6 |   d: {use: gradient, inputs: {model: b.model, pool: a.pool}, params: {normalize: yes please, alpha: .inf}}
      |                                                                                  ^^^^^^^^^^

    error: param `alpha` of `d` must be a finite number, not the number inf
     --> e.yaml:6:101
      |
    6 |   d: {use: gradient, inputs: {model: b.model, pool: a.pool}, params: {normalize: yes please, alpha: .inf}}
      |                                                                                                     ^^^^

    error: `seeds` must be a list of different whole numbers from 0 up, not the number -1
     --> e.yaml:7:12
      |
    7 | seeds: [0, -1]
      |            ^^

    12 problems; nothing was run
    "#);
}

#[test]
fn references_to_nothing() {
    let text = "\
params: {budget: 5, a: \"${params.b}\", b: \"${params.a}\", unused: \"${suite.size}\"}
suite: {name: tiny}
stages:
  a: {use: ingest, params: {name: \"${suite.nmae}\", path: \"${params.a}.json\"}}
  b: {use: ingest, params: {name: \"${parms.budget}\", path: \"${}\"}}
  c: {use: ingest, params: {name: \"x ${params}\", path: \"${dataset.path}\"}}
";
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: references lead back to themselves: `params.b` → `params.a` → `params.b`
     --> e.yaml:1:24
      |
    1 | params: {budget: 5, a: "${params.b}", b: "${params.a}", unused: "${suite.size}"}
      |                        ^^^^^^^^^^^^^

    error: references lead back to themselves: `params.a` → `params.b` → `params.a`
     --> e.yaml:1:42
      |
    1 | params: {budget: 5, a: "${params.b}", b: "${params.a}", unused: "${suite.size}"}
      |                                          ^^^^^^^^^^^^^

    error: `${suite.size}` refers to nothing
     --> e.yaml:1:65
      |
    1 | params: {budget: 5, a: "${params.b}", b: "${params.a}", unused: "${suite.size}"}
      |                                                                 ^^^^^^^^^^^^^^^
      = hint: there is `name`

    error: `${suite.nmae}` refers to nothing
     --> e.yaml:4:35
      |
    4 |   a: {use: ingest, params: {name: "${suite.nmae}", path: "${params.a}.json"}}
      |                                   ^^^^^^^^^^^^^^^
      = hint: did you mean `name`?

    error: `${parms.budget}` refers to nothing
     --> e.yaml:5:35
      |
    5 |   b: {use: ingest, params: {name: "${parms.budget}", path: "${}"}}
      |                                   ^^^^^^^^^^^^^^^^^
      = hint: did you mean `params`?

    error: `${}` is not a reference
     --> e.yaml:5:60
      |
    5 |   b: {use: ingest, params: {name: "${parms.budget}", path: "${}"}}
      |                                                            ^^^^^
      = hint: write `${name.name}`, or `$${` for a text that is no reference

    error: `${dataset.path}` refers to nothing
     --> e.yaml:6:56
      |
    6 |   c: {use: ingest, params: {name: "x ${params}", path: "${dataset.path}"}}
      |                                                        ^^^^^^^^^^^^^^^^^
      = hint: there are `suite`, `params` and `seed`

    7 problems; nothing was run
    "#);
}

#[test]
fn the_wrong_artifact_on_a_slot() {
    assert_snapshot!(chain("").problems(&["train.inputs.data=carry.model", "prune.inputs.pool=train.curve"]), @r#"
    error: input `data` of `train` takes `pool` and `subset`, but `carry.model` is a `checkpoint`
     --> --set
      |
    1 | train.inputs.data=carry.model
      |                   ^^^^^^^^^^^

    error: input `pool` of `prune` takes `pool`, but `train.curve` is a `curve`
     --> --set
      |
    1 | prune.inputs.pool=train.curve
      |                   ^^^^^^^^^^^

    2 problems; nothing was run
    "#);
}

#[test]
fn what_is_carried_changes_its_kind() {
    assert_snapshot!(chain("").problems(&["chain.next.pool=train.curve"]), @r#"
    error: input `pool` of `ingest` takes `pool`, but `carry.pool` is a `curve`
     --> e.yaml:9:42
      |
    9 |     ingest: {use: ingest, inputs: {pool: carry.pool}, params: {name: "${dataset.name}", path: a.json}}
      |                                          ^^^^^^^^^^

    1 problem; nothing was run
    "#);
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
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: stage `a` lacks the param `path`
     --> e.yaml:2:3
      |
    2 |   a: {use: ingest, params: {name: a}}
      |   ^
      = hint: add `path:` to its `params`. The dataset: a file, or the folder of its files.

    error: stage `b` lacks the input `model`
     --> e.yaml:3:3
      |
    3 |   b: {use: evaluate, params: {benchmarks: b}}
      |   ^
      = hint: add `model:` to its `inputs`. The model to measure.

    error: stage `c` lacks the input `clusters`
     --> e.yaml:4:3
      |
    4 |   c: {use: prune, inputs: {pool: a.pool}}
      |   ^
      = hint: add `clusters:` to its `inputs`. The pseudo-tasks

    error: stage `c` lacks the input `vectors`
     --> e.yaml:4:3
      |
    4 |   c: {use: prune, inputs: {pool: a.pool}}
      |   ^
      = hint: add `vectors:` to its `inputs`. Gradient or hidden vectors, between which similarity is measured.

    error: stage `c` lacks the param `budget`
     --> e.yaml:4:3
      |
    4 |   c: {use: prune, inputs: {pool: a.pool}}
      |   ^
      = hint: add `budget:` to its `params`. Samples to keep; all, where the pool has fewer.

    error: stage `d` lacks `use`
     --> e.yaml:5:3
      |
    5 |   d: {}
      |   ^
      = hint: name its stage kind with `use:`

    6 problems; nothing was run
    "#);
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
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: stages need each other: `b` → `c` → `a` → `b`
     --> e.yaml:3:3
      |
    3 |   b: {use: train, inputs: {model: a.model, data: data.pool}}
      |   ^

    1 problem; nothing was run
    "#);
}

#[test]
fn files_that_extend_each_other() {
    let project = Project::of("extends: b.yaml\n").write("b.yaml", "extends: c/c.yaml\n");
    assert_snapshot!(project.write("c/c.yaml", "title: c\nextends: ../e.yaml\n").problems(&[]), @r#"
    error: files extend each other in a circle: `e.yaml` → `b.yaml` → `c/c.yaml` → `e.yaml`
     --> c/c.yaml:2:10
      |
    2 | extends: ../e.yaml
      |          ^^^^^^^^^

    1 problem; nothing was run
    "#);
}

#[test]
fn files_and_suites_that_are_not_there() {
    let project = Project::of("extends: liit.yml\n").write("liit.yaml", "title: a\n");
    assert_snapshot!(project.problems(&[]), @r#"
    error: cannot read `liit.yml`: there is no such file
     --> e.yaml:1:10
      |
    1 | extends: liit.yml
      |          ^^^^^^^^
      = hint: did you mean `liit.yaml`?

    1 problem; nothing was run
    "#);
    let project = Project::of("suite: smok\nstages: {}\n").write("suites/smoke.yaml", "name: a\n");
    assert_snapshot!(project.problems(&[]), @r#"
    error: no suite `smok`
     --> e.yaml:1:8
      |
    1 | suite: smok
      |        ^^^^
      = hint: did you mean `smoke`?

    1 problem; nothing was run
    "#);
}

#[test]
fn a_chain_over_nothing() {
    assert_snapshot!(chain("").problems(&["suite.sequence=[]"]), @r#"
    error: the chain has no steps: `over` is an empty list
     --> e.yaml:5:9
      |
    5 |   over: ${suite.sequence}
      |         ^^^^^^^^^^^^^^^^^

    1 problem; nothing was run
    "#);
}

#[test]
fn a_chain_that_is_not_one() {
    let text = "chain: {overt: [1], carry: {pool: a.pool}, next: {pol: a.pool}, stages: {carry: {use: ingest}}}\n";
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: the chain lacks `as`
     --> e.yaml:1:1
      |
    1 | chain: {overt: [1], carry: {pool: a.pool}, next: {pol: a.pool}, stages: {carry: {use: ingest}}}
      | ^^^^^
      = hint: name the element for references, such as `dataset`

    error: the chain lacks `over`
     --> e.yaml:1:1
      |
    1 | chain: {overt: [1], carry: {pool: a.pool}, next: {pol: a.pool}, stages: {carry: {use: ingest}}}
      | ^^^^^
      = hint: name the list to go over, such as `${suite.sequence}`

    error: unknown key `overt` of the chain
     --> e.yaml:1:9
      |
    1 | chain: {overt: [1], carry: {pool: a.pool}, next: {pol: a.pool}, stages: {carry: {use: ingest}}}
      |         ^^^^^
      = hint: did you mean `over`?

    error: `next` of the chain lacks `pool`
     --> e.yaml:1:44
      |
    1 | chain: {overt: [1], carry: {pool: a.pool}, next: {pol: a.pool}, stages: {carry: {use: ingest}}}
      |                                            ^^^^
      = hint: say what `carry.pool` is in the step after

    error: unknown name `pol` of `carry`
     --> e.yaml:1:51
      |
    1 | chain: {overt: [1], carry: {pool: a.pool}, next: {pol: a.pool}, stages: {carry: {use: ingest}}}
      |                                                   ^^^
      = hint: did you mean `pool`?

    error: `carry` cannot be the name of a stage
     --> e.yaml:1:74
      |
    1 | chain: {overt: [1], carry: {pool: a.pool}, next: {pol: a.pool}, stages: {carry: {use: ingest}}}
      |                                                                          ^^^^^
      = hint: the word has a meaning of its own in references and patches

    6 problems; nothing was run
    "#);
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
    assert_snapshot!(chain(text).problems(&[]), @r#"
    error: `metrics` of the table takes `metrics`, but `train.curve` is a `curve`
      --> e.yaml:19:35
       |
    19 |       metrics: [evaluate.metrics, train.curve, evalute.metrics]
       |                                   ^^^^^^^^^^^

    error: unknown stage `evalute`
      --> e.yaml:19:48
       |
    19 |       metrics: [evaluate.metrics, train.curve, evalute.metrics]
       |                                                ^^^^^^^^^^^^^^^
       = hint: did you mean `evaluate`?

    error: unknown column `relative_gian`
      --> e.yaml:20:17
       |
    20 |       columns: [relative_gian, pool_size, train.curve.steps, train.curv.steps]
       |                 ^^^^^^^^^^^^^
       = hint: did you mean `relative_gain`?

    error: unknown output `curv` of `train`
      --> e.yaml:20:62
       |
    20 |       columns: [relative_gian, pool_size, train.curve.steps, train.curv.steps]
       |                                                              ^^^^^^^^^^^^^^^^
       = hint: did you mean `curve`?

    error: no arm `random`
      --> e.yaml:21:20
       |
    21 |       relative_to: random
       |                    ^^^^^^
       = hint: did you mean `Random`?

    error: unknown key `sort` of the table
      --> e.yaml:22:7
       |
    22 |       sort: up
       |       ^^^^
       = hint: there are `name`, `title`, `rows`, `metrics`, `columns`, `relative_to`, `compute_reference`, `unranked`, `test` and `over`

    error: unknown key `tabel` of `report`
      --> e.yaml:23:5
       |
    23 |   - tabel: {}
       |     ^^^^^
       = hint: did you mean `table`?

    7 problems; nothing was run
    "#);
}

#[test]
fn bounds_costs_and_comparisons_that_cannot_be_meant() {
    let text = "\
arms: {All: {}, Random: {}}
report:
  - table:
      name: t
      rows: arm
      metrics: [evaluate.metrics]
      columns: [relative_gain_to.Random, at_equal_compute, trian_seconds, average_accuracy, \"mean(train.curve.steps)\"]
      relative_to: [All, Al]
      compute_reference: Random
      unranked: {All: true}
      test: pool_size
";
    assert_snapshot!(chain(text).problems(&[]), @r#"
    error: `Random` is none of the arms in `relative_to`
      --> e.yaml:20:17
       |
    20 |       columns: [relative_gain_to.Random, at_equal_compute, trian_seconds, average_accuracy, "mean(train.curve.steps)"]
       |                 ^^^^^^^^^^^^^^^^^^^^^^^
       = hint: add `Random` to the list `relative_to`

    error: `at_equal_compute` is relative to nothing
      --> e.yaml:20:42
       |
    20 |       columns: [relative_gain_to.Random, at_equal_compute, trian_seconds, average_accuracy, "mean(train.curve.steps)"]
       |                                          ^^^^^^^^^^^^^^^^
       = hint: name two arms or more with different budgets in `compute_reference`

    error: column `trian_seconds`: no stage of the kind `trian`
      --> e.yaml:20:60
       |
    20 |       columns: [relative_gain_to.Random, at_equal_compute, trian_seconds, average_accuracy, "mean(train.curve.steps)"]
       |                                                            ^^^^^^^^^^^^^
       = hint: did you mean `train_seconds`?

    error: no arm `Al`
      --> e.yaml:21:26
       |
    21 |       relative_to: [All, Al]
       |                          ^^
       = hint: did you mean `All`?

    error: `unranked` of the table must be a text or a list of texts, not a map
      --> e.yaml:23:17
       |
    23 |       unranked: {All: true}
       |                 ^

    error: rows cannot be compared by `pool_size`
      --> e.yaml:24:13
       |
    24 |       test: pool_size
       |             ^^^^^^^^^
       = hint: rows are compared by a mean over skills or benchmarks, such as `average_accuracy`

    6 problems; nothing was run
    "#);
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
    assert_snapshot!(chain(text).problems(&["trian.batch=5", "train.batch", "suite.sequence=[{name: 5}]"]), @r#"
    error: unknown stage `pruen`
      --> e.yaml:15:9
       |
    15 |   One: {pruen.method: none, prune.methd: none}
       |         ^^^^^^^^^^^^
       = hint: did you mean `prune`?

    error: unknown param `methd` of `prune`
      --> e.yaml:15:29
       |
    15 |   One: {pruen.method: none, prune.methd: none}
       |                             ^^^^^^^^^^^
       = in the arm `One`
       = hint: did you mean `method`?

    error: an arm cannot change `seeds`
      --> e.yaml:16:9
       |
    16 |   Two: {seeds: 5, prune: none}
       |         ^^^^^
       = hint: arms change `params`, `suite`, `stages` and `chain`; this belongs to the experiment

    error: `prune` does not say what to change
      --> e.yaml:16:19
       |
    16 |   Two: {seeds: 5, prune: none}
       |                   ^^^^^
       = hint: write `prune.param`, or a map of what to change

    error: arm `Three` must be a map of changes or a file, not a list
      --> e.yaml:17:10
       |
    17 |   Three: [a]
       |          ^

    error: cannot read `missing.yaml`: there is no such file
      --> e.yaml:18:9
       |
    18 |   Four: missing.yaml
       |         ^^^^^^^^^^^^

    error: unknown stage `trian`
     --> --set
      |
    1 | trian.batch=5
      | ^^^^^^^^^^^
      = hint: did you mean `train`?

    error: `train.batch` does not say what to change
     --> --set
      |
    1 | train.batch
      | ^^^^^^^^^^^
      = hint: write `--set key=value`

    error: param `name` of `ingest` must be a text, not the number 5
     --> --set
      |
    1 | suite.sequence=[{name: 5}]
      |                        ^
     ::: e.yaml:9:70
      |
    9 |     ingest: {use: ingest, inputs: {pool: carry.pool}, params: {name: "${dataset.name}", path: a.json}}
      |                                                                      ^^^^^^^^^^^^^^^^^ used here
      = hint: put quotes around it

    9 problems; nothing was run
    "#);
}

#[test]
fn files_outside_the_store_that_are_not_there() {
    assert_snapshot!(chain("").problems(&["first.path=missing.json", "suite.base=missing"]), @r#"
    error: param `path` of `first`: there is no file or folder `missing.json`
     --> --set
      |
    1 | first.path=missing.json
      |            ^^^^^^^^^^^^

    error: input `model` of `train`: there is no file or folder `missing`
     --> --set
      |
    1 | suite.base=missing
      |            ^^^^^^^

    2 problems; nothing was run
    "#);
}

#[test]
fn a_stage_that_no_report_needs_is_checked_all_the_same() {
    let text = "  unused: {use: cluster, params: {clusters: none}}\nreport: [{table: {name: t, rows: skill, metrics: [start.metrics], columns: [accuracy]}}]\n";
    let text = format!(
        "stages:\n  start: {{use: evaluate, inputs: {{model: {{path: m}}}}, params: {{benchmarks: b}}}}\n{text}"
    );
    assert_snapshot!(Project::of(&text).problems(&[]), @r#"
    error: stage `unused` lacks the input `vectors`
     --> e.yaml:3:3
      |
    3 |   unused: {use: cluster, params: {clusters: none}}
      |   ^^^^^^
      = hint: add `vectors:` to its `inputs`. What to cluster; gradient vectors in the paper.

    error: param `clusters` of `unused` must be a whole number, not the text `none`
     --> e.yaml:3:45
      |
    3 |   unused: {use: cluster, params: {clusters: none}}
      |                                             ^^^^

    2 problems; nothing was run
    "#);
}

#[test]
fn a_problem_of_one_arm_names_it() {
    let text = "arms: {Good: {}, Bad: bad.yaml}\nreport: [{table: {name: t, rows: arm, metrics: [evaluate.metrics], columns: [average_accuracy]}}]\n";
    let project = chain(text).write("bad.yaml", "stages: {a: {use: ingest, params: {name: a, path: a.json}}}\n");
    assert_snapshot!(project.problems(&[]), @r#"
    error: unknown stage `evaluate`
      --> e.yaml:15:49
       |
    15 | report: [{table: {name: t, rows: arm, metrics: [evaluate.metrics], columns: [average_accuracy]}}]
       |                                                 ^^^^^^^^^^^^^^^^
       = in the arm `Bad`
       = hint: there is `a`

    1 problem; nothing was run
    "#);
}

#[test]
fn how_to_run_a_stage_is_checked_too() {
    let text = "\
suite: {execution: [4]}
stages:
  a: {use: ingest, params: {name: a, path: a.json}, execution: {device: cuda:0}}
  b: {use: train, inputs: {data: a.pool}, execution: {device: gpu, gradient_checkpointing: 1}}
  c: {use: train, inputs: {data: a.pool}, execution: \"${suite.execution}\", params: {seed: 1}}
  d: {use: train, inputs: {data: a.pool}, execution: {extends: 4, micro_batch: 0}, params: {seed: 2}}
  e: {use: train, inputs: {data: a.pool}, execution: 4, params: {seed: 3}}
";
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: `execution` of `c` must be a map, not a list
     --> e.yaml:1:20
      |
    1 | suite: {execution: [4]}
      |                    ^

    error: `execution.device` of `a` must be `cpu`: its kind computes on no other device, not the text `cuda:0`
     --> e.yaml:3:73
      |
    3 |   a: {use: ingest, params: {name: a, path: a.json}, execution: {device: cuda:0}}
      |                                                                         ^^^^^^

    error: `execution.device` of `b` must be `cpu`, or `cuda:0` with the number of the device, not the text `gpu`
     --> e.yaml:4:63
      |
    4 |   b: {use: train, inputs: {data: a.pool}, execution: {device: gpu, gradient_checkpointing: 1}}
      |                                                               ^^^

    error: `execution.gradient_checkpointing` of `b` must be `true` or `false`, not the number 1
     --> e.yaml:4:92
      |
    4 |   b: {use: train, inputs: {data: a.pool}, execution: {device: gpu, gradient_checkpointing: 1}}
      |                                                                                            ^

    error: what `execution` of `d` extends must be a map, not the number 4
     --> e.yaml:6:64
      |
    6 |   d: {use: train, inputs: {data: a.pool}, execution: {extends: 4, micro_batch: 0}, params: {seed: 2}}
      |                                                                ^

    error: `execution` of `e` must be a map, not the number 4
     --> e.yaml:7:54
      |
    7 |   e: {use: train, inputs: {data: a.pool}, execution: 4, params: {seed: 3}}
      |                                                      ^

    6 problems; nothing was run
    "#);
}

#[test]
fn a_stage_is_split_or_saved_only_where_its_kind_can_be() {
    let text = "\
stages:
  a: {use: ingest, params: {name: a, path: a.json}, execution: {shards: 1, checkpoint_every: null}}
  b: {use: train, inputs: {data: a.pool}, execution: {shards: 2, checkpoint_every: soon}}
  c: {use: score, inputs: {model: b.model, pool: a.pool}, execution: {shards: 0, checkpoint_every: 1 h}}
  d: {use: score, inputs: {model: b.model, pool: a.pool}, execution: {shards: 501}, params: {seed: 1}}
";
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: `execution.shards` of `b` must be `1`: the work of its kind cannot be split, not the number 2
     --> e.yaml:3:63
      |
    3 |   b: {use: train, inputs: {data: a.pool}, execution: {shards: 2, checkpoint_every: soon}}
      |                                                               ^

    error: `execution.checkpoint_every` of `b` must be a time such as `90 s` or `10 min`, not the text `soon`
     --> e.yaml:3:84
      |
    3 |   b: {use: train, inputs: {data: a.pool}, execution: {shards: 2, checkpoint_every: soon}}
      |                                                                                    ^^^^

    error: `execution.shards` of `c` must be a whole number from 1 up, not the number 0
     --> e.yaml:4:79
      |
    4 |   c: {use: score, inputs: {model: b.model, pool: a.pool}, execution: {shards: 0, checkpoint_every: 1 h}}
      |                                                                               ^

    error: `execution.checkpoint_every` of `c` must be nothing: its kind does not save how far it is, not the text `1 h`
     --> e.yaml:4:100
      |
    4 |   c: {use: score, inputs: {model: b.model, pool: a.pool}, execution: {shards: 0, checkpoint_every: 1 h}}
      |                                                                                                    ^^^

    error: `execution.shards` of `d` must be a whole number from 1 to 500, not the number 501
     --> e.yaml:5:79
      |
    5 |   d: {use: score, inputs: {model: b.model, pool: a.pool}, execution: {shards: 501}, params: {seed: 1}}
      |                                                                               ^^^

    5 problems; nothing was run
    "#);
}

#[test]
fn how_to_run_a_kind_is_checked_once_for_all_its_stages() {
    let text = "\
execution:
  trian: {retries: 1}
  train: {timeout: soon, retires: 2}
  score: 4
  ingest: {retries: -1}
stages:
  a: {use: ingest, params: {name: a, path: a.json}}
  b: {use: train, inputs: {data: a.pool}}
  execution: {use: train, inputs: {data: a.pool}, params: {seed: 1}}
";
    assert_snapshot!(Project::of(text).problems(&[]), @r#"
    error: unknown stage kind `trian`
     --> e.yaml:2:3
      |
    2 |   trian: {retries: 1}
      |   ^^^^^
      = hint: did you mean `train`?

    error: `execution.timeout` of all stages of the kind `train` must be a time such as `90 s`, `30 min` or `2 h`, not the text `soon`
     --> e.yaml:3:20
      |
    3 |   train: {timeout: soon, retires: 2}
      |                    ^^^^

    error: unknown key `retires` of `execution` of all stages of the kind `train`
     --> e.yaml:3:26
      |
    3 |   train: {timeout: soon, retires: 2}
      |                          ^^^^^^^
      = hint: did you mean `retries`?

    error: `execution` of all stages of the kind `score` must be a map, not the number 4
     --> e.yaml:4:10
      |
    4 |   score: 4
      |          ^

    error: `execution.retries` of all stages of the kind `ingest` must be a whole number from 0 up, not the number -1
     --> e.yaml:5:21
      |
    5 |   ingest: {retries: -1}
      |                     ^^

    error: `execution` cannot be the name of a stage
     --> e.yaml:9:3
      |
    9 |   execution: {use: train, inputs: {data: a.pool}, params: {seed: 1}}
      |   ^^^^^^^^^
      = hint: the word has a meaning of its own in references and patches

    6 problems; nothing was run
    "#);
}
