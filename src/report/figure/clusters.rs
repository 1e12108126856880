//! Pseudo-task clusters of different vectors: how tight they are, how well they agree with the true
//! skills of the samples, and how the vectors lie.

use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;

use super::chart::{self, Axis, Frame, Look, Sample};
use super::font::{self, Weight};
use super::history::ONLY;
use super::numbers::{Numbers, Role};
use super::palette::{Colour, Marker, Style, style};
use super::scene::{Anchor, Scene, Stroke, Words};
use super::spec::{Clusters, FigureSpec, Projection};
use super::{Figure, FigureError};
use crate::artifact::Vectors;
use crate::report::Cell;
use crate::selection::agreement::{Agreement, agreement};
use crate::selection::maps::{self, Point};

/// The clusters of one replicate of one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// The arm, where the experiment has arms.
    pub arm: Option<String>,
    /// Number of clusters.
    pub clusters: usize,
    /// Sum of squared distances to the centroids.
    pub within: f64,
    /// Sum of squared distances of the centroids to the mean of all, each as often as it has members.
    pub between: f64,
    /// The same sum within clusters for other numbers of clusters, where those were tried.
    pub sweep: Vec<Tried>,
    /// Agreement with the true skills.
    pub agreement: Agreement,
    /// How many true skills there are.
    pub skills: usize,
    /// Some of the vectors, and the skill of each.
    pub sampled: Option<(Vectors, Vec<String>)>,
}

/// A number of clusters that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Tried {
    /// The number.
    pub clusters: usize,
    /// What it led to.
    pub within_sum_of_squares: f64,
}

impl Clustering {
    /// Reads off what clusters came to; `skill` tells the true skill of a sample, and samples without one
    /// do not count for agreement.
    pub fn of(
        arm: Option<String>,
        found: &crate::artifact::Clusters,
        skill: impl Fn(&str) -> Option<usize>,
    ) -> Clustering {
        let width = found.dimensions;
        let sizes: Vec<f64> = found.members().iter().map(|members| members.len() as f64).collect();
        let samples = sizes.iter().sum::<f64>().max(1.0);
        let mut mean = vec![0.0f64; width];
        for (centroid, size) in found.centroids.chunks_exact(width.max(1)).zip(&sizes) {
            mean.iter_mut().zip(centroid).for_each(|(sum, value)| *sum += size * f64::from(*value) / samples);
        }
        let away = |centroid: &[f32]| -> f64 {
            centroid.iter().zip(&mean).map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum()
        };
        let between = found.centroids.chunks_exact(width.max(1)).zip(&sizes).map(|(row, size)| size * away(row)).sum();
        let known = found.ids.iter().zip(&found.labels).filter_map(|(id, label)| Some((skill(id)?, *label)));
        let (classes, labels): (Vec<usize>, Vec<usize>) = known.unzip();
        let skills = classes.iter().collect::<IndexSet<_>>().len();
        Clustering {
            arm,
            clusters: found.count(),
            within: found.within_sum_of_squares,
            between,
            sweep: Vec::new(),
            agreement: agreement(&classes, &labels),
            skills,
            sampled: None,
        }
    }

    /// Number of clusters → share of the total sum of squares that is within clusters.
    fn shares(&self) -> Vec<(usize, f64)> {
        let total = (self.within + self.between).max(f64::MIN_POSITIVE);
        let mut shares: Vec<(usize, f64)> =
            self.sweep.iter().map(|tried| (tried.clusters, tried.within_sum_of_squares / total)).collect();
        if !shares.iter().any(|(clusters, _)| *clusters == self.clusters) {
            shares.push((self.clusters, self.within / total));
        }
        shares
    }
}

/// A measure of agreement: what the figure calls it, and its value.
type Measure = (&'static str, fn(&Agreement) -> f64);

/// The measures of agreement.
const MEASURES: [Measure; 3] = [
    ("NMI", |agreement| agreement.normalised_mutual_information),
    ("ARI", |agreement| agreement.adjusted_rand_index),
    ("purity", |agreement| agreement.purity),
];

/// How far a share or a measure may be from the golden.
const TOLERANCE: f64 = 0.05;

/// Arms of the same kind of vectors.
struct Series<'c> {
    name: String,
    /// Number of clusters → share within clusters.
    shares: IndexMap<usize, Cell>,
    /// The number of clusters whose agreement is shown.
    clusters: usize,
    measures: Vec<Cell>,
    sampled: Option<&'c (Vectors, Vec<String>)>,
}

