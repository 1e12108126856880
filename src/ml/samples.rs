//! Encoded samples with their images, and the inputs of a forward pass that are made of them.
//! Unaware of where samples come from.

use std::path::Path;

use anyhow::{Context, ensure};
use rayon::prelude::*;

use super::batch::{Batch, Padding};
use super::config::{LlavaConfig, VisionConfig};
use super::conversation::{Encoded, IMAGE_MARK, Labelled, Tokenizer, Turn};
use super::preprocess::{Images, Preprocessor};
use crate::images::Place;
use crate::text::ticked_list;

/// A sample as its owner has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What errors call it.
    pub name: String,
    /// Questions and answers.
    pub turns: Vec<(String, String)>,
    /// Where its images are, in the order of the `<image>` marks.
    pub images: Vec<Place>,
}

/// Which answers are labelled, and how long a sample may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Which answers the loss is about.
    pub labelled: Labelled,
    /// Longest sequence in tokens.
    pub max_length: usize,
}

/// Samples in tokens, with a reader for their images.
pub struct Samples {
    names: Vec<String>,
    encoded: Vec<Encoded>,
    places: Vec<Vec<Place>>,
    /// What images are read with, and the token that stands for them; none where the model reads text only.
    images: Option<(Images, u32)>,
    pad: u32,
}

/// What a model is given in one forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Tokens and labels.
    pub text: Batch,
    /// The images of all samples one after the other, `[3, size, size]` each.
    pub pixels: Vec<f32>,
}

impl Item {
    /// The sample without its images and their marks.
    pub fn without_images(&self) -> Item {
        let strip = |question: &str| question.replace(IMAGE_MARK, "").trim_start().to_string();
        let turns = self.turns.iter().map(|(question, answer)| (strip(question), answer.clone())).collect();
        Item { name: self.name.clone(), turns, images: vec![] }
    }
}

impl Samples {
    /// Encodes `items` with the tokenizer, template and image settings of the checkpoint in
    /// `directory`.
    ///
    /// # Errors
    ///
    /// If the checkpoint's files cannot be read, or samples have no answer token within the maximal
    /// length: they are named.
    pub fn encode(directory: &Path, config: &LlavaConfig, items: &[Item], how: Encoding) -> anyhow::Result<Samples> {
        let tokenizer = Tokenizer::read(directory, config)?;
        let encode = |item: &Item| {
            let turns: Vec<Turn<'_>> = item.turns.iter().map(|(question, answer)| Turn { question, answer }).collect();
            tokenizer.encode(&turns, how.labelled, how.max_length).with_context(|| format!("sample `{}`", item.name))
        };
        let encoded = items.iter().map(encode).collect::<anyhow::Result<Vec<_>>>()?;
        let samples = Samples::new(directory, config, items, encoded)?;
        let unlearnable: Vec<usize> =
            (0..samples.len()).filter(|index| samples.encoded[*index].targets() == 0).collect();
        ensure!(
            unlearnable.is_empty(),
            "no answer token is left within {} tokens in the samples {}; raise `max_length` or drop them",
            how.max_length,
            samples.names(&unlearnable)
        );
        Ok(samples)
    }

    /// Encodes what a model is shown to answer the last question of each item.
    ///
    /// # Errors
    ///
    /// If the checkpoint's files cannot be read.
    pub fn prompts(directory: &Path, config: &LlavaConfig, items: &[Item]) -> anyhow::Result<Samples> {
        let tokenizer = Tokenizer::read(directory, config)?;
        let encode = |item: &Item| {
            let (last, history) =
                item.turns.split_last().with_context(|| format!("sample `{}` is empty", item.name))?;
            let history: Vec<Turn<'_>> = history.iter().map(|(question, answer)| Turn { question, answer }).collect();
            tokenizer.prompt(&history, &last.0).with_context(|| format!("sample `{}`", item.name))
        };
        let encoded = items.iter().map(encode).collect::<anyhow::Result<Vec<_>>>()?;
        Samples::new(directory, config, items, encoded)
    }

    fn new(directory: &Path, config: &LlavaConfig, items: &[Item], encoded: Vec<Encoded>) -> anyhow::Result<Samples> {
        let images = |vision: &VisionConfig| {
            anyhow::Ok((Images::new(Preprocessor::read(directory, vision)?), vision.image_token))
        };
        Ok(Samples {
            names: items.iter().map(|item| item.name.clone()).collect(),
            places: items.iter().map(|item| item.images.clone()).collect(),
            encoded,
            images: config.vision.as_ref().map(images).transpose()?,
            pad: config.pad_token,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.encoded.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// The length of each, in tokens.
    pub fn lengths(&self) -> Vec<usize> {
        self.encoded.iter().map(|encoded| encoded.ids.len()).collect()
    }

    /// How many were cut at the maximal length.
    pub fn cut(&self) -> usize {
        self.encoded.iter().filter(|encoded| encoded.cut > 0).count()
    }

    /// The first few names of the samples at `indices`, for errors.
    pub fn names(&self, indices: &[usize]) -> String {
        const SHOWN: usize = 8;
        let shown = ticked_list(indices.iter().take(SHOWN).map(|index| &self.names[*index]));
        match indices.len().saturating_sub(SHOWN) {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }

    /// The inputs of the samples at `indices`.
    ///
    /// # Errors
    ///
    /// If an image cannot be read.
    pub fn batch(&self, indices: &[usize]) -> anyhow::Result<Inputs> {
        let encoded: Vec<&Encoded> = indices.iter().map(|index| &self.encoded[*index]).collect();
        let image = self.images.as_ref().map(|(_, token)| *token);
        let text = Batch::new(&encoded, Padding::Right, self.pad, image);
        let Some((images, _)) = &self.images else { return Ok(Inputs { text, pixels: vec![] }) };
        let places = indices.iter().flat_map(|index| {
            self.places[*index][..self.encoded[*index].images].iter().map(|place| (&self.names[*index], place))
        });
        let places: Vec<(&String, &Place)> = places.collect();
        let load = |(name, place): (&String, &Place)| images.load(place).with_context(|| format!("sample `{name}`"));
        let loaded = places.into_par_iter().map(load).collect::<anyhow::Result<Vec<_>>>()?;
        let mut pixels = Vec::with_capacity(loaded.iter().map(|image| image.len()).sum());
        loaded.iter().for_each(|image| pixels.extend_from_slice(image));
        Ok(Inputs { text, pixels })
    }
}

impl Inputs {
    /// The same with images of zeros: what the authors' code calls "without the image".
    pub fn blind(mut self) -> Inputs {
        self.pixels.fill(0.0);
        self
    }
}
