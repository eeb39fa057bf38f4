//! What was last read and good of each unit, with what is wrong with it now. A unit is a file, or several that only make
//! sense together (a certificate with its key). It is read again when its stamps say so, parsed when its content differs,
//! and replaced when that parses: else the last good content stays, and the reason is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::source::{ReadError, Reading, Source, Stamp};
use crate::clock;
use crate::pki::{FileError, Fingerprint};

/// One look at everything. Units that are not asked for in it are forgotten when it ends.
pub struct Round<'s> {
    pub source: &'s dyn Source,
    number: u64,
    /// Reads everything again, whatever the stamps say.
    pub reread: bool,
    /// Takes what it finds even where that loses much.
    pub force: bool,
    /// Something changed while it was read: worth another look in some milliseconds.
    pub unstable: bool,
    /// A rename was seen since the last round: a file that is another one now was replaced by it.
    pub renamed: bool,
    /// Names of files that were seen to be removed since: what stands there now was made anew, and may still be growing.
    pub removed: BTreeSet<OsString>,
}

/// Units of one kind.
#[derive(Debug)]
pub struct Cache<T> {
    units: BTreeMap<Key, Unit<T>>,
}

/// The files of a unit, and whatever else its reading depends on.
type Key = (Vec<PathBuf>, String);

/// Good content, shared by all who use it.
#[derive(Debug)]
pub struct Good<T> {
    pub value: Arc<T>,
    /// SHA-256 of what it was read from.
    pub hash: Fingerprint,
    /// Of each file.
    pub stamps: Vec<Stamp>,
    /// When it was last read and found good, since the epoch.
    pub read: Duration,
}

/// What is wrong with a unit; told to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    pub file: Arc<str>,
    /// 1-based; 0 where the whole file is meant.
    pub line: u32,
    pub why: String,
}

#[derive(Debug)]
struct Unit<T> {
    good: Option<Good<T>>,
    error: Option<SourceError>,
    /// Of each file when it was last tried; `None`: to be tried again in any case.
    tried: Option<Vec<Stamp>>,
    round: u64,
}

/// What a parser says: good content, or which file of the unit is wrong and why.
pub type Parsed<T> = Result<T, (usize, FileError)>;

impl<'s> Round<'s> {
    pub fn new(source: &'s dyn Source, number: u64) -> Self {
        Self { source, number, reread: false, force: false, unstable: false, renamed: false, removed: BTreeSet::new() }
    }
}

impl<T> Cache<T> {
    /// Returns the last good content of a unit after looking at it again, and what is wrong with it now.
    pub fn get(
        &mut self,
        round: &mut Round<'_>,
        files: &[&Path],
        label: &str,
        limit: u64,
        parse: impl FnOnce(&[Reading]) -> Parsed<T>,
    ) -> (Option<Good<T>>, Option<SourceError>) {
        let key = (files.iter().map(|path| path.to_path_buf()).collect(), label.to_owned());
        let unit = self.units.entry(key).or_default();
        if unit.round != round.number {
            unit.round = round.number;
            unit.refresh(round, files, limit, parse);
        }
        (unit.good.clone(), unit.error.clone())
    }

    /// Returns the last good content of every unit.
    pub fn goods(&self) -> impl Iterator<Item = &Good<T>> {
        self.units.values().filter_map(|unit| unit.good.as_ref())
    }

    /// Forgets the units that a round did not ask for.
    pub fn end(&mut self, round: &Round<'_>) {
        self.units.retain(|_, unit| unit.round == round.number);
    }
}

