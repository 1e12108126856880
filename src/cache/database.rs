//! Opening the SQLite file: whose it is, what schema it has, and how it keeps its journal.
//!
//! Only the coordinating process opens it, never a stage.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, ffi};

use super::error::{CacheError, at};
use super::staging::locks_work;

/// Says in the file's header that it is ours: `runr`.
const APPLICATION: i32 = 0x7275_6e72;

/// How long a statement waits for another process that writes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it sleeps where SQLite does not wait itself.
const PAUSE: Duration = Duration::from_millis(2);
/// KiB of pages that a connection keeps in memory: rows are by digest, so each is in another page.
const CACHE: i64 = 16 << 10;
/// Pages of the write-ahead log that are written to the database together.
const LOGGED: i64 = 4000;

/// Each entry takes the schema one version further; `user_version` counts those that were applied.
/// An entry that was ever released is never changed or removed.
const MIGRATIONS: &[&str] = &[
    "
    -- What each fingerprint is the digest of.
    CREATE TABLE keys (fingerprint TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    -- The action cache: one finished stage for each key, and where it came from.
    CREATE TABLE entries (
        fingerprint TEXT PRIMARY KEY REFERENCES keys,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        experiment TEXT NOT NULL,
        started REAL NOT NULL,          -- seconds since 1970
        wall REAL NOT NULL,             -- seconds
        cpu REAL NOT NULL,              -- seconds
        memory INTEGER,                 -- bytes at the peak, where it is known
        host TEXT NOT NULL,
        git_commit TEXT,
        runner TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE outputs (
        fingerprint TEXT NOT NULL REFERENCES entries,
        slot TEXT NOT NULL,
        artifact TEXT NOT NULL REFERENCES artifacts,
        PRIMARY KEY (fingerprint, slot)
    ) WITHOUT ROWID;
    CREATE INDEX outputs_by_artifact ON outputs (artifact);
    CREATE TABLE artifacts (
        digest TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        stamp TEXT NOT NULL             -- sizes and times of its files when they were last hashed
    ) WITHOUT ROWID;
    -- Results that came out differently from the first one of their key.
    CREATE TABLE divergences (
        fingerprint TEXT NOT NULL,
        slot TEXT NOT NULL,
        first TEXT NOT NULL,
        later TEXT NOT NULL,
        found REAL NOT NULL,
        host TEXT NOT NULL
    );
    -- The key under which a stage of an experiment was last finished or found.
    CREATE TABLE last (
        experiment TEXT NOT NULL,
        stage TEXT NOT NULL,
        fingerprint TEXT NOT NULL REFERENCES keys,
        PRIMARY KEY (experiment, stage)
    ) WITHOUT ROWID;
    -- Files outside the store whose content was hashed.
    CREATE TABLE files (
        path BLOB PRIMARY KEY,
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        modified INTEGER NOT NULL,      -- nanoseconds since 1970
        changed INTEGER NOT NULL,       -- nanoseconds since 1970
        digest TEXT NOT NULL
    ) WITHOUT ROWID;
",
    "
    -- What a stage computed on; before there was a choice, on the processor.
    ALTER TABLE entries ADD COLUMN device TEXT NOT NULL DEFAULT 'cpu';
",
    "
    -- Who runs a stage now. Void when the session, a directory below `staging`, has nobody in it.
    CREATE TABLE claims (fingerprint TEXT PRIMARY KEY, session TEXT NOT NULL) WITHOUT ROWID;
",
    "
    -- How artifacts looked when they were last found intact: enough to see that nothing happened to them.
    CREATE TABLE glances (artifact BLOB PRIMARY KEY, names TEXT NOT NULL, seen BLOB NOT NULL) WITHOUT ROWID;
",
];

/// Opens the database, creates it if it is absent, and brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Connection, CacheError> {
    if !path.exists() && !locks_work(&directory_of(path)) {
        return Err(CacheError::NoLocks { path: directory_of(path) });
    }
    let wal = !path.exists() && wal_works(path);
    let problem = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => CacheError::Foreign { path: path.to_path_buf() },
        _ => problem(path, source),
    };
    let mut connection = Connection::open(path).map_err(problem)?;
    connection.busy_timeout(PATIENCE).map_err(problem)?;
    let schema = schema(&connection, path, problem)?;
    if wal {
        write_ahead(&connection).map_err(problem)?;
    }
    // Files are synced before their row is written, so losing the last rows is a miss, not damage.
    connection.pragma_update(None, "synchronous", "normal").map_err(problem)?;
    connection.pragma_update(None, "cache_size", -CACHE).map_err(problem)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOGGED).map_err(problem)?;
    if schema < MIGRATIONS.len() {
        migrate(&mut connection, MIGRATIONS).map_err(problem)?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Switches to write-ahead logging. SQLite does not wait here for others that use the file, for each of two
/// that switch might wait for the other.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let since = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && since.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}

/// What a failure of SQLite means.
pub(super) fn problem(path: &Path, source: rusqlite::Error) -> CacheError {
    let directory = || directory_of(path);
    let extended = source.sqlite_error().map(|error| error.extended_code);
    match (source.sqlite_error_code(), extended) {
        (Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied), _) => {
            CacheError::Unwritable { path: directory(), reason: whose(&directory()).unwrap_or(source.to_string()) }
        }
        (Some(ErrorCode::FileLockingProtocolFailed), _) => CacheError::NoLocks { path: directory() },
        // Where nothing can be locked SQLite waits for somebody who is not there.
        (Some(ErrorCode::DatabaseBusy), _) if !locks_work(&directory()) => CacheError::NoLocks { path: directory() },
        (_, Some(ffi::SQLITE_IOERR_LOCK | ffi::SQLITE_IOERR_RDLOCK | ffi::SQLITE_IOERR_UNLOCK)) => {
            CacheError::NoLocks { path: directory() }
        }
        _ => CacheError::Database { path: path.to_path_buf(), source },
    }
}

