//! Each layout as it is published, with its oddities, in small made samples.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use super::*;
use crate::images::testing::{Cell, Table};

/// A folder for datasets and images.
struct Ground(tempfile::TempDir);

/// The samples of a dataset, and what was dropped.
type Outcome = (Vec<Sample>, Vec<Drop>);

impl Ground {
    fn new() -> Ground {
        Ground(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn lines(&self, name: &str, rows: &[Value]) -> PathBuf {
        self.write(name, rows.iter().map(|row| format!("{row}\n")).collect::<String>())
    }

    fn source<'a>(&self, path: &'a Path, images: Option<&'a Path>) -> Source<'a> {
        let (on_problem, check) = (OnProblem::Drop, Check::Header);
        Source { name: "d", path, images, format: None, on_problem, check, min_side: 1, seed: 0 }
    }

    fn read(&self, path: &str, images: Option<&str>) -> Outcome {
        let (path, images) = (self.path(path), images.map(|images| self.path(images)));
        read_all(&self.source(&path, images.as_deref()))
    }

    /// What is said of a dataset that is refused, without the folder's name.
    fn refusal(&self, path: &str) -> String {
        let path = self.path(path);
        let problem = stream(&self.source(&path, None), |_| Ok(())).unwrap_err();
        format!("{problem:#}").replace(&format!("{}/", self.0.path().display()), "")
    }

    /// The colours of a sample's images, read from where they are.
    fn colours(&self, sample: &Sample, images: &str, path: &str) -> Vec<[u8; 3]> {
        let roots = [self.path(images), self.path(path)];
        sample.images.iter().map(|image| image.place(&roots).decode().unwrap().get_pixel(0, 0).0).collect()
    }
}

fn read_all(source: &Source<'_>) -> Outcome {
    let mut samples = Vec::new();
    let drops = stream(source, |mut arrivals| {
        assert!(arrivals.read <= arrivals.total);
        samples.append(&mut arrivals.samples);
        Ok(())
    });
    (samples, drops.unwrap())
}

fn picture(colour: [u8; 3], side: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(side, side, Rgb(colour)).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

fn png(colour: [u8; 3]) -> Vec<u8> {
    picture(colour, 4, ImageFormat::Png)
}

fn questions(samples: &[Sample]) -> Vec<&str> {
    samples.iter().map(|sample| sample.turns[0].question.as_str()).collect()
}

fn told(drops: &[Drop]) -> Vec<String> {
    drops.iter().map(describe).collect()
}

fn talk(question: &str, answer: &str) -> Value {
    json!([{"from": "human", "value": question}, {"from": "gpt", "value": answer}])
}

#[test]
fn llava_json_is_the_same_as_a_list_or_as_lines_and_its_sources_are_folders() {
    let ground = Ground::new();
    ground.write("images/coco/train2017/1.jpg", picture(RED, 40, ImageFormat::Jpeg));
    // Some 900 images of OCR-VQA are GIFs that are named .jpg.
    ground.write("images/ocr_vqa/images/2.jpg", picture(BLUE, 4, ImageFormat::Gif));
    let rows = [
        json!({"id": "000000033471", "image": "coco/train2017/1.jpg", "conversations": talk("<image>\nWhat?", "A bus.")}),
        json!({"id": "000000033471", "image": "ocr_vqa/images/2.jpg", "conversations": talk("Who wrote it?\n<image>", "Me")}),
        json!({"id": "wgByO4Y_0", "model": "", "conversations": talk("Is \"this\" \\ text?", "Yes – ja.")}),
        json!({"id": "x", "image": "vg/VG_100K/3.jpg", "conversations": talk("<image>\nWhere?", "There")}),
    ];
    ground.write("list.json", serde_json::to_string_pretty(&rows).unwrap());
    ground.lines("lines.jsonl", &rows);
    let (samples, drops) = ground.read("list.json", Some("images"));
    let sources: Vec<&str> = samples.iter().map(Sample::source).collect();
    assert_eq!(sources, ["coco", "ocr_vqa", "text"]);
    let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
    assert_eq!(ids, ["d/0", "d/1", "d/2"], "ids of the file repeat, rows do not");
    assert_eq!(questions(&samples), ["<image>\nWhat?", "<image>\nWho wrote it?", "Is \"this\" \\ text?"]);
    assert_eq!(ground.colours(&samples[1], "images", "list.json"), [BLUE]);
    assert_eq!(told(&drops), ["1 sample: image is missing (row 3, line 44)"]);
    let (others, drops) = ground.read("lines.jsonl", Some("images"));
    assert_eq!(others, samples);
    assert_eq!(told(&drops), ["1 sample: image is missing (row 3, line 4)"]);
}

#[test]
fn images_of_m3it_stay_in_base64_where_they_are() {
    let ground = Ground::new();
    let row = |number: usize, images: &[[u8; 3]]| {
        let images: Vec<String> = images.iter().map(|colour| STANDARD.encode(png(*colour))).collect();
        json!({"instruction": "Answer the question.", "inputs": format!("What is {number}?"), "outputs": "It is.",
            "image_base64_str": images, "meta": {"id": number}})
    };
    let mut single = row(1, &[]);
    single["image_base64_str"] = json!(STANDARD.encode(png(BLUE)));
    single["inputs"] = json!("");
    let mut broken = row(2, &[RED]);
    broken["image_base64_str"] = json!(["bm8gaW1hZ2U="]);
    ground.lines("m3it/vqa/gqa/train.jsonl", &[row(0, &[RED])]);
    // A video is several images; the authors' converter gave it one mark.
    ground.lines("m3it/video/msvd/train.jsonl", &[row(0, &[RED, BLUE, RED]), single, broken]);
    let (samples, drops) = ground.read("m3it", None);
    assert_eq!(
        questions(&samples),
        [
            "<image>\n<image>\n<image>\nAnswer the question.\nWhat is 0?",
            "<image>\nAnswer the question.",
            "<image>\nAnswer the question.\nWhat is 0?"
        ]
    );
    assert_eq!(ground.colours(&samples[0], "m3it", "m3it"), [RED, BLUE, RED]);
    assert_eq!(ground.colours(&samples[1], "m3it", "m3it"), [BLUE]);
    let parts: Vec<(&str, Option<&str>)> =
        samples.iter().map(|sample| (sample.source(), sample.skill.as_deref())).collect();
    assert_eq!(parts, [("msvd", Some("video")), ("msvd", Some("video")), ("gqa", Some("vqa"))]);
    assert_eq!(samples[2].id, "d/3", "rows are counted over all files");
    assert_eq!(told(&drops), ["1 sample: image is unreadable (row 2, line 3 of `video/msvd/train.jsonl`)"]);
}

#[test]
fn the_parquet_mirror_of_m3it_gives_the_same_samples() {
    let ground = Ground::new();
    let mut table = Table::new(
        "message m { optional binary instruction (string); optional binary inputs (string);
           optional group image_base64_str (list) { repeated group list { optional binary element (string); } }
           optional binary outputs (string); optional binary unused (string); }",
        2,
    );
    let text = |colour| Cell::text(&STANDARD.encode(png(colour)));
    for images in [vec![text(RED)], vec![], vec![text(BLUE), text(RED)]] {
        let texts = ["Say it.", "What?"].map(Cell::text);
        let [instruction, input] = texts;
        table.row(vec![instruction, input, Cell::List(images), Cell::text("That"), Cell::Null]);
    }
    table.zstd().write(&ground.path("gqa/train.parquet"));
    let (samples, drops) = ground.read("gqa/train.parquet", None);
    assert!(drops.is_empty());
    assert_eq!(questions(&samples), ["<image>\nSay it.\nWhat?", "Say it.\nWhat?", "<image>\n<image>\nSay it.\nWhat?"]);
    assert_eq!(ground.colours(&samples[2], "", "gqa/train.parquet"), [BLUE, RED]);
    assert_eq!(
        serde_json::to_string(&samples[2].images[1]).unwrap(),
        r#"{"root":1,"path":"","part":{"cell":{"row":2,"image":1}}}"#
    );
}

#[test]
fn captions_of_minigpt4_get_a_question_drawn_by_the_seed() {
    let ground = Ground::new();
    ground.write("cc_sbu_align/image/2.jpg", picture(RED, 20, ImageFormat::Jpeg));
    let rows: Vec<Value> = (0..40)
        .map(|number| json!({"image_id": if number % 2 == 0 { json!("2") } else { json!(2) }, "caption": format!("Thing {number}.")}))
        .chain([json!({"image_id": "3", "caption": "Gone."}), json!({"image_id": "2", "caption": ""})])
        .collect();
    let file = ground.write("cc_sbu_align/filter_cap.json", json!({"annotations": rows}).to_string());
    let folder = ground.path("cc_sbu_align");
    let (samples, drops) = ground.read("cc_sbu_align/filter_cap.json", Some("cc_sbu_align"));
    assert_eq!((samples.len(), samples[1].images[0].path.as_str()), (40, "image/2.jpg"));
    assert_eq!(
        told(&drops),
        ["1 sample: image is missing (row 40, line 1)", "1 sample: answer is empty (row 41, line 1)"]
    );
    let different: std::collections::BTreeSet<&str> = questions(&samples).into_iter().collect();
    assert!((4..=8).contains(&different.len()), "{different:?}");
    assert!(different.iter().all(|question| question.starts_with("<image>\n")));
    assert_eq!(read_all(&ground.source(&file, Some(&folder))).0, samples);
    let other = read_all(&Source { seed: 1, ..ground.source(&file, Some(&folder)) }).0;
    assert_ne!(questions(&other), questions(&samples));
    // The folder of images may be named directly.
    let (same, _) = ground.read("cc_sbu_align/filter_cap.json", Some("cc_sbu_align/image"));
    assert_eq!((same.len(), same[0].images[0].path.as_str()), (40, "2.jpg"));
}

const MANTIS: &str = "message m { optional binary id (string);
    optional group images (list) { repeated group list { optional group element {
        optional binary bytes; optional binary path (string); } } }
    optional group conversation (list) { repeated group list { optional group element {
        optional binary content (string); optional binary role (string); } } }
    optional binary source (string); }";

#[test]
fn mantis_has_several_images_in_cells_or_in_files() {
    let ground = Ground::new();
    ground.write("mantis/pictures/b.png", png(BLUE));
    let inside = |colour| Cell::Group(vec![Cell::Bytes(png(colour)), Cell::Null]);
    let file = |path: &str| Cell::Group(vec![Cell::Null, Cell::text(path)]);
    let message = |role: &str, text: &str| Cell::Group(vec![Cell::text(text), Cell::text(role)]);
    let talk = |question: &str| Cell::List(vec![message("user", question), message("assistant", "Yes.")]);
    let mut table = Table::new(MANTIS, 2);
    for (images, question) in [
        (vec![inside(RED), inside(BLUE)], "Is <image> left of <image>?"),
        (vec![inside(RED), file("pictures/b.png")], "Are they alike?"),
        (vec![inside(RED)], "Is it <image> red? <image>"),
        (vec![inside(RED), Cell::Null], "<image> <image>"),
        (vec![], "Is this a text?"),
    ] {
        table.row(vec![Cell::Null, Cell::List(images), talk(question), Cell::Null]);
    }
    table.write(&ground.path("mantis/nlvr2/train-0.parquet"));
    let (samples, drops) = ground.read("mantis", None);
    assert_eq!(
        questions(&samples),
        ["Is <image> left of <image>?", "<image>\n<image>\nAre they alike?", "Is this a text?"]
    );
    assert_eq!(ground.colours(&samples[0], "mantis", "mantis"), [RED, BLUE]);
    assert_eq!(ground.colours(&samples[1], "mantis", "mantis"), [RED, BLUE]);
    assert!(samples.iter().all(|sample| sample.source() == "nlvr2"));
    assert_eq!(
        told(&drops),
        [
            "1 sample: image marks and images differ in number (row 2 of `nlvr2/train-0.parquet`)",
            "1 sample: image is missing (row 3 of `nlvr2/train-0.parquet`)"
        ]
    );

    let rows = [json!({"id": "1", "images": [{"bytes": null, "path": "pictures/b.png"}, "pictures/b.png"],
        "conversation": [{"role": "user", "content": "<image> <image>?"}, {"role": "assistant", "content": "No"}]})];
    ground.lines("mantis.jsonl", &rows);
    let (samples, _) = ground.read("mantis.jsonl", Some("mantis"));
    assert_eq!(ground.colours(&samples[0], "mantis", "mantis.jsonl"), [BLUE, BLUE]);
}

#[test]
fn a_sequence_of_dictionaries_is_a_conversation_too() {
    let ground = Ground::new();
    let list = "(list) { repeated group list { optional binary element (string); } }";
    let schema = format!(
        "message m {{ optional group conversation {{ optional group role {list} optional group content {list} }}
           optional group image {{ optional binary bytes; optional binary path (string); }} }}"
    );
    let mut table = Table::new(&schema, 10);
    let texts = |texts: [&str; 2]| Cell::List(texts.map(Cell::text).to_vec());
    let talk = Cell::Group(vec![texts(["user", "assistant"]), texts(["What?", "That"])]);
    table.row(vec![talk, Cell::Group(vec![Cell::Bytes(png(RED)), Cell::text("a.png")])]);
    table.write(&ground.path("data.parquet"));
    let (samples, _) = ground.read("data.parquet", None);
    assert_eq!(questions(&samples), ["<image>\nWhat?"]);
    assert_eq!(ground.colours(&samples[0], "", "data.parquet"), [RED]);
}

