//! The plan: a frozen acyclic graph of stages and the report that is made of their outputs.
//!
//! Unaware of the experiment language, of keys, of the cache and of how stages are run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Index;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::params::Params;
use crate::digest::Digest;
use crate::report::{ItemSpec, Moment};
use crate::slots::Slots;
use crate::stage::{Execution, External};
use crate::text::{did_you_mean, ticked_list};
use indexmap::IndexMap;
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

/// The place of a stage in its plan. Producers always come before their consumers, so ascending
/// indices are a topological order.
pub type StageIndex = NodeIndex<u32>;

/// All stages that an experiment needs, each once, with edges from producers to consumers.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The experiment's name: its file's stem, such as `table3`.
    pub experiment: String,
    /// The experiment's headline.
    pub title: String,
    /// What to render when the stages are done.
    pub report: Vec<PlannedItem>,
    /// How many stages of the experiment are not in the graph because they are equal to one that is.
    pub shared: usize,
    graph: DiGraph<Planned, (), u32>,
}

/// A stage with everything that its result depends on resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// `<arm>/s<seed>/t<step>/<stage>`, without the segments that the experiment does not have; one
    /// for each stage that this one stands for, the first for display.
    pub names: Vec<String>,
    /// The stage kind.
    pub kind: String,
    /// The version of the kind.
    pub version: u32,
    /// All params in the order of the declaration; a path param holds the digest of what it names.
    pub params: Params,
    /// Path param → what it names.
    pub externals: BTreeMap<String, External>,
    /// Input slot → where its artifact comes from. Slots that are not used are absent.
    pub inputs: Slots<Source>,
    /// Output slot → artifact kind.
    pub outputs: Arc<IndexMap<String, String>>,
    /// How to run; shared with the stages that are the same but for their seed and time step.
    pub execution: Arc<Execution>,
    /// Whether the scheduler chooses the device: the kind computes on an accelerator where there is
    /// one, and the experiment names no device.
    pub accelerated: bool,
}

/// Where the artifact of an input slot comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An output of another stage.
    Stage(Output),
    /// An artifact directory outside the store.
    External(External),
}

/// An output slot of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Output {
    /// The stage.
    pub stage: StageIndex,
    /// The slot.
    pub slot: String,
}

/// An item of the report, with the artifacts that it is made of.
#[derive(Debug, Clone)]
pub struct PlannedItem {
    /// What the experiment says of it.
    pub spec: ItemSpec,
    /// One for each arm and seed, in the order of the experiment.
    pub runs: Vec<ReportRun>,
}

/// What one arm with one seed brings to an item of the report.
#[derive(Debug, Clone)]
pub struct ReportRun {
    /// The arm, if the experiment has arms.
    pub arm: Option<String>,
    /// The seed, if the experiment has seeds.
    pub seed: Option<u64>,
    /// What the item calls it → the artifacts, in the order of the time steps where there are several.
    pub outputs: BTreeMap<String, Vec<Output>>,
    /// When each of the artifacts was made.
    pub moments: BTreeMap<String, Vec<Moment>>,
}

impl ReportRun {
    /// The artifacts that the item calls `name`, in the order of the time steps.
    pub fn outputs(&self, name: &str) -> &[Output] {
        self.outputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// When each of the artifacts that the item calls `name` was made.
    pub fn moments(&self, name: &str) -> &[Moment] {
        self.moments.get(name).map_or(&[], Vec::as_slice)
    }
}

/// A name that does not mean one stage of the plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No stage is called like this.
    #[error("no stage `{name}` in `{experiment}`{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The experiment.
        experiment: String,
        /// The stage that was most likely meant.
        near: Option<String>,
    },
    /// Several stages are called like this.
    #[error("`{name}` could be {}", several(candidates))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The display names of the stages it could mean.
        candidates: Vec<String>,
    },
}

/// The first few candidates, and how many more there are.
fn several(candidates: &[String]) -> String {
    const MOST: usize = 8;
    match candidates.len() {
        0..=MOST => ticked_list(candidates),
        more => format!("{}, or {} others", ticked_list(&candidates[..MOST]), more - MOST),
    }
}

impl Plan {
    /// A plan without stages.
    pub fn new(experiment: String, title: String) -> Plan {
        Plan { experiment, title, report: Vec::new(), shared: 0, graph: DiGraph::default() }
    }

