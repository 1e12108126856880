//! Which stage computes on which device. The devices are made up: nothing but their names is used.

use std::collections::BTreeMap;
use std::sync::Arc;

use runner::devices::Device;
use runner::plan::StageIndex;
use runner::scheduler::{DevicePool, Event, Options};
use serde_json::{Value, json};

use crate::project::{Project, Sketch, Story, planned};

/// Stages of the accelerated kind `compute`, `number` of which must run at once to come to an end.
struct Bench {
    project: Project,
    sketch: Sketch,
}

impl Bench {
    fn new() -> Bench {
        let project = Project::new();
        std::fs::create_dir(project.path("place")).unwrap();
        Bench { project, sketch: Sketch::new() }
    }

    fn params(&self, name: &str, number: usize) -> Value {
        json!({"name": name, "place": self.project.path("place"), "number": number})
    }

    fn compute(&mut self, name: &str, number: usize) {
        self.add(name, number, None);
    }

    fn add(&mut self, name: &str, number: usize, pinned: Option<Device>) -> StageIndex {
        let mut stage = planned(name, "compute", self.params(name, number), &[]);
        stage.accelerated = pinned.is_none();
        Arc::make_mut(&mut stage.execution).device = pinned.unwrap_or_default();
        self.sketch.plan.add(stage)
    }

    fn run(&self, jobs: usize, devices: DevicePool) -> Story {
        let story = self.project.run_with(&self.sketch.plan, Options { jobs, devices, ..Options::default() });
        assert!(story.outcome.is_complete(), "{:?}", story.outcome.failures);
        story
    }
}

/// Stage → device, as the events tell it.
fn devices(story: &Story) -> BTreeMap<String, String> {
    let started = story.events.iter().filter_map(|event| match event {
        Event::Started { stage, device, .. } => Some((stage.clone(), device.to_string())),
        _ => None,
    });
    started.collect()
}

/// The most stages that ever computed at once on each device.
fn most(story: &Story) -> BTreeMap<Device, usize> {
    let (mut now, mut most) = (BTreeMap::<Device, usize>::new(), BTreeMap::new());
    for event in &story.events {
        match event {
            Event::Started { device, .. } => *now.entry(*device).or_default() += 1,
            Event::Finished { device, .. } => *now.entry(*device).or_default() -= 1,
            _ => continue,
        }
        for (device, number) in &now {
            let highest: &mut usize = most.entry(*device).or_default();
            *highest = (*highest).max(*number);
        }
    }
    most
}

#[test]
fn several_devices_run_several_stages_and_each_stage_is_told_its_own() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.compute(name, 3);
    }
    let story = bench.run(8, DevicePool::new(vec![Device::Cuda(0), Device::Cuda(1), Device::Cuda(2)], 1));
    let told = devices(&story);
    assert_eq!(told.values().collect::<Vec<_>>(), ["cuda:0", "cuda:1", "cuda:2"]);
    for (stage, device) in &told {
        assert_eq!(bench.project.text(&bench.sketch.plan, stage), *device);
    }
}

#[test]
fn a_device_runs_no_more_stages_at_once_than_it_has_places() {
    let mut bench = Bench::new();
    for number in 0..6 {
        bench.compute(&number.to_string(), 1);
    }
    let one = bench.run(8, DevicePool::new(vec![Device::Cuda(0)], 1));
    assert_eq!(most(&one), BTreeMap::from([(Device::Cuda(0), 1)]));

    let mut bench = Bench::new();
    for name in ["a", "b", "c", "d"] {
        bench.compute(name, 4);
    }
    let shared = bench.run(8, DevicePool::new(vec![Device::Cuda(0), Device::Cuda(1)], 2));
    assert_eq!(most(&shared), BTreeMap::from([(Device::Cuda(0), 2), (Device::Cuda(1), 2)]));
}

#[test]
fn a_stage_on_a_device_takes_its_processor_slots_too() {
    let mut bench = Bench::new();
    for number in 0..4 {
        bench.compute(&number.to_string(), 1);
    }
    let story = bench.run(1, DevicePool::new(vec![Device::Cuda(0), Device::Cuda(1)], 1));
    assert_eq!(most(&story).values().sum::<usize>(), 1, "one slot, one stage at a time");
}

#[test]
fn without_devices_accelerated_stages_run_on_the_processor_as_its_slots_allow() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.compute(name, 3);
    }
    let story = bench.run(3, DevicePool::default());
    assert_eq!(most(&story), BTreeMap::from([(Device::Cpu, 3)]));
}

#[test]
fn other_stages_run_on_the_processor_while_the_devices_are_taken() {
    let mut bench = Bench::new();
    bench.compute("accelerated", 2);
    bench.sketch.stage("plain", "meet", bench.params("plain", 2), &[]);
    let story = bench.run(2, DevicePool::new(vec![Device::Cuda(0)], 1));
    assert_eq!(devices(&story)["accelerated"], "cuda:0");
    assert_eq!(devices(&story)["plain"], "cpu");
}

#[test]
fn an_experiment_can_pin_a_stage_to_the_processor_or_to_a_device() {
    let mut bench = Bench::new();
    bench.add("slow", 1, Some(Device::Cpu));
    bench.add("one", 1, Some(Device::Cuda(1)));
    bench.add("two", 1, Some(Device::Cuda(1)));
    let story = bench.run(8, DevicePool::new(vec![Device::Cuda(0), Device::Cuda(1)], 1));
    let told = devices(&story);
    assert_eq!((&*told["slow"], &*told["one"], &*told["two"]), ("cpu", "cuda:1", "cuda:1"));
    assert_eq!(most(&story)[&Device::Cuda(1)], 1);
}

#[test]
fn a_result_remembers_its_device_and_is_fresh_on_any_other() {
    let mut bench = Bench::new();
    bench.compute("a", 1);
    bench.run(1, DevicePool::new(vec![Device::Cuda(3)], 1));
    let entry = bench.project.cache().entries().unwrap().pop().unwrap();
    assert_eq!(entry.provenance.device, Device::Cuda(3));
    assert_eq!(serde_json::to_value(&entry).unwrap()["device"], "cuda:3");
    assert_eq!(bench.run(1, DevicePool::default()).ran(), Vec::<&str>::new());
}
