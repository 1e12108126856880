//! What can go wrong with a value of the Hub.

use std::path::PathBuf;

use crate::text::bytes;

/// A problem with a value of the Hub: which value, and what.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{value}`: {reason}")]
pub struct HubError {
    /// The value, as it was written.
    pub value: String,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a value of the Hub. No text of it holds an access token.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// The value is not of the form that it should have.
    #[error("{0}")]
    Malformed(&'static str),
    /// `HF_ENDPOINT` is no address.
    #[error("`HF_ENDPOINT` is not an address that starts with `https://` or `http://`")]
    Endpoint,
    /// There is no such repository, or no such revision of it, as far as the Hub says.
    #[error("`{host}` has no such repository, or no revision `{revision}` of it")]
    NoRepository {
        /// Who says so.
        host: String,
        /// The revision.
        revision: String,
    },
    /// The repository has no such revision.
    #[error("the repository has no revision `{0}`")]
    NoRevision(String),
    /// The repository has no such file or folder.
    #[error("the repository has no file or folder `{path}`")]
    NoPath {
        /// What was asked for.
        path: String,
        /// What was most likely meant.
        near: Option<String>,
    },
    /// The Hub does not let this user in.
    #[error("`{host}` refuses access (status {status}){}", refused(*token, *gated))]
    Refused {
        /// Who refuses.
        host: String,
        /// The status of the answer.
        status: u16,
        /// Whether a token was sent.
        token: bool,
        /// Whether the Hub says that the owner's conditions must be accepted first.
        gated: bool,
    },
    /// Nobody may be asked, and what is needed is not here.
    #[error("it is not all here, and `HF_HUB_OFFLINE` is set")]
    Offline,
    /// There is no connection.
    #[error("`{host}` cannot be reached: {why}")]
    Unreachable {
        /// Who.
        host: String,
        /// What the system says.
        why: String,
    },
    /// The Hub is in trouble, or wants fewer requests.
    #[error("`{host}` answers with status {status}, again and again")]
    Busy {
        /// Who.
        host: String,
        /// The status of its answers.
        status: u16,
    },
    /// The answer is not what the Hub's interface promises.
    #[error("the answer of `{host}` is not as expected: {what}")]
    Unexpected {
        /// Whose answer.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file that can execute code when it is opened.
    #[error("`{0}` is a pickle, which can execute code when it is opened")]
    Pickle(String),
    /// A checkpoint without any file of one.
    #[error("there is no file of a checkpoint: no JSON, no safetensors")]
    NoCheckpoint,
    /// The listing has a file whose name leads elsewhere.
    #[error("the listing has a file `{0}`, whose name or digest cannot be used")]
    BadEntry(String),
    /// A file has another size than the listing says.
    #[error("`{file}` has {found} instead of {expected} bytes")]
    Size {
        /// The file.
        file: String,
        /// Bytes by the listing.
        expected: u64,
        /// Bytes that came, at least.
        found: u64,
    },
    /// A file has another digest than the listing says.
    #[error("`{file}` is not what the Hub lists: its {algorithm} is {found}, not {expected}")]
    Checksum {
        /// The file.
        file: String,
        /// `SHA-256` or `Git SHA-1`.
        algorithm: &'static str,
        /// Digest by the listing.
        expected: String,
        /// Digest of what came.
        found: String,
    },
    /// There is no room for what is needed.
    #[error("{} more are needed, and `{}` has room for {}", bytes(*needed), path.display(), bytes(*free))]
    NoRoom {
        /// The cache.
        path: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// The disk is full.
    #[error("no room is left to write `{}`", .0.display())]
    Full(PathBuf),
    /// A file operation failed in the cache, or in what is remembered.
    #[error("cannot {what} `{}`: {why}", path.display())]
    File {
        /// The operation, such as `write`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The user interrupted it.
    #[error("interrupted")]
    Interrupted,
}

fn refused(token: bool, gated: bool) -> &'static str {
    match (token, gated) {
        (_, true) => ": its owner lets in those who accept conditions",
        (true, false) => ": it is private, or there is none, or the token in use may not read it",
        (false, false) => ": it is private, or there is none",
    }
}

impl Reason {
    /// Whether it may be gone tomorrow, so that what was known before is still the best guess.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Reason::Offline | Reason::Unreachable { .. } | Reason::Busy { .. })
    }
}

impl HubError {
    /// How to mend it.
    pub fn hint(&self) -> Option<String> {
        let text = match &self.reason {
            Reason::Malformed(_) => {
                "write `hf://owner/name@revision` for a checkpoint, `hf://datasets/owner/name@revision/path` for a dataset"
            }
            Reason::Endpoint => "unset it to use `https://huggingface.co`",
            Reason::NoRepository { .. } => {
                "look at the spelling; a dataset is `hf://datasets/owner/name`, and a private repository needs `HF_TOKEN`"
            }
            Reason::NoRevision(_) => "name a branch, a tag or a whole commit of the repository, such as `main`",
            Reason::NoPath { near: Some(near), .. } => return Some(format!("did you mean `{near}`?")),
            Reason::NoPath { near: None, .. } => "look at the files of the repository at this revision",
            Reason::Refused { gated: true, token: true, .. } => {
                "accept the conditions on the repository's page with the account of the token in `HF_TOKEN`"
            }
            Reason::Refused { gated: true, token: false, .. } => {
                "accept the conditions on the repository's page, and set `HF_TOKEN` to a token of that account"
            }
            Reason::Refused { token: true, .. } => {
                "look at the spelling, and at what the token in `HF_TOKEN` (or in the file of the Hub's login) may read"
            }
            Reason::Refused { token: false, .. } => {
                "look at the spelling; for a private repository set `HF_TOKEN` to a token that may read it"
            }
            Reason::Offline => "fetch it on a machine with a network, or unset `HF_HUB_OFFLINE`",
            Reason::Unreachable { .. } => {
                "look at the network, the proxy (`HTTPS_PROXY`) and `HF_ENDPOINT`; what was fetched is kept"
            }
            Reason::Busy { .. } => "try again later; what was fetched is kept",
            Reason::Unexpected { .. } => "look whether `HF_ENDPOINT` or a proxy leads to something else than the Hub",
            Reason::Pickle(_) => "convert it to safetensors and name that file",
            Reason::NoCheckpoint => {
                "name a repository with `config.json` and `model.safetensors`; a dataset is `hf://datasets/…`"
            }
            Reason::BadEntry(_) => "name another repository or revision",
            Reason::Size { .. } | Reason::Checksum { .. } => {
                "nothing of it was kept; try again, and look for a proxy that changes what passes"
            }
            Reason::NoRoom { .. } | Reason::Full(_) => {
                "make room there, or let `HF_HOME` name a folder on a larger disk; what was fetched is kept"
            }
            Reason::File { .. } => "let `HF_HOME` or `HF_HUB_CACHE` name a folder that can be written",
            Reason::Interrupted => "run it again: it goes on where it stopped",
        };
        Some(text.to_string())
    }
}
