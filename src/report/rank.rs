//! Which cells of a table are the best and the second best of theirs.

use std::collections::BTreeMap;

use super::{Column, Direction, Rows, Table};

/// How good a cell is among those that it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// None is better.
    Best,
    /// One is better.
    Second,
}

impl Table {
    /// The marks of all cells, by row and column: where a row is an arm the cells of each column are
    /// compared, else the cells of each row that show the same of several arms. As readers see equal
    /// numbers, they are equal; where all are, none is marked.
    pub(super) fn marks(&self) -> Vec<Vec<Option<Mark>>> {
        let mut marks = vec![vec![None; self.columns.len()]; self.body.len()];
        let mut compare = |cells: &[(usize, usize)], column: &Column, digits: usize| {
            let Some(direction) = column.direction() else { return };
            let value = |(row, place): &(usize, usize)| self.body[*row].cells[*place].mean;
            let values: Vec<Option<f64>> = cells.iter().map(value).collect();
            for ((row, place), mark) in cells.iter().zip(of(&values, direction, digits)) {
                marks[*row][*place] = mark;
            }
        };
        match self.rows {
            Rows::Arm => {
                let ranked = |row: &usize| !self.unranked.contains(&self.body[*row].label);
                let rows: Vec<usize> = (0..self.body.len()).filter(ranked).collect();
                for (place, head) in self.columns.iter().enumerate() {
                    let Some(column) = Column::parse(&head.name) else { continue };
                    let cells: Vec<(usize, usize)> = rows.iter().map(|row| (*row, place)).collect();
                    compare(&cells, &column, self.digits(place));
                }
            }
            Rows::Skill => {
                let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
                for (place, head) in self.columns.iter().enumerate() {
                    if head.arm.as_ref().is_some_and(|arm| !self.unranked.contains(arm)) {
                        groups.entry(&head.name).or_default().push(place);
                    }
                }
                for (name, places) in groups {
                    let Some(column) = Column::parse(name) else { continue };
                    let digits = places.iter().map(|place| self.digits(*place)).max().unwrap_or(0);
                    for row in 0..self.body.len() {
                        let cells: Vec<(usize, usize)> = places.iter().map(|place| (row, *place)).collect();
                        compare(&cells, &column, digits);
                    }
                }
            }
            Rows::Stage | Rows::Cluster => {}
        }
        marks
    }
}

/// The marks of values that are compared with each other. All that are equal to the best are; the second
/// best is marked if one alone is the best and more than two are compared.
fn of(values: &[Option<f64>], direction: Direction, digits: usize) -> Vec<Option<Mark>> {
    let scale = 10_f64.powi(digits as i32) * if direction == Direction::Up { 1.0 } else { -1.0 };
    // As it is displayed: integers are compared, the greater one is better.
    let rounded: Vec<Option<i64>> =
        values.iter().map(|value| value.map(|value| (value * scale).round() as i64)).collect();
    let mut known: Vec<i64> = rounded.iter().flatten().copied().collect();
    known.sort_unstable_by(|left, right| right.cmp(left));
    let (Some(best), Some(worst)) = (known.first(), known.last()) else { return vec![None; values.len()] };
    if best == worst {
        return vec![None; values.len()];
    }
    let alone = known.len() > 2 && known[1] < *best;
    let mark = |value: &Option<i64>| match (*value)? {
        value if value == *best => Some(Mark::Best),
        value if alone && value == known[1] => Some(Mark::Second),
        _ => None,
    };
    rounded.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(values: &[f64], direction: Direction) -> String {
        let values: Vec<Option<f64>> = values.iter().map(|value| value.is_finite().then_some(*value)).collect();
        let letter = |mark: Option<Mark>| match mark {
            Some(Mark::Best) => 'B',
            Some(Mark::Second) => 's',
            None => '-',
        };
        of(&values, direction, 1).into_iter().map(letter).collect()
    }

    #[test]
    fn the_best_and_the_second_best_are_marked_with_all_that_read_the_same() {
        assert_eq!(marked(&[1.0, 3.0, 2.0], Direction::Up), "-Bs");
        assert_eq!(marked(&[1.0, 3.0, 2.0], Direction::Down), "B-s");
        assert_eq!(marked(&[1.0, 3.04, 2.96, 3.0], Direction::Up), "-BBB");
        assert_eq!(marked(&[1.0, 1.0, 2.0, 0.5], Direction::Up), "ssB-");
        assert_eq!(marked(&[2.0, f64::NAN, 1.0], Direction::Up), "B--", "two are compared");
        assert_eq!(marked(&[2.0, 2.0], Direction::Up), "--");
        assert_eq!(marked(&[2.0], Direction::Up), "-");
        assert_eq!(marked(&[], Direction::Up), "");
    }
}
