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
        part: None,
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
    draw::scatter(&spec(FigureKind::Scatter(Scatter { table: Box::new(table) })), &table_of).unwrap()
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
        let right = number != 3 && !(arm * 2 + step + number).is_multiple_of(3) || step == 0;
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

/// The rows of the CSV that begin so.
fn rows(figure: &Figure, start: &str) -> Vec<String> {
    figure.numbers.to_csv().lines().filter(|line| line.starts_with(start)).map(str::to_string).collect()
}

#[test]
fn every_kind_is_drawn_the_same_again_as_a_picture_with_ink() {
    let make = || {
        [
            lines_figure(Shown::All, Value::RelativeGain),
            skills_figure(),
            clusters_figure(true, Projection::Pca),
            scatter_figure(),
            gallery_figure(),
        ]
    };
    for (figure, again) in make().into_iter().zip(make()) {
        assert_eq!(figure.scene.to_svg(), again.scene.to_svg());
        let page = image::load_from_memory(&figure.scene.to_png().unwrap()).unwrap().to_luma8();
        assert_eq!(f64::from(page.width()), (figure.scene.width * 8.0 / 3.0).ceil());
        let dark = page.pixels().filter(|pixel| pixel.0[0] < 128).count();
        assert!(dark * 200 > page.pixels().len(), "`{}` is nearly empty", figure.kind);
        assert_eq!(figure.numbers.differences(&again.numbers.to_csv()).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn no_word_leaves_its_picture() {
    let figures = [
        lines_figure(Shown::Mean, Value::Accuracy),
        lines_figure(Shown::All, Value::RelativeGain),
        skills_figure(),
        clusters_figure(true, Projection::Pca),
        clusters_figure(false, Projection::Pca),
        scatter_figure(),
        gallery_figure(),
    ];
    for figure in figures {
        for shape in &figure.scene.shapes {
            let scene::Shape::Text(words) = shape else { continue };
            let width = font::width(&words.text, words.size, words.weight);
            let (sin, cos) = words.turn.to_radians().sin_cos();
            for along in [-words.before(), width - words.before()] {
                let [x, y] = [words.at[0] + along * cos, words.at[1] + along * sin];
                let inside = x >= 0.0 && x <= figure.scene.width && y >= 0.0 && y <= figure.scene.height;
                assert!(inside, "`{}` of a figure of {} ends at {x}, {y}", words.text, figure.kind);
            }
        }
    }
}

#[test]
fn lines_are_means_over_seeds_of_means_over_benchmarks() {
    let at = |seed: u64, values: [f64; 2]| History {
        arm: Some("A".into()),
        seed: Some(seed),
        moments: moments(true)[..2].to_vec(),
        steps: values.map(|value| metrics(&[value, 30.0, 30.0, 30.0, 30.0, 30.0])).to_vec(),
    };
    let runs = [at(0, [50.0, 80.0]), at(1, [70.0, 90.0])];
    let lines = lines(Shown::Named(vec!["vqa".into()]), Value::Accuracy);
    let figure = draw::lines(&spec(FigureKind::Lines(lines.clone())), &lines, "A toy", &runs).unwrap();
    assert_eq!(rows(&figure, "vqa"), ["vqa,A,0,llava,60,14.1421,2", "vqa,A,1,m3it,85,7.0711,2"]);
    let lines = Lines { skills: Shown::Named(vec!["vqq".into()]), ..lines };
    let error = draw::lines(&spec(FigureKind::Lines(lines.clone())), &lines, "A toy", &runs).unwrap_err();
    assert_eq!(error.to_string(), "no benchmark has the skill `vqq`; did you mean `vqa`?");
}

#[test]
fn an_arm_that_sees_everything_at_once_is_one_value_beside_those_that_follow_the_sequence() {
    let figure = lines_figure(Shown::Mean, Value::Accuracy);
    assert_eq!(rows(&figure, "mean over skills,Multi-task").len(), 1);
    assert_eq!(rows(&figure, "mean over skills,Adapt-∞").len(), 6);
    let relative = lines_figure(Shown::Named(vec!["grounding".into()]), Value::RelativeGain);
    // Nothing can be better than its own best.
    let of_itself: Vec<f64> = rows(&relative, "grounding,Sequential")
        .iter()
        .map(|row| row.split(',').nth(4).unwrap().parse().unwrap())
        .collect();
    assert!(of_itself.iter().all(|gain| *gain <= 100.0));
}

#[test]
fn the_scorer_of_every_cluster_is_in_the_numbers_and_only_of_arms_with_scorers() {
    let figure = skills_figure();
    assert_eq!(rows(&figure, "scorers,Adapt-∞").len(), 5 * 8);
    assert_eq!(rows(&figure, "scorers").len(), 5 * 8);
    assert_eq!(rows(&figure, "skills,Random replay,vqa").len(), 6);
    assert_eq!(rows(&figure, "skills,Sequential"), Vec::<String>::new());
}

#[test]
fn clusters_are_measured_against_all_variance_and_the_true_skills() {
    // Two pairs of points at distance 2, 10 apart.
    let found = crate::artifact::Clusters {
        ids: ["a", "b", "c", "d"].map(String::from).to_vec(),
        labels: vec![0, 0, 1, 1],
        dimensions: 1,
        centroids: vec![1.0, 11.0],
        within_sum_of_squares: 4.0,
        sweep: None,
    };
    let skill = |id: &str| Some(usize::from(id > "b"));
    let one = Clustering::of(Some("v, cluster.clusters=2".into()), &found, skill);
    assert_eq!((one.clusters, one.between, one.skills), (2, 100.0, 2));
    let mut other = one.clone();
    other.arm = Some("v, cluster.clusters=9".into());
    (other.clusters, other.within, other.between) = (9, 1.0, 103.0);
    other.agreement.purity = 0.5;
    let clusters = Clusters {
        clusters: "c.c".into(),
        pool: "p.p".into(),
        vectors: None,
        step: None,
        sweep: Some("cluster.clusters".into()),
        map: Projection::Pca,
        points: 10,
    };
    let figure =
        draw::clusters(&spec(FigureKind::Clusters(clusters.clone())), &clusters, "A toy", &[one, other]).unwrap();
    // Agreement is that of the number of clusters nearest to the number of skills.
    assert_eq!(
        figure.numbers.to_csv().lines().skip(1).collect::<Vec<_>>(),
        [
            "sum of squares,v,2,within share,0.0385,",
            "sum of squares,v,9,within share,0.0096,",
            "agreement,v,2,NMI,1,",
            "agreement,v,2,ARI,1,",
            "agreement,v,2,purity,1,",
        ]
    );
}

#[test]
fn only_arms_that_no_other_beats_are_on_the_front() {
    let figure = scatter_figure();
    let front: Vec<String> = rows(&figure, "").into_iter().filter(|row| row.ends_with(",yes")).collect();
    let names: Vec<&str> = front.iter().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(names, ["Sequential", "Random replay", "Perplexity (CCS)", "LITE-Adapt-∞", "Multi-task"]);
}

#[test]
fn a_gallery_takes_the_questions_that_tell_most_skill_by_skill() {
    let choose = |skills: Shown, questions: usize| {
        let gallery = gallery(skills, questions);
        choose(&spec(FigureKind::Gallery(gallery.clone())), &gallery, &told(), &suite_skills())
    };
    // The question that everybody answers alike comes last.
    assert_eq!(choose(Shown::Mean, 9).unwrap(), ["colour/1", "count/1", "chinese/1", "colour/2"]);
    assert_eq!(choose(Shown::Named(vec!["multilingual".into()]), 9).unwrap(), ["chinese/1"]);
    assert!(choose(Shown::Named(vec!["multilingul".into()]), 9).is_err());
    let page = gallery_figure().page.unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 5);
    assert!(page.contains("<span aria-label=\"wrong\">✗</span> 绿色"));
    assert!(!page.contains("http"));
    assert_eq!(rows(&gallery_figure(), "Adapt-∞,0"), ["Adapt-∞,0,llava,4,100"]);
}
