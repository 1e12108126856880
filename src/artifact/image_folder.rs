//! The images of exported samples in one folder, so that any trainer finds them by their paths. An image that
//! is a file is linked there; one that lies inside a file of its dataset is written.
//!
//! Unaware of how samples are written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, anyhow, ensure};

use super::files::write_whole;
use super::pool::ImageReference;
use super::samples::PoolReader;
use crate::digest::Digest;
use crate::images::{Part, ending};

/// A folder that images are brought to.
pub struct ImageFolder<'a> {
    folder: &'a Path,
    /// Where the roots of the pool are.
    roots: Vec<PathBuf>,
}

impl<'a> ImageFolder<'a> {
    /// The folder, which need not be there, for the images of a pool or subset. `locations` says where content
    /// outside the store is.
    ///
    /// # Errors
    ///
    /// If the pool has images in a place that is not known.
    pub fn new(
        folder: &'a Path,
        pool: &PoolReader,
        locations: &BTreeMap<Digest, PathBuf>,
    ) -> anyhow::Result<ImageFolder<'a>> {
        let root = |digest: &Digest| {
            let path = locations.get(digest).with_context(|| format!("nothing says where images of {digest} are"))?;
            std::path::absolute(path).with_context(|| format!("cannot tell where `{}` is", path.display()))
        };
        let roots = pool.roots().iter().map(root).collect::<anyhow::Result<_>>()?;
        Ok(ImageFolder { folder, roots })
    }

    /// Brings an image of a dataset here, unless it is here already. Returns its path below the folder, which
    /// begins with the name of the dataset.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written, or another image is in its place.
    pub fn bring(&self, dataset: &str, image: &ImageReference) -> anyhow::Result<String> {
        let place = image.place(&self.roots);
        let inside = Path::new(&image.path).components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(inside, "the image path `{}` of `{dataset}` leaves its folder", image.path);
        let own = match image.path.as_str() {
            "" => place.file.file_name().unwrap_or_default().to_string_lossy(),
            path => path.into(),
        };
        let name = format!("{}/{own}", as_folder(dataset));
        let inside = match image.part {
            Part::Whole => return self.link(&place.file, &name).map(|()| name),
            Part::Cell { row, image } => format!("{row}-{image}"),
            Part::Base64 { offset, .. } => offset.to_string(),
        };
        let bytes = place.bytes().map_err(|flaw| anyhow!("cannot read {place}: {flaw}"))?;
        let name = format!("{name}/{inside}.{}", ending(&bytes));
        self.write(&bytes, &name).map(|()| name)
    }

    fn link(&self, file: &Path, name: &str) -> anyhow::Result<()> {
        let path = self.place(name)?;
        match symlink(file, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let same = fs::read_link(&path).is_ok_and(|target| target == file);
                ensure!(same, "{}", taken(&path));
                Ok(())
            }
            linked => linked.with_context(|| format!("cannot link `{}`", path.display())),
        }
    }

    fn write(&self, bytes: &[u8], name: &str) -> anyhow::Result<()> {
        let path = self.place(name)?;
        match fs::read(&path) {
            Ok(there) => {
                ensure!(there == bytes, "{}", taken(&path));
                Ok(())
            }
            Err(_) => write_whole(&path, |file| Ok(file.write_all(bytes)?)),
        }
    }

    /// The path of a name, in a folder that is there.
    fn place(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        let folder = path.parent().unwrap_or(self.folder);
        if !folder.is_dir() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        }
        Ok(path)
    }
}

fn taken(path: &Path) -> String {
    format!("`{}` is there already, and is another image\nhint: name a new folder for the images", path.display())
}

/// The name of a dataset as the name of a folder.
fn as_folder(dataset: &str) -> String {
    let kept = |letter: char| letter.is_alphanumeric() || " -_+.".contains(letter);
    let name: String = dataset.chars().map(|letter| if kept(letter) { letter } else { '_' }).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}
