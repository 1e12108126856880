//! What a cluster wants to be told: the settings of a site, and which of them hold for a stage.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::devices::Device;
use crate::plan::Planned;
use crate::stage::{Call, Minutes, Resources, Task};

/// The settings of a site, all of which may be left out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// What every job asks for.
    pub resources: Resources,
    /// What the jobs of accelerated stages ask for besides.
    pub accelerated: Resources,
    /// Stage kind → what its jobs ask for besides.
    pub kinds: BTreeMap<String, Resources>,
    /// The kinds that run on the machine where `exec` runs, because they are cheap.
    pub local: Vec<String>,
    /// This program, as compute nodes find it. The one that runs, where nothing is said.
    pub program: Option<PathBuf>,
    /// A file of shell commands that every job executes first, such as `module load cuda`.
    pub prelude: Option<PathBuf>,
    /// The variables of the environment that jobs get, besides those that say where programs and libraries
    /// are.
    pub export: Vec<String>,
    /// How many stages are in the queue or run at a time.
    pub queued: u16,
    /// How many tasks of one array run at a time.
    pub running: Option<u32>,
    /// How many tasks an array has at most, where the cluster allows more.
    pub array: Option<usize>,
    /// How many times a minute something is submitted at most. What becomes ready meanwhile is submitted
    /// together.
    pub submissions_per_minute: f64,
    /// Seconds between two looks at the queue at most; shortly after something happened it is less.
    pub poll: f64,
    /// Seconds until a job that has ended or is in no list, and has left no exit file, is given up.
    pub grace: f64,
    /// How many times a stage is submitted again whose node failed, whose job is gone, or that reached a
    /// limit of time or memory, which is then doubled. Preempted jobs do not count.
    pub retries: u32,
}

impl Default for Site {
    fn default() -> Site {
        Site {
            resources: Resources::default(),
            accelerated: Resources::default(),
            kinds: BTreeMap::new(),
            local: Vec::new(),
            program: None,
            prelude: None,
            export: Vec::new(),
            queued: 200,
            running: None,
            array: None,
            submissions_per_minute: 20.0,
            poll: 30.0,
            grace: 120.0,
            retries: 2,
        }
    }
}

/// How much longer than its stages a job may take, which begins with what the site has it do first.
const MARGIN: Duration = Duration::from_secs(300);

/// Long options of `sbatch` that the program sets itself, and short ones for the same.
const RESERVED: [&str; 17] = [
    "--array",
    "-a",
    "--chdir",
    "-D",
    "--dependency",
    "-d",
    "--error",
    "-e",
    "--export",
    "--job-name",
    "-J",
    "--output",
    "-o",
    "--open-mode",
    "--parsable",
    "--wrap",
    "--wait",
];