    /// Adds a stage whose producers are all in the plan.
    pub fn add(&mut self, planned: Planned) -> StageIndex {
        let producers: BTreeSet<StageIndex> = planned.producers().collect();
        let stage = self.graph.add_node(planned);
        for producer in producers {
            debug_assert!(producer < stage, "a stage cannot read a later one");
            self.graph.add_edge(producer, stage, ());
        }
        stage
    }

    /// Lets a stage of the plan also stand for the stage called `name`.
    pub fn share(&mut self, stage: StageIndex, name: String) {
        self.graph[stage].names.push(name);
        self.shared += 1;
    }

    /// The part of the plan that these stages need, without a report.
    pub fn only(&self, stages: &[StageIndex]) -> Plan {
        let mut needed: BTreeSet<StageIndex> = stages.iter().copied().collect();
        let mut waiting = stages.to_vec();
        while let Some(stage) = waiting.pop() {
            waiting.extend(self.producers(stage).filter(|producer| needed.insert(*producer)));
        }
        let mut part = Plan::new(self.experiment.clone(), self.title.clone());
        let mut places = BTreeMap::new();
        for stage in needed {
            let mut planned = self[stage].clone();
            planned.inputs = planned.inputs.map(|source| match source {
                Source::Stage(Output { stage, slot }) => {
                    Source::Stage(Output { stage: places[stage], slot: slot.clone() })
                }
                external => external.clone(),
            });
            part.shared += planned.names.len() - 1;
            places.insert(stage, part.add(planned));
        }
        part
    }

    /// For each stage the digest of everything that makes it equal to another, of this plan or of a
    /// different one.
    pub fn identities(&self) -> Vec<Digest> {
        let mut identities = Vec::with_capacity(self.len());
        let mut text = Vec::new();
        for stage in self.order() {
            let identity = self[stage].identity(|producer| identities[producer.index()], &mut text);
            identities.push(identity);
        }
        identities
    }

    /// How many stages there are.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.graph.node_count() == 0
    }

    /// All stages, producers before consumers.
    pub fn order(&self) -> impl DoubleEndedIterator<Item = StageIndex> + ExactSizeIterator + use<> {
        self.graph.node_indices()
    }

    /// The stages that this stage reads.
    pub fn producers(&self, stage: StageIndex) -> impl Iterator<Item = StageIndex> + '_ {
        self.graph.neighbors_directed(stage, Direction::Incoming)
    }

    /// The stages that read this stage.
    pub fn consumers(&self, stage: StageIndex) -> impl Iterator<Item = StageIndex> + '_ {
        self.graph.neighbors_directed(stage, Direction::Outgoing)
    }

    /// The graph itself, for algorithms over it.
    pub fn graph(&self) -> &DiGraph<Planned, (), u32> {
        &self.graph
    }

    /// Where everything outside the store is that a stage or a stage upstream of it names.
    pub fn locations(&self, stage: StageIndex) -> BTreeMap<Digest, PathBuf> {
        let mut locations = BTreeMap::new();
        let mut seen = BTreeSet::from([stage]);
        let mut waiting = vec![stage];
        while let Some(stage) = waiting.pop() {
            let planned = &self[stage];
            let inputs = planned.inputs.values().filter_map(Source::external);
            let externals = planned.externals.values().chain(inputs);
            locations.extend(externals.map(|external| (external.digest, external.path.clone())));
            waiting.extend(self.producers(stage).filter(|producer| seen.insert(*producer)));
        }
        locations
    }

    /// Where everything outside the store is that a stage reads: what it names itself, and what a path
    /// param upstream named, for artifacts refer to that. An artifact directory from outside that a
    /// stage upstream read is not among them: that stage has made its results of it.
    pub fn read_by(&self, stage: StageIndex) -> BTreeSet<&Path> {
        let inputs = self[stage].inputs.values().filter_map(Source::external);
        let mut paths: BTreeSet<&Path> = inputs.map(|external| external.path.as_path()).collect();
        let mut seen = BTreeSet::from([stage]);
        let mut waiting = vec![stage];
        while let Some(stage) = waiting.pop() {
            paths.extend(self[stage].externals.values().map(|external| external.path.as_path()));
            waiting.extend(self.producers(stage).filter(|producer| seen.insert(*producer)));
        }
        paths
    }

    /// The stage called `name`: in full, or by any of its `/`-separated segments in their order, as
    /// long as only one stage has them.
    ///
    /// # Errors
    ///
    /// If no stage or more than one is called so.
    pub fn find(&self, name: &str) -> Result<StageIndex, NameError> {
        let mut candidates = Vec::new();
        for stage in self.order() {
            let names = &self[stage].names;
            if names.iter().any(|full| full == name) {
                return Ok(stage);
            }
            if names.iter().any(|full| has_segments(full, name)) {
                candidates.push(stage);
            }
        }
        match candidates.as_slice() {
            [stage] => Ok(*stage),
            [] => {
                let known = self.graph.node_weights().flat_map(|planned| planned.names.iter().map(String::as_str));
                Err(NameError::Unknown {
                    name: name.to_string(),
                    experiment: self.experiment.clone(),
                    near: did_you_mean(name, known).map(str::to_string),
                })
            }
            several => {
                let candidates = several.iter().map(|stage| self[*stage].name().to_string()).collect();
                Err(NameError::Ambiguous { name: name.to_string(), candidates })
            }
        }
    }

    /// The graph in the DOT language, for Graphviz.
    pub fn dot(&self) -> String {
        let mut text = String::from("digraph {\n  rankdir=LR\n  node [shape=box]\n");
        for stage in self.order() {
            let planned = &self[stage];
            let name = planned.name().replace('\\', "\\\\").replace('"', "\\\"");
            let more = match planned.names.len() {
                1 => String::new(),
                names => format!("\\n= {} more", names - 1),
            };
            let _ = writeln!(text, "  {} [label=\"{name}\\n{}{more}\"]", stage.index(), planned.kind);
        }
        for stage in self.order() {
            for (slot, source) in self[stage].inputs.iter() {
                if let Source::Stage(output) = source {
                    let _ = writeln!(text, "  {} -> {} [label=\"{slot}\"]", output.stage.index(), stage.index());
                }
            }
        }
        text.push_str("}\n");
        text
    }
}

