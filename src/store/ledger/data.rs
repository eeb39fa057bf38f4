//! Data that is too long for a line (a CRL, many trust anchors): a file of its own, named by its hash, which the line has.

use std::path::{Path, PathBuf};

use super::disk::{Disk, replace};
use super::entry::Detached;
use super::error::{AccessError, AppendError};
use super::names;
use super::tree::Hash;
use crate::pki::hex;

/// Puts it on disk, to last before the entry that names it does.
pub(super) fn put(disk: &dyn Disk, ledger: &Path, text: &str) -> Result<Detached, AppendError> {
    let detached = Detached { bytes: text.len() as u64, sha256: hex::lower(&Hash::of(text.as_bytes()).0) };
    let path = path(ledger, &detached);
    let directory = path.parent().unwrap_or(ledger);
    let written = disk.create_dir(directory).and_then(|()| replace(disk, &path, text.as_bytes()));
    // The directory is as new as what is in it.
    written
        .and_then(|()| disk.sync(&ledger.join(names::DATA)))
        .and_then(|()| disk.sync(ledger))
        .map_err(|error| AppendError::Io { path: path.clone(), error })?;
    Ok(detached)
}

/// Reads it back, if it is still what the entry says.
pub(super) fn get(disk: &dyn Disk, ledger: &Path, detached: &Detached) -> Result<serde_json::Value, AccessError> {
    let path = path(ledger, detached);
    let bytes = disk.read(&path).map_err(|error| AccessError::Io { path: path.clone(), error })?;
    let changed = |why: &str| AccessError::Changed { path: path.clone(), why: why.to_owned() };
    if bytes.len() as u64 != detached.bytes || hex::lower(&Hash::of(&bytes).0) != detached.sha256 {
        return Err(changed("is not what its entry says"));
    }
    serde_json::from_slice(&bytes).map_err(|_| changed("is no JSON"))
}

fn path(ledger: &Path, detached: &Detached) -> PathBuf {
    // An entry that somebody else wrote names no file above ours.
    let name: String = detached.sha256.chars().filter(char::is_ascii_hexdigit).collect();
    ledger.join(names::DATA).join(name.get(..2).unwrap_or("00")).join(format!("{name}.json"))
}

/// Above this, data does not stand in the line.
pub(super) const MAX_INLINE: usize = 32 << 10;
