//! The keys that sign tokens: in the state directory, or in memory where there is none. A new key is shown before it signs, and an
//! old one is kept until nothing that it signed can be in time: no token is refused because a key changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::jwt::encode;
use super::settings::LONGEST_TTL;
use crate::pki::Fingerprint;

/// Shared by all rules of a process, whatever they say of tokens.
#[derive(Debug)]
pub(super) struct Keyring {
    /// `None`: nothing is kept.
    directory: Option<PathBuf>,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    /// Oldest first.
    known: Vec<Arc<Key>>,
    loaded: bool,
    /// When the directory was read last for a key that is not here.
    looked: u64,
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
        Self { directory, keys: Mutex::default() }
    }

    /// Returns the directory that the keys are kept in.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Returns the key that signs now; makes the first, and the next when its time has come.
    pub(super) fn signing(&self, now: u64, rotate: u64) -> io::Result<Arc<Key>> {
        let mut keys = self.lock();
        if !keys.loaded {
            self.read(&mut keys)?;
        }
        let newest = keys.known.last();
        if newest.is_none_or(|newest| now >= newest.created.saturating_add(rotate)) {
            // Another process of this directory may have made it already.
            self.read(&mut keys)?;
            if keys.known.last().is_none_or(|newest| now >= newest.created.saturating_add(rotate)) {
                keys.known.push(Arc::new(self.make(now)?));
            }
        }
        self.retire(&mut keys, now);
        let ripe = |key: &&Arc<Key>| key.created.saturating_add(SHOWN_FIRST) <= now;
        let key = keys.known.iter().rfind(ripe).or(keys.known.first());
        key.cloned().ok_or_else(|| io::Error::other("there is no key to sign with"))
    }

    /// Finds the key that signed a token.
    pub(super) fn find(&self, kid: &str, now: u64) -> Option<Arc<Key>> {
        let mut keys = self.lock();
        let known = |keys: &Keys| keys.known.iter().find(|key| key.kid == kid).cloned();
        if let Some(key) = known(&keys) {
            return Some(key);
        }
        self.look(&mut keys, now);
        known(&keys)
    }

    /// Returns every key whose tokens may be in time; makes none.
    pub(super) fn all(&self, now: u64) -> Vec<Arc<Key>> {
        let mut keys = self.lock();
        self.look(&mut keys, now);
        keys.known.clone()
    }

    /// Looks for keys that another process made: once a second, so that whoever invents names costs nothing.
    fn look(&self, keys: &mut Keys, now: u64) {
        if std::mem::replace(&mut keys.looked, now) != now {
            // One that cannot be read verifies nothing; the others do.
            let _ = self.read(keys);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keys> {
        // Whoever panicked while it held them left them whole: they are only added to, and taken from.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the directory. A file that is none of ours is left alone; one that holds no key is an error, lest a new key take its place
    /// and every token of the old one be refused.
    fn read(&self, keys: &mut Keys) -> io::Result<()> {
        let mut wrong = None;
        for path in self.files()? {
            match Key::read(&path) {
                Ok(key) if keys.known.iter().any(|known| known.kid == key.kid) => {}
                Ok(key) => keys.known.push(Arc::new(key)),
                // Retired by another process.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => wrong = Some(about(&path, &error)),
            }
        }
        keys.known.sort_by(|a, b| (a.created, &a.kid).cmp(&(b.created, &b.kid)));
        keys.loaded = wrong.is_none();
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
    fn retire(&self, keys: &mut Keys, now: u64) {
        let begins: Vec<u64> = keys.known.iter().skip(1).map(|next| next.created.saturating_add(SHOWN_FIRST)).collect();
        let over = |signed_until: &u64| signed_until.saturating_add(LONGEST_TTL.as_secs()) < now;
        let gone = begins.iter().take_while(|until| over(until)).count();
        for key in keys.known.drain(..gone) {
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
        let kept: Kept = serde_json::from_slice(&fs::read(path)?).map_err(|_| broken())?;
        let pkcs8 = STANDARD.decode(&kept.pkcs8).map_err(|_| broken())?;
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
