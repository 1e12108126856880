//! How far a training is, saved now and then, so that one that is cut off is gone on with.
//!
//! A save holds what each step changes: the trained parameters, what the optimiser knows of them, and the
//! loss of every step so far. Everything else follows from the number of steps: the samples that come
//! next, their learning rates, and where the draws of dropout are. So a training that goes on from a save
//! ends with the bytes of one that was never cut off, where the same operations give the same bytes.
//!
//! A save is one safetensors file, `<steps>-<digest>.safetensors`: `model/<parameter>`, `first/<parameter>`
//! and `second/<parameter>` (flattened), and `losses`. It is written under another name and brought to the
//! disk before it is called so, and its name says what its content must be: half a save is none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};

use super::kernels::Kernels;
use super::linear::Linear;
use super::llava::{Llava, host};
use super::optimizer::{AdamW, each_adapter};
use super::parameters::{Part, Visitor, weight_and_bias};
use super::tensors::{self, Numbers, Stored, Values};
use crate::digest::Digest;

/// Saves that are kept: the newest, and one before it in case that one is damaged.
const KEPT: usize = 2;
/// Saving takes at most one part in so many of the time.
const SHARE: u32 = 50;
/// The names of the two running averages.
const MOMENTS: [&str; 2] = ["first", "second"];
const MODEL: &str = "model";
const LOSSES: &str = "losses";

/// Where and how often a training is saved.
pub struct Saves<'a> {
    directory: PathBuf,
    every: Duration,
    /// When it was last saved, or began.
    last: Instant,
    /// How long saving took then.
    took: Duration,
    /// Whether the training is to end early.
    is_asked: &'a dyn Fn() -> bool,
    /// Is told what happens.
    note: &'a dyn Fn(String),
}

impl<'a> Saves<'a> {
    /// Saves in `directory`, which need not be there, every so often, and when it `is_asked` to end early;
    /// `note` is told what happens.
    pub fn new(
        directory: &Path,
        every: Duration,
        is_asked: &'a dyn Fn() -> bool,
        note: &'a dyn Fn(String),
    ) -> Saves<'a> {
        let directory = directory.to_path_buf();
        Saves { directory, every, last: Instant::now(), took: Duration::ZERO, is_asked, note }
    }

    /// Brings a model and an optimiser, which have not made a step, to where the newest save was that is not
    /// damaged, and gives the losses of the steps up to there: none, if there is no such save. A training has
    /// `most` steps.
    pub fn restore<B: Kernels + AutodiffBackend>(
        &self,
        model: &mut Llava<B>,
        optimizer: &mut AdamW<B>,
        most: usize,
    ) -> Vec<f32> {
        self.tidy();
        for path in self.found() {
            match read(&path, model, most) {
                Ok(Save { losses, parameters, moments }) => {
                    model.visit(&mut Put { parameters });
                    optimizer.resume(losses.len(), moments);
                    (self.note)(format!(
                        "goes on after step {} of {most}, from a save of an earlier run",
                        losses.len()
                    ));
                    return losses;
                }
                Err(error) => (self.note)(format!("a save of an earlier run is not used: {error:#}")),
            }
        }
        Vec::new()
    }

    /// Saves a training after a step, if it is time. One that cannot be saved goes on all the same, unless it
    /// is to end early.
    ///
    /// # Errors
    ///
    /// If it is to end early.
    pub fn after_step<B: Kernels + AutodiffBackend>(
        &mut self,
        model: &mut Llava<B>,
        optimizer: &AdamW<B>,
        losses: &[f32],
    ) -> anyhow::Result<()> {
        let is_asked = (self.is_asked)();
        if !is_asked && self.last.elapsed() < self.every.max(self.took * SHARE) {
            return Ok(());
        }
        let since = Instant::now();
        if let Err(error) = self.save(model, optimizer, losses) {
            (self.note)(format!("how far the training is cannot be saved: {error:#}"));
        }
        (self.last, self.took) = (Instant::now(), since.elapsed());
        ensure!(!is_asked, "it was asked to stop after step {}", losses.len());
        Ok(())
    }

    fn save<B: Kernels + AutodiffBackend>(
        &self,
        model: &mut Llava<B>,
        optimizer: &AdamW<B>,
        losses: &[f32],
    ) -> anyhow::Result<()> {
        let mut take = Take { optimizer, taken: BTreeMap::new() };
        model.visit(&mut take);
        let mut taken: BTreeMap<String, Box<dyn Values>> = BTreeMap::new();
        for (name, tensor) in take.taken {
            let moments = optimizer.moments(&name).expect("BUG: only parameters with moments are taken");
            for (kind, moment) in MOMENTS.iter().zip(moments) {
                taken.insert(format!("{kind}/{name}"), Box::new(Held::new(moment.clone())));
            }
            taken.insert(format!("{MODEL}/{name}"), Box::new(Held::new(tensor)));
        }
        taken.insert(LOSSES.to_string(), Box::new(tensors::Tensor::new([losses.len()], losses.to_vec())));
        let named = taken.iter().map(|(name, tensor)| (name.as_str(), &**tensor)).collect();

        let problem = || format!("cannot write into `{}`", self.directory.display());
        fs::create_dir_all(&self.directory).with_context(problem)?;
        // Removed where it does not come to its name.
        let file = tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(&self.directory);
        let file = file.with_context(problem)?.into_temp_path();
        tensors::write(&file, &named, Numbers::F32)?;
        File::open(&file).and_then(|written| written.sync_all()).with_context(problem)?;
        let digest = Digest::of_file(&file).with_context(problem)?;
        let path = self.directory.join(format!("{:09}-{}.safetensors", losses.len(), digest.hex()));
        file.persist(&path).with_context(problem)?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).with_context(problem)?;
        for old in self.found().into_iter().filter(|found| *found != path).skip(KEPT - 1) {
            let _ = fs::remove_file(old);
        }
        Ok(())
    }

    /// Removes what a process left that was killed while it saved.
    fn tidy(&self) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in entries.filter(|path| path.extension().is_some_and(|end| end == "tmp")) {
            let _ = fs::remove_file(path);
        }
    }

    /// All saves by their names, newest first.
    fn found(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| digest(path).is_some()).collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found
    }
}

