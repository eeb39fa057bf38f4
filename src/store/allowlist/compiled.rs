//! Compiles the files of an allowlist into a roster: whose each certificate is, and which two places claim the same. What stays
//! in force where that fails is for `allowlist` to say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Built, End, ListSpec, Part, has_ending};
use crate::admission::{Claim, Conflict, Credential, Principal, PrincipalId, PrincipalName, Provenance, Roster, RosterBuilder, Terms};
use crate::pki::{FileError, hex};
use crate::store::cache::{Parsed, SourceError};
use crate::store::listing::{self, Entry, Listing};
use crate::store::source::Reading;

/// Compiles a directory's files into one roster: first what stands as it stood, so that of two files that claim the same
/// certificate the newcomer is the one to be refused.
pub(super) fn compile_directory(
    spec: ListSpec<'_>,
    mut parts: BTreeMap<PathBuf, Part>,
    before: Option<&Built>,
    errors: &mut Vec<SourceError>,
) -> Built {
    let stood = |path: &Path, part: &Part| before.and_then(|before| before.parts.get(path)).is_some_and(|old| old.hash == part.hash);
    let mut order: Vec<(PathBuf, Part)> = parts.iter().map(|(path, part)| (path.clone(), part.clone())).collect();
    order.sort_by_key(|(path, part)| !stood(path, part));
    let mut builder = RosterBuilder::default();
    let mut warnings = Vec::new();
    for (path, part) in order {
        if let Err(conflict) = add_file(&mut builder, spec, &path, part.listing.as_deref()) {
            errors.push(describe(&conflict));
            parts.remove(&path);
            let last_good = before.and_then(|before| before.parts.get(&path)).cloned();
            if let Some(part) = last_good.filter(|part| add_file(&mut builder, spec, &path, part.listing.as_deref()).is_ok()) {
                parts.insert(path.clone(), part);
            }
        }
        let odd = parts.get(&path).and_then(|part| part.listing.as_ref()).map(|listing| listing.warnings.as_slice()).unwrap_or_default();
        warnings.extend(odd.iter().map(|(line, why)| SourceError::new(&path, *line, why.clone())));
    }
    let ends = ends(spec, &parts);
    Built { roster: Arc::new(builder.finish()), terms: Arc::clone(spec.terms), parts, warnings, ends }
}

/// Finds what ends soonest, once for each content: a directory may have a hundred thousand files.
fn ends(spec: ListSpec<'_>, parts: &BTreeMap<PathBuf, Part>) -> Arc<[End]> {
    let mut ending: Vec<(u64, &PathBuf)> = parts.iter().filter_map(|(path, part)| Some((part.listing.as_ref()?.ends?, path))).collect();
    ending.sort_unstable();
    ending.truncate(MOST_ENDS);
    let whole = ending.first().map(|(not_after, _)| End { principal: None, not_after: *not_after });
    let each = ending.iter().map(|(not_after, path)| End { principal: name_of_file(spec.prefix, path).ok(), not_after: *not_after });
    whole.into_iter().chain(each.filter(|end| end.principal.is_some())).collect()
}

/// Adds a directory's file: one principal, all its certificates its pins.
fn add_file(builder: &mut RosterBuilder, spec: ListSpec<'_>, path: &Path, listing: Option<&Listing>) -> Result<(), Conflict> {
    let Some((listing, name)) = listing.zip(name_of_file(spec.prefix, path).ok()) else { return Ok(()) };
    let file: Arc<str> = path.display().to_string().into();
    let at = |line| Provenance { file: Arc::clone(&file), line };
    let id = PrincipalId::derived(&name);
    let principal = Principal { id, name, display_name: None, terms: Arc::clone(spec.terms), provenance: at(0) };
    let pins: Vec<_> = listing.entries.iter().map(|entry| (Credential::Pin(entry.pin), at(entry.line))).collect();
    builder.add(&principal, &pins)
}

