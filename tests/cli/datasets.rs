//! Every layout of dataset, ingested one after the other by an experiment into one pool.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use runner::artifact::{Pool, PoolReader};
use serde_json::{Value, json};

use crate::parquet_files::{Cell, Table};
use crate::support::Project;

/// One stage per dataset; the images of half of them lie in their own files.
const EXPERIMENT: &str = "\
title: All datasets
stages:
  llava: {use: ingest, params: {name: llava, path: llava.json, images: images}}
  m3it: {use: ingest, inputs: {pool: llava.pool}, params: {name: m3it, path: m3it}}
  minigpt4: {use: ingest, inputs: {pool: m3it.pool}, params: {name: minigpt4, path: cc/filter_cap.json, images: cc}}
  mantis: {use: ingest, inputs: {pool: minigpt4.pool}, params: {name: mantis, path: mantis.parquet}}
  lamm: {use: ingest, inputs: {pool: mantis.pool}, params: {name: lamm, path: lamm.json, images: images}}
  flan: {use: ingest, inputs: {pool: lamm.pool}, params: {name: flan, path: flan.json, images: images}}
  sharegpt: {use: ingest, inputs: {pool: flan.pool}, params: {name: sharegpt, path: sharegpt.jsonl, format: sharegpt}}
  alpaca: {use: ingest, inputs: {pool: sharegpt.pool}, params: {name: alpaca, path: alpaca.json, limit: 2}}
  some: {use: prune, inputs: {pool: alpaca.pool}, params: {method: random, budget: 9, seed: 0}}
";

const MANTIS: &str = "message m {
    optional group images (list) { repeated group list { optional group element {
        optional binary bytes; optional binary path (string); } } }
    optional group conversation (list) { repeated group list { optional group element {
        optional binary content (string); optional binary role (string); } } }
}";