/// The figure that `spec` asks for.
///
/// # Errors
///
/// If there are no clusters.
pub fn build(spec: &FigureSpec, clusters: &Clusters, title: &str, found: &[Clustering]) -> Result<Figure, FigureError> {
    let found: Vec<&Clustering> = found.iter().filter(|one| spec.shows(one.arm.as_deref())).collect();
    if found.is_empty() {
        return Err(FigureError::NoResults(spec.name.clone()));
    }
    let series = series(&found, clusters.sweep.as_deref());
    let mut numbers = Numbers::new(&[
        ("panel", Role::Key),
        ("arm", Role::Key),
        ("clusters", Role::Key),
        ("measure", Role::Key),
        ("mean", Role::Compared(TOLERANCE)),
        ("deviation", Role::Shown),
    ]);
    for one in &series {
        for (clusters, cell) in &one.shares {
            let row = ["sum of squares".into(), one.name.as_str().into(), (*clusters).into(), "within share".into()];
            numbers.rows.push(row.into_iter().chain([cell.mean.into(), cell.deviation.into()]).collect());
        }
        for ((measure, _), cell) in MEASURES.iter().zip(&one.measures) {
            let row = ["agreement".into(), one.name.as_str().into(), one.clusters.into(), (*measure).into()];
            numbers.rows.push(row.into_iter().chain([cell.mean.into(), cell.deviation.into()]).collect());
        }
    }
    let scene = draw(clusters, title, &series);
    Ok(Figure::new(spec, title, numbers, scene))
}

fn series<'c>(found: &[&'c Clustering], sweep: Option<&str>) -> Vec<Series<'c>> {
    let mut groups: IndexMap<String, Vec<&Clustering>> = IndexMap::new();
    for one in found {
        let arm = one.arm.as_deref().unwrap_or(ONLY);
        let parts = arm
            .split(", ")
            .filter(|part| !sweep.is_some_and(|key| part.strip_prefix(key).is_some_and(|rest| rest.starts_with('='))));
        let name = parts.collect::<Vec<&str>>().join(", ");
        groups.entry(if name.is_empty() { ONLY.to_string() } else { name }).or_default().push(one);
    }
    let over = |values: Vec<f64>| Cell::of(values.into_iter().map(Some).collect());
    let series = |(name, members): (String, Vec<&'c Clustering>)| {
        let mut shares: IndexMap<usize, Vec<f64>> = IndexMap::new();
        for (clusters, share) in members.iter().flat_map(|one| one.shares()) {
            shares.entry(clusters).or_default().push(share);
        }
        shares.sort_unstable_keys();
        // Of several numbers of clusters, agreement is shown for the one nearest to the number of skills.
        let skills = members.iter().map(|one| one.skills).max().unwrap_or(0);
        let clusters =
            members.iter().map(|one| one.clusters).min_by_key(|count| (count.abs_diff(skills), *count)).unwrap_or(0);
        let chosen: Vec<&&Clustering> = members.iter().filter(|one| one.clusters == clusters).collect();
        let measure = |of: fn(&Agreement) -> f64| over(chosen.iter().map(|one| of(&one.agreement)).collect());
        Series {
            name,
            shares: shares.into_iter().map(|(clusters, values)| (clusters, over(values))).collect(),
            clusters,
            measures: MEASURES.iter().map(|(_, of)| measure(*of)).collect(),
            sampled: chosen.iter().find_map(|one| one.sampled.as_ref()),
        }
    };
    groups.into_iter().map(series).collect()
}

