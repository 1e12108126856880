//! EL2N, the norm of the error vector (Paul et al. 2021).

use super::{Evidence, Formulas, Need, Scorer, mean};

/// See its documentation.
pub struct El2n;

impl Scorer for El2n {
    fn name(&self) -> &'static str {
        "el2n"
    }

    fn doc(&self) -> &'static str {
        "Mean of ‖p − onehot‖₂ over the answer tokens, p the predicted distribution (Paul et al. 2021)."
    }

    fn needs(&self, _: &Formulas) -> &'static [Need] {
        &[Need::Answer]
    }

    fn score(&self, sample: &Evidence, _: &Formulas) -> f32 {
        // ‖p − onehot(y)‖² = Σp² − 2p_y + 1, which rounding may take just below zero.
        let error = |(squares, loss): (&f32, &f32)| (squares - 2.0 * (-loss).exp() + 1.0).max(0.0).sqrt();
        let answer = &sample.answer;
        mean(&answer.squares.iter().zip(&answer.losses).map(error).collect::<Vec<_>>())
    }
}
