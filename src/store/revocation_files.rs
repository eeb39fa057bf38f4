//! What files that revoke hold: ids, a line each, or CRLs. Takes bytes; `restrictions` says how long they count.

use std::sync::Arc;

use super::listing;
use crate::admission::RevokedId;
use crate::pki::{Crl, FileError, files};

/// Reads an id a line. An empty file has to be meant: a line that says `none`.
pub(super) fn ids(bytes: &[u8]) -> Result<Vec<(RevokedId, u32)>, FileError> {
    let mut found = Vec::new();
    let mut none = false;
    for (number, line) in listing::lines(listing::text(bytes)?) {
        if line == "none" {
            none = true;
            continue;
        }
        let id = line.parse().map_err(|why| FileError { line: number, why: format!("`{}` {why}", listing::shorten(line)) })?;
        found.push((id, number));
    }
    match (found.is_empty(), none) {
        (true, false) => Err(FileError { line: 0, why: "the file is empty; a line with `none` says that nothing is revoked".to_owned() }),
        (false, true) => Err(FileError { line: 0, why: "the file says `none` beside ids".to_owned() }),
        (true, true) | (false, false) => Ok(found),
    }
}

/// Reads CRLs. Delta and indirect ones are refused.
pub(super) fn crls(bytes: &[u8]) -> Result<Vec<(Arc<Crl>, u32)>, FileError> {
    let mut found = Vec::new();
    for located in files::crls(bytes)? {
        let kind = match (located.value.delta, located.value.indirect) {
            (true, _) => Some("a delta CRL"),
            (false, true) => Some("an indirect CRL"),
            (false, false) => None,
        };
        if let Some(kind) = kind {
            return Err(FileError { line: located.line, why: format!("{kind}: read as a complete one it would lose entries") });
        }
        found.push((Arc::new(located.value), located.line));
    }
    Ok(found)
}
