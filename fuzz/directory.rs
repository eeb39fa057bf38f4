//! An allowlist directory, and a list of fingerprints, of which one file turns into the input. Beyond "no
//! panic": the file counts whole or its last good content stays; the others, and their removal, are not held up.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use portcullis::admission::{AllowlistBuilder, Terms};
use portcullis::pki::{Fingerprint, files};
use portcullis::store::source::{ReadError, Reading, Source, Stamp};
use portcullis::store::{Allowlists, ListSpec, Look, Round};

const STEADY: &[u8] = include_bytes!("seeds/certificate/pinned.der");
const BEFORE: &[u8] = include_bytes!("seeds/files/crlf.pem");

fuzz_target!(|bytes: &[u8]| {
    directory(bytes);
    list(bytes);
});

fn directory(bytes: &[u8]) {
    let (steady, before) = (Fingerprint::of(STEADY), read(BEFORE).expect("a seed"));
    let given = read(bytes);
    let mut world = World::new("/allowlist");
    world.write("/allowlist/steady.der", STEADY);
    world.write("/allowlist/other.pem", BEFORE);
    let (first, errors) = world.look();
    assert!(!errors && first == with(&before, steady));

    world.write("/allowlist/other.pem", bytes);
    let (second, errors) = world.look();
    match (&given, errors) {
        (Some(given), false) => assert_eq!(second, with(given, steady), "it counts whole"),
        (_, true) => assert_eq!(second, with(&before, steady), "its last good content stays"),
        (None, false) => panic!("broken, and not a word"),
    }

    world.files.remove(Path::new("/allowlist/steady.der"));
    let (third, _) = world.look();
    let given = given.unwrap_or_default();
    assert!(third.iter().all(|listed| before.contains(listed) || given.contains(listed)), "another file's removal counts");
}

fn list(bytes: &[u8]) {
    let before = Fingerprint::of(STEADY);
    let mut world = World::new("/list.txt");
    world.write("/list.txt", format!("sha256:{before} steady\n").as_bytes());
    assert_eq!(world.look(), (BTreeSet::from([before]), false));
    world.write("/list.txt", bytes);
    let (listed, errors) = world.look();
    if errors {
        assert_eq!(listed, BTreeSet::from([before]), "its last good content stays");
    } else {
        let digits: String = String::from_utf8_lossy(bytes).chars().filter(|character| *character != ':').collect();
        let digits = digits.to_ascii_lowercase();
        assert!(listed.iter().all(|fingerprint| digits.contains(&fingerprint.to_string())), "nobody but who is written there");
    }
}

/// The certificates of a file, if it is one that may be listed.
fn read(bytes: &[u8]) -> Option<BTreeSet<Fingerprint>> {
    let found = files::certificates(bytes, None).ok()?;
    Some(found.iter().map(|found| found.value.fingerprint).collect())
}

fn with(some: &BTreeSet<Fingerprint>, one: Fingerprint) -> BTreeSet<Fingerprint> {
    some.iter().copied().chain([one]).collect()
}

/// Files in memory, and one allowlist of them.
struct World {
    files: BTreeMap<PathBuf, (Vec<u8>, u64)>,
    path: &'static Path,
    allowlists: Allowlists,
    round: u64,
    terms: Arc<Terms>,
}

impl World {
    fn new(path: &'static str) -> Self {
        Self { files: BTreeMap::new(), path: Path::new(path), allowlists: Allowlists::default(), round: 0, terms: Arc::default() }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.into(), (bytes.to_vec(), self.round + 1));
    }

    /// Looks again, and puts in force what was found: who is listed, and whether anything was wrong.
    fn look(&mut self) -> (BTreeSet<Fingerprint>, bool) {
        self.round += 1;
        let source = Files(&self.files);
        let mut round = Round::new(&source, self.round);
        let spec = ListSpec { path: self.path, prefix: "", terms: &self.terms, share: 1.0, min: 0 };
        let Look { roster, errors, .. } = self.allowlists.look(&mut round, spec);
        self.allowlists.accept(self.path, "");
        self.allowlists.end(&round, &[(self.path, "")]);
        let mut builder = AllowlistBuilder::default();
        if let Some(roster) = roster {
            builder.include(roster).expect("one source");
        }
        (builder.finish().fingerprints().copied().collect(), !errors.is_empty())
    }
}

struct Files<'a>(&'a BTreeMap<PathBuf, (Vec<u8>, u64)>);

impl Source for Files<'_> {
    fn stamp(&self, unit: &Path) -> Result<Stamp, ReadError> {
        match self.0.get(unit) {
            Some((bytes, inode)) => Ok(Stamp { device: 1, inode: *inode, size: bytes.len() as u64, modified: (0, 0), changed: (0, 0) }),
            None if unit.extension().is_none() => Err(ReadError::NotAFile("a directory")),
            None => Err(ReadError::Missing),
        }
    }

    fn read(&self, unit: &Path, _: u64) -> Result<Reading, ReadError> {
        let stamp = self.stamp(unit)?;
        let (bytes, _) = self.0.get(unit).ok_or(ReadError::Missing)?;
        Ok(Reading { bytes: bytes.clone(), stamp, young: false, exposed: false })
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
        Ok(self.0.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }
}
