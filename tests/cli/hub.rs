//! Checkpoints and datasets from the Hub, told against a server of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use crate::hub_server::{Fault, Server, oid, sha256};
use crate::support::Project;

const TOY: &str = "datasets/lab/toy";
const TINY: &str = "models/lab/tiny";

const DATA: &str = r#"[
{"id": "1", "image": "one.png", "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]},
{"id": "2", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "She."}]}
]"#;

/// A dataset of one file and one image.
fn dataset(revision: &str) -> String {
    format!(
        "title: From the Hub\n\
         stages:\n  data: {{use: ingest, params: {{name: toy, path: \"hf://{TOY}@{revision}/data/toy.json\", \
         images: \"hf://{TOY}@{revision}/images\"}}}}\n  \
         pick: {{use: select, inputs: {{pool: data.pool}}, params: {{budget: 1, allocation: whole, sampler: random, \
         seed: 0}}}}\n"
    )
}

/// A checkpoint that is measured.
fn checkpoint(value: &str) -> String {
    format!(
        "stages: {{measure: {{use: evaluate, inputs: {{model: {{path: \"{value}\"}}}}, params: {{benchmarks: b}}}}}}\n"
    )
}

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(2, 2).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Weights that take several reads.
fn weights() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|number| (number % 251).to_le_bytes()).collect()
}

/// A server with a dataset.
fn library() -> Server {
    let server = Server::start();
    let image = picture();
    server.commit(
        TOY,
        "main",
        &[
            ("README.md", b"A toy"),
            ("data/toy.json", DATA.as_bytes()),
            ("images/one.png", &image),
            ("images/two.txt", b"not read"),
        ],
    );
    server
}

/// A server with a checkpoint.
fn models() -> Server {
    let server = Server::start();
    let weights = weights();
    let files: [(&str, &[u8]); 7] = [
        ("README.md", b"Tiny"),
        ("config.json", b"{}"),
        ("model.safetensors", &weights),
        ("onnx/model.onnx", b"not read"),
        ("pytorch_model.bin", b"a pickle"),
        ("tokenizer.json", b"{  }"),
        ("adapter/adapter_config.json", b"{ }"),
    ];
    server.commit(TINY, "main", &files);
    server
}

fn project(server: &Server, experiment: &str) -> Project {
    let project = Project::of(experiment).write("b/index.json", "{}");
    let home = project.path().join("home").display().to_string();
    project.with("HF_ENDPOINT", &server.endpoint()).with("HF_HOME", &home)
}

fn exec(project: &Project) -> String {
    project.run(&["exec", "e.yaml", "--jobs", "1"])
}

/// All files below a folder with their content.
fn below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(below(&path)),
            false => found.extend(fs::read(&path).ok().map(|content| (path, content))),
        }
    }
    found
}

fn cached(project: &Project, path: &str) -> PathBuf {
    project.path().join("home/hub").join(path)
}

