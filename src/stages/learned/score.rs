//! The stage kind `score`: importance scores of every sample under a model.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use indexmap::IndexMap;
use serde::Deserialize;

use super::dealing::{Deal, Merging};
use super::gradient::chosen_layers;
use super::preparation::{Adapted, Windows, adapters, encode};
use crate::artifact::{Influences, PieceWriter, PoolReader, Sample, ScoresWriter, Vectors, align};
use crate::ml::batch::batches_by_length;
use crate::ml::device::{self, Compute, Job};
use crate::ml::gradient::{Extraction, length};
use crate::ml::llava::{Llava, host};
use crate::ml::precision::Precision;
use crate::ml::samples::{Inputs, Item, Samples};
use crate::ml::score::{answers, entropies, losses};
use crate::ml::weights::Checkpoint;
use crate::selection::scorers::{self, Evidence, Formulas, Need, Scorer, Version, influence};
use crate::stage::{Context, SHARD, Shard, Sharded, Stage};
use crate::text::ticked_list;

/// See `stages/score.yaml`.
pub struct Score;

#[derive(Deserialize)]
struct Params {
    scorers: Vec<String>,
    weight: f64,
    perplexity: Version,
    positions: Version,
    blind_image: BlindImage,
    layers: Option<Vec<usize>>,
    rank: usize,
    alpha: f64,
    max_length: usize,
    precision: Precision,
    seed: u64,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BlindImage {
    Zero,
    Removed,
}

impl Stage for Score {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/score.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        device::on(context.execution().device, Run { context, params: context.params()?, shard: None })
    }

    fn sharded(&self) -> Option<&dyn Sharded> {
        Some(self)
    }
}

impl Sharded for Score {
    fn shard(&self, context: &Context<'_>, shard: Shard) -> anyhow::Result<()> {
        device::on(context.execution().device, Run { context, params: context.params()?, shard: Some(shard) })
    }

    fn merge(&self, context: &Context<'_>, shards: &[PathBuf]) -> anyhow::Result<()> {
        let scorers = context.params::<Params>()?.scorers;
        let names: Vec<&str> = scorers.iter().map(String::as_str).collect();
        let merging = Merging::open(context, "pool", shards)?;
        let tasks: Option<Vec<String>> = merging.pieces.note()?;
        let mut scores = ScoresWriter::create(context.output("scores")?, merging.len(), &names)?;
        let mut sums: Vec<Vec<f32>> = vec![Vec::new(); tasks.as_ref().map_or(0, Vec::len)];
        merging.each(|ids, columns| {
            let (own, influences) = columns.split_at(names.len());
            sums.iter_mut().zip(influences).for_each(|(sums, influences)| sums.extend(influences));
            scores.append(ids, &own.iter().map(Vec::as_slice).collect::<Vec<_>>())
        })?;
        scores.finish()?;
        match tasks {
            Some(tasks) => Influences { tasks: tasks.into_iter().zip(sums).collect() }.write(context.output("scores")?),
            None => Ok(()),
        }
    }
}

struct Run<'a> {
    context: &'a Context<'a>,
    params: Params,
    /// What of the samples is to be done; all of them without one.
    shard: Option<Shard>,
}

/// Where scores go.
enum Sink {
    Whole(ScoresWriter),
    Shard(PieceWriter),
}

