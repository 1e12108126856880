//! Every layout as it is published, in small; and what becomes of the replies.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::images::testing::{Cell, Table};

/// A suite on disk.
struct Suite {
    directory: tempfile::TempDir,
    scratch: tempfile::TempDir,
}

impl Suite {
    fn new() -> Suite {
        Suite { directory: tempfile::tempdir().unwrap(), scratch: tempfile::tempdir().unwrap() }
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn lines(&self, file: &str, rows: &[Value]) {
        self.write(file, &rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    }

    fn image(&self, file: &str) {
        let path = self.directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let ending = image::ImageFormat::Png;
        image::RgbImage::new(2, 2).save_with_format(path, ending).unwrap();
    }

    fn read(&self, entry: Value) -> anyhow::Result<Benchmark> {
        let mut all = json!({"name": "b", "skill": "s"});
        all.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        self.write("benchmarks.json", &json!([all]).to_string());
        let entries = entries(self.directory.path())?;
        super::read(self.directory.path(), &entries[0], self.scratch.path())
    }

    /// What reading says of its problem, without the name of the suite's folder.
    fn problem(&self, entry: Value) -> String {
        let error = self.read(entry).expect_err("it has a problem");
        format!("{error:#}").replace(&format!("{}/", self.directory.path().display()), "")
    }

    fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.directory.path()).unwrap().to_path_buf()
    }
}

/// The bytes of a small image in base64, longer than what refers to another row.
fn base64_image(side: u32) -> String {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(side, side).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    STANDARD.encode(bytes.into_inner())
}

fn texts(replies: &[&str]) -> Vec<Reply> {
    replies.iter().map(|text| Reply::Text(text.to_string())).collect()
}

/// The result rounded to two decimals.
fn result(benchmark: &Benchmark, replies: &[&str]) -> f64 {
    (100.0 * judge(benchmark, &texts(replies)).result.value).round() / 100.0
}

#[test]
fn llava_style_json_is_judged_by_its_last_answer() {
    let suite = Suite::new();
    suite.image("a.png");
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    suite.write(
        "x.json",
        &json!([
            {"image": "a.png", "conversations": [turn("human", "One?"), turn("gpt", "1"), turn("human", "Two?"), turn("gpt", "2")]},
            {"conversations": [turn("human", "Three?"), turn("gpt", "3")]},
            {"conversations": [turn("human", "Four?"), turn("gpt", "3")]},
        ])
        .to_string(),
    );
    let benchmark = suite.read(json!({"file": "x.json", "metric": "exact_match"})).unwrap();
    let first = &benchmark.questions[0];
    assert_eq!((first.id.as_str(), first.text.as_str()), ("b/0", "Two?"));
    assert_eq!(first.history[0].question, "<image>\nOne?");
    assert_eq!(suite.inside(&first.images[0]), Path::new("a.png"));
    let replies = [true, false, true].map(Reply::WouldBeRight);
    let judged = judge(&benchmark, &replies);
    assert_eq!(judged.result.value, 100.0 * 2.0 / 3.0);
    assert_eq!(judged.result.chance, 100.0 * 2.0 / 3.0, "always `3`");
    // What a suite of old was written as is still written so.
    let result = serde_json::to_value(&judged.result).unwrap();
    let keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["skill", "metric", "value", "chance", "samples"]);
    let answer = serde_json::to_value(&judged.answers[1]).unwrap();
    assert_eq!(answer, json!({"benchmark": "b", "id": "b/1", "question": "Three?", "expected": "3", "score": 0.0}));
}

