//! This library's side of the comparisons in `gradients.py` and `train.py`, which start it with
//! `cargo bench --bench peers -- <command>`: the same samples, the same shapes, JSON on standard output.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use burn::backend::{Autodiff, Flex};
use burn::tensor::Tensor;
use clap::{Args, Parser, Subcommand};
use runner::ml::batch::batches_by_length;
use runner::ml::conversation::Labelled;
use runner::ml::gradient::{Extraction, Projector};
use runner::ml::llava::{Llava, host};
use runner::ml::lora;
use runner::ml::optimizer::Trained;
use runner::ml::precision::Precision;
use runner::ml::projection::Projection;
use runner::ml::samples::{Encoding, Item, Samples};
use runner::ml::train::Training;
use runner::ml::weights::Checkpoint;
use serde::Deserialize;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Given by cargo.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the samples in tokens and pixels, for others to work on.
    Dump {
        #[command(flatten)]
        data: Data,
        /// The folder for `samples.json` and `pixels.f32`.
        #[arg(long)]
        to: PathBuf,
    },
    /// Extracts and projects the gradient of every sample.
    Gradients {
        #[command(flatten)]
        data: Data,
        /// Samples per forward pass.
        #[arg(long, default_value_t = 32)]
        micro_batch: usize,
        /// Decoder layers.
        #[arg(long, value_delimiter = ',', default_value = "1")]
        layers: Vec<usize>,
        /// Dimensions of the projection.
        #[arg(long, default_value_t = 256)]
        dimensions: usize,
        /// Rank of the adapters.
        #[arg(long, default_value_t = 8)]
        rank: usize,
        /// Passes over the samples; each is timed.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Trains, and times every step.
    Train {
        #[command(flatten)]
        data: Data,
        /// Samples per step.
        #[arg(long, default_value_t = 16)]
        batch: usize,
        /// Passes over the samples.
        #[arg(long, default_value_t = 2)]
        rounds: usize,
        /// Rank of the adapters; 0 to train everything.
        #[arg(long, default_value_t = 8)]
        rank: usize,
    },
}

#[derive(Args)]
struct Data {
    /// The checkpoint.
    #[arg(long, default_value = "experiments/suites/mini/base")]
    checkpoint: PathBuf,
    /// A folder with `samples.json` in the form of LLaVA and `images`; by default the first dataset of the
    /// miniature suite.
    #[arg(long)]
    pool: Option<PathBuf>,
    /// How many of its samples.
    #[arg(long, default_value_t = 512)]
    samples: usize,
    /// Longest sequence in tokens.
    #[arg(long, default_value_t = 96)]
    max_length: usize,
    /// Threads to compute with.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// A sample in the form of LLaVA.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    image: Option<Value>,
    conversations: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    value: String,
}

/// A checkpoint and samples of its pool.
struct Ground {
    checkpoint: Checkpoint,
    samples: Samples,
    /// Where the pool was made, if it was.
    _folder: Option<tempfile::TempDir>,
}

impl Data {
    fn read(&self) -> anyhow::Result<Ground> {
        rayon::ThreadPoolBuilder::new().num_threads(self.threads).build_global()?;
        let (folder, pool) = match &self.pool {
            Some(pool) => (None, pool.clone()),
            None => {
                let folder = tempfile::tempdir()?;
                let pool = folder.path().join("llava");
                runner::mini::make("llava", &pool)?;
                (Some(folder), pool)
            }
        };
        let path = pool.join("samples.json");
        let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let rows: Vec<Row> = serde_json::from_slice(&text)?;
        let items: Vec<Item> =
            rows.iter().take(self.samples).enumerate().map(|(number, row)| item(&pool, number, row)).collect();
        let checkpoint = Checkpoint::read(&self.checkpoint)?;
        let how = Encoding { labelled: Labelled::All, max_length: self.max_length };
        let samples = Samples::encode(&checkpoint.companions, &checkpoint.config, &items, how)?;
        Ok(Ground { checkpoint, samples, _folder: folder })
    }
}

fn item(pool: &Path, number: usize, row: &Row) -> Item {
    let turn = |pair: &[Message]| (pair[0].value.clone(), pair[1].value.clone());
    let images = match &row.image {
        Some(Value::Array(images)) => images.clone(),
        Some(image) => vec![image.clone()],
        None => vec![],
    };
    let path = |image: &Value| pool.join("images").join(image.as_str().unwrap_or_default()).into();
    Item {
        name: number.to_string(),
        turns: row.conversations.chunks_exact(2).map(turn).collect(),
        images: images.iter().map(path).collect(),
    }
}