/// Reads a file that is a list of its own: one principal an entry.
pub(super) fn read_file(spec: ListSpec<'_>, reading: &Reading) -> Parsed<(Roster, Vec<SourceError>, Arc<[End]>)> {
    let refused = |error: FileError| (0, error);
    let listing = match has_ending(spec.path, &["txt"]) {
        true => listing::fingerprints(&reading.bytes, spec.prefix).map_err(refused)?,
        false => listing::certificates(&reading.bytes, spec.terms.allow_any_eku).map_err(refused)?,
    };
    let stem = name_of_file(spec.prefix, spec.path).map_err(|why| (0, FileError { line: 0, why }))?;
    let file: Arc<str> = spec.path.display().to_string().into();
    let mut builder = RosterBuilder::default();
    let name = |entry: &Entry, names: &mut String| match &entry.name {
        Some(name) => names.push_str(name.as_str()),
        None => {
            names.extend([stem.as_str(), "/"]);
            hex::push_lower(&entry.pin.fingerprint.as_bytes()[..DIGITS], names);
        }
    };
    // One that is made up has to be a name as much as one that is written.
    let made_up = listing.entries.iter().find(|entry| entry.name.is_none()).map(|entry| {
        let mut made_up = String::new();
        name(entry, &mut made_up);
        made_up.parse::<PrincipalName>()
    });
    if made_up.is_some_and(|made_up| made_up.is_err())
        || !builder.add_pins((spec.terms, &file), &listing.entries, |entry| (entry.pin, entry.line), name)
    {
        // Somebody is there twice, or cannot be named: one after the other tells who.
        builder.reserve(listing.entries.len());
        for entry in &listing.entries {
            add_entry(&mut builder, spec.terms, &stem, &file, entry, &listing.entries).map_err(refused)?;
        }
    }
    let warnings = listing.warnings.iter().map(|(line, why)| SourceError::new(spec.path, *line, why.clone())).collect();
    let ends = listing.ends.map(|not_after| End { principal: None, not_after });
    Ok((builder.finish(), warnings, ends.into_iter().collect()))
}

fn add_entry(
    builder: &mut RosterBuilder,
    terms: &Arc<Terms>,
    stem: &PrincipalName,
    file: &Arc<str>,
    entry: &Entry,
    all: &[Entry],
) -> Result<(), FileError> {
    let provenance = Provenance { file: Arc::clone(file), line: entry.line };
    let wrong = |why: String| FileError { line: entry.line, why };
    let mut add = |name: &str| {
        let name: PrincipalName = name.parse().map_err(|why| wrong(format!("`{name}` {why}")))?;
        Ok(builder.add_pin(&name, terms, entry.pin, &provenance))
    };
    if let Some(name) = &entry.name {
        return add(name.as_str())?.map_err(|conflict| wrong(conflict_words(&conflict)));
    }
    let digest = entry.pin.fingerprint.as_bytes();
    let digits = |digest: &[u8]| [stem.as_str(), "/", &hex::lower(digest)].concat();
    match add(&digits(&digest[..DIGITS]))? {
        Ok(()) => Ok(()),
        // The same certificate twice is one.
        Err(conflict) if at_line(all, conflict.first.line).is_some_and(|first| first.pin == entry.pin) => Ok(()),
        // Sixteen digits are enough to tell certificates apart, unless somebody made two that share them.
        Err(conflict) if conflict.claim == Claim::Name => add(&digits(digest))?.map_err(|conflict| wrong(conflict_words(&conflict))),
        Err(conflict) => Err(wrong(conflict_words(&conflict))),
    }
}

/// Entries stand in the order of their lines.
fn at_line(entries: &[Entry], line: u32) -> Option<&Entry> {
    entries.binary_search_by_key(&line, |entry| entry.line).ok().and_then(|at| entries.get(at))
}

/// Returns prefix and stem, if they are a name.
pub(super) fn name_of_file(prefix: &str, path: &Path) -> Result<PrincipalName, String> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    format!("{prefix}{stem}")
        .parse()
        .map_err(|why| format!("the file's name makes the principal's, and `{}` {why}", listing::shorten(&stem)))
}

/// Says which two places claim the same, and for whom.
pub fn describe(conflict: &Conflict) -> SourceError {
    SourceError { file: Arc::clone(&conflict.second.file), line: conflict.second.line, why: conflict_words(conflict) }
}

fn conflict_words(conflict: &Conflict) -> String {
    format!("the {} {} belongs to another principal already ({})", conflict.claim, conflict.value, conflict.first)
}

/// So many bytes of a fingerprint make a name.
const DIGITS: usize = 8;
/// As many as a kind has series.
const MOST_ENDS: usize = 100;
