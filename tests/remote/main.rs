//! A remote cache in an S3 server, and what goes wrong between here and there.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use hyper::Method;
use indexmap::IndexMap;
use runner::cache::{Cache, Health, Lookup, Origin, Provenance};
use runner::devices::Device;
use runner::fingerprint::Key;
use serde_json::{Map, Value};

use server::{Asked, BUCKET, Fault, KEY, SECRET, Server};

/// A server and the stores of several machines.
struct Lab {
    server: Server,
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        Lab { server: Server::start(&folder.path().join("server")), folder }
    }

    fn store(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A result with these files in the store of a machine.
    fn make(&self, store: &str, name: &str, files: &[(&str, Vec<u8>)]) {
        let mut cache = Cache::open(&self.store(store)).unwrap();
        let params = Map::from_iter([("name".to_string(), Value::from(name))]);
        let key = Key::new("toy", 1, &params, &BTreeMap::new());
        let outputs = Arc::new(IndexMap::from([("out".to_string(), "text".to_string())]));
        let Lookup::Miss(claim) = cache.lookup(&key, &outputs).unwrap() else { panic!("`{name}` is there") };
        let ticket = claim.ticket().unwrap();
        for (path, content) in files {
            fs::write(ticket.directories()["out"].join(path), content).unwrap();
        }
        let origin = Origin { host: "here".into(), git_commit: None, runner: "0".into() };
        let provenance = Provenance {
            kind: "toy".into(),
            name: name.into(),
            experiment: "toys".into(),
            started: 1.5,
            wall: 20.0,
            cpu: 40.0,
            memory: Some(7),
            device: Device::Cpu,
            origin,
        };
        cache.record(ticket.seal().unwrap(), &provenance).unwrap();
    }

    fn command(&self, command: &str, store: &str) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_runner"));
        let remote = format!("s3://{BUCKET}/shared");
        program.args([command, "--format", "json", "--remote", &remote, "--store", store]);
        program.current_dir(self.folder.path());
        program.env("AWS_ENDPOINT_URL", self.server.endpoint()).env("AWS_ALLOW_HTTP", "true");
        program.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("RUNNER_REMOTE_PAUSE", "2");
        program
    }

    /// What the command tells, and its exit code.
    fn run(&self, command: &str, store: &str) -> (Value, Option<i32>) {
        let output = self.command(command, store).output().unwrap();
        (told(&output), output.status.code())
    }

    /// All results of a store, after every byte was checked.
    fn verified(&self, store: &str) -> BTreeSet<String> {
        let cache = Cache::open(&self.store(store)).unwrap();
        let entries = cache.entries().unwrap().into_iter();
        let one = |entry: runner::cache::Entry| {
            let digest = entry.outputs["out"].digest;
            assert_eq!(cache.store().verify_again(&digest), Health::Intact);
            format!("{} {digest} {:?}", entry.fingerprint, entry.provenance)
        };
        entries.map(one).collect()
    }
}

