//! A cache that several machines share: results under their keys, in a bucket or a folder.
//!
//! Where everything is, is in `layout.rs`; how it gets there in `push.rs`, here in `pull.rs`, and one
//! file in `transfer.rs`. Whatever comes from a remote is checked by its digest before it is used, and a
//! remote that fails never fails a run. What it says of a key is believed: who may write there is trusted.
//!
//! Unaware of the database and of how stages are run. Of the asynchronous world only `objects.rs` and
//! `http.rs` know.

#[cfg(not(feature = "remote"))]
#[path = "absent.rs"]
mod objects;

mod address;
mod error;
#[cfg(feature = "remote")]
mod http;
mod lanes;
mod layout;
mod notes;
#[cfg(feature = "remote")]
mod objects;
mod pull;
mod push;
mod through;
mod transfer;
mod uploads;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Entry;
use crate::digest::Digest;
use address::Address;
use error::Reason;
use lanes::{LANES, fan_out};
use objects::Objects;
use transfer::Sending;

pub use error::RemoteError;
pub use push::Pushed;
pub use through::{Pulled, Wanted};
pub(super) use uploads::Uploads;

/// A remote that was not reached is left alone for so long.
const REST: Duration = Duration::from_secs(120);

/// A remote cache. May be used from any thread.
pub struct Remote {
    address: Address,
    objects: Objects,
    /// Where large transfers are noted.
    partial: PathBuf,
    /// Whether nothing is written there of its own accord.
    read_only: bool,
    /// Since when nobody answers.
    silent: Mutex<Option<Instant>>,
    /// Whether that was told.
    told: AtomicBool,
    /// Results whose entry is there, but not what it names.
    suspects: Mutex<HashSet<Digest>>,
    /// Objects that were not what their names say, to be written again by whoever has the right bytes.
    wrong: Mutex<HashSet<String>>,
    /// Files that are being uploaded.
    sending: Sending,
}

/// Finished stages of a remote, and entries that make no sense.
pub type Listed = (Vec<Entry>, Vec<(Digest, RemoteError)>);

/// What happens while a result is transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It begins.
    Started {
        /// How many files.
        files: usize,
        /// Bytes of them.
        bytes: u64,
    },
    /// Further bytes are done.
    Moved(u64),
}

/// Who follows a transfer, and may end it.
pub(super) struct Watch<'a> {
    pub tell: &'a (dyn Fn(Step) + Sync),
    pub stop: &'a AtomicBool,
}

impl Watch<'_> {
    fn started(&self, files: usize, bytes: u64) {
        (self.tell)(Step::Started { files, bytes });
    }

    fn moved(&self, bytes: u64) {
        (self.tell)(Step::Moved(bytes));
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Remote({})", self.address)
    }
}

impl Remote {
    /// The remote at an address; `work` is the work directory. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// If the address is none, or this build or its environment cannot use it.
    pub fn open(address: &str, work: &Path, read_only: bool) -> Result<Remote, RemoteError> {
        let nowhere = |reason| RemoteError { remote: String::new(), credentials: "", reason: Box::new(reason) };
        let address = Address::parse(address).map_err(nowhere)?;
        Ok(Remote {
            objects: Objects::open(&address).map_err(|reason| reason.at(&address))?,
            address,
            partial: work.join("partial"),
            read_only,
            silent: Mutex::default(),
            told: AtomicBool::new(false),
            suspects: Mutex::default(),
            wrong: Mutex::default(),
            sending: Sending::default(),
        })
    }

    /// Its address.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// The finished stage with this fingerprint.
    ///
    /// # Errors
    ///
    /// If the remote cannot be reached, does not let us in, or has something else in that place.
    pub fn find(&self, fingerprint: &Digest) -> Result<Option<Entry>, RemoteError> {
        self.entry(fingerprint).map_err(|reason| reason.at(&self.address))
    }

    /// The fingerprints of all finished stages.
    ///
    /// # Errors
    ///
    /// If the remote cannot be reached or does not let us in.
    pub fn all(&self) -> Result<Vec<Digest>, RemoteError> {
        self.fingerprints().map_err(|reason| reason.at(&self.address))
    }

    /// The finished stages with these fingerprints, in no order, and those that make no sense.
    ///
    /// # Errors
    ///
    /// If the remote cannot be reached or does not let us in.
    pub fn find_all(&self, fingerprints: &[Digest]) -> Result<Listed, RemoteError> {
        let found: Mutex<Listed> = Mutex::default();
        let lock = || found.lock().expect("no panic while it is locked");
        let asked = fan_out(fingerprints, LANES, |fingerprint| match self.entry(fingerprint) {
            Ok(entry) => {
                lock().0.extend(entry);
                Ok(())
            }
            Err(reason @ Reason::Malformed { .. }) => {
                lock().1.push((*fingerprint, reason.at(&self.address)));
                Ok(())
            }
            Err(reason) => Err(reason),
        });
        asked.map_err(|reason| reason.at(&self.address))?;
        Ok(found.into_inner().expect("no panic while it was locked"))
    }

    /// Whether nobody answered a short while ago.
    fn is_silent(&self) -> bool {
        let silent = *self.silent.lock().expect("no panic while it is locked");
        silent.is_some_and(|since| since.elapsed() < REST)
    }

    /// Takes notice of a failure. Returns what is to be told of it: that nobody answers is told once.
    fn notice(&self, fingerprint: &Digest, reason: Reason) -> Option<RemoteError> {
        match &reason {
            Reason::Lacks { .. } | Reason::Wrong { .. } | Reason::Malformed { .. } => {
                self.suspects.lock().expect("no panic while it is locked").insert(*fingerprint);
                if let Reason::Wrong { object, .. } = &reason {
                    self.wrong.lock().expect("no panic while it is locked").insert(object.clone());
                }
            }
            Reason::Unreachable(_) | Reason::Refused(_) | Reason::NoBucket(_) | Reason::Unexpected(_) => {
                *self.silent.lock().expect("no panic while it is locked") = Some(Instant::now());
                if self.told.swap(true, Ordering::Relaxed) {
                    return None;
                }
            }
            _ => {}
        }
        Some(reason.at(&self.address))
    }

    /// Whether an object of this size is there, and nothing is known against it.
    fn is_there(&self, object: &str, size: u64) -> Result<bool, Reason> {
        let wrong = self.wrong.lock().expect("no panic while it is locked").contains(object);
        Ok(!wrong && self.objects.size(object)? == Some(size))
    }

    fn is_suspect(&self, fingerprint: &Digest) -> bool {
        self.suspects.lock().expect("no panic while it is locked").contains(fingerprint)
    }

    fn clear(&self, fingerprint: &Digest) {
        self.suspects.lock().expect("no panic while it is locked").remove(fingerprint);
    }
}
