//! The graphs that are measured: the same one as an experiment, as a plan and as a file for ninja.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use indexmap::IndexMap;
use runner::cache::Cache;
use runner::digest::Digest;
use runner::plan::{Externals, Plan, Planned, Refusal, plan};
use runner::slots::Slots;
use runner::spec::{self, Overrides};
use runner::stage::{Context, Registry, Stage};
use serde_json::{Map, Value, json};

/// Stages of a chain.
const STEPS: usize = 10;
/// Samples of the dataset: so many that hardly two random prunings of it are the same.
const SAMPLES: usize = 60;
/// Samples that the first pruning leaves; each one after it leaves one less.
const FIRST: usize = 54;

/// The experiment file, in the directory that [`write_experiment`] fills.
pub const EXPERIMENT: &str = "graph.yaml";

/// Writes an experiment with about as many stages: for every seed a chain of ten random prunings of one
/// tiny dataset. Every stage is of a real kind, and hardly two make the same bytes.
pub fn write_experiment(directory: &Path, stages: usize) -> anyhow::Result<()> {
    let sizes: Vec<usize> = (0..STEPS).map(|step| FIRST - step).collect();
    let text = format!(
        "title: A graph
seeds: {}
stages:
  data: {{use: ingest, params: {{name: toy, path: data.json}}}}
chain:
  over: {sizes:?}
  as: size
  carry: {{pool: data.pool}}
  stages:
    thin: {{use: prune, inputs: {{pool: carry.pool}}, params: {{budget: \"${{size}}\", method: random}}}}
  next: {{pool: thin.pool}}
",
        stages / STEPS
    );
    let sample = |row| {
        let turn = |from: &str| json!({"from": from, "value": format!("{row}?")});
        json!({"id": row, "conversations": [turn("human"), turn("gpt")]})
    };
    fs::write(directory.join(EXPERIMENT), text)?;
    fs::write(directory.join("data.json"), Value::from_iter((0..SAMPLES).map(sample)).to_string())?;
    Ok(())
}

/// Writes `build.ninja` with the same graph, a `touch` for each stage.
pub fn write_chains_for_ninja(directory: &Path, stages: usize) -> anyhow::Result<()> {
    let mut text = String::from("rule touch\n  command = touch $out\nbuild data: touch\n");
    for seed in 0..stages / STEPS {
        for step in 1..=STEPS {
            let before = if step == 1 { "data".to_string() } else { format!("s{seed}/t{}/thin", step - 1) };
            let _ = writeln!(text, "build s{seed}/t{step}/thin: touch {before}");
        }
    }
    Ok(fs::write(directory.join("build.ninja"), text)?)
}

/// Writes `build.ninja` with as many `touch` commands that depend on nothing.
pub fn write_touches_for_ninja(directory: &Path, stages: usize) -> anyhow::Result<()> {
    let mut text = String::from("rule touch\n  command = touch $out\n");
    for number in 0..stages {
        let _ = writeln!(text, "build out/{number}: touch");
    }
    Ok(fs::write(directory.join("build.ninja"), text)?)
}

/// The plan of the experiment in `directory`.
pub fn planned(directory: &Path, cache: &mut Cache, registry: &Registry) -> anyhow::Result<Plan> {
    let (document, problems) = spec::read(&directory.join(EXPERIMENT), &Overrides::default())?;
    let document = document.context("the experiment can be read")?;
    let found = plan(&document, registry, &mut Files { cache }, problems);
    found.map_err(|problems| anyhow!("the experiment has {} problems", problems.list.len()))
}

/// Files outside the store.
struct Files<'c> {
    cache: &'c mut Cache,
}

impl Externals for Files<'_> {
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, Refusal> {
        Ok(std::path::absolute(relative_to.join(value)).map_err(|error| error.to_string())?)
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, Refusal> {
        Ok(self.cache.digest(path).map_err(|error| error.to_string())?)
    }

    fn names(&self, _: &Path) -> Result<Option<Vec<String>>, Refusal> {
        Ok(None)
    }
}

/// The trivial kind: writes one small file.
pub struct Touch;

impl Stage for Touch {
    fn declaration(&self) -> &'static str {
        "{kind: touch, version: 1, summary: A trivial stage., outputs: {out: {kind: text, doc: A text.}}}"
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let params: BTreeMap<String, usize> = context.params()?;
        Ok(fs::write(context.output("out")?.join("text.txt"), params["number"].to_string())?)
    }
}

/// A plan of trivial stages that depend on nothing.
pub fn touches(stages: usize) -> Plan {
    let mut plan = Plan::new("touches".to_string(), String::new());
    for number in 0..stages {
        plan.add(Planned {
            names: vec![number.to_string()],
            kind: "touch".to_string(),
            version: 1,
            params: Map::from_iter([("number".to_string(), json!(number))]).into(),
            externals: BTreeMap::new(),
            inputs: Slots::new(),
            outputs: Arc::new(IndexMap::from([("out".to_string(), "text".to_string())])),
            execution: Arc::default(),
            accelerated: false,
        });
    }
    plan
}
