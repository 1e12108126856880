//! Small projects in temporary directories, and what the stories share.

use std::fs;
use std::path::{Path, PathBuf};

use runner::console::diagnostics;
use runner::digest::Digest;
use runner::plan::{Externals, Plan, Source, plan};
use runner::spec::{Overrides, read};
use runner::stage::{Context, Registry, Stage};

/// A directory with the files of a story.
pub struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    pub fn new() -> Project {
        Project { directory: tempfile::tempdir().unwrap() }
    }

    /// A project with one experiment, `e.yaml`.
    pub fn of(experiment: &str) -> Project {
        Project::new().write("e.yaml", experiment)
    }

    pub fn write(self, path: &str, text: &str) -> Project {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn plan(&self, registry: &Registry, overrides: &Overrides) -> Result<Plan, String> {
        plan_file(&self.path().join("e.yaml"), registry, overrides).map_err(|problems| self.anonymous(&problems))
    }

    /// The plan of `e.yaml`, one line for each stage.
    pub fn planned(&self, set: &[&str]) -> String {
        describe(&self.plan(&declared(), &overrides(set)).unwrap_or_else(|problems| panic!("{problems}")))
    }

    /// What is wrong with `e.yaml`.
    pub fn problems(&self, set: &[&str]) -> String {
        match self.plan(&declared(), &overrides(set)) {
            Ok(plan) => panic!("no problem was found:\n{}", describe(&plan)),
            Err(problems) => problems,
        }
    }

    /// `text` without the place of the project.
    fn anonymous(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.path().display()), "")
    }
}

pub fn overrides(set: &[&str]) -> Overrides {
    Overrides { set: set.iter().map(|text| text.to_string()).collect(), ..Overrides::default() }
}

pub fn plan_file(path: &Path, registry: &Registry, overrides: &Overrides) -> Result<Plan, String> {
    let (document, problems) = read(path, overrides).unwrap();
    let Some(document) = document else { return Err(diagnostics::render(&problems.tidy(1))) };
    plan(&document, registry, &mut Invented, problems).map_err(|problems| diagnostics::render(&problems))
}

/// `name  kind(param=value…)  slot=producer.slot`.
pub fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    for stage in plan.order() {
        let planned = &plan[stage];
        let inputs = planned.inputs.iter().map(|(slot, source)| match source {
            Source::Stage(output) => format!("{slot}={}.{}", plan[output.stage].name(), output.slot),
            Source::External(external) => format!("{slot}={}", external.path.file_name().unwrap().to_string_lossy()),
        });
        let words: Vec<String> =
            [format!("{}:", planned.names.join(" = ")), planned.kind.clone()].into_iter().chain(inputs).collect();
        text.push_str(&words.join(" "));
        text.push('\n');
    }
    text
}

/// Every path exists and has its name for content, unless the name says otherwise.
pub struct Invented;

impl Externals for Invented {
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, String> {
        if value.contains("missing") {
            return Err(format!("there is no file or folder `{value}`"));
        }
        Ok(relative_to.join(value))
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, String> {
        Ok(Digest::of(path.file_name().unwrap().as_encoded_bytes()))
    }
}

/// A kind with a declaration and nothing behind it, for stories that only plan.
pub struct Declared(pub &'static str);

impl Stage for Declared {
    fn declaration(&self) -> &'static str {
        self.0
    }

    fn run(&self, _: &Context<'_>) -> anyhow::Result<()> {
        anyhow::bail!("this kind only exists on paper")
    }
}

/// All kinds of the project by their declarations.
pub fn declared() -> Registry {
    static KINDS: [Declared; 8] = [
        Declared(include_str!("../../stages/ingest.yaml")),
        Declared(include_str!("../../stages/gradient.yaml")),
        Declared(include_str!("../../stages/cluster.yaml")),
        Declared(include_str!("../../stages/score.yaml")),
        Declared(include_str!("../../stages/select.yaml")),
        Declared(include_str!("../../stages/train.yaml")),
        Declared(include_str!("../../stages/prune.yaml")),
        Declared(include_str!("../../stages/evaluate.yaml")),
    ];
    let kinds: Vec<&'static dyn Stage> = KINDS.iter().map(|kind| kind as &dyn Stage).collect();
    Registry::new(&kinds)
}
