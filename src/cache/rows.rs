//! The SQL of the action cache: rows in, rows out.

use std::collections::BTreeMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::entry::{Divergence, Entry, Origin, Outputs, Provenance};
use super::files::Hashed;
use super::glance::Glance;
use super::store::Artifact;
use super::tree::Stat;
use crate::digest::{Digest, DigestMap, DigestSet};
use crate::slots::Names;

type Result<T> = rusqlite::Result<T>;

/// What is read of a finished stage: its outputs and the processor time that it took.
pub(super) type Finished = (Outputs, f64);

fn digest(row: &Row<'_>, column: usize) -> Result<Digest> {
    parsed(row, column)
}

/// A value that is kept as text.
fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(row: &Row<'_>, column: usize) -> Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// Every row of a query without parameters.
fn all<T>(connection: &Connection, sql: &str, read: impl FnMut(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map([], read)?.collect()
}

/// Has all that is read until it is dropped be as it is now, whatever others write meanwhile: what belongs
/// together is read by several statements. Inside a transaction it is so already.
fn snapshot(connection: &Connection) -> Result<Option<Transaction<'_>>> {
    connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()
}

/// What is read of all entries, by fingerprint.
pub(super) fn results(connection: &Connection) -> Result<DigestMap<Finished>> {
    let _snapshot = snapshot(connection)?;
    let mut results: DigestMap<Finished> = DigestMap::default();
    let mut names = Names::default();
    // The rows come in the order of their primary key, so those of an entry come together.
    let mut statement = connection.prepare_cached("SELECT fingerprint, slot, artifact FROM outputs ORDER BY 1, 2")?;
    let mut rows = statement.query([])?;
    let mut last = None;
    let mut made: Vec<(Arc<str>, Digest)> = Vec::new();
    while let Some(row) = rows.next()? {
        let fingerprint = digest(row, 0)?;
        if let Some(last) = last.replace(fingerprint).filter(|last| *last != fingerprint) {
            results.insert(last, (made.drain(..).collect(), 0.0));
        }
        made.push((names.shared(row.get_ref(1)?.as_str()?), digest(row, 2)?));
    }
    results.extend(last.map(|last| (last, (Outputs::from_iter(made), 0.0))));
    let mut statement = connection.prepare_cached("SELECT fingerprint, cpu FROM entries")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        results.entry(digest(row, 0)?).or_default().1 = row.get(1)?;
    }
    Ok(results)
}

/// What is read of one entry.
pub(super) fn result(connection: &Connection, fingerprint: &Digest) -> Result<Option<Finished>> {
    let _snapshot = snapshot(connection)?;
    let text = fingerprint.to_string();
    let cpu: Option<f64> = connection
        .prepare_cached("SELECT cpu FROM entries WHERE fingerprint = ?1")?
        .query_row([&text], |row| row.get(0))
        .optional()?;
    let Some(cpu) = cpu else { return Ok(None) };
    let mut statement = connection.prepare_cached("SELECT slot, artifact FROM outputs WHERE fingerprint = ?1")?;
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, digest(row, 1)?));
    let outputs = statement.query_map([&text], read)?.collect::<Result<_>>()?;
    Ok(Some((outputs, cpu)))
}

/// Artifact → stamp, of all artifacts.
pub(super) fn stamps(connection: &Connection) -> Result<DigestMap<Digest>> {
    let mut statement = connection.prepare_cached("SELECT digest, stamp FROM artifacts")?;
    statement.query_map([], |row| Ok((digest(row, 0)?, digest(row, 1)?)))?.collect()
}

/// Artifact → how it looked when it was last found intact, of all artifacts that a glance is enough for.
pub(super) fn glances(connection: &Connection) -> Result<DigestMap<Glance>> {
    let mut names = Names::default();
    let mut statement = connection.prepare_cached("SELECT artifact, names, seen FROM glances")?;
    let mut rows = statement.query([])?;
    let mut glances = DigestMap::default();
    while let Some(row) = rows.next()? {
        let (names, seen) = (names.shared(row.get_ref(1)?.as_str()?), Digest::from(row.get::<_, [u8; 32]>(2)?));
        glances.insert(Digest::from(row.get::<_, [u8; 32]>(0)?), Glance { names, seen });
    }
    Ok(glances)
}

