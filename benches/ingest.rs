//! Throughput of ingestion, in bytes per second of a whole stage on one thread, images not looked at:
//! `cargo bench --bench ingest`. It needs no features.
//!
//! The dataset is made: LLaVA-style JSON, indented as LLaVA-665K is, with turns and escapes like there.
//! `RUNNER_BENCH_MEGABYTES` sets its size; how much memory a stage takes, `runner exec` says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use divan::Bencher;
use divan::counter::BytesCount;
use runner::digest::Digest;
use runner::stage::{Call, Context, Execution, External, Silent};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

fn main() {
    divan::main();
}

/// A dataset in a folder of its own.
struct Ground {
    folder: TempDir,
    bytes: u64,
}

impl Ground {
    fn new() -> Ground {
        // One thread, as the scheduler gives to a stage.
        rayon::ThreadPoolBuilder::new().num_threads(1).build_global().ok();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let size = std::env::var("RUNNER_BENCH_MEGABYTES").ok().and_then(|text| text.parse().ok()).unwrap_or(64u64);
        let ground = Ground { bytes: size * 1_000_000, folder };
        fs::create_dir(ground.path("images")).expect("a folder of images");
        ground.make();
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make(&self) {
        let mut file = BufWriter::new(File::create(self.path("data.json")).expect("a file"));
        let (mut size, mut row) = (0, 0usize);
        while size < self.bytes {
            let sentence = |seed: usize| "The \"red\" bus is parked near the table. ".repeat(1 + (row * 7 + seed) % 9);
            let turn = |turn: usize| {
                let mark = if turn == 0 { "<image>\n" } else { "" };
                let question = json!({"from": "human", "value": format!("{mark}{}", sentence(turn))});
                [question, json!({"from": "gpt", "value": format!("{}\n- 这是一辆公交车。", sentence(turn + 3))})]
            };
            let turns: Vec<Value> = (0..1 + row % 5).flat_map(turn).collect();
            let image = format!("coco/train2017/{row:012}.jpg");
            let sample = json!({"id": format!("{:012}", row / 2), "image": image, "conversations": turns});
            let text = serde_json::to_string_pretty(&sample).expect("a sample");
            write!(file, "{}{text}", if row == 0 { "[\n" } else { ",\n" }).expect("the file is written");
            size += text.len() as u64 + 2;
            row += 1;
        }
        writeln!(file, "\n]").and_then(|()| file.flush()).expect("the file is written");
    }

    /// Ingests the dataset under a name, after what is in the folder `before`.
    fn run(&self, name: &str, params: Value, before: Option<&str>) {
        let registry = runner::stages::registry();
        let mut all = Map::new();
        for (param, declared) in &registry.signature("ingest").expect("the kind exists").params {
            let given = params.get(param).cloned().or_else(|| declared.default.clone());
            all.insert(param.clone(), given.unwrap_or(Value::Null));
        }
        all.extend([("name".to_string(), json!(name)), ("check_images".to_string(), json!("none"))]);
        let external = |name: &str| External { digest: Digest::of(name.as_bytes()), path: self.path(name) };
        let output = self.path(name);
        fs::create_dir_all(&output).expect("an output folder");
        let call = Call {
            kind: "ingest".into(),
            params: all,
            inputs: before.map(|before| ("pool".to_string(), self.path(before))).into_iter().collect(),
            outputs: BTreeMap::from([("pool".to_string(), output)]),
            externals: BTreeMap::from([
                ("path".to_string(), external("data.json")),
                ("images".to_string(), external("images")),
            ]),
            locations: BTreeMap::new(),
            execution: Execution::default(),
            task: Default::default(),
            kept: None,
        };
        let stage = registry.implementation("ingest").expect("the kind exists");
        stage.run(&Context::new(&call, &Silent)).expect("the stage runs");
    }
}

fn bench(bencher: Bencher<'_, '_>, params: Value, before: Option<&str>) {
    let ground = Ground::new();
    if let Some(before) = before {
        ground.run(before, json!({}), None);
    }
    bencher.counter(BytesCount::new(ground.bytes)).bench_local(|| ground.run("made", params.clone(), before));
}

#[divan::bench(sample_count = 5)]
fn alone(bencher: Bencher<'_, '_>) {
    bench(bencher, json!({}), None);
}

#[divan::bench(sample_count = 5)]
fn after_as_large_a_pool(bencher: Bencher<'_, '_>) {
    bench(bencher, json!({}), Some("before"));
}

#[divan::bench(sample_count = 5)]
fn a_tenth_of_it(bencher: Bencher<'_, '_>) {
    bench(bencher, json!({"limit": 6000}), None);
}
