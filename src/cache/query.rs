//! What can be asked of the action cache: finished stages, what made an artifact, what a digest stands for.

use std::collections::HashMap;

use super::entry::{Divergence, Entry};
use super::error::CacheError;
use super::store::Artifact;
use super::{Cache, rows};
use crate::digest::Digest;

/// What a prefix of hexadecimal digits stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A finished stage, by its fingerprint.
    Entry(Entry),
    /// An artifact, with the stages that made it, first one first.
    Artifact(Artifact, Vec<Entry>),
}

impl Cache {
    /// The text of the key under which a stage of an experiment was last finished or found.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn last_key(&self, experiment: &str, stage: &str) -> Result<Option<String>, CacheError> {
        rows::last_key(&self.connection, experiment, stage).map_err(|source| self.problem(source))
    }

    /// Under which key each stage of an experiment was last finished or found, by its name.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn last(&self, experiment: &str) -> Result<HashMap<String, Digest>, CacheError> {
        let mut last = HashMap::new();
        let read = rows::last(&self.connection, experiment, |stage, fingerprint| {
            last.insert(stage.to_string(), fingerprint);
        });
        read.map_err(|source| self.problem(source))?;
        Ok(last)
    }

    /// Name, kind and duration in seconds of every finished stage, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn durations(&self) -> Result<Vec<(String, String, f64)>, CacheError> {
        rows::durations(&self.connection).map_err(|source| self.problem(source))
    }

    /// Every finished stage, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        rows::entries(&self.connection, None).map_err(|source| self.problem(source))
    }

    /// The last finished stages of a kind, `most` of them, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn latest(&self, kind: &str, most: usize) -> Result<Vec<Entry>, CacheError> {
        let condition = format!(
            "entries.fingerprint IN (SELECT fingerprint FROM entries WHERE kind = ?1 ORDER BY started DESC LIMIT {most})"
        );
        rows::entries(&self.connection, Some((&condition, kind))).map_err(|source| self.problem(source))
    }

    /// The finished stage with this fingerprint.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn entry(&self, fingerprint: &Digest) -> Result<Option<Entry>, CacheError> {
        let entries = rows::entries(&self.connection, Some(("fingerprint = ?1", &fingerprint.to_string())));
        Ok(entries.map_err(|source| self.problem(source))?.pop())
    }

    /// The finished stages that made an artifact, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn producers(&self, artifact: &Digest) -> Result<Vec<Entry>, CacheError> {
        let made = "fingerprint IN (SELECT fingerprint FROM outputs WHERE artifact = ?1)";
        rows::entries(&self.connection, Some((made, &artifact.to_string()))).map_err(|source| self.problem(source))
    }

    /// Everything whose digest starts with `prefix`: hexadecimal digits, with or without `b3:`.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn find(&self, prefix: &str) -> Result<Vec<Found>, CacheError> {
        let digits = prefix.strip_prefix("b3:").unwrap_or(prefix).to_lowercase();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let pattern = format!("b3:{digits}*");
        let condition = "fingerprint GLOB ?1";
        let entries =
            rows::entries(&self.connection, Some((condition, &pattern))).map_err(|source| self.problem(source))?;
        let artifacts = rows::artifacts(&self.connection, &pattern).map_err(|source| self.problem(source))?;
        let mut found: Vec<Found> = entries.into_iter().map(Found::Entry).collect();
        for artifact in artifacts {
            let producers = self.producers(&artifact.digest)?;
            found.push(Found::Artifact(artifact, producers));
        }
        Ok(found)
    }

    /// Results that came out differently from the first one of their key, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn divergences(&self) -> Result<Vec<Divergence>, CacheError> {
        rows::divergences(&self.connection).map_err(|source| self.problem(source))
    }
}
