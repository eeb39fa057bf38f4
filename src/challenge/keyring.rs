//! The keys that sign tokens: in the state directory, or in memory where there is none. A new key is shown before it signs, and an
//! old one is kept until nothing that it signed can be in time: no token is refused because a key changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::jwt::encode;
use super::settings::LONGEST_TTL;
use crate::clock;
use crate::pki::Fingerprint;

/// Shared by all rules of a process, whatever they say of tokens.
#[derive(Debug)]
pub(super) struct Keyring {
    /// `None`: nothing is kept.
    directory: Option<PathBuf>,
    /// Oldest first. Never locked while a file is read: whoever shows a token of a known key waits for no disk.
    known: RwLock<Arc<[Arc<Key>]>>,
    disk: Mutex<Disk>,
}

/// What is known of the directory; held while it is read or written.
#[derive(Debug, Default)]
struct Disk {
    /// All of it was good.
    loaded: bool,
    /// In which second it was looked at last for a key that is not known.
    looked: u64,
    /// When it had changed last, as it was read last: `None` where that may have been in the middle of a change.
    changed: Option<(i64, i64)>,
}

/// A key pair of P-256.
#[derive(Debug)]
pub(super) struct Key {
    /// RFC 7638.
    pub(super) kid: String,
    pub(super) created: u64,
    pair: EcdsaKeyPair,
}

/// As it is kept.
#[derive(Deserialize, Serialize)]
struct Kept {
    created: u64,
    /// Base64 of PKCS#8.
    pkcs8: String,
}

impl Keyring {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, known: RwLock::new(Arc::new([])), disk: Mutex::default() }
    }

    /// Returns the directory that the keys are kept in.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Reads the directory.
    pub(super) fn load(&self) -> io::Result<()> {
        self.read(&mut self.disk())
    }

    /// Returns the key that signs now; makes the first, and the next when its time has come.
    pub(super) fn signing(&self, now: u64, rotate: u64) -> io::Result<Arc<Key>> {
        let is_due = |known: &[Arc<Key>]| known.last().is_none_or(|newest| now >= newest.created.saturating_add(rotate));
        let mut disk = self.disk();
        // Another process of this directory may have made it already.
        if !disk.loaded || is_due(&self.known()) {
            self.read(&mut disk)?;
        }
        let mut known = self.known().to_vec();
        if is_due(&known) {
            known.push(Arc::new(self.make(now)?));
        }
        self.retire(&mut known, now);
        let ripe = |key: &&Arc<Key>| key.created.saturating_add(SHOWN_FIRST) <= now;
        let key = known.iter().rfind(ripe).or(known.first()).cloned();
        self.set(known);
        key.ok_or_else(|| io::Error::other("there is no key to sign with"))
    }

    /// Finds the key that signed a token.
    pub(super) fn find(&self, kid: &str, now: u64) -> Option<Arc<Key>> {
        let known = || self.known().iter().find(|key| key.kid == kid).cloned();
        known().or_else(|| {
            self.look(now);
            known()
        })
    }

    /// Returns every key whose tokens may be in time; makes none.
    pub(super) fn all(&self, now: u64) -> Arc<[Arc<Key>]> {
        self.look(now);
        self.known()
    }

    /// Looks for keys that another process made, as one does that takes over from us: whether the directory changed, once a second,
    /// and reads it only then. So whoever invents names of keys costs a question to the file system a second, in all.
    fn look(&self, now: u64) {
        let mut disk = self.disk();
        if std::mem::replace(&mut disk.looked, now) == now || (disk.loaded && self.changed().is_some_and(|at| disk.changed == Some(at))) {
            return;
        }
        // One that cannot be read verifies nothing; the others do.
        let _ = self.read(&mut disk);
    }

    fn known(&self) -> Arc<[Arc<Key>]> {
        // Replaced whole: whoever panicked left the old ones or the new ones.
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, known: Vec<Arc<Key>>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known.into();
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // What it says is checked against the directory again and again.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says when a file came or went last.
    fn changed(&self) -> Option<(i64, i64)> {
        let found = fs::metadata(self.directory.as_deref()?).ok()?;
        Some((found.mtime(), found.mtime_nsec()))
    }

    /// Reads the directory. A file that is none of ours is left alone; one that holds no key is an error, lest a new key take its place
    /// and every token of the old one be refused.
    fn read(&self, disk: &mut Disk) -> io::Result<()> {
        // Asked before: what comes while we read is found the next time. A change just now may not be the last of its tick.
        disk.changed = self.changed().filter(|(at, _)| clock::wall().as_secs().abs_diff(at.unsigned_abs()) > 2);
        disk.loaded = false;
        let (mut known, mut wrong) = (self.known().to_vec(), None);
        for path in self.files()? {
            // A key does not change; and each is complained of once.
            let is_known = |key: &Arc<Key>| path.file_stem().is_some_and(|stem| stem == key.kid.as_str());
            if known.iter().any(is_known) {
                continue;
            }
            match Key::read(&path) {
                Ok(key) if known.iter().any(|known| known.kid == key.kid) => {}
                Ok(key) => known.push(Arc::new(key)),
                // Retired by another process.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => wrong = Some(about(&path, &error)),
            }
        }
        known.sort_by(|a, b| (a.created, &a.kid).cmp(&(b.created, &b.kid)));
        self.set(known);
        disk.loaded = wrong.is_none();
        wrong.map_or(Ok(()), Err)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let Some(directory) = &self.directory else { return Ok(Vec::new()) };
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| about(directory, &error))?,
        };
        let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut paths = paths.map_err(|error| about(directory, &error))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        Ok(paths)
    }

    fn make(&self, now: u64) -> io::Result<Key> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let pkcs8 = pkcs8.map_err(|_| io::Error::other("no new key could be made"))?;
        let key = Key::of(pkcs8.as_ref(), now).ok_or_else(|| io::Error::other("the new key cannot be used"))?;
        if let Some(directory) = &self.directory {
            let kept = Kept { created: now, pkcs8: STANDARD.encode(pkcs8.as_ref()) };
            write(directory, &key.kid, &kept).map_err(|error| about(directory, &error))?;
        }
        Ok(key)
    }

    /// Forgets keys of which no token can be in time.
    fn retire(&self, known: &mut Vec<Arc<Key>>, now: u64) {
        let begins: Vec<u64> = known.iter().skip(1).map(|next| next.created.saturating_add(SHOWN_FIRST)).collect();
        let over = |signed_until: &u64| signed_until.saturating_add(LONGEST_TTL.as_secs()) < now;
        let gone = begins.iter().take_while(|until| over(until)).count();
        for key in known.drain(..gone) {
            if let Some(directory) = &self.directory {
                // One that stays is read again, and does no harm.
                let _ = fs::remove_file(file_of(directory, &key.kid));
            }
        }
    }
}

