//! What takes certificates off, and how it may shrink: only on purpose. A file that is missing, empty or broken takes nothing
//! back; ids that vanish stay until their file was replaced by rename, or stood unchanged for five seconds; a CRL that
//! vanishes or goes back in time stays until a newer one of its issuer is there. What is in force is kept in the state
//! directory too, and holds at a cold start.

mod held;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allowlist::has_ending;
use super::cache::{Cache, Round, SourceError};
use super::fetched::is_url;
use super::persisted::{self, State};
use super::revocation_files::{crls, ids};
use super::source::{ReadError, Stamp};
use crate::admission::{PrincipalName, Provenance, RevokedId, RevokedIds};
use crate::pki::{Certificate, Crl, Fingerprint};
pub(super) use held::{Entry, HeldCrl};
use held::{Held, Said};

/// What the configuration itself says of revocation.
#[derive(Clone, Debug, Default)]
pub struct Revoked {
    /// The configuration file.
    pub file: PathBuf,
    pub hash: Option<Fingerprint>,
    pub replaced: Replaced,
    pub ids: Vec<IdEntry>,
    /// Files of ids.
    pub files: Vec<PathBuf>,
    /// Files of CRLs, directories of them, or URLs.
    pub crls: Vec<PathBuf>,
}

/// A revoked id, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdEntry {
    pub id: RevokedId,
    pub line: u32,
    /// Whose id it is; `None`: it holds everywhere.
    pub principal: Option<PrincipalName>,
}

/// Which file stood there, as far as a replacement can be told from a change in place: device and inode.
pub type Replaced = Option<(u64, u64)>;

/// Everything that restricts, as it is in force.
#[derive(Clone, Debug, Default)]
pub struct Restrictions {
    id_files: Cache<Vec<(RevokedId, u32)>>,
    crl_files: Cache<Vec<(Arc<Crl>, u32)>>,
    /// By file.
    held: BTreeMap<PathBuf, Held>,
    crls: Vec<HeldCrl>,
    /// The CAs that signed CRLs in force, those of the ledger too: they may be configured no more.
    signers: Vec<Arc<Certificate>>,
    /// URLs that nothing has come from since the start: what is in force of them is what was kept.
    awaited: Vec<PathBuf>,
    saved: Option<Fingerprint>,
    looked: bool,
}

/// What a look at everything that restricts found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Of the configuration itself.
    pub ids: Vec<(IdEntry, Provenance)>,
    /// Of each file of ids.
    pub files: Vec<RevokedIds>,
    pub crls: Vec<(Arc<Crl>, Provenance)>,
    /// The CAs that were known to have signed CRLs in force.
    pub signers: Vec<Arc<Certificate>>,
    pub errors: Vec<SourceError>,
    /// Sources of which nothing is known, now or from before: a start without them would lose a restriction.
    pub unknown: Vec<SourceError>,
    /// URLs of which nothing is known: fetched later, maybe, and nobody can wait for that.
    pub unfetched: Vec<SourceError>,
    /// When to look again although nothing may have changed.
    pub again: Option<Instant>,
    /// Each source, with the time its content was last read and found good.
    pub sources: Vec<(PathBuf, Option<Duration>)>,
    /// Changes when what restricts does.
    pub hash: Option<Fingerprint>,
}

impl Restrictions {
    /// Takes up what was in force when it was last saved.
    pub fn restore(directory: &Path) -> Result<Self, SourceError> {
        let state = persisted::load(directory)?;
        let held = state
            .held
            .into_iter()
            .map(|(file, entries, replaced)| (file, Held { entries: Arc::new(entries), replaced, ..Held::default() }));
        Ok(Self { held: held.collect(), crls: state.crls, signers: state.signers, ..Self::default() })
    }