fn told(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains(SECRET));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// Bytes that no two parts have in common.
fn many(mebibytes: u32) -> Vec<u8> {
    (0..mebibytes << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// How often each thing was done.
fn done(asked: &[Asked], method: &Method, what: &str) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for asked in asked.iter().filter(|asked| asked.done && asked.method == *method && asked.place.contains(what)) {
        *times.entry(asked.place.clone()).or_default() += 1;
    }
    times
}

/// A lab whose machine `a` has three results; two files of them are equal.
fn three() -> Lab {
    let lab = Lab::new();
    for name in ["one", "two", "three"] {
        lab.make("a", name, &[("own.txt", name.as_bytes().to_vec()), ("same.txt", b"same".to_vec())]);
    }
    lab
}

#[test]
fn what_one_machine_pushed_another_pulls_and_nothing_is_sent_twice() {
    let lab = three();
    let (told, code) = lab.run("push", "a");
    assert_eq!((code, &told["results"], &told["files"]), (Some(0), &3.into(), &4.into()), "{told}");
    let asked = lab.server.asked();
    assert!(asked.iter().all(|asked| asked.place.starts_with("/lab/shared/v1/")));
    assert_eq!(done(&asked, &Method::PUT, "/entries/").len(), 3);
    let entry = asked.iter().position(|asked| asked.place.contains("/entries/") && asked.method == Method::PUT);
    let first_file = asked.iter().position(|asked| asked.place.contains("/files/") && asked.method == Method::PUT);
    assert!(first_file < entry);

    let (told, _) = lab.run("push", "a");
    assert_eq!((&told["results"], &told["there"]), (&0.into(), &3.into()));
    assert_eq!(lab.server.asked().len(), 3, "an entry says that all of it is there");

    let (told, code) = lab.run("pull", "b");
    assert_eq!((code, &told["results"], &told["failures"]), (Some(0), &3.into(), &Value::Array(vec![])), "{told}");
    assert_eq!(lab.verified("b"), lab.verified("a"), "and so is what is known of them");
    let (told, _) = lab.run("pull", "b");
    assert_eq!((&told["results"], &told["here"]), (&0.into(), &3.into()));
}

#[test]
fn a_push_that_ended_in_the_middle_goes_on_where_it_was() {
    let lab = three();
    lab.server.fail(Fault::Gone(2));
    let (told, code) = lab.run("push", "a");
    assert_eq!(code, Some(1), "{told}");
    assert!(told["failures"].to_string().contains("cannot be reached"), "{told}");
    let before = lab.server.asked();
    assert!(done(&before, &Method::PUT, "/entries/").is_empty() || lab.run("pull", "c").1 == Some(1));
    lab.server.mend();
    let (told, code) = lab.run("push", "a");
    assert_eq!((code, &told["results"]), (Some(0), &3.into()), "{told}");
    let all = [before, lab.server.asked()].concat();
    let sent = done(&all, &Method::PUT, "/files/");
    assert!(sent.values().sum::<usize>() <= sent.len() + 3, "what is there is not sent again: {sent:?}");
    lab.run("pull", "b");
    assert_eq!(lab.verified("b"), lab.verified("a"));
}

#[test]
fn the_parts_of_a_large_file_are_sent_once_and_fetched_once_whatever_is_cut() {
    let lab = Lab::new();
    lab.make("a", "large", &[("weights.bin", many(41))]);
    lab.server.fail(Fault::Gone(4));
    assert_eq!(lab.run("push", "a").1, Some(1));
    lab.server.mend();
    let first = lab.server.asked();
    assert_eq!(lab.run("push", "a").1, Some(0));
    let second = lab.server.asked();
    let begun = |asked: &[Asked]| done(asked, &Method::POST, "?uploads").values().sum::<usize>();
    assert_eq!((begun(&first), begun(&second)), (1, 0));
    let (earlier, later) = (done(&first, &Method::PUT, "partNumber="), done(&second, &Method::PUT, "partNumber="));
    assert!(!earlier.is_empty() && !later.is_empty());
    assert_eq!(earlier.values().chain(later.values()).sum::<usize>(), 6, "{earlier:?} {later:?}");

    lab.server.fail(Fault::Gone(3));
    assert_eq!(lab.run("pull", "b").1, Some(1));
    assert!(lab.verified("b").is_empty());
    lab.server.mend();
    let first = lab.server.asked();
    assert_eq!(lab.run("pull", "b").1, Some(0));
    let second = lab.server.asked();
    let ranges = |asked: &[Asked]| done(asked, &Method::GET, "/files/").values().sum::<usize>();
    assert_eq!((ranges(&first), ranges(&second)), (3, 3));
    assert_eq!(lab.verified("b"), lab.verified("a"));
    assert_eq!(fs::read_dir(lab.store("b").join("partial")).unwrap().count(), 0);
}

#[test]
fn answers_that_are_cut_and_servers_that_are_busy_are_asked_again() {
    let lab = three();
    for fault in [Fault::Cut(3), Fault::Busy(3)] {
        lab.server.fail(fault);
        assert_eq!(lab.run("push", "a").1, Some(0), "{fault:?}");
        lab.server.fail(fault);
        let store = format!("{fault:?}");
        assert_eq!(lab.run("pull", &store).1, Some(0), "{fault:?}");
        assert_eq!(lab.verified(&store), lab.verified("a"));
    }
}

#[test]
fn bytes_that_were_changed_on_the_way_are_refused() {
    let lab = Lab::new();
    lab.make("a", "large", &[("weights.bin", many(9))]);
    lab.make("a", "small", &[("note.txt", b"note".to_vec())]);
    assert_eq!(lab.run("push", "a").1, Some(0));
    lab.server.fail(Fault::Lies);
    let (told, code) = lab.run("pull", "b");
    assert_eq!((code, told["failures"].as_array().unwrap().len()), (Some(1), 2), "{told}");
    assert!(told["failures"].to_string().contains("sent wrong bytes for `v1/files/"), "{told}");
    assert!(lab.verified("b").is_empty());
    lab.server.mend();
    assert_eq!(lab.run("pull", "b").1, Some(0));
    assert_eq!(lab.verified("b"), lab.verified("a"));
}

#[test]
fn two_machines_may_push_the_same_at_once() {
    let lab = three();
    lab.make("a", "large", &[("weights.bin", many(20))]);
    for name in ["one", "two", "three"] {
        lab.make("b", name, &[("own.txt", name.as_bytes().to_vec()), ("same.txt", b"same".to_vec())]);
    }
    lab.make("b", "large", &[("weights.bin", many(20))]);
    let pushes: Vec<_> =
        ["a", "b"].map(|store| lab.command("push", store).stdout(Stdio::null()).spawn().unwrap()).into();
    for mut push in pushes {
        assert!(push.wait().unwrap().success());
    }
    assert_eq!(done(&lab.server.asked(), &Method::PUT, "/entries/").len(), 4);
    assert_eq!(lab.run("pull", "c").1, Some(0));
    assert_eq!(lab.verified("c"), lab.verified("a"));
}

#[test]
fn whoever_is_not_let_in_is_told_so_and_tells_no_secret() {
    let lab = three();
    for (variable, value) in [("AWS_ACCESS_KEY_ID", "AKIANOBODY"), ("AWS_SECRET_ACCESS_KEY", "open-barley-1001")] {
        let output = lab.command("push", "a").env(variable, value).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8(all).unwrap();
        assert!(all.contains("refuses") && !all.contains(value) && !all.contains("barley"), "{all}");
    }
    let output = lab.command("push", "a").env("AWS_ALLOW_HTTP", "false").output().unwrap();
    assert!(told(&output)["failures"].to_string().contains("not encrypted"));
}
