//! Stages that are split into shards.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use runner::cache::Entry;
use runner::devices::Device;
use runner::plan::{Plan, StageIndex};
use runner::scheduler::{DevicePool, Event, Options};
use serde_json::json;

use crate::project::{Project, Sketch, Story, contents, planned};

/// Seven letters, shouted by a stage in so many shards, of which so many run at once; and a stage that reads
/// what comes of it.
struct Choir {
    project: Project,
    shards: usize,
    together: usize,
    text: String,
}

impl Choir {
    fn of(shards: usize) -> Choir {
        let project = Project::new();
        fs::create_dir(project.path("place")).unwrap();
        Choir { project, shards, together: 1, text: "seventh".to_string() }
    }

    fn plan(&self) -> Plan {
        let mut sketch = Sketch::new();
        let first = sketch.write("text", &self.text);
        let shout = self.shout(&[first]);
        let shout = sketch.plan.add(shout);
        sketch.stage("end", "length", json!({}), &[shout]);
        sketch.plan
    }

    fn shout(&self, inputs: &[StageIndex]) -> runner::plan::Planned {
        let params = json!({"place": self.project.path("place"), "number": self.together});
        let mut shout = planned("shout", "shout", params, inputs);
        Arc::make_mut(&mut shout.execution).shards = self.shards;
        shout.accelerated = true;
        shout
    }

    fn run(&self, jobs: usize, keep_going: bool) -> Story {
        self.project.run_with(&self.plan(), Options { jobs, keep_going, ..Options::default() })
    }

    /// What fails from now on.
    fn breaks(&self, what: &str) {
        fs::write(self.project.path("place/broken"), what).unwrap();
    }

    /// The shards that ran since this was last asked, with what they computed on.
    fn sang(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for entry in fs::read_dir(self.project.path("place")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != "broken" {
                fs::remove_file(&path).unwrap();
                notes.push(path.file_name().unwrap().to_str().unwrap().to_string());
            }
        }
        notes.sort();
        notes
    }

    fn rows(&self) -> BTreeMap<String, Entry> {
        let entries = self.project.cache().entries().unwrap();
        entries.into_iter().map(|entry| (entry.provenance.name.clone(), entry)).collect()
    }
}

fn failures(story: &Story) -> Vec<String> {
    story.outcome.failures.iter().map(|failure| format!("{}: {}", failure.stage, failure.message)).collect()
}

#[test]
fn however_many_shards_there_are_the_key_and_the_bytes_are_the_same() {
    let whole = Choir::of(1);
    whole.run(1, false);
    let expected = &whole.rows()["shout"];
    let bytes = contents(&whole.project.artifact(&whole.plan(), "shout"));
    for shards in [2, 3, 7, 9] {
        let choir = Choir::of(shards);
        let story = choir.run(2, false);
        assert!(story.outcome.is_complete(), "{:?}", failures(&story));
        assert_eq!(choir.sang().len(), shards);
        let row = &choir.rows()["shout"];
        // The place is another one in each project, and a param.
        let place = |text: &str, choir: &Choir| text.replace(choir.project.path("place").to_str().unwrap(), "place");
        assert_eq!(place(&row.key, &choir), place(&expected.key, &whole));
        assert_eq!(row.outputs, expected.outputs);
        assert_eq!(contents(&choir.project.artifact(&choir.plan(), "shout")), bytes);
        assert_eq!(choir.project.text(&choir.plan(), "end"), "7");
    }
}

#[test]
fn a_run_tells_of_the_stage_and_counts_no_shards() {
    let choir = Choir::of(4);
    let story = choir.run(1, false);
    assert_eq!(story.ran(), ["text", "shout", "end"]);
    let summary = &story.outcome.summary;
    assert_eq!((summary.ran, summary.fresh, summary.failed, summary.left), (3, 0, 0, 0));
    let told = story.events.iter().filter_map(|event| match event {
        Event::Progress { stage, done, total, unit } if stage == "shout" => Some(format!("{done}/{total} {unit}")),
        _ => None,
    });
    let told: Vec<String> = told.collect();
    assert_eq!(told[0], "2/8 letters, 0/4 shards");
    assert_eq!(told.last().unwrap(), "7/7 letters, 4/4 shards");
    let warned = story.events.iter().filter(|event| matches!(event, Event::Warning { stage, .. } if stage == "shout"));
    assert_eq!(warned.count(), 1, "the shards say the same");
    let finished = story.events.iter().filter(|event| matches!(event, Event::Finished { .. })).count();
    assert_eq!(finished, 3);

    let again = choir.run(1, false);
    assert_eq!((again.ran().len(), again.outcome.summary.fresh), (0, 3));
}

#[test]
fn shards_run_side_by_side_on_all_devices_and_merging_needs_none() {
    let choir = Choir { together: 3, ..Choir::of(3) };
    let devices = DevicePool::new(vec![Device::Cuda(0), Device::Cuda(1)], 2);
    let options = Options { jobs: 3, keep_going: false, devices, ..Options::default() };
    let story = choir.project.run_with(&choir.plan(), options);
    assert!(story.outcome.is_complete(), "{:?}", failures(&story));
    assert_eq!(choir.sang(), ["1 on cuda:0", "2 on cuda:1", "3 on cuda:0"]);
    assert_eq!(choir.rows()["shout"].provenance.device, Device::Cuda(0), "what it cost, it cost there");
}