impl Job for Run<'_> {
    type Output = ();

    fn run<B: Compute>(self, device: &B::Device) -> anyhow::Result<()> {
        let Run { context, params, shard } = self;
        let formulas = Formulas { perplexity: params.perplexity, positions: params.positions };
        let named = |name: &String| scorers::named(name).with_context(|| format!("there is no scorer `{name}`"));
        let scorers: Vec<&dyn Scorer> = params.scorers.iter().map(named).collect::<anyhow::Result<_>>()?;
        let needs: HashSet<Need> = scorers.iter().flat_map(|scorer| scorer.needs(&formulas)).copied().collect();
        let pool = Windows::open(context, "pool")?;
        let models = match needs.iter().any(|need| *need != Need::Influences) {
            true => Some(Models::<B>::load(context, &params, &needs, device)?),
            false => None,
        };
        let mut influences = match needs.contains(&Need::Influences) {
            true => Some(Influencing::read(context, &params)?),
            false => None,
        };
        let names: Vec<&str> = scorers.iter().map(|scorer| scorer.name()).collect();
        let mut sink = match shard {
            None => Sink::Whole(ScoresWriter::create(context.output("scores")?, pool.len(), &names)?),
            Some(_) => {
                let tasks: Option<Vec<&String>> =
                    influences.as_ref().map(|influences| influences.directions.keys().collect());
                let each = tasks.iter().flatten().map(|task| task.as_str());
                let columns: Vec<(&str, usize)> = names.iter().copied().chain(each).map(|name| (name, 1)).collect();
                Sink::Shard(PieceWriter::create(context.output(SHARD)?, &columns, &tasks)?)
            }
        };
        let mut deal = Deal::new(context, shard.unwrap_or(Shard::WHOLE), pool.len(), "samples");
        let mut first = 0;
        for window in pool.windows()? {
            let (samples, items) = window?;
            let seen = models.as_ref().map(|models| models.encode(context, &params, &items)).transpose()?;
            let batches = match &seen {
                Some(seen) => batches_by_length(&seen.whole.lengths(), context.execution().micro_batch),
                None => vec![(0..samples.len()).collect()],
            };
            let mut columns = vec![vec![f32::NAN; samples.len()]; scorers.len()];
            let mut own = vec![false; samples.len()];
            let influences = influences.as_mut().map(|influences| influences.of(&samples)).transpose()?;
            for indices in batches {
                if !deal.is_own() {
                    continue;
                }
                let mut evidence = match (&models, &seen) {
                    (Some(models), Some(seen)) => models.evidence(&needs, seen, &indices)?,
                    _ => vec![Evidence::default(); indices.len()],
                };
                for (index, evidence) in indices.iter().zip(&mut evidence) {
                    own[*index] = true;
                    if let Some(influences) = &influences {
                        evidence.influences.clone_from(&influences[*index]);
                    }
                    for (column, scorer) in columns.iter_mut().zip(&scorers) {
                        column[*index] = scorer.score(evidence, &formulas);
                    }
                }
                deal.done(indices.len());
            }
            for (name, values) in names.iter().zip(&columns) {
                let wrong = (0..values.len()).filter(|index| own[*index] && !values[*index].is_finite());
                let wrong: Vec<&str> = wrong.map(|index| samples[index].id.as_str()).collect();
                if !wrong.is_empty() {
                    bail!("the {name} is not finite for the samples {}", shortened(&wrong));
                }
            }
            match &mut sink {
                Sink::Whole(scores) => {
                    let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
                    scores.append(&ids, &columns.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
                }
                Sink::Shard(piece) => {
                    for index in (0..samples.len()).filter(|index| own[*index]) {
                        let mut row: Vec<f32> = columns.iter().map(|column| column[index]).collect();
                        row.extend(influences.iter().flat_map(|all| &all[index]).map(|sum| *sum as f32));
                        piece.append(first + index, &[&row])?;
                    }
                }
            }
            first += samples.len();
        }
        match sink {
            Sink::Shard(piece) => return piece.finish(),
            Sink::Whole(scores) => scores.finish()?,
        }
        match influences {
            Some(influences) => influences.sums.write(context.output("scores")?),
            None => Ok(()),
        }
    }
}

/// The first few names of a list.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown = ticked_list(names.iter().take(SHOWN));
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The model, and what gradients need besides.
struct Models<B: Compute> {
    checkpoint: Checkpoint,
    plain: Llava<B>,
    gradient: Option<(Llava<B::Differentiable>, Adapted<B>, Extraction)>,
    /// Whether a second encoding without the images is needed.
    removed: bool,
}

/// A window of samples in tokens.
struct Seen {
    whole: Samples,
    /// As the blind pass sees them, but for images of zeros.
    blind: Option<Samples>,
}

