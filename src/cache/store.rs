//! The store: immutable artifact directories, each under the digest of its manifest.
//!
//! `store/<2 hex>/<hex>/` holds the files of an artifact and `manifest.json`, which lists them with
//! their digests. The digest of the manifest's bytes names the directory, so everything in it can be
//! verified from its name alone. Unaware of keys and of the database.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::{CacheError, at};
use super::fault::{Point, reach};
use super::holds::Holds;
use super::tree::{Item, Links, walk};
use crate::digest::Digest;

const MANIFEST: &str = "manifest.json";
const SCHEMA: u32 = 1;
/// So many artifacts are brought to the disk together with whatever else waits for it: one by one each
/// would wait for a turn of the disk.
const WHOLE_FROM: usize = 8;

/// What an artifact holds. Its canonical form, whose digest names the artifact, is its indented JSON
/// with a final newline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of this file.
    pub schema: u32,
    /// The artifact kind.
    pub kind: String,
    /// Path below the artifact → what is there.
    pub files: BTreeMap<String, ManifestFile>,
}

/// A file of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// The digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// An artifact of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The digest of its manifest.
    pub digest: Digest,
    /// The artifact kind.
    pub kind: String,
    /// The size of its files in bytes, without the manifest.
    pub bytes: u64,
}

/// Whether an artifact can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Every byte is as the manifest says.
    Intact,
    /// It is not in the store.
    Missing,
    /// It is there, but not as its name says.
    Damaged,
}

/// The store of a work directory. May be used from any thread.
#[derive(Debug)]
pub struct Store {
    store: PathBuf,
    damaged: PathBuf,
    /// What this process has hashed: it is not hashed again.
    verified: Mutex<HashSet<Digest>>,
    pub(super) holds: Holds,
}

/// An artifact as it lies there, before its files are hashed.
pub(super) struct Outline {
    /// Sizes, times and inodes of its files, as [`Store::stamp`] gives them.
    pub stamp: Digest,
    /// Its files, with what the manifest says of each.
    pub files: Vec<(Item, ManifestFile)>,
}

impl Store {
    pub(super) fn new(work: &Path) -> Store {
        let (store, damaged) = (work.join("store"), work.join("damaged"));
        Store { store, damaged, verified: Mutex::default(), holds: Holds::new(work) }
    }

    /// The directory that holds all artifacts.
    pub(super) fn root(&self) -> &Path {
        &self.store
    }

