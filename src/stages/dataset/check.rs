//! Looks at the images of samples before they join a pool: in parallel, each file once.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::row::Picture;
use super::sample::Reason;
use crate::artifact::Sample;
use crate::digest::Digest;
use crate::images::{self, Flaw, Place};

/// How closely images are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Not at all.
    None,
    /// Their headers are read.
    Header,
    /// They are decoded.
    Decode,
}

/// What is asked of images, and what is known of the files so far.
pub struct Checker<'a> {
    check: Check,
    min_side: u32,
    folder: Option<&'a Path>,
    /// Files by the first half of their path's digest: the paths of all files would take much memory.
    good: HashSet<u128>,
    bad: HashMap<u128, Reason>,
}

impl<'a> Checker<'a> {
    /// Checks images, those in files below `folder`. Images with a side of less than `min_side` pixels are
    /// bad.
    pub fn new(check: Check, min_side: u32, folder: Option<&'a Path>) -> Checker<'a> {
        Checker { check, min_side, folder, good: HashSet::new(), bad: HashMap::new() }
    }

    /// What is wrong with images inside the file of their row.
    pub fn inside(&self, images: &[Picture<'_>]) -> Option<Reason> {
        if self.check == Check::None {
            return None;
        }
        images.iter().find_map(|picture| {
            let bytes = match picture {
                Picture::Text(text) => images::decoded(text.as_bytes()),
                Picture::TextCell(text) => images::decoded(text.as_bytes()),
                Picture::Cell(bytes) => return self.verdict(self.size_of(bytes.data())),
                Picture::File(_) | Picture::Nothing => Err(Flaw::Missing),
            };
            self.verdict(bytes.and_then(|bytes| self.size_of(&bytes)))
        })
    }

    /// What is wrong with the image files of each sample.
    pub fn files(&mut self, samples: &[Option<&Sample>]) -> Vec<Option<Reason>> {
        let Some(folder) = self.folder.filter(|_| self.check != Check::None) else { return vec![None; samples.len()] };
        let paths = |sample: &'_ Sample| -> Vec<(u128, String)> {
            let files = sample.images.iter().filter(|image| image.root == super::IMAGES);
            files.map(|image| (key(&image.path), image.path.clone())).collect()
        };
        let all: Vec<Vec<(u128, String)>> = samples.par_iter().map(|sample| sample.map_or(vec![], paths)).collect();
        let new: HashMap<u128, &str> = all
            .iter()
            .flatten()
            .filter(|(key, _)| !self.good.contains(key) && !self.bad.contains_key(key))
            .map(|(key, path)| (*key, path.as_str()))
            .collect();
        let look = |(key, path): (u128, &str)| {
            let place = Place::from(folder.join(path));
            let size = match self.check {
                Check::Decode => place.decode().map(|image| image.dimensions()),
                Check::None | Check::Header => place.size(),
            };
            (key, self.verdict(size))
        };
        let verdicts: Vec<(u128, Option<Reason>)> = new.into_par_iter().map(look).collect();
        for (key, verdict) in verdicts {
            match verdict {
                None => drop(self.good.insert(key)),
                Some(reason) => drop(self.bad.insert(key, reason)),
            }
        }
        all.iter().map(|paths| paths.iter().find_map(|(key, _)| self.bad.get(key).copied())).collect()
    }

    fn size_of(&self, bytes: &[u8]) -> Result<(u32, u32), Flaw> {
        match self.check {
            Check::Decode => images::decode_bytes(bytes).map(|image| image.dimensions()),
            Check::None | Check::Header => images::size_of(bytes),
        }
    }

    fn verdict(&self, size: Result<(u32, u32), Flaw>) -> Option<Reason> {
        match size {
            Ok((width, height)) if width.min(height) < self.min_side => Some("image is smaller than `min_side`"),
            Ok(_) => None,
            Err(Flaw::Missing) => Some("image is missing"),
            Err(Flaw::Unreadable(_)) => Some("image is unreadable"),
            Err(Flaw::TooLarge { .. }) => Some("image is too large to decode"),
        }
    }
}

fn key(path: &str) -> u128 {
    u128::from_le_bytes(Digest::of(path.as_bytes()).first_half())
}
