//! Verifying a ledger directory, offline: whether everything in it follows from the checkpoint that the key signed. Nothing is
//! trusted but that key.

use std::path::Path;
use std::sync::{Arc, RwLock};

use serde::Serialize;

use super::check::Place;
use super::data;
use super::disk::{Disk, Machine};
use super::entry::Entry;
use super::error::OpenError;
use super::names;
use super::note::Verifier;
use super::offline::Offline;
use super::reader::{Head, Lines, Shared};
use super::tiles::{self, Kind};
use super::tree::WIDTH;

/// What was verified, and what did not verify.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub origin: String,
    /// The verifier that everything was held against: compare it with the one that you know.
    pub key: String,
    /// How many entries the checkpoint has.
    pub size: u64,
    /// The head of the tree, in base64.
    pub root: String,
    /// Empty where all is well.
    pub problems: Vec<String>,
}

/// Verifies the ledger of a state directory, or a copy of a ledger directory. Where the entries are not what was signed the
/// error says so; `Report::problems` has what is wrong beside them. `progress` is told how many entries were verified, of how many.
pub fn verify_directory(directory: &Path, key: Option<Verifier>, mut progress: impl FnMut(u64, u64)) -> Result<Report, OpenError> {
    let Offline { directory, log, verifier, signed, seen, note } = Offline::find(directory, key)?;
    let entries = directory.join(names::ENTRIES);
    let place = Place { disk: &Machine, directory: &directory, log: &*log };
    let marks = [signed.size(), seen.size()];
    let found = place
        .examine(&marks, signed.size(), signed.size(), signed.size())
        .map_err(|error| OpenError::Io { path: entries.clone(), error })?;
    found.stands(&entries, &seen.beside(&signed))?;
    let (size, root) = (found.scan.tree.size(), found.scan.tree.root().to_string());
    let (origin, key) = (verifier.name().to_owned(), verifier.to_string());
    let shared = Shared {
        disk: Arc::new(Machine),
        log: Arc::clone(&log),
        directory: directory.clone(),
        tree: RwLock::new(found.scan.tree),
        head: Head::Published(note, verifier),
    };
    let mut problems = Problems { shared: &shared, found: Vec::new() };
    for number in 0..size.div_ceil(WIDTH) {
        match shared.block(number) {
            Ok(Some(lines)) => problems.block(number, &lines),
            Ok(None) => {}
            Err(error) => problems.add(&error.to_string()),
        }
        progress(size.min((number + 1) * WIDTH), size);
    }
    for (kind, number, hashes) in tiles::above(&shared.tree()) {
        problems.tile(kind, number, hashes.len(), &tiles::hashes(hashes));
    }
    Ok(Report { origin, key, size, root, problems: problems.found })
}

struct Problems<'a> {
    shared: &'a Shared,
    found: Vec<String>,
}

impl Problems<'_> {
    fn add(&mut self, problem: &str) {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push(problem.to_owned());
        }
    }

    /// The lines of a block are entries, their data is there, and the tiles say the same.
    fn block(&mut self, number: u64, lines: &Lines) {
        for (index, line) in (number * WIDTH..).zip(lines.lines()) {
            let judged = Entry::parse(line).map_err(|error| error.to_string()).and_then(|entry| {
                if entry.index != index {
                    return Err(format!("says that it is entry {}", entry.index));
                }
                let detached = entry.detached.as_ref();
                detached.map_or(Ok(()), |detached| {
                    data::get(&Machine, &self.shared.directory, detached).map(|_| ()).map_err(|error| error.to_string())
                })
            });
            if let Err(why) = judged {
                self.add(&format!("{}:{}: {why}", self.shared.entries_path().display(), index + 1));
            }
        }
        let leaves = lines.leaves();
        self.tile(Kind::Hashes(0), number, leaves.len(), &tiles::hashes(&leaves));
        self.tile(Kind::Entries, number, leaves.len(), &tiles::entries(lines.lines()));
    }

    fn tile(&mut self, kind: Kind, number: u64, width: usize, expected: &[u8]) {
        let path = tiles::path(&self.shared.directory, kind, number, width as u64);
        match Machine.read(&path) {
            Ok(bytes) if bytes == expected => {}
            Ok(_) => self.add(&format!("{}: does not agree with the entries, which are as signed", path.display())),
            Err(error) => self.add(&format!("{}: {error}", path.display())),
        }
    }
}

/// Where more is wrong, more lines say nothing more.
const MAX_PROBLEMS: usize = 100;
