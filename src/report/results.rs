//! The values that columns show, out of the results of comparable runs.

use indexmap::IndexSet;

use super::cell::Cell;
use super::run::{Run, TableError};
use super::{Column, TableSpec};
use crate::artifact::{Benchmark, Metrics};
use crate::selection::metrics;

/// The results of all runs of a table.
pub struct Results<'a> {
    /// The arms in the order of the runs; one without a name where there are none.
    pub arms: IndexSet<Option<&'a str>>,
    /// The seeds in ascending order; one without a number where there are none.
    pub seeds: Vec<Option<u64>>,
    /// The skills in the order of the benchmarks.
    pub skills: IndexSet<&'a str>,
    runs: Vec<RunResults<'a>>,
}

/// The results of one run.
pub struct RunResults<'a> {
    run: &'a Run,
    /// The benchmarks at the last time step.
    benchmarks: Vec<&'a Benchmark>,
    /// `P[t][b]`, in percent.
    steps: Vec<Vec<f64>>,
    /// What relative gain is relative to, by benchmark; nothing where the table does not say.
    upper: Vec<f64>,
}

impl<'a> Results<'a> {
    /// Reads the runs of a table.
    ///
    /// # Errors
    ///
    /// If there is nothing to show or runs cannot be compared.
    pub fn read(spec: &TableSpec, runs: &'a [Run]) -> Result<Results<'a>, TableError> {
        let first = runs.first().ok_or_else(|| TableError::NoRuns(spec.name.clone()))?;
        let start = first.steps.first().ok_or_else(|| TableError::NoResults(first.words()))?;
        let mut results = Results {
            arms: runs.iter().map(|run| run.arm.as_deref()).collect(),
            seeds: runs.iter().map(|run| run.seed).collect(),
            skills: start.benchmarks.values().map(|benchmark| benchmark.skill.as_str()).collect(),
            runs: Vec::new(),
        };
        results.seeds.sort_unstable();
        results.seeds.dedup();
        for run in runs {
            let last = run.steps.last().ok_or_else(|| TableError::NoResults(run.words()))?;
            if let Some(step) = run.steps.iter().position(|step| !comparable(step, start)) {
                return Err(TableError::OtherBenchmarks { run: run.words(), step });
            }
            let upper = match &spec.relative_to {
                Some(arm) => {
                    let same = |other: &&Run| other.arm.as_ref() == Some(arm) && other.seed == run.seed;
                    let missing = || TableError::NoReference { run: run.words(), arm: arm.clone() };
                    metrics::best(&matrix(&runs.iter().find(same).ok_or_else(missing)?.steps))
                }
                None => Vec::new(),
            };
            let benchmarks = last.benchmarks.values().collect();
            results.runs.push(RunResults { run, benchmarks, steps: matrix(&run.steps), upper });
        }
        Ok(results)
    }

    /// Any of the runs.
    pub fn first(&self) -> &RunResults<'a> {
        &self.runs[0]
    }

    /// The cell of an arm: a value per seed.
    ///
    /// # Errors
    ///
    /// The first of `value`.
    pub fn cell(
        &self,
        arm: Option<&str>,
        value: impl Fn(&RunResults<'_>) -> Result<Option<f64>, TableError>,
    ) -> Result<Cell, TableError> {
        let replicate = |seed: &Option<u64>| {
            let same = |results: &&RunResults<'_>| results.run.arm.as_deref() == arm && results.run.seed == *seed;
            self.runs.iter().find(same).map_or(Ok(None), &value)
        };
        Ok(Cell::of(self.seeds.iter().map(replicate).collect::<Result<_, _>>()?))
    }
}

impl RunResults<'_> {
    /// What the run shows in a column of a table of arms; nothing where nothing is known.
    ///
    /// # Errors
    ///
    /// If the run did not bring it.
    pub fn overall(&self, column: &Column) -> Result<Option<f64>, TableError> {
        let brought = match column {
            Column::PoolSize => self.run.pool_size.map(|size| size as f64),
            Column::Summary(name) => self.run.values.get(name).copied(),
            _ => return Ok(metrics::over_skills(&self.skills(), &self.by_benchmark(column))),
        };
        let missing = || TableError::Missing { run: self.run.words(), column: column.name().to_string() };
        brought.map(Some).ok_or_else(missing)
    }

    /// What the run shows for one skill; nothing where nothing is known, or where the column is not
    /// about skills.
    pub fn of_skill(&self, column: &Column, skill: &str) -> Option<f64> {
        let values = self.by_benchmark(column);
        match column {
            Column::Samples | Column::Size => {
                let own = self.skills().into_iter().zip(values).filter(|(own, _)| *own == skill);
                own.map(|(_, samples)| samples).sum()
            }
            _ => metrics::by_skill(&self.skills(), &values).get(skill).copied(),
        }
    }

    fn by_benchmark(&self, column: &Column) -> Vec<Option<f64>> {
        let last = &self.steps[self.steps.len() - 1];
        let chance: Vec<f64> = self.benchmarks.iter().map(|benchmark| benchmark.chance).collect();
        let forgetting = || metrics::forgetting(&self.steps, &chance);
        match column {
            Column::RelativeGain => metrics::relative_gain(last, &self.upper, &chance),
            Column::ForgettingSigned => forgetting(),
            Column::ForgettingRate => forgetting().into_iter().map(|lost| lost.map(|lost| lost.max(0.0))).collect(),
            Column::AverageAccuracy | Column::Accuracy | Column::Chosen => last.iter().copied().map(Some).collect(),
            Column::Chance => self.benchmarks.iter().map(|benchmark| Some(benchmark.chance)).collect(),
            Column::Samples | Column::Size => {
                self.benchmarks.iter().map(|benchmark| Some(benchmark.samples as f64)).collect()
            }
            Column::PoolSize | Column::Summary(_) => Vec::new(),
        }
    }

    fn skills(&self) -> Vec<&str> {
        self.benchmarks.iter().map(|benchmark| benchmark.skill.as_str()).collect()
    }
}

fn matrix(steps: &[Metrics]) -> Vec<Vec<f64>> {
    steps.iter().map(|step| step.benchmarks.values().map(|benchmark| benchmark.value).collect()).collect()
}

/// Whether two evaluations are of the same benchmarks, in the same order.
fn comparable(left: &Metrics, right: &Metrics) -> bool {
    let same = |((left_name, left), (right_name, right)): ((&String, &Benchmark), (&String, &Benchmark))| {
        left_name == right_name && left.skill == right.skill && left.samples == right.samples
    };
    left.benchmarks.len() == right.benchmarks.len() && left.benchmarks.iter().zip(&right.benchmarks).all(same)
}
