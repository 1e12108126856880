//! Figures of small invented experiments.

use std::collections::BTreeMap;

use super::*;
use crate::artifact::{Answer, Benchmark, Metrics, Share, Vectors};
use crate::report::{Moment, Run, Table, TableSpec};
use crate::selection::agreement::Agreement;
use crate::selection::random::Draws;

const DATASETS: [&str; 5] = ["m3it", "minigpt4", "mantis", "lamm", "vision_flan"];
const SKILLS: [&str; 6] = ["vqa", "multilingual", "grounding", "reasoning", "language_only", "multi_image"];

fn spec(kind: FigureKind) -> FigureSpec {
    FigureSpec { name: "f".to_string(), title: None, arms: Vec::new(), kind }
}

fn moments(start: bool) -> Vec<Moment> {
    let before = start.then(|| Moment { step: None, name: "start".to_string() });
    let step = |(step, name): (usize, &&str)| Moment { step: Some(step), name: name.to_string() };
    before.into_iter().chain(DATASETS.iter().enumerate().map(step)).collect()
}

fn metrics(values: &[f64]) -> Metrics {
    let benchmark = |(skill, value): (&&str, &f64)| {
        let benchmark = Benchmark {
            skill: skill.to_string(),
            metric: "exact_match".to_string(),
            value: *value,
            chance: 20.0,
            samples: 100,
            details: Default::default(),
        };
        (format!("{skill}-a"), benchmark)
    };
    Metrics { benchmarks: SKILLS.iter().zip(values).map(benchmark).collect() }
}

/// Results that wander, the same for the same arm and seed.
fn history(arm: &str, seed: u64, ahead: f64) -> History {
    let mut draws = Draws::new(seed, arm);
    let mut values = [62.0, 10.0, 45.0, 38.0, 71.0, 28.0];
    let mut steps = vec![metrics(&values)];
    for step in 1..=DATASETS.len() {
        for (skill, value) in values.iter_mut().enumerate() {
            let drift = if (skill + step) % 4 == 0 { 22.0 } else { -6.0 };
            *value = (*value + drift + ahead + draws.below(800) as f64 / 100.0 - 4.0).clamp(3.0, 97.0);
        }
        steps.push(metrics(&values));
    }
    History { arm: Some(arm.to_string()), seed: Some(seed), moments: moments(true), steps }
}

fn histories(arms: &[(&str, f64)]) -> Vec<History> {
    arms.iter().flat_map(|(arm, ahead)| (0..3).map(move |seed| history(arm, seed, *ahead))).collect()
}

const ARMS: [(&str, f64); 4] = [("Sequential", 0.0), ("Random replay", 1.0), ("LITE-Adapt-∞", 2.0), ("Adapt-∞", 2.6)];

fn lines(skills: Shown, value: Value) -> Lines {
    let relative_to = (value == Value::RelativeGain).then(|| "Sequential".to_string());
    Lines { metrics: vec!["evaluate.metrics".into()], value, relative_to, skills, start: Some("llava".into()) }
}

fn lines_figure(skills: Shown, value: Value) -> Figure {
    let mut runs = histories(&ARMS);
    for seed in 0..3 {
        let last = history("Multi-task", seed, 3.0).steps.split_off(5);
        let moment = Moment { step: None, name: "evaluate".to_string() };
        runs.push(History { arm: Some("Multi-task".into()), seed: Some(seed), moments: vec![moment], steps: last });
    }
    let lines = lines(skills, value);
    draw::lines(&spec(FigureKind::Lines(lines.clone())), &lines, "Results over time (a toy suite)", &runs).unwrap()
}

