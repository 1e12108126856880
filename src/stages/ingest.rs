//! `ingest`: one dataset joins the pool.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::dataset::{self, Check, Format, IMAGES, OnProblem, Source};
use crate::artifact::{PoolReader, PoolWriter, Sample};
use crate::digest::Digest;
use crate::selection::random::Draws;
use crate::stage::{Context, Stage};

/// The kind `ingest`.
pub struct Ingest;

/// Samples that are written together.
const TOGETHER: usize = 4096;

#[derive(Deserialize)]
struct Params {
    name: String,
    format: Named,
    limit: Option<usize>,
    on_problem: OnProblem,
    check_images: Check,
    min_side: Option<u32>,
    seed: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Auto,
    #[serde(untagged)]
    Format(Format),
}

impl Stage for Ingest {
    fn declaration(&self) -> &'static str {
        include_str!("../../stages/ingest.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let params: Params = context.params()?;
        let mut writer = PoolWriter::create(context.output("pool")?)?;
        if let Some(directory) = context.optional_input("pool") {
            let before = PoolReader::open(directory)?;
            ensure!(
                !before.datasets().contains_key(&params.name),
                "the pool already has samples of a dataset `{0}`, and the ids of these would be theirs\n\
                 hint: give one of the two another `name`",
                params.name
            );
            writer.begin_with(before)?;
        }
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.execution().threads).build();
        let threads = threads.context("cannot start the threads of the stage")?;
        threads.install(|| arrive(context, &params, &mut writer))?;
        writer.finish()
    }
}

/// Adds the dataset, cut to the limit.
fn arrive(context: &Context<'_>, params: &Params, writer: &mut PoolWriter) -> anyhow::Result<()> {
    let path = context.external("path").context("the param `path` names no file")?;
    let images = context.external("images");
    ensure!(
        params.check_images != Check::None || params.min_side.is_none(),
        "`min_side` asks for the sizes of images, and `check_images: none` says not to look at them\n\
         hint: set `check_images: header`"
    );
    let source = Source {
        name: &params.name,
        path: &path.path,
        images: images.map(|images| images.path.as_path()),
        format: match params.format {
            Named::Auto => None,
            Named::Format(format) => Some(format),
        },
        on_problem: params.on_problem,
        check: params.check_images,
        min_side: params.min_side.unwrap_or(1),
        seed: params.seed,
    };
    // A folder of images is a root whether or not a sample uses it; the dataset only where one does.
    let mut roots = Roots { images: images.unwrap_or(path).digest, dataset: path.digest };
    if images.is_some() {
        writer.root(roots.images);
    }
    let mut spool = match params.limit {
        Some(_) => Some(Spool::new(context.output("pool")?)?),
        None => None,
    };
    let mut found = 0;
    let drops = dataset::stream(&source, |mut arrivals| {
        found += arrivals.samples.len();
        context.progress((arrivals.read >> 20) as usize, (arrivals.total >> 20) as usize, "MiB");
        match &mut spool {
            Some(spool) => spool.push(&arrivals.samples),
            None => roots.push(&mut arrivals.samples, writer),
        }
    });
    let drops = drops.with_context(|| format!("dataset `{}`", params.name))?;
    for drop in &drops {
        context.warn(format!("dataset `{}`: dropped {}", params.name, dataset::describe(drop)));
    }
    ensure!(found > 0, "no sample of the dataset `{}` can be used", params.name);
    let mut kept = found;
    if let (Some(limit), Some(spool)) = (params.limit, spool) {
        let everything: Vec<usize> = (0..found).collect();
        let drawn = Draws::new(params.seed, "ingest limit").sample(&everything, limit);
        kept = drawn.len();
        spool.take(&drawn, |mut samples| roots.push(&mut samples, writer))?;
    }
    writer.drops(drops);
    context.progress(kept, kept, "samples");
    Ok(())
}

/// What the roots of arriving samples stand for.
struct Roots {
    images: Digest,
    dataset: Digest,
}

impl Roots {
    /// Writes samples, whose images then refer to the pool's roots.
    fn push(&mut self, samples: &mut [Sample], writer: &mut PoolWriter) -> anyhow::Result<()> {
        for image in samples.iter_mut().flat_map(|sample| &mut sample.images) {
            image.root = writer.root(if image.root == IMAGES { self.images } else { self.dataset });
        }
        writer.push(samples)
    }
}

/// Samples that wait on disk, in a file without a name, until it is known which of them are drawn.
struct Spool {
    file: BufWriter<File>,
}