/// What the name of a save says of its content.
fn digest(path: &Path) -> Option<&str> {
    let (steps, digest) = path.file_name()?.to_str()?.strip_suffix(".safetensors")?.split_once('-')?;
    steps.bytes().all(|byte| byte.is_ascii_digit()).then_some(digest)
}

/// A save in memory.
struct Save<B: AutodiffBackend> {
    losses: Vec<f32>,
    parameters: BTreeMap<String, Tensor<B::InnerBackend, 1>>,
    moments: BTreeMap<String, [Tensor<B::InnerBackend, 1>; 2]>,
}

/// Reads a save, unless it is damaged or not of such a model.
fn read<B: Kernels + AutodiffBackend>(path: &Path, model: &mut Llava<B>, most: usize) -> anyhow::Result<Save<B>> {
    let place = path.display();
    let found = Digest::of_file(path).with_context(|| format!("cannot read `{place}`"))?;
    ensure!(digest(path) == Some(found.hex().as_str()), "`{place}` is damaged");
    let mut stored: BTreeMap<String, Stored> = tensors::open(path, |_| true)?.into_iter().collect();
    let losses = stored.remove(LOSSES).with_context(|| format!("`{place}` has no losses"))?.fetch()?;
    ensure!(losses.len() <= most, "`{place}` is of {} steps, and there are {most}", losses.len());
    let mut sizes = Sizes(BTreeMap::new());
    model.visit(&mut sizes);
    let device = model.device().clone();
    let (mut parameters, mut moments) = (BTreeMap::new(), BTreeMap::new());
    let names: Vec<String> = stored.keys().filter_map(|name| name.strip_prefix("model/")).map(str::to_string).collect();
    for name in names {
        let size = sizes.0.get(&name).with_context(|| format!("`{place}` has `{name}`, the model has not"))?;
        let mut take = |kind: &str| -> anyhow::Result<Tensor<B::InnerBackend, 1>> {
            let tensor = stored.remove(&format!("{kind}/{name}"));
            let tensor = tensor.with_context(|| format!("`{place}` has not all of `{name}`"))?;
            ensure!(tensor.shape() == [*size], "`{name}` in `{place}` has another size than in the model");
            Ok(Tensor::from_data(TensorData::new(tensor.fetch()?, [*size]), &device))
        };
        let [parameter, first, second] = [take(MODEL)?, take(MOMENTS[0])?, take(MOMENTS[1])?];
        parameters.insert(name.clone(), parameter);
        moments.insert(name, [first, second]);
    }
    Ok(Save { losses, parameters, moments })
}

/// A tensor on its device.
struct Held<B: Backend> {
    tensor: Tensor<B, 1>,
    shape: [usize; 1],
}

impl<B: Backend> Held<B> {
    fn new(tensor: Tensor<B, 1>) -> Held<B> {
        Held { shape: tensor.dims(), tensor }
    }
}

impl<B: Backend> Values for Held<B> {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn fetch(&self) -> anyhow::Result<Vec<f32>> {
        Ok(host(self.tensor.clone()))
    }
}

/// Takes the parameters that the optimiser changed.
struct Take<'a, B: AutodiffBackend> {
    optimizer: &'a AdamW<B>,
    taken: BTreeMap<String, Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> Visitor<B> for Take<'_, B> {
    fn tensor<const D: usize>(&mut self, name: &str, _: Part, _: bool, tensor: &mut Tensor<B, D>) {
        if self.optimizer.moments(name).is_some() {
            self.taken.insert(name.to_string(), tensor.clone().inner().reshape([-1]));
        }
    }

    fn linear(&mut self, part: Part, linear: &mut Linear<B>) {
        weight_and_bias(self, part, linear);
        each_adapter(self, part, linear);
    }
}

/// How many numbers each parameter has.
struct Sizes(BTreeMap<String, usize>);

impl<B: AutodiffBackend> Visitor<B> for Sizes {
    fn tensor<const D: usize>(&mut self, name: &str, _: Part, _: bool, tensor: &mut Tensor<B, D>) {
        self.0.insert(name.to_string(), tensor.dims().iter().product());
    }

    fn linear(&mut self, part: Part, linear: &mut Linear<B>) {
        weight_and_bias(self, part, linear);
        each_adapter(self, part, linear);
    }
}

/// Puts parameters where they were taken.
struct Put<B: AutodiffBackend> {
    parameters: BTreeMap<String, Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> Visitor<B> for Put<B> {
    fn tensor<const D: usize>(&mut self, name: &str, _: Part, _: bool, tensor: &mut Tensor<B, D>) {
        if let Some(values) = self.parameters.remove(name) {
            *tensor = Tensor::from_inner(values.reshape(tensor.dims())).require_grad();
        }
    }

    fn linear(&mut self, part: Part, linear: &mut Linear<B>) {
        weight_and_bias(self, part, linear);
        each_adapter(self, part, linear);
    }
}