impl<B: Compute> Models<B> {
    fn load(
        context: &Context<'_>,
        params: &Params,
        needs: &HashSet<Need>,
        device: &B::Device,
    ) -> anyhow::Result<Models<B>> {
        let checkpoint = Checkpoint::read(context.input("model")?)?;
        let plain = Llava::load(&checkpoint, params.precision, device)?;
        let gradient = match needs.contains(&Need::Gradient) {
            true => {
                let layers = chosen_layers(params.layers.clone(), checkpoint.config.text.layers)?;
                let adapted = adapters(&checkpoint, params.rank, params.alpha, params.seed, device)?;
                let checkpointing = context.execution().gradient_checkpointing;
                let extraction = Extraction { layers, scale: adapted.scale, checkpointing };
                Some((plain.differentiable(), adapted, extraction))
            }
            false => None,
        };
        let removed = needs.contains(&Need::Blind) && params.blind_image == BlindImage::Removed;
        Ok(Models { checkpoint, plain, gradient, removed })
    }

    fn encode(&self, context: &Context<'_>, params: &Params, items: &[Item]) -> anyhow::Result<Seen> {
        let encode = |items: &[Item]| encode(context, &self.checkpoint, items, params.max_length);
        let whole = encode(items)?;
        let blind = match self.removed {
            true => Some(encode(&items.iter().map(Item::without_images).collect::<Vec<_>>())?),
            false => None,
        };
        Ok(Seen { whole, blind })
    }

    /// What the scorers need of one batch.
    fn evidence(&self, needs: &HashSet<Need>, seen: &Seen, indices: &[usize]) -> anyhow::Result<Vec<Evidence>> {
        let inputs = seen.whole.batch(indices)?;
        let model = &self.plain;
        let needed = |need| needs.contains(&need);
        let mut evidence = vec![Evidence::default(); indices.len()];
        if needed(Need::Answer) || needed(Need::Distributions) || needed(Need::Everywhere) {
            let hidden = model.forward(&inputs, None, None);
            if needed(Need::Answer) || needed(Need::Distributions) {
                evidence = answers(model, hidden.clone(), &inputs.text, needed(Need::Distributions));
            }
            if needed(Need::Everywhere) {
                for (evidence, entropies) in evidence.iter_mut().zip(entropies(model, hidden, &inputs.text)) {
                    evidence.everywhere = entropies;
                }
            }
        }
        if needed(Need::Blind) {
            self.blind(seen, &inputs, indices, &mut evidence)?;
        }
        if let Some((model, adapted, extraction)) = &self.gradient {
            let gradients = extraction.run(model, &adapted.adapters, &inputs)?.gradients;
            let width = gradients.dims()[1];
            for (evidence, row) in evidence.iter_mut().zip(host(gradients).chunks_exact(width)) {
                evidence.gradient = length(row) as f32;
            }
        }
        Ok(evidence)
    }

    /// Another pass of the samples with images, without them.
    fn blind(&self, seen: &Seen, inputs: &Inputs, indices: &[usize], evidence: &mut [Evidence]) -> anyhow::Result<()> {
        let sighted: Vec<usize> = (0..indices.len()).filter(|place| inputs.text.images[*place] > 0).collect();
        if sighted.is_empty() {
            return Ok(());
        }
        let asked: Vec<usize> = sighted.iter().map(|place| indices[*place]).collect();
        let blind = seen.blind.as_ref().unwrap_or(&seen.whole).batch(&asked)?.blind();
        let losses = losses(&self.plain, self.plain.forward(&blind, None, None), &blind.text);
        for (place, losses) in sighted.into_iter().zip(losses) {
            evidence[place].blind = Some(losses);
        }
        Ok(())
    }
}

/// Influence on target tasks.
struct Influencing {
    vectors: Vectors,
    /// The mean unit vector of each task.
    directions: IndexMap<String, Vec<f64>>,
    weight: f64,
    previous: Option<(Vec<String>, Influences)>,
    /// What was computed so far, in the order of the pool.
    sums: Influences,
}