#[test]
fn the_next_run_does_the_shards_that_are_missing_and_no_others() {
    let choir = Choir::of(4);
    choir.breaks("3/4");
    let story = choir.run(1, false);
    assert_eq!(failures(&story), ["shout: shard 3/4: 3/4 is broken"]);
    let summary = &story.outcome.summary;
    assert_eq!((summary.ran, summary.failed, summary.skipped, summary.left), (1, 1, 1, 0));
    assert_eq!(choir.sang(), ["1 on cpu", "2 on cpu"]);

    choir.breaks("4/4");
    choir.run(1, false);
    assert_eq!(choir.sang(), ["3 on cpu"]);

    choir.breaks("nothing");
    let story = choir.run(1, false);
    assert_eq!(story.ran(), ["shout", "end"]);
    assert_eq!(choir.sang(), ["4 on cpu"]);
    assert_eq!(choir.project.text(&choir.plan(), "shout"), "SEVENTH");
}

#[test]
fn shards_beside_a_broken_one_are_done_if_the_run_goes_on_and_what_reads_the_stage_is_skipped() {
    let choir = Choir::of(4);
    choir.breaks("1/4");
    let story = choir.run(1, true);
    assert_eq!(failures(&story), ["shout: shard 1/4: 1/4 is broken"]);
    assert_eq!(choir.sang(), ["2 on cpu", "3 on cpu", "4 on cpu"]);
    let skipped = Event::Skipped { stage: "end".to_string(), because: "shout".to_string() };
    assert!(story.events.contains(&skipped));
    let summary = &story.outcome.summary;
    assert_eq!((summary.ran, summary.failed, summary.skipped, summary.left), (1, 1, 1, 0));
}

#[test]
fn merging_is_done_again_from_the_shards_that_are_there_and_a_damaged_one_is_made_again() {
    let choir = Choir::of(3);
    choir.breaks("merge");
    let story = choir.run(1, false);
    assert_eq!(failures(&story), ["shout: merge is broken"]);
    assert_eq!(choir.sang().len(), 3);
    choir.breaks("nothing");

    let cache = choir.project.cache();
    let shard = &choir.rows()["shout [2/3]"];
    let path = cache.path(&shard.outputs["shard"].digest).join("letters.json");
    drop(cache);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![b'x'; bytes.len()]).unwrap();
    let story = choir.run(1, false);
    assert!(story.outcome.is_complete(), "{:?}", failures(&story));
    assert_eq!(choir.sang(), ["2 on cpu"]);
    assert_eq!(choir.project.text(&choir.plan(), "shout"), "SEVENTH");
}

#[test]
fn no_shard_runs_if_the_result_is_there_after_all() {
    let mut choir = Choir::of(3);
    let plan = |choir: &Choir| {
        let mut sketch = Sketch::new();
        let text = sketch.write("text", &choir.text);
        let length = sketch.stage("length", "length", json!({}), &[text]);
        let shout = choir.shout(&[length]);
        sketch.plan.add(shout);
        sketch.plan
    };
    choir.project.run(&plan(&choir));
    assert_eq!(choir.sang().len(), 3);
    choir.text = "another".to_string();
    let story = choir.project.run(&plan(&choir));
    assert_eq!((story.ran(), story.fresh()), (vec!["text", "length"], vec!["shout"]));
    assert_eq!(choir.sang(), Vec::<String>::new());
    assert_eq!(choir.project.text(&plan(&choir), "shout"), "7");
}

#[test]
fn shards_of_another_number_or_micro_batch_are_not_used() {
    let mut choir = Choir::of(4);
    choir.breaks("4/4");
    choir.run(1, false);
    assert_eq!(choir.sang().len(), 3);
    choir.shards = 3;
    choir.breaks("3/3");
    choir.run(1, false);
    assert_eq!(choir.sang().len(), 2);

    let mut plan = Sketch::new().plan;
    let text = plan.add(planned("text", "write", json!({"text": "seventh"}), &[]));
    let mut shout = choir.shout(&[text]);
    Arc::make_mut(&mut shout.execution).micro_batch = 7;
    plan.add(shout);
    choir.breaks("nothing");
    assert!(choir.project.run(&plan).outcome.is_complete());
    assert_eq!(choir.sang().len(), 3);
}

#[test]
fn a_stage_costs_what_its_shards_cost_whenever_they_ran() {
    let choir = Choir::of(3);
    choir.breaks("3/3");
    choir.run(1, false);
    choir.breaks("nothing");
    let story = choir.run(1, false);
    let rows = choir.rows();
    let whole = &rows["shout"].provenance;
    let shards: Vec<_> = (1..=3).map(|shard| &rows[&format!("shout [{shard}/3]")].provenance).collect();
    assert!(whole.wall > shards.iter().map(|shard| shard.wall).sum());
    assert!(whole.cpu > shards.iter().map(|shard| shard.cpu).sum());
    assert_eq!(whole.started, shards[0].started);
    assert!(shards.iter().all(|shard| shard.kind == "shout shard"));
    let summary = &story.outcome.summary;
    let before = rows["text"].provenance.cpu + shards[0].cpu + shards[1].cpu;
    assert!((summary.saved - before).abs() < 1e-9, "{} and {before}", summary.saved);
    let now = whole.cpu - shards[0].cpu - shards[1].cpu + rows["end"].provenance.cpu;
    assert!((summary.cpu - now).abs() < 1e-9, "{} and {now}", summary.cpu);
}
