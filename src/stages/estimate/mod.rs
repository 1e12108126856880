//! What a stage would take, from first principles: operations, memory on its device, and disk.
//!
//! Counted are the products with weights and between tokens, so a real run takes somewhat more; how
//! many operations a device does in a second is the caller's to say. A kind without a formula here has
//! no estimate. Unaware of the plan: the caller leads what is known from stage to stage.

mod pass;
mod shape;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::selection::scorers::{self, Formulas, Need, Version};
use crate::stage::Execution;
use pass::{Pass, Sample};
pub use shape::Shape;

/// Bytes of a sample's id, in the files that have one for each sample.
const ID: f64 = 24.0;
/// Bytes of a token of text, and of what a sample has besides.
const TOKEN: f64 = 4.0;
const SAMPLE: f64 = 250.0;
/// Bytes of an answer with its question.
const ANSWER: f64 = 300.0;

/// What is taken for granted where nothing is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Assumed {
    /// Tokens of a sample's text.
    pub text_tokens: f64,
    /// Images of a sample.
    pub images: f64,
    /// Samples of all benchmarks together.
    pub benchmark_samples: Option<f64>,
    /// Samples of a dataset, by its name.
    pub samples: HashMap<String, f64>,
    /// The model where its files are not there yet.
    pub model: Option<Arc<Shape>>,
}

impl Default for Assumed {
    /// The usual sample of LLaVA-1.5: one image, and 270 tokens of text.
    fn default() -> Assumed {
        Assumed { text_tokens: 270.0, images: 1.0, benchmark_samples: None, samples: HashMap::new(), model: None }
    }
}

/// What is known of an artifact before it is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extent {
    /// Samples, or rows.
    pub samples: Option<f64>,
    /// Length of a row.
    pub dimensions: Option<f64>,
    /// Clusters.
    pub clusters: Option<f64>,
    /// The sizes of the model.
    pub model: Option<Arc<Shape>>,
}

/// What is known of a stage before it runs.
pub struct Known<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// All its params.
    pub params: &'a Map<String, Value>,
    /// How it runs.
    pub execution: &'a Execution,
    /// The artifact in each slot that is used.
    pub inputs: BTreeMap<&'a str, Extent>,
    /// The rest.
    pub assumed: &'a Assumed,
}

/// What a stage would take.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Estimate {
    /// Floating-point operations.
    pub operations: Option<f64>,
    /// Bytes on the device at once.
    pub memory: Option<f64>,
    /// Bytes of its outputs.
    pub disk: Option<f64>,
    /// What is known of its outputs.
    pub outputs: BTreeMap<&'static str, Extent>,
    /// What would have to be known for more.
    pub unknown: Option<String>,
}

/// Estimates a stage.
pub fn estimate(known: &Known<'_>) -> Estimate {
    match known.kind {
        "ingest" => known.ingest(),
        "select" => known.fewer("subset"),
        "prune" => known.fewer("pool"),
        "gradient" => known.with_model("pool", Known::gradient),
        "score" if known.scores_by_model() => known.with_model("pool", Known::score),
        "score" => known.written_scores(known.samples("pool")),
        "train" => known.with_model("data", Known::train),
        "evaluate" => known.with_model("", Known::evaluate),
        "cluster" => known.cluster(),
        _ => Estimate::default(),
    }
}