    /// Where the artifact is, if it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.store.join(Store::below(digest))
    }

    /// Where the artifact is in the directory that holds all.
    pub(super) fn below(digest: &Digest) -> String {
        let hex = digest.hex();
        format!("{}/{hex}", &hex[..2])
    }

    /// Opens the directory that holds all artifacts: paths from there are short, and found sooner.
    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.store)
    }

    /// Sizes, times and inodes of an artifact's files as one digest: as long as it stays the same,
    /// nothing was written there. `None` if the artifact is not there.
    pub fn stamp(&self, digest: &Digest) -> Option<Digest> {
        Some(stamp(&walk(&self.path(digest), Links::Report).ok()?))
    }

    /// What the manifest of an artifact says, next to what lies there; or what is wrong, as far as it shows
    /// before the files are hashed. An error is one of reading.
    pub(super) fn outline(&self, digest: &Digest) -> io::Result<Result<Outline, String>> {
        outline(&self.path(digest), digest)
    }

    /// The artifact that a directory would be. Its files are made read-only and hashed; nothing is moved.
    pub(super) fn named(&self, directory: &Path, slot: &str, kind: &str) -> Result<Artifact, CacheError> {
        self.manifest_of(directory, slot, kind).map(|(artifact, _)| artifact)
    }

    /// Makes the directory `staged`, which is on the same file system, an artifact of `kind`: hashes its
    /// files, then moves it into the store. What is there after a crash need not be whole, so no row may
    /// name it before [`Store::sync`].
    pub(super) fn adopt(&self, staged: &Path, slot: &str, kind: &str) -> Result<Artifact, CacheError> {
        let (artifact, text) = self.manifest_of(staged, slot, kind)?;
        reach(Point::FilesHashed);
        let digest = artifact.digest;
        write_sealed(&staged.join(MANIFEST), &text).map_err(at("seal", staged))?;
        reach(Point::ManifestWritten);
        // Before it is looked for: an equal one that is there must not be collected any more.
        self.holds.hold([digest])?;
        self.place(staged, &digest)?;
        reach(Point::Moved);
        self.verified.lock().expect("no panic while it is locked").insert(digest);
        Ok(artifact)
    }

    /// The artifact that a directory would be, and the text of its manifest.
    fn manifest_of(&self, staged: &Path, slot: &str, kind: &str) -> Result<(Artifact, String), CacheError> {
        let items = walk(staged, Links::Report).map_err(at("read", staged))?;
        let names = file_names(&items).map_err(|problem| CacheError::Output { slot: slot.to_string(), problem })?;
        let sealed: io::Result<Vec<ManifestFile>> = match items.as_slice() {
            [item] => seal(item).map(|file| vec![file]),
            items => items.par_iter().map(seal).collect(),
        };
        let files: BTreeMap<String, ManifestFile> =
            names.into_iter().zip(sealed.map_err(at("seal", staged))?).collect();
        let bytes = files.values().map(|file| file.size).sum();
        let text = Manifest { schema: SCHEMA, kind: kind.to_string(), files }.text();
        Ok((Artifact { digest: Digest::of(text.as_bytes()), kind: kind.to_string(), bytes }, text))
    }

    /// Brings artifacts to the disk, with all names that lead to them: after it returns, no crash of the
    /// machine takes them away.
    pub(super) fn sync(&self, artifacts: &[Digest]) -> Result<(), CacheError> {
        if artifacts.len() >= WHOLE_FROM && sync_file_system(&self.store) {
            return Ok(());
        }
        let mut paths = HashSet::from([self.store.clone()]);
        for artifact in artifacts {
            let root = self.path(artifact);
            let items = walk(&root, Links::Report).map_err(at("read", &root))?;
            for item in &items {
                let above = item.path.ancestors().take_while(|path| path.starts_with(&self.store));
                paths.extend(above.map(Path::to_path_buf));
            }
        }
        let sync = |path: &PathBuf| File::open(path).and_then(|file| file.sync_all()).map_err(at("sync", path));
        paths.into_par_iter().try_for_each(|path| sync(&path))
    }

    /// Moves a finished directory to its place, unless an intact one is there already.
    fn place(&self, staged: &Path, digest: &Digest) -> Result<(), CacheError> {
        let target = self.path(digest);
        // A directory takes the place of an empty one at most.
        let mut moved = fs::rename(staged, &target);
        if moved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let shard = target.parent().expect("an artifact is in a shard");
            fs::create_dir_all(shard).map_err(at("create", shard))?;
            moved = fs::rename(staged, &target);
        }
        if moved.is_err() && target.exists() {
            if self.verify(digest) == Health::Intact {
                return fs::remove_dir_all(staged).map_err(at("remove", staged));
            }
            self.set_aside(digest)?;
            moved = fs::rename(staged, &target);
        }
        match moved {
            // Another process was quicker with the same content.
            Err(_) if target.exists() => fs::remove_dir_all(staged).map_err(at("remove", staged)),
            moved => moved.map_err(at("move into the store", staged)),
        }
    }

    /// Hashes every file of an artifact, once in the life of this process.
    pub fn verify(&self, digest: &Digest) -> Health {
        if self.verified.lock().expect("no panic while it is locked").contains(digest) {
            return if self.path(digest).exists() { Health::Intact } else { Health::Missing };
        }
        let directory = self.path(digest);
        if !directory.exists() {
            return Health::Missing;
        }
        match is_intact(&directory, digest) {
            Ok(true) => {
                self.verified.lock().expect("no panic while it is locked").insert(*digest);
                Health::Intact
            }
            Ok(false) | Err(_) => Health::Damaged,
        }
    }

    /// Moves what is in the place of an artifact to `damaged/`, for someone to look at. Returns where it is
    /// then, if there was something.
    pub(super) fn set_aside(&self, digest: &Digest) -> Result<Option<PathBuf>, CacheError> {
        self.verified.lock().expect("no panic while it is locked").remove(digest);
        let place = self.path(digest);
        fs::create_dir_all(&self.damaged).map_err(at("create", &self.damaged))?;
        let free = (1..).map(|number| self.damaged.join(format!("{}-{number}", digest.hex())));
        let target = free.into_iter().find(|target| !target.exists()).expect("a number is free");
        let aside = match fs::rename(&place, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            moved => moved.map(|()| Some(target)).map_err(at("set aside", &place))?,
        };
        reach(Point::SetAside);
        Ok(aside)
    }

    /// Hashes every file of an artifact, whether it was done before or not.
    pub fn verify_again(&self, digest: &Digest) -> Health {
        self.verified.lock().expect("no panic while it is locked").remove(digest);
        self.verify(digest)
    }

    /// The manifest of an artifact.
    pub(super) fn manifest(&self, digest: &Digest) -> Result<Manifest, CacheError> {
        let path = self.path(digest).join(MANIFEST);
        serde_json::from_slice(&self.manifest_text(digest)?).map_err(io::Error::other).map_err(at("read", &path))
    }

    /// The bytes of the manifest, of which the digest is the name of the artifact.
    pub(super) fn manifest_text(&self, digest: &Digest) -> Result<Vec<u8>, CacheError> {
        let path = self.path(digest).join(MANIFEST);
        fs::read(&path).map_err(at("read", &path))
    }
}