impl Influencing {
    fn read(context: &Context<'_>, params: &Params) -> anyhow::Result<Influencing> {
        let vectors = Vectors::read(context.input("vectors")?)?;
        let targets = Vectors::read(context.input("targets")?)?;
        ensure!(
            vectors.dimensions == targets.dimensions,
            "the vectors of the samples have {} dimensions and those of the targets {}: they are not by the same gradient \
             params",
            vectors.dimensions,
            targets.dimensions
        );
        let samples = PoolReader::open(context.input("target_pool")?)?;
        let samples: Vec<Sample> = samples.samples()?.collect::<anyhow::Result<_>>()?;
        ensure!(!samples.is_empty(), "there are no target samples");
        let ids: Vec<String> = samples.iter().map(|sample| sample.id.clone()).collect();
        let rows = align(&ids, &targets.ids, "target vectors")?;
        let task = |sample: &'_ Sample| sample.skill.clone().unwrap_or_else(|| sample.dataset.clone());
        let tasks: Vec<String> = samples.iter().map(task).collect();
        let directions =
            influence::directions(tasks.iter().zip(&rows).map(|(task, row)| (task.as_str(), targets.row(*row))));
        let previous = context.optional_input("previous").map(Influences::read).transpose()?;
        if let Some((_, previous)) = &previous {
            let same = previous.tasks.len() == directions.len()
                && directions.keys().all(|task| previous.tasks.contains_key(task));
            ensure!(
                same,
                "the influence of earlier checkpoints is on the tasks {}, and the targets have {}",
                ticked_list(previous.tasks.keys()),
                ticked_list(directions.keys())
            );
        }
        let tasks = directions.keys().map(|task| (task.clone(), Vec::new())).collect();
        Ok(Influencing { vectors, directions, weight: params.weight, previous, sums: Influences { tasks } })
    }

    /// The influence of the next samples on each task.
    fn of(&mut self, samples: &[Sample]) -> anyhow::Result<Vec<Vec<f64>>> {
        let ids: Vec<String> = samples.iter().map(|sample| sample.id.clone()).collect();
        let rows = align(&ids, &self.vectors.ids, "vectors")?;
        let before = match &self.previous {
            Some((known, _)) => Some(align(&ids, known, "earlier influences")?),
            None => None,
        };
        let mut influences = vec![Vec::with_capacity(self.directions.len()); samples.len()];
        for (task, direction) in &self.directions {
            let sums = self.sums.tasks.get_mut(task).expect("BUG: every task has its sums");
            for (place, row) in rows.iter().enumerate() {
                let mut sum = self.weight * influence::on(direction, self.vectors.row(*row));
                if let (Some((_, previous)), Some(before)) = (&self.previous, &before) {
                    sum += f64::from(previous.tasks[task][before[place]]);
                }
                influences[place].push(sum);
                sums.push(sum as f32);
            }
        }
        Ok(influences)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::artifact::Scores;
    use crate::stages::testing::Bench;

    /// Three samples to choose from, at 0°, 60° and 90°, and two targets at 90°.
    fn bench() -> Bench {
        let bench = Bench::new(&Score);
        bench.pool("pool", 3);
        bench.vectors("vectors", &[[2.0, 0.0], [0.5, 0.75f32.sqrt()], [0.0, 0.1]]);
        bench.pool("target_pool", 2);
        bench.vectors("targets", &[[0.0, 3.0], [0.0, 1.0]]);
        bench
    }

    fn influence(weight: f64) -> serde_json::Value {
        json!({"scorers": ["influence"], "layers": null, "weight": weight})
    }

    #[test]
    fn influence_is_summed_over_checkpoints_without_a_model() {
        let first = bench();
        first.run(influence(0.5)).unwrap();
        let scores = Scores::read(&first.output("scores")).unwrap();
        assert_eq!(scores.ids, ["d/0", "d/1", "d/2"]);
        let near = |found: &[f32], expected: [f32; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, not {expected:?}");
        };
        near(&scores.columns["influence"], [0.0, 0.5 * 0.75f32.sqrt(), 0.5]);

        let second = bench();
        second.take("previous", &first.output("scores"));
        second.run(influence(0.25)).unwrap();
        near(&Scores::read(&second.output("scores")).unwrap().columns["influence"], [0.0, 0.75 * 0.75f32.sqrt(), 0.75]);
        let (_, sums) = Influences::read(&second.output("scores")).unwrap();
        near(&sums.tasks["d"], [0.0, 0.75 * 0.75f32.sqrt(), 0.75]);
    }

    #[test]
    fn scores_without_influence_are_not_added_to() {
        let bench = bench();
        bench.scores("previous", &[("el2n", vec![0.0; 3])]);
        let error = bench.run(influence(1.0)).unwrap_err();
        assert!(format!("{error:#}").ends_with("the scorer `influence` was not among its scorers"), "{error:#}");
    }
}
