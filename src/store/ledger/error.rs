//! What can go wrong with a ledger: told with the file, the line where there is one, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::canonical::NotCanonical;

/// Why a ledger cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Busy {
        path: PathBuf,
    },
    /// It does not verify.
    Damaged {
        path: PathBuf,
        line: Option<u64>,
        why: String,
        advice: &'static str,
    },
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// The first checkpoint of a new ledger could not be written.
    Publish(AccessError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { path } => {
                write!(f, "{}: another process has this ledger open; stop it, or give each its own `[store] path`", path.display())
            }
            Self::Damaged { path, line: Some(line), why, advice } => write!(f, "{}:{line}: {why}; {advice}", path.display()),
            Self::Damaged { path, line: None, why, advice } => write!(f, "{}: {why}; {advice}", path.display()),
            Self::Io { path, error } if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "{}: {error}; the state directory has to belong to the user that the proxy runs as (chown -R)", path.display())
            }
            Self::Io { path, error } if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "{}: {error}; name the state directory (`[store] path`), or a copy of it, with --state", path.display())
            }
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Publish(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Busy { .. } | Self::Damaged { .. } => None,
            Self::Io { error, .. } => Some(error),
            Self::Publish(error) => Some(error),
        }
    }
}

/// Why nothing was appended. The log and the tree are as they were.
#[derive(Debug)]
pub enum AppendError {
    /// The last entry says that more follow.
    Incomplete,
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// The entry at this place of the append has no canonical form.
    NotCanonical(usize, NotCanonical),
    /// The file system, or its permissions, let nothing be written.
    ReadOnly {
        path: PathBuf,
    },
    /// It could not be written when it was opened, and another file has its name by now.
    Replaced {
        path: PathBuf,
    },
    /// The entry at this place of the append holds a private key.
    Secret(usize),
    /// The entry at this place of the append is too long, apart from its data.
    TooLong(usize),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("the last change says that more belong to it"),
            Self::Io { path, error } => write!(f, "{}: {error}; nothing was recorded", path.display()),
            Self::NotCanonical(at, error) => write!(f, "change {at} {error}"),
            Self::ReadOnly { path } => {
                write!(f, "{}: cannot be written to; make it so, and ask again for what was not recorded", path.display())
            }
            Self::Replaced { path } => {
                write!(f, "{}: is another file than the one that was read at the start; start again", path.display())
            }
            Self::Secret(at) => write!(f, "change {at} holds a private key, and the ledger is kept for ever"),
            Self::TooLong(at) => write!(f, "change {at} is longer than a line of the ledger may be (65,535 bytes)"),
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::NotCanonical(_, error) => Some(error),
            Self::Incomplete | Self::ReadOnly { .. } | Self::Replaced { .. } | Self::Secret(_) | Self::TooLong(_) => None,
        }
    }
}

/// Why an entry cannot be read back, or what follows from it not be published.
#[derive(Debug)]
pub enum AccessError {
    /// The files are not what they were when the ledger was opened, or what was written since.
    Changed {
        path: PathBuf,
        why: String,
    },
    Io {
        path: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { path, why } => {
                write!(f, "{}: {why}: it was changed by somebody else; run `portcullis ledger verify`", path.display())
            }
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for AccessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Changed { .. } => None,
            Self::Io { error, .. } => Some(error),
        }
    }
}

/// What was put right when a ledger was opened, and what is worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub path: PathBuf,
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}
