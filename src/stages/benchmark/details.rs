//! The further figures of a benchmark that its authors report beside the main one.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::Benchmark;
use super::judge::{Reply, value};
use super::metric::{Metric, Scored, region_overlap};
use super::question::{Expected, Question};
use crate::selection::answers::bleu::corpus_bleu;
use crate::selection::answers::cider::cider;
use crate::selection::answers::yes_no::{Tally, says_no};

/// A question with what became of the reply to it.
type Row<'a> = (&'a Question, &'a Reply, &'a Scored);

/// All but `unreadable`, a number of answers, are in percent.
pub(super) fn details(benchmark: &Benchmark, replies: &[Reply], scored: &[Scored]) -> IndexMap<String, f64> {
    let rows: Vec<Row<'_>> = benchmark
        .questions
        .iter()
        .zip(replies.iter().zip(scored))
        .map(|(question, (reply, scored))| (question, reply, scored))
        .collect();
    let mut figures = IndexMap::new();
    if benchmark.metric.looks_for_something() {
        let unreadable = rows.iter().filter(|(_, _, scored)| !scored.readable).count();
        figures.insert("unreadable".to_string(), unreadable as f64);
    }
    match benchmark.metric {
        Metric::Pope => figures.extend(yes_and_no(&rows, "")),
        Metric::RefCoco => figures.extend(boxes(&rows)),
        Metric::CharacterBleu | Metric::WordBleu => figures.extend(captions(benchmark.metric, &rows)),
        _ => {}
    }
    if rows.iter().any(|(question, _, _)| question.circle.is_some()) {
        let first = rows.iter().filter(|(question, _, _)| !question.rotated);
        let scores: Vec<f64> = first.map(|(_, _, scored)| scored.score).collect();
        figures.insert("first_round".to_string(), percent(&scores));
    }
    let mut groups: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
    for row in &rows {
        for group in &row.0.groups {
            groups.entry(group).or_default().push(*row);
        }
    }
    for (group, rows) in &groups {
        let scores: Vec<(&Question, f64)> =
            rows.iter().map(|(question, _, scored)| (*question, scored.score)).collect();
        figures.insert(group.to_string(), value(&scores));
        if benchmark.metric == Metric::Pope {
            figures.extend(yes_and_no(rows, &format!("{group}/")));
        }
    }
    figures
}

fn percent(shares: &[f64]) -> f64 {
    100.0 * shares.iter().sum::<f64>() / shares.len().max(1) as f64
}

fn yes_and_no(rows: &[Row<'_>], before: &str) -> Vec<(String, f64)> {
    let pairs = rows.iter().filter_map(|(question, reply, _)| match (&question.expected, reply) {
        (Expected::YesNo(yes), Reply::Text(text)) => Some((*yes, !says_no(text))),
        _ => None,
    });
    let tally = Tally::of(pairs);
    let figures = [
        ("precision", tally.precision()),
        ("recall", tally.recall()),
        ("f1", tally.f1()),
        ("yes_ratio", tally.yes_ratio()),
    ];
    figures.map(|(name, share)| (format!("{before}{name}"), 100.0 * share)).to_vec()
}

/// The mean overlap, an answer without a box counting 0, and the result among answers with a box: the
/// denominator of the method's authors.
fn boxes(rows: &[Row<'_>]) -> Vec<(String, f64)> {
    let overlap = |(question, reply, _): &Row<'_>| match (&question.expected, reply) {
        (Expected::Region(region), Reply::Text(text)) => {
            region_overlap(region, text).map_or(0.0, |(_, overlap)| overlap)
        }
        _ => 0.0,
    };
    let overlaps: Vec<f64> = rows.iter().map(overlap).collect();
    let readable = rows.iter().filter(|(_, _, scored)| scored.readable);
    let readable: Vec<f64> = readable.map(|(_, _, scored)| scored.score).collect();
    vec![("mean_overlap".to_string(), percent(&overlaps)), ("of_readable".to_string(), percent(&readable))]
}

fn captions(metric: Metric, rows: &[Row<'_>]) -> Vec<(String, f64)> {
    let references: Vec<_> = rows.iter().map(|(question, _, _)| metric.tokens(&question.expected)).collect();
    let answered = |(_, reply, _): &Row<'_>| match reply {
        Reply::Text(text) => text.clone(),
        Reply::WouldBeRight(_) => String::new(),
    };
    let texts: Vec<String> = rows.iter().map(answered).collect();
    let tokens: Vec<_> = texts.iter().map(|text| metric.cut(text)).collect();
    vec![
        ("corpus_bleu".to_string(), 100.0 * corpus_bleu(&references, &tokens)),
        ("cider".to_string(), percent(&cider(&references, &tokens))),
    ]
}
