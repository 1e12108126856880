//! The values that columns show, out of the results of comparable runs.

use indexmap::{IndexMap, IndexSet};

use super::cell::Cell;
use super::run::{Run, TableError};
use super::{Column, Cost, CostColumn, TableSpec};
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
    /// Arm in `relative_to` → its best result over time, by benchmark.
    upper: IndexMap<&'a str, Vec<f64>>,
    /// Seconds of compute and average accuracy of the arms in `compute_reference`.
    reference: Vec<(f64, f64)>,
}

impl<'a> Results<'a> {
    /// Reads the runs of a table.
    ///
    /// # Errors
    ///
    /// If there is nothing to show or runs cannot be compared.
    pub fn read(spec: &'a TableSpec, runs: &'a [Run]) -> Result<Results<'a>, TableError> {
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
            let same_seed = |arm: &'a String| {
                let same = |other: &&Run| other.arm.as_ref() == Some(arm) && other.seed == run.seed;
                let missing = || TableError::NoReference { run: run.words(), arm: arm.clone() };
                runs.iter().find(same).ok_or_else(missing)
            };
            let best = |arm: &'a String| Ok((arm.as_str(), metrics::best(&matrix(&same_seed(arm)?.steps))));
            let point = |arm: &'a String| {
                let run = same_seed(arm)?;
                Ok(CostColumn::COMPUTE.value(&run.costs).zip(average(run)))
            };
            let upper = spec.relative_to.iter().map(best).collect::<Result<_, TableError>>()?;
            let points: Vec<Option<_>> = spec.compute_reference.iter().map(point).collect::<Result<_, TableError>>()?;
            let reference = points.into_iter().flatten().collect();
            let benchmarks = last.benchmarks.values().collect();
            results.runs.push(RunResults { run, benchmarks, steps: matrix(&run.steps), upper, reference });
        }
        Ok(results)
    }

    /// How many benchmarks there are.
    pub fn benchmarks(&self) -> usize {
        self.first().benchmarks.len()
    }

    /// Any of the runs.
    pub fn first(&self) -> &RunResults<'a> {
        &self.runs[0]
    }

    /// The runs of an arm, one per seed that it has.
    pub fn of(&self, arm: Option<&str>) -> impl Iterator<Item = &RunResults<'a>> {
        self.runs.iter().filter(move |results| results.run.arm.as_deref() == arm)
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
        let replicate =
            |seed: &Option<u64>| self.of(arm).find(|results| results.run.seed == *seed).map_or(Ok(None), &value);
        Ok(Cell::of(self.seeds.iter().map(replicate).collect::<Result<_, _>>()?))
    }
}

impl RunResults<'_> {
    /// The seed of the run.
    pub fn seed(&self) -> Option<u64> {
        self.run.seed
    }

    /// What the stages of the run cost.
    pub fn costs(&self) -> &[Cost] {
        &self.run.costs
    }

    /// What the run shows in a column of a table of arms; nothing where nothing is known.
    ///
    /// # Errors
    ///
    /// If the run did not bring it.
    pub fn overall(&self, column: &Column) -> Result<Option<f64>, TableError> {
        let brought = match column {
            Column::DataSize | Column::PoolSize | Column::Summary(_) => self.run.values.get(&column.name()).copied(),
            Column::Cost(cost) => return Ok(cost.value(&self.run.costs)),
            Column::AtEqualCompute => return Ok(self.at_equal_compute().map(|(accuracy, _)| accuracy)),
            Column::GainAtEqualCompute => {
                let both = average(self.run).zip(self.at_equal_compute());
                return Ok(both.map(|(own, (reference, _))| own - reference));
            }
            Column::BenchmarkAccuracy => return Ok(metrics::mean(&self.steps[self.steps.len() - 1])),
            Column::SkillAccuracy(skill) => self.of_skill(&Column::Accuracy, skill),
            _ => return Ok(metrics::over_skills(&self.skills(), &self.by_benchmark(column))),
        };
        let missing = || TableError::Missing { run: self.run.words(), column: column.name() };
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

    /// What the table compares the run with another by, one value for each skill or benchmark.
    pub fn units(&self, column: &Column) -> Vec<Option<f64>> {
        match column {
            Column::BenchmarkAccuracy => self.by_benchmark(&Column::Accuracy),
            column => {
                let skills: IndexSet<&str> = self.skills().into_iter().collect();
                skills.into_iter().map(|skill| self.of_skill(column, skill)).collect()
            }
        }
    }

    /// The average accuracy of the reference at the compute of the run, and whether that is beyond the
    /// range of the reference.
    pub fn at_equal_compute(&self) -> Option<(f64, bool)> {
        metrics::at_equal_cost(&self.reference, CostColumn::COMPUTE.value(&self.run.costs)?)
    }

    fn by_benchmark(&self, column: &Column) -> Vec<Option<f64>> {
        let last = &self.steps[self.steps.len() - 1];
        let chance: Vec<f64> = self.benchmarks.iter().map(|benchmark| benchmark.chance).collect();
        let forgetting = || metrics::forgetting(&self.steps, &chance);
        match column {
            Column::RelativeGain => match self.upper.first() {
                Some((_, upper)) => metrics::relative_gain(last, upper, &chance),
                None => Vec::new(),
            },
            Column::RelativeGainTo(arm) => match self.upper.get(arm.as_str()) {
                Some(upper) => metrics::relative_gain(last, upper, &chance),
                None => Vec::new(),
            },
            Column::ForgettingSigned => forgetting(),
            Column::ForgettingRate => forgetting().into_iter().map(|lost| lost.map(|lost| lost.max(0.0))).collect(),
            Column::AverageAccuracy | Column::Accuracy | Column::Chosen => last.iter().copied().map(Some).collect(),
            Column::Chance => self.benchmarks.iter().map(|benchmark| Some(benchmark.chance)).collect(),
            Column::Samples | Column::Size => {
                self.benchmarks.iter().map(|benchmark| Some(benchmark.samples as f64)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn skills(&self) -> Vec<&str> {
        self.benchmarks.iter().map(|benchmark| benchmark.skill.as_str()).collect()
    }
}

/// The mean over skills of the results after the last time step.
fn average(run: &Run) -> Option<f64> {
    let benchmarks = &run.steps.last()?.benchmarks;
    let skills: Vec<&str> = benchmarks.values().map(|benchmark| benchmark.skill.as_str()).collect();
    let values: Vec<Option<f64>> = benchmarks.values().map(|benchmark| Some(benchmark.value)).collect();
    metrics::over_skills(&skills, &values)
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