#[test]
fn lamm_names_tasks_and_image_roots_and_leaves_out_marks() {
    let ground = Ground::new();
    ground.write("2D/coco_images/1.png", png(RED));
    ground.write("2D/locount_images/2.png", png(BLUE));
    let rows = json!([
        {"id": "0", "image": "coco_images/1.png", "task_type": "conversation",
            "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A."},
                {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "B."}]},
        {"id": "1", "image": "locount_images/2.png", "task_type": "keypoints_detection",
            "conversations": talk("Where is the left eye?", "At [0.31, 0.52].")},
    ]);
    ground.write("LAMM_instruct_186k.json", rows.to_string());
    let (samples, drops) = ground.read("LAMM_instruct_186k.json", Some("2D"));
    assert!(drops.is_empty());
    assert_eq!(questions(&samples), ["<image>\nWhat?", "<image>\nWhere is the left eye?"]);
    assert_eq!(samples[0].turns[1].question, "Why?");
    assert_eq!(samples[1].turns[0].answer, "At [0.31, 0.52].", "coordinates stay as they are");
    let parts: Vec<_> = samples.iter().map(|sample| (sample.source(), sample.skill.as_deref().unwrap())).collect();
    assert_eq!(parts, [("coco_images", "conversation"), ("locount_images", "keypoints_detection")]);
}

