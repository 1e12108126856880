//! What stages cost, and the columns that show it.
//!
//! Costs are measurements: they depend on the machine and, for elapsed time, on what else it did. They
//! are recorded when a stage runs, so that a result from the cache still counts what it cost.

use serde::{Deserialize, Serialize};

/// What stages of a run are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading datasets into the pool.
    Ingest,
    /// Choosing what to train on and what to keep, with every model that is trained for that alone.
    Selection,
    /// Training the model that is evaluated.
    Training,
    /// Measuring it.
    Evaluation,
}

/// What the stages of one kind that a run needs for one phase have cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// What they are for.
    pub phase: Phase,
    /// The stage kind.
    pub kind: String,
    /// How many they are.
    pub stages: usize,
    /// Elapsed time, in seconds.
    pub wall: f64,
    /// Processor time, in seconds.
    pub cpu: f64,
    /// Elapsed time of those that ran on an accelerator, in seconds.
    pub device: f64,
    /// Seconds of what each one computed on: elapsed time on an accelerator, else processor time.
    pub compute: f64,
    /// The most memory that one of them had, in bytes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// A column that shows costs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CostColumn {
    /// Of which stages.
    pub part: Part,
    /// What of them.
    pub measure: Measure,
}

/// Some of the stages that a run needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All.
    Total,
    /// Those of selection and training.
    Method,
    /// Those of a phase.
    Phase(Phase),
    /// Those of a kind.
    Kind(String),
}

/// What a cost is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Elapsed time, in seconds.
    Wall,
    /// Processor time, in seconds.
    Cpu,
    /// Elapsed time on accelerators, in seconds.
    Device,
    /// Seconds of what a stage computed on.
    Compute,
    /// The most memory of a stage, in MiB.
    Memory,
    /// How many stages.
    Stages,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Ingest, Phase::Selection, Phase::Training, Phase::Evaluation];

    /// The phase in a word.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Ingest => "ingest",
            Phase::Selection => "selection",
            Phase::Training => "training",
            Phase::Evaluation => "evaluation",
        }
    }
}

impl CostColumn {
    /// The seconds that methods are compared at.
    pub const COMPUTE: CostColumn = CostColumn { part: Part::Method, measure: Measure::Compute };

    /// The column called `name`, if there is one. Whether there is such a stage kind is not known here.
    pub fn parse(name: &str) -> Option<CostColumn> {
        let whole = [
            ("cpu_seconds", Part::Total, Measure::Cpu),
            ("device_seconds", Part::Total, Measure::Device),
            ("compute_seconds", Part::Method, Measure::Compute),
            ("peak_memory", Part::Total, Measure::Memory),
            ("stages", Part::Total, Measure::Stages),
        ];
        if let Some((_, part, measure)) = whole.into_iter().find(|(whole, ..)| *whole == name) {
            return Some(CostColumn { part, measure });
        }
        // The longer ends first: a kind may not be called `…_cpu`.
        let ends = [Measure::Cpu, Measure::Device, Measure::Memory, Measure::Stages, Measure::Wall];
        let (part, measure) = ends
            .into_iter()
            .find_map(|measure| Some((name.strip_suffix(measure.end())?.strip_suffix('_')?, measure)))?;
        let phase = || Phase::ALL.into_iter().find(|phase| phase.word() == part).map(Part::Phase);
        let is_kind = part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let part = match part {
            "" => return None,
            // The total of everything but elapsed time has a shorter name.
            "total" if measure != Measure::Wall => return None,
            "total" => Part::Total,
            "method" => Part::Method,
            part => phase().or_else(|| is_kind.then(|| Part::Kind(part.to_string())))?,
        };
        Some(CostColumn { part, measure })
    }

    /// The name that experiments write.
    pub fn name(&self) -> String {
        let part = match (&self.part, self.measure) {
            (_, Measure::Compute) => return "compute_seconds".to_string(),
            (Part::Total, Measure::Wall) => "total",
            (Part::Total, measure) => return measure.end().to_string(),
            (Part::Method, _) => "method",
            (Part::Phase(phase), _) => phase.word(),
            (Part::Kind(kind), _) => kind,
        };
        format!("{part}_{}", self.measure.end())
    }

    /// Whether it is about all stages of a run.
    pub fn is_whole(&self) -> bool {
        self.part == Part::Total
    }

    /// The stage kind that the column is about, where it is about one.
    pub fn kind(&self) -> Option<&str> {
        match &self.part {
            Part::Kind(kind) => Some(kind),
            _ => None,
        }
    }