impl Key {
    fn of(pkcs8: &[u8], created: u64) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
        let [x, y] = coordinates(&pair)?;
        // RFC 7638, 3.2: the required members, in this order, without blanks.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Some(Self { kid: encode(Fingerprint::of(canonical.as_bytes()).as_bytes()), created, pair })
    }

    fn read(path: &Path) -> io::Result<Self> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "is no signing key of tokens");
        let file = File::open(path)?;
        if file.metadata()?.mode() & 0o077 != 0 {
            tracing::warn!(file = %path.display(), "this key signs tokens, and is readable for more than its owner: chmod 600");
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(MOST_FILE).read_to_end(&mut text)?;
        let kept: Kept = serde_json::from_slice(&text).map_err(|_| broken())?;
        let pkcs8 = Zeroizing::new(STANDARD.decode(Zeroizing::new(kept.pkcs8).as_bytes()).map_err(|_| broken())?);
        Self::of(&pkcs8, kept.created).ok_or_else(broken)
    }

    /// Signs; ES256 (RFC 7518, 3.4).
    pub(super) fn sign(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| io::Error::other("the key signs nothing"))?;
        Ok(signature.as_ref().to_vec())
    }

    /// Checks a signature. The algorithm is the key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref()).verify(message, signature).is_ok()
    }

    /// Returns the public key as a JWK (RFC 7517, RFC 7518, 6.2).
    pub(super) fn jwk(&self) -> serde_json::Value {
        // INVARIANT: `of` took the same apart.
        let [x, y] = coordinates(&self.pair).unwrap_or_default();
        serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": self.kid, "use": "sig", "alg": super::jwt::ALG})
    }
}

/// Returns the coordinates of a public key, in base64url.
fn coordinates(pair: &EcdsaKeyPair) -> Option<[String; 2]> {
    // SEC 1, 2.3.3: an uncompressed point.
    let (4, point) = pair.public_key().as_ref().split_first()? else { return None };
    let (x, y) = point.split_at_checked(32)?;
    (y.len() == 32).then(|| [encode(x), encode(y)])
}

/// Writes a key whole, for our eyes only, before anything is signed with it.
fn write(directory: &Path, kid: &str, kept: &Kept) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let draft = directory.join(format!("{kid}.draft"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = serde_json::to_vec(kept).map_err(io::Error::from).and_then(|text| file.write_all(&text)).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&draft, file_of(directory, kid))) {
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

/// INVARIANT: `kid` was computed here, of a key; never one that a token names.
fn file_of(directory: &Path, kid: &str) -> PathBuf {
    directory.join(format!("{kid}.json"))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Seconds that a new key is shown before it signs: others who check our tokens fetch our keys now and then.
const SHOWN_FIRST: u64 = 300;
/// Bytes of a file: a key has less than 300.
const MOST_FILE: u64 = 4 << 10;