    /// Saves what is in force, if it changed.
    pub fn save(&mut self, directory: &Path) -> Result<(), SourceError> {
        // What it would say, told apart without saying it: a million ids are some 100 MB.
        let told = self.saved_identity();
        if self.saved != Some(told) {
            let held = self.held.iter().map(|(file, held)| (file.clone(), held.entries.to_vec(), held.replaced)).collect();
            let state = State { held, crls: self.crls.clone(), signers: self.signers.clone() };
            persisted::store(directory, &persisted::to_bytes(&state))?;
            self.saved = Some(told);
        }
        Ok(())
    }

    /// Looks at everything again.
    pub fn look(&mut self, round: &mut Round<'_>, revoked: &Revoked, now: Instant) -> Found {
        let mut found = Found { signers: self.signers.clone(), ..Found::default() };
        // Whoever starts with a configuration means what it says; what its files say is another matter.
        if !std::mem::replace(&mut self.looked, true) {
            self.held.remove(&revoked.file);
        }
        let mut own: Vec<Entry> = revoked.ids.iter().cloned().map(Entry::Id).collect();
        own.extend(revoked.files.iter().cloned().map(Entry::File));
        own.extend(revoked.crls.iter().cloned().map(Entry::Crls));
        let own = match revoked.hash {
            Some(hash) => self.hold(round, &revoked.file, || own, hash, revoked.replaced, now, &mut found),
            None => Arc::new(own),
        };
        found.ids(&revoked.file, &own);
        for entry in own.iter() {
            if let Entry::File(path) = entry {
                self.look_at_file(round, path, now, &mut found);
            }
        }
        let entries: Vec<&Path> =
            own.iter().filter_map(|entry| if let Entry::Crls(path) = entry { Some(path.as_path()) } else { None }).collect();
        self.look_at_crls(round, &entries, &mut found);
        let named = |path: &PathBuf| *path == revoked.file || own.iter().any(|entry| matches!(entry, Entry::File(file) if file == path));
        self.held.retain(|path, _| named(path));
        self.id_files.end(round);
        self.crl_files.end(round);
        found.hash = Some(self.identity());
        found
    }

    /// Learns which kept CRLs a newer one of their issuer has taken the place of: those are done with. Says of the others that they
    /// stay. `superseded`: those that the judge of CRLs, who checked signatures, named: by content, since two of
    /// before may have come from one place.
    pub fn settle(&mut self, superseded: &[Fingerprint]) -> Vec<SourceError> {
        self.crls.retain(|held| !(held.kept && superseded.contains(&Fingerprint::of(&held.crl.der))));
        // What was kept of a URL is as good as anything until something else comes from there; whether it does was said.
        let kept = self.crls.iter().filter(|held| held.kept && !self.awaited.contains(&held.entry));
        kept.map(|held| {
            let why = format!(
                "the CRL of {} is not there any more, or went back in number or time: the one of before stays in force",
                held.crl.issuer.rfc2253()
            );
            SourceError::new(&held.file, 0, why)
        })
        .collect()
    }

    /// Learns who signed the CRLs that count.
    pub fn signed_by(&mut self, signers: Vec<Arc<Certificate>>) {
        self.signers = signers;
    }

    /// Tells whether a CRL of this file, directory or URL is in force.
    pub fn knows_crls_of(&self, entry: &Path) -> bool {
        self.crls.iter().any(|held| held.entry == entry)
    }

    fn look_at_file(&mut self, round: &mut Round<'_>, path: &Path, now: Instant, found: &mut Found) {
        let (good, error) = self.id_files.get(round, &[path], "", MAX_IDS, |readings| ids(&readings[0].bytes).map_err(|error| (0, error)));
        if matches!(round.source.stamp(path), Err(ReadError::Missing))
            && let Some(held) = self.held.get_mut(path)
        {
            held.gone = true;
        }
        let last_good = good.as_ref().map(|good| good.read);
        if let Some(good) = good {
            let stamp = good.stamps.first().map(|stamp| (stamp.device, stamp.inode));
            let entry = |(id, line): &(RevokedId, u32)| Entry::Id(IdEntry { id: id.clone(), line: *line, principal: None });
            self.hold(round, path, || good.value.iter().map(entry).collect(), good.hash, stamp, now, found);
        }
        if let Some(error) = error {
            let known = self.held.contains_key(path);
            if known { found.errors.push(error) } else { found.unknown.push(error) }
        }
        if let Some(held) = self.held.get_mut(path) {
            found.files.push(held.compiled(path));
        }
        found.sources.push((path.to_owned(), last_good));
    }

