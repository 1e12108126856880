//! What the action cache says of a finished stage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::store::Artifact;
use crate::devices::Device;
use crate::digest::Digest;
use crate::slots::Slots;

/// Output slot → artifact.
pub type Outputs = Slots<Digest>;

/// Where a result comes from, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The stage kind.
    pub kind: String,
    /// The stage's name in the experiment that ran it first.
    pub name: String,
    /// That experiment.
    pub experiment: String,
    /// When it started, in seconds since 1970.
    pub started: f64,
    /// How long it took, in seconds.
    pub wall: f64,
    /// The processor time that it took, in seconds.
    pub cpu: f64,
    /// The most memory that it had, in bytes, where that is known.
    pub memory: Option<u64>,
    /// What it computed on.
    pub device: Device,
    /// The machine and program that made it.
    #[serde(flatten)]
    pub origin: Origin,
}

/// The machine and program that make a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The name of the machine.
    pub host: String,
    /// The commit of the repository that the experiment lies in, with `-dirty` behind it if files
    /// differed from it.
    pub git_commit: Option<String>,
    /// The version of this program.
    pub runner: String,
}

/// A finished stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The digest of `key`.
    pub fingerprint: Digest,
    /// What the result depends on, as the text of a [`Key`](crate::fingerprint::Key).
    pub key: String,
    /// Output slot → artifact.
    pub outputs: BTreeMap<String, Artifact>,
    /// Where it comes from.
    #[serde(flatten)]
    pub provenance: Provenance,
}

impl Entry {
    /// The params of the stage.
    pub fn params(&self) -> Map<String, Value> {
        self.part("params")
    }

    /// Input slot → digest of what was in it.
    pub fn inputs(&self) -> BTreeMap<String, Digest> {
        let digest = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        self.part("inputs").iter().filter_map(|(slot, value)| Some((slot.clone(), digest(value)?))).collect()
    }

    fn part(&self, name: &str) -> Map<String, Value> {
        let key: Value = serde_json::from_str(&self.key).unwrap_or_default();
        key.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
    }
}

/// A result that came out differently from the first one of its key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// The key.
    pub fingerprint: Digest,
    /// The output slot.
    pub slot: String,
    /// The artifact that came first.
    pub first: Digest,
    /// The one that came later.
    pub later: Digest,
    /// When, in seconds since 1970.
    pub found: f64,
    /// Where.
    pub host: String,
}
