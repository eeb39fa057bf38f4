//! Whether a log is what was signed and what was seen of it: the part of opening that `verify` shares.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::disk::{Disk, Log, read_if_there};
use super::entry::Entry;
use super::error::OpenError;
use super::note::Verifier;
use super::scan::{Line, Scan, scan};
use super::tiles::{self, Kind};
use super::tree::{Hash, WIDTH};

/// Where a log is.
pub(super) struct Place<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) directory: &'a Path,
    pub(super) log: &'a dyn Log,
}

/// A checkpoint as a file has it, or that there is none.
pub(super) struct Stated {
    pub(super) path: PathBuf,
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Stated {
    /// Returns what is stated here and by the checkpoint that was published, where there is something here.
    pub(super) fn beside<'a>(&'a self, signed: &'a Self) -> Vec<&'a Self> {
        if self.checkpoint.is_some() { vec![signed, self] } else { vec![signed] }
    }

    pub(super) fn size(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size)
    }
}

/// Reads a checkpoint that our key signed.
pub(super) fn checkpoint(disk: &dyn Disk, path: PathBuf, verifier: &Verifier) -> Result<Stated, OpenError> {
    let bytes = read_if_there(disk, &path).map_err(|error| OpenError::Io { path: path.clone(), error })?;
    match bytes {
        Some(bytes) => stated(path, &String::from_utf8_lossy(&bytes), verifier),
        None => Ok(Stated { path, checkpoint: None }),
    }
}

/// Reads a checkpoint's note.
pub(super) fn stated(path: PathBuf, note: &str, verifier: &Verifier) -> Result<Stated, OpenError> {
    match Checkpoint::open(note, verifier) {
        Ok(checkpoint) => Ok(Stated { path, checkpoint: Some(checkpoint) }),
        Err(error) => Err(OpenError::Damaged { path, line: None, why: error.to_string(), advice: RESTORE }),
    }
}

/// What was found in a log.
pub(super) struct Examined {
    pub(super) scan: Scan,
    /// The first line that is no entry, and why.
    problem: Option<(u64, String)>,
    /// Where a change of several entries begins whose end is not there.
    pub(super) torn_group: Option<u64>,
    tiles: Tiles,
}

/// How the full tiles of level 0 compare with the entries.
#[derive(Default)]
struct Tiles {
    missing: Option<u64>,
    /// The first tile that differs, and the first entry in it.
    different: Option<(u64, u64)>,
}

impl Place<'_> {
    /// Reads the log up to `limit` entries. What is before `trusted` is hashed and no more: the head tells whether it is right.
    /// After `signed`, what a crash may leave ends the log.
    pub(super) fn examine(&self, marks: &[u64], signed: u64, trusted: u64, limit: u64) -> io::Result<Examined> {
        let (mut problem, mut torn_group, mut tiles) = (None, None, Tiles::default());
        let mut leaves: Vec<Hash> = Vec::with_capacity(WIDTH as usize);
        let scan = scan(self.log, marks, |line| {
            // A crash may leave pages that were never written, which read as zeroes; no entry has a NUL.
            if line.index >= limit || (line.index >= signed && line.bytes.contains(&0)) {
                return ControlFlow::Break(());
            }
            if line.index >= trusted.min(signed) {
                match judge(line) {
                    Ok(more) => torn_group = more.then(|| torn_group.unwrap_or(line.index)),
                    Err(why) => {
                        problem = Some((line.index, why));
                        return ControlFlow::Break(());
                    }
                }
            }
            leaves.push(line.leaf);
            if leaves.len() as u64 == WIDTH {
                let number = line.index / WIDTH;
                if (number + 1) * WIDTH <= signed {
                    self.compare(number, &leaves, &mut tiles);
                }
                leaves.clear();
            }
            ControlFlow::Continue(())
        })?;
        Ok(Examined { scan, problem, torn_group, tiles })
    }

    fn compare(&self, number: u64, leaves: &[Hash], tiles: &mut Tiles) {
        match self.disk.read(&tiles::path(self.directory, Kind::Hashes(0), number, WIDTH)) {
            Ok(bytes) if bytes == tiles::hashes(leaves) => {}
            Ok(bytes) => {
                let same = bytes.chunks(32).zip(leaves).take_while(|(found, leaf)| *found == leaf.0).count();
                tiles.different.get_or_insert((number, number * WIDTH + same as u64));
            }
            // Unreadable is as good as missing: it is written again.
            Err(_) => _ = tiles.missing.get_or_insert(number),
        }
    }
}

