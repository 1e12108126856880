//! A table as comma-separated values: for spreadsheets and plots.

use super::Table;

impl Table {
    /// The rows with mean, deviation and number of replicates of every cell. A field is empty where
    /// nothing is known.
    pub fn to_csv(&self) -> String {
        let mut head = vec![self.rows.word().to_string()];
        for column in &self.columns {
            let name = column.arm.as_ref().map_or(column.name.clone(), |arm| format!("{arm}: {}", column.name));
            head.extend([name.clone(), format!("{name} deviation"), format!("{name} n")]);
        }
        let mut lines = vec![head];
        for row in &self.body {
            let mut line = vec![row.label.clone()];
            for cell in &row.cells {
                line.extend([number(cell.mean), number(cell.deviation), cell.n.to_string()]);
            }
            lines.push(line);
        }
        written(lines)
    }

    /// The matrix that the table is computed from, one line for each benchmark after each time step of
    /// each run. The first step is 0. Nothing where the rows are not made of benchmarks.
    pub fn matrix_csv(&self) -> Option<String> {
        if self.benchmarks.is_empty() {
            return None;
        }
        let head = ["arm", "seed", "step", "skill", "benchmark", "chance", "samples", "value"];
        let mut lines = vec![head.map(str::to_string).to_vec()];
        for run in &self.runs {
            for (name, values) in &run.results {
                let benchmark = &self.benchmarks[name];
                for (step, value) in values.iter().enumerate() {
                    lines.push(vec![
                        run.arm.clone().unwrap_or_default(),
                        run.seed.map_or(String::new(), |seed| seed.to_string()),
                        step.to_string(),
                        benchmark.skill.clone(),
                        name.clone(),
                        benchmark.chance.to_string(),
                        benchmark.samples.to_string(),
                        value.to_string(),
                    ]);
                }
            }
        }
        Some(written(lines))
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn written(lines: Vec<Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.write_record(line).expect("BUG: all lines are equally long, and memory does not fail");
    }
    let bytes = writer.into_inner().expect("BUG: memory does not fail");
    String::from_utf8(bytes).expect("BUG: the fields are text")
}