fn picture(colour: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(3, 3, Rgb(colour)).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn talk(question: &str, answer: &str) -> Value {
    json!([{"from": "human", "value": question}, {"from": "gpt", "value": answer}])
}

/// A project with a small made sample of every layout.
fn project() -> Project {
    let project = Project::of(EXPERIMENT);
    let write = |name: &str, bytes: &[u8]| {
        let path = project.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let text = |name: &str, value: Value| write(name, value.to_string().as_bytes());
    let [red, blue] = [[250, 0, 0], [0, 0, 250]];
    write("images/coco/1.png", &picture(red, ImageFormat::Png));
    write("images/ocr_vqa/2.jpg", &picture(blue, ImageFormat::Gif));
    write("cc/image/7.jpg", &picture(red, ImageFormat::Png));
    text(
        "llava.json",
        json!([
            {"id": "1", "image": "coco/1.png", "conversations": talk("<image>\nWhat?", "Red")},
            {"id": "1", "image": "ocr_vqa/2.jpg", "conversations": talk("What?\n<image>", "Blue")},
            {"id": "2", "image": "ocr_vqa/gone.jpg", "conversations": talk("What?\n<image>", "Gone")},
            {"id": "3", "model": "", "conversations": talk("Hello", "Hi")},
        ]),
    );
    let encoded = |colour| STANDARD.encode(picture(colour, ImageFormat::Png));
    let row = json!({"instruction": "Answer.", "inputs": "What?", "outputs": "Both", "image_base64_str": [encoded(red), encoded(blue)]});
    text("m3it/vqa/gqa/train.jsonl", row);
    text("cc/filter_cap.json", json!({"annotations": [{"image_id": "7", "caption": "A red square."}]}));
    let mut mantis = Table::new(MANTIS, 1);
    for colour in [red, blue] {
        let image = Cell::Group(vec![Cell::Bytes(picture(colour, ImageFormat::Png)), Cell::Null]);
        let says = |role: &str, text: &str| Cell::Group(vec![Cell::text(text), Cell::text(role)]);
        let conversation = vec![says("user", "Are <image> and <image> alike?"), says("assistant", "Yes")];
        mantis.row(vec![Cell::List(vec![image.clone(), image]), Cell::List(conversation)]);
    }
    mantis.write(&project.path().join("mantis.parquet"));
    text(
        "lamm.json",
        json!([{"id": "0", "image": "coco/1.png", "task_type": "detection", "conversations": talk("Where?", "[0.1, 0.2]")}]),
    );
    text(
        "flan.json",
        json!([{"image": "coco/1.png", "task_name": "VQA", "conversations": talk("<image> What?", "Red")}]),
    );
    text("sharegpt.jsonl", json!({"conversations": talk("Hello", "Hi")}));
    let alpaca = |number: usize| json!({"instruction": "Count.", "input": "", "output": number.to_string()});
    text("alpaca.json", (0..6).map(alpaca).collect());
    project
}

/// Where the result of a stage is.
fn result(project: &Project, stage: &str) -> PathBuf {
    let shown = project.output(&["show", stage]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    let place = shown.lines().map(str::trim).find(|line| line.contains(".runner/store"));
    project.path().join(place.unwrap_or_else(|| panic!("{shown}")))
}

fn colours(pool: &Pool, roots: &[PathBuf], id: &str) -> Vec<[u8; 3]> {
    let sample = pool.samples.iter().find(|sample| sample.id == id).unwrap();
    sample.images.iter().map(|image| image.place(roots).decode().unwrap().get_pixel(1, 1).0).collect()
}

#[test]
fn one_of_each_dataset_joins_one_pool_with_its_images_where_they_are() {
    let project = project();
    let told = project.run(&["exec", "e.yaml", "--jobs", "1"]);
    assert!(told.starts_with("exit 0"), "{told}");
    assert!(told.contains("dataset `llava`: dropped 1 sample: image is missing (row 2, line 1)"), "{told}");

    let directory = result(&project, "alpaca");
    let head: Value = serde_json::from_slice(&fs::read(directory.join("pool.json")).unwrap()).unwrap();
    assert_eq!(head["samples"], 12);
    assert_eq!(
        head["samples_by_source"],
        json!({
            "alpaca": {"text": 2}, "flan": {"VQA": 1}, "lamm": {"coco": 1}, "llava": {"coco": 1, "ocr_vqa": 1, "text": 1},
            "m3it": {"gqa": 1}, "mantis": {"images": 2}, "minigpt4": {"image": 1}, "sharegpt": {"text": 1}
        })
    );
    assert_eq!(head["samples_by_skill"], json!({"detection": 1, "vqa": 1}));

    let pool = Pool::read(&directory).unwrap();
    let ids: Vec<&str> = pool.samples.iter().map(|sample| sample.id.as_str()).collect();
    assert_eq!(ids[..8], ["llava/0", "llava/1", "llava/3", "m3it/0", "minigpt4/0", "mantis/0", "mantis/1", "lamm/0"]);
    // In the order in which the pool met them: folders of images, and files with images inside.
    let roots = ["images", "m3it", "cc", "mantis.parquet"].map(|name| project.path().join(name));
    assert_eq!(pool.roots.len(), roots.len());
    let [red, blue] = [[250, 0, 0], [0, 0, 250]];
    for (id, expected) in [
        ("llava/1", vec![blue]),
        ("m3it/0", vec![red, blue]),
        ("minigpt4/0", vec![red]),
        ("mantis/1", vec![blue, blue]),
        ("flan/0", vec![red]),
        ("alpaca/1", vec![]),
    ] {
        if ids.contains(&id) {
            assert_eq!(colours(&pool, &roots, id), expected, "{id}");
        }
    }
    let some = PoolReader::open(&result(&project, "some")).unwrap();
    assert_eq!((some.len(), some.roots(), some.samples().unwrap().count()), (9, pool.roots.as_slice(), 9));
}

#[test]
fn a_second_run_knows_the_datasets_and_a_changed_one_is_read_again() {
    let project = project();
    project.run(&["exec", "e.yaml", "--jobs", "1"]);
    assert!(project.run(&["exec", "e.yaml"]).contains("done e: 9 fresh"));
    let lines: &Path = &project.path().join("m3it/vqa/gqa/train.jsonl");
    let longer = format!("{0}\n{0}\n", fs::read_to_string(lines).unwrap());
    fs::write(lines, longer).unwrap();
    let told = project.run(&["plan", "e.yaml"]);
    assert!(told.contains("param `path` changed") && told.contains("1 to run"), "{told}");
}
