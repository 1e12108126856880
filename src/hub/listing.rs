//! The canonical listing of a folder at a commit: which files there are, which of them are used, and
//! the digest of those.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::client::{Client, Item};
use super::error::Reason;
use super::name::{Name, is_hex, is_inside};
use crate::digest::Digest;
use crate::text::did_you_mean;

/// Folders of a checkpoint that belong to it: an adapter beside its base, further chat templates.
pub(super) const INNER: [&str; 2] = ["adapter", "additional_chat_templates"];
/// Ends of the names of files that are, or may be, pickles.
const PICKLES: [&str; 6] = [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"];

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Below the root of the repository, with `/` between its parts.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Git's SHA-1 of the content; of a file in Git LFS, that of the pointer to it.
    pub oid: String,
    /// The SHA-256 of a file in Git LFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A folder with what is in it, or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    pub folder: bool,
    /// In the order of their paths.
    pub entries: Vec<Entry>,
}

impl Entry {
    /// The name of the content in the cache: its SHA-256 or Git's SHA-1.
    pub fn blob(&self) -> &str {
        self.sha256.as_ref().unwrap_or(&self.oid)
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl Listing {
    fn new(folder: bool, mut entries: Vec<Entry>) -> Result<Listing, Reason> {
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        entries.dedup_by(|left, right| left.path == right.path);
        let listing = Listing { folder, entries };
        listing.check()?;
        Ok(listing)
    }

    /// Refuses names that would lead out of the cache.
    pub fn check(&self) -> Result<(), Reason> {
        let fits = |entry: &Entry| {
            let sha256 = entry.sha256.as_ref().is_none_or(|digest| is_hex(digest, 64));
            is_inside(&entry.path) && is_hex(&entry.oid, 40) && sha256
        };
        match self.entries.iter().find(|entry| !fits(entry)) {
            Some(entry) => Err(Reason::BadEntry(entry.path.clone())),
            None => Ok(()),
        }
    }

    /// The files that are used: of a dataset all, of a checkpoint those that reading one needs.
    pub fn used(&self, name: &Name) -> Result<Vec<Entry>, Reason> {
        if name.dataset {
            return Ok(self.entries.clone());
        }
        let pickle = || self.entries.iter().find(|entry| is_pickle(entry.name()));
        let used: Vec<Entry> = match self.folder {
            false => self.entries.iter().filter(|entry| !is_pickle(entry.name())).cloned().collect(),
            true => {
                let single = self.entries.iter().any(|entry| entry.name() == "model.safetensors");
                let sharded = self.entries.iter().any(|entry| is_shard(entry.name()));
                let needed = |entry: &&Entry| is_needed(entry.name(), single, sharded);
                self.entries.iter().filter(needed).cloned().collect()
            }
        };
        match (used.is_empty(), pickle()) {
            (false, _) => Ok(used),
            (true, Some(pickle)) => Err(Reason::Pickle(pickle.path.clone())),
            (true, None) => Err(Reason::NoCheckpoint),
        }
    }

    /// The names of everything directly in the folder.
    pub fn names(&self, name: &Name) -> Option<Vec<String>> {
        let first = |entry: &Entry| relative(name, &entry.path).split('/').next().unwrap_or_default().to_string();
        self.folder.then(|| self.entries.iter().map(first).collect::<BTreeSet<_>>().into_iter().collect())
    }
}

/// The digest of files by their paths and contents. Neither the repository nor the commit is part of
/// it: equal content is equal, wherever it is.
pub(super) fn digest(name: &Name, files: &[Entry]) -> Digest {
    // A path has no zero byte and a digest no newline, so the listing can be read in one way only.
    let mut listing = b"hub 1\n".to_vec();
    for file in files {
        listing.extend_from_slice(relative(name, &file.path).as_bytes());
        listing.push(0);
        let algorithm = if file.sha256.is_some() { "sha256:" } else { "git:" };
        listing.extend_from_slice(algorithm.as_bytes());
        listing.extend_from_slice(file.blob().as_bytes());
        listing.push(b'\n');
    }
    Digest::of(&listing)
}

/// Asks the Hub what a value names at a commit.
pub(super) fn ask(client: &Client, name: &Name, commit: &str) -> Result<Listing, Reason> {
    if name.path.is_empty() {
        return Listing::new(true, below(client, name, commit, "")?);
    }
    // The folder around it says whether it is a file or a folder.
    let (around, _) = name.path.rsplit_once('/').unwrap_or(("", &name.path));
    let items = match client.tree(name, commit, around, false) {
        Err(Reason::NoPath { .. }) => Vec::new(),
        items => items?,
    };
    match items.iter().find(|item| item.path == name.path) {
        Some(item) if item.is_folder() => Listing::new(true, below(client, name, commit, &name.path)?),
        Some(item) => Listing::new(false, item.entry().into_iter().collect()),
        None => {
            let known = items.iter().map(|item| item.path.as_str());
            let near = did_you_mean(&name.path, known).map(str::to_string);
            Err(Reason::NoPath { path: name.path.clone(), near })
        }
    }
}

/// The files of a folder: of a dataset at any depth, of a checkpoint those that may belong to it.
fn below(client: &Client, name: &Name, commit: &str, folder: &str) -> Result<Vec<Entry>, Reason> {
    let items = client.tree(name, commit, folder, name.dataset)?;
    let mut entries: Vec<Entry> = items.iter().filter_map(Item::entry).collect();
    if !name.dataset {
        let is_inner = |item: &&Item| item.is_folder() && INNER.contains(&relative(name, &item.path));
        for inner in items.iter().filter(is_inner) {
            entries.extend(client.tree(name, commit, &inner.path, false)?.iter().filter_map(Item::entry));
        }
    }
    Ok(entries)
}

/// The path of a file below what the value names; of a file that is the value itself, its name.
fn relative<'p>(name: &Name, path: &'p str) -> &'p str {
    let below = path.strip_prefix(name.path.as_str()).map(|rest| rest.trim_start_matches('/'));
    match below {
        Some("") | None => path.rsplit('/').next().unwrap_or(path),
        Some(below) => below,
    }
}

