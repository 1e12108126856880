//! `runner export`: what was chosen, as anyone's trainer reads it.

use insta::assert_snapshot;
use serde_json::Value;

use crate::parquet_files::{Cell, Table};
use crate::support::Project;

const EXPERIMENT: &str = "\
stages:
  data: {use: ingest, params: {name: own, path: data.json, images: pictures}}
  pick: {use: select, inputs: {pool: data.pool}, params: {budget: 4, allocation: whole, sampler: random, seed: 1}}
  model: {use: train, inputs: {data: pick.subset}}
";

/// Ids that repeat, a number for an id, none at all; no image, one, several, one in a folder.
const DATA: &str = r#"[
{"id": "a-1", "image": "one.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}, {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "是的"}]},
{"id": 17, "image": ["one.png", "deep/two.png"], "conversations": [{"from": "human", "value": "<image> or <image>?"}, {"from": "gpt", "value": "Both"}]},
{"id": "a-1", "model": "", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "She."}]},
{"image": "deep/two.png", "conversations": [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": "Here"}]},
{"id": "gone", "image": "missing.png", "conversations": [{"from": "human", "value": "When?"}, {"from": "gpt", "value": "Now"}]}
]"#;

fn project() -> Project {
    let project = Project::of(EXPERIMENT).write("data.json", DATA).write("pictures/deep/note", "");
    for picture in ["pictures/one.png", "pictures/deep/two.png"] {
        image::RgbImage::new(2, 2).save(project.path().join(picture)).unwrap();
    }
    project
}

fn finished() -> Project {
    let project = project();
    assert!(project.output(&["exec", "e.yaml", "--only", "pick"]).status.success());
    project
}

#[test]
fn samples_come_out_as_they_went_in() {
    assert_snapshot!(finished().run(&["export", "e.yaml", "data", "--to", "-"]), @r#"
    exit 0
    --- stdout
    [
    {"id":"a-1","image":"one.png","conversations":[{"from":"human","value":"<image>\nWhat?"},{"from":"gpt","value":"A cat."},{"from":"human","value":"Sure?"},{"from":"gpt","value":"是的"}]},
    {"id":17,"image":["one.png","deep/two.png"],"conversations":[{"from":"human","value":"<image> or <image>?"},{"from":"gpt","value":"Both"}]},
    {"id":"a-1","conversations":[{"from":"human","value":"Who?"},{"from":"gpt","value":"She."}]},
    {"id":"own/3","image":"deep/two.png","conversations":[{"from":"human","value":"<image>\nWhere?"},{"from":"gpt","value":"Here"}]}
    ]
    --- stderr
    exported 4 samples of `data`
    "#);
}

#[test]
fn the_order_is_the_datasets_and_every_id_survives() {
    let project = finished();
    assert_snapshot!(project.run(&["export", "e.yaml", "pick", "--to", "best.json"]), @r#"
    exit 0
    --- stderr
    exported 4 samples of `pick` to `best.json`
    "#);
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(project.path().join("best.json")).unwrap()).unwrap();
    let ids: Vec<String> = written.as_array().unwrap().iter().map(|sample| sample["id"].to_string()).collect();
    assert_eq!(ids, ["\"a-1\"", "17", "\"a-1\"", "\"own/3\""]);

    // What was exported can be ingested again.
    let again =
        "stages: {data: {use: ingest, params: {name: own, path: best.json, images: pictures, on_problem: refuse}}}\n";
    let project = project.write("again.yaml", again);
    assert!(project.output(&["exec", "again.yaml"]).status.success());
    let (first, second) = (["export", "e.yaml", "pick"], ["export", "again.yaml", "data"]);
    let export = |words: [&str; 3]| project.output(&[&words[..], &["--to", "-"]].concat()).stdout;
    assert_eq!(String::from_utf8(export(first)).unwrap(), String::from_utf8(export(second)).unwrap());
}

#[test]
fn choices_are_added_on_request() {
    let project = finished();
    let lines = ["--to", "-", "--format", "jsonl", "--with-choices"];
    let told = project.json(&[&["export", "e.yaml", "pick"], &lines[..]].concat());
    assert_eq!((told.len(), &told[1]["sample"], &told[1]["id"]), (4, &"own/1".into(), &17.into()));
    assert_snapshot!(project.run(&[&["export", "e.yaml", "data"], &lines[..]].concat()), @r#"
    exit 2
    --- stderr
    error: `data` chose nothing: there are no clusters and no scores to add
    hint: leave `--with-choices` out, or export a stage of the kind `select`
    "#);
}

#[test]
fn only_finished_stages_with_samples_can_be_exported() {
    let project = project();
    let to = ["--to", "best.json"];
    let change = ["--set", "pick.budget=2", "--set", "data.name=their own"];
    assert_snapshot!(project.run(&[&["export", "e.yaml", "pick"], &to[..], &change].concat()), @r#"
    exit 2
    --- stderr
    error: `pick` is not finished, so it has no samples to export
    hint: `runner exec e.yaml --set pick.budget=2 --set 'data.name=their own' --only 'pick'` runs it
    "#);
    assert_snapshot!(project.run(&[&["export", "e.yaml", "model"], &to[..]].concat()), @r#"
    exit 2
    --- stderr
    error: `model` makes `checkpoint` and `curve`, no samples
    hint: samples are made by `data` and `pick`
    "#);
    let project = finished();
    assert_snapshot!(project.run(&["export", "e.yaml", "pick", "--to", "no/such/folder.json"]), @r#"
    exit 2
    --- stderr
    error: there is no folder `no/such`
    hint: make it, or name another file
    "#);
    assert!(!project.path().join("best.json").exists());
}

#[test]
fn samples_of_several_datasets_name_theirs() {
    let project = project().write(
        "two.yaml",
        "stages:\n  one: {use: ingest, params: {name: one, path: data.json, images: pictures}}\n  \
         two: {use: ingest, inputs: {pool: one.pool}, params: {name: two, path: data.json, images: pictures, limit: 1}}\n",
    );
    assert!(project.output(&["exec", "two.yaml"]).status.success());
    assert_snapshot!(project.run(&["export", "two.yaml", "two", "--to", "-", "--format", "jsonl"]), @r#"
    exit 0
    --- stdout
    {"id":"a-1","image":"one.png","conversations":[{"from":"human","value":"<image>\nWhat?"},{"from":"gpt","value":"A cat."},{"from":"human","value":"Sure?"},{"from":"gpt","value":"是的"}],"dataset":"one"}
    {"id":17,"image":["one.png","deep/two.png"],"conversations":[{"from":"human","value":"<image> or <image>?"},{"from":"gpt","value":"Both"}],"dataset":"one"}
    {"id":"a-1","conversations":[{"from":"human","value":"Who?"},{"from":"gpt","value":"She."}],"dataset":"one"}
    {"id":"one/3","image":"deep/two.png","conversations":[{"from":"human","value":"<image>\nWhere?"},{"from":"gpt","value":"Here"}],"dataset":"one"}
    {"id":"two/3","image":"deep/two.png","conversations":[{"from":"human","value":"<image>\nWhere?"},{"from":"gpt","value":"Here"}],"dataset":"two"}
    --- stderr
    exported 5 samples of `two`
    note: the samples are of `one` and `two`: each names its own, and its image paths are relative to that dataset's folder
    "#);
}

/// A dataset with images in files and one with images in the cells of a table.
fn with_images_inside() -> Project {
    let mut table = Table::new(
        "message m {
            required binary id (string);
            optional group images (list) { repeated group list { optional group element { optional binary bytes; } } }
            required group conversation (list) { repeated group list { optional group element {
                required binary role (string); required binary content (string); } } }
        }",
        1,
    );
    for (id, side) in [("first", 3), ("second", 5)] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(side, side).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let pictures = Cell::List(vec![Cell::Group(vec![Cell::Bytes(bytes.into_inner())])]);
        let message = |role: &str, text: &str| Cell::Group(vec![Cell::text(role), Cell::text(text)]);
        let conversation = Cell::List(vec![message("user", "How large is it?"), message("assistant", id)]);
        table.row(vec![Cell::text(id), pictures, conversation]);
    }
    let project = project().write(
        "two.yaml",
        "stages:\n  one: {use: ingest, params: {name: one, path: data.json, images: pictures}}\n  \
         two: {use: ingest, inputs: {pool: one.pool}, params: {name: two, path: cells.parquet}}\n",
    );
    table.write(&project.path().join("cells.parquet"));
    project
}

#[test]
fn images_are_brought_to_a_folder_and_can_be_ingested_from_there() {
    let project = with_images_inside();
    assert!(project.output(&["exec", "two.yaml"]).status.success());
    assert_snapshot!(project.run(&["export", "two.yaml", "two", "--to", "all.json"]), @"
    exit 1
    --- stderr
    error: cannot write `all.json`: an image of sample `two/0` is inside a file of `two`, and LLaVA-style JSON can only name image files
    hint: `--images FOLDER` writes such images to a folder, and the samples then name them there
    ");
    assert!(!project.path().join("all.json").exists());

    let export = ["export", "two.yaml", "two", "--to", "all.json", "--images", "brought"];
    assert_snapshot!(project.run(&export), @"
    exit 0
    --- stderr
    exported 6 samples of `two` to `all.json`
    their images are in `brought`, and their paths are relative to it
    ");
    let text = std::fs::read_to_string(project.path().join("all.json")).unwrap();
    let samples: Vec<Value> = serde_json::from_str(&text).unwrap();
    let images: Vec<String> = samples.iter().map(|sample| sample["image"].to_string()).collect();
    assert_snapshot!(images.join("\n"), @r#"
    "one/one.png"
    ["one/one.png","one/deep/two.png"]
    null
    "one/deep/two.png"
    "two/cells.parquet/0-0.png"
    "two/cells.parquet/1-0.png"
    "#);
    let side = |name: &str| image::open(project.path().join("brought").join(name)).unwrap().width();
    assert_eq!((side("one/one.png"), side("two/cells.parquet/1-0.png")), (2, 5));

    // Done again, it finds everything in its place.
    assert!(project.output(&export).status.success());
    assert_eq!(std::fs::read_to_string(project.path().join("all.json")).unwrap(), text);
    let again =
        "stages: {data: {use: ingest, params: {name: again, path: all.json, images: brought, on_problem: refuse}}}\n";
    let project = project.write("again.yaml", again);
    assert!(project.output(&["exec", "again.yaml"]).status.success());

    std::fs::write(project.path().join("brought/two/cells.parquet/1-0.png"), "another").unwrap();
    assert_snapshot!(project.run(&export), @"
    exit 1
    --- stderr
    error: cannot write `all.json`: `brought/two/cells.parquet/1-0.png` is there already, and is another image
    hint: name a new folder for the images
    ");
}
