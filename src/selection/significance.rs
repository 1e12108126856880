//! Whether two methods differ by more than chance: a paired permutation test.
//!
//! Two methods are measured on the same units, here skills or benchmarks with one seed each. If they
//! did not differ, each difference could as well have had the other sign. The test asks how many of
//! all assignments of signs give a sum that is at least as far from zero as the one that was found
//! (Fisher 1935; Dror et al. 2018 recommend it for measures of unknown distribution).

use super::random::Draws;

/// The most units for which all assignments of signs are looked at: 2^16 of them.
const EXACT: usize = 16;

/// How many assignments are drawn where there are more.
const DRAWS: usize = 1 << 16;

/// The share of the magnitude of the sum by which two sums may differ and count as equal.
const ROUNDING: f64 = 1e-9;

/// The two-sided p-value of differences between pairs: the share of the assignments of signs whose sum
/// is at least as far from zero as theirs. Exact for up to 16 differences that are not zero (one that is
/// has no sign, and changes nothing); else by 65,536 draws of `seed`, where the assignment that was
/// found counts as one more, so that no p-value is zero. 1 where nothing differs.
pub fn sign_flip(differences: &[f64], seed: u64) -> f64 {
    let differences: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    let magnitude: f64 = differences.iter().map(|difference| difference.abs()).sum();
    let found = differences.iter().sum::<f64>().abs() - ROUNDING * magnitude;
    let sum = |bits: &mut dyn FnMut(usize) -> bool| -> f64 {
        let signed = differences.iter().enumerate();
        signed.map(|(place, difference)| if bits(place) { -difference } else { *difference }).sum()
    };
    if differences.len() <= EXACT {
        let assignments = 1_usize << differences.len();
        let far = (0..assignments).filter(|bits| sum(&mut |place| bits >> place & 1 == 1).abs() >= found).count();
        return far as f64 / assignments as f64;
    }
    let mut draws = Draws::new(seed, "sign flips of a paired permutation test");
    let mut far = 0;
    for _ in 0..DRAWS {
        let mut word = 0;
        let drawn = sum(&mut |place| {
            if place % 64 == 0 {
                word = draws.seed();
            }
            word >> (place % 64) & 1 == 1
        });
        far += usize::from(drawn.abs() >= found);
    }
    (far + 1) as f64 / (DRAWS + 1) as f64
}

/// The least p-value that so many differences can have: all of one sign.
pub fn least(differences: usize) -> f64 {
    if differences == 0 { 1.0 } else { 0.5_f64.powi(differences as i32 - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_cases_can_be_counted_by_hand() {
        assert_eq!(sign_flip(&[], 0), 1.0);
        assert_eq!(sign_flip(&[0.0, 0.0], 0), 1.0);
        assert_eq!(sign_flip(&[3.0], 0), 1.0);
        // Of ±1 ± 2 ± 4 only ±7 is as far as 7.
        assert_eq!(sign_flip(&[1.0, 2.0, 4.0], 0), 2.0 / 8.0);
        // ±5, ±7 are at least as far as 5.
        assert_eq!(sign_flip(&[-1.0, 2.0, 4.0], 0), 4.0 / 8.0);
        assert_eq!(sign_flip(&[1.0, 2.0, 0.0, 4.0], 0), 2.0 / 8.0);
        assert_eq!(sign_flip(&[1.0; 6], 0), least(6));
    }

    #[test]
    fn darwins_plants_have_the_p_value_that_fisher_counted() {
        // Cross- less self-fertilised plants, in eighths of an inch: Fisher 1935, section 21, counts 863
        // of 32,768 assignments with a sum of at least 314 and as many below.
        let plants = [49.0, -67.0, 8.0, 16.0, 6.0, 23.0, 28.0, 41.0, 14.0, 29.0, 56.0, 24.0, 75.0, 60.0, -48.0];
        assert_eq!(sign_flip(&plants, 0), 2.0 * 863.0 / 32768.0);
    }

    #[test]
    fn many_differences_are_drawn_and_come_near_the_normal_distribution() {
        // The sum of n signs has the deviation √n: 20 of 100 is two of them.
        let mut differences = vec![1.0; 60];
        differences.extend([-1.0; 40]);
        let p = sign_flip(&differences, 7);
        // Binomial: P(|2X − 100| ≥ 20) for X ~ B(100, 1/2).
        assert!((p - 0.056_888).abs() < 0.004, "{p}");
        assert_eq!(p, sign_flip(&differences, 7), "draws are those of the seed");
        assert!(sign_flip(&[1.0; 40], 0) < 1e-4 && sign_flip(&[1.0; 40], 0) > 0.0);
    }

    proptest! {
        #[test]
        fn sign_and_unit_do_not_matter(differences in prop::collection::vec(-50.0..50.0f64, 1..10)) {
            let p = sign_flip(&differences, 0);
            let turned: Vec<f64> = differences.iter().map(|difference| -difference / 100.0).collect();
            prop_assert_eq!(p, sign_flip(&turned, 0));
            prop_assert!(p >= least(differences.len()) && p <= 1.0);
        }
    }
}
