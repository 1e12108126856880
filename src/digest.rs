//! Content digests: BLAKE3-256, always written with their algorithm (`b3:…`).
//!
//! Unaware of what the bytes mean.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The BLAKE3-256 digest of some bytes. Displayed as `b3:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

/// A text that is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest of the form `b3:<64 hexadecimal digits>`")]
pub struct NotADigest(String);

/// Files up to this size are read into a buffer; larger ones are memory-mapped.
const MAP_FROM: u64 = 128 * 1024;

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a file's content.
    pub fn of_file(path: &Path) -> io::Result<Digest> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        if size >= MAP_FROM {
            let mut hasher = blake3::Hasher::new();
            hasher.update_mmap_rayon(path)?;
            return Ok(Digest(*hasher.finalize().as_bytes()));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        file.read_to_end(&mut bytes)?;
        Ok(Digest::of(&bytes))
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.hex()[..12].to_string()
    }

    /// The first 16 bytes: enough to tell millions of things apart.
    pub fn first_half(&self) -> [u8; 16] {
        std::array::from_fn(|index| self.0[index])
    }

    /// The 64 hexadecimal digits without the prefix, for file names.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "b3:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "b3:{}", self.short())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        let wrong = || NotADigest(text.to_string());
        let hex = text.strip_prefix("b3:").ok_or_else(wrong)?;
        let hash = blake3::Hash::from_hex(hex).map_err(|_| wrong())?;
        Ok(Digest(*hash.as_bytes()))
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Digest, NotADigest> {
        text.parse()
    }
}
