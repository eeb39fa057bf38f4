//! The allowlists that are files: each compiled into a roster, which stays as it was while its source is broken, missing,
//! or would lose too much at once. A directory is as many units as it has files: a broken one never keeps another's removal
//! from counting.

mod compiled;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cache::{Cache, Good, Round, SourceError};
use super::listing::{self, Listing};
use super::source::ReadError;
use crate::admission::{PrincipalName, Roster, Terms};
use crate::clock;
use crate::pki::{FileError, Fingerprint};
pub use compiled::describe;
use compiled::{compile_directory, name_of_file, read_file};

/// One `[[allowlist]]`, as far as its files go.
#[derive(Clone, Copy, Debug)]
pub struct ListSpec<'a> {
    pub path: &'a Path,
    pub prefix: &'a str,
    pub terms: &'a Arc<Terms>,
    /// Losing more than this share, and more than `min`, needs force.
    pub share: f64,
    pub min: u64,
}

/// Every allowlist that is in force, or will be.
#[derive(Clone, Debug, Default)]
pub struct Allowlists {
    /// Files that are lists of their own.
    files: Cache<Listing>,
    /// Files of directories.
    entries: Cache<Listing>,
    lists: BTreeMap<ListKey, List>,
}

/// What a look at an allowlist found.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What to put in force: new content, or the last good one. `None`: nobody, there never was any.
    pub roster: Option<Arc<Roster>>,
    /// What is in force now, to fall back on when the new one meets another source's.
    pub before: Option<Arc<Roster>>,
    pub errors: Vec<SourceError>,
    pub warnings: Vec<SourceError>,
    /// When its content was last read and found good.
    pub last_good: Option<Duration>,
    /// Of what `roster` was read from.
    pub hash: Option<Fingerprint>,
    /// Of a directory: the files that are others than those in force.
    pub changed: Vec<PathBuf>,
    pub ends: Arc<[End]>,
}

/// When certificates of a list end: the first of the whole list, and in a directory the files whose first ends soonest.
#[derive(Clone, Debug)]
pub struct End {
    /// `None`: the list itself.
    pub principal: Option<PrincipalName>,
    /// Seconds since the epoch.
    pub not_after: u64,
}

type ListKey = (PathBuf, String);

#[derive(Clone, Debug, Default)]
struct List {
    kind: Option<Kind>,
    in_force: Option<Built>,
    /// What the last look offers to put in force.
    candidate: Option<Built>,
    /// What was built last, whatever became of it: the same files need no second reading.
    seen: Option<Built>,
    last_good: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

/// A roster, and what it was built from: the same parts make the same roster.
#[derive(Clone, Debug)]
struct Built {
    roster: Arc<Roster>,
    terms: Arc<Terms>,
    parts: BTreeMap<PathBuf, Part>,
    warnings: Vec<SourceError>,
    ends: Arc<[End]>,
}

/// What a file contributed.
#[derive(Clone, Debug)]
struct Part {
    hash: Fingerprint,
    /// `None` for a file that is a list of its own: a million entries are not kept twice.
    listing: Option<Arc<Listing>>,
}

impl Look {
    /// What is in force stays in force.
    pub fn is_unchanged(&self) -> bool {
        self.roster.as_ref().zip(self.before.as_ref()).is_some_and(|(roster, before)| Arc::ptr_eq(roster, before))
    }
}

impl Allowlists {
    /// Looks at an allowlist again.
    pub fn look(&mut self, round: &mut Round<'_>, spec: ListSpec<'_>) -> Look {
        let key = (spec.path.to_owned(), spec.prefix.to_owned());
        let mut list = self.lists.remove(&key).unwrap_or_default();
        let mut look = Look { before: list.in_force.as_ref().map(|built| Arc::clone(&built.roster)), ..Look::default() };
        match self.build(round, spec, &mut list, &mut look) {
            Ok(built) => {
                list.candidate = Some(built);
                if look.errors.is_empty() {
                    list.last_good = Some(clock::wall());
                }
            }
            Err(error) => {
                list.candidate = list.in_force.as_ref().map(|built| built.under(spec.terms));
                look.errors.push(error);
            }
        }
        if let Some(candidate) = &list.candidate {
            look.roster = Some(Arc::clone(&candidate.roster));
            look.warnings.clone_from(&candidate.warnings);
            look.hash = Some(candidate.identity());
            look.changed = list.in_force.as_ref().map(|before| differing(&before.parts, &candidate.parts)).unwrap_or_default();
            look.ends = Arc::clone(&candidate.ends);
        }
        look.last_good = list.last_good;
        self.lists.insert(key, list);
        look
    }

