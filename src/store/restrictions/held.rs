//! What is in force of one file that restricts, or of one CRL: plain values. What may shrink, and when, is for `restrictions` to say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{IdEntry, Replaced};
use crate::admission::{PrincipalName, Provenance, RevokedIds};
use crate::pki::{Crl, Fingerprint};

/// What is in force of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(in crate::store) entries: Arc<Vec<Entry>>,
    /// The ids among them, compiled: a million are not compiled again because something else changed.
    pub(super) compiled: Option<RevokedIds>,
    pub(super) replaced: Replaced,
    /// It was seen missing: what comes back is no replacement by rename.
    pub(super) gone: bool,
    /// Content that would take something back, and since when it stands.
    pub(super) pending: Option<(Fingerprint, Instant)>,
    /// The content in force; `None` while it is more than a file says, or not known.
    pub(super) accepted: Option<Fingerprint>,
    /// Counts what changed.
    pub(super) changes: u64,
}

impl Held {
    /// Returns the ids of a file of ids.
    pub(super) fn compiled(&mut self, file: &Path) -> RevokedIds {
        let entries = &self.entries;
        let compile = || {
            let name: Arc<str> = file.display().to_string().into();
            let id = |entry: &Entry| match entry {
                Entry::Id(entry) => Some((entry.id.clone(), Provenance { file: Arc::clone(&name), line: entry.line })),
                Entry::Crls(_) | Entry::File(_) => None,
            };
            RevokedIds::default().with(&[], entries.iter().filter_map(id).collect())
        };
        self.compiled.get_or_insert_with(compile).clone()
    }
}

/// One thing that a file says. That a file or CRL is named at all is such a thing, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Entry {
    Crls(PathBuf),
    File(PathBuf),
    Id(IdEntry),
}

impl Entry {
    /// The line does not matter: an id that moved is still there.
    pub(super) fn said(&self) -> Said<'_> {
        match self {
            Self::Crls(path) => Said::Crls(path),
            Self::File(path) => Said::File(path),
            Self::Id(entry) => Said::Id(entry.id.as_str(), entry.principal.as_ref()),
        }
    }
}

/// What an entry says, to find it again.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Said<'a> {
    Crls(&'a Path),
    File(&'a Path),
    Id(&'a str, Option<&'a PrincipalName>),
}

/// A CRL in force, and where it is from.
#[derive(Clone, Debug)]
pub(in crate::store) struct HeldCrl {
    pub(in crate::store) crl: Arc<Crl>,
    pub(in crate::store) file: PathBuf,
    pub(in crate::store) line: u32,
    /// As configured: the file, or its directory.
    pub(in crate::store) entry: PathBuf,
    /// Not what the file says now.
    pub(in crate::store) kept: bool,
}

impl HeldCrl {
    pub(super) fn provenance(&self) -> Provenance {
        let kept = if self.kept { " (last good)" } else { "" };
        Provenance { file: format!("{}{kept}", self.file.display()).into(), line: self.line }
    }
}