#[test]
fn vision_flan_names_its_tasks_and_has_an_empty_answer() {
    let ground = Ground::new();
    ground.write("images_191task_1k/a.png", png(RED));
    let row = |answer: &str| json!({"id": "a", "image": "a.png", "task_name": "VQA_scene", "conversations": talk("<image>\nWhat?", answer)});
    ground.write("annotation_191-task_1k.json", json!([row("A"), row(" ")]).to_string());
    let (samples, drops) = ground.read("annotation_191-task_1k.json", Some("images_191task_1k"));
    assert_eq!((samples.len(), samples[0].source()), (1, "VQA_scene"));
    assert_eq!(told(&drops), ["1 sample: answer is empty (row 1, line 1)"]);
}

#[test]
fn conversations_of_sharegpt_begin_with_the_system_and_end_with_an_answer() {
    let ground = Ground::new();
    let says = |from: &str, text: &str| json!({"from": from, "value": text});
    let rows = [
        json!({"id": "1", "conversations": [says("system", "Be brief."), says("user", "Hi"), says("assistant", "Ho"), says("user", "Bye")]}),
        json!({"id": "2", "conversations": [says("gpt", "Welcome!"), says("human", "Hi"), says("gpt", "Ho")]}),
        json!({"id": "3", "conversations": [says("human", "Alone")]}),
        json!({"id": "4", "conversations": [says("human", "Hi"), says("human", "Hi?"), says("gpt", "Ho")]}),
    ];
    ground.lines("talk.jsonl", &rows);
    let (samples, drops) = ground.read("talk.jsonl", None);
    assert_eq!(questions(&samples), ["Be brief.\n\nHi", "Hi"]);
    assert!(samples.iter().all(|sample| sample.turns.len() == 1 && sample.source() == "text"));
    assert_eq!(
        told(&drops),
        [
            "1 sample: conversation ends with a question (row 2, line 3)",
            "1 sample: turns are not from `human` and `gpt` in alternation (row 3, line 4)"
        ]
    );
    ground.lines(
        "messages.jsonl",
        &[json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]})],
    );
    assert_eq!(questions(&ground.read("messages.jsonl", None).0), ["Hi"]);
}

