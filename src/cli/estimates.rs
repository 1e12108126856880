//! What a plan would take: each stage from first principles, or from recorded rates where this machine
//! ran the same kind with the same model.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::failure::Failure;
use crate::artifact::Metrics;
use crate::cache::{Cache, CacheError, Entry};
use crate::devices;
use crate::digest::Digest;
use crate::plan::{Plan, Source, StageIndex};
use crate::scheduler::{Examination, Verdict, host};
use crate::stage::{Execution, Registry};
use crate::stages::estimate::{Assumed, Estimate, Extent, Known, Shape, estimate};
use crate::text::{bytes, duration};

/// So many of the last results of a kind say how fast it is.
const RECORDS: usize = 12;
/// Less is not worth a word: seconds, and bytes.
const LEAST_TIME: f64 = 1.0;
const LEAST_SIZE: f64 = 1024.0 * 1024.0;

/// What one stage would take.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Seconds on its device.
    seconds: Option<f64>,
    operations: Option<f64>,
    /// Bytes at once.
    memory: Option<f64>,
    disk: Option<f64>,
    /// Whether the time comes from recorded rates.
    recorded: bool,
}

/// What the stages of a plan that are not fresh would take.
pub struct Estimates {
    stages: Vec<Taken>,
    /// What would have to be known for more.
    unknown: BTreeSet<String>,
    assumed: Assumed,
    tflops: f64,
    /// Whether any of them computes on a device.
    accelerated: bool,
}

/// How fast a kind ran, and the memory that it had.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate {
    /// Operations per second.
    speed: f64,
    memory: Option<f64>,
}

impl Estimates {
    /// Estimates the stages that are not fresh; `tflops` is what a device is assumed to do, in 10¹²
    /// operations per second.
    pub fn new(
        plan: &Plan,
        examination: &Examination,
        cache: &mut Cache,
        registry: &Registry,
        assumed: Assumed,
        tflops: f64,
    ) -> Result<Estimates, Failure> {
        let mut walk = Walk { plan, examination, models: HashMap::new(), extents: Vec::new() };
        let stale = |stage: StageIndex| examination[stage].verdict != Verdict::Fresh;
        let mut made = Vec::with_capacity(plan.len());
        for stage in plan.order() {
            let mut estimate = walk.estimate(stage, &assumed);
            if !stale(stage) && plan.consumers(stage).any(stale) {
                walk.measure(stage, cache, &mut estimate);
            }
            made.push(if stale(stage) { Some(estimate) } else { None });
        }
        let kinds: BTreeSet<&str> =
            plan.order().filter(|stage| stale(*stage)).map(|stage| &*plan[stage].kind).collect();
        let rates = rates(&kinds, plan, cache, &mut walk.models, &assumed)?;
        let mut estimates = Estimates {
            stages: Vec::with_capacity(plan.len()),
            unknown: BTreeSet::new(),
            assumed,
            tflops,
            accelerated: false,
        };
        for (stage, estimate) in plan.order().zip(made) {
            let Some(estimate) = estimate else {
                estimates.stages.push(Taken::default());
                continue;
            };
            estimates.unknown.extend(estimate.unknown);
            let accelerated = registry.signature(&plan[stage].kind).is_some_and(|signature| signature.accelerated);
            estimates.accelerated |= accelerated;
            let rate = walk.parameters(stage).and_then(|model| rates.get(&(plan[stage].kind.clone(), model))).copied();
            let speed = rate.map(|rate| rate.speed).or(accelerated.then_some(tflops * 1e12));
            estimates.stages.push(Taken {
                seconds: estimate.operations.zip(speed).map(|(operations, speed)| operations / speed),
                operations: estimate.operations,
                memory: rate.and_then(|rate| rate.memory).or(estimate.memory),
                disk: estimate.disk,
                recorded: rate.is_some(),
            });
        }
        Ok(estimates)
    }

