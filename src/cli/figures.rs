//! From the artifacts of a run to its figures.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use image::ImageFormat;

use super::sources::Sources;
use super::tables;
use crate::artifact::{self, Answer, Metrics, PoolReader, Share, Vectors, read_json, read_json_lines};
use crate::digest::Digest;
use crate::plan::{Output, ReportRun};
use crate::report::figure::{
    Asked, Choices, Clustering, Clusters, Figure, FigureKind, FigureSpec, History, Picture, Told, choose, draw,
};
use crate::stages::benchmark::{self, Entry};

/// The figure that `spec` asks for; `None` if a stage that it needs is not done.
pub fn build(spec: &FigureSpec, runs: &[ReportRun], sources: &Sources<'_>) -> anyhow::Result<Option<Figure>> {
    let title = spec.title.as_deref().unwrap_or(&sources.plan.title);
    let needed: Vec<&ReportRun> = runs.iter().filter(|run| spec.needs(run.arm.as_deref())).collect();
    let done = |run: &&&ReportRun| run.outputs.values().flatten().all(|output| sources.directory(output).is_some());
    if needed.iter().filter(done).count() < needed.len() {
        return Ok(None);
    }
    let figure = match &spec.kind {
        FigureKind::Lines(lines) => draw::lines(spec, lines, title, &histories(&needed, sources)?)?,
        FigureKind::Skills(skills) => {
            let histories = histories(&needed, sources)?;
            draw::skills(spec, skills, title, &histories, &choices(&needed, sources)?)?
        }
        FigureKind::Scatter(scatter) => match tables::build(&scatter.table, runs, sources)? {
            Some(table) => draw::scatter(spec, &table)?,
            None => return Ok(None),
        },
        FigureKind::Clusters(clusters) => {
            draw::clusters(spec, clusters, title, &clusterings(clusters, &needed, sources)?)?
        }
        FigureKind::Gallery(gallery) => {
            let told = told(&needed, sources)?;
            let suite = suite(&needed, sources)?;
            let entries = benchmark::entries(&suite)?;
            let skills = entries.iter().map(|entry| (entry.name.clone(), entry.skill.clone())).collect();
            let chosen = choose(spec, gallery, &told, &skills)?;
            let asked = asked(&chosen, &told, &suite, &entries)?;
            draw::gallery(spec, gallery, title, &told, &asked)?
        }
    };
    Ok(Some(figure))
}

/// What each run found over time.
fn histories(runs: &[&ReportRun], sources: &Sources<'_>) -> anyhow::Result<Vec<History>> {
    let read = |run: &&ReportRun| {
        let directories = run.outputs("metrics").iter().filter_map(|output| sources.directory(output));
        let steps = directories.map(|directory| Metrics::read(&directory)).collect::<anyhow::Result<_>>()?;
        Ok(History { arm: run.arm.clone(), seed: run.seed, moments: run.moments("metrics").to_vec(), steps })
    };
    runs.iter().map(read).collect()
}

/// What the clusters gave over time, in the first replicate of each arm.
fn choices(runs: &[&ReportRun], sources: &Sources<'_>) -> anyhow::Result<Vec<Choices>> {
    let mut choices: Vec<Choices> = Vec::new();
    for run in runs {
        let outputs = run.outputs("subsets");
        if outputs.is_empty() || choices.iter().any(|known| known.arm == run.arm) {
            continue;
        }
        let directories = outputs.iter().filter_map(|output| sources.directory(output));
        let read = |directory: PathBuf| read_json_lines::<Share>(&directory.join("shares.jsonl"));
        let steps = directories.map(read).collect::<anyhow::Result<_>>()?;
        choices.push(Choices { arm: run.arm.clone(), moments: run.moments("subsets").to_vec(), steps });
    }
    Ok(choices)
}

/// What the clusters of each run came to. Vectors are read for maps, of the first replicate of an arm.
fn clusterings(spec: &Clusters, runs: &[&ReportRun], sources: &Sources<'_>) -> anyhow::Result<Vec<Clustering>> {
    // Arms share pools: each is read once.
    let mut pools: HashMap<PathBuf, HashMap<String, String>> = HashMap::new();
    let mut found: Vec<Clustering> = Vec::new();
    for run in runs {
        let only = |name: &str| run.outputs(name).first().and_then(|output| sources.directory(output));
        let (Some(directory), Some(pool)) = (only("clusters"), only("pool")) else { continue };
        if !pools.contains_key(&pool) {
            pools.insert(pool.clone(), true_skills(&pool)?);
        }
        let skills = &pools[&pool];
        let mut names: Vec<&String> = skills.values().collect();
        names.sort_unstable();
        names.dedup();
        let numbers: HashMap<&String, usize> =
            names.into_iter().enumerate().map(|(place, name)| (name, place)).collect();
        let clusters = artifact::Clusters::read(&directory)?;
        let skill = |id: &str| skills.get(id).map(|name| numbers[name]);
        ensure!(
            clusters.ids.iter().any(|id| skill(id).is_some()),
            "no sample of `{}` is in the pool that the figure names, or none has a skill",
            directory.display()
        );
        let mut one = Clustering::of(run.arm.clone(), &clusters, skill);
        let sweep = directory.join("sweep.json");
        if sweep.exists() {
            one.sweep = read_json(&sweep)?;
        }
        let is_first = !found.iter().any(|known| known.arm == run.arm);
        if let Some(vectors) = only("vectors").filter(|_| is_first) {
            one.sampled = Some(sampled(&vectors, &clusters.ids, skills, spec.points)?);
        }
        found.push(one);
    }
    Ok(found)
}

