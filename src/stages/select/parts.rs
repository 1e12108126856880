//! The parts of the pool that share the budget: clusters, older and newest datasets, or all in one.

use super::params::{Allocation, Params};
use crate::artifact::{Clusters, Pool};
use crate::stage::Context;
use crate::stages::alignment;

/// The parts of a pool.
pub enum Parts {
    /// Nothing is divided.
    Whole([Vec<usize>; 1]),
    /// The samples of all datasets but the one that came last, and those of that one.
    Arrivals([Vec<usize>; 2]),
    /// Pseudo-tasks.
    Clusters(Clusters, Vec<Vec<usize>>),
}

impl Parts {
    /// The parts that the allocation is about.
    pub fn read(context: &Context<'_>, params: &Params, pool: &Pool, ids: &[String]) -> anyhow::Result<Parts> {
        match params.allocation {
            Allocation::Whole => Ok(Parts::Whole([(0..ids.len()).collect()])),
            Allocation::Replay => {
                // Samples are in the order of their arrival.
                let newest = pool.samples.last().map(|sample| &sample.dataset);
                let is_older = |index: &usize| Some(&pool.samples[*index].dataset) != newest;
                let (older, newest) = (0..ids.len()).partition(is_older);
                Ok(Parts::Arrivals([older, newest]))
            }
            Allocation::Uniform
            | Allocation::ScoreWeighted
            | Allocation::Density
            | Allocation::Transferability
            | Allocation::Duplicates => {
                let (clusters, members) = alignment::clusters(context.input("clusters")?, ids)?;
                Ok(Parts::Clusters(clusters, members))
            }
        }
    }

    /// The indices in the pool of the samples of each part.
    pub fn all(&self) -> &[Vec<usize>] {
        match self {
            Parts::Whole(members) => members,
            Parts::Arrivals(members) => members,
            Parts::Clusters(_, members) => members,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// The samples of one part.
    pub fn members(&self, number: usize) -> &[usize] {
        &self.all()[number]
    }

    /// How many samples each has.
    pub fn sizes(&self) -> Vec<usize> {
        self.all().iter().map(Vec::len).collect()
    }

    /// What a part is called: the number of its cluster, or a name.
    pub fn name(&self, number: usize) -> (Option<usize>, Option<String>) {
        match self {
            Parts::Whole(_) => (None, None),
            Parts::Arrivals(_) => (None, Some(["older datasets", "newest dataset"][number].to_string())),
            Parts::Clusters(..) => (Some(number), None),
        }
    }
}