impl Site {
    /// What is wrong with the settings, besides their types.
    ///
    /// # Errors
    ///
    /// One line that says it.
    pub fn check<'a>(&self, kinds: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let known: Vec<&str> = kinds.into_iter().collect();
        if let Some(kind) = self.kinds.keys().chain(&self.local).find(|kind| !known.contains(&kind.as_str())) {
            return Err(format!("there is no stage kind `{kind}`; there are {}", known.join(", ")));
        }
        for resources in [&self.resources, &self.accelerated].into_iter().chain(self.kinds.values()) {
            check(resources)?;
        }
        let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(format!("`{name}` must be above 0")),
        };
        positive("submissions_per_minute", self.submissions_per_minute)?;
        positive("poll", self.poll)?;
        positive("grace", self.grace)?;
        positive("queued", f64::from(self.queued))?;
        positive("running", self.running.map_or(1.0, f64::from))?;
        positive("array", self.array.map_or(1.0, |array| array as f64))?;
        let named = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if let Some(name) = self.export.iter().find(|name| name.is_empty() || !named(name)) {
            return Err(format!("`export` lists names of variables, and `{name}` is none"));
        }
        Ok(())
    }

    /// Whether a stage runs on the machine where `exec` runs.
    pub(super) fn is_local(&self, kind: &str) -> bool {
        self.local.iter().any(|local| local == kind)
    }

    /// Whether an execution stays on the machine where `exec` runs: one of a cheap kind, or one that only puts
    /// together what shards left.
    pub(super) fn keeps(&self, call: &Call) -> bool {
        self.is_local(&call.kind) || matches!(call.task, Task::Merge(_))
    }

    /// Settles for a stage what its job asks for, and what it computes on: an accelerator if its job has
    /// one, unless the experiment or `processor` says otherwise.
    ///
    /// # Errors
    ///
    /// If the experiment asks for what it may not.
    pub fn arrange(&self, planned: &mut Planned, processor: bool) -> Result<(), String> {
        let name = planned.name().to_string();
        check(&planned.execution.slurm).map_err(|wrong| format!("`execution.slurm` of `{name}`: {wrong}"))?;
        let mut resources = self.resources.clone();
        if planned.accelerated && !processor {
            resources = resources.with(&self.accelerated);
        }
        if let Some(kind) = self.kinds.get(&planned.kind) {
            resources = resources.with(kind);
        }
        resources = resources.with(&planned.execution.slurm);
        if planned.accelerated {
            let gpu = resources.gpu() && !processor && !self.is_local(&planned.kind);
            Arc::make_mut(&mut planned.execution).device = if gpu { Device::Cuda(0) } else { Device::Cpu };
            planned.accelerated = false;
        }
        // A stage that is stopped by itself needs no more than that.
        if let (None, Some(timeout)) = (resources.time, planned.execution.timeout) {
            let stages = resources.bundle.unwrap_or(1).max(1);
            resources.time = Some(Minutes::covering(timeout.duration() * stages + MARGIN));
        }
        resources.cpus.get_or_insert(planned.execution.threads.max(1) as u32);
        Arc::make_mut(&mut planned.execution).slurm = resources;
        Ok(())
    }
}

