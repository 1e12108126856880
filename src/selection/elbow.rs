//! Which number of clusters a curve of within-cluster sums of squares suggests.

/// The index of the elbow of a curve: the point with the largest distance below the chord from the
/// first to the last, both axes scaled to their range (*Kneedle*, Satopää et al. 2011, without its
/// smoothing and its sensitivity, which are for noisy curves of hundreds of points). The first of equal
/// ones; the first of all where the curve never sags.
///
/// `curve` has pairs (number of clusters, within-cluster sum of squares), the numbers ascending.
pub fn elbow(curve: &[(usize, f64)]) -> usize {
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else { return 0 };
    let (width, height) = (last.0 as f64 - first.0 as f64, first.1 - last.1);
    if height <= 0.0 || width <= 0.0 {
        return 0;
    }
    // On the chord x + y = 1; a point below it lies (1 − x − y) / √2 away.
    let sag = |point: &(usize, f64)| 1.0 - (point.0 as f64 - first.0 as f64) / width - (point.1 - last.1) / height;
    let mut best = 0;
    for (index, point) in curve.iter().enumerate() {
        if sag(point) > sag(&curve[best]) {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    /// Curves and their elbows; see `tests/fixtures/selection.py`.
    #[test]
    fn elbows_are_where_the_distance_to_the_chord_is_largest() {
        #[derive(Deserialize)]
        struct Case {
            curve: Vec<(usize, f64)>,
            elbow: usize,
        }
        for case in crate::selection::testing::fixture::<Vec<Case>>("elbow") {
            assert_eq!(case.curve[elbow(&case.curve)].0, case.elbow, "{:?}", case.curve);
        }
    }

    #[test]
    fn a_curve_that_does_not_fall_has_its_elbow_at_the_fewest_clusters() {
        assert_eq!(elbow(&[(2, 5.0), (4, 5.0), (8, 5.0)]), 0);
        assert_eq!(elbow(&[(2, 5.0), (4, 4.9), (8, 5.5)]), 0);
        assert_eq!(elbow(&[(2, 6.0), (4, 5.0), (6, 4.0)]), 0);
        assert_eq!(elbow(&[(3, 1.0)]), 0);
        assert_eq!(elbow(&[]), 0);
    }

    proptest! {
        #[test]
        fn the_unit_of_the_sums_does_not_matter(
            sums in prop::collection::vec(0u16..1000, 1..12),
            power in -20i32..20,
        ) {
            let curve = |factor: f64| -> Vec<(usize, f64)> {
                sums.iter().enumerate().map(|(index, sum)| (index + 2, f64::from(*sum) * factor)).collect()
            };
            prop_assert_eq!(elbow(&curve(1.0)), elbow(&curve(2f64.powi(power))));
        }
    }
}