/// Tells whether a line is the entry of its place, and whether more belong to it.
fn judge(line: &Line<'_>) -> Result<bool, String> {
    let entry = Entry::parse(line.bytes).map_err(|error| error.to_string())?;
    if entry.index == line.index { Ok(entry.more) } else { Err(format!("says that it is entry {}", entry.index)) }
}

impl Examined {
    /// Tells whether the log is what was stated of it.
    pub(super) fn stands(&self, entries: &Path, stated: &[&Stated]) -> Result<(), OpenError> {
        let damaged = |line, why| Err(OpenError::Damaged { path: entries.to_owned(), line, why, advice: RESTORE });
        if let Some((index, why)) = &self.problem {
            return damaged(Some(index + 1), why.clone());
        }
        let signed = stated.iter().map(|stated| stated.size()).max().unwrap_or(0);
        if let Some(begin) = self.torn_group.filter(|begin| *begin < signed) {
            return damaged(Some(begin + 1), "begins a change whose end was signed, and is not there".to_owned());
        }
        for Stated { path, checkpoint } in stated {
            let size = self.scan.tree.size();
            match checkpoint {
                None if size > 0 => {
                    let why = "is missing, and the ledger has entries".to_owned();
                    return Err(OpenError::Damaged { path: path.clone(), line: None, why, advice: RESTORE });
                }
                None => {}
                Some(checkpoint) => match self.scan.heads.get(&checkpoint.size) {
                    Some(head) if *head == checkpoint.root => {}
                    Some(_) => {
                        let line = self.tiles.different.map(|(_, index)| index + 1);
                        return damaged(line, format!("is not what {} has signed: history was rewritten", path.display()));
                    }
                    None => {
                        let why = format!("has {size} entries, and {} has signed {}: entries are gone", path.display(), checkpoint.size);
                        return damaged(None, why);
                    }
                },
            }
        }
        Ok(())
    }

    /// Tells whether the tiles agree with entries that stand, up to a signed size; returns up to which size they are there.
    pub(super) fn tiles_agree(&self, place: &Place<'_>, signed: u64) -> Result<u64, OpenError> {
        let mut there = self.tiles.missing.map_or(signed, |number| number * WIDTH);
        let damaged = |path| OpenError::Damaged {
            path,
            line: None,
            why: "does not agree with the entries, which are as signed".to_owned(),
            advice: REMOVE,
        };
        if let Some((number, _)) = self.tiles.different {
            return Err(damaged(tiles::path(place.directory, Kind::Hashes(0), number, WIDTH)));
        }
        for (kind, number, hashes) in tiles::above(&self.scan.tree).filter(|(_, _, hashes)| hashes.len() as u64 == WIDTH) {
            let Kind::Hashes(level) = kind else { continue };
            let begin = number.saturating_mul(WIDTH.saturating_pow(u32::try_from(level + 1).unwrap_or(8)));
            if begin.saturating_add(WIDTH.saturating_pow(u32::try_from(level + 1).unwrap_or(8))) > signed {
                continue;
            }
            let path = tiles::path(place.directory, kind, number, WIDTH);
            match place.disk.read(&path) {
                Ok(bytes) if bytes == tiles::hashes(hashes) => {}
                Ok(_) => return Err(damaged(path)),
                Err(_) => there = there.min(begin),
            }
        }
        Ok(there)
    }
}

const RESTORE: &str = "restore the state directory from a backup, or move it away to begin anew without its history";
const REMOVE: &str = "remove the directory `tile`, which is then written again from the entries";
