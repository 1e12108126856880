//! Every experiment of the project can be planned.

use std::fs;
use std::path::{Path, PathBuf};

use runner::report::Table;
use runner::spec::Overrides;

use crate::support::{declared, describe, plan_file};

fn experiments(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("suites") || path.ends_with("mini") => {}
            true => experiments(&path, found),
            false if path.extension().is_some_and(|extension| extension == "yaml") => found.push(path),
            false => {}
        }
    }
}

#[test]
fn every_experiment_file_is_planned() {
    let mut files = Vec::new();
    experiments(&Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments"), &mut files);
    assert!(files.len() >= 5);
    for file in files {
        let plan = plan_file(&file, &declared(), &Overrides::default());
        let plan = plan.unwrap_or_else(|problems| panic!("{}:\n{problems}", file.display()));
        assert!(!plan.is_empty(), "{} plans nothing", file.display());
    }
}

#[test]
fn the_smoke_test_plans_the_whole_method_and_shares_what_both_arms_do() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/smoke.yaml");
    let plan = plan_file(&file, &declared(), &Overrides::default()).unwrap();
    insta::assert_snapshot!(describe(&plan), @r#"
    Sequential/s0/first = Adapt-∞/s0/first: ingest
    Sequential/s0/start = Adapt-∞/s0/start: evaluate model=base
    Sequential/s0/t1/arrival: ingest
    Sequential/s0/t1/ingest = Adapt-∞/s0/t1/ingest: ingest pool=Sequential/s0/first.pool
    Sequential/s0/t1/train: train data=Sequential/s0/t1/arrival.pool model=base
    Sequential/s0/t1/prune: prune pool=Sequential/s0/t1/ingest.pool
    Sequential/s0/t1/evaluate: evaluate model=Sequential/s0/t1/train.model
    Sequential/s0/t2/arrival: ingest
    Sequential/s0/t2/ingest: ingest pool=Sequential/s0/t1/prune.pool
    Sequential/s0/t2/train: train data=Sequential/s0/t2/arrival.pool model=Sequential/s0/t1/train.model
    Sequential/s0/t2/prune: prune pool=Sequential/s0/t2/ingest.pool
    Sequential/s0/t2/evaluate: evaluate model=Sequential/s0/t2/train.model
    Adapt-∞/s0/t1/gradient: gradient model=base pool=Sequential/s0/t1/ingest.pool
    Adapt-∞/s0/t1/cluster: cluster vectors=Adapt-∞/s0/t1/gradient.gradient
    Adapt-∞/s0/t1/score: score model=base pool=Sequential/s0/t1/ingest.pool
    Adapt-∞/s0/t1/select: select clusters=Adapt-∞/s0/t1/cluster.clusters pool=Sequential/s0/t1/ingest.pool scores=Adapt-∞/s0/t1/score.scores
    Adapt-∞/s0/t1/train: train data=Adapt-∞/s0/t1/select.subset model=base
    Adapt-∞/s0/t1/prune: prune clusters=Adapt-∞/s0/t1/cluster.clusters pool=Sequential/s0/t1/ingest.pool vectors=Adapt-∞/s0/t1/gradient.hidden
    Adapt-∞/s0/t1/evaluate: evaluate model=Adapt-∞/s0/t1/train.model
    Adapt-∞/s0/t2/ingest: ingest pool=Adapt-∞/s0/t1/prune.pool
    Adapt-∞/s0/t2/gradient: gradient model=Adapt-∞/s0/t1/train.model pool=Adapt-∞/s0/t2/ingest.pool
    Adapt-∞/s0/t2/cluster: cluster vectors=Adapt-∞/s0/t2/gradient.gradient
    Adapt-∞/s0/t2/score: score model=Adapt-∞/s0/t1/train.model pool=Adapt-∞/s0/t2/ingest.pool
    Adapt-∞/s0/t2/select: select clusters=Adapt-∞/s0/t2/cluster.clusters pool=Adapt-∞/s0/t2/ingest.pool scores=Adapt-∞/s0/t2/score.scores
    Adapt-∞/s0/t2/train: train data=Adapt-∞/s0/t2/select.subset model=Adapt-∞/s0/t1/train.model
    Adapt-∞/s0/t2/prune: prune clusters=Adapt-∞/s0/t2/cluster.clusters pool=Adapt-∞/s0/t2/ingest.pool vectors=Adapt-∞/s0/t2/gradient.hidden
    Adapt-∞/s0/t2/evaluate: evaluate model=Adapt-∞/s0/t2/train.model
    "#);
    insta::assert_snapshot!(plan.title, @"Smoke test (miniature suite)");
    assert_eq!(plan.shared, 3);
}

#[test]
fn table_3_computes_gradients_only_for_the_arms_that_use_them() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/table3.yaml");
    let plan = plan_file(&file, &declared(), &Overrides::default()).unwrap();
    let of = |arm: &str, kind: &str| {
        let named = |names: &[String]| names.iter().any(|name| name.starts_with(&format!("{arm}/")));
        plan.order().filter(|stage| plan[*stage].kind == kind && named(&plan[*stage].names)).count()
    };
    assert_eq!(of("Sequential", "gradient"), 0);
    assert_eq!(of("Sequential", "train"), 3 * 5);
    assert_eq!(of("Random", "gradient"), 3 * 5 - 2);
    assert_eq!(plan.report[0].runs.len(), 6 * 3);
    let run = &plan.report[0].runs[0];
    let steps = run.outputs("metrics");
    assert_eq!((run.arm.as_deref(), run.seed, steps.len()), (Some("Sequential"), Some(0), 6));
    assert_eq!(plan[steps[0].stage].name(), "Sequential/s0/start");
    assert_eq!(plan[steps[5].stage].name(), "Sequential/s0/t5/evaluate");
}