pub(super) fn set_glance(connection: &Connection, artifact: &Digest, glance: &Glance) -> Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO glances (artifact, names, seen) VALUES (?1, ?2, ?3)")?
        .execute(params![artifact.bytes(), glance.names, glance.seen.bytes()])
        .map(drop)
}

/// The artifacts that results name.
pub(super) fn named(connection: &Connection) -> Result<DigestSet> {
    Ok(all(connection, "SELECT DISTINCT artifact FROM outputs", |row| digest(row, 0))?.into_iter().collect())
}

/// Whether SQLite finds every page and index of the database sound.
pub(super) fn check(connection: &Connection) -> Result<bool> {
    connection.query_row("PRAGMA quick_check(1)", [], |row| Ok(row.get_ref(0)?.as_str()? == "ok"))
}

pub(super) fn update_stamp(connection: &Connection, artifact: &Digest, stamp: &Digest) -> Result<()> {
    let mut statement = connection.prepare_cached("UPDATE artifacts SET stamp = ?2 WHERE digest = ?1")?;
    statement.execute(params![artifact.to_string(), stamp.to_string()]).map(drop)
}

pub(super) fn insert_artifact(connection: &Connection, artifact: &Artifact, stamp: &Digest) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO artifacts (digest, kind, bytes, stamp) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (digest) DO UPDATE SET stamp = excluded.stamp",
    )?;
    let digest = artifact.digest.to_string();
    statement.execute(params![digest, artifact.kind, artifact.bytes as i64, stamp.to_string()]).map(drop)
}

pub(super) fn insert_key(connection: &Connection, fingerprint: &Digest, text: &str) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO keys (fingerprint, text) VALUES (?1, ?2)")?;
    statement.execute(params![fingerprint.to_string(), text]).map(drop)
}

/// Writes an entry in the place of any that is there. Its key and artifacts are there already.
pub(super) fn insert_entry(
    connection: &Connection,
    fingerprint: &Digest,
    outputs: &Outputs,
    provenance: &Provenance,
) -> Result<()> {
    let text = fingerprint.to_string();
    connection.prepare_cached("DELETE FROM outputs WHERE fingerprint = ?1")?.execute([&text])?;
    let Provenance { kind, name, experiment, started, wall, cpu, memory, device, origin } = provenance;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO entries
             (fingerprint, kind, name, experiment, started, wall, cpu, memory, host, git_commit, runner, device)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            text,
            kind,
            name,
            experiment,
            started,
            wall,
            cpu,
            memory.map(|bytes| bytes as i64),
            origin.host,
            origin.git_commit,
            origin.runner,
            device.to_string()
        ])?;
    let mut statement =
        connection.prepare_cached("INSERT INTO outputs (fingerprint, slot, artifact) VALUES (?1, ?2, ?3)")?;
    for (slot, artifact) in outputs.iter() {
        statement.execute(params![text, slot, artifact.to_string()])?;
    }
    Ok(())
}

/// Removes an entry with all that belongs to it. Its key stays if it is the last one of a stage, for that
/// explains what changed since.
pub(super) fn remove_entry(connection: &Connection, fingerprint: &Digest) -> Result<()> {
    let text = fingerprint.to_string();
    for sql in [
        "DELETE FROM outputs WHERE fingerprint = ?1",
        "DELETE FROM entries WHERE fingerprint = ?1",
        "DELETE FROM divergences WHERE fingerprint = ?1",
        "DELETE FROM keys WHERE fingerprint = ?1 AND NOT EXISTS (SELECT 1 FROM last WHERE last.fingerprint = ?1)",
    ] {
        connection.prepare_cached(sql)?.execute([&text])?;
    }
    Ok(())
}