/// Why a directory cannot be written, if that can be seen.
pub(super) fn whose(directory: &Path) -> Option<String> {
    let metadata = fs::metadata(directory).ok()?;
    // SAFETY: a plain system call without arguments.
    let this = unsafe { libc::geteuid() };
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    Some(match owner == this {
        true => format!("its mode is {mode:o}, or the file system is read-only"),
        false => format!("it belongs to the user {owner}, and this process is the user {this} (mode {mode:o})"),
    })
}

/// The schema version of a database that is ours or empty.
fn schema(
    connection: &Connection,
    path: &Path,
    problem: impl Fn(rusqlite::Error) -> CacheError,
) -> Result<usize, CacheError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(&problem);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(&problem)?;
    if tables == 0 {
        return Ok(0);
    }
    if number("application_id")? != i64::from(APPLICATION) {
        return Err(CacheError::Foreign { path: path.to_path_buf() });
    }
    let found = number("user_version")? as usize;
    match found > MIGRATIONS.len() {
        true => Err(CacheError::Newer { path: path.to_path_buf(), found, known: MIGRATIONS.len() }),
        false => Ok(found),
    }
}

/// Applies the migrations that were not applied yet; another process may be doing the same.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let applied: usize = transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? as usize;
    for migration in migrations.iter().skip(applied) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", applied.max(migrations.len()) as i64)?;
    transaction.commit()
}

/// Whether write-ahead logging works beside `path`: it needs shared memory and locks that network
/// file systems lack, and some say yes and fail at the first write, which spoils the connection. So
/// a throw-away database is written by one connection and read by another.
fn wal_works(path: &Path) -> bool {
    let probe = path.with_extension(format!("probe-{}", std::process::id()));
    let trial = || -> rusqlite::Result<bool> {
        let writer = Connection::open(&probe)?;
        writer.pragma_update(None, "synchronous", "off")?;
        let mode: String = writer.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        writer.execute_batch("CREATE TABLE probe (value); INSERT INTO probe VALUES (7);")?;
        let reader = Connection::open(&probe)?;
        let value: i64 = reader.query_row("SELECT value FROM probe", [], |row| row.get(0))?;
        Ok(mode.eq_ignore_ascii_case("wal") && value == 7)
    };
    let works = trial().unwrap_or(false);
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = probe.clone().into_os_string();
        name.push(suffix);
        let _ = fs::remove_file(name);
    }
    works
}

/// Makes the directory of the database.
pub(super) fn create_directory(path: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            let above = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(path).to_path_buf();
            let reason = whose(&above).unwrap_or(error.to_string());
            CacheError::Unwritable { path: above, reason }
        }
        _ => at("create", path)(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn opening_twice_migrates_once() {
        let directory = directory();
        let path = directory.path().join("cache.sqlite");
        for _ in 0..2 {
            let connection = open(&path).unwrap();
            let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            assert_eq!(version as usize, MIGRATIONS.len());
        }
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["cache.sqlite"], "the probe is gone");
    }

    #[test]
    fn many_that_create_it_at_once_all_open_it() {
        for _ in 0..8 {
            let directory = directory();
            let path = directory.path().join("cache.sqlite");
            let barrier = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                let open = || {
                    barrier.wait();
                    open(&path).map(drop)
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                for thread in threads {
                    thread.join().unwrap().unwrap();
                }
            });
        }
    }

    #[test]
    fn a_later_migration_is_applied_to_an_earlier_schema() {
        let mut connection = Connection::open_in_memory().unwrap();
        let first = "CREATE TABLE one (x);";
        migrate(&mut connection, &[first]).unwrap();
        migrate(&mut connection, &[first, "ALTER TABLE one ADD COLUMN y;"]).unwrap();
        connection.execute("INSERT INTO one (x, y) VALUES (1, 2)", []).unwrap();
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let directory = directory();
        let path = directory.path().join("cache.sqlite");
        open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, CacheError::Newer { found: 99, .. }), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn the_database_of_another_program_is_refused_and_left_alone() {
        let directory = directory();
        let path = directory.path().join("cache.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes (text)").unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(open(&path).unwrap_err(), CacheError::Foreign { .. }));
        assert_eq!(fs::read(&path).unwrap(), before);

        fs::write(&path, "just a text, long enough to be no database header at all").unwrap();
        assert!(matches!(open(&path).unwrap_err(), CacheError::Foreign { .. }));
    }
}
