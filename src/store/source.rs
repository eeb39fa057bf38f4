//! What supplies content, whoever keeps it: units, each read whole or not at all. Files and what is fetched today; a cluster or a
//! key-value store is another implementation, and nothing behind it changes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Supplies units by their paths.
pub trait Source: Send {
    /// Tells a unit's stamp without reading it.
    fn stamp(&self, unit: &Path) -> Result<Stamp, ReadError>;

    /// Reads a unit whole, if it holds still meanwhile and has at most `limit` bytes.
    fn read(&self, unit: &Path, limit: u64) -> Result<Reading, ReadError>;

    /// Lists the units below a directory, not recursively, sorted; hidden ones are left out.
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ReadError>;
}

/// Tells one state of a unit from another: the same stamp, the same content, as far as the source can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub device: u64,
    /// Another one means that the unit was replaced, not written to.
    pub inode: u64,
    pub size: u64,
    /// Seconds and nanoseconds since the epoch.
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

/// A unit, read whole.
#[derive(Debug)]
pub struct Reading {
    pub bytes: Vec<u8>,
    pub stamp: Stamp,
    /// Read so soon after the last change that another one could hide behind the same stamp: to be read once more.
    pub young: bool,
    /// Readable or writable for everybody on this machine.
    pub exposed: bool,
}

impl Stamp {
    /// Returns when it was last modified, since the epoch.
    pub fn modified(&self) -> Duration {
        Duration::new(u64::try_from(self.modified.0).unwrap_or(0), u32::try_from(self.modified.1).unwrap_or(0))
    }
}

/// Why a unit could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// It changed while it was read.
    Changing,
    Io(io::Error),
    Missing,
    NotADirectory,
    /// A directory, FIFO, device or socket: with its kind.
    NotAFile(&'static str),
    /// Of a URL, with why.
    NotFetched(String),
    /// Of a URL: no fetch has ended yet.
    NotYetFetched,
    TooLarge {
        limit: u64,
    },
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::NotADirectory => Self::NotADirectory,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changing => f.write_str("keeps changing while it is read"),
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Missing => f.write_str("is not there"),
            Self::NotADirectory => f.write_str("is not a directory"),
            Self::NotAFile(kind) => write!(f, "is {kind}, not a regular file"),
            Self::NotFetched(why) => write!(f, "cannot be fetched: {why}"),
            Self::NotYetFetched => f.write_str("has not been fetched yet"),
            Self::TooLarge { limit } => write!(f, "has more than {limit} bytes"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Changing | Self::Missing | Self::NotADirectory | Self::NotAFile(_) => None,
            Self::NotFetched(_) | Self::NotYetFetched | Self::TooLarge { .. } => None,
        }
    }
}