    /// What the column means, for readers of the table.
    pub fn definition(&self) -> String {
        let of = match &self.part {
            Part::Total => "all stages that the results depend on".to_string(),
            Part::Method => "the stages of selection and training".to_string(),
            Part::Phase(Phase::Ingest) => "the stages that read datasets into the pool".to_string(),
            Part::Phase(Phase::Selection) => {
                "the stages that choose what to train on and what to keep, with models trained for that alone"
                    .to_string()
            }
            Part::Phase(Phase::Training) => "the stages that train the evaluated model".to_string(),
            Part::Phase(Phase::Evaluation) => "the stages that evaluate the model after each time step".to_string(),
            Part::Kind(kind) => format!("the stages of the kind `{kind}`"),
        };
        match self.measure {
            Measure::Wall => format!("elapsed time of {of}, one after the other"),
            Measure::Cpu => format!("processor time of {of}, over all cores"),
            Measure::Device => format!("elapsed time on accelerators of {of}"),
            Measure::Compute => {
                format!("elapsed time of {of} that ran on an accelerator, and processor time of the others")
            }
            Measure::Memory => format!("the most memory that the process of one of {of} had"),
            Measure::Stages => format!("how many are {of}"),
        }
    }

    /// The value of the column for a run with these costs; nothing where it is not known.
    pub fn value(&self, costs: &[Cost]) -> Option<f64> {
        const MEBIBYTE: f64 = 1024.0 * 1024.0;
        let own = costs.iter().filter(|cost| match &self.part {
            Part::Total => true,
            Part::Method => matches!(cost.phase, Phase::Selection | Phase::Training),
            Part::Phase(phase) => cost.phase == *phase,
            Part::Kind(kind) => cost.kind == *kind,
        });
        // A sum of nothing is -0.0.
        let sum = |number: fn(&Cost) -> f64| Some(own.clone().map(number).sum::<f64>() + 0.0);
        match self.measure {
            Measure::Wall => sum(|cost| cost.wall),
            Measure::Cpu => sum(|cost| cost.cpu),
            Measure::Device => sum(|cost| cost.device),
            Measure::Compute => sum(|cost| cost.compute),
            Measure::Memory => own.clone().filter_map(|cost| cost.memory).max().map(|bytes| bytes as f64 / MEBIBYTE),
            Measure::Stages => sum(|cost| cost.stages as f64),
        }
    }
}

impl Measure {
    /// What the names of its columns end with.
    fn end(self) -> &'static str {
        match self {
            Measure::Wall => "seconds",
            Measure::Cpu => "cpu_seconds",
            Measure::Device => "device_seconds",
            Measure::Compute => "compute_seconds",
            Measure::Memory => "peak_memory",
            Measure::Stages => "stages",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(phase: Phase, kind: &str, wall: f64, cpu: f64, device: f64, memory: Option<u64>) -> Cost {
        let compute = if device > 0.0 { device } else { cpu };
        Cost { phase, kind: kind.to_string(), stages: 2, wall, cpu, device, compute, memory }
    }

    #[test]
    fn a_cost_column_is_read_back_as_it_is_called() {
        for name in [
            "total_seconds",
            "cpu_seconds",
            "device_seconds",
            "compute_seconds",
            "peak_memory",
            "stages",
            "method_seconds",
            "selection_seconds",
            "training_cpu_seconds",
            "evaluation_device_seconds",
            "gradient_seconds",
            "gradient_cpu_seconds",
            "train_peak_memory",
            "train_stages",
            "ingest_seconds",
        ] {
            assert_eq!(CostColumn::parse(name).expect(name).name(), name);
        }
        for name in ["seconds", "_seconds", "total_cpu_seconds", "a.b_seconds", "cpu", "pool_size"] {
            assert_eq!(CostColumn::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_model_that_is_trained_to_select_is_a_cost_of_selection() {
        let costs = [
            cost(Phase::Selection, "train", 10.0, 15.0, 0.0, Some(3 << 20)),
            cost(Phase::Selection, "select", 1.0, 1.0, 0.0, None),
            cost(Phase::Training, "train", 20.0, 5.0, 20.0, Some(2 << 20)),
            cost(Phase::Evaluation, "evaluate", 4.0, 1.0, 4.0, None),
        ];
        let value = |name: &str| CostColumn::parse(name).unwrap().value(&costs);
        assert_eq!(value("selection_seconds"), Some(11.0));
        assert_eq!(value("training_seconds"), Some(20.0));
        assert_eq!(value("train_seconds"), Some(30.0));
        assert_eq!(value("total_seconds"), Some(35.0));
        assert_eq!(value("device_seconds"), Some(24.0));
        assert_eq!(value("compute_seconds"), Some(15.0 + 1.0 + 20.0));
        assert_eq!(value("peak_memory"), Some(3.0));
        assert_eq!(value("evaluation_peak_memory"), None);
        assert_eq!(value("gradient_seconds"), Some(0.0));
        assert_eq!(value("train_stages"), Some(4.0));
    }
}
