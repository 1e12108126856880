//! The stage kind `cluster`: pseudo-task clusters by k-means.

use anyhow::bail;
use serde::Deserialize;

use crate::artifact::{Clusters, Vectors};
use crate::ml::kmeans::{KMeans, KMeansError};
use crate::stage::{Context, Stage};
use crate::text::{count, ticked_list};

/// See `stages/cluster.yaml`.
pub struct Cluster;

#[derive(Deserialize)]
struct Params {
    clusters: usize,
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
        let kmeans = KMeans {
            clusters: params.clusters,
            spherical: params.method == Method::Spherical,
            restarts: params.restarts,
            iterations: params.iterations,
            seed: params.seed,
        };
        let found = match kmeans.fit(&values, dimensions) {
            Ok(found) => found,
            Err(KMeansError::NotFinite { rows }) => {
                let named = ticked_list(rows.iter().take(NAMED).map(|row| &ids[*row]));
                let more = if rows.len() > NAMED { " and more" } else { "" };
                let verb = if rows.len() == 1 { "is" } else { "are" };
                bail!("{} {verb} not finite: {named}{more}", count(rows.len(), "vector"))
            }
            Err(error) => return Err(error.into()),
        };
        let made = found.centroids.len() / dimensions;
        if made < params.clusters {
            context.warn(format!("{} made of {}: the rest would be empty", count(made, "cluster"), params.clusters));
        }
        let clusters = Clusters {
            ids,
            labels: found.labels,
            dimensions,
            centroids: found.centroids,
            within_sum_of_squares: found.within_sum_of_squares,
        };
        clusters.write(context.output("clusters")?)
    }
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
    fn samples_with_broken_vectors_are_named() {
        let bench = Bench::new(&Cluster);
        bench.vectors("vectors", &[[1.0, 0.0], [f32::NAN, 2.0]]);
        assert_eq!(bench.run(json!({})).unwrap_err().to_string(), "1 vector is not finite: `d/1`");
    }
}