#[test]
fn a_plan_downloads_nothing_and_a_run_downloads_once() {
    let server = library();
    let project = project(&server, &dataset("main"));
    assert_snapshot!(project.run(&["plan", "e.yaml"]), @"
    exit 0
    --- stdout
    From the Hub

    run    data
             never ran
    maybe  pick
             never ran
             input `pool` comes from `data`, which has to run

    2 stages: 1 to run, 1 maybe, 0 fresh
    ");
    assert_eq!(server.downloads(), Vec::<String>::new());
    assert!(!project.path().join("home").exists(), "a plan does not even make the cache");
    assert_snapshot!(exec(&project), @"
    exit 0
    --- stderr
    fetch hf://datasets/lab/toy@main/data/toy.json  1 file, 228 B
    fetched hf://datasets/lab/toy@main/data/toy.json  [time]
    fetch hf://datasets/lab/toy@main/images  2 files, 90 B
    fetched hf://datasets/lab/toy@main/images  [time]
    plan e: 2 stages, 0 fresh, 1 to run, 1 below those
    run data  (never ran)
    ran data  [time]  [memory]
    run pick  (never ran)
    ran pick  [time]  [memory]
    done e: ran 2 stages in [time] ([time] of processor time)
    ");
    assert_eq!(server.downloads(), ["data/toy.json", "images/one.png", "images/two.txt"]);
    assert_snapshot!(exec(&project), @"
    exit 0
    --- stderr
    done e: 2 fresh in [time] ([time] saved by the cache)
    ");
    let asked: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["/api/datasets/lab/toy/revision/main?expand=sha"], "only where the branch is now");
}

#[test]
fn the_cache_is_laid_out_as_the_python_tools_have_it() {
    let server = models();
    let commit = server.commit(TINY, "v1", &[("config.json", b"{}"), ("model.safetensors", &weights())]);
    let project = project(&server, &checkpoint("hf://lab/tiny@v1"));
    // Without a tokenizer the stage fails, whatever is built in.
    assert_eq!(project.output(&["exec", "e.yaml"]).status.code(), Some(1));
    let repository = cached(&project, "models--lab--tiny");
    assert_eq!(fs::read_to_string(repository.join("refs/v1")).unwrap(), commit);
    let snapshot = repository.join("snapshots").join(commit);
    let link = |name: &str| fs::read_link(snapshot.join(name)).unwrap().display().to_string();
    assert_eq!(link("config.json"), format!("../../blobs/{}", oid(b"{}")));
    assert_eq!(link("model.safetensors"), format!("../../blobs/{}", sha256(&weights())));
    assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights());
    assert!(
        below(&repository.join("blobs")).iter().all(|(path, _)| path.extension().is_none()),
        "nothing is left over"
    );
}

#[test]
fn of_a_checkpoint_only_what_is_read_is_fetched_and_never_a_pickle() {
    let server = models();
    let project = project(&server, &checkpoint("hf://lab/tiny"));
    assert_eq!(project.output(&["exec", "e.yaml"]).status.code(), Some(1));
    let expected = ["adapter/adapter_config.json", "config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(server.downloads(), expected);
    assert_eq!(project.output(&["exec", "e.yaml"]).status.code(), Some(1));
    assert_eq!(server.downloads(), Vec::<String>::new(), "what is here is not fetched for another attempt");
}

#[test]
fn a_cut_connection_is_resumed_where_it_was_cut() {
    let server = models();
    server.fail(Fault::Cut(5_000_000));
    let project = project(&server, &checkpoint("hf://lab/tiny"));
    project.output(&["exec", "e.yaml"]);
    let requests = server.requests();
    let ranges: Vec<&str> = requests.iter().filter_map(|request| request.range.as_deref()).collect();
    // Once for the redirect and once where it leads.
    assert_eq!(ranges, ["bytes=5000000-"; 2]);
    let files = below(&cached(&project, "models--lab--tiny/snapshots"));
    assert!(files.iter().any(|(path, content)| path.ends_with("model.safetensors") && *content == weights()));
}

#[test]
fn a_server_that_ignores_ranges_does_not_spoil_the_file() {
    let server = models();
    server.fail(Fault::CutWithoutRanges(5_000_000));
    let project = project(&server, &checkpoint("hf://lab/tiny"));
    project.output(&["exec", "e.yaml"]);
    assert!(server.requests().iter().any(|request| request.range.is_some()));
    let files = below(&cached(&project, "models--lab--tiny/snapshots"));
    assert!(files.iter().any(|(path, content)| path.ends_with("model.safetensors") && *content == weights()));
}

#[test]
fn a_download_that_is_interrupted_is_kept_and_continued() {
    let server = models();
    server.fail(Fault::Stall(5_000_000));
    let project = project(&server, &checkpoint("hf://lab/tiny"));
    let mut command = project.command(&["exec", "e.yaml"]);
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let incomplete = cached(&project, "models--lab--tiny/blobs").join(format!("{}.incomplete", sha256(&weights())));
    let size = || fs::metadata(&incomplete).map_or(0, |metadata| metadata.len());
    let clock = Instant::now();
    while size() < 5_000_000 {
        assert!(clock.elapsed() < Duration::from_secs(60), "the download did not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: the child was not waited for, so the id is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("what was fetched is kept"));
    assert_eq!(size(), 5_000_000);
    server.requests();
    project.output(&["exec", "e.yaml"]);
    let requests = server.requests();
    assert!(requests.iter().any(|request| request.range.as_deref() == Some("bytes=5000000-")), "{requests:?}");
    let files = below(&cached(&project, "models--lab--tiny/snapshots"));
    assert!(files.iter().any(|(path, content)| path.ends_with("model.safetensors") && *content == weights()));
}

#[test]
fn wrong_bytes_are_refused() {
    let server = library();
    server.fail(Fault::Change);
    let project = project(&server, &dataset("main"));
    assert_snapshot!(exec(&project), @"
    exit 1
    --- stderr
    fetch hf://datasets/lab/toy@main/data/toy.json  1 file, 228 B
    fetched hf://datasets/lab/toy@main/data/toy.json  [time]
    fetch hf://datasets/lab/toy@main/images  2 files, 90 B
    error: `hf://datasets/lab/toy@main/images`: `images/one.png` is not what the Hub lists: its SHA-256 is [digest], not [digest]
    hint: nothing of it was kept; try again, and look for a proxy that changes what passes
    ");
    let blobs = below(&cached(&project, "datasets--lab--toy/blobs"));
    let whole = |(path, content): &(PathBuf, Vec<u8>)| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name == oid(content) || name == sha256(content)
    };
    let blobs: Vec<_> = blobs.into_iter().filter(|(path, _)| path.extension().is_none()).collect();
    assert!(blobs.iter().all(whole), "nothing wrong has the name of a blob");
    server.mend();
    assert!(exec(&project).starts_with("exit 0"));
}

#[test]
fn what_became_damaged_in_the_cache_is_fetched_again() {
    let server = library();
    let project = project(&server, &dataset("main"));
    exec(&project);
    server.requests();
    let blob = cached(&project, "datasets--lab--toy/blobs").join(oid(DATA.as_bytes()));
    fs::write(&blob, DATA.replace("She", "Sha")).unwrap();
    assert!(project.run(&["exec", "e.yaml", "--set", "data.seed=1"]).starts_with("exit 0"));
    assert_eq!(server.downloads(), ["data/toy.json"]);
    assert_eq!(fs::read_to_string(&blob).unwrap(), DATA);
}

#[test]
fn a_private_repository_opens_with_a_token_that_is_told_to_nobody_else() {
    let server = library();
    server.protect(TOY, "hf_secret", false);
    let project = project(&server, &dataset("main"));
    assert_snapshot!(exec(&project), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/lab/toy@main/data/toy.json`: `127.0.0.1` refuses access (status 401): it is private, or there is none
     --> e.yaml:3:49
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: look at the spelling; for a private repository set `HF_TOKEN` to a token that may read it

    error: param `images` of `data`: `hf://datasets/lab/toy@main/images`: `127.0.0.1` refuses access (status 401): it is private, or there is none
     --> e.yaml:3:101
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: look at the spelling; for a private repository set `HF_TOKEN` to a token that may read it

    2 problems; nothing was run
    "#);
    let project = project.with("HF_TOKEN", "hf_wrong");
    assert_snapshot!(exec(&project), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/lab/toy@main/data/toy.json`: `127.0.0.1` refuses access (status 401): it is private, or there is none, or the token in use may not read it
     --> e.yaml:3:49
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: look at the spelling, and at what the token in `HF_TOKEN` (or in the file of the Hub's login) may read

    error: param `images` of `data`: `hf://datasets/lab/toy@main/images`: `127.0.0.1` refuses access (status 401): it is private, or there is none, or the token in use may not read it
     --> e.yaml:3:101
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: look at the spelling, and at what the token in `HF_TOKEN` (or in the file of the Hub's login) may read

    2 problems; nothing was run
    "#);
    server.requests();
    let project = project.with("HF_TOKEN", "hf_secret");
    let told = exec(&project);
    assert!(told.starts_with("exit 0") && !told.contains("hf_secret"), "{told}");
    for request in server.requests() {
        let expected = (!request.path.starts_with("/cdn/")).then(|| "Bearer hf_secret".to_string());
        assert_eq!(request.authorization, expected, "{}", request.path);
    }
    let holds = |(_, content): &(PathBuf, Vec<u8>)| content.windows(9).any(|window| window == b"hf_secret");
    assert!(!below(project.path()).iter().any(holds));
}

#[test]
fn a_gated_repository_says_what_to_accept() {
    let server = library();
    server.protect(TOY, "hf_accepted", true);
    let project = project(&server, &dataset("main")).with("HF_TOKEN", "hf_other");
    assert_snapshot!(project.run(&["plan", "e.yaml"]), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/lab/toy@main/data/toy.json`: `127.0.0.1` refuses access (status 403): its owner lets in those who accept conditions
     --> e.yaml:3:49
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: accept the conditions on the repository's page with the account of the token in `HF_TOKEN`

    error: param `images` of `data`: `hf://datasets/lab/toy@main/images`: `127.0.0.1` refuses access (status 403): its owner lets in those who accept conditions
     --> e.yaml:3:101
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: accept the conditions on the repository's page with the account of the token in `HF_TOKEN`

    2 problems; nothing was run
    "#);
}

#[test]
fn without_a_network_what_is_known_is_used_with_a_note() {
    let server = library();
    let online = project(&server, &dataset("main"));
    exec(&online);
    server.requests();
    let offline = online.with("HF_HUB_OFFLINE", "1");
    assert_snapshot!(exec(&offline), @"
    exit 0
    --- stderr
    note: `hf://datasets/lab/toy@main/data/toy.json` is taken to be at commit [digest], where it was before: `HF_HUB_OFFLINE` is set
    note: `hf://datasets/lab/toy@main/images` is taken to be at commit [digest], where it was before: `HF_HUB_OFFLINE` is set
    done e: 2 fresh in [time] ([time] saved by the cache)
    ");
    assert!(offline.run(&["exec", "e.yaml", "--set", "data.seed=1"]).starts_with("exit 0"));
    assert_eq!(server.requests(), []);
    // Nothing listens at this port.
    let unplugged = offline.with("HF_HUB_OFFLINE", "0").with("HF_ENDPOINT", "http://127.0.0.1:1");
    assert_snapshot!(exec(&unplugged), @"
    exit 0
    --- stderr
    note: `hf://datasets/lab/toy@main/data/toy.json` is taken to be at commit [digest], where it was before: `127.0.0.1` cannot be reached: io: Connection refused (os error 111)
    note: `hf://datasets/lab/toy@main/images` is taken to be at commit [digest], where it was before: `127.0.0.1` cannot be reached: io: Connection refused (os error 111)
    done e: 2 fresh in [time] ([time] saved by the cache)
    ");
}

#[test]
fn without_a_network_and_a_cache_nothing_can_be_run() {
    let server = library();
    let offline = project(&server, &dataset("main")).with("HF_HUB_OFFLINE", "1");
    assert_snapshot!(offline.run(&["exec", "e.yaml"]), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/lab/toy@main/data/toy.json`: it is not all here, and `HF_HUB_OFFLINE` is set
     --> e.yaml:3:49
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: fetch it on a machine with a network, or unset `HF_HUB_OFFLINE`

    error: param `images` of `data`: `hf://datasets/lab/toy@main/images`: it is not all here, and `HF_HUB_OFFLINE` is set
     --> e.yaml:3:101
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: fetch it on a machine with a network, or unset `HF_HUB_OFFLINE`

    2 problems; nothing was run
    "#);
    let planned = offline.json(&["plan", "e.yaml", "--format", "json"]).remove(0);
    let reason = "it is not all here, and `HF_HUB_OFFLINE` is set";
    assert_eq!(planned["missing"]["hf://datasets/lab/toy@main/images"], reason, "a plan goes without");
    let unplugged = offline.with("HF_HUB_OFFLINE", "0").with("HF_ENDPOINT", "http://127.0.0.1:1");
    assert_snapshot!(unplugged.run(&["exec", "e.yaml"]), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/lab/toy@main/data/toy.json`: `127.0.0.1` cannot be reached: io: Connection refused (os error 111)
     --> e.yaml:3:49
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: look at the network, the proxy (`HTTPS_PROXY`) and `HF_ENDPOINT`; what was fetched is kept

    error: param `images` of `data`: `hf://datasets/lab/toy@main/images`: `127.0.0.1` cannot be reached: io: Connection refused (os error 111)
     --> e.yaml:3:101
      |
    3 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/toy.json", images: "hf://datasets/lab/toy@main/images"}}
      |                                                                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: look at the network, the proxy (`HTTPS_PROXY`) and `HF_ENDPOINT`; what was fetched is kept

    2 problems; nothing was run
    "#);
}

#[test]
fn offline_a_checkpoint_that_another_program_fetched_is_used() {
    let server = models();
    let first = project(&server, &checkpoint("hf://lab/tiny"));
    first.output(&["exec", "e.yaml"]);
    let home = first.path().join("home").display().to_string();
    let second = project(&server, &checkpoint("hf://lab/tiny")).with("HF_HOME", &home).with("HF_HUB_OFFLINE", "1");
    assert_snapshot!(second.run(&["plan", "e.yaml"]), @"
    exit 0
    --- stdout
    e

    run    measure
             never ran

    1 stage: 1 to run, 0 maybe, 0 fresh
    not known, and not in the estimate:
      the sizes of the model: there is no `config.json` here that says them
    --- stderr
    note: `hf://lab/tiny` is taken from the cache as it is there, at commit [digest]
    ");
    let key = |project: &Project| {
        let told = project.output(&["explain", "e.yaml", "measure"]).stdout;
        String::from_utf8(told).unwrap().split("new key").nth(1).unwrap().to_string()
    };
    assert_eq!(key(&first), key(&second), "what another program fetched is the same content");
    // A part of a checkpoint is none.
    let weights = below(&cached(&first, "models--lab--tiny/snapshots"));
    let (weights, _) = weights.into_iter().find(|(path, _)| path.ends_with("model.safetensors")).unwrap();
    fs::remove_file(weights).unwrap();
    assert!(second.run(&["plan", "e.yaml"]).contains("it is not all here, and `HF_HUB_OFFLINE` is set"));
}

#[test]
fn a_commit_is_asked_for_once() {
    let server = Server::start();
    let image = picture();
    let commit = server.commit(TOY, "main", &[("data/toy.json", DATA.as_bytes()), ("images/one.png", &image)]);
    let project = project(&server, &dataset(&commit));
    assert!(project.run(&["plan", "e.yaml"]).starts_with("exit 0"));
    assert!(!server.requests().is_empty());
    let unplugged = project.with("HF_ENDPOINT", "http://127.0.0.1:1");
    let told = unplugged.run(&["plan", "e.yaml"]);
    assert!(told.starts_with("exit 0") && !told.contains("note"), "{told}");
}

#[test]
fn a_branch_that_moves_gives_a_new_key_and_the_same_content_by_another_name_does_not() {
    let server = library();
    let project = project(&server, &dataset("main"));
    exec(&project);
    let image = picture();
    let later = DATA.replace("What", "Which");
    server.commit(
        TOY,
        "copy",
        &[
            ("data/toy.json", DATA.as_bytes()),
            ("images/one.png", &image),
            ("images/two.txt", b"not read"),
            ("NEWS.md", b"more that is not used"),
        ],
    );
    let project = project.write("e.yaml", &dataset("copy"));
    assert!(exec(&project).contains("done e: 2 fresh"));
    server.commit(
        TOY,
        "main",
        &[("data/toy.json", later.as_bytes()), ("images/one.png", &image), ("images/two.txt", b"not read")],
    );
    let project = project.write("e.yaml", &dataset("main"));
    server.requests();
    assert_snapshot!(exec(&project), @"
    exit 0
    --- stderr
    fetch hf://datasets/lab/toy@main/data/toy.json  1 file, 229 B
    fetched hf://datasets/lab/toy@main/data/toy.json  [time]
    plan e: 2 stages, 0 fresh, 1 to run, 1 below those
    run data  (param `path` changed: [digest] → [digest])
    ran data  [time]  [memory]
    run pick  (input `pool` changed: [digest] → [digest])
    ran pick  [time]  [memory]
    done e: ran 2 stages in [time] ([time] of processor time)
    ");
    assert_eq!(server.downloads(), ["data/toy.json"], "the images are those of before");
}

#[test]
fn a_checkpoint_of_pickles_is_refused_before_anything_is_fetched() {
    let server = Server::start();
    server.commit(TINY, "main", &[("config.json", b"{}"), ("pytorch_model.bin", b"a pickle")]);
    assert_snapshot!(project(&server, &checkpoint("hf://lab/tiny")).run(&["exec", "e.yaml"]), @r#"
    exit 2
    --- stderr
    error: input `model` of `measure`: `hf://lab/tiny` has its weights only as pickles (`pytorch_model.bin`), which can execute code when they are opened
     --> e.yaml:1:58
      |
    1 | stages: {measure: {use: evaluate, inputs: {model: {path: "hf://lab/tiny"}}, params: {benchmarks: b}}}
      |                                                          ^^^^^^^^^^^^^^^
      = hint: convert them with `save_pretrained(..., safe_serialization=True)` of transformers, where you trust them

    1 problem; nothing was run
    "#);
    assert_eq!(server.downloads(), Vec::<String>::new());
    // So is one in a folder.
    let local = project(&server, &checkpoint("base")).write("base/config.json", "{}");
    assert_snapshot!(local.run(&["plan", "e.yaml"]), @r#"
    exit 2
    --- stderr
    error: input `model` of `measure`: `base` has a `config.json` but no weights
     --> e.yaml:1:58
      |
    1 | stages: {measure: {use: evaluate, inputs: {model: {path: "base"}}, params: {benchmarks: b}}}
      |                                                          ^^^^^^
      = hint: add `model.safetensors`, or its shards with `model.safetensors.index.json`

    1 problem; nothing was run
    "#);
    let local = local.write("base/pytorch_model.bin", "a pickle");
    assert_snapshot!(local.run(&["plan", "e.yaml"]), @r#"
    exit 2
    --- stderr
    error: input `model` of `measure`: `base` has its weights only as pickles (`pytorch_model.bin`), which can execute code when they are opened
     --> e.yaml:1:58
      |
    1 | stages: {measure: {use: evaluate, inputs: {model: {path: "base"}}, params: {benchmarks: b}}}
      |                                                          ^^^^^^
      = hint: convert them with `save_pretrained(..., safe_serialization=True)` of transformers, where you trust them

    1 problem; nothing was run
    "#);
    let local = project(&server, &checkpoint("base")).write("base/model.safetensors", "");
    assert_snapshot!(local.run(&["plan", "e.yaml"]), @r#"
    exit 2
    --- stderr
    error: input `model` of `measure`: `base` has no `config.json`, so it is no checkpoint
     --> e.yaml:1:58
      |
    1 | stages: {measure: {use: evaluate, inputs: {model: {path: "base"}}, params: {benchmarks: b}}}
      |                                                          ^^^^^^
      = hint: name the folder that has `config.json`, `tokenizer.json` and `model.safetensors` or its shards

    1 problem; nothing was run
    "#);
}

#[test]
fn what_is_not_there_is_named_with_what_was_meant() {
    let server = library();
    let plan = |value: &str| {
        let experiment = format!("stages:\n  data: {{use: ingest, params: {{name: toy, path: \"{value}\"}}}}\n");
        project(&server, &experiment).run(&["plan", "e.yaml"])
    };
    assert_snapshot!(plan("hf://datasets/lab/tyo@main/data/toy.json"), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/lab/tyo@main/data/toy.json`: `127.0.0.1` refuses access (status 401): it is private, or there is none
     --> e.yaml:2:49
      |
    2 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/tyo@main/data/toy.json"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: look at the spelling; for a private repository set `HF_TOKEN` to a token that may read it

    1 problem; nothing was run
    "#);
    assert_snapshot!(plan("hf://datasets/lab/toy@v7/data/toy.json"), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/lab/toy@v7/data/toy.json`: the repository has no revision `v7`
     --> e.yaml:2:49
      |
    2 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@v7/data/toy.json"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: name a branch, a tag or a whole commit of the repository, such as `main`

    1 problem; nothing was run
    "#);
    assert_snapshot!(plan("hf://datasets/lab/toy@main/data/tay.json"), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/lab/toy@main/data/tay.json`: the repository has no file or folder `data/tay.json`
     --> e.yaml:2:49
      |
    2 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/lab/toy@main/data/tay.json"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: did you mean `data/toy.json`?

    1 problem; nothing was run
    "#);
    assert_snapshot!(plan("hf://datasets/toy"), @r#"
    exit 2
    --- stderr
    error: param `path` of `data`: `hf://datasets/toy`: it has no owner or no name
     --> e.yaml:2:49
      |
    2 |   data: {use: ingest, params: {name: toy, path: "hf://datasets/toy"}}
      |                                                 ^^^^^^^^^^^^^^^^^^^
      = hint: write `hf://owner/name@revision` for a checkpoint, `hf://datasets/owner/name@revision/path` for a dataset

    1 problem; nothing was run
    "#);
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let server = library();
    server.fail(Fault::Busy(2));
    assert!(project(&server, &dataset("main")).run(&["plan", "e.yaml"]).starts_with("exit 0"));
}

#[test]
fn no_room_and_no_place_to_write_are_told_before_bytes_come() {
    let server = library();
    server.fail(Fault::Pretend(1 << 60));
    let full = project(&server, &dataset("main"));
    let told = exec(&full);
    assert!(told.contains("more are needed, and") && told.contains("HF_HOME"), "{told}");
    assert_eq!(server.downloads(), Vec::<String>::new());
    server.mend();
    let occupied = project(&server, &dataset("main")).write("occupied", "a file, not a folder");
    let home = occupied.path().join("occupied").display().to_string();
    assert_snapshot!(exec(&occupied.with("HF_HOME", &home)), @"
    exit 1
    --- stderr
    fetch hf://datasets/lab/toy@main/data/toy.json  1 file, 228 B
    error: `hf://datasets/lab/toy@main/data/toy.json`: cannot make `occupied/hub/datasets--lab--toy/blobs`: Not a directory (os error 20)
    hint: let `HF_HOME` or `HF_HUB_CACHE` name a folder that can be written
    ");
}

#[test]
fn programs_are_told_of_files_as_events() {
    let server = library();
    let project = project(&server, &dataset("main"));
    let events = project.json(&["exec", "e.yaml", "--format", "json"]);
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert_eq!(of("fetching").len(), 2);
    assert_eq!(of("fetching")[0]["what"], format!("hf://{TOY}@main/data/toy.json"));
    assert_eq!(of("fetched")[0]["bytes"], DATA.len());
}
