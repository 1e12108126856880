//! Random projections of gradients keep inner products, as the theory says and no worse.
//!
//! For a matrix of ±1/√k the product ⟨Px, Py⟩ has the mean ⟨x, y⟩ and the variance
//! (‖x‖²‖y‖² + ⟨x,y⟩² − 2·Σxᵢ²yᵢ²)/k (as TRAK's projector, Park et al. 2023, whose elements are not scaled).

use burn::tensor::{Tensor, TensorData};
use runner::ml::gradient::Projector;
use runner::ml::llava::host;
use runner::ml::projection::Projection;

use super::support::{Plain, arrays};

fn project(rows: &[Vec<f32>], projection: Projection) -> Vec<Vec<f32>> {
    let device = Default::default();
    let data = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
    let projected = Projector::<Plain>::new(projection, &device).project(Tensor::from_data(data, &device));
    host(projected).chunks_exact(projection.dimensions).map(<[f32]>::to_vec).collect()
}

fn inner(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// For every pair of rows, how many standard deviations its inner product is off.
fn deviations(rows: &[Vec<f32>], projection: Projection) -> Vec<f64> {
    let projected = project(rows, projection);
    let mut deviations = Vec::new();
    for first in 0..rows.len() {
        for second in first..rows.len() {
            let (x, y) = (&rows[first], &rows[second]);
            let fourth: f64 = x.iter().zip(y).map(|(x, y)| (f64::from(*x) * f64::from(*y)).powi(2)).sum();
            let variance = inner(x, x) * inner(y, y) + inner(x, y).powi(2) - 2.0 * fourth;
            let off = inner(&projected[first], &projected[second]) - inner(x, y);
            deviations.push(off / (variance / projection.dimensions as f64).sqrt());
        }
    }
    deviations
}

/// The gradients of the samples with respect to all adapters, as PEFT has them.
fn gradients() -> Vec<Vec<f32>> {
    let mut rows = vec![Vec::new(); 4];
    for name in ["untied", "grouped"] {
        for (name, gradient) in arrays(&format!("models/{name}/lora.safetensors")) {
            if name.starts_with("gradient.") {
                let size = gradient.values.len() / rows.len();
                rows.iter_mut().zip(gradient.values.chunks_exact(size)).for_each(|(row, part)| row.extend(part));
            }
        }
    }
    rows
}

fn check(rows: &[Vec<f32>], dimensions: usize) {
    for seed in 0..4 {
        let deviations = deviations(rows, Projection { seed, dimensions });
        let worst = deviations.iter().fold(0.0f64, |worst, deviation| worst.max(deviation.abs()));
        assert!(worst < 6.0, "a product is {worst} standard deviations off with seed {seed}");
        let square = deviations.iter().map(|deviation| deviation * deviation).sum::<f64>() / deviations.len() as f64;
        assert!((0.05..6.0).contains(&square), "the mean square deviation is {square} with seed {seed}");
    }
}

#[test]
fn inner_products_of_lora_gradients_are_kept() {
    let rows = gradients();
    assert!(rows[0].len() > 8192, "blocks of the matrix are put together");
    for dimensions in [64, 1000] {
        check(&rows, dimensions);
    }
}

#[test]
fn inner_products_of_many_vectors_are_kept() {
    let vectors = &arrays("clusters/vectors.safetensors")["gradients"];
    let rows: Vec<Vec<f32>> = vectors.values.chunks_exact(vectors.shape[1]).map(<[f32]>::to_vec).collect();
    check(&rows, 512);
}

/// The sum of n elements of ±1 is odd or even as n is: one of TRAK's own tests.
#[test]
fn the_projection_of_ones_has_the_parity_of_their_number() {
    for (length, dimensions) in [(4097, 64), (1000, 256)] {
        let projected = project(&[vec![1.0; length]], Projection { seed: 1, dimensions });
        for value in &projected[0] {
            let sum = f64::from(*value) * (dimensions as f64).sqrt();
            assert!((sum - sum.round()).abs() < 1e-2, "{sum} is no sum of signs");
            assert_eq!((sum.round() as i64 - length as i64).rem_euclid(2), 0);
        }
    }
}
