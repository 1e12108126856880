//! The objects of a remote in a build without clients for them: there are none.

use super::address::Address;
use super::error::Reason;

/// Nothing has this type.
pub(super) enum Objects {}

impl Objects {
    pub fn open(_: &Address) -> Result<Objects, Reason> {
        Err(Reason::Absent)
    }

    pub fn size(&self, _: &str) -> Result<Option<u64>, Reason> {
        match *self {}
    }

    pub fn read(&self, _: &str, _: u64) -> Result<Option<Vec<u8>>, Reason> {
        match *self {}
    }

    pub fn read_range(&self, _: &str, _: u64, _: u64) -> Result<Option<Vec<u8>>, Reason> {
        match *self {}
    }

    pub fn write(&self, _: &str, _: Vec<u8>) -> Result<(), Reason> {
        match *self {}
    }

    pub fn pour(&self, _: &str, _: &mut dyn FnMut() -> Result<Option<Vec<u8>>, Reason>) -> Result<(), Reason> {
        match *self {}
    }

    pub fn create(&self, _: &str, _: &[u8]) -> Result<bool, Reason> {
        match *self {}
    }

    pub fn list(&self, _: &str) -> Result<Vec<String>, Reason> {
        match *self {}
    }

    pub fn takes_parts(&self) -> bool {
        match *self {}
    }

    pub fn begin(&self, _: &str) -> Result<String, Reason> {
        match *self {}
    }

    pub fn part(&self, _: &str, _: &String, _: usize, _: Vec<u8>) -> Result<Option<String>, Reason> {
        match *self {}
    }

    pub fn complete(&self, _: &str, _: &String, _: Vec<String>) -> Result<bool, Reason> {
        match *self {}
    }
}
