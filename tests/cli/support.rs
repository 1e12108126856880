//! Small projects in temporary directories, and what the stories share.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runner::console::diagnostics;
use runner::digest::Digest;
use runner::plan::{Externals, Plan, Refusal, Source, plan};
use runner::spec::{Overrides, read};
use runner::stage::{Context, Registry, Stage};

/// A directory with the files of a story.
pub struct Project {
    directory: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

impl Project {
    pub fn new() -> Project {
        Project { directory: tempfile::tempdir().unwrap(), environment: BTreeMap::new() }
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

    /// The project with a variable in the environment of the program.
    pub fn with(mut self, name: &str, value: &str) -> Project {
        self.environment.insert(name.to_string(), value.to_string());
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

    /// Runs the program in the project.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The program in the project, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(arguments).current_dir(self.path()).env("COLUMNS", "100").env_remove("RUST_BACKTRACE");
        // Whoever runs the tests may have a token, a cache, a remote or a proxy.
        let personal = [
            "HF_",
            "HTTP",
            "http",
            "ALL_PROXY",
            "all_proxy",
            "NO_PROXY",
            "no_proxy",
            "AWS_",
            "GOOGLE_",
            "AZURE_",
            "RUNNER_REMOTE",
        ];
        for (name, _) in std::env::vars_os() {
            if personal.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                command.env_remove(name);
            }
        }
        command.envs(&self.environment);
        command
    }

    /// Runs the program and tells all that it said, without what differs from run to run: times, sizes
    /// in memory, digests and the project's place.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let mut told = format!("exit {}\n", output.status.code().unwrap());
        for (name, text) in [("stdout", output.stdout), ("stderr", output.stderr)] {
            if !text.is_empty() {
                told.push_str(&format!("--- {name}\n{}", String::from_utf8(text).unwrap()));
            }
        }
        redacted(&self.anonymous(&told))
    }

    /// The JSON values that the program writes to its standard output.
    pub fn json(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let output = self.output(arguments).stdout;
        serde_json::Deserializer::from_slice(&output).into_iter().map(Result::unwrap).collect()
    }

    /// `text` without the place of the project.
    fn anonymous(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.path().display()), "")
    }
}

/// `text` without durations, sizes, dates and digests.
fn redacted(text: &str) -> String {
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let unit = [" s", " KiB", " MiB", " GiB"].into_iter().find(|unit| rest[number..].starts_with(unit));
        let ends = |unit: &str| !rest[number + unit.len()..].starts_with(|c: char| c.is_alphanumeric());
        let word = redacted.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if !word && end >= 12 {
            redacted.push_str("[digest]");
            rest = &rest[end..];
        } else if !word && rest.starts_with("20") && rest[number..].starts_with('-') && rest.len() >= 23 {
            redacted.push_str("[date]");
            rest = &rest[23..];
        } else if let (false, Some(unit)) = (word || number == 0, unit.filter(|unit| ends(unit))) {
            redacted.push_str(if unit == " s" { "[time]" } else { "[memory]" });
            rest = &rest[number + unit.len()..];
        } else {
            redacted.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    redacted
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
    fn locate(&self, value: &str, relative_to: &Path) -> Result<PathBuf, Refusal> {
        if value.contains("missing") {
            return Err(format!("there is no file or folder `{value}`").into());
        }
        Ok(relative_to.join(value))
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, Refusal> {
        Ok(Digest::of(path.file_name().unwrap().as_encoded_bytes()))
    }

    fn names(&self, _: &Path) -> Result<Option<Vec<String>>, Refusal> {
        Ok(Some(vec!["config.json".to_string(), "model.safetensors".to_string()]))
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