    /// What a stage would take, in a few words; empty where that is next to nothing or unknown.
    pub fn of(&self, stage: StageIndex) -> String {
        let taken = &self.stages[stage.index()];
        let mut parts = Vec::new();
        parts.extend(taken.seconds.filter(|seconds| *seconds >= LEAST_TIME).map(duration));
        let large = |size: Option<f64>| size.filter(|size| *size >= LEAST_SIZE).map(|size| bytes(size as u64));
        parts.extend(large(taken.memory).map(|size| format!("{size} of memory")));
        parts.extend(large(taken.disk).map(|size| format!("{size} on disk")));
        parts.join(", ")
    }

    /// The sum of all, and what it goes by. Empty where nothing is worth a word.
    pub fn total(&self) -> String {
        let Total { seconds, memory, disk } = self.sum();
        let mut parts = Vec::new();
        if seconds >= LEAST_TIME {
            parts.push(format!("{} on one device", duration(seconds)));
        }
        if memory >= LEAST_SIZE {
            parts.push(format!("up to {} of memory at a time", bytes(memory as u64)));
        }
        if disk >= LEAST_SIZE {
            parts.push(format!("{} on disk", bytes(disk as u64)));
        }
        let mut text = String::new();
        if !parts.is_empty() {
            text = format!("estimate: {}\n{}", parts.join(", "), self.basis());
        }
        // What only small stages lack is not missed.
        if !self.unknown.is_empty() && self.accelerated {
            text.push_str("not known, and not in the estimate:\n");
            self.unknown.iter().for_each(|unknown| text.push_str(&format!("  {unknown}\n")));
        }
        text
    }

    /// What the times go by.
    fn basis(&self) -> String {
        let timed =
            |recorded: bool| self.stages.iter().any(|stage| stage.seconds.is_some() && stage.recorded == recorded);
        let Assumed { text_tokens, images, .. } = &self.assumed;
        let mut basis = Vec::new();
        if timed(true) {
            basis.push("what the same kinds with the same model did on this machine".to_string());
        }
        if timed(false) {
            let images = if *images == 1.0 { "1 image".to_string() } else { format!("{images} images") };
            basis.push(format!(
                "a device that sustains {} TFLOP/s (`--tflops`), with {text_tokens} text tokens and {images} per sample",
                self.tflops
            ));
        }
        if basis.is_empty() { String::new() } else { format!("  going by {}\n", basis.join("; and by ")) }
    }

    fn sum(&self) -> Total {
        let sum =
            |value: fn(&Taken) -> Option<f64>| self.stages.iter().filter_map(value).fold(0.0, |sum, one| sum + one);
        Total {
            seconds: sum(|stage| stage.seconds),
            memory: self.stages.iter().filter_map(|stage| stage.memory).fold(0.0, f64::max),
            disk: sum(|stage| stage.disk),
        }
    }

    /// A stage for machines; `null` where nothing is known.
    pub fn json(&self, stage: StageIndex) -> Value {
        let Taken { seconds, operations, memory, disk, recorded } = &self.stages[stage.index()];
        if operations.is_none() && memory.is_none() && disk.is_none() {
            return Value::Null;
        }
        let basis = if *recorded { "recorded rates" } else { "first principles" };
        json!({"seconds": seconds, "operations": operations, "memory": memory, "disk": disk, "basis": basis})
    }

    /// All stages for machines.
    pub fn total_json(&self) -> Value {
        let Total { seconds, memory, disk } = self.sum();
        json!({"seconds": seconds, "memory": memory, "disk": disk, "tflops": self.tflops, "unknown": self.unknown})
    }
}

struct Total {
    seconds: f64,
    memory: f64,
    disk: f64,
}

type Models = HashMap<PathBuf, Option<Arc<Shape>>>;

fn model(models: &mut Models, directory: PathBuf) -> Option<Arc<Shape>> {
    let read = |directory: &PathBuf| Shape::read(directory).map(Arc::new);
    models.entry(directory.clone()).or_insert_with(|| read(&directory)).clone()
}