    /// Takes what the last look found as in force from now on.
    pub fn accept(&mut self, path: &Path, prefix: &str) {
        if let Some(list) = self.lists.get_mut(&(path.to_owned(), prefix.to_owned())) {
            list.in_force = list.candidate.take().or_else(|| list.in_force.take());
        }
    }

    /// The same, with some files as they were; `roster` is what came of that.
    pub fn accept_but(&mut self, path: &Path, prefix: &str, roster: &Arc<Roster>, files: &[Arc<str>]) {
        let Some(list) = self.lists.get_mut(&(path.to_owned(), prefix.to_owned())) else { return };
        let Some(mut built) = list.candidate.take() else { return };
        // A file that is a list of its own stays as it was, whole.
        if built.parts.values().any(|part| part.listing.is_none()) {
            return;
        }
        let refused: Vec<PathBuf> = built.parts.keys().filter(|path| files.contains(&path.display().to_string().into())).cloned().collect();
        for path in refused {
            built.parts.remove(&path);
            if let Some(part) = list.in_force.as_ref().and_then(|before| before.parts.get(&path)) {
                // The hash of no file: this roster was built from none that can be read again.
                built.parts.insert(path, Part { hash: Fingerprint::of(b""), ..part.clone() });
            }
        }
        built.roster = Arc::clone(roster);
        list.in_force = Some(built);
    }

    /// Forgets what a round did not ask for.
    pub fn end(&mut self, round: &Round<'_>, specs: &[(&Path, &str)]) {
        self.files.end(round);
        self.entries.end(round);
        self.lists.retain(|(path, prefix), _| specs.contains(&(path.as_path(), prefix.as_str())));
    }

    fn build(&mut self, round: &mut Round<'_>, spec: ListSpec<'_>, list: &mut List, look: &mut Look) -> Result<Built, SourceError> {
        let kind = match round.source.stamp(spec.path) {
            Ok(_) => Kind::File,
            Err(ReadError::NotAFile("a directory")) => Kind::Directory,
            Err(error) => return Err(SourceError::new(spec.path, 0, error.to_string())),
        };
        // A directory in the place of a file, or the reverse, is no new content of the same list.
        if list.kind.is_some_and(|before| before != kind) && !round.force {
            let (is, was) = if kind == Kind::File { ("a file", "a directory") } else { ("a directory", "a file") };
            let why = format!("is {is} now, and was {was}; `portcullis reload --force` takes it as it is");
            return Err(SourceError::new(spec.path, 0, why));
        }
        let built = match kind {
            Kind::File => self.build_file(round, spec, list, look)?,
            Kind::Directory => self.build_directory(round, spec, list, look)?,
        };
        list.seen = Some(built.clone());
        if let Some(before) = &list.in_force
            && !round.force
        {
            check_shrink(spec, &before.roster, &built.roster)?;
        }
        list.kind = Some(kind);
        Ok(built)
    }

    fn build_file(&mut self, round: &mut Round<'_>, spec: ListSpec<'_>, list: &List, look: &mut Look) -> Result<Built, SourceError> {
        // The cache keeps no entries of such files, only what it last said of them; the roster is where they live.
        let label = format!("{}\n{}", spec.prefix, spec.terms.allow_any_eku);
        let mut fresh = None;
        let (good, error) = self.files.get(round, &[spec.path], &label, MAX_LIST, |readings| {
            fresh = Some(read_file(spec, &readings[0])?);
            Ok(Listing::default())
        });
        look.errors.extend(error);
        let Some(good) = good else {
            return Err(look.errors.pop().unwrap_or_else(|| SourceError::new(spec.path, 0, "has not been read")));
        };
        if let Some((roster, warnings, ends)) = fresh {
            let roster = Arc::new(roster);
            let parts = BTreeMap::from([(spec.path.to_owned(), Part { hash: good.hash, listing: None })]);
            return Ok(Built { roster, terms: Arc::clone(spec.terms), parts, warnings, ends });
        }
        let is_the_same = |built: &&Built| built.parts.get(spec.path).is_some_and(|part| part.hash == good.hash);
        match list.in_force.iter().chain(&list.seen).find(is_the_same) {
            Some(built) => Ok(built.under(spec.terms)),
            // Read in an earlier round that put nothing in force: once more.
            None => self.build_file_anew(round, spec, good),
        }
    }