impl Spool {
    fn new(folder: &Path) -> anyhow::Result<Spool> {
        let file = tempfile::tempfile_in(folder);
        let file = file.with_context(|| format!("cannot make a temporary file in `{}`", folder.display()))?;
        Ok(Spool { file: BufWriter::with_capacity(1 << 20, file) })
    }

    fn push(&mut self, samples: &[Sample]) -> anyhow::Result<()> {
        for sample in samples {
            serde_json::to_writer(&mut self.file, sample).context("cannot write a temporary file")?;
            self.file.write_all(b"\n").context("cannot write a temporary file")?;
        }
        Ok(())
    }

    /// Gives the samples with these numbers, which rise.
    fn take(self, drawn: &[usize], mut take: impl FnMut(Vec<Sample>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        const PROBLEM: &str = "cannot read a temporary file";
        let mut file = self.file.into_inner().map_err(|error| error.into_error()).context(PROBLEM)?;
        file.rewind().context(PROBLEM)?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut samples = Vec::new();
        let mut line = Vec::new();
        let mut next = 0;
        for number in drawn {
            while next <= *number {
                line.clear();
                if reader.read_until(b'\n', &mut line).context(PROBLEM)? == 0 {
                    bail!("a temporary file lost what was written to it");
                }
                next += 1;
            }
            samples.push(serde_json::from_slice(&line).context(PROBLEM)?);
            if samples.len() == TOGETHER {
                take(std::mem::take(&mut samples))?;
            }
        }
        take(samples)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::artifact::Pool;
    use crate::digest::Digest;
    use crate::mini;
    use crate::stage::{Call, Execution, External, Progress, Update};

    /// A dataset on disk, what it is merged with, and what the stage has warned of.
    struct Story {
        directory: tempfile::TempDir,
        warnings: Mutex<Vec<String>>,
    }

    impl Progress for Story {
        fn update(&self, update: Update) {
            if let Update::Warning(warning) = update {
                self.warnings.lock().unwrap().push(warning);
            }
        }
    }

    impl Story {
        /// A folder of images with a good one, a bad one and one in a folder of its own.
        fn new() -> Story {
            let story = Story { directory: tempfile::tempdir().unwrap(), warnings: Mutex::default() };
            fs::create_dir_all(story.path("images/deep")).unwrap();
            for good in ["images/good.png", "images/deep/other.png"] {
                image::RgbImage::new(2, 2).save(story.path(good)).unwrap();
            }
            fs::write(story.path("images/bad.png"), "not an image").unwrap();
            story
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, rows: &[Value]) {
            let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
            fs::write(self.path("samples.json"), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
        }

        fn ingest(&self, params: Value) -> anyhow::Result<Pool> {
            self.ingest_from(&self.path("samples.json"), Some(&self.path("images")), params)
        }

        fn ingest_from(&self, file: &Path, images: Option<&Path>, params: Value) -> anyhow::Result<Pool> {
            let mut all = json!({"name": "d", "format": "auto", "limit": null, "on_problem": "drop", "seed": 0,
                "check_images": "header", "min_side": null});
            all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
            let external = |path: &Path| External { path: path.into(), digest: Digest::of(b"content") };
            let named = [("path", Some(file)), ("images", images)];
            let output = tempfile::tempdir().unwrap();
            let pool = self.path("pool");
            let call = Call {
                kind: "ingest".into(),
                params: all.as_object().unwrap().clone(),
                inputs: pool.exists().then(|| ("pool".to_string(), pool)).into_iter().collect(),
                outputs: [("pool".to_string(), output.path().to_path_buf())].into(),
                externals: named
                    .iter()
                    .filter_map(|(param, path)| Some((param.to_string(), external((*path)?))))
                    .collect(),
                locations: Default::default(),
                execution: Execution::default(),
                task: Default::default(),
                kept: None,
            };
            Ingest.run(&Context::new(&call, self))?;
            Pool::read(output.path())
        }

        /// What `on_problem: refuse` says, without the folder's name.
        fn refusal(&self) -> String {
            let error = self.ingest(json!({"on_problem": "refuse"})).unwrap_err();
            format!("{error:#}").replace(self.directory.path().to_str().unwrap(), "")
        }
    }

    fn row(image: Value, turns: &[&str]) -> Value {
        let message = |(number, text): (usize, &&str)| json!({"from": (["human", "gpt"][number % 2]), "value": text});
        json!({"image": image, "conversations": turns.iter().enumerate().map(message).collect::<Vec<_>>()})
    }

    #[test]
    fn samples_keep_their_row_skill_images_and_turns() {
        let story = Story::new();
        let mut first = row(json!("./deep/other.png"), &["<image>\nWhat?", "That.", "Why?", "So."]);
        first["skill"] = json!("attribute");
        first["id"] = json!(17);
        first["dataset"] = json!("somewhere");
        let two = json!(["good.png", "deep/other.png"]);
        story.write(&[first, row(json!(null), &["Hello", "Hi"]), row(two, &["<image> or <image>?", "both"])]);
        let pool = story.ingest(json!({})).unwrap();
        let ids: Vec<&str> = pool.samples.iter().map(|sample| sample.id.as_str()).collect();
        assert_eq!(ids, ["d/0", "d/1", "d/2"]);
        assert_eq!(pool.samples[0].skill.as_deref(), Some("attribute"));
        assert_eq!(pool.samples[0].images[0].path, "deep/other.png");
        assert_eq!(pool.samples[0].turns[1].question, "Why?");
        assert_eq!(pool.samples[0].dataset, "d");
        assert!(pool.samples[1].images.is_empty());
        assert_eq!(pool.samples[2].images.len(), 2);
        assert_eq!(pool.roots, [Digest::of(b"content")]);
        assert!(pool.drops.is_empty() && story.warnings.into_inner().unwrap().is_empty());
    }

    #[test]
    fn the_mark_of_an_only_image_starts_its_question() {
        let story = Story::new();
        let turns = |questions: [&'static str; 2]| row(json!("good.png"), &[questions[0], "a", questions[1], "b"]);
        story.write(&[turns(["What?\n<image>", "Why?"]), turns(["What?", "Why?"]), turns(["What?", "<image>Why?"])]);
        let pool = story.ingest(json!({})).unwrap();
        let questions = |index: usize| pool.samples[index].turns.iter().map(|turn| turn.question.clone());
        assert!(questions(0).eq(["<image>\nWhat?", "Why?"]));
        assert!(questions(1).eq(["<image>\nWhat?", "Why?"]));
        assert!(questions(2).eq(["What?", "<image>\nWhy?"]));
    }

    #[test]
    fn every_problem_is_dropped_with_a_count_a_reason_and_a_place_or_refused() {
        let story = Story::new();
        let mut wrong_start = row(json!(null), &["a", "b"]);
        wrong_start["conversations"][0]["from"] = json!("gpt");
        story.write(&[
            row(json!("good.png"), &["What?", "That."]),
            row(json!("gone.png"), &["What?", "That."]),
            row(json!("bad.png"), &["What?", "That."]),
            row(json!("../samples.json"), &["What?", "That."]),
            row(json!("/etc/hostname"), &["What?", "That."]),
            row(json!(["good.png", "gone.png"]), &["<image> <image>", "That."]),
            row(json!(["good.png", "good.png"]), &["<image> What?", "That."]),
            row(json!(null), &["<image> What?", "That."]),
            row(json!(null), &["What?", " \n"]),
            row(json!(null), &["What?", "<image>"]),
            row(json!(null), &["What?"]),
            row(json!(null), &[]),
            row(json!(""), &["What?", "That."]),
            wrong_start,
            json!(["What?", "That."]),
        ]);
        let pool = story.ingest(json!({})).unwrap();
        assert_eq!(pool.samples.len(), 1);
        let told: Vec<String> = pool.drops.iter().map(dataset::describe).collect();
        assert_eq!(
            told,
            [
                "2 samples: image is missing (row 1, line 3; row 5, line 7)",
                "1 sample: image is unreadable (row 2, line 4)",
                "2 samples: image path leaves the folder of images (row 3, line 5; row 4, line 6)",
                "2 samples: image marks and images differ in number (row 6, line 8; row 7, line 9)",
                "1 sample: answer is empty (row 8, line 10)",
                "1 sample: answer has an image mark (row 9, line 11)",
                "1 sample: conversation ends with a question (row 10, line 12)",
                "1 sample: conversation is empty (row 11, line 13)",
                "1 sample: image path is empty (row 12, line 14)",
                "1 sample: turns are not from `human` and `gpt` in alternation (row 13, line 15)",
                "1 sample: not an object with conversations (row 14, line 16)",
            ]
        );
        assert_eq!(story.warnings.lock().unwrap().len(), told.len());
        assert_eq!(
            story.warnings.lock().unwrap()[0],
            "dataset `d`: dropped 2 samples: image is missing (row 1, line 3; row 5, line 7)"
        );
        let refusal = story.refusal();
        assert!(refusal.starts_with("dataset `d`: `/samples.json` has 14 samples that cannot be used:\n  2 samples: "));
        assert!(told.iter().all(|line| refusal.contains(line)), "{refusal}");
        assert!(refusal.contains("\nhint: "));
    }

    #[test]
    fn only_the_first_few_places_of_a_problem_are_named() {
        let story = Story::new();
        let mut rows = vec![row(json!("gone.png"), &["What?", "That."]); 8];
        rows.push(row(json!(null), &["What?", "That."]));
        story.write(&rows);
        let drops = story.ingest(json!({})).unwrap().drops;
        assert_eq!((drops[0].count, drops[0].examples.len()), (8, 5));
        assert!(dataset::describe(&drops[0]).ends_with("row 4, line 6; …)"));
    }

    #[test]
    fn a_file_that_is_not_a_json_list_is_refused_with_its_line_and_column() {
        let story = Story::new();
        for (text, place) in [
            ("[\n{\"conversations\": [}\n]", "/samples.json:2:20: not a JSON list of samples: expected value"),
            ("[\n{\"conversations\": []}", "/samples.json:2:22: not a JSON list of samples: EOF while parsing a list"),
            ("[] []", "/samples.json:1:4: not a JSON list of samples: trailing characters"),
            (
                "{\"a\": 1}",
                "`/samples.json` is in no known layout: its first row has only the key `a`\nhint: these are known",
            ),
            ("a,b\n1,2", "/samples.json:1:1: not a JSON list of samples: expected a list"),
            ("", "/samples.json:1:1: not a JSON list of samples: EOF while parsing a value"),
        ] {
            fs::write(story.path("samples.json"), text).unwrap();
            let refusal = story.refusal();
            assert!(refusal.contains(place), "{refusal}");
        }
    }

    #[test]
    fn a_dataset_without_a_usable_sample_or_without_its_folder_of_images_is_refused() {
        let story = Story::new();
        story.write(&[row(json!("gone.png"), &["What?", "That."])]);
        let error = story.ingest(json!({})).unwrap_err();
        assert_eq!(error.to_string(), "no sample of the dataset `d` can be used");
        let error = story.ingest_from(&story.path("samples.json"), None, json!({})).unwrap_err();
        assert!(format!("{error:#}").contains("row 0, line 2 of "), "{error:#}");
        assert!(format!("{error:#}").contains("has an image, but no folder of images is given"));
    }

    #[test]
    fn a_limit_draws_by_seed_and_keeps_the_order_of_the_file() {
        let story = Story::new();
        let rows: Vec<Value> = (0..200).map(|number| row(json!(null), &["What?", &number.to_string()])).collect();
        story.write(&rows);
        let drawn = |seed: u64| -> Vec<usize> {
            let pool = story.ingest(json!({"limit": 20, "seed": seed})).unwrap();
            pool.samples.iter().map(|sample| sample.turns[0].answer.parse().unwrap()).collect()
        };
        let first = drawn(0);
        assert_eq!(first.len(), 20);
        assert!(first.is_sorted_by(|one, other| one < other));
        assert_eq!(first, drawn(0));
        assert_ne!(first, drawn(1));
        assert_eq!(story.ingest(json!({"limit": 500})).unwrap().samples.len(), 200);
    }

    #[test]
    fn the_pool_so_far_comes_first_and_no_dataset_joins_twice() {
        let story = Story::new();
        story.write(&[row(json!("good.png"), &["What?", "That."]), row(json!("gone.png"), &["What?", "That."])]);
        let before = story.ingest(json!({"name": "first"})).unwrap();
        fs::create_dir(story.path("pool")).unwrap();
        before.write(&story.path("pool")).unwrap();
        let after = story.ingest(json!({"name": "second"})).unwrap();
        let ids: Vec<&str> = after.samples.iter().map(|sample| sample.id.as_str()).collect();
        assert_eq!(ids, ["first/0", "second/0"]);
        assert_eq!(after.drops.len(), 2);
        let error = story.ingest(json!({"name": "first"})).unwrap_err();
        assert!(error.to_string().contains("already has samples of a dataset `first`"));
    }

    #[test]
    fn a_dataset_of_the_miniature_suite_is_read_whole() {
        let story = Story::new();
        let made = story.path("mantis");
        mini::make("mantis", &made).unwrap();
        let pool = story.ingest_from(&made.join("samples.json"), Some(&made.join("images")), json!({})).unwrap();
        assert_eq!((pool.samples.len(), pool.drops.len()), (700, 0));
        let pictures = |count: usize| pool.samples.iter().filter(|sample| sample.images.len() == count).count();
        assert!(pictures(0) > 10 && pictures(1) > 100 && pictures(2) > 300);
    }
}