/// Leads what is known of artifacts through a plan, producers first.
struct Walk<'a> {
    plan: &'a Plan,
    examination: &'a Examination,
    models: Models,
    /// Output slot → what is known of it, by stage.
    extents: Vec<BTreeMap<&'static str, Extent>>,
}

impl Walk<'_> {
    /// The next stage in the order of the plan.
    fn estimate(&mut self, stage: StageIndex, assumed: &Assumed) -> Estimate {
        let planned = &self.plan[stage];
        let inputs = planned.inputs.iter().map(|(slot, source)| {
            let extent = match source {
                Source::Stage(output) => self.extents[output.stage.index()].get(output.slot.as_str()).cloned(),
                Source::External(external) => {
                    let model = model(&mut self.models, external.path.clone()).or(assumed.model.clone());
                    Some(Extent { model, ..Extent::default() })
                }
            };
            (slot, extent.unwrap_or_default())
        });
        let inputs: BTreeMap<&str, Extent> = inputs.collect();
        let (kind, params, execution) = (planned.kind.as_str(), &planned.params.to_map(), &planned.execution);
        let estimate = estimate(&Known { kind, params, execution, inputs, assumed });
        self.extents.push(estimate.outputs.clone());
        estimate
    }

    /// Puts the number of samples that a finished stage really made in place of the estimate.
    fn measure(&mut self, stage: StageIndex, cache: &Cache, estimate: &mut Estimate) {
        for (slot, extent) in &mut self.extents[stage.index()] {
            let Some(artifact) = self.examination[stage].outputs.get(slot) else { continue };
            let samples = cache.summary(artifact).ok().and_then(|summary| summary.get("samples")?.as_f64());
            extent.samples = samples.or(extent.samples);
        }
        estimate.unknown = None;
    }

    /// The parameters of the model that a stage reads or makes, as a number to compare by.
    fn parameters(&self, stage: StageIndex) -> Option<u64> {
        let own = self.extents[stage.index()].values().find_map(|extent| extent.model.as_ref());
        let read = self.plan[stage].inputs.get("model").and_then(|source| match source {
            Source::Stage(output) => self.extents[output.stage.index()].get(output.slot.as_str())?.model.as_ref(),
            Source::External(external) => self.models.get(&external.path)?.as_ref(),
        });
        own.or(read).map(|shape| shape.parameters() as u64)
    }
}

/// Kind and parameters of the model → rate, from the last results of this machine on the devices that a
/// run would use.
fn rates(
    kinds: &BTreeSet<&str>,
    plan: &Plan,
    cache: &Cache,
    models: &mut Models,
    assumed: &Assumed,
) -> Result<HashMap<(String, u64), Rate>, CacheError> {
    let class = if devices::found().is_empty() { "cpu" } else { "cuda" };
    let host = host();
    let outside: HashMap<Digest, PathBuf> = plan
        .order()
        .flat_map(|stage| plan[stage].inputs.get("model").and_then(Source::external))
        .map(|external| (external.digest, external.path.clone()))
        .collect();
    let mut measured: HashMap<(String, u64), Vec<Rate>> = HashMap::new();
    for kind in kinds.iter().filter(|kind| ["gradient", "score", "train", "evaluate"].contains(kind)) {
        for entry in cache.latest(kind, RECORDS)? {
            let here = entry.provenance.origin.host == host && entry.provenance.device.class() == class;
            if let (true, Some((model, rate))) = (here, rate(&entry, cache, &outside, models, assumed)) {
                measured.entry((kind.to_string(), model)).or_default().push(rate);
            }
        }
    }
    let middle = |mut rates: Vec<Rate>| {
        rates.sort_by(|one, other| one.speed.total_cmp(&other.speed));
        let most = rates.iter().filter_map(|rate| rate.memory).reduce(f64::max);
        Rate { speed: rates[rates.len() / 2].speed, memory: most }
    };
    Ok(measured.into_iter().map(|(key, rates)| (key, middle(rates))).collect())
}

