//! Runs one stage kind on artifacts in a temporary directory.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::artifact::{Clusters, Pool, Sample, Scores, Turn, Vectors};
use crate::stage::{Call, Context, Execution, Signature, Silent, Stage, Task};

/// A stage kind with its inputs.
pub struct Bench {
    stage: &'static dyn Stage,
    signature: Signature,
    directory: tempfile::TempDir,
}

impl Bench {
    /// A bench without inputs.
    pub fn new(stage: &'static dyn Stage) -> Bench {
        let signature = Signature::parse(stage.declaration()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        for slot in signature.outputs.keys() {
            std::fs::create_dir_all(directory.path().join("outputs").join(slot)).unwrap();
        }
        Bench { stage, signature, directory }
    }

    /// Fills an input slot with a pool of `count` samples, `d/0` and so on.
    pub fn pool(&self, slot: &str, count: usize) {
        let sample = |number: usize| Sample {
            id: format!("d/{number}"),
            source_id: None,
            dataset: "d".into(),
            skill: None,
            source: None,
            images: vec![],
            turns: vec![Turn { question: "What?".into(), answer: "That".into() }],
        };
        let pool = Pool { roots: vec![], samples: (0..count).map(sample).collect(), drops: vec![] };
        pool.write(&self.input(slot)).unwrap();
    }

    /// Fills an input slot with clusters. The order of samples is not that of the pool; centroids
    /// lie on a line.
    pub fn clusters(&self, slot: &str, labels: &[usize]) {
        let count = labels.iter().max().map_or(0, |most| most + 1);
        let centroids: Vec<[f32; 2]> = (0..count).map(|cluster| [cluster as f32, 0.0]).collect();
        self.clusters_at(slot, labels, &centroids);
    }

    /// The same with these centroids.
    pub fn clusters_at(&self, slot: &str, labels: &[usize], centroids: &[[f32; 2]]) {
        let clusters = Clusters {
            ids: ids(labels.len()),
            labels: labels.iter().rev().copied().collect(),
            dimensions: 2,
            centroids: centroids.concat(),
            within_sum_of_squares: 0.0,
            sweep: None,
        };
        clusters.write(&self.input(slot)).unwrap();
    }

    /// Fills an input slot with scores, in an order that is not that of the pool.
    pub fn scores(&self, slot: &str, columns: &[(&str, Vec<f32>)]) {
        let backwards = |values: &Vec<f32>| values.iter().rev().copied().collect::<Vec<f32>>();
        let scores = Scores {
            ids: ids(columns[0].1.len()),
            columns: columns
                .iter()
                .map(|(name, values)| (name.to_string(), backwards(values)))
                .collect::<IndexMap<_, _>>(),
        };
        scores.write(&self.input(slot)).unwrap();
    }

    /// Fills an input slot with vectors, in an order that is not that of the pool.
    pub fn vectors(&self, slot: &str, rows: &[[f32; 2]]) {
        let values = rows.iter().rev().flatten().copied().collect();
        Vectors { ids: ids(rows.len()), dimensions: 2, values }.write(&self.input(slot)).unwrap();
    }

    /// Fills an input slot with what another bench made.
    #[cfg(feature = "ml")]
    pub fn take(&self, slot: &str, output: &std::path::Path) {
        let input = self.input(slot);
        for entry in std::fs::read_dir(output).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, input.join(path.file_name().unwrap())).unwrap();
        }
    }

    /// Runs the stage with these params, the others at their defaults and the seed 0.
    pub fn run(&self, params: Value) -> anyhow::Result<()> {
        self.run_with_threads(params, 1)
    }

    /// The same on so many threads.
    pub fn run_with_threads(&self, params: Value, threads: usize) -> anyhow::Result<()> {
        let mut resolved: Map<String, Value> = Map::new();
        for (name, param) in &self.signature.params {
            let value = match (params.get(name), &param.default) {
                (Some(value), _) => value.clone(),
                (None, _) if name == "seed" => json!(0),
                (None, Some(default)) => default.clone(),
                (None, None) if param.optional => Value::Null,
                (None, None) => panic!("the param `{name}` has no default"),
            };
            resolved.insert(name.clone(), value);
        }
        let filled = |slot: &String| {
            let path = self.directory.path().join("inputs").join(slot);
            path.exists().then(|| (slot.clone(), path))
        };
        let call = Call {
            kind: self.signature.kind.clone(),
            params: resolved,
            inputs: self.signature.inputs.keys().filter_map(filled).collect(),
            outputs: self.signature.outputs.keys().map(|slot| (slot.clone(), self.output(slot))).collect(),
            externals: Default::default(),
            locations: Default::default(),
            execution: Execution { threads, micro_batch: 1, ..Execution::default() },
            task: Task::Whole,
            kept: None,
        };
        self.stage.run(&Context::new(&call, &Silent))
    }

    /// The directory of an output slot.
    pub fn output(&self, slot: &str) -> PathBuf {
        self.directory.path().join("outputs").join(slot)
    }

    /// The numbers of the samples of a pool.
    pub fn numbers(&self, pool: &Pool) -> Vec<usize> {
        pool.samples.iter().map(|sample| sample.id["d/".len()..].parse().unwrap()).collect()
    }

    /// The directory of an input slot, which is made if it is not there.
    pub fn input(&self, slot: &str) -> PathBuf {
        let directory = self.directory.path().join("inputs").join(slot);
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }
}

/// The ids of a pool of `count` samples, last first.
fn ids(count: usize) -> Vec<String> {
    (0..count).rev().map(|number| format!("d/{number}")).collect()
}
