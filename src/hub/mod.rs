//! Files of the Hugging Face Hub: what there is, and bringing it here.
//!
//! A value of the Hub is `hf://owner/name`, a checkpoint, or `hf://datasets/owner/name`, a dataset;
//! either may go on with `@revision` (a branch, a tag or a commit; `main` by default) and then with
//! the path of a folder or file in it.
//!
//! Two things are kept apart:
//! 1. [`Hub::locate`] asks for names and digests only. The digest of a value is taken over the
//!    canonical listing of the files that are used: path, and Git's digest of the file, or its
//!    SHA-256 where it is in Git LFS. So it is known before anything is downloaded, it moves when a
//!    branch moves to other content, and the same content under another name has the same digest.
//!    A commit never changes, so what it holds is remembered in the work directory and not asked
//!    for again; where a branch points is asked each time, and taken from memory when the Hub
//!    cannot be reached.
//! 2. [`Hub::fetch`] downloads what is missing into the cache that the Python tools use too, goes on
//!    where an earlier download stopped, and checks the size and digest of every file.
//!
//! Of a checkpoint only what reading one needs is fetched: JSON files, safetensors, `tokenizer.model`
//! and chat templates. Pickles can execute code when they are opened: they are never downloaded.
//!
//! | variable | meaning |
//! |---|---|
//! | `HF_TOKEN` | the access token; else the file `token` in `HF_HOME` |
//! | `HF_ENDPOINT` | another address than `https://huggingface.co` |
//! | `HF_HOME`, `HF_HUB_CACHE` | where the cache is: `HF_HUB_CACHE`, else `hub` in `HF_HOME` |
//! | `HF_HUB_OFFLINE` | `1`: use what is here and ask nobody |
//!
//! The crate `hf-hub` gives the addresses and the layout of the cache. Its own download does not
//! check whether the server honoured a range, nor what arrived, and cannot be interrupted, so the
//! bytes are moved in `fetch.rs`. Unaware of experiments, of stages and of what the files mean.

mod check;
mod client;
mod error;
mod fetch;
mod here;
mod listing;
mod memory;
mod name;
mod settings;
mod transfer;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

pub use error::{HubError, Reason};
pub use fetch::Step;

use crate::digest::Digest;
use client::Client;
use listing::{Entry, Listing};
use memory::Memory;
use name::Name;
use settings::Settings;

/// Whether a text is meant to be a value of the Hub.
pub fn is_hub(value: &str) -> bool {
    value.starts_with(name::SCHEME)
}

/// The Hub as one process sees it: each value is asked for once.
pub struct Hub {
    memory: Memory,
    settings: Settings,
    client: OnceCell<Arc<Client>>,
    located: RefCell<HashMap<String, Rc<Located>>>,
    /// Repository and revision → where it is, so that all values of one run see one commit.
    commits: RefCell<HashMap<(String, String), Asked>>,
}

/// The commit that a revision is at, and a reason to doubt it; or why it is not known.
type Asked = Result<(String, Option<Reason>), Reason>;

/// What a value of the Hub names, at one commit.
#[derive(Debug)]
pub struct Located {
    /// The value, as it was written.
    pub value: String,
    /// The digest of the files that are used.
    pub digest: Digest,
    /// Where the file or folder is, once it is fetched.
    pub path: PathBuf,
    /// The names of everything directly in the folder, also of what is not used; none of a file.
    pub names: Option<Vec<String>>,
    /// What the user should know of how it was found.
    pub note: Option<String>,
    name: Name,
    commit: String,
    /// The files that are used, by their paths in the repository.
    files: Vec<Entry>,
}

impl Hub {
    /// The Hub with the settings of the environment, which remembers what it learns in `directory`.
    pub fn new(directory: &Path) -> Hub {
        Hub {
            memory: Memory::new(directory),
            settings: Settings::from_environment(),
            client: OnceCell::new(),
            located: RefCell::default(),
            commits: RefCell::default(),
        }
    }

    /// Finds what a value names. Asks the Hub where memory does not suffice; downloads no file.
    ///
    /// # Errors
    ///
    /// If the value is malformed, there is nothing of this name, access is refused, or nothing is
    /// known of it here and the Hub cannot be reached.
    pub fn locate(&self, value: &str) -> Result<Rc<Located>, HubError> {
        if let Some(known) = self.located.borrow().get(value) {
            return Ok(known.clone());
        }
        let located = Rc::new(self.find(value).map_err(|reason| HubError { value: value.to_string(), reason })?);
        self.located.borrow_mut().insert(value.to_string(), located.clone());
        Ok(located)
    }

    /// What was located at `path`.
    pub fn at(&self, path: &Path) -> Option<Rc<Located>> {
        self.located.borrow().values().find(|located| located.path == path).cloned()
    }

    /// Whether nothing was located.
    pub fn is_unused(&self) -> bool {
        self.located.borrow().is_empty()
    }

    fn find(&self, value: &str) -> Result<Located, Reason> {
        let name = Name::parse(value)?;
        let (commit, doubt) = self.commit(&name)?;
        let mut note = doubt.map(|reason| {
            let because = match reason {
                Reason::Offline => "`HF_HUB_OFFLINE` is set".to_string(),
                reason => reason.to_string(),
            };
            format!("`{value}` is taken to be at commit {}, where it was before: {because}", &commit[..12])
        });
        let listing = match self.memory.listing(&name, &commit)? {
            Some(listing) => listing,
            None => match self.list(&name, &commit) {
                Ok(listing) => {
                    self.memory.set_listing(&name, &commit, &listing)?;
                    listing
                }
                // Not remembered: only the Hub knows all of it.
                Err(error) if error.is_passing() => {
                    let listing = here::listing(&self.settings, &name, &commit).ok_or(error)?;
                    note =
                        Some(format!("`{value}` is taken from the cache as it is there, at commit {}", &commit[..12]));
                    listing
                }
                Err(error) => return Err(error),
            },
        };
        let files = listing.used(&name)?;
        Ok(Located {
            value: value.to_string(),
            digest: listing::digest(&name, &files),
            path: self.settings.snapshot(&name, &commit).join(&name.path),
            names: listing.names(&name),
            note,
            name,
            commit,
            files,
        })
    }

    /// The commit that a revision names now, as far as that can be known.
    fn commit(&self, name: &Name) -> Asked {
        if name.is_pinned() {
            return Ok((name.revision.clone(), None));
        }
        let key = (name.repo().folder_name(), name.revision.clone());
        if let Some(known) = self.commits.borrow().get(&key) {
            return known.clone();
        }
        let asked = self.ask_commit(name);
        self.commits.borrow_mut().insert(key, asked.clone());
        asked
    }

    fn ask_commit(&self, name: &Name) -> Asked {
        match self.client().and_then(|client| client.commit(name)) {
            Ok(commit) => {
                self.memory.set_branch(name, &commit)?;
                Ok((commit, None))
            }
            Err(error) if error.is_passing() => {
                let known = self.memory.branch(name).or_else(|| here::branch(&self.settings, name));
                let commit = known.ok_or(error.clone())?;
                Ok((commit, Some(error)))
            }
            Err(error) => Err(error),
        }
    }

    fn list(&self, name: &Name, commit: &str) -> Result<Listing, Reason> {
        listing::ask(&*self.client()?, name, commit)
    }

    /// The connection to the Hub.
    fn client(&self) -> Result<Arc<Client>, Reason> {
        if self.settings.offline {
            return Err(Reason::Offline);
        }
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = Arc::new(Client::new(&self.settings)?);
        Ok(self.client.get_or_init(|| client).clone())
    }
}
