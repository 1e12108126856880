//! What can go wrong with a remote.

use std::io;
use std::path::{Path, PathBuf};

use super::address::Address;
use crate::digest::Digest;

/// A problem of a remote: which, and what.
#[derive(Debug, thiserror::Error)]
#[error("the remote{} {reason}", place(.remote))]
pub struct RemoteError {
    /// Its address; empty if it has none.
    pub(super) remote: String,
    /// What to set to be let in.
    pub(super) credentials: &'static str,
    /// What happened.
    pub(super) reason: Box<Reason>,
}

fn place(remote: &str) -> String {
    if remote.is_empty() { String::new() } else { format!(" `{remote}`") }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "remote"), allow(dead_code))]
pub(super) enum Reason {
    /// The address is none.
    #[error("cannot be used: {0}")]
    Address(String),
    /// This build has no clients.
    #[error("cannot be used: this program was built without remote caches")]
    #[cfg_attr(feature = "remote", allow(dead_code))]
    Absent,
    /// Nobody answers, or no longer.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It does not let us in.
    #[error("refuses: {0}")]
    Refused(String),
    /// There is no such bucket.
    #[error("is not there: {0}")]
    NoBucket(String),
    /// It says something that makes no sense here.
    #[error("did not do what was asked: {0}")]
    Unexpected(String),
    /// The bytes are not those that the name promises.
    #[error("sent wrong bytes for `{object}`: {expected} was asked for and {found} came")]
    Wrong { object: String, expected: Digest, found: Digest },
    /// An object that is named after a key or lists files, but does not make sense.
    #[error("holds `{object}`, which {problem}")]
    Malformed { object: String, problem: String },
    /// An entry names what is not there.
    #[error("has an entry for this result, but lacks `{object}`")]
    Lacks { object: String },
    /// An artifact of this side is missing or damaged.
    #[error("was not given {}, which is missing or damaged here", .0.short())]
    NotHere(Digest),
    /// A file operation of this side failed.
    #[error("is in order, but this machine cannot {what} `{}`: {why}", path.display())]
    File { what: &'static str, path: PathBuf, why: String },
    /// The user interrupted it.
    #[error("was left: interrupted")]
    Interrupted,
}

impl Reason {
    /// Whether it is not about one result, but about all.
    pub fn ends(&self) -> bool {
        match self {
            Reason::Wrong { .. } | Reason::Malformed { .. } | Reason::Lacks { .. } | Reason::NotHere(_) => false,
            Reason::File { .. } => false,
            Reason::Address(_) | Reason::Absent | Reason::Unreachable(_) | Reason::Refused(_) => true,
            Reason::NoBucket(_) | Reason::Unexpected(_) | Reason::Interrupted => true,
        }
    }

    pub fn at(self, address: &Address) -> RemoteError {
        RemoteError { remote: address.to_string(), credentials: address.scheme.credentials(), reason: Box::new(self) }
    }
}

impl RemoteError {
    /// How to mend it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match &*self.reason {
            Reason::Address(_) => {
                "write `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///folder`"
            }
            Reason::Absent => "build it with `--features remote`",
            Reason::Unreachable(_) => {
                "look at the network, the proxy (`HTTPS_PROXY`) and the endpoint; what was transferred is kept"
            }
            Reason::Refused(_) => self.credentials,
            Reason::NoBucket(_) => "make the bucket first; the prefix need not exist",
            Reason::Unexpected(_) => "look whether the endpoint or a proxy leads to something else",
            Reason::Wrong { .. } | Reason::Malformed { .. } => {
                "nothing of it was kept; remove that object, and `runner push --again` from where the result is right"
            }
            Reason::Lacks { .. } => "`runner push --again` from where the result is whole brings it back",
            Reason::NotHere(_) => "run the experiment again: what is damaged is made again",
            Reason::File { .. } | Reason::Interrupted => return None,
        })
    }

    /// Whether the address is none.
    pub fn is_usage(&self) -> bool {
        matches!(*self.reason, Reason::Address(_) | Reason::Absent)
    }

    /// Whether asking for anything else makes no sense now.
    pub fn ends(&self) -> bool {
        self.reason.ends()
    }

    /// Whether the user interrupted it.
    pub fn is_interrupt(&self) -> bool {
        *self.reason == Reason::Interrupted
    }
}

/// Gives a failed file operation of this side its name and place.
pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Reason {
    let path = path.to_path_buf();
    move |error| Reason::File { what, path, why: error.to_string() }
}
