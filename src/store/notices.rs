//! Which notices of an end were given, and when: kept in the state directory, so that a restart gives each once a day at most. Nothing is
//! decided by it, so that what is damaged counts for nothing.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::Files;
use super::source::Source;
use crate::pki::Fingerprint;

/// A notice that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Days before the end.
    pub days: u32,
    /// Seconds since the epoch.
    pub at: u64,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    version: u32,
    given: Vec<(String, u32, u64)>,
}

/// Reads what was given; nothing where that is not known.
pub fn load(directory: &Path) -> HashMap<Fingerprint, Given> {
    let read = Files.read(&directory.join(NAME), MAX).ok();
    let kept = read.and_then(|read| serde_json::from_slice::<Kept>(&read.bytes).ok()).filter(|kept| kept.version == VERSION);
    let given = kept.into_iter().flat_map(|kept| kept.given);
    given.filter_map(|(key, days, at)| Some((key.parse().ok()?, Given { days, at }))).collect()
}

/// Writes what was given: whole, and renamed into place. Not synced: after a crash a notice is given twice.
pub fn store(directory: &Path, given: &HashMap<Fingerprint, Given>) -> io::Result<()> {
    let given = given.iter().map(|(key, given)| (key.to_string(), given.days, given.at)).collect();
    let bytes = serde_json::to_vec(&Kept { version: VERSION, given })?;
    let draft = directory.join(format!("{NAME}.new"));
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?.write_all(&bytes)?;
    fs::rename(draft, directory.join(NAME))
}

const NAME: &str = "notices.json";
const VERSION: u32 = 1;
const MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_known_again_and_what_is_damaged_counts_for_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(load(directory.path()).is_empty());
        let given = HashMap::from([(Fingerprint::of(b"a"), Given { days: 7, at: 100 }), (Fingerprint::of(b"b"), Given { days: 0, at: 1 })]);
        store(directory.path(), &given).expect("written");
        assert_eq!(load(directory.path()), given);
        fs::write(directory.path().join(NAME), "{").expect("written");
        assert!(load(directory.path()).is_empty());
    }
}