impl Plan {
    /// Changes how stages run. Nothing that their results depend on is to be changed.
    pub fn arrange(&mut self, arrangement: impl FnMut(&mut Planned)) {
        self.graph.node_weights_mut().for_each(arrangement);
    }
}

impl Index<StageIndex> for Plan {
    type Output = Planned;

    fn index(&self, stage: StageIndex) -> &Planned {
        &self.graph[stage]
    }
}

impl Planned {
    /// The name to display.
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// The digest of everything that makes it equal to another stage; `of` is that of a stage that it
    /// reads, and `text` a buffer.
    pub(super) fn identity(&self, of: impl Fn(StageIndex) -> Digest, text: &mut Vec<u8>) -> Digest {
        text.clear();
        serde_json::to_writer(&mut *text, &(&self.kind, self.version, &self.params))
            .unwrap_or_else(|error| panic!("BUG: JSON values cannot be written as JSON: {error}"));
        // Slots have no zero byte and digests a fixed length, so the text can be read in one way only.
        for (slot, source) in self.inputs.iter() {
            let (digest, output) = match source {
                Source::Stage(output) => (of(output.stage), output.slot.as_str()),
                Source::External(external) => (external.digest, ""),
            };
            for part in [slot.as_bytes(), &[0], digest.bytes(), output.as_bytes(), &[0]] {
                text.extend_from_slice(part);
            }
        }
        Digest::of(text)
    }

    /// The stages that it reads, once for each slot.
    pub fn producers(&self) -> impl Iterator<Item = StageIndex> + '_ {
        self.inputs.values().filter_map(|source| match source {
            Source::Stage(output) => Some(output.stage),
            Source::External(_) => None,
        })
    }
}

impl Source {
    /// What it is outside the store, if it is there.
    pub fn external(&self) -> Option<&External> {
        match self {
            Source::Stage(_) => None,
            Source::External(external) => Some(external),
        }
    }
}

