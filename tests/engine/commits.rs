//! The way of a result into the cache, and what a crash leaves at each point of it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use indexmap::IndexMap;
use runner::cache::{Cache, Found, Lookup, Origin, Provenance, Ticket};
use runner::devices::Device;
use runner::fingerprint::Key;
use serde_json::{Map, json};

use crate::project::{Project, Sketch};
use crate::toys;

fn key(text: &str) -> Key {
    Key::new("write", 1, json!({"text": text}).as_object().unwrap(), &BTreeMap::new())
}

fn slots() -> Arc<IndexMap<String, String>> {
    Arc::new(IndexMap::from([("out".to_string(), "text".to_string())]))
}

fn miss(cache: &mut Cache, key: &Key) -> Ticket {
    match cache.lookup(key, &slots()).unwrap() {
        Lookup::Miss(claim) => claim.ticket().unwrap(),
        Lookup::Hit(outputs) => panic!("a hit: {outputs:?}"),
        Lookup::Taken(owner) => panic!("taken: {owner:?}"),
    }
}

fn fill(ticket: &Ticket, content: &str) {
    fs::write(ticket.directories()["out"].join("text.txt"), content).unwrap();
}

fn provenance() -> Provenance {
    let origin = Origin { host: "here".into(), git_commit: None, runner: "0".into() };
    Provenance {
        kind: "write".into(),
        name: "s0/write".into(),
        experiment: "toys".into(),
        started: 1.0,
        wall: 2.0,
        cpu: 3.0,
        memory: Some(4),
        device: Device::Cpu,
        origin,
    }
}

/// A project whose disk is as that of `project` is now, with nobody using it: what a crash at this
/// moment leaves.
fn crashed(project: &Project) -> Project {
    let copy = Project::new();
    let status = Command::new("cp").arg("-r").arg(project.path("work")).arg(copy.path("work")).status();
    assert!(status.unwrap().success());
    copy
}

#[test]
fn a_crash_at_any_point_of_a_commit_leaves_a_whole_result_or_none() {
    let project = Project::new();
    let mut sketch = Sketch::new();
    sketch.write("stage", "content");
    let key = key("content");
    let mut cache = project.cache();

    let ticket = miss(&mut cache, &key);
    fill(&ticket, "cont");
    let half_written = crashed(&project);
    fill(&ticket, "content");
    let written = crashed(&project);
    let sealed = ticket.seal().unwrap();
    let in_the_store = crashed(&project);
    cache.record(sealed, &provenance()).unwrap();
    let committed = crashed(&project);

    for (point, runs) in [(half_written, 1), (written, 1), (in_the_store, 1), (committed, 0)] {
        assert_eq!(point.cache().entries().unwrap().len(), 1 - runs);
        assert_eq!(point.run(&sketch.plan).ran().len(), runs);
        assert_eq!(point.text(&sketch.plan, "stage"), "content");
        assert_eq!(point.cache().entries().unwrap().len(), 1);
        assert_eq!(point.left_in("staging").len(), 1 - runs, "a run that writes sweeps what the dead one left");
    }
}

#[test]
fn a_dropped_ticket_leaves_nothing() {
    let project = Project::new();
    let mut cache = project.cache();
    let ticket = miss(&mut cache, &key("a"));
    fill(&ticket, "a");
    let scratch = ticket.scratch().to_path_buf();
    drop(ticket);
    assert!(!scratch.exists());
    drop(cache);
    assert_eq!(project.left_in("staging").len(), 0);
}

#[test]
fn of_two_processes_the_first_result_wins_and_the_other_is_recorded() {
    let project = Project::new();
    let key = key("a");
    let (mut one, mut two) = (project.cache(), project.cache());
    let first = miss(&mut one, &key);
    // The other one takes it for dead.
    one.release(&[key.fingerprint]).unwrap();
    let second = miss(&mut two, &key);
    fill(&first, "first");
    fill(&second, "second");
    let won = one.record(first.seal().unwrap(), &provenance()).unwrap();
    assert_eq!(two.record(second.seal().unwrap(), &provenance()).unwrap(), won);
    assert_eq!(toys::text(&two.path(&won["out"])), "first");
    let divergences = one.divergences().unwrap();
    assert_eq!(divergences.len(), 1);
    assert_eq!(divergences[0].first, won["out"]);
}