/// Sample → its true skill; the dataset that it is of, where it has none.
fn true_skills(pool: &Path) -> anyhow::Result<HashMap<String, String>> {
    let skill = |sample: anyhow::Result<artifact::Sample>| {
        sample.map(|sample| (sample.id, sample.skill.unwrap_or(sample.dataset)))
    };
    PoolReader::open(pool)?.samples()?.map(skill).collect()
}

/// The vectors of at most `most` samples with their skills. The same samples are taken of every kind of
/// vectors: those whose ids have the least digests.
fn sampled(
    vectors: &Path,
    ids: &[String],
    skills: &HashMap<String, String>,
    most: usize,
) -> anyhow::Result<(Vectors, Vec<String>)> {
    let mut order: Vec<(Digest, &str)> =
        ids.iter().filter(|id| skills.contains_key(*id)).map(|id| (Digest::of(id.as_bytes()), id.as_str())).collect();
    order.sort_unstable();
    let chosen: HashSet<&str> = order.into_iter().take(most).map(|(_, id)| id).collect();
    let vectors = Vectors::read_some(vectors, |id| chosen.contains(id))?;
    let of = vectors.ids.iter().map(|id| skills[id].clone()).collect();
    Ok((vectors, of))
}

/// What each arm answered over time, in its first replicate.
fn told(runs: &[&ReportRun], sources: &Sources<'_>) -> anyhow::Result<Vec<Told>> {
    let mut told: Vec<Told> = Vec::new();
    for run in runs {
        if told.iter().any(|known| known.arm == run.arm) {
            continue;
        }
        let directories = run.outputs("answers").iter().filter_map(|output| sources.directory(output));
        let read = |directory: PathBuf| read_json_lines::<Answer>(&directory.join("answers.jsonl"));
        let steps = directories.map(read).collect::<anyhow::Result<_>>()?;
        told.push(Told { arm: run.arm.clone(), moments: run.moments("answers").to_vec(), steps });
    }
    Ok(told)
}

/// The folder of benchmarks that all answers are to.
fn suite(runs: &[&ReportRun], sources: &Sources<'_>) -> anyhow::Result<PathBuf> {
    let asked = |output: &Output| sources.plan[output.stage].externals.get("benchmarks").cloned();
    let suites: Vec<_> = runs.iter().flat_map(|run| run.outputs("answers")).filter_map(asked).collect();
    let first = suites.first().context("the answers of a gallery come from no folder of benchmarks")?;
    let same = suites.iter().all(|other| other.digest == first.digest);
    ensure!(same, "the answers of a gallery are to different benchmarks");
    Ok(first.path.clone())
}

/// The questions with these ids, in their order, with their images.
fn asked(ids: &[String], told: &[Told], suite: &Path, entries: &[Entry]) -> anyhow::Result<Vec<Asked>> {
    let answers = told.iter().flat_map(|told| told.steps.iter().flatten());
    let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let answers: HashMap<&str, &Answer> = answers
        .filter(|answer| wanted.contains(answer.id.as_str()))
        .map(|answer| (answer.id.as_str(), answer))
        .collect();
    let scratch = tempfile::tempdir().context("cannot make a folder for embedded images")?;
    let mut images: HashMap<String, Vec<Picture>> = HashMap::new();
    for entry in entries.iter().filter(|entry| answers.values().any(|answer| answer.benchmark == entry.name)) {
        for question in benchmark::read(suite, entry, scratch.path())?.questions {
            if wanted.contains(question.id.as_str()) {
                let pictures = question.images.iter().map(|path| picture(path)).collect::<anyhow::Result<_>>()?;
                images.insert(question.id, pictures);
            }
        }
    }
    let asked = |id: &String| {
        let answer = answers[id.as_str()];
        let entry = entries.iter().find(|entry| entry.name == answer.benchmark);
        Asked {
            id: id.clone(),
            skill: entry.map(|entry| entry.skill.clone()).unwrap_or_default(),
            question: answer.question.replace("<image>", " ").trim().to_string(),
            expected: answer.expected.clone(),
            images: images.remove(id).unwrap_or_default(),
        }
    };
    Ok(ids.iter().map(asked).collect())
}

/// Longest side of an image in a page, in pixels; a larger one is made smaller.
const SIDE: u32 = 480;

/// An image, ready for a page: the file itself if browsers read it and it is small, else a smaller copy.
fn picture(path: &Path) -> anyhow::Result<Picture> {
    let problem = || format!("cannot read the image `{}`", path.display());
    let bytes = std::fs::read(path).with_context(problem)?;
    let image = image::load_from_memory(&bytes).with_context(problem)?;
    let size = (image.width(), image.height());
    let media = match image::guess_format(&bytes).with_context(problem)? {
        ImageFormat::Png => Some("image/png"),
        ImageFormat::Jpeg => Some("image/jpeg"),
        ImageFormat::Gif => Some("image/gif"),
        ImageFormat::WebP => Some("image/webp"),
        _ => None,
    };
    if let Some(media) = media.filter(|_| size.0.max(size.1) <= SIDE) {
        return Ok(Picture { media, bytes, size });
    }
    let smaller = if size.0.max(size.1) > SIDE { image.thumbnail(SIDE, SIDE) } else { image };
    let (format, media) = match size.0.max(size.1) > SIDE {
        true => (ImageFormat::Jpeg, "image/jpeg"),
        false => (ImageFormat::Png, "image/png"),
    };
    let smaller = if format == ImageFormat::Jpeg { image::DynamicImage::from(smaller.to_rgb8()) } else { smaller };
    let mut bytes = Vec::new();
    smaller.write_to(&mut Cursor::new(&mut bytes), format).with_context(problem)?;
    Ok(Picture { media, bytes, size: (smaller.width(), smaller.height()) })
}