fn skills_figure() -> Figure {
    let skills = Skills {
        metrics: vec!["evaluate.metrics".into()],
        relative_to: Some("Sequential".into()),
        value: Value::RelativeGain,
        start: Some("llava".into()),
        subsets: vec!["select.subset".into()],
    };
    let mut draws = Draws::new(1, "shares");
    let scorers = ["perplexity", "el2n", "entropy", "image_grounding"];
    let mut share = |cluster: usize| Share {
        cluster: Some(cluster),
        size: 20 + draws.below(400),
        budget: 50,
        chosen: 50,
        scorer: Some(scorers[draws.below(4)].to_string()),
        entropies: Default::default(),
    };
    let steps = (0..5).map(|_| (0..8).map(&mut share).collect()).collect();
    let choices = Choices { arm: Some("Adapt-∞".into()), moments: moments(false), steps };
    let runs = histories(&[ARMS[0], ARMS[1], ARMS[3]]);
    let mut spec = spec(FigureKind::Skills(skills.clone()));
    spec.arms = vec!["Adapt-∞".into(), "Random replay".into()];
    draw::skills(&spec, &skills, "Relative gain by skill (a toy suite)", &runs, &[choices]).unwrap()
}

fn clusters_figure(swept: bool, map: Projection) -> Figure {
    let clusters = Clusters {
        clusters: "cluster.clusters".into(),
        pool: "ingest.pool".into(),
        vectors: Some("gradient.gradient".into()),
        step: None,
        sweep: None,
        map,
        points: 300,
    };
    let arms = ["gradient, first layer", "gradient, middle layer", "hidden, middle layer", "hidden, last layer"];
    let one = |(place, arm): (usize, &&str)| {
        let mut draws = Draws::new(place as u64, "vectors");
        let mut vectors = Vectors { ids: Vec::new(), dimensions: 6, values: Vec::new() };
        let mut of = Vec::new();
        for sample in 0..300 {
            let mut row = [0.0f32; 6];
            row.iter_mut().for_each(|value| *value = draws.below(1000) as f32 / 1000.0);
            row[sample % 6] += 1.6 - 0.4 * place as f32;
            vectors.ids.push(sample.to_string());
            vectors.values.extend(row);
            of.push(SKILLS[sample % 6].to_string());
        }
        let good = 0.9 - 0.2 * place as f64;
        let tried = |clusters: usize| Tried {
            clusters,
            within_sum_of_squares: 100.0 * (clusters as f64).powf(-0.15 - 0.1 * good),
        };
        Clustering {
            arm: Some(arm.to_string()),
            clusters: 10,
            within: tried(10).within_sum_of_squares,
            between: 100.0 - tried(10).within_sum_of_squares,
            sweep: if swept { [2, 5, 10, 20, 50].map(tried).to_vec() } else { Vec::new() },
            agreement: Agreement {
                normalised_mutual_information: good,
                adjusted_rand_index: good * good,
                purity: 0.1 + good,
            },
            skills: 6,
            sampled: Some((vectors, of)),
        }
    };
    let found: Vec<Clustering> = arms.iter().enumerate().map(one).collect();
    let spec = spec(FigureKind::Clusters(clusters.clone()));
    draw::clusters(&spec, &clusters, "Pseudo-task clusters (a toy suite)", &found).unwrap()
}

fn scatter_figure() -> Figure {
    let table: TableSpec =
        serde_yaml::from_str("{name: t, rows: arm, metrics: [e.m], columns: [a.b.seconds, average_accuracy]}").unwrap();
    let runs: Vec<Run> = [
        ("Sequential", 12.0, 31.0),
        ("Random replay", 14.0, 45.0),
        ("Perplexity (CCS)", 60.0, 46.0),
        ("EL2N (CCS)", 61.0, 45.5),
        ("COINCIDE", 170.0, 51.0),
        ("LITE-Adapt-∞", 65.0, 52.5),
        ("Adapt-∞", 320.0, 54.0),
        ("Multi-task", 150.0, 58.0),
    ]
    .iter()
    .flat_map(|(arm, seconds, result)| {
        (0..3).map(move |seed| Run {
            arm: Some(arm.to_string()),
            seed: Some(seed),
            steps: vec![metrics(&[result + seed as f64; 6])],
            values: [("a.b.seconds".to_string(), seconds * (1.0 + 0.02 * seed as f64))].into(),
            ..Run::default()
        })
    })
    .collect();
    let table_of = Table::build(&table, "What quality costs (a toy suite)", &runs).unwrap();
    draw::scatter(&spec(FigureKind::Scatter(Scatter { table })), &table_of).unwrap()
}