#[test]
fn what_another_process_finished_meanwhile_is_a_hit() {
    let project = Project::new();
    let key = key("a");
    let (mut one, mut two) = (project.cache(), project.cache());
    drop(miss(&mut two, &key));
    assert!(matches!(one.lookup(&key, &slots()).unwrap(), Lookup::Taken(owner) if owner.process == std::process::id()));
    two.release(&[key.fingerprint]).unwrap();
    let ticket = miss(&mut one, &key);
    fill(&ticket, "a");
    let outputs = one.record(ticket.seal().unwrap(), &provenance()).unwrap();
    assert!(matches!(two.lookup(&key, &slots()).unwrap(), Lookup::Hit(hit) if hit == outputs));
}

#[test]
fn of_many_keys_those_are_claimed_that_nobody_has_and_nobody_makes() {
    let project = Project::new();
    let (mut one, mut two) = (project.cache(), project.cache());
    let keys = ["made", "made there", "being made", "new"].map(key);
    for (cache, key) in [(&mut one, &keys[0]), (&mut two, &keys[1])] {
        let ticket = miss(cache, key);
        fill(&ticket, "a");
        cache.record(ticket.seal().unwrap(), &provenance()).unwrap();
    }
    drop(miss(&mut two, &keys[2]));
    let slots = slots();
    let found = one.lookup_all(&keys.each_ref().map(|key| (key, &slots))).unwrap();
    use Lookup::{Hit, Miss, Taken};
    assert!(matches!(&found[..], [Hit(_), Hit(_), Taken(_), Miss(_)]), "{found:?}");
    assert!(matches!(two.lookup(&keys[3], &slots).unwrap(), Taken(_)));
}

#[test]
fn a_result_says_where_it_comes_from() {
    let project = Project::new();
    let key = key("a");
    let mut cache = project.cache();
    let ticket = miss(&mut cache, &key);
    fill(&ticket, "a");
    fs::write(ticket.directories()["out"].join("summary.json"), r#"{"samples": 1}"#).unwrap();
    let artifact = cache.record(ticket.seal().unwrap(), &provenance()).unwrap()["out"];

    let entry = cache.entry(&key.fingerprint).unwrap().unwrap();
    assert_eq!(entry.provenance, provenance());
    assert_eq!(entry.params(), *json!({"text": "a"}).as_object().unwrap());
    assert_eq!(entry.outputs["out"].digest, artifact);
    assert_eq!(entry.outputs["out"].bytes, 15);
    assert_eq!(cache.producers(&artifact).unwrap(), std::slice::from_ref(&entry));
    assert_eq!(
        cache.find(&artifact.short()).unwrap(),
        [Found::Artifact(entry.outputs["out"].clone(), vec![entry.clone()])]
    );
    assert_eq!(cache.find(&key.fingerprint.to_string()).unwrap(), [Found::Entry(entry)]);
    assert_eq!(cache.find("no digits").unwrap(), []);
    assert_eq!(cache.summary(&artifact).unwrap(), Map::from_iter([("samples".to_string(), json!(1))]));
    let manifest = cache.manifest(&artifact).unwrap();
    assert_eq!(manifest.kind, "text");
    assert_eq!(manifest.files.keys().collect::<Vec<_>>(), ["summary.json", "text.txt"]);
}

#[test]
fn digests_of_files_outside_are_remembered_by_the_next_process() {
    let project = Project::new();
    let folder = project.path("images");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.png"), "a").unwrap();
    let digest = project.cache().digest(&folder).unwrap();
    fs::write(folder.join("a.png"), "b").unwrap();
    assert_ne!(project.cache().digest(&folder).unwrap(), digest);
    fs::write(folder.join("a.png"), "a").unwrap();
    assert_eq!(project.cache().digest(&folder).unwrap(), digest);
}
