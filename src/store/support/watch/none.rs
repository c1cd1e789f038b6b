//! For systems that are not asked: nothing can be watched.

use std::io;
use std::path::Path;

use super::Noted;

#[derive(Debug)]
pub(crate) enum Watch {}

impl Watch {
    pub(crate) fn new(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn add(&mut self, _: &Path, _: &str) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn ask(&self) -> Noted {
        match *self {}
    }
}