impl Known<'_> {
    fn number(&self, param: &str) -> Option<f64> {
        self.params.get(param).and_then(Value::as_f64)
    }

    fn word(&self, param: &str) -> &str {
        self.params.get(param).and_then(Value::as_str).unwrap_or_default()
    }

    fn samples(&self, slot: &str) -> Option<f64> {
        self.inputs.get(slot).and_then(|extent| extent.samples)
    }

    /// Bytes of a sample in a pool.
    fn sample_bytes(&self) -> f64 {
        TOKEN * self.assumed.text_tokens + SAMPLE
    }

    fn ingest(&self) -> Estimate {
        let name = self.word("name");
        let found = self.assumed.samples.get(name).copied();
        // A limit alone says how many there are at most.
        let new = match (found, self.number("limit")) {
            (Some(found), Some(limit)) => Some(found.min(limit)),
            (found, limit) => found.or(limit),
        };
        let before = if self.inputs.contains_key("pool") { self.samples("pool") } else { Some(0.0) };
        let samples = new.zip(before).map(|(new, before)| new + before);
        let unknown =
            new.is_none().then(|| format!("how many samples `{name}` has: say `samples:` beside its `name:`"));
        Estimate {
            disk: samples.map(|samples| samples * self.sample_bytes()),
            outputs: BTreeMap::from([("pool", Extent { samples, ..Extent::default() })]),
            unknown,
            ..Estimate::default()
        }
    }

    /// Stages that leave samples out, up to their budget.
    fn fewer(&self, slot: &'static str) -> Estimate {
        let (pool, budget) = (self.samples("pool"), self.number("budget"));
        let samples = match (pool, budget) {
            (pool, _) if self.word("method") == "none" => pool,
            (Some(pool), Some(budget)) => Some(pool.min(budget)),
            (_, budget) => budget,
        };
        Estimate {
            disk: samples.map(|samples| samples * self.sample_bytes()),
            outputs: BTreeMap::from([(slot, Extent { samples, ..Extent::default() })]),
            ..Estimate::default()
        }
    }

    fn cluster(&self) -> Estimate {
        let vectors = self.inputs.get("vectors").cloned().unwrap_or_default();
        let swept = self.params.get("sweep").and_then(Value::as_array);
        let swept: Vec<f64> = swept.into_iter().flatten().filter_map(Value::as_f64).collect();
        // Of a sweep, all are fitted, and the largest number may be taken.
        let most = swept.iter().copied().reduce(f64::max);
        let clusters = most.or(self.number("clusters")).unwrap_or(1.0);
        let fitted = if swept.is_empty() { clusters } else { swept.iter().sum() };
        let outputs = Extent { samples: vectors.samples, clusters: Some(clusters), ..Extent::default() };
        let mut estimate = Estimate { outputs: BTreeMap::from([("clusters", outputs)]), ..Estimate::default() };
        if let (Some(samples), Some(dimensions)) = (vectors.samples, vectors.dimensions) {
            let passes = self.number("iterations").unwrap_or(1.0) * self.number("restarts").unwrap_or(1.0);
            estimate.operations = Some(2.0 * samples * dimensions * fitted * passes);
            estimate.memory = Some(samples * dimensions * 4.0);
            estimate.disk = Some(samples * (ID + 4.0) + clusters * dimensions * 4.0);
        }
        estimate
    }

    /// A stage that needs a model, and the samples in a slot.
    fn with_model(&self, slot: &str, count: fn(&Self, &Pass<'_>, Option<f64>) -> Estimate) -> Estimate {
        let model = match self.inputs.get("model") {
            Some(extent) => extent.model.clone(),
            // Drawn at random, as an architecture says.
            None => self.assumed.model.clone(),
        };
        let Some(shape) = model else {
            let unknown = Some("the sizes of the model: there is no `config.json` here that says them".to_string());
            return Estimate { unknown, ..Estimate::default() };
        };
        let longest = self.number("max_length").unwrap_or(f64::INFINITY);
        let images = if shape.vision.is_some() { self.assumed.images } else { 0.0 };
        let tokens = (self.assumed.text_tokens + images * shape.image_tokens()).min(longest);
        let width = if self.word("precision") == "bf16" { 2.0 } else { 4.0 };
        let checkpointing = self.execution.gradient_checkpointing;
        let pass = Pass { shape: &shape, sample: Sample { tokens, images }, width, checkpointing };
        let mut estimate = count(self, &pass, self.samples(slot));
        if self.kind == "train" {
            let model = Some(shape.clone());
            estimate.outputs.insert("model", Extent { model, ..Extent::default() });
        }
        estimate
    }

    fn micro_batch(&self) -> f64 {
        self.execution.micro_batch as f64
    }

    /// The chosen decoder layers: their number and the lowest. By default the middle one.
    fn layers(&self, shape: &Shape) -> (f64, f64) {
        let chosen: Vec<f64> = match self.params.get("layers") {
            Some(Value::Array(layers)) => layers.iter().filter_map(Value::as_f64).collect(),
            _ => Vec::new(),
        };
        let lowest = chosen.iter().copied().reduce(f64::min);
        let middle = (shape.text.num_hidden_layers.saturating_sub(1)).div_ceil(2) as f64;
        (chosen.len().max(1) as f64, lowest.unwrap_or(middle))
    }

    /// The decoder layers that a list param names, or so many as it has by default.
    fn listed(&self, param: &str, default: f64) -> f64 {
        self.params.get(param).and_then(Value::as_array).map_or(default, |layers| layers.len() as f64)
    }

    fn gradient(&self, pass: &Pass<'_>, samples: Option<f64>) -> Estimate {
        let (layers, lowest) = self.layers(pass.shape);
        let share = pass.above(lowest);
        let adapter = layers * pass.shape.adapter(self.number("rank").unwrap_or(0.0));
        let projected = self.number("dimensions").unwrap_or(0.0);
        let (zeroth, shared) = (self.word("order") == "zeroth", self.word("probes_of") != "sample");
        let dimensions = match (self.word("gradient"), self.word("projection")) {
            ("none", _) => 0.0,
            _ if zeroth && shared => self.number("probes").unwrap_or(0.0),
            (_, "none") if !zeroth => adapter,
            _ => projected,
        };
        // The adapters' gradients of a sample, and their product with a dense projection.
        let formed = 2.0 * pass.sample.tokens * adapter;
        let projection = 2.0 * adapter * dimensions;
        let vector = match self.word("projection") {
            _ if zeroth && shared => 0.0,
            "factorized" | "none" if !zeroth => formed,
            _ if zeroth => projection,
            _ => formed + projection,
        };
        let (more, memory) = match self.word("gradient") {
            "none" => (0.0, pass.forward_memory()),
            _ if zeroth => {
                let passes = 2.0 * self.number("probes").unwrap_or(0.0);
                let above = pass.decoder_above(share) + 4.0 * pass.sample.tokens * adapter;
                (passes * above + vector, pass.forward_memory() + adapter * 4.0)
            }
            _ => (pass.backward(share) + vector, pass.backward_memory(share) + adapter * 4.0),
        };
        let width = pass.shape.text.hidden_size as f64;
        let hidden = match self.word("hidden") {
            "concept" => {
                let layers = (pass.shape.text.num_hidden_layers as f64).min(5.0);
                2.0 * width * self.listed("concept_layers", layers)
            }
            _ => width,
        };
        let rows = |dimensions: f64| Extent { samples, dimensions: Some(dimensions), ..Extent::default() };
        Estimate {
            operations: samples.map(|samples| samples * (pass.forward() + more)),
            memory: Some(pass.weights() + self.micro_batch() * memory),
            disk: samples.map(|samples| samples * ((dimensions + hidden) * 4.0 + 2.0 * ID)),
            outputs: BTreeMap::from([("gradient", rows(dimensions)), ("hidden", rows(hidden))]),
            unknown: None,
        }
    }

    /// Whether the scorers of a score stage need a model.
    fn scores_by_model(&self) -> bool {
        let by_model = |name: &str| {
            scorers::named(name).is_none_or(|scorer| !scorer.needs(&Formulas::default()).contains(&Need::Influences))
        };
        self.scorers().into_iter().any(by_model)
    }

    fn scorers(&self) -> Vec<&str> {
        match self.params.get("scorers") {
            Some(Value::Array(scorers)) => scorers.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn score(&self, pass: &Pass<'_>, samples: Option<f64>) -> Estimate {
        let reference = |param: &str| if self.word(param) == "reference" { Version::Reference } else { Version::Paper };
        let formulas = Formulas { perplexity: reference("perplexity"), positions: reference("positions") };
        let found = self.scorers().into_iter().filter_map(scorers::named);
        let needs: HashSet<Need> = found.flat_map(|scorer| scorer.needs(&formulas)).copied().collect();
        let mut operations = pass.forward();
        let mut memory = pass.forward_memory();
        if needs.contains(&Need::Blind) && pass.sample.images > 0.0 {
            // The features of an image of zeros are always the same.
            let removed = pass.sample.images * pass.shape.image_tokens();
            let tokens = match self.word("blind_image") {
                "removed" => (pass.sample.tokens - removed).max(1.0),
                _ => pass.sample.tokens,
            };
            operations += Pass { sample: Sample { tokens, images: 0.0 }, ..*pass }.decoder();
        }
        if needs.contains(&Need::Gradient) {
            let share = pass.above(self.layers(pass.shape).1);
            operations += pass.backward(share);
            memory = pass.backward_memory(share);
        }
        Estimate {
            operations: samples.map(|samples| samples * operations),
            memory: Some(pass.weights() + self.micro_batch() * memory),
            ..self.written_scores(samples)
        }
    }

    /// Scores by vectors alone: a product with each task's direction, for which the tasks are not known yet.
    fn written_scores(&self, samples: Option<f64>) -> Estimate {
        Estimate {
            disk: samples.map(|samples| samples * (4.0 * self.scorers().len() as f64 + ID)),
            outputs: BTreeMap::from([("scores", Extent { samples, ..Extent::default() })]),
            ..Estimate::default()
        }
    }

    fn train(&self, pass: &Pass<'_>, samples: Option<f64>) -> Estimate {
        let (tokens, projector) = (pass.sample.tokens, pass.shape.projector());
        let patches = pass.sample.images * pass.shape.image_tokens();
        let lora = self.word("method") != "full";
        let adapter = match lora {
            true => pass.shape.adapter(self.number("rank").unwrap_or(0.0)) * pass.shape.text.num_hidden_layers as f64,
            false => 0.0,
        };
        // Two operations per parameter and token for the product itself, two for its input's gradient and
        // two for its weights'.
        let more = match lora {
            true => 6.0 * adapter * tokens + 2.0 * projector * patches,
            false => pass.decoder() + 2.0 * projector * patches,
        };
        let trained = if lora { adapter + projector } else { pass.shape.parameters() };
        let epochs = self.number("epochs").unwrap_or(1.0).min(self.number("until").unwrap_or(f64::INFINITY));
        let passes = samples.map(|samples| samples * epochs);
        let moments = if self.params.get("keep_optimizer") == Some(&Value::Bool(true)) { 2.0 } else { 0.0 };
        let micro_batch = self.micro_batch().min(self.number("batch").unwrap_or(f64::INFINITY));
        Estimate {
            operations: passes.map(|passes| passes * (pass.forward() + pass.backward(1.0) + more)),
            memory: Some(pass.weights() + Pass::trained(trained) + micro_batch * pass.backward_memory(1.0)),
            disk: Some(pass.weights() + 4.0 * adapter * (1.0 + moments)),
            ..Estimate::default()
        }
    }

    fn evaluate(&self, pass: &Pass<'_>, _: Option<f64>) -> Estimate {
        let samples = self.assumed.benchmark_samples;
        let more = self.number("max_new_tokens").unwrap_or(0.0);
        let unknown = "how many samples the benchmarks have: say `assume: {benchmark_samples: …}` in the suite";
        Estimate {
            operations: samples.map(|samples| samples * pass.forward()),
            memory: Some(pass.weights() + self.micro_batch() * (pass.forward_memory() + pass.cache(more))),
            disk: samples.map(|samples| samples * ANSWER),
            outputs: BTreeMap::new(),
            unknown: samples.is_none().then(|| unknown.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shape::tests::{llava, near};
    use super::*;

    struct Story {
        assumed: Assumed,
        execution: Execution,
    }

    impl Story {
        fn new() -> Story {
            let model = Some(Arc::new(llava()));
            let samples = HashMap::from([("llava".to_string(), 665_298.0)]);
            let assumed = Assumed { text_tokens: 274.0, samples, model, ..Assumed::default() };
            Story { assumed, execution: Execution { micro_batch: 8, ..Execution::default() } }
        }

        fn of(&self, kind: &str, params: Value, inputs: &[(&'static str, Extent)]) -> Estimate {
            let params = params.as_object().unwrap();
            let inputs = inputs.iter().cloned().collect();
            estimate(&Known { kind, params, execution: &self.execution, inputs, assumed: &self.assumed })
        }

        fn model(&self) -> (&'static str, Extent) {
            ("model", Extent { model: self.assumed.model.clone(), ..Extent::default() })
        }
    }

    fn samples(slot: &'static str, samples: f64) -> (&'static str, Extent) {
        (slot, Extent { samples: Some(samples), ..Extent::default() })
    }

    #[test]
    fn samples_are_counted_from_stage_to_stage() {
        let story = Story::new();
        let first = story.of("ingest", json!({"name": "llava", "limit": null}), &[]);
        assert_eq!(first.outputs["pool"].samples, Some(665_298.0));
        let cut = story.of("ingest", json!({"name": "llava", "limit": 1000}), &[samples("pool", 500.0)]);
        assert_eq!(cut.outputs["pool"].samples, Some(1500.0));
        let unknown = story.of("ingest", json!({"name": "own", "limit": null}), &[samples("pool", 500.0)]);
        assert_eq!(unknown.outputs["pool"].samples, None);
        assert!(unknown.unknown.unwrap().starts_with("how many samples `own` has"));
        let pick = |pool: f64| {
            story.of("select", json!({"budget": 25_000}), &[samples("pool", pool)]).outputs["subset"].samples
        };
        assert_eq!((pick(665_298.0), pick(300.0)), (Some(25_000.0), Some(300.0)));
        let keep = story.of("prune", json!({"budget": 5, "method": "none"}), &[samples("pool", 70.0)]);
        assert_eq!(keep.outputs["pool"].samples, Some(70.0));
    }

    #[test]
    fn gradient_vectors_take_the_disk_of_their_numbers() {
        let story = Story::new();
        let params = json!({"dimensions": 8192, "rank": 128, "layers": [15], "precision": "bf16", "max_length": 2048});
        let made = story.of("gradient", params, &[story.model(), samples("pool", 1000.0)]);
        let disk = made.disk.unwrap();
        assert!(near(disk, 1000.0 * (8192.0 + 4096.0) * 4.0, 1.0), "{disk}");
        assert_eq!(made.outputs["gradient"].dimensions, Some(8192.0));
        // Forward 11.97, backward 6.4 and projection 0.18 TFLOP.
        assert!(near(made.operations.unwrap(), 1000.0 * 18.6e12, 2.0), "{made:?}");
        // 14.1 GB of weights and 8 samples of 17 layers without checkpointing.
        assert!(near(made.memory.unwrap(), 14.13e9 + 8.0 * (17.0 * 0.2043e9 + 0.218e9 + 0.04e9), 1.0), "{made:?}");
    }

    #[test]
    fn vectors_without_a_backward_pass_cost_forward_passes() {
        let story = Story::new();
        let of = |params: Value| {
            let mut all =
                json!({"dimensions": 8192, "rank": 128, "layers": [15], "precision": "bf16", "max_length": 2048});
            all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
            story.of("gradient", all, &[story.model(), samples("pool", 1000.0)])
        };
        let (first, none) = (of(json!({})), of(json!({"gradient": "none", "hidden": "concept"})));
        assert!(near(first.operations.unwrap() / none.operations.unwrap(), 1.55, 2.0), "{first:?} {none:?}");
        assert!(none.memory.unwrap() < first.memory.unwrap());
        assert_eq!(
            (none.outputs["gradient"].dimensions, none.outputs["hidden"].dimensions),
            (Some(0.0), Some(40_960.0))
        );
        // 128 passes through 17 of 32 layers.
        let zeroth = of(json!({"order": "zeroth", "probes": 64}));
        assert!(near(zeroth.operations.unwrap() / none.operations.unwrap(), 1.0 + 128.0 * 0.53, 4.0), "{zeroth:?}");
        assert_eq!(zeroth.outputs["gradient"].dimensions, Some(64.0));
        let cheaper = of(json!({"projection": "factorized"}));
        assert!(cheaper.operations.unwrap() < first.operations.unwrap());
        assert_eq!(of(json!({"projection": "none"})).outputs["gradient"].dimensions, Some(9_994_240.0));
    }

    #[test]
    fn influence_alone_needs_no_model() {
        let story = Story::new();
        let made = story.of("score", json!({"scorers": ["influence"]}), &[samples("pool", 9.0)]);
        assert_eq!((made.operations, made.outputs["scores"].samples, made.unknown), (None, Some(9.0), None));
    }

    #[test]
    fn training_with_adapters_and_checkpointing_takes_three_forward_passes() {
        let mut story = Story::new();
        story.execution.gradient_checkpointing = true;
        let params = json!({"method": "lora", "rank": 128, "epochs": 1.0, "batch": 128, "precision": "bf16"});
        let trained = story.of("train", params, &[story.model(), samples("data", 25_000.0)]);
        let minutes = trained.operations.unwrap() / 400e12 / 60.0;
        assert!((36.0..40.0).contains(&minutes), "{minutes}");
        // Weights 14.1, 340 million parameters with gradients and moments 5.5, 8 samples 6.
        assert!((22e9..30e9).contains(&trained.memory.unwrap()), "{trained:?}");
        assert!(near(trained.disk.unwrap(), 14.13e9 + 1.28e9, 1.0));
        assert_eq!(trained.outputs["model"].model, story.assumed.model);
    }

    #[test]
    fn grounding_is_a_second_pass_without_the_tower() {
        let story = Story::new();
        let of = |scorers: Value, blind: &str| {
            let params = json!({"scorers": scorers, "blind_image": blind, "precision": "bf16"});
            story.of("score", params, &[story.model(), samples("pool", 1.0)]).operations.unwrap()
        };
        let once = of(json!(["perplexity", "el2n"]), "zero");
        assert!(near(of(json!(["perplexity", "grounding"]), "zero"), 2.0 * once - 0.37e12, 1.0));
        assert!(of(json!(["grounding"]), "removed") < 1.4 * once);
        assert!(near(of(json!(["grand"]), "zero") / once, 1.52, 2.0));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut story = Story::new();
        story.assumed.model = None;
        let blank =
            story.of("score", json!({"scorers": ["el2n"]}), &[("model", Extent::default()), samples("pool", 9.0)]);
        assert!(blank.unknown.unwrap().contains("config.json"));
        assert_eq!(blank.operations, None);
        assert_eq!(story.of("a new kind", json!({}), &[]), Estimate::default());
    }
}