#[test]
fn vqa_joins_questions_and_annotations() {
    let suite = Suite::new();
    suite.image("images/COCO_val2014_000000000042.jpg");
    let asked = |id: u64| json!({"question_id": id, "image_id": 42, "question": "What color?"});
    suite.write("q.json", &json!({"data_subtype": "val2014", "questions": [asked(420), asked(421)]}).to_string());
    let answers = |words: [&str; 10]| words.map(|word| json!({"answer": word, "answer_confidence": "yes"})).to_vec();
    let red = ["red", "red", "red", "dark red", "brown", "brown", "red", "red", "red", "red"];
    let two = ["2", "2", "two", "3", "3", "3", "3", "3", "3", "3"];
    suite.write(
        "a.json",
        &json!({"annotations": [
            {"question_id": 421, "answer_type": "number", "answers": answers(two)},
            {"question_id": 420, "answer_type": "other", "answers": answers(red)},
        ]})
        .to_string(),
    );
    let entry = json!({"format": "vqav2", "file": "q.json", "annotations": "a.json", "images": "images"});
    let benchmark = suite.read(entry.clone()).unwrap();
    assert_eq!(benchmark.metric, Metric::Vqa);
    let question = &benchmark.questions[0];
    assert_eq!(question.text, "<image>\nWhat color?\nAnswer the question using a single word or phrase.");
    assert_eq!((question.id.as_str(), question.expected.target().as_str()), ("b/420", "red"));
    // Two of ten said brown, and three said two.
    let judged = judge(&benchmark, &texts(&["Brown.", "two"]));
    assert!((judged.result.value - 75.0).abs() < 1e-9, "{}", judged.result.value);
    assert!((judged.result.details["answer/other"] - 60.0).abs() < 1e-9);
    assert_eq!(judged.result.chance, 50.0, "always `red`");

    let mut plain = entry.clone();
    plain["prompt"] = json!("");
    assert_eq!(suite.read(plain).unwrap().questions[0].text, "<image>\nWhat color?");

    suite.write("a.json", &json!({"annotations": [{"question_id": 420, "answers": [{"answer": "red"}]}]}).to_string());
    insta::assert_snapshot!(suite.problem(entry.clone()), @"benchmark `b`: `a.json`, question 420: it has 1 answers, and its accuracy is defined for 10");
    suite.write("q.json", &json!({"data": [{"question_id": 1}]}).to_string());
    insta::assert_snapshot!(suite.problem(entry), @r#"
    benchmark `b`: `q.json` has another layout than its format: missing field `data_subtype` at line 1 column 28
    it is an object with `data`; its `data` is a list whose first element is an object with `question_id`; needed is {"data_subtype": "val2014", "questions": [{"question_id": …, "image_id": …, "question": …}, …]}
    "#);
    insta::assert_snapshot!(suite.problem(json!({"format": "vqav2", "file": "q.json"})), @r"
    benchmark `b`: the format `vqav2` needs `annotations`, the file of the answers
    hint: a split without public answers, such as test-dev, cannot be scored
    ");
}

#[test]
fn gqa_tells_open_from_binary_questions() {
    let suite = Suite::new();
    suite.image("n1.jpg");
    let asked = |answer: &str, structural: &str| {
        json!({"imageId": "n1", "question": "Is it?", "answer": answer, "isBalanced": true,
            "types": {"structural": structural, "semantic": "obj", "detailed": "x"}})
    };
    suite.write("q.json", &json!({"0100": asked("yes", "verify"), "0099": asked("dog", "query")}).to_string());
    let benchmark = suite.read(json!({"format": "gqa", "file": "q.json"})).unwrap();
    let ids: Vec<&str> = benchmark.questions.iter().map(|question| question.id.as_str()).collect();
    assert_eq!(ids, ["b/0100", "b/0099"], "in the order of the file");
    let details = judge(&benchmark, &texts(&["Yes.", "cat"])).result.details;
    let details: Vec<(&str, f64)> = details.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let expected = [("answer/binary", 100.0), ("answer/open", 0.0), ("meaning/obj", 50.0)];
    assert_eq!(details, [expected.as_slice(), &[("structure/query", 0.0), ("structure/verify", 100.0)]].concat());
}

#[test]
fn textvqa_can_show_the_recognised_text() {
    let suite = Suite::new();
    suite.image("i/abc.jpg");
    let asked =
        json!({"question_id": 34602, "image_id": "abc", "question": "what brand is it?", "answers": vec!["nokia"; 10]});
    suite.write("q.json", &json!({"dataset_type": "val", "data": [asked]}).to_string());
    suite.write("o.json", &json!({"data": [{"image_id": "abc", "ocr_tokens": ["NOKIA", "N8"]}]}).to_string());
    let mut entry = json!({"format": "textvqa", "file": "q.json", "images": "i"});
    let benchmark = suite.read(entry.clone()).unwrap();
    assert_eq!(
        benchmark.questions[0].text,
        "<image>\nWhat brand is it?\nAnswer the question using a single word or phrase."
    );
    assert_eq!(result(&benchmark, &["Nokia"]), 100.0);
    entry["ocr"] = json!("o.json");
    let text = &suite.read(entry).unwrap().questions[0].text;
    assert!(text.contains("it?\nReference OCR token: NOKIA, N8\nAnswer"), "{text}");
}

#[test]
fn scienceqa_is_asked_with_and_without_images() {
    let suite = Suite::new();
    suite.image("images/test/5/image.png");
    let problem = |image: Value, hint: &str, answer: usize| {
        json!({"question": "Which?", "choices": ["red", "blue"], "answer": answer, "hint": hint, "image": image,
            "subject": "natural science", "grade": "grade7", "lecture": ""})
    };
    suite.write("p.json", &json!({"4": problem(json!(null), "", 0), "5": problem(json!("image.png"), "Look.", 1), "6": {"question": "", "choices": [], "answer": 0}}).to_string());
    suite.write("s.json", &json!({"train": ["6"], "test": ["5", "4"]}).to_string());
    let entry = json!({"format": "scienceqa", "file": "p.json", "annotations": "s.json", "images": "images"});
    let benchmark = suite.read(entry.clone()).unwrap();
    assert_eq!(
        benchmark.questions[0].text,
        "<image>\nContext: Look.\nQuestion: Which?\nOptions: (A) red (B) blue\nAnswer with the option's letter from the \
         given choices directly."
    );
    assert!(benchmark.questions[1].text.starts_with("Context: N/A\n") && benchmark.questions[1].images.is_empty());
    let judged = judge(&benchmark, &texts(&["The answer is B.", "red"]));
    let details = &judged.result.details;
    assert_eq!((judged.result.value, details["context/image"], details["context/none"]), (50.0, 100.0, 0.0));
    assert_eq!((details["unreadable"], details["grade/7-12"], details["context/text"]), (1.0, 50.0, 100.0));
    assert_eq!(judged.answers[0].read_as.as_deref(), Some("B"));
    assert_eq!(judged.answers[1].read_as, None);
    let mut other = entry;
    other["split"] = json!("val");
    insta::assert_snapshot!(suite.problem(other), @"benchmark `b`: `s.json` has no split `val`; it has `test` and `train`");
}

#[test]
fn pope_gives_precision_recall_and_f1_by_category() {
    let suite = Suite::new();
    suite.image("c.jpg");
    let asked = |id: u64, label: &str| json!({"question_id": id, "image": "c.jpg", "text": "Is there a dog in the image?", "label": label});
    suite.lines("coco_pope_random.json", &[asked(1, "yes"), asked(2, "no")]);
    suite.lines("coco_pope_popular.json", &[asked(1, "yes"), asked(2, "no")]);
    let files = ["coco_pope_random.json", "coco_pope_popular.json"];
    let benchmark = suite.read(json!({"format": "pope", "file": files})).unwrap();
    assert_eq!(benchmark.questions[2].id, "b/popular/1");
    let judged = judge(&benchmark, &texts(&["Yes", "No, there is not", "no", "a dog"]));
    let figure = |name: &str| judged.result.details[name];
    assert_eq!((judged.result.value, judged.result.chance), (50.0, 50.0));
    assert_eq!((figure("category/random"), figure("category/random/f1")), (100.0, 100.0));
    assert_eq!((figure("category/popular"), figure("category/popular/recall")), (0.0, 0.0));
    assert_eq!((figure("precision"), figure("recall"), figure("f1"), figure("yes_ratio")), (50.0, 50.0, 50.0, 50.0));
    assert_eq!(figure("unreadable"), 1.0, "`a dog` says neither");
    assert_eq!(judged.answers[3].read_as.as_deref(), Some("yes"), "but it counts as yes");
}

#[test]
fn mmbench_wants_all_rotations_of_a_question_right() {
    let suite = Suite::new();
    let (one, two) = (base64_image(9), base64_image(7));
    let head = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tl2-category\tsplit";
    let rows = [
        head.to_string(),
        format!("3\tWhat?\tnan\tcat\t\"a \"\"big\"\" dog\"\t\t\tB\tidentity\t{one}\tperception\tdev"),
        format!("4\tHow many?\tCount.\t1\t2\t3\t4\tC\tcounting\t{two}\tperception\tdev"),
        "1000003\tWhat?\tnan\ta dog\tcat\t\t\tA\tidentity\t3\tperception\tdev".to_string(),
        format!("5\tOther\tnan\t1\t2\t\t\tA\tcounting\t{two}\tperception\ttest"),
    ];
    suite.write("m.tsv", &rows.join("\n"));
    let benchmark = suite.read(json!({"format": "mmbench", "file": "m.tsv", "split": "dev"})).unwrap();
    assert_eq!(benchmark.questions.len(), 3);
    assert_eq!(
        benchmark.questions[1].text,
        "<image>\nCount.\nHow many?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer with the option's letter from the given choices \
         directly."
    );
    assert!(benchmark.questions[0].text.contains("\nA. cat\nB. a \"big\" dog\nAnswer"));
    assert_eq!(benchmark.questions[0].images, benchmark.questions[2].images);
    assert_ne!(benchmark.questions[0].images, benchmark.questions[1].images);
    let judged = judge(&benchmark, &texts(&["B", "three", "B. cat"]));
    assert_eq!(judged.result.value, 0.0, "one is wrong when rotated, the other names no option");
    assert_eq!((judged.result.details["first_round"], judged.result.details["unreadable"]), (50.0, 1.0));
    assert_eq!(result(&benchmark, &["B", "3", "A. a dog"]), 100.0);
    assert_eq!(judge(&benchmark, &texts(&["B", "C", "B"])).result.details["category/counting"], 100.0);

    suite.write("m.tsv", "index,question\n1,2\n");
    insta::assert_snapshot!(suite.problem(json!({"format": "mmbench", "file": "m.tsv"})), @r"
    benchmark `b`: `m.tsv` has another layout than its format: it has the columns `index,question`; needed are `index`, `question`, `A`, `B`, `answer` and `image`
    hint: the columns of a table end in tabs; a split without public answers has no `answer` and cannot be scored
    ");
}

#[test]
fn mmmu_has_choices_open_questions_and_several_images() {
    let suite = Suite::new();
    suite.image("i/one.png");
    let choice = json!({"id": "validation_Art_Theory_1", "question": "Which of <image 1> and <image 2>?", "options": "['left', \"it's right\"]",
        "answer": "B", "question_type": "multiple-choice", "image_1": {"bytes": base64_image(9), "path": "x.png"}, "image_2": "one.png", "image_3": null});
    let open = json!({"id": "validation_Physics_2", "question": "How much in <image 1>?", "options": "[]", "answer": "['24/7', '3.43']",
        "question_type": "open", "image_1": "one.png"});
    suite.lines("m.jsonl", &[choice, open]);
    let benchmark = suite.read(json!({"format": "mmmu", "file": "m.jsonl", "images": "i"})).unwrap();
    let [first, second] = benchmark.questions.as_slice() else { panic!("there are two questions") };
    assert_eq!(
        first.text,
        "Which of <image> and <image>?\n\n(A) left\n(B) it's right\n\n\nAnswer with the option's letter from the given \
         choices directly."
    );
    assert_eq!(first.images.len(), 2);
    assert_eq!(second.text, "<image>\nHow much in <image 1>?\n\nAnswer the question using a single word or phrase.");
    let judged = judge(&benchmark, &texts(&["(B)", "It is 3.4301"]));
    assert_eq!((judged.result.value, judged.result.details["subject/Art_Theory"]), (100.0, 100.0));
    assert_eq!(result(&benchmark, &["It may be either of them", "24"]), 0.0);
}

#[test]
fn mmmu_is_read_as_it_is_published_a_folder_of_tables_for_each_subject() {
    let suite = Suite::new();
    let message =
        "message m { required binary id (string); required binary question (string); required binary options (string);
        required binary answer (string); required binary question_type (string);
        optional group image_1 { optional binary bytes; optional binary path (string); }
        optional group image_2 { optional binary bytes; optional binary path (string); } }";
    for (subject, split) in [("Art", "validation"), ("Physics", "validation"), ("Physics", "test")] {
        let picture = STANDARD.decode(base64_image(9)).unwrap();
        let image = Cell::Group(vec![Cell::Bytes(picture), Cell::text("1.png")]);
        let mut table = Table::new(message, 10);
        let id = format!("{split}_{subject}_1");
        let texts =
            [&id, "What is in <image 1>?", "['an apple', 'a \\'pear\\'']", "B", "multiple-choice"].map(Cell::text);
        table.row([texts.to_vec(), vec![image, Cell::Null]].concat());
        let folder = suite.directory.path().join("MMMU").join(subject);
        fs::create_dir_all(&folder).unwrap();
        table.write(&folder.join(format!("{split}-00000-of-00001.parquet")));
    }
    suite.write("MMMU/.gitattributes", "");
    suite.write("MMMU/README.md", "about it");
    let benchmark = suite.read(json!({"format": "mmmu", "file": "MMMU", "split": "validation"})).unwrap();
    let ids: Vec<&str> = benchmark.questions.iter().map(|question| question.id.as_str()).collect();
    assert_eq!(ids, ["b/validation_Art_1", "b/validation_Physics_1"]);
    assert!(benchmark.questions[0].text.contains("(B) a 'pear'\n"), "{}", benchmark.questions[0].text);
    let picture = crate::images::Place::from(benchmark.questions[1].images[0].clone());
    assert_eq!(picture.size().unwrap(), (9, 9));
    assert_eq!(result(&benchmark, &["B", "A"]), 50.0);

    insta::assert_snapshot!(suite.problem(json!({"format": "mmmu", "file": "MMMU", "split": "val"})), @"benchmark `b`: no file is of the split `val`: none has a name that begins with it");
    insta::assert_snapshot!(suite.problem(json!({"format": "pope", "file": "MMMU/Art/validation-00000-of-00001.parquet"})), @r#"
    benchmark `b`: row 1: `MMMU/Art/validation-00000-of-00001.parquet` has another layout than its format: missing field `question_id`
    it is an object with `id`, `question`, `options`, `answer`, `question_type`, `image_1` and `image_2`; its `image_1` is an object with `bytes` and `path`; needed is {"question_id": …, "image": …, "text": …, "label": "yes" or "no"} on each line
    "#);
}

#[test]
fn mmlu_is_a_folder_of_tables_or_json_lines() {
    let suite = Suite::new();
    suite.write("test/abstract_algebra_test.csv", "\"Find, if any:\",0,4,2,6,B\n\"Two\nlines <image>\",a,b,c,d,D\n");
    suite.write("test/anatomy_test.csv", "Which?,a,b,c,d,A\n");
    let benchmark = suite.read(json!({"format": "mmlu", "file": "test"})).unwrap();
    assert_eq!(benchmark.questions.len(), 3);
    assert_eq!(benchmark.questions[1].id, "b/abstract_algebra_test/1");
    assert_eq!(
        benchmark.questions[1].text,
        "Two\nlines image\nA. a\nB. b\nC. c\nD. d\nAnswer with the option's letter from the given choices directly."
    );
    let details = judge(&benchmark, &texts(&["b.", "C", "Both"])).result.details;
    assert_eq!(
        (details["subject/abstract_algebra"], details["subject/anatomy"], details["unreadable"]),
        (50.0, 0.0, 1.0)
    );
    suite.lines(
        "v.jsonl",
        &[json!({"question": "Which?", "subject": "anatomy", "choices": ["a", "b", "c", "d"], "answer": 3})],
    );
    assert_eq!(result(&suite.read(json!({"format": "mmlu", "file": "v.jsonl"})).unwrap(), &["D"]), 100.0);
    suite.write("test/x.csv", "Which?,a,b,c,A\n");
    insta::assert_snapshot!(suite.problem(json!({"format": "mmlu", "file": "test/x.csv"})), @"benchmark `b`: `test/x.csv`, row 1 has 5 cells; needed are a question, four choices and a letter");
}

#[test]
fn refcoco_counts_every_sentence_and_answers_without_a_box_as_wrong() {
    let suite = Suite::new();
    suite.image("train2014/COCO_train2014_000000000007.jpg");
    let object = json!({"img_id": "COCO_train2014_000000000007_3", "width": 200, "height": 100, "bbox": [50, 0, 100, 100],
        "sents": ["left dog.", "the dog"]});
    suite.write("r.json", &json!([object]).to_string());
    let mut entry = json!({"format": "refcoco", "file": "r.json"});
    let benchmark = suite.read(entry.clone()).unwrap();
    assert_eq!(
        benchmark.questions[0].text,
        "<image>\nPlease provide the bounding box coordinate of the region this sentence describes: left dog."
    );
    // The image lies in the middle of a square of side 200.
    assert_eq!(benchmark.questions[0].expected.target(), "[0.25, 0.25, 0.75, 0.75]");
    let judged = judge(&benchmark, &texts(&["[0.25, 0.25, 0.75, 0.65]", "on the left"]));
    assert_eq!(judged.result.value, 50.0);
    let details = &judged.result.details;
    assert_eq!((details["of_readable"], details["mean_overlap"], details["unreadable"]), (100.0, 40.0, 1.0));
    entry["answer_frame"] = json!("image");
    assert_eq!(suite.read(entry.clone()).unwrap().questions[0].expected.target(), "[0.25, 0.00, 0.75, 1.00]");
    entry["box_layout"] = json!("xyxy");
    assert_eq!(suite.read(entry.clone()).unwrap().questions[0].expected.target(), "[0.25, 0.00, 0.50, 1.00]");

    let nested = json!({"image_info": {"file_name": "COCO_train2014_000000000007.jpg", "width": 200, "height": 100, "id": 7},
        "ref_list": [{"ann_info": {"bbox": [50, 0, 100, 100]}, "ref_info": {"sentences": [{"sent": "dog"}, {"sent": "a dog"}]}}]});
    suite.lines("r.json", &[nested]);
    assert_eq!(suite.read(json!({"format": "refcoco", "file": "r.json"})).unwrap().questions.len(), 2);
    let problem =
        suite.problem(json!({"format": "refcoco", "file": "r.json", "box_layout": "xyxy", "prompt": "Where?"}));
    insta::assert_snapshot!(problem, @"benchmark `b`: its `prompt` has no `{}`, which stands for the sentence");
}

#[test]
fn coco_cn_compares_captions_by_character() {
    let suite = Suite::new();
    for image in ["val2014/COCO_val2014_000000000001.jpg", "COCO_train2014_000000000002.jpg"] {
        suite.image(image);
    }
    suite.write(
        "c.txt",
        "COCO_val2014_000000000001#0\t一只狗在草地上\nCOCO_val2014_000000000009#0\t火车\nCOCO_train2014_000000000002#0\t两个人在海边\n\
         COCO_val2014_000000000001#1\t狗在跑\n",
    );
    suite.write("test.txt", "COCO_val2014_000000000001\nCOCO_train2014_000000000002\n");
    let benchmark = suite.read(json!({"format": "coco_cn", "file": "c.txt", "annotations": "test.txt"})).unwrap();
    assert_eq!(benchmark.questions.len(), 2);
    assert_eq!(benchmark.questions[0].expected, Expected::Captions(vec!["一只狗在草地上".into(), "狗在跑".into()]));
    assert_eq!(suite.inside(&benchmark.questions[0].images[0]), Path::new("val2014/COCO_val2014_000000000001.jpg"));
    let judged = judge(&benchmark, &texts(&["一只狗在草地上", "火车"]));
    assert_eq!(judged.result.value, 50.0);
    // The first answer equals one of its two captions, the other has nothing right.
    let cider = judged.result.details["cider"];
    assert!(cider > 250.0 && cider < 500.0 && judged.result.details["corpus_bleu"] > 0.0, "{cider}");
    suite.write(
        "c.json",
        &json!([{"image": "COCO_train2014_000000000002.jpg", "captions": "two people at the sea"}]).to_string(),
    );
    let entry = json!({"format": "coco_cn", "file": "c.json", "metric": "word_bleu", "prompt": "Describe it."});
    let benchmark = suite.read(entry).unwrap();
    assert_eq!(benchmark.questions[0].text, "<image>\nDescribe it.");
    assert_eq!(result(&benchmark, &["two people at the sea"]), 100.0);
    suite.write("c.txt", "COCO_val2014_000000000001 一只狗\n");
    insta::assert_snapshot!(suite.problem(json!({"format": "coco_cn", "file": "c.txt"})), @"benchmark `b`: `c.txt`, line 1: needed is `<image id>#<number>`, a tab and a caption");
}

#[test]
fn missing_images_wrong_fields_and_unfit_metrics_are_told_before_anything_is_asked() {
    let suite = Suite::new();
    suite.lines(
        "coco_pope_random.json",
        &[json!({"question_id": 1, "image": "gone.jpg", "text": "Is it?", "label": "yes"})],
    );
    let pope = |more: Value| {
        let mut entry = json!({"format": "pope", "file": "coco_pope_random.json"});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        suite.problem(entry)
    };
    insta::assert_snapshot!(pope(json!({})), @r"
    benchmark `b`: 1 image cannot be used:
      `gone.jpg` is missing
    hint: the entry's `images` is the folder that they are in
    ");
    insta::assert_snapshot!(pope(json!({"split": "val"})), @r"
    benchmark `b`: `split` means nothing to the format `pope`
    hint: besides name, skill, metric, file and max_new_tokens it knows `images` and `prompt`
    ");
    insta::assert_snapshot!(pope(json!({"metric": "vqa"})), @r"
    benchmark `b`: question `b/random/1`: the metric `vqa` scores the answers of ten people, and what is expected is yes or no
    hint: without `metric` a format has its own
    ");
    suite.lines(
        "coco_pope_random.json",
        &[json!({"question_id": 1, "image": "../up.jpg", "text": "Is it?", "label": "yes"})],
    );
    insta::assert_snapshot!(pope(json!({})), @"benchmark `b`: the image path `../up.jpg` leaves the folder of images");
    suite.write("coco_pope_random.json", "{\"question_id\": 1}\n");
    insta::assert_snapshot!(pope(json!({})), @r#"
    benchmark `b`: line 1: `coco_pope_random.json` has another layout than its format: missing field `image` at line 1 column 18
    it is an object with `question_id`; needed is {"question_id": …, "image": …, "text": …, "label": "yes" or "no"} on each line
    "#);
    insta::assert_snapshot!(suite.problem(json!({"file": "x.json"})), @r"
    benchmark `b`: it has no `metric`
    hint: the format `llava` needs one of `exact_match`, `rouge_l`, `iou`, `vqa`, `textvqa`, `gqa`, `scienceqa`, `pope`, `mmbench`, `mmmu`, `mmlu`, `refcoco`, `character_bleu` and `word_bleu`
    ");
}

#[test]
fn the_miniature_suites_are_read_by_their_entries() {
    let directory = tempfile::tempdir().unwrap();
    for (part, count) in [("benchmarks-small", 13), ("visual-chat", 1), ("language-benchmarks-small", 11)] {
        let made = directory.path().join(part);
        crate::mini::make(part, &made).unwrap();
        let entries = entries(&made).unwrap();
        assert_eq!(entries.len(), count);
        for entry in &entries {
            let benchmark = super::read(&made, entry, directory.path()).unwrap();
            let right: Vec<Reply> =
                benchmark.questions.iter().map(|question| Reply::Text(question.expected.target())).collect();
            let result = judge(&benchmark, &right).result;
            assert_eq!(result.value, 100.0, "{}", entry.name);
            assert!(result.chance < 60.0, "{} is guessed right {} % of the time", entry.name, result.chance);
            assert_eq!(result.details.is_empty(), entry.format == Format::Llava, "{}", entry.name);
        }
    }
}

/// What a model of the language suite was trained on is what it is asked.
#[test]
fn choices_of_the_language_suite_are_worded_as_in_its_datasets() {
    let directory = tempfile::tempdir().unwrap();
    let made = |part: &str| {
        let path = directory.path().join(part);
        crate::mini::make(part, &path).unwrap();
        path
    };
    let benchmarks = made("language-benchmarks-small");
    let entry = entries(&benchmarks).unwrap().into_iter().find(|entry| entry.name == "choices").unwrap();
    let asked = super::read(&benchmarks, &entry, directory.path()).unwrap();
    let taught = fs::read_to_string(made("xp3").join("samples.json")).unwrap();
    let taught: Vec<Value> = serde_json::from_str(&taught).unwrap();
    let taught = taught.iter().filter(|sample| sample["skill"] == "choices");
    // Only what is asked about differs: the lines before and after, and how many there are, do not.
    let frame = |text: &str| text.lines().skip(1).map(|line| line[..3].to_string()).collect::<Vec<_>>();
    let frames: BTreeSet<Vec<String>> = asked.questions.iter().map(|question| frame(&question.text)).collect();
    assert_eq!(frames.len(), 1);
    for sample in taught {
        let text = sample["conversations"][0]["value"].as_str().unwrap();
        assert!(frames.contains(&frame(text)), "{text}");
    }
    let last = |text: &str| text.lines().last().unwrap().to_string();
    assert_eq!(last(&asked.questions[0].text), "Answer with the letter.");
}

#[test]
fn two_benchmarks_of_one_name_are_refused() {
    let suite = Suite::new();
    let entry = json!({"name": "b", "skill": "s", "metric": "iou", "file": "x.json"});
    suite.write("benchmarks.json", &json!([entry, entry]).to_string());
    let error = entries(suite.directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("has two benchmarks with the name `b`"), "{error}");
}
