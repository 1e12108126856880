//! What can be known without the Hub from the cache alone, which other programs may have filled.

use std::fs;
use std::path::Path;

use super::listing::{Entry, INNER, Listing};
use super::name::{Name, is_hex};
use super::settings::Settings;

/// Where a revision was when some program last asked.
pub(super) fn branch(settings: &Settings, name: &Name) -> Option<String> {
    let commit = fs::read_to_string(settings.branch_file(name)).ok()?;
    Some(commit.trim().to_string()).filter(|commit| is_hex(commit, 40))
}

/// What the cache has of a checkpoint or of one file at a commit, if that is enough to use it: nobody
/// can know whether a folder of a dataset is whole.
pub(super) fn listing(settings: &Settings, name: &Name, commit: &str) -> Option<Listing> {
    let root = settings.snapshot(name, commit);
    let place = root.join(&name.path);
    if place.is_file() {
        return Some(Listing { folder: false, entries: vec![entry(&root, &name.path)?] });
    }
    if name.dataset {
        return None;
    }
    let prefix = if name.path.is_empty() { String::new() } else { format!("{}/", name.path) };
    let mut entries = Vec::new();
    for folder in std::iter::once("").chain(INNER) {
        let inner = if folder.is_empty() { prefix.clone() } else { format!("{prefix}{folder}/") };
        for found in fs::read_dir(place.join(folder)).into_iter().flatten() {
            let file = format!("{inner}{}", found.ok()?.file_name().to_str()?);
            entries.extend(entry(&root, &file));
        }
    }
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    let has = |file: &str| entries.iter().any(|entry| entry.path == format!("{prefix}{file}"));
    let whole = has("config.json")
        && (has("model.safetensors") || shards(&place).is_some_and(|all| all.iter().all(|shard| has(shard))));
    whole.then_some(Listing { folder: true, entries })
}

/// The shards that the index of a checkpoint names.
fn shards(folder: &Path) -> Option<Vec<String>> {
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("model.safetensors.index.json")).ok()?).ok()?;
    index["weight_map"].as_object()?.values().map(|shard| shard.as_str().map(str::to_string)).collect()
}

/// A file of a snapshot: a link to the blob that has its digest for a name.
fn entry(root: &Path, file: &str) -> Option<Entry> {
    let path = root.join(file);
    let target = fs::read_link(&path).ok()?;
    let blob = target.file_name()?.to_str()?.to_string();
    let size = fs::metadata(&path).ok()?.len();
    let path = file.to_string();
    match blob.len() {
        40 if is_hex(&blob, 40) => Some(Entry { path, size, oid: blob, sha256: None }),
        64 if is_hex(&blob, 64) => Some(Entry { path, size, oid: "0".repeat(40), sha256: Some(blob) }),
        _ => None,
    }
}
