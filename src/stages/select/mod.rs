//! `select`: the subset to train on.
//!
//! The pool falls into [`parts`], which share the [`budget`](budgets); each part's samples are drawn by
//! a sampler ([`draw`]), which knows of them scores or what they are like ([`measures`]).

mod budgets;
mod draw;
mod measures;
mod params;
mod parts;

use anyhow::Context as _;
use rayon::prelude::*;

use self::measures::Measures;
use self::params::{Params, Sampler};
use self::parts::Parts;
use super::alignment::{self, AlignedVectors};
use crate::artifact::{Choice, Pool, Share, write_json_lines};
use crate::stage::{Context, Stage};

/// The kind `select`.
pub struct Select;

impl Stage for Select {
    fn declaration(&self) -> &'static str {
        include_str!("../../../stages/select.yaml")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let params: Params = context.params()?;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.execution().threads).build();
        threads.context("cannot start the threads of the stage")?.install(|| select(context, &params))
    }
}

fn select(context: &Context<'_>, params: &Params) -> anyhow::Result<()> {
    let pool = Pool::read(context.input("pool")?)?;
    let ids = alignment::ids(&pool);
    let parts = Parts::read(context, params, &pool, &ids)?;
    let vectors = match params.needs_vectors() {
        true => Some(AlignedVectors::read(context.input("vectors")?, &ids)?),
        false => None,
    };
    let ranking = match params.sampler {
        Sampler::Ccs | Sampler::Top | Sampler::Middle | Sampler::Low => {
            let wanted = (params.scorer != "multiway").then_some(params.scorer.as_str());
            alignment::scores(context.input("scores")?, &ids, wanted)?
        }
        Sampler::Random | Sampler::Far | Sampler::Near | Sampler::Mmd | Sampler::Distinct => Vec::new(),
    };
    let measures = Measures::new(params, &parts, vectors.as_ref());
    let budgets = budgets::share(context, params, &ids, &parts, &measures, vectors.as_ref())?;

    let draw = |number: usize| draw::draw(params, &ranking, parts.members(number), &measures, budgets[number], number);
    let drawn: Vec<_> = (0..parts.count()).into_par_iter().map(draw).collect::<anyhow::Result<_>>()?;
    let mut choices: Vec<(usize, Choice)> = Vec::new();
    let mut shares = Vec::new();
    for (number, drawn) in drawn.into_iter().enumerate() {
        let (cluster, part) = parts.name(number);
        let column = drawn.column;
        shares.push(Share {
            cluster,
            part,
            size: parts.members(number).len(),
            budget: budgets[number],
            chosen: drawn.samples.len(),
            scorer: column.map(|column| column.scorer.clone()),
            entropies: drawn.entropies,
        });
        choices.extend(drawn.samples.into_iter().map(|sample| {
            let (scorer, score) = column.map(|column| (column.scorer.clone(), column.raw[sample])).unzip();
            (sample, Choice { id: ids[sample].clone(), cluster, scorer, score })
        }));
    }
    choices.sort_by_key(|(sample, _)| *sample);

    let output = context.output("subset")?;
    let indices: Vec<usize> = choices.iter().map(|(sample, _)| *sample).collect();
    pool.select(&indices).write(output)?;
    write_json_lines(&output.join("choices.jsonl"), choices.iter().map(|(_, choice)| choice))?;
    write_json_lines(&output.join("shares.jsonl"), &shares)
}

#[cfg(test)]
mod tests;