fn is_pickle(name: &str) -> bool {
    PICKLES.iter().any(|end| name.ends_with(end))
}

fn is_shard(name: &str) -> bool {
    name.starts_with("model-") && name.contains("-of-") && name.ends_with(".safetensors")
}

/// Whether a file of a checkpoint is read. Where the weights are there in several forms, one is taken:
/// `model.safetensors`, else its shards, else any safetensors.
fn is_needed(name: &str, single: bool, sharded: bool) -> bool {
    if name.ends_with(".safetensors") {
        return match (single, sharded) {
            _ if name == "adapter_model.safetensors" => true,
            (true, _) => name == "model.safetensors",
            (false, true) => is_shard(name),
            (false, false) => true,
        };
    }
    name.ends_with(".json") || name.ends_with(".jinja") || name == "tokenizer.model"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(paths: &[&str]) -> Listing {
        let entry = |path: &&str| Entry { path: path.to_string(), size: 1, oid: "0".repeat(40), sha256: None };
        Listing::new(true, paths.iter().map(entry).collect()).unwrap()
    }

    fn used(paths: &[&str]) -> Vec<String> {
        let name = Name::parse("hf://a/b").unwrap();
        listing(paths).used(&name).unwrap().into_iter().map(|entry| entry.path).collect()
    }

    #[test]
    fn of_a_checkpoint_only_what_reading_one_needs_is_used() {
        assert_eq!(
            used(&[".gitattributes", "README.md", "config.json", "model.safetensors", "pytorch_model.bin", "x.jinja"]),
            ["config.json", "model.safetensors", "x.jinja"]
        );
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(used(&[&shards[..], &["consolidated.safetensors"]].concat()), shards);
        assert_eq!(used(&[&shards[..], &["model.safetensors"]].concat()), ["model.safetensors"]);
        assert_eq!(used(&["adapter/adapter_model.safetensors", "tokenizer.model"]).len(), 2);
    }

    #[test]
    fn a_checkpoint_without_a_file_of_one_is_refused() {
        let name = Name::parse("hf://a/b").unwrap();
        assert_eq!(listing(&["README.md"]).used(&name), Err(Reason::NoCheckpoint));
        assert_eq!(listing(&["pytorch_model.bin"]).used(&name), Err(Reason::Pickle("pytorch_model.bin".into())));
    }

    #[test]
    fn equal_files_are_equal_wherever_they_are() {
        let digest_of = |value: &str, paths: &[&str]| {
            let name = Name::parse(value).unwrap();
            digest(&name, &listing(paths).used(&name).unwrap())
        };
        let here = digest_of("hf://datasets/a/b@main/x", &["x/1.json", "x/y/2.json"]);
        assert_eq!(here, digest_of("hf://datasets/c/d@v1", &["1.json", "y/2.json"]));
        assert_ne!(here, digest_of("hf://datasets/c/d@v1", &["1.json", "2.json"]));
    }

    #[test]
    fn a_listing_cannot_lead_out_of_the_cache() {
        let entry = |path: &str, oid: &str| Entry { path: path.into(), size: 1, oid: oid.into(), sha256: None };
        for (path, oid) in [("../x.json", "0".repeat(40)), ("/x", "0".repeat(40)), ("x", "../../x".to_string())] {
            let refused = Listing::new(true, vec![entry(path, &oid)]);
            assert_eq!(refused, Err(Reason::BadEntry(path.to_string())));
        }
    }
}