/// Removes what is known of artifacts that no result names.
pub(super) fn remove_unnamed(connection: &Connection) -> Result<()> {
    let sql = "DELETE FROM artifacts WHERE NOT EXISTS (SELECT 1 FROM outputs WHERE artifact = digest)";
    connection.execute(sql, [])?;
    let sql = "DELETE FROM glances WHERE 'b3:' || lower(hex(artifact)) NOT IN (SELECT digest FROM artifacts)";
    connection.execute(sql, []).map(drop)
}

/// Fingerprint → the session that runs the stage, of all claims.
pub(super) fn claims(connection: &Connection) -> Result<Vec<(Digest, String)>> {
    all(connection, "SELECT fingerprint, session FROM claims", |row| Ok((digest(row, 0)?, row.get(1)?)))
}

/// The session that runs a stage.
pub(super) fn claim(connection: &Connection, fingerprint: &Digest) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT session FROM claims WHERE fingerprint = ?1")?;
    statement.query_row([fingerprint.to_string()], |row| row.get(0)).optional()
}

pub(super) fn set_claim(connection: &Connection, fingerprint: &Digest, session: &str) -> Result<()> {
    let mut statement =
        connection.prepare_cached("INSERT OR REPLACE INTO claims (fingerprint, session) VALUES (?1, ?2)")?;
    statement.execute([&fingerprint.to_string(), session]).map(drop)
}

/// Gives up a claim of a session, if it has it.
pub(super) fn remove_claim(connection: &Connection, fingerprint: &Digest, session: &str) -> Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM claims WHERE fingerprint = ?1 AND session = ?2")?;
    statement.execute([&fingerprint.to_string(), session]).map(drop)
}

pub(super) fn insert_divergence(connection: &Connection, divergence: &Divergence) -> Result<()> {
    let Divergence { fingerprint, slot, first, later, found, host } = divergence;
    connection
        .prepare_cached(
            "INSERT INTO divergences (fingerprint, slot, first, later, found, host) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![fingerprint.to_string(), slot, first.to_string(), later.to_string(), found, host])
        .map(drop)
}

pub(super) fn divergences(connection: &Connection) -> Result<Vec<Divergence>> {
    let sql = "SELECT fingerprint, slot, first, later, found, host FROM divergences ORDER BY found, slot";
    all(connection, sql, |row| {
        Ok(Divergence {
            fingerprint: digest(row, 0)?,
            slot: row.get(1)?,
            first: digest(row, 2)?,
            later: digest(row, 3)?,
            found: row.get(4)?,
            host: row.get(5)?,
        })
    })
}

/// Entries with their keys and artifacts, oldest first: all, or those that a condition on `entries`
/// with the parameter `?1` picks.
pub(super) fn entries(connection: &Connection, condition: Option<(&str, &str)>) -> Result<Vec<Entry>> {
    let _snapshot = snapshot(connection)?;
    let (condition, parameter) = condition.unwrap_or(("?1 = ?1", ""));
    let sql = format!(
        "SELECT entries.fingerprint, text, kind, name, experiment, started, wall, cpu, memory, host, git_commit, runner,
                device
         FROM entries JOIN keys USING (fingerprint) WHERE {condition} ORDER BY started, fingerprint"
    );
    let read = |row: &Row<'_>| {
        let origin = Origin { host: row.get(9)?, git_commit: row.get(10)?, runner: row.get(11)? };
        let provenance = Provenance {
            kind: row.get(2)?,
            name: row.get(3)?,
            experiment: row.get(4)?,
            started: row.get(5)?,
            wall: row.get(6)?,
            cpu: row.get(7)?,
            memory: row.get::<_, Option<i64>>(8)?.map(|bytes| bytes as u64),
            device: parsed(row, 12)?,
            origin,
        };
        Ok(Entry { fingerprint: digest(row, 0)?, key: row.get(1)?, outputs: BTreeMap::new(), provenance })
    };
    let mut entries: Vec<Entry> = connection.prepare(&sql)?.query_map([parameter], read)?.collect::<Result<_>>()?;
    let mut outputs = connection.prepare_cached(
        "SELECT slot, artifact, kind, bytes FROM outputs JOIN artifacts ON artifact = digest WHERE fingerprint = ?1",
    )?;
    for entry in &mut entries {
        let read = |row: &Row<'_>| {
            let artifact = Artifact { digest: digest(row, 1)?, kind: row.get(2)?, bytes: row.get::<_, i64>(3)? as u64 };
            Ok((row.get(0)?, artifact))
        };
        entry.outputs = outputs.query_map([entry.fingerprint.to_string()], read)?.collect::<Result<_>>()?;
    }
    Ok(entries)
}