/// Whether the segments of `part` occur in `full` in their order.
fn has_segments(full: &str, part: &str) -> bool {
    let mut segments = full.split('/');
    part.split('/').all(|wanted| segments.any(|segment| segment == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, inputs: &[(&str, Source)], external: Option<(&str, &str)>) -> Planned {
        let external = external.map(|(param, path)| {
            let external = External { path: path.into(), digest: Digest::of(path.as_bytes()) };
            (param.to_string(), external)
        });
        Planned {
            names: vec![name.to_string()],
            kind: "toy".to_string(),
            version: 1,
            params: Params::default(),
            externals: external.into_iter().collect(),
            inputs: inputs.iter().map(|(slot, source)| (slot.to_string(), source.clone())).collect(),
            outputs: Arc::new(IndexMap::from([("out".to_string(), "toy".to_string())])),
            execution: Arc::default(),
            accelerated: false,
        }
    }

    fn of(stage: StageIndex) -> Source {
        Source::Stage(Output { stage, slot: "out".to_string() })
    }

    fn sample() -> Plan {
        let mut plan = Plan::new("sample".to_string(), "A sample".to_string());
        let data = plan.add(stage("Random/s0/data", &[], Some(("path", "/data/a.json"))));
        plan.share(data, "None/s0/data".to_string());
        let left = plan.add(stage("Random/s0/t1/train", &[("data", of(data)), ("again", of(data))], None));
        plan.add(stage("Random/s0/t2/train", &[("data", of(left))], Some(("path", "/data/b.json"))));
        plan
    }

    #[test]
    fn a_stage_that_reads_another_twice_has_one_edge_to_it() {
        let plan = sample();
        let order: Vec<StageIndex> = plan.order().collect();
        assert_eq!(plan.graph().edge_count(), 2);
        assert_eq!(plan.consumers(order[0]).collect::<Vec<_>>(), [order[1]]);
        assert_eq!(plan.producers(order[2]).collect::<Vec<_>>(), [order[1]]);
        assert_eq!((plan.len(), plan.shared), (3, 1));
    }

    #[test]
    fn a_stage_is_found_by_its_segments_or_by_the_name_of_one_that_it_stands_for() {
        let plan = sample();
        assert_eq!(plan.find("t2/train").unwrap().index(), 2);
        assert_eq!(plan.find("None/data").unwrap().index(), 0);
        assert_eq!(
            plan.find("train").unwrap_err().to_string(),
            "`train` could be `Random/s0/t1/train` and `Random/s0/t2/train`"
        );
        assert_eq!(
            plan.find("Random/s0/t3/train").unwrap_err().to_string(),
            "no stage `Random/s0/t3/train` in `sample`; did you mean `Random/s0/t1/train`?"
        );
    }

    #[test]
    fn a_stage_is_equal_to_one_of_another_plan_that_is_made_of_equal_ones() {
        let (plan, mut other) = (sample(), Plan::new("other".to_string(), String::new()));
        other.add(Planned { version: 2, ..stage("unlike", &[], None) });
        let mut planned = plan[StageIndex::new(0)].clone();
        planned.names = vec!["elsewhere".to_string()];
        let data = other.add(planned);
        other.add(stage("renamed", &[("data", of(data)), ("again", of(data))], None));
        other.add(stage("wired otherwise", &[("data", of(data))], None));
        let (ours, theirs) = (plan.identities(), other.identities());
        let equal = |digest: &Digest| ours.iter().position(|own| own == digest);
        assert_eq!(theirs.iter().map(equal).collect::<Vec<_>>(), [None, Some(0), Some(1), None]);
    }

    #[test]
    fn a_part_of_a_plan_is_what_its_stages_need() {
        let plan = sample();
        let part = plan.only(&[plan.find("t1/train").unwrap()]);
        let names: Vec<&str> = part.order().map(|stage| part[stage].name()).collect();
        assert_eq!(names, ["Random/s0/data", "Random/s0/t1/train"]);
        assert_eq!((part.graph().edge_count(), part.shared), (1, 1));
    }

    #[test]
    fn a_stage_reads_what_path_params_upstream_name_but_not_the_artifacts_that_others_read() {
        let external = |path: &str| External { path: path.into(), digest: Digest::of(path.as_bytes()) };
        let mut plan = sample();
        let model = Source::External(external("/models/a"));
        let trained = plan.add(stage("more", &[("model", model), ("data", of(StageIndex::new(0)))], None));
        let last = plan.add(stage("last", &[("model", of(trained))], None));
        let paths = |stage| plan.read_by(stage).into_iter().map(Path::to_path_buf).collect::<Vec<_>>();
        assert_eq!(paths(trained), [PathBuf::from("/data/a.json"), PathBuf::from("/models/a")]);
        assert_eq!(paths(last), [PathBuf::from("/data/a.json")]);
    }

    #[test]
    fn a_stage_knows_where_everything_upstream_is() {
        let plan = sample();
        let paths = |index| -> Vec<PathBuf> {
            let mut paths: Vec<PathBuf> = plan.locations(StageIndex::new(index)).into_values().collect();
            paths.sort();
            paths
        };
        assert_eq!(paths(1), [PathBuf::from("/data/a.json")]);
        assert_eq!(paths(2), [PathBuf::from("/data/a.json"), PathBuf::from("/data/b.json")]);
    }
}