#[test]
fn alpaca_has_an_input_or_none() {
    let ground = Ground::new();
    let row = |input: &str, output: &str| json!({"instruction": "Add.", "input": input, "output": output});
    ground.write("alpaca_data.json", json!([row("1 and 2", "3"), row("", "What?"), row("1", "")]).to_string());
    let (samples, drops) = ground.read("alpaca_data.json", None);
    assert_eq!(questions(&samples), ["Add.\n1 and 2", "Add."]);
    assert_eq!(told(&drops), ["1 sample: answer is empty (row 2, line 1)"]);
}

#[test]
fn images_that_are_not_as_they_should_be_follow_the_policy() {
    let ground = Ground::new();
    ground.write("images/tiny.png", picture(RED, 1, ImageFormat::Png));
    ground.write("images/sound.png", picture(RED, 64, ImageFormat::Png));
    let whole = picture(RED, 64, ImageFormat::Png);
    ground.write("images/cut.png", &whole[..whole.len() - 30]);
    let mut bomb = picture(RED, 1, ImageFormat::Bmp);
    bomb[18..22].copy_from_slice(&60_000i32.to_le_bytes());
    bomb[22..26].copy_from_slice(&60_000i32.to_le_bytes());
    ground.write("images/bomb.png", bomb);
    ground.write("images/text.png", "no image");
    let row = |name: &str| json!({"image": format!("{name}.png"), "conversations": talk("What?", name)});
    let file = ground.lines("data.jsonl", &["sound", "tiny", "cut", "bomb", "text", "gone"].map(row));
    let images = ground.path("images");
    let outcome = |check: Check, min_side: u32| {
        let (samples, drops) = read_all(&Source { check, min_side, ..ground.source(&file, Some(&images)) });
        let kept: Vec<String> = samples.iter().map(|sample| sample.turns[0].answer.clone()).collect();
        let reasons: Vec<String> = drops.iter().map(|drop| format!("{} {}", drop.count, drop.reason)).collect();
        (kept.join(" "), reasons.join(", "))
    };
    let expected = |kept: &str, reasons: &str| (kept.to_string(), reasons.to_string());
    let bad = "1 image is too large to decode, 1 image is unreadable, 1 image is missing";
    assert_eq!(outcome(Check::Header, 1), expected("sound tiny cut", bad));
    assert_eq!(outcome(Check::Header, 2), expected("sound cut", &format!("1 image is smaller than `min_side`, {bad}")));
    let decoded = "2 image is unreadable, 1 image is too large to decode, 1 image is missing";
    assert_eq!(outcome(Check::Decode, 1), expected("sound tiny", decoded));
    assert_eq!(outcome(Check::None, 1), expected("sound tiny cut bomb text gone", ""));
}

