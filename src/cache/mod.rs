//! The work directory: what was computed, under which key, and where its files are.
//!
//! ```text
//! .runner/
//!   cache.sqlite   the action cache: key → outputs and provenance; digests of files outside
//!   journal.txt    every finished stage once more, to make the database again if it is damaged
//!   store/         immutable artifacts, each under the digest of its manifest
//!   staging/       where stages write until their result is committed
//!   partial/       large files that are on their way from or to a remote, and how far they are
//!   damaged/       what was not as it was left, set aside: artifacts, databases
//!   logs/          what each stage wrote to its standard error, by fingerprint
//!   kept/          what stages that were cut off go on with, by fingerprint
//!   collect.lock   keeps those who collect from those who begin to use something (`holds.rs`)
//! ```
//!
//! A result is committed in three steps: its files are hashed and renamed into the store, then brought to
//! the disk, and then one transaction writes the row; the last two steps serve all results that wait for
//! them. A crash in between leaves an artifact that no row names, never a row without files. A row whose
//! files are missing all the same is a miss. Of several processes with one work directory only one makes
//! a result: it claims the key before, and its claim is void when it is gone.
//! Artifacts are checked by the sizes and times of their files whenever a result is looked up, and
//! by their bytes before a stage reads them.
//!
//! Unaware of the plan and of how stages are run.

mod clock;
mod collect;
mod database;
mod entry;
mod error;
mod fault;
mod files;
mod glance;
mod holds;
mod index;
mod journal;
mod kept;
mod lookup;
mod mend;
mod owner;
mod query;
mod record;
mod remote;
mod rows;
mod staging;
mod store;
mod ticket;
mod tree;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Map, Value};

pub use collect::{Collection, Keep, Reason};
pub use entry::{Divergence, Entry, Origin, Outputs, Provenance};
pub use error::CacheError;
pub use fault::Point;
pub use files::FileDigests;
pub use lookup::Recorded;
pub use owner::{Owner, host};
pub use query::Found;
pub use remote::{Pulled, Pushed, Remote, RemoteError, Step, Wanted};
pub use store::{Artifact, Health, Manifest, ManifestFile, Store};
pub use ticket::{Claim, Lookup, Sealed, Ticket, Trial};
pub use verify::{Fault, Flaw, Leftover, Verification};

use crate::digest::Digest;
use error::at;
use index::{Ahead, Index};
use staging::{Session, Watch};

const DATABASE: &str = "cache.sqlite";
const JOURNAL: &str = "journal.txt";
/// Says that the database was found damaged by someone who could not mend it then.
const MARK: &str = "cache.damaged";

/// The cache of a work directory, for one process.
pub struct Cache {
    directory: PathBuf,
    connection: Connection,
    /// Which file the connection is to.
    identity: Option<u64>,
    store: Arc<Store>,
    files: Arc<FileDigests>,
    /// Made when the first stage is to run.
    session: Option<Arc<Session>>,
    watch: Watch,
    /// Where results are looked for that are not here, and brought when they are recorded.
    remote: Option<Arc<Remote>>,
    /// Those that are on their way there.
    uploads: Option<remote::Uploads>,
    /// Read when the first key is looked up.
    index: Option<Index>,
    /// Reads it meanwhile.
    ahead: Option<Ahead>,
}

impl Cache {
    /// Opens the cache in `directory`; makes it where there is none.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used, or its database is another program's or a newer version's:
    /// then nothing there is changed. A damaged database of this program is made again.
    pub fn open(directory: &Path) -> Result<Cache, CacheError> {
        database::create_directory(directory)?;
        let directory = directory.canonicalize().map_err(at("find", directory))?;
        let path = directory.join(DATABASE);
        let journaled = !journal::is_empty(&directory.join(JOURNAL));
        let lost = path.metadata().map_or(true, |metadata| metadata.len() == 0) || directory.join(MARK).exists();
        if journaled && lost {
            mend::rebuild(&directory, mend::identity(&path))?;
        }
        let connection = match database::open(&path) {
            Err(error) if journaled && error.is_damage() => {
                mend::rebuild(&directory, mend::identity(&path))?;
                database::open(&path)?
            }
            opened => opened?,
        };
        let store = Arc::new(Store::new(&directory));
        let (identity, watch) = (mend::identity(&path), Watch::new(directory.join("staging")));
        let (files, session, index, ahead) = (Arc::default(), None, None, None);
        let (remote, uploads) = (None, None);
        Ok(Cache { directory, connection, identity, store, files, session, watch, remote, uploads, index, ahead })
    }

