//! Throughput of the miniature model, in samples per second of a whole stage (reading and writing
//! included), on one thread: `cargo bench --bench model`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::ItemsCount;
use runner::digest::Digest;
use runner::stage::{Call, Context, Execution, External, Registry, Silent};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const SAMPLES: usize = 512;

fn main() {
    divan::main();
}

/// A pool of the miniature suite's first dataset, and the shipped base checkpoint.
struct Ground {
    registry: Registry,
    folder: TempDir,
    images: External,
}

impl Ground {
    fn new() -> Ground {
        // One thread, as the scheduler gives to a stage.
        rayon::ThreadPoolBuilder::new().num_threads(1).build_global().ok();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dataset = folder.path().join("llava");
        runner::mini::make("llava", &dataset).expect("the dataset is made");
        let external = |name: &str| {
            let path = dataset.join(name);
            External { digest: Digest::of(name.as_bytes()), path }
        };
        let images = external("images");
        let ground = Ground { registry: runner::stages::registry(), folder, images };
        let externals = [("path".to_string(), external("samples.json")), ("images".to_string(), ground.images.clone())];
        let params = json!({"name": "llava", "limit": SAMPLES});
        ground.run("ingest", params, BTreeMap::new(), externals.into(), &ground.folder.path().join("ingest"));
        ground
    }

    fn run(
        &self,
        kind: &str,
        params: Value,
        inputs: BTreeMap<String, PathBuf>,
        externals: BTreeMap<String, External>,
        output: &Path,
    ) {
        let signature = self.registry.signature(kind).expect("the kind exists");
        let mut all = Map::new();
        for (name, param) in &signature.params {
            let default = param.default.clone().filter(|value| value != "${seed}").unwrap_or(match name.as_str() {
                "seed" => json!(0),
                _ => Value::Null,
            });
            all.insert(name.clone(), params.get(name).cloned().unwrap_or(default));
        }
        let outputs = signature.outputs.keys().map(|slot| {
            let directory = output.join(slot);
            std::fs::create_dir_all(&directory).expect("the output folder is made");
            (slot.clone(), directory)
        });
        let call = Call {
            kind: kind.to_string(),
            params: all,
            inputs,
            outputs: outputs.collect(),
            externals,
            locations: BTreeMap::from([(self.images.digest, self.images.path.clone())]),
            execution: Execution::default(),
            task: Default::default(),
            kept: None,
        };
        let stage = self.registry.implementation(kind).expect("the kind exists");
        stage.run(&Context::new(&call, &Silent)).expect("the stage runs");
    }

    fn inputs(&self, data: &str) -> BTreeMap<String, PathBuf> {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/suites/mini/base");
        BTreeMap::from([("model".to_string(), base), (data.to_string(), self.folder.path().join("ingest/pool"))])
    }
}

fn bench(bencher: Bencher<'_, '_>, kind: &str, data: &str, params: Value) {
    let ground = Ground::new();
    bencher
        .counter(ItemsCount::new(SAMPLES))
        .with_inputs(|| tempfile::tempdir().expect("a temporary folder"))
        .bench_values(|output| {
            ground.run(kind, params.clone(), ground.inputs(data), BTreeMap::new(), output.path());
            output
        });
}

#[divan::bench(sample_count = 10)]
fn train_lora(bencher: Bencher<'_, '_>) {
    bench(bencher, "train", "data", json!({"rank": 8, "alpha": 16, "dropout": 0.0, "batch": 16, "max_length": 96}));
}

#[divan::bench(sample_count = 10)]
fn train_full(bencher: Bencher<'_, '_>) {
    bench(bencher, "train", "data", json!({"method": "full", "batch": 16, "max_length": 96}));
}

#[divan::bench(sample_count = 10)]
fn gradient(bencher: Bencher<'_, '_>) {
    bench(bencher, "gradient", "pool", json!({"dimensions": 256, "rank": 8, "alpha": 16, "max_length": 96}));
}

#[divan::bench(sample_count = 10)]
fn score(bencher: Bencher<'_, '_>) {
    bench(bencher, "score", "pool", json!({"rank": 8, "alpha": 16, "max_length": 96}));
}
