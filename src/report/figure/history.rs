//! Results over time, arm by arm: what figures of lines and of skills are made of.

use indexmap::{IndexMap, IndexSet};

use super::FigureError;
use super::spec::{FigureSpec, Value};
use crate::artifact::Metrics;
use crate::report::{Cell, Moment};
use crate::selection::metrics;

/// The results of one replicate of one arm.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The arm, where the experiment has arms.
    pub arm: Option<String>,
    /// The seed, where the experiment has seeds.
    pub seed: Option<u64>,
    /// When it was evaluated.
    pub moments: Vec<Moment>,
    /// The results of each time.
    pub steps: Vec<Metrics>,
}

/// What is called so where the experiment has no arms.
pub const ONLY: &str = "all";

impl History {
    /// What a figure calls the arm.
    pub fn label(&self) -> &str {
        self.arm.as_deref().unwrap_or(ONLY)
    }

    fn benchmarks(&self) -> Vec<(&String, &str)> {
        let first = self.steps.first().into_iter().flat_map(|step| &step.benchmarks);
        first.map(|(name, benchmark)| (name, benchmark.skill.as_str())).collect()
    }

    fn matrix(&self) -> Vec<Vec<f64>> {
        let row = |step: &Metrics| step.benchmarks.values().map(|benchmark| benchmark.value).collect();
        self.steps.iter().map(row).collect()
    }
}

/// The values of all arms over time, replicates put together.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// When the arms that follow the sequence were evaluated.
    pub moments: Vec<Moment>,
    /// All skills.
    pub skills: Vec<String>,
    /// Arm → skill → a cell for each moment; a single one for an arm that does not follow the sequence.
    pub arms: IndexMap<String, IndexMap<String, Vec<Cell>>>,
    /// Arm → the mean over all skills.
    pub means: IndexMap<String, Vec<Cell>>,
}

impl Course {
    /// Puts the histories of a figure together.
    ///
    /// # Errors
    ///
    /// If there are none, or they cannot be compared.
    pub fn of(
        spec: &FigureSpec,
        histories: &[History],
        value: Value,
        relative_to: Option<&str>,
    ) -> Result<Course, FigureError> {
        let none = || FigureError::NoResults(spec.name.clone());
        let first = histories.iter().find(|history| !history.steps.is_empty()).ok_or_else(none)?;
        let benchmarks = first.benchmarks();
        let other = histories.iter().find(|history| {
            history.steps.iter().any(|step| {
                let names = step.benchmarks.iter().map(|(name, benchmark)| (name, benchmark.skill.as_str()));
                !names.eq(benchmarks.iter().copied())
            })
        });
        if let Some(other) = other {
            return Err(FigureError::OtherBenchmarks(other.label().to_string()));
        }
        let longest = histories.iter().max_by_key(|history| (in_chain(&history.moments), history.moments.len()));
        let moments = longest.map(|history| history.moments.clone()).unwrap_or_default();
        let skills: IndexSet<&str> = benchmarks.iter().map(|(_, skill)| *skill).collect();
        let shown: IndexSet<&str> =
            histories.iter().filter(|history| spec.shows(history.arm.as_deref())).map(History::label).collect();
        let order: Vec<&str> = match spec.arms.as_slice() {
            [] => shown.into_iter().collect(),
            arms => arms.iter().map(String::as_str).collect(),
        };
        let mut course = Course {
            moments,
            skills: skills.iter().map(ToString::to_string).collect(),
            arms: IndexMap::new(),
            means: IndexMap::new(),
        };
        for arm in order {
            let replicates: Vec<&History> = histories.iter().filter(|history| history.label() == arm).collect();
            let mut values = Vec::new();
            for history in &replicates {
                values.push(values_of(history, histories, &benchmarks, value, relative_to)?);
            }
            let over = |pick: &dyn Fn(&[Option<f64>]) -> Option<f64>| -> Vec<Cell> {
                let times = values.iter().map(Vec::len).max().unwrap_or(0);
                let cell = |time: usize| {
                    Cell::of(values.iter().map(|steps| steps.get(time).and_then(|step| pick(step))).collect())
                };
                (0..times).map(cell).collect()
            };
            let of: Vec<&str> = benchmarks.iter().map(|(_, skill)| *skill).collect();
            let by_skill = |skill: &&str| {
                let cells = over(&|step| metrics::by_skill(&of, step).get(*skill).copied());
                (skill.to_string(), cells)
            };
            course.arms.insert(arm.to_string(), skills.iter().map(by_skill).collect());
            course.means.insert(arm.to_string(), over(&|step| metrics::over_skills(&of, step)));
        }
        Ok(course)
    }

    /// The names of the moments; `start` for those before the chain.
    pub fn names(&self, start: Option<&str>) -> Vec<String> {
        let name = |moment: &Moment| match (moment.step, start) {
            (None, Some(start)) => start.to_string(),
            _ => moment.name.clone(),
        };
        self.moments.iter().map(name).collect()
    }

    /// Whether an arm follows the sequence.
    pub fn follows(&self, cells: &[Cell]) -> bool {
        cells.len() == self.moments.len()
    }
}

fn in_chain(moments: &[Moment]) -> usize {
    moments.iter().filter(|moment| moment.step.is_some()).count()
}

/// Time step → benchmark → value; a single time step for an arm without a chain beside others that
/// have one: the last, for what was before is not its own.
fn values_of(
    history: &History,
    histories: &[History],
    benchmarks: &[(&String, &str)],
    value: Value,
    relative_to: Option<&str>,
) -> Result<Vec<Vec<Option<f64>>>, FigureError> {
    let mut steps = history.matrix();
    let chained = histories.iter().any(|other| in_chain(&other.moments) > 0);
    if chained && in_chain(&history.moments) == 0 {
        steps = steps.pop().into_iter().collect();
    }
    let known = |step: &Vec<f64>| step.iter().copied().map(Some).collect();
    match (value, relative_to) {
        (Value::RelativeGain, Some(arm)) => {
            let same = |other: &&History| other.arm.as_deref() == Some(arm) && other.seed == history.seed;
            let missing = || FigureError::NoReference { run: history.label().to_string(), arm: arm.to_string() };
            let reference = histories.iter().find(same).ok_or_else(missing)?;
            let upper = metrics::best(&reference.matrix());
            let last = history.steps.last();
            let chance = |(name, _): &(&String, &str)| {
                last.and_then(|step| step.benchmarks.get(*name)).map_or(0.0, |b| b.chance)
            };
            let chance: Vec<f64> = benchmarks.iter().map(chance).collect();
            Ok(steps.iter().map(|step| metrics::relative_gain(step, &upper, &chance)).collect())
        }
        _ => Ok(steps.iter().map(known).collect()),
    }
}