    /// Begins to read what is recorded, and to look at the artifacts that these experiments came to last
    /// time, while this thread does something else.
    pub fn read_ahead(&mut self, experiments: Vec<String>) {
        self.ahead = Some(Ahead::start(self.directory.join(DATABASE), self.store.clone(), experiments));
    }

    /// The work directory, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The content digest of a file or directory outside the store; what did not change since it was
    /// last hashed is not read again.
    ///
    /// # Errors
    ///
    /// If something there cannot be read.
    pub fn digest(&mut self, path: &Path) -> Result<Digest, CacheError> {
        let path = std::path::absolute(path).map_err(at("find", path))?;
        let known = rows::files(&self.connection, &path).map_err(|source| self.problem(source))?;
        self.files.remember(known);
        let digest = self.files.digest(&path)?;
        self.save_files()?;
        Ok(digest)
    }

    /// Saves the digests of files outside that other threads found since the last call of
    /// [`Cache::digest`], so that the next process need not read those files.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn save_files(&mut self) -> Result<(), CacheError> {
        let new = self.files.take_new();
        if new.is_empty() {
            return Ok(());
        }
        self.write(|connection| new.iter().try_for_each(|file| rows::insert_file(connection, file)))
    }

    /// The digests of files outside the store that are known so far, for use in other threads.
    pub fn files(&self) -> Arc<FileDigests> {
        self.files.clone()
    }

    /// The store, for use in other threads.
    pub fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// The directory of an artifact.
    pub fn path(&self, artifact: &Digest) -> PathBuf {
        self.store.path(artifact)
    }

    /// The manifest of an artifact.
    ///
    /// # Errors
    ///
    /// If it is not in the store or cannot be read.
    pub fn manifest(&self, artifact: &Digest) -> Result<Manifest, CacheError> {
        self.store.manifest(artifact)
    }

    /// The few numbers and words that an artifact says of itself: empty if it says nothing.
    ///
    /// # Errors
    ///
    /// If its summary cannot be read.
    pub fn summary(&self, artifact: &Digest) -> Result<Map<String, Value>, CacheError> {
        let path = self.path(artifact).join("summary.json");
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
            read => {
                read.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::other)).map_err(at("read", &path))
            }
        }
    }

    /// Where a stage with this fingerprint writes its log.
    pub fn log(&self, fingerprint: &Digest) -> PathBuf {
        self.directory.join("logs").join(format!("{}.log", fingerprint.hex()))
    }

    fn index(&mut self) -> Result<&mut Index, CacheError> {
        if self.index.is_none() {
            self.index = self.ahead.as_ref().and_then(Ahead::index);
        }
        if self.index.is_none() {
            let index = match Index::read(&self.connection, &self.store) {
                Err(source) if self.can_be_mended(&source) => {
                    self.mend()?;
                    Index::read(&self.connection, &self.store)
                }
                read => read,
            };
            self.index = Some(index.map_err(|source| self.problem(source))?);
        }
        Ok(self.index.as_mut().expect("it was just read"))
    }

    /// Runs `body` in one transaction; once more, if the database had to be mended.
    fn write<T>(&mut self, body: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, CacheError> {
        let transact = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = body(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        match transact(&mut self.connection) {
            Err(source) if self.can_be_mended(&source) => {
                self.mend()?;
                transact(&mut self.connection)
            }
            result => result,
        }
        .map_err(|source| self.problem(source))
    }

    fn can_be_mended(&self, source: &rusqlite::Error) -> bool {
        error::is_damage(source) && !journal::is_empty(&self.directory.join(JOURNAL))
    }

    /// Makes the database again from the journal. What was read of it before stays true: it came from
    /// rows that could be read.
    fn mend(&mut self) -> Result<(), CacheError> {
        let path = self.directory.join(DATABASE);
        mend::rebuild(&self.directory, self.identity)?;
        self.connection = database::open(&path)?;
        self.identity = mend::identity(&path);
        if let Some(index) = &mut self.index {
            index.last.clear();
        }
        Ok(())
    }

    /// A failure of the database. If it is damage, whoever opens it next mends it.
    fn problem(&self, source: rusqlite::Error) -> CacheError {
        if error::is_damage(&source) {
            let _ = std::fs::write(self.directory.join(MARK), format!("{source}\n"));
        }
        database::problem(&self.directory.join(DATABASE), source)
    }
}