fn main() -> anyhow::Result<()> {
    let result = match Arguments::parse().command {
        Command::Dump { data, to } => dump(&data.read()?, &to)?,
        Command::Gradients { data, micro_batch, layers, dimensions, rank, rounds } => {
            gradients(&data.read()?, micro_batch, layers, dimensions, rank, rounds)?
        }
        Command::Train { data, batch, rounds, rank } => train(&data.read()?, batch, rounds, rank)?,
    };
    println!("{result}");
    Ok(())
}

fn dump(ground: &Ground, to: &Path) -> anyhow::Result<Value> {
    fs::create_dir_all(to)?;
    let (mut rows, mut pixels) = (Vec::new(), Vec::new());
    for index in 0..ground.samples.len() {
        let inputs = ground.samples.batch(&[index])?;
        let (ids, labels, images) = (&inputs.text.ids, &inputs.text.labels, inputs.text.images[0]);
        rows.push(json!({"ids": ids, "labels": labels, "images": images}));
        pixels.extend(inputs.pixels.iter().flat_map(|value| value.to_le_bytes()));
    }
    fs::write(to.join("samples.json"), Value::from(rows).to_string())?;
    fs::write(to.join("pixels.f32"), pixels)?;
    Ok(json!({"samples": ground.samples.len()}))
}

fn gradients(
    ground: &Ground,
    micro_batch: usize,
    layers: Vec<usize>,
    dimensions: usize,
    rank: usize,
    rounds: usize,
) -> anyhow::Result<Value> {
    let device = Default::default();
    let model = Llava::<Autodiff<Flex>>::load(&ground.checkpoint, Precision::F32, &device)?;
    let adapters = lora::fresh(&ground.checkpoint.config.text, rank, 0, &device);
    let extraction = Extraction { layers, scale: 2.0, checkpointing: false };
    let mut projector = Projector::<Flex>::new(Projection { seed: 0, dimensions }, &device);
    let mut seconds = Vec::new();
    let mut parameters = 0;
    // The first round is not counted: it makes the projection matrix and reads the images.
    for _ in 0..=rounds {
        let start = Instant::now();
        let batches = batches_by_length(&ground.samples.lengths(), micro_batch);
        let (mut waiting, mut vectors) = (Vec::new(), 0);
        for (number, indices) in batches.iter().enumerate() {
            let extracted = extraction.run(&model, &adapters, &ground.samples.batch(indices)?)?;
            parameters = extracted.gradients.dims()[1];
            waiting.push(extracted.gradients);
            vectors += indices.len();
            // As the stage does it.
            if vectors >= projector.together(parameters) || number + 1 == batches.len() {
                host(projector.project(Tensor::cat(std::mem::take(&mut waiting), 0)));
                vectors = 0;
            }
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(json!({"samples": ground.samples.len(), "parameters": parameters, "seconds": seconds[1..]}))
}

fn train(ground: &Ground, batch: usize, rounds: usize, rank: usize) -> anyhow::Result<Value> {
    let mut model = Llava::<Autodiff<Flex>>::load(&ground.checkpoint, Precision::F32, &Default::default())?;
    let trained = if rank > 0 { Trained::Adapters } else { Trained::Everything };
    if rank > 0 {
        lora::attach(&mut model, rank, 2.0 * rank as f64, 0.0, 0);
    }
    let training = Training {
        trained,
        // The first pass is not counted: it reads the images.
        epochs: (rounds + 1) as f64,
        until: None,
        batch,
        micro_batch: batch,
        learning_rate: 2e-4,
        projector_learning_rate: 2e-5,
        warmup: 0.03,
        weight_decay: 0.0,
        clip: 1.0,
        grouped: false,
        seed: 0,
        checkpointing: false,
    };
    let (mut ends, mut losses) = (Vec::new(), Vec::new());
    training.run(&mut model, &ground.samples, |progress| {
        ends.push(Instant::now());
        losses.push(progress.loss);
    })?;
    let steps = ends.len() / (rounds + 1);
    let round = |number: usize| (ends[(number + 1) * steps - 1] - ends[number * steps - 1]).as_secs_f64();
    let seconds: Vec<f64> = (1..=rounds).map(round).collect();
    Ok(json!({"samples": ground.samples.len(), "steps": steps, "seconds": seconds, "losses": losses[steps..]}))
}
