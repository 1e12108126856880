//! A project in a temporary directory: sketch a plan, run it, read what happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indexmap::IndexMap;
use runner::cache::Cache;
use runner::plan::{Output, Plan, Planned, Source, StageIndex};
use runner::scheduler::{Event, Examination, Executor, InProcess, Options, Outcome, Verdict, examine, run};
use runner::stage::External;
use serde_json::{Value, json};

use crate::toys;

/// A work directory and whatever else a story needs.
pub struct Project {
    root: tempfile::TempDir,
}

/// What happened in a run.
pub struct Story {
    pub outcome: Outcome,
    pub events: Vec<Event>,
}

impl Project {
    pub fn new() -> Project {
        Project { root: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn cache(&self) -> Cache {
        Cache::open(&self.path("work")).unwrap()
    }

    /// An external file with this content.
    pub fn file(&self, name: &str, content: &str) -> External {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        External { digest: self.cache().digest(&path).unwrap(), path }
    }

    pub fn run(&self, plan: &Plan) -> Story {
        self.run_with(plan, Options { jobs: 1, keep_going: false, ..Options::default() })
    }

    pub fn run_with(&self, plan: &Plan, options: Options) -> Story {
        self.run_by(plan, options, &InProcess::new(&toys::registry()))
    }

    pub fn run_by(&self, plan: &Plan, options: Options, executor: &dyn Executor) -> Story {
        self.run_until(plan, options, executor, |_, _| {})
    }

    /// Runs with someone who sees every event and may set the interrupt.
    pub fn run_until(
        &self,
        plan: &Plan,
        options: Options,
        executor: &dyn Executor,
        mut watch: impl FnMut(&Event, &AtomicBool),
    ) -> Story {
        let interrupt = AtomicBool::new(false);
        let mut events = Vec::new();
        let mut listen = |event: Event| {
            watch(&event, &interrupt);
            events.push(event);
        };
        let outcome = run(plan, &mut self.cache(), executor, &options, &mut listen, &interrupt).unwrap();
        Story { outcome, events }
    }

    pub fn examine(&self, plan: &Plan) -> Examination {
        examine(plan, &mut self.cache()).unwrap()
    }

    /// What `plan` would say of a stage, one reason per line.
    pub fn verdict(&self, plan: &Plan, name: &str) -> String {
        let said = |word: &str, reasons: &[runner::fingerprint::DirtyReason]| {
            let reasons: Vec<String> = reasons.iter().map(|reason| reason.to_string()).collect();
            format!("{word}: {}", reasons.join("; "))
        };
        match &self.examine(plan)[plan.find(name).unwrap()].verdict {
            Verdict::Fresh => "fresh".to_string(),
            Verdict::Run(reasons) => said("run", reasons),
            Verdict::Maybe(reasons) => said("maybe", reasons),
        }
    }

    /// The directory of the artifact that a stage made.
    pub fn artifact(&self, plan: &Plan, name: &str) -> PathBuf {
        let outputs = &self.examine(plan)[plan.find(name).unwrap()].outputs;
        self.cache().path(&outputs["out"])
    }

    /// The text that a stage made.
    pub fn text(&self, plan: &Plan, name: &str) -> String {
        toys::text(&self.artifact(plan, name))
    }

    /// The entries of a directory below the work directory, none if it is not there.
    pub fn left_in(&self, directory: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("work").join(directory));
        entries.map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
    }
}

impl Story {
    /// The stages that were started, in that order.
    pub fn ran(&self) -> Vec<&str> {
        let started = self.events.iter().filter_map(|event| match event {
            Event::Started { stage, .. } => Some(stage.as_str()),
            _ => None,
        });
        started.collect()
    }

    /// The stages that might have had to run, and did not.
    pub fn fresh(&self) -> Vec<&str> {
        let fresh = self.events.iter().filter_map(|event| match event {
            Event::Fresh { stage } => Some(stage.as_str()),
            _ => None,
        });
        fresh.collect()
    }

    /// Why a stage ran.
    pub fn reasons(&self, name: &str) -> Vec<String> {
        let reasons = self.events.iter().find_map(|event| match event {
            Event::Started { stage, reasons, .. } if stage == name => Some(reasons),
            _ => None,
        });
        reasons.expect("the stage ran").iter().map(|reason| reason.to_string()).collect()
    }
}

/// A plan to be.
pub struct Sketch {
    pub plan: Plan,
}

impl Sketch {
    pub fn new() -> Sketch {
        Sketch { plan: Plan::new("toys".to_string(), "Toys".to_string()) }
    }

    /// Adds a stage that reads the output of others in its slots `0`, `1`, ….
    pub fn stage(&mut self, name: &str, kind: &str, params: Value, inputs: &[StageIndex]) -> StageIndex {
        self.plan.add(planned(name, kind, params, inputs))
    }

    /// Adds a stage that writes a text.
    pub fn write(&mut self, name: &str, text: &str) -> StageIndex {
        self.stage(name, "write", json!({"text": text}), &[])
    }

    /// Adds a stage that joins texts and a text of its own.
    pub fn join(&mut self, name: &str, text: &str, inputs: &[StageIndex]) -> StageIndex {
        self.stage(name, "join", json!({"text": text}), inputs)
    }

    /// Adds a stage that reads a file outside.
    pub fn read(&mut self, name: &str, file: &External, append: &str) -> StageIndex {
        let params = json!({"file": file.digest.to_string(), "text": append});
        let mut planned = planned(name, "read", params, &[]);
        planned.externals = BTreeMap::from([("file".to_string(), file.clone())]);
        self.plan.add(planned)
    }
}

pub fn planned(name: &str, kind: &str, params: Value, inputs: &[StageIndex]) -> Planned {
    let source = |stage: &StageIndex| Source::Stage(Output { stage: *stage, slot: "out".to_string() });
    Planned {
        names: vec![name.to_string()],
        kind: kind.to_string(),
        version: 1,
        params: params.as_object().unwrap().clone().into(),
        externals: BTreeMap::new(),
        inputs: inputs.iter().enumerate().map(|(slot, stage)| (slot.to_string(), source(stage))).collect(),
        outputs: Arc::new(IndexMap::from([("out".to_string(), "text".to_string())])),
        execution: Arc::default(),
        accelerated: false,
    }
}

/// Every file below a directory with its content.
pub fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(
                contents(&path)
                    .into_iter()
                    .map(|(name, content)| (Path::new(path.file_name().unwrap()).join(name), content)),
            );
        } else {
            files.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
        }
    }
    files
}