impl<T> Unit<T> {
    fn refresh(&mut self, round: &mut Round<'_>, files: &[&Path], limit: u64, parse: impl FnOnce(&[Reading]) -> Parsed<T>) {
        if !round.reread && self.tried.is_some() {
            let stamps: Result<Vec<Stamp>, ReadError> = files.iter().map(|path| round.source.stamp(path)).collect();
            if stamps.is_ok_and(|stamps| Some(&stamps) == self.tried.as_ref()) {
                if let Some(good) = self.good.as_mut().filter(|_| self.error.is_none()) {
                    good.read = clock::wall();
                }
                return;
            }
        }
        self.tried = None;
        let mut readings = Vec::with_capacity(files.len());
        for path in files {
            match round.source.read(path, limit) {
                Ok(reading) => readings.push(reading),
                Err(error) => {
                    round.unstable |= matches!(error, ReadError::Changing);
                    self.error = Some(SourceError::new(path, 0, error.to_string()));
                    return;
                }
            }
        }
        let stamps: Vec<Stamp> = readings.iter().map(|reading| reading.stamp).collect();
        if !readings.iter().any(|reading| reading.young) {
            self.tried = Some(stamps.clone());
        }
        let hash = hash(&readings);
        if let Some(good) = self.good.as_mut().filter(|good| good.hash == hash) {
            (good.stamps, good.read) = (stamps, clock::wall());
            self.error = None;
            return;
        }
        match parse(&readings) {
            Ok(value) => {
                self.good = Some(Good { value: Arc::new(value), hash, stamps, read: clock::wall() });
                self.error = None;
            }
            Err((index, error)) => {
                let path = files.get(index).copied().unwrap_or(Path::new(""));
                self.error = Some(SourceError::new(path, error.line, error.why));
            }
        }
    }
}

impl SourceError {
    /// Says what is wrong with a file.
    pub fn new(path: &Path, line: u32, why: impl Into<String>) -> Self {
        Self { file: path.display().to_string().into(), line, why: why.into() }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.why),
            line => write!(f, "{}:{line}: {}", self.file, self.why),
        }
    }
}

impl std::error::Error for SourceError {}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { units: BTreeMap::new() }
    }
}

impl<T> Default for Unit<T> {
    fn default() -> Self {
        Self { good: None, error: None, tried: None, round: 0 }
    }
}

/// Content is shared: a copy costs what the units' names do.
impl<T> Clone for Cache<T> {
    fn clone(&self) -> Self {
        Self { units: self.units.clone() }
    }
}

impl<T> Clone for Unit<T> {
    fn clone(&self) -> Self {
        Self { good: self.good.clone(), error: self.error.clone(), tried: self.tried.clone(), round: self.round }
    }
}

impl<T> Clone for Good<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), hash: self.hash, stamps: self.stamps.clone(), read: self.read }
    }
}

fn hash(readings: &[Reading]) -> Fingerprint {
    match readings {
        [one] => Fingerprint::of(&one.bytes),
        many => Fingerprint::of(many.iter().map(|reading| *Fingerprint::of(&reading.bytes).as_bytes()).collect::<Vec<_>>().as_flattened()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::file::Files;

    fn parse(readings: &[Reading]) -> Parsed<String> {
        match String::from_utf8(readings[0].bytes.clone()) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => Err((0, FileError { line: 3, why: "bad".to_owned() })),
        }
    }

    /// Looks once, as a reload does.
    fn look(cache: &mut Cache<String>, number: u64, path: &Path) -> (Option<String>, Option<String>) {
        let mut round = Round::new(&Files, number);
        let (good, error) = cache.get(&mut round, &[path], "", 1000, parse);
        cache.end(&round);
        (good.map(|good| (*good.value).clone()), error.map(|error| error.why))
    }

    #[test]
    fn the_last_good_content_stays_whatever_takes_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("list");
        let mut cache = Cache::default();
        assert_eq!(look(&mut cache, 1, &path), (None, Some("is not there".to_owned())));
        fs::write(&path, "one").expect("written");
        assert_eq!(look(&mut cache, 2, &path), (Some("one".to_owned()), None));
        fs::write(&path, "").expect("written");
        assert_eq!(look(&mut cache, 3, &path), (Some("one".to_owned()), Some("bad".to_owned())));
        fs::write(&path, "x".repeat(1001)).expect("written");
        assert_eq!(look(&mut cache, 4, &path).1, Some("has more than 1000 bytes".to_owned()));
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        assert_eq!(look(&mut cache, 5, &path), (Some("one".to_owned()), Some("is a directory, not a regular file".to_owned())));
        fs::remove_dir(&path).expect("removed");
        fs::write(&path, "two").expect("written");
        assert_eq!(look(&mut cache, 6, &path), (Some("two".to_owned()), None));
        // Same size, same tick: the stamp may well be the same.
        fs::write(&path, "owt").expect("written");
        assert_eq!(look(&mut cache, 7, &path), (Some("owt".to_owned()), None));
    }
}