/// Refuses options that would keep the program from finding its jobs, and what would be an option where
/// a value belongs.
fn check(resources: &Resources) -> Result<(), String> {
    for option in &resources.options {
        let name = option.split(['=', ' ']).next().unwrap_or_default();
        if !name.starts_with('-') || option.chars().any(char::is_control) {
            return Err(format!("`{option}` is no option of sbatch; write one as `--qos=long`"));
        }
        // A short option may have its value right behind it.
        let short = |reserved: &str| reserved.len() == 2 && !name.starts_with("--") && name.starts_with(reserved);
        if RESERVED.iter().any(|reserved| name == *reserved || short(reserved)) {
            return Err(format!("`{name}` is set by the program itself and cannot be among `options`"));
        }
    }
    for (what, value) in
        [("partition", &resources.partition), ("account", &resources.account), ("gres", &resources.gres)]
    {
        if value.as_ref().is_some_and(|value| value.is_empty() || value.chars().any(|c| c.is_control() || c == ' ')) {
            return Err(format!("`{what}` must be a word"));
        }
    }
    if resources.bundle == Some(0) || resources.cpus == Some(0) {
        return Err("`bundle` and `cpus` are whole numbers from 1 up".to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::plan::Params;
    use crate::slots::Slots;
    use crate::stage::{Execution, Shard};

    fn site(value: serde_json::Value) -> Site {
        serde_json::from_value(value).unwrap()
    }

    fn planned(kind: &str, accelerated: bool, slurm: serde_json::Value) -> Planned {
        let slurm = serde_json::from_value(slurm).unwrap();
        Planned {
            names: vec!["a".to_string()],
            kind: kind.to_string(),
            version: 1,
            params: Params::default(),
            externals: BTreeMap::new(),
            inputs: Slots::new(),
            outputs: Arc::default(),
            execution: Arc::new(Execution { threads: 4, slurm, ..Execution::default() }),
            accelerated,
        }
    }

    #[test]
    fn a_stage_asks_for_what_site_kind_and_experiment_say_the_last_one_first() {
        let site = site(json!({
            "resources": {"partition": "cpu", "account": "lab", "time": "1 h"},
            "accelerated": {"partition": "gpu", "gres": "gpu:1"},
            "kinds": {"train": {"time": "1-0"}},
        }));
        let mut train = planned("train", true, json!({"memory": "80G", "options": ["--qos=long"]}));
        site.arrange(&mut train, false).unwrap();
        assert_eq!(train.execution.device, Device::Cuda(0));
        assert_eq!(
            serde_json::to_value(&train.execution.slurm).unwrap(),
            json!({"partition": "gpu", "account": "lab", "gres": "gpu:1", "time": "1440 min", "memory": "81920M",
                   "cpus": 4, "options": ["--qos=long"]})
        );
        let mut select = planned("select", false, json!({}));
        site.arrange(&mut select, false).unwrap();
        assert_eq!((select.execution.device, select.execution.slurm.gres.as_deref()), (Device::Cpu, None));
        let mut train = planned("train", true, json!({}));
        site.arrange(&mut train, true).unwrap();
        assert_eq!((train.execution.device, train.execution.slurm.partition.as_deref()), (Device::Cpu, Some("cpu")));
    }

    #[test]
    fn shards_are_jobs_and_what_puts_them_together_stays_here() {
        let keeps = |kind: &str, task| {
            let call = json!({"kind": kind, "params": {}, "inputs": {}, "outputs": {}, "externals": {},
                              "locations": {}, "execution": {}});
            let call = Call { task, ..serde_json::from_value(call).unwrap() };
            site(json!({"local": ["select"]})).keeps(&call)
        };
        let shard = Task::Shard(Shard { index: 0, count: 2 });
        assert!(keeps("select", Task::Whole) && keeps("score", Task::Merge(Vec::new())));
        assert!(!keeps("score", Task::Whole) && !keeps("score", shard));
    }

    #[test]
    fn a_job_may_take_as_long_as_its_stages_may_where_nobody_says_how_long() {
        let time = |slurm, timeout: &str| {
            let mut planned = planned("train", false, slurm);
            Arc::make_mut(&mut planned.execution).timeout = Some(timeout.parse().unwrap());
            Site::default().arrange(&mut planned, false).unwrap();
            planned.execution.slurm.time.unwrap().0
        };
        assert_eq!(time(json!({}), "2 h"), 125);
        assert_eq!(time(json!({}), "90 s"), 7);
        assert_eq!(time(json!({"bundle": 10}), "30 s"), 10);
        assert_eq!(time(json!({"time": "8 h"}), "2 h"), 480);
    }

    #[test]
    fn what_a_site_may_not_say_is_refused() {
        let check = |value| site(value).check(["train", "select"]).unwrap_err();
        assert_eq!(check(json!({"local": ["slect"]})), "there is no stage kind `slect`; there are train, select");
        for option in ["--job-name=mine", "-Jmine", "--output", "--array=0-3", "-o/tmp/x"] {
            let message = check(json!({"resources": {"options": [option]}}));
            assert!(message.contains("is set by the program itself"), "{option}: {message}");
        }
        assert!(check(json!({"resources": {"options": ["qos=long"]}})).contains("is no option of sbatch"));
        assert!(check(json!({"resources": {"partition": "a b"}})).contains("must be a word"));
        assert_eq!(check(json!({"poll": 0})), "`poll` must be above 0");
        assert!(check(json!({"export": ["A=1"]})).contains("is none"));
        assert!(serde_json::from_value::<Site>(json!({"partition": "gpu"})).is_err(), "it belongs to `resources`");
        let mut stage = planned("train", true, json!({"options": ["--wrap=reboot"]}));
        assert!(Site::default().arrange(&mut stage, false).unwrap_err().starts_with("`execution.slurm` of `a`"));
    }
}