fn image(shade: u8) -> Picture {
    let pixel = |x: u32, y: u32| image::Rgb([shade, (x * 10) as u8, (y * 10) as u8]);
    let image = image::DynamicImage::from(image::RgbImage::from_fn(24, 24, pixel));
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    Picture { media: "image/png", bytes, size: (24, 24) }
}

fn told() -> Vec<Told> {
    let questions = [
        ("colour/1", "What is the colour of the thing in the upper left corner?", "red"),
        ("chinese/1", "这是什么颜色？", "红色"),
        ("count/1", "How many things are in these two images together?", "five"),
        ("colour/2", "Same for everybody?", "yes"),
    ];
    let answer = |arm: usize, step: usize, number: usize, (id, question, expected): (&str, &str, &str)| {
        let right = number != 3 && (arm * 2 + step + number) % 3 != 0 || step == 0;
        let wrong = ["green", "绿色", "there are four of them as far as one can see", "yes"][number];
        Answer {
            benchmark: id.split('/').next().unwrap().to_string(),
            id: id.to_string(),
            question: format!("<image>\n{question}"),
            expected: expected.to_string(),
            answered: Some(if right { expected } else { wrong }.to_string()),
            read_as: None,
            score: if number == 3 || right { 1.0 } else { 0.0 },
        }
    };
    let arm = |(place, name): (usize, &str)| Told {
        arm: Some(name.to_string()),
        moments: moments(true),
        steps: (0..6)
            .map(|step| questions.iter().enumerate().map(|(n, question)| answer(place, step, n, *question)).collect())
            .collect(),
    };
    ["Sequential", "Random replay", "Adapt-∞"].into_iter().enumerate().map(arm).collect()
}

fn suite_skills() -> BTreeMap<String, String> {
    [("colour", "attribute"), ("chinese", "multilingual"), ("count", "counting")]
        .map(|(benchmark, skill)| (benchmark.to_string(), skill.to_string()))
        .into()
}

fn gallery(skills: Shown, questions: usize) -> Gallery {
    Gallery { answers: vec!["evaluate.answers".into()], skills, start: Some("llava".into()), questions, pictured: 3 }
}

fn gallery_figure() -> Figure {
    let gallery = gallery(Shown::Mean, 4);
    let spec = spec(FigureKind::Gallery(gallery.clone()));
    let told = told();
    let chosen = choose(&spec, &gallery, &told, &suite_skills()).unwrap();
    let asked: Vec<Asked> = chosen
        .iter()
        .map(|id| {
            let answer = told[0].steps[0].iter().find(|answer| answer.id == *id).unwrap();
            Asked {
                id: id.clone(),
                skill: suite_skills()[&answer.benchmark].clone(),
                question: answer.question.replace("<image>", "").trim().to_string(),
                expected: answer.expected.clone(),
                images: if id == "count/1" { vec![image(200), image(20)] } else { vec![image(90)] },
            }
        })
        .collect();
    draw::gallery(&spec, &gallery, "Answers over time (a toy suite)", &told, &asked).unwrap()
}

#[test]
fn dump() {
    let Ok(folder) = std::env::var("DUMP_FIGURES") else { return };
    let figures = [
        ("lines-mean", lines_figure(Shown::Mean, Value::Accuracy)),
        ("lines-one", lines_figure(Shown::Named(vec!["multilingual".into()]), Value::Accuracy)),
        ("lines-all", lines_figure(Shown::All, Value::RelativeGain)),
        (
            "lines-four",
            lines_figure(Shown::Named(SKILLS[..5].iter().map(|s| s.to_string()).collect()), Value::Accuracy),
        ),
        ("skills", skills_figure()),
        ("clusters-sweep", clusters_figure(true, Projection::Pca)),
        ("clusters", clusters_figure(false, Projection::Tsne)),
        ("scatter", scatter_figure()),
        ("gallery", gallery_figure()),
    ];
    for (name, figure) in figures {
        let write = |end: &str, bytes: &[u8]| std::fs::write(format!("{folder}/{name}.{end}"), bytes).unwrap();
        write("png", &figure.scene.to_png().unwrap());
        write("svg", figure.scene.to_svg().as_bytes());
        write("csv", figure.numbers.to_csv().as_bytes());
        figure.page.inspect(|page| write("html", page.as_bytes()));
    }
}
