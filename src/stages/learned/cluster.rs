//! The stage kind `cluster`: pseudo-task clusters by k-means.

use anyhow::{anyhow, bail};
use serde::Deserialize;

use crate::artifact::{Clusters, SweepPoint, Vectors};
use crate::ml::kmeans::{Clustering, KMeans, KMeansError};
use crate::selection::elbow::elbow;
use crate::stage::{Context, Stage};
use crate::text::{count, ticked_list};

/// See `stages/cluster.yaml`.
pub struct Cluster;

#[derive(Deserialize)]
struct Params {
    clusters: usize,
    sweep: Option<Vec<i64>>,
    method: Method,
    restarts: usize,
    iterations: usize,
    seed: u64,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Method {
    Kmeans,
    Spherical,
}

/// At most so many samples are named in an error.
const NAMED: usize = 5;

impl Stage for Cluster {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/cluster.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let params: Params = context.params()?;
        let Vectors { ids, dimensions, values } = Vectors::read(context.input("vectors")?)?;
        let fit = |clusters: usize| {
            let kmeans = KMeans {
                clusters,
                spherical: params.method == Method::Spherical,
                restarts: params.restarts,
                iterations: params.iterations,
                seed: params.seed,
            };
            let found = kmeans.fit(&values, dimensions).map_err(|error| explain(error, &ids))?;
            let made = found.centroids.len() / dimensions;
            if made < clusters {
                context.warn(format!("{} made of {clusters}: the rest would be empty", count(made, "cluster")));
            }
            anyhow::Ok((made, found))
        };
        let (found, sweep) = match &params.sweep {
            None => (fit(params.clusters)?.1, None),
            Some(numbers) => {
                let numbers = tried(numbers)?;
                let mut fits: Vec<(usize, Clustering)> = Vec::new();
                for (done, number) in numbers.iter().enumerate() {
                    let (made, found) = fit(*number)?;
                    // Fewer are made where there are fewer distinct vectors: more cannot help.
                    if fits.last().is_none_or(|(before, _)| *before < made) {
                        fits.push((made, found));
                    }
                    context.progress(done + 1, numbers.len(), "numbers of clusters");
                }
                let curve: Vec<(usize, f64)> =
                    fits.iter().map(|(made, found)| (*made, found.within_sum_of_squares)).collect();
                let point = |(clusters, within_sum_of_squares)| SweepPoint { clusters, within_sum_of_squares };
                let (_, chosen) = fits.swap_remove(elbow(&curve));
                (chosen, Some(curve.into_iter().map(point).collect()))
            }
        };
        let clusters = Clusters {
            ids,
            labels: found.labels,
            dimensions,
            centroids: found.centroids,
            within_sum_of_squares: found.within_sum_of_squares,
            sweep,
        };
        clusters.write(context.output("clusters")?)
    }
}

/// The numbers of clusters to try, ascending.
fn tried(numbers: &[i64]) -> anyhow::Result<Vec<usize>> {
    let mut tried: Vec<usize> = Vec::new();
    for number in numbers {
        match usize::try_from(*number) {
            Ok(number) if number > 0 => tried.push(number),
            _ => bail!("`sweep` has {number}, which is no number of clusters"),
        }
    }
    tried.sort_unstable();
    tried.dedup();
    if tried.len() < 3 {
        bail!("`sweep` has {}: an elbow needs three; hint: `clusters` fixes one", count(tried.len(), "number"));
    }
    Ok(tried)
}

/// Names the samples that cannot be clustered.
fn explain(error: KMeansError, ids: &[String]) -> anyhow::Error {
    let KMeansError::NotFinite { rows } = error else { return error.into() };
    let named = ticked_list(rows.iter().take(NAMED).map(|row| &ids[*row]));
    let more = if rows.len() > NAMED { " and more" } else { "" };
    let verb = if rows.len() == 1 { "is" } else { "are" };
    anyhow!("{} {verb} not finite: {named}{more}", count(rows.len(), "vector"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stages::testing::Bench;

    #[test]
    fn every_sample_gets_the_label_of_its_direction() {
        let bench = Bench::new(&Cluster);
        bench.vectors("vectors", &[[1.0, 0.0], [0.0, 2.0], [3.0, 0.1], [0.1, 1.0]]);
        bench.run(json!({"clusters": 2, "method": "spherical"})).unwrap();
        let clusters = Clusters::read(&bench.output("clusters")).unwrap();
        assert_eq!(clusters.ids, ["d/3", "d/2", "d/1", "d/0"]);
        assert_eq!(clusters.labels[0], clusters.labels[2]);
        assert_eq!(clusters.labels[1], clusters.labels[3]);
        assert_ne!(clusters.labels[0], clusters.labels[1]);
    }

    #[test]
    fn a_sweep_takes_the_number_at_the_elbow_and_what_that_number_alone_gives() {
        // Four groups of five.
        let row = |sample: usize| {
            let (group, shift) = (sample % 4, (sample / 4) as f32 * 0.02);
            [(group / 2) as f32 * 5.0 + shift, (group % 2) as f32 * 5.0 - shift * shift]
        };
        let rows: Vec<[f32; 2]> = (0..20).map(row).collect();
        let run = |params: serde_json::Value| {
            let bench = Bench::new(&Cluster);
            bench.vectors("vectors", &rows);
            bench.run(params)?;
            Clusters::read(&bench.output("clusters"))
        };
        let swept = run(json!({"sweep": [8, 2, 3, 4, 6, 4, 100]})).unwrap();
        let fixed = run(json!({"clusters": 4})).unwrap();
        let curve = swept.sweep.clone().unwrap();
        assert_eq!(curve.iter().map(|point| point.clusters).collect::<Vec<_>>(), [2, 3, 4, 6, 8, 20]);
        assert!(curve.windows(2).all(|pair| pair[0].within_sum_of_squares > pair[1].within_sum_of_squares));
        assert_eq!(Clusters { sweep: None, ..swept }, fixed);
        assert_eq!(fixed.count(), 4);
        let refusal = |sweep: &[i64]| run(json!({"sweep": sweep})).unwrap_err().to_string();
        assert_eq!(refusal(&[2, 0, 4]), "`sweep` has 0, which is no number of clusters");
        let expected = "`sweep` has 2 numbers: an elbow needs three; hint: `clusters` fixes one";
        assert_eq!(refusal(&[2, 4, 2]), expected);
    }

    #[test]
    fn samples_with_broken_vectors_are_named() {
        let bench = Bench::new(&Cluster);
        bench.vectors("vectors", &[[1.0, 0.0], [f32::NAN, 2.0]]);
        assert_eq!(bench.run(json!({})).unwrap_err().to_string(), "1 vector is not finite: `d/1`");
    }
}