impl Manifest {
    fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest has text keys");
        text.push('\n');
        text
    }
}

/// The names for the manifest, or what is wrong with the files.
fn file_names(items: &[Item]) -> Result<Vec<String>, String> {
    if items.is_empty() {
        return Err("was left empty".to_string());
    }
    let name = |item: &Item| -> Result<String, String> {
        let name = String::from_utf8_lossy(&item.relative).into_owned();
        if name.as_bytes() != item.relative {
            return Err(format!("holds `{name}`, whose name is not UTF-8"));
        }
        if item.link {
            return Err(format!("holds the symbolic link `{name}`; write the file itself"));
        }
        if name == MANIFEST {
            return Err(format!("holds `{MANIFEST}`, a name that the store keeps for itself"));
        }
        Ok(name)
    };
    items.iter().map(name).collect()
}

/// Makes a file read-only and hashes it.
fn seal(item: &Item) -> io::Result<ManifestFile> {
    fs::set_permissions(&item.path, Permissions::from_mode(0o444))?;
    Ok(ManifestFile { digest: Digest::of_file(&item.path)?, size: fs::metadata(&item.path)?.len() })
}

fn write_sealed(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o444).open(path)?;
    file.write_all(text.as_bytes())
}

/// Brings everything on the file system of `path` to the disk, where the system can do that and says
/// whether it could.
fn sync_file_system(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open for the whole call.
        File::open(path).is_ok_and(|file| unsafe { libc::syncfs(file.as_raw_fd()) } == 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// See [`Store::stamp`].
fn stamp(items: &[Item]) -> Digest {
    let mut text = String::new();
    for Item { relative, stat, .. } in items {
        let name = String::from_utf8_lossy(relative);
        text.push_str(&format!("{name}\0{} {} {} {}\n", stat.size, stat.inode, stat.modified, stat.changed));
    }
    Digest::of(text.as_bytes())
}

/// See [`Store::outline`].
fn outline(directory: &Path, digest: &Digest) -> io::Result<Result<Outline, String>> {
    let text = match fs::read(directory.join(MANIFEST)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err("it has no manifest".to_string())),
        text => text?,
    };
    if Digest::of(&text) != *digest {
        return Ok(Err("its manifest is not the one that it is named after".to_string()));
    }
    let mut manifest: Manifest = serde_json::from_slice(&text).map_err(io::Error::other)?;
    let items = walk(directory, Links::Report)?;
    let stamp = stamp(&items);
    let mut files = Vec::with_capacity(manifest.files.len());
    for item in items.into_iter().filter(|item| item.relative != MANIFEST.as_bytes()) {
        let name = String::from_utf8_lossy(&item.relative).into_owned();
        let Some(file) = manifest.files.remove(&name) else {
            return Ok(Err(format!("`{name}` is not in its manifest")));
        };
        if item.stat.size as u64 != file.size || item.link {
            return Ok(Err(format!("`{name}` has {} bytes instead of {}", item.stat.size, file.size)));
        }
        files.push((item, file));
    }
    Ok(match manifest.files.first_key_value() {
        Some((name, _)) => Err(format!("`{name}` is missing")),
        None => Ok(Outline { stamp, files }),
    })
}

/// Whether the manifest has the digest, and the files are those of the manifest.
fn is_intact(directory: &Path, digest: &Digest) -> io::Result<bool> {
    let Ok(Outline { files, .. }) = outline(directory, digest)? else { return Ok(false) };
    let same = |(item, file): &(Item, ManifestFile)| Ok(Digest::of_file(&item.path)? == file.digest);
    Ok(files.par_iter().map(same).collect::<io::Result<Vec<bool>>>()?.into_iter().all(|same| same))
}