    /// Puts what a file says in force; of what it says no longer, only what is meant to go goes.
    #[expect(clippy::too_many_arguments, reason = "what a file says, as it was read, and the look that read it")]
    fn hold(
        &mut self,
        round: &Round<'_>,
        file: &Path,
        new: impl FnOnce() -> Vec<Entry>,
        hash: Fingerprint,
        replaced: Replaced,
        now: Instant,
        found: &mut Found,
    ) -> Arc<Vec<Entry>> {
        let held = self.held.entry(file.to_owned()).or_default();
        held.gone |= file.file_name().is_some_and(|name| round.removed.contains(name));
        if held.accepted == Some(hash) {
            (held.replaced, held.gone, held.pending) = (replaced, false, None);
            return Arc::clone(&held.entries);
        }
        let new = new();
        let said: HashSet<Said<'_>> = new.iter().map(Entry::said).collect();
        let lost: Vec<Entry> = held.entries.iter().filter(|old| !said.contains(&old.said())).cloned().collect();
        let renamed = replaced.is_some() && held.replaced.is_some() && replaced != held.replaced && !held.gone;
        let wait = match (renamed, round.renamed) {
            (true, true) => Duration::ZERO,
            (true, false) => STILL,
            (false, _) => UNCHANGED,
        };
        let since = match held.pending {
            Some((pending, since)) if pending == hash => since,
            Some(_) | None => now,
        };
        if lost.is_empty() || now.duration_since(since) >= wait {
            let changes = held.changes + 1;
            let entries = Arc::new(new);
            *held = Held { entries, compiled: None, replaced, gone: false, pending: None, accepted: Some(hash), changes };
            return Arc::clone(&held.entries);
        }
        held.pending = Some((hash, since));
        found.again = found.again.into_iter().chain([since + wait]).min();
        if !renamed {
            let why = format!(
                "{} no longer revoked here; still in force until the file stood unchanged for 5 s, or is replaced by rename",
                count(lost.len())
            );
            found.errors.push(SourceError::new(file, 0, why));
        }
        let entries: Vec<Entry> = new.into_iter().chain(lost).collect();
        if entries != *held.entries {
            held.changes += 1;
            held.entries = Arc::new(entries);
            held.compiled = None;
        }
        held.accepted = None;
        Arc::clone(&held.entries)
    }