#[test]
fn a_dataset_in_no_known_layout_is_refused_with_what_was_seen() {
    let ground = Ground::new();
    ground.write("data.json", r#"[{"question": "What?", "answer": "That"}]"#);
    insta::assert_snapshot!(ground.refusal("data.json"), @r"
    `data.json` is in no known layout: its first row has the keys `question` and `answer`
    hint: these are known, by their keys:
      llava: `conversations`, `image`
      m3it: `instruction`, `inputs`, `outputs`, `image_base64_str`
      minigpt4: `image_id`, `caption` (in the list `annotations`)
      mantis: `images`, `conversation`
      lamm: `image`, `conversations`, `task_type`
      vision_flan: `image`, `conversations`, `task_name`
      sharegpt: `conversations` or `messages`, no image
      alpaca: `instruction`, `input`, `output`
    ");
    let mut table = Table::new("message m { optional binary prompt (string); }", 1);
    table.row(vec![Cell::text("a")]);
    table.write(&ground.path("data.parquet"));
    assert!(
        ground
            .refusal("data.parquet")
            .starts_with("`data.parquet` is in no known layout: it has only the key `prompt`")
    );
    ground.write("cut.parquet", "PAR1 and no more");
    assert!(ground.refusal("cut.parquet").starts_with("cannot read `cut.parquet`: "));
}

#[test]
fn a_layout_can_be_named_and_rows_of_another_are_dropped() {
    let ground = Ground::new();
    let file = ground.lines(
        "mixed.jsonl",
        &[json!({"instruction": "Add.", "output": "1"}), json!({"conversations": talk("a", "b")})],
    );
    let (samples, drops) = read_all(&Source { format: Some(Format::Llava), ..ground.source(&file, None) });
    assert_eq!(samples.len(), 1);
    assert_eq!(told(&drops), ["1 sample: not an object with conversations (row 0, line 1)"]);
    let (samples, drops) = ground.read("mixed.jsonl", None);
    assert_eq!(
        (samples.len(), told(&drops)),
        (1, vec!["1 sample: not an object with an instruction (row 1, line 2)".into()])
    );
}

#[test]
fn a_broken_row_is_told_with_its_file_line_and_column() {
    let ground = Ground::new();
    ground.lines("shards/a.jsonl", &[json!({"conversations": talk("a", "b")})]);
    ground.write("shards/b.jsonl", "{\"conversations\": []}\n{\"conversations\": [], \"x\": tru}\n");
    let refusal = ground.refusal("shards");
    assert_eq!(refusal, "shards/b.jsonl:2:31: not a JSON list of samples or JSON Lines: expected ident");
    ground.write("shards/b.jsonl", "{\"conversations\": []}\n{\"conversations\": ");
    assert!(
        ground.refusal("shards").starts_with("shards/b.jsonl:2:19: not a JSON list"),
        "{}",
        ground.refusal("shards")
    );
}

#[test]
fn a_file_of_many_megabytes_keeps_its_rows_in_order_whatever_the_threads() {
    let ground = Ground::new();
    let rows: Vec<Value> =
        (0..9000).map(|number| json!({"conversations": talk(&"é\n\"x\" ".repeat(90), &number.to_string())})).collect();
    let file = ground.write("big.json", Value::Array(rows).to_string());
    assert!(file.metadata().unwrap().len() > 8 << 20, "more than is read together");
    let answers = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| ground.read("big.json", None).0)
    };
    let samples = answers(1);
    assert!(samples.iter().enumerate().all(|(number, sample)| sample.turns[0].answer == number.to_string()));
    assert_eq!(samples.len(), 9000);
    assert_eq!(answers(3), samples);
}