/// How fast a result was made, and the parameters of its model; `None` if that cannot be told any more.
fn rate(
    entry: &Entry,
    cache: &Cache,
    outside: &HashMap<Digest, PathBuf>,
    models: &mut Models,
    assumed: &Assumed,
) -> Option<(u64, Rate)> {
    let (kind, params, read) = (entry.provenance.kind.as_str(), entry.params(), entry.inputs());
    let samples = |digest: &Digest| cache.summary(digest).ok()?.get("samples")?.as_f64();
    let directory = match read.get("model") {
        Some(digest) => outside.get(digest).cloned().unwrap_or_else(|| cache.path(digest)),
        None => cache.path(&entry.outputs.get("model")?.digest),
    };
    let shape = model(models, directory)?;
    let extent = |digest: &Digest| Extent { samples: samples(digest), ..Extent::default() };
    let mut inputs: BTreeMap<&str, Extent> =
        read.iter().map(|(slot, digest)| (slot.as_str(), extent(digest))).collect();
    inputs.insert("model", Extent { model: Some(shape.clone()), ..Extent::default() });
    let benchmark_samples = entry.outputs.get("metrics").and_then(|metrics| {
        let metrics = Metrics::read(&cache.path(&metrics.digest)).ok()?;
        Some(metrics.benchmarks.values().map(|benchmark| benchmark.samples as f64).sum())
    });
    let assumed = Assumed { benchmark_samples, ..assumed.clone() };
    let execution = Execution::default();
    let operations =
        estimate(&Known { kind, params: &params, execution: &execution, inputs, assumed: &assumed }).operations?;
    let wall = entry.provenance.wall.max(1e-3);
    // What the device had of its own memory is not recorded.
    let memory = entry.provenance.memory.filter(|_| entry.provenance.device.class() == "cpu");
    Some((shape.parameters() as u64, Rate { speed: operations / wall, memory: memory.map(|bytes| bytes as f64) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Origin, Provenance};
    use crate::devices::Device;
    use crate::fingerprint::Key;

    /// 1000 samples that were scored in 10 s by the model of the full suite.
    #[test]
    fn a_recorded_rate_is_what_the_same_work_takes_by_first_principles_over_its_time() {
        let work = tempfile::tempdir().unwrap();
        let cache = Cache::open(work.path()).unwrap();
        let (pool, base) = (Digest::of(b"pool"), Digest::of(b"base"));
        std::fs::create_dir_all(cache.path(&pool)).unwrap();
        std::fs::write(cache.path(&pool).join("summary.json"), r#"{"samples": 1000}"#).unwrap();
        let suites = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/suites");
        let outside = HashMap::from([(base, suites.join("full/llava-1.5-7b"))]);

        let params = json!({"scorers": ["el2n"], "precision": "bf16"}).as_object().unwrap().clone();
        let inputs = BTreeMap::from([("model".to_string(), base), ("pool".to_string(), pool)]);
        let Key { fingerprint, text: key } = Key::new("score", 1, &params, &inputs);
        let origin = Origin { host: host(), git_commit: None, runner: "0".into() };
        let provenance = |device| Provenance {
            kind: "score".into(),
            name: "score".into(),
            experiment: "e".into(),
            started: 0.0,
            wall: 10.0,
            cpu: 10.0,
            memory: Some(7),
            device,
            origin: origin.clone(),
        };
        let of = |device| {
            let entry =
                Entry { fingerprint, key: key.clone(), outputs: BTreeMap::new(), provenance: provenance(device) };
            rate(&entry, &cache, &outside, &mut Models::new(), &Assumed::default()).unwrap()
        };
        let shape = Shape::read(&outside[&base]).unwrap();
        let sample = shape.layers_forward(846.0) + shape.head_forward(846.0) + shape.image_forward();
        let (model, found) = of(Device::Cpu);
        assert_eq!(model, shape.parameters() as u64);
        assert_eq!(found, Rate { speed: sample * 1000.0 / 10.0, memory: Some(7.0) });
        assert_eq!(of(Device::Cuda(0)).1.memory, None, "the memory of the device is not recorded");
    }
}