fn draw(spec: &Clusters, title: &str, series: &[Series<'_>]) -> Scene {
    let mut scene = Scene::new(chart::WIDE, 0.0, title);
    let top = chart::headline(&mut scene, title);
    let mut samples = Vec::new();
    let swept = series.iter().any(|one| one.shares.len() > 1);
    let height = (series.len() as f64 * 20.0).max(if swept { 125.0 } else { 40.0 });
    let widest = |one: &Series<'_>| font::width(&row_name(one), chart::SMALL, Weight::Regular);
    let names = series.iter().map(widest).fold(0.0, f64::max).min(150.0);
    let above = chart::TEXT + 8.0;
    let mut right_half = chart::EDGE + names + 8.0;
    if swept {
        let axis = Axis::linear(
            series.iter().flat_map(|one| one.shares.values().filter_map(|cell| cell.mean)).chain([0.0]),
            5,
        );
        let left = chart::EDGE + chart::TEXT + 6.0 + chart::room_for(&axis);
        let width = chart::WIDE * 0.4 - left;
        let frame = Frame { left, top: top + above, width, height };
        sweep(&mut scene, &frame, &axis, series);
        samples.extend(
            series
                .iter()
                .enumerate()
                .map(|(place, one)| Sample { name: one.name.clone(), look: Look::Line(style(place)) }),
        );
        right_half = chart::WIDE * 0.4 + names + 22.0;
    }
    let frame =
        Frame { left: right_half, top: top + above, width: chart::WIDE - right_half - chart::EDGE - 6.0, height };
    dots(&mut scene, &frame, series, if swept { "b" } else { "a" });
    let measured = |(place, (name, _)): (usize, &Measure)| Sample {
        name: name.to_string(),
        look: Look::Point(measure_style(place)),
    };
    samples.extend(MEASURES.iter().enumerate().map(measured));
    let mut y = chart::legend(&mut scene, &samples, frame.bottom() + chart::SMALL + chart::TEXT + 14.0);
    let mut notes = vec![
        "NMI: normalised mutual information; ARI: Rand index adjusted for chance; purity: share of samples of the commonest skill of their cluster; each 1 where clusters are the skills.".to_string(),
    ];
    if series.iter().any(|one| one.sampled.is_some()) {
        let (below, note) = all_maps(&mut scene, spec, series, y + 2.0, if swept { "c" } else { "b" });
        y = below;
        notes.push(note);
    }
    let replicates = series.iter().flat_map(|one| &one.measures).map(|cell| cell.n).max().unwrap_or(0);
    if replicates > 1 {
        notes.push(format!("Bars: ± one standard deviation over {replicates} seeds."));
    }
    y = chart::caption(&mut scene, &notes.join(" "), y);
    scene.height = y + chart::EDGE / 2.0;
    scene
}

/// Share of the sum of squares within clusters over the number of clusters.
fn sweep(scene: &mut Scene, frame: &Frame, up: &Axis, series: &[Series<'_>]) {
    let counts: IndexSet<usize> = series.iter().flat_map(|one| one.shares.keys().copied()).collect();
    let most = counts.iter().max().copied().unwrap_or(1) as f64;
    let across = Axis::linear([0.0, most], 6);
    chart::vertical(scene, frame, up, Some("sum of squares within, share"), true);
    chart::horizontal(scene, frame, &across, "number of clusters k");
    chart::heading(scene, frame, "a  Tightness");
    for (place, one) in series.iter().enumerate() {
        let look = style(place);
        let points: Vec<[f64; 2]> = one
            .shares
            .iter()
            .filter_map(|(clusters, cell)| Some([across.x(*clusters as f64, frame), up.y(cell.mean?, frame)]))
            .collect();
        for (at, cell) in points.iter().zip(one.shares.values()) {
            if let (Some(mean), Some(deviation)) = (cell.mean, cell.deviation) {
                let ends = [mean - deviation, mean + deviation].map(|end| [at[0], up.y(end, frame)]);
                scene.line(ends.to_vec(), Stroke::of(look.colour, 0.8));
            }
        }
        scene.line(points.clone(), chart::line_of(&look));
        points.into_iter().for_each(|at| chart::marker(scene, at, 2.4, &look));
    }
}

fn measure_style(place: usize) -> Style {
    const LOOKS: [(Colour, Marker); 3] = [
        (Colour(0x22, 0x22, 0x22), Marker::Circle),
        (Colour(0x6b, 0x6b, 0x6b), Marker::Square),
        (Colour(0x9a, 0x9a, 0x9a), Marker::Triangle),
    ];
    let (colour, marker) = LOOKS[place % LOOKS.len()];
    Style { colour, marker, dash: Vec::new() }
}

/// What a row of agreement is called.
fn row_name(one: &Series<'_>) -> String {
    format!("{} (k = {})", one.name, one.clusters)
}

/// Agreement with the true skills, a row for each kind of vectors.
fn dots(scene: &mut Scene, frame: &Frame, series: &[Series<'_>], letter: &str) {
    let lowest = series.iter().flat_map(|one| &one.measures).filter_map(|cell| cell.mean).fold(0.0, f64::min);
    let axis = Axis::linear([lowest, 1.0], 5);
    for tick in &axis.ticks {
        let x = axis.x(*tick, frame);
        scene.line(vec![[x, frame.top], [x, frame.bottom()]], Stroke::of(Colour::FAINT, 0.6));
    }
    chart::horizontal(scene, frame, &axis, "agreement with the true skills");
    chart::heading(scene, frame, &format!("{letter}  Agreement"));
    let slot = frame.height / series.len().max(1) as f64;
    for (place, one) in series.iter().enumerate() {
        let middle = frame.top + slot * (place as f64 + 0.5);
        let text = font::cut(&row_name(one), chart::SMALL, Weight::Regular, 150.0);
        scene.text(
            Words::new(text, [frame.left - 5.0, middle + chart::SMALL * 0.36], chart::SMALL).anchored(Anchor::End),
        );
        // Each measure a little lower, so that equal values do not hide each other.
        for (number, cell) in one.measures.iter().enumerate() {
            let Some(mean) = cell.mean else { continue };
            let y = middle + (number as f64 - 1.0) * slot.min(24.0) * 0.24;
            let look = measure_style(number);
            scene.line(vec![[axis.x(0.0, frame), y], [axis.x(mean, frame), y]], Stroke::of(look.colour, 0.6));
            if let Some(deviation) = cell.deviation {
                let ends = [mean - deviation, mean + deviation].map(|end| [axis.x(end, frame), y]);
                scene.line(ends.to_vec(), Stroke::of(look.colour, 1.6));
            }
            chart::marker(scene, [axis.x(mean, frame), y], 2.6, &look);
        }
    }
}

/// Maps of the vectors, with the true skill of each point. Returns where the rest begins, and how to read
/// them.
fn all_maps(scene: &mut Scene, spec: &Clusters, series: &[Series<'_>], top: f64, letter: &str) -> (f64, String) {
    let mapped: Vec<(&Series<'_>, &(Vectors, Vec<String>))> =
        series.iter().filter_map(|one| Some((one, one.sampled?))).collect();
    let mut skills: Vec<&str> = mapped.iter().flat_map(|(_, (_, skills))| skills.iter().map(String::as_str)).collect();
    skills.sort_unstable();
    skills.dedup();
    // Four maps are two rows of two.
    let columns = if matches!(mapped.len(), 2 | 4) { 2 } else { 3 };
    let gap = 10.0;
    let side = (chart::WIDE - 2.0 * chart::EDGE - gap * (columns - 1) as f64) / columns as f64;
    let tall = if columns == 2 { 0.55 } else { 0.8 } * side;
    let mut y = top;
    let mut most = 0;
    for row in mapped.chunks(columns) {
        for (column, (one, (vectors, of))) in row.iter().enumerate() {
            let left = chart::EDGE + column as f64 * (side + gap);
            let frame = Frame { left, top: y + chart::TEXT + 8.0, width: side, height: tall };
            let flat = maps::principal(&vectors.values, vectors.dimensions);
            let points = match spec.map {
                Projection::Pca => flat.points,
                Projection::Tsne => maps::neighbours(&vectors.values, vectors.dimensions, &flat.points),
            };
            most = most.max(points.len());
            let explained = (flat.explained[0] + flat.explained[1]) * 100.0;
            let heading = match spec.map {
                Projection::Pca => format!("{letter}  {} ({explained:.0} %)", one.name),
                Projection::Tsne => format!("{letter}  {}", one.name),
            };
            chart::heading(scene, &frame, &heading);
            scene.rectangle([frame.left, frame.top, frame.width, frame.height], None, Stroke::of(Colour::FAINT, 0.7));
            for (at, skill) in placed(&points, &frame).into_iter().zip(of) {
                let number = skills.iter().position(|known| known == skill).unwrap_or(0);
                chart::speck(scene, at, &style(number));
            }
        }
        y += chart::TEXT + 8.0 + tall + 4.0;
    }
    let sample = |(place, skill): (usize, &&str)| Sample { name: skill.to_string(), look: Look::Point(style(place)) };
    let samples: Vec<Sample> = skills.iter().enumerate().map(sample).collect();
    y = chart::legend(scene, &samples, y + 4.0);
    let how = match spec.map {
        Projection::Pca => "their first two principal components (in brackets their share of the variance)",
        Projection::Tsne => "t-SNE (perplexity 30, started from principal components)",
    };
    (y, format!("Maps: {most} samples by {how}, coloured by true skill; the axes have no unit."))
}

/// The points of a map in a frame, with the same scale along both axes.
fn placed(points: &[Point], frame: &Frame) -> Vec<[f64; 2]> {
    let range = |axis: usize| {
        let values = points.iter().map(move |point| point[axis]);
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        (low, (high - low).max(1e-12))
    };
    let ((left, width), (low, height)) = (range(0), range(1));
    let room = 5.0;
    let scale = ((frame.width - 2.0 * room) / width).min((frame.height - 2.0 * room) / height);
    let (x, y) =
        (frame.left + (frame.width - width * scale) / 2.0, frame.bottom() - (frame.height - height * scale) / 2.0);
    points.iter().map(|point| [x + (point[0] - left) * scale, y - (point[1] - low) * scale]).collect()
}