fn shipped(name: &str, set: &[&str], suite: Option<&str>) -> runner::plan::Plan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name);
    let set = set.iter().map(|text| text.to_string()).collect();
    let overrides = Overrides { set, suite: suite.map(str::to_string), ..Overrides::default() };
    plan_file(&file, &declared(), &overrides).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn selecting_from_ones_own_data_computes_what_the_method_needs() {
    insta::assert_snapshot!(describe(&shipped("select.yaml", &[], None)), @r#"
    data: ingest
    gradient: gradient model=base pool=data.pool
    cluster: cluster vectors=gradient.gradient
    score: score model=base pool=data.pool
    select: select clusters=cluster.clusters pool=data.pool scores=score.scores
    "#);
    insta::assert_snapshot!(describe(&shipped("select.yaml", &["params.method=random"], None)), @r#"
    data: ingest
    select: select pool=data.pool
    "#);
    insta::assert_snapshot!(describe(&shipped("select.yaml", &["params.method=el2n"], None)), @r#"
    data: ingest
    score: score model=base pool=data.pool
    select: select pool=data.pool scores=score.scores
    "#);
    let plan = shipped("select.yaml", &["params.data=my.json", "params.images=null", "params.budget=7"], Some("full"));
    assert_eq!(plan[plan.find("select").unwrap()].params["budget"], 7);
    assert_eq!(plan[plan.find("gradient").unwrap()].params["dimensions"], 8192);
    assert_eq!(plan[plan.find("data").unwrap()].externals["path"].path, Path::new("my.json"));
    assert_eq!(plan[plan.find("data").unwrap()].params["images"], serde_json::Value::Null);
}

#[test]
fn every_suite_has_what_the_protocol_asks_of_it() {
    let layers = |plan: &runner::plan::Plan, name: &str| plan[plan.find(name).unwrap()].params["layers"].to_string();
    for (suite, steps, middle) in [
        ("mini", 5, "[1]"),
        ("smoke", 2, "[1]"),
        ("language", 4, "[1]"),
        ("language-smoke", 2, "[1]"),
        ("full", 5, "[15]"),
        ("full-language", 4, "[15]"),
    ] {
        let plan = shipped("liit.yaml", &[], Some(suite));
        assert!(plan.find(&format!("t{steps}/evaluate")).is_ok(), "{suite}");
        assert!(plan.find(&format!("t{}/evaluate", steps + 1)).is_err(), "{suite}");
        assert_eq!(layers(&plan, "t1/gradient"), middle, "{suite}");
        // What only some experiments use, put where the protocol has something of the same kind.
        let validation =
            ["name", "path", "images", "limit"].map(|key| format!("first.{key}=${{suite.validation.{key}}}"));
        let validation: Vec<&str> = validation.iter().map(String::as_str).collect();
        let plan = shipped("liit.yaml", &validation, Some(suite));
        assert_eq!(plan[plan.find("first").unwrap()].params["name"], "validation", "{suite}");
        if !suite.contains("language") {
            let set = [
                "gradient.inputs.model.path=${suite.proxy}",
                "gradient.layers=${suite.proxy_gradient.layers}",
                "gradient.dimensions=${suite.proxy_gradient.dimensions}",
                "start.benchmarks=${suite.gallery}",
            ];
            let plan = shipped("liit.yaml", &set, Some(suite));
            assert_eq!(layers(&plan, "t1/gradient"), if suite == "full" { "[11]" } else { "[1]" });
        }
    }
}

#[test]
fn the_full_suite_has_the_settings_of_the_paper() {
    let plan = shipped("table3.yaml", &["suite.root=/data"], Some("full"));
    let of = |name: &str| &plan[plan.find(name).unwrap()];
    let train = of("Random/s0/t1/train");
    let settings = serde_json::json!({
        "rank": 128, "alpha": 256.0, "dropout": 0.05, "epochs": 1.0, "batch": 128, "learning_rate": 2.0e-4,
        "projector_learning_rate": 2.0e-5, "precision": "bf16", "max_length": 2048,
    });
    for (name, value) in settings.as_object().unwrap() {
        assert_eq!(train.params[name], *value, "{name}");
    }
    assert!(train.accelerated && train.execution.gradient_checkpointing);
    assert_eq!(train.execution.micro_batch, 8);
    let gradient = of("Random/s0/t1/gradient");
    assert_eq!(
        (gradient.params["layers"].to_string(), &gradient.params["dimensions"]),
        ("[15]".to_string(), &8192.into())
    );
    assert_eq!(of("Random/s0/t1/select").params["budget"], 25_000);
    assert_eq!(of("Random/s0/t1/prune").params["budget"], 100_000);
    assert_eq!(of("No pruning/s0/t1/cluster").params["clusters"], 10);
    let path = |name: &str| of(name).externals["path"].path.clone();
    assert_eq!(path("Random/s0/first"), Path::new("/data/llava/llava_v1_5_mix665k.json"));
}

#[test]
fn goldens_are_read_and_written_back_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let is_table = path.with_extension("md").exists() && path.extension().is_some_and(|end| end == "json");
        if is_table {
            let text = std::fs::read_to_string(&path).unwrap();
            let table = Table::from_json(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(table.to_json(), text);
            assert_eq!(runner::report::differences(&table, &table), []);
        }
    }
}
