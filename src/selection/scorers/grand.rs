//! GraNd, the norm of the gradient (Paul et al. 2021).

use super::{Evidence, Formulas, Need, Scorer};

/// See its documentation.
pub struct Grand;

impl Scorer for Grand {
    fn name(&self) -> &'static str {
        "grand"
    }

    fn doc(&self) -> &'static str {
        "Norm of the gradient of the LoRA matrices of the chosen layers (Paul et al. 2021)."
    }

    fn needs(&self, _: &Formulas) -> &'static [Need] {
        &[Need::Gradient]
    }

    fn score(&self, sample: &Evidence, _: &Formulas) -> f32 {
        sample.gradient
    }
}