/// The artifacts whose digest fits a GLOB pattern.
pub(super) fn artifacts(connection: &Connection, pattern: &str) -> Result<Vec<Artifact>> {
    let sql = "SELECT digest, kind, bytes FROM artifacts WHERE digest GLOB ?1 ORDER BY digest";
    let read = |row: &Row<'_>| {
        Ok(Artifact { digest: digest(row, 0)?, kind: row.get(1)?, bytes: row.get::<_, i64>(2)? as u64 })
    };
    connection.prepare_cached(sql)?.query_map([pattern], read)?.collect()
}

/// Name, kind and wall time of every entry, oldest first.
pub(super) fn durations(connection: &Connection) -> Result<Vec<(String, String, f64)>> {
    let sql = "SELECT name, kind, wall FROM entries ORDER BY started, fingerprint";
    all(connection, sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

/// Passes on the name of every stage of the experiment with the fingerprint of its last key.
pub(super) fn last(connection: &Connection, experiment: &str, mut each: impl FnMut(&str, Digest)) -> Result<()> {
    let mut statement = connection.prepare_cached("SELECT stage, fingerprint FROM last WHERE experiment = ?1")?;
    let mut rows = statement.query([experiment])?;
    while let Some(row) = rows.next()? {
        each(row.get_ref(0)?.as_str()?, digest(row, 1)?);
    }
    Ok(())
}

pub(super) fn last_key(connection: &Connection, experiment: &str, stage: &str) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT text FROM last JOIN keys USING (fingerprint) WHERE experiment = ?1 AND stage = ?2")?
        .query_row([experiment, stage], |row| row.get(0))
        .optional()
}

pub(super) fn set_last(connection: &Connection, experiment: &str, stage: &str, fingerprint: &Digest) -> Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO last (experiment, stage, fingerprint) VALUES (?1, ?2, ?3)")?
        .execute(params![experiment, stage, fingerprint.to_string()])
        .map(drop)
}

/// What is known of a file, or of everything below a directory.
pub(super) fn files(connection: &Connection, path: &Path) -> Result<Vec<Hashed>> {
    let below = |end: u8| [path.as_os_str().as_bytes(), &[end]].concat();
    let mut statement = connection.prepare_cached(
        "SELECT path, device, inode, size, modified, changed, digest FROM files
         WHERE path = ?1 OR (path > ?2 AND path < ?3)",
    )?;
    let read = |row: &Row<'_>| {
        let path: Vec<u8> = row.get(0)?;
        let stat = Stat {
            device: row.get(1)?,
            inode: row.get(2)?,
            size: row.get(3)?,
            modified: row.get(4)?,
            changed: row.get(5)?,
        };
        Ok(Hashed { path: PathBuf::from(std::ffi::OsString::from_vec(path)), stat, digest: digest(row, 6)? })
    };
    statement.query_map(params![path.as_os_str().as_bytes(), below(b'/'), below(b'/' + 1)], read)?.collect()
}

pub(super) fn insert_file(connection: &Connection, file: &Hashed) -> Result<()> {
    let Stat { device, inode, size, modified, changed } = file.stat;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO files (path, device, inode, size, modified, changed, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            file.path.as_os_str().as_bytes(),
            device,
            inode,
            size,
            modified,
            changed,
            file.digest.to_string()
        ])
        .map(drop)
}