    fn build_file_anew(&mut self, round: &mut Round<'_>, spec: ListSpec<'_>, good: Good<Listing>) -> Result<Built, SourceError> {
        let reading = round.source.read(spec.path, MAX_LIST).map_err(|error| {
            round.unstable |= matches!(error, ReadError::Changing);
            SourceError::new(spec.path, 0, error.to_string())
        })?;
        let (roster, warnings, ends) =
            read_file(spec, &reading).map_err(|(_, error)| SourceError::new(spec.path, error.line, error.why))?;
        // What was read may be newer than the cache knows; then the next look sees another hash and reads again.
        let parts = BTreeMap::from([(spec.path.to_owned(), Part { hash: good.hash, listing: None })]);
        Ok(Built { roster: Arc::new(roster), terms: Arc::clone(spec.terms), parts, warnings, ends })
    }

    fn build_directory(&mut self, round: &mut Round<'_>, spec: ListSpec<'_>, list: &List, look: &mut Look) -> Result<Built, SourceError> {
        let paths = round.source.list(spec.path).map_err(|error| SourceError::new(spec.path, 0, error.to_string()))?;
        let label = spec.terms.allow_any_eku.to_string();
        let mut parts = BTreeMap::new();
        for path in paths.into_iter().filter(|path| has_ending(path, CERTIFICATE_ENDINGS)) {
            let (good, error) = self.entries.get(round, &[&path], &label, MAX_FILE, |readings| {
                let listing = listing::certificates(&readings[0].bytes, spec.terms.allow_any_eku).map_err(|error| (0, error))?;
                name_of_file(spec.prefix, &path).map_err(|why| (0, FileError { line: 0, why }))?;
                Ok(listing)
            });
            look.errors.extend(error);
            if let Some(good) = good {
                parts.insert(path, Part { hash: good.hash, listing: Some(good.value) });
            }
        }
        if let Some(built) = list.in_force.iter().chain(&list.seen).find(|built| same_parts(&built.parts, &parts)) {
            return Ok(built.under(spec.terms));
        }
        Ok(compile_directory(spec, parts, list.in_force.as_ref(), &mut look.errors))
    }
}

impl Built {
    /// Tells one content from another.
    fn identity(&self) -> Fingerprint {
        let mut bytes = Vec::new();
        for (path, part) in &self.parts {
            bytes.extend_from_slice(path.as_os_str().as_encoded_bytes());
            bytes.extend_from_slice(part.hash.as_bytes());
        }
        Fingerprint::of(&bytes)
    }

    /// The same principals under other terms.
    fn under(&self, terms: &Arc<Terms>) -> Self {
        if Arc::ptr_eq(&self.terms, terms) {
            return self.clone();
        }
        Self { roster: Arc::new(self.roster.under(terms)), terms: Arc::clone(terms), ..self.clone() }
    }
}

/// Names the parts that came, went or have other content.
fn differing(before: &BTreeMap<PathBuf, Part>, after: &BTreeMap<PathBuf, Part>) -> Vec<PathBuf> {
    let hash = |parts: &BTreeMap<PathBuf, Part>, path: &PathBuf| parts.get(path).map(|part| part.hash);
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    after.keys().filter(|path| hash(before, path) != hash(after, path)).chain(gone).cloned().collect()
}

/// Refuses to lose too much at once: more likely a mistake with the file than a decision about clients.
fn check_shrink(spec: ListSpec<'_>, before: &Arc<Roster>, after: &Arc<Roster>) -> Result<(), SourceError> {
    if Arc::ptr_eq(before, after) {
        return Ok(());
    }
    let (all, lost) = (before.fingerprints().len() as u64, before.lost(after) as u64);
    #[expect(clippy::cast_precision_loss, reason = "a share of a count: exact enough")]
    let too_much = lost > spec.min && lost as f64 > spec.share * all as f64;
    if too_much {
        let why = format!("would take {lost} of {all} entries off the list, more than max_shrink: `portcullis reload --force` does it");
        return Err(SourceError::new(spec.path, 0, why));
    }
    Ok(())
}

fn same_parts(before: &BTreeMap<PathBuf, Part>, after: &BTreeMap<PathBuf, Part>) -> bool {
    before.len() == after.len() && before.iter().zip(after).all(|((path, part), (other, new))| path == other && part.hash == new.hash)
}

pub(super) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| endings.contains(&ending))
}

const CERTIFICATE_ENDINGS: &[&str] = &["pem", "crt", "cer", "der"];

/// A million certificates as PEM are some 700 MB.
const MAX_LIST: u64 = 1 << 30;
/// One client's certificates.
const MAX_FILE: u64 = 256 << 20;