    fn look_at_crls(&mut self, round: &mut Round<'_>, entries: &[&Path], found: &mut Found) {
        let mut current: Vec<HeldCrl> = Vec::new();
        self.awaited.clear();
        for entry in entries {
            let (paths, error) = match crl_paths(round, entry) {
                Ok(paths) => (paths, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let mut errors: Vec<SourceError> = error.into_iter().collect();
            let mut last_good = None;
            for path in paths {
                let (good, error) =
                    self.crl_files.get(round, &[&path], "", MAX_CRL, |readings| crls(&readings[0].bytes).map_err(|error| (0, error)));
                errors.extend(error);
                let Some(good) = good else { continue };
                // Of what is fetched the stamp tells the age: it lies here meanwhile, and no look makes it newer.
                let read = good.stamps.first().filter(|_| is_url(entry)).map_or(good.read, Stamp::modified);
                last_good = last_good.max(Some(read));
                current.extend(good.value.iter().map(|(crl, line)| HeldCrl {
                    crl: Arc::clone(crl),
                    file: path.clone(),
                    line: *line,
                    entry: entry.to_path_buf(),
                    kept: false,
                }));
            }
            let known = self.crls.iter().chain(&current).any(|held| held.entry == **entry);
            if errors.is_empty() && !known {
                errors.push(SourceError::new(entry, 0, "holds no CRL"));
            }
            if is_url(entry) && last_good.is_none() {
                self.awaited.push(entry.to_path_buf());
            }
            match (known, is_url(entry)) {
                // The first fetch of this start is under way, and what was kept holds until then.
                (true, true) if matches!(round.source.stamp(entry), Err(ReadError::NotYetFetched)) => {}
                (true, _) => found.errors.extend(errors),
                (false, true) => found.unfetched.extend(errors),
                (false, false) => found.unknown.extend(errors),
            }
            found.sources.push((entry.to_path_buf(), last_good));
        }
        let gone = self
            .crls
            .drain(..)
            .filter(|old| entries.contains(&old.entry.as_path()) && !current.iter().any(|new| new.crl.der == old.crl.der));
        let kept: Vec<HeldCrl> = gone.map(|held| HeldCrl { kept: true, ..held }).collect();
        self.crls = current.into_iter().chain(kept).collect();
        found.crls = self.crls.iter().map(|held| (Arc::clone(&held.crl), held.provenance())).collect();
    }

    /// Tells one saved state from another: what is in force, and which file it was read from.
    fn saved_identity(&self) -> Fingerprint {
        let mut bytes = self.identity().as_bytes().to_vec();
        for held in self.held.values() {
            bytes.extend_from_slice(format!("{:?}", held.replaced).as_bytes());
        }
        for held in &self.crls {
            bytes.extend_from_slice(format!("{}:{}:{}", held.file.display(), held.line, held.kept).as_bytes());
        }
        self.signers.iter().for_each(|signer| bytes.extend_from_slice(signer.fingerprint.as_bytes()));
        Fingerprint::of(&bytes)
    }

    fn identity(&self) -> Fingerprint {
        let mut bytes = Vec::new();
        for (file, held) in &self.held {
            bytes.extend_from_slice(file.as_os_str().as_encoded_bytes());
            match &held.accepted {
                Some(hash) => bytes.extend_from_slice(hash.as_bytes()),
                None => bytes.extend_from_slice(&held.changes.to_be_bytes()),
            }
        }
        for held in &self.crls {
            bytes.extend_from_slice(Fingerprint::of(&held.crl.der).as_bytes());
        }
        Fingerprint::of(&bytes)
    }
}

impl Found {
    fn ids(&mut self, file: &Path, entries: &[Entry]) {
        let name: Arc<str> = file.display().to_string().into();
        for entry in entries {
            if let Entry::Id(entry) = entry {
                self.ids.push((entry.clone(), Provenance { file: Arc::clone(&name), line: entry.line }));
            }
        }
    }
}

/// The files behind a configured path: itself, or those of the directory.
fn crl_paths(round: &Round<'_>, entry: &Path) -> Result<Vec<PathBuf>, SourceError> {
    match round.source.stamp(entry) {
        Err(ReadError::NotAFile("a directory")) => {
            let paths = round.source.list(entry).map_err(|error| SourceError::new(entry, 0, error.to_string()))?;
            Ok(paths.into_iter().filter(|path| has_ending(path, CRL_ENDINGS)).collect())
        }
        // What is wrong with a file is said when it is read.
        Ok(_) | Err(_) => Ok(vec![entry.to_owned()]),
    }
}

fn count(lost: usize) -> String {
    if lost == 1 { "one id or file is".to_owned() } else { format!("{lost} ids or files are") }
}

const CRL_ENDINGS: &[&str] = &["crl", "pem", "der"];
/// How long content that takes something back stands before it counts.
const UNCHANGED: Duration = Duration::from_secs(5);
/// The same where another file stands there, and nobody saw how it came: one made in place would still be growing.
const STILL: Duration = Duration::from_millis(50);
const MAX_IDS: u64 = 64 << 20;
pub(super) const MAX_CRL: u64 = 64 << 20;
