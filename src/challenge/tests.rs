//! Challenges and their answers; signatures by OpenSSL, the other implementation, both ways.

use std::path::PathBuf;
use std::process::Command;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::pki::{Certificate, PrivateKey, files};

/// A key and its certificate.
pub(super) struct Key {
    pub(super) leaf: Certificate,
    pair: KeyPair,
}

impl Key {
    pub(super) fn new(name: &str) -> Self {
        Self::of(name, KeyPair::generate().unwrap())
    }

    pub(super) fn of(name: &str, pair: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let der: CertificateDer<'static> = params.self_signed(&pair).unwrap().der().clone();
        Self { leaf: Certificate::parse(der).unwrap(), pair }
    }

    pub(super) fn pem(&self) -> String {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &self.leaf.der);
        let lines: String = text.as_bytes().chunks(64).map(|line| format!("{}\n", str::from_utf8(line).unwrap())).collect();
        format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
    }

    pub(super) fn key_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    fn key(&self) -> PrivateKey {
        files::private_key(self.key_pem().as_bytes(), None).unwrap()
    }

    fn claim<'a>(&'a self, origin: &'a str, access_id: &'a str) -> Claim<'a> {
        Claim { origin, access_id, leaf: &self.leaf }
    }
}

/// A directory with a key and a message in files, and OpenSSL.
struct OpenSsl {
    directory: TempDir,
}

impl OpenSsl {
    fn new(key: &Key, message: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key.pem"), key.key_pem()).unwrap();
        std::fs::write(directory.path().join("message"), message).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> bool {
        Command::new("openssl").args(arguments).current_dir(&self.directory).output().unwrap().status.success()
    }

    fn sign(&self, arguments: &[&str]) -> Vec<u8> {
        let signed = self.run(&[&["dgst", "-sign", "key.pem", "-out", "signature"], arguments, &["message"]].concat());
        assert!(signed, "openssl dgst {arguments:?}");
        std::fs::read(self.path("signature")).unwrap()
    }

    fn sign_raw(&self) -> Vec<u8> {
        assert!(self.run(&["pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "message", "-out", "signature"]));
        std::fs::read(self.path("signature")).unwrap()
    }

    fn verifies(&self, signature: &[u8], is_raw: bool) -> bool {
        std::fs::write(self.path("theirs"), signature).unwrap();
        match is_raw {
            true => self.run(&["pkeyutl", "-verify", "-rawin", "-inkey", "key.pem", "-in", "message", "-sigfile", "theirs"]),
            false => self.run(&["dgst", "-sha256", "-prverify", "key.pem", "-signature", "theirs", "message"]),
        }
    }
}

/// DER of an ECDSA signature as two numbers of a width.
fn fixed(der: &[u8], width: usize) -> Vec<u8> {
    let (mut rest, mut out) = (&der[if der[1] == 0x81 { 3 } else { 2 }..], Vec::new());
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(rest[1].into());
        let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        out.extend(std::iter::repeat_n(0, width - number.len()).chain(number.iter().copied()));
        rest = after;
    }
    out
}

fn kinds() -> Vec<(&'static str, KeyPair, usize)> {
    let new = |algorithm: &'static SignatureAlgorithm| KeyPair::generate_for(algorithm).unwrap();
    vec![
        ("P-256", new(&PKCS_ECDSA_P256_SHA256), 32),
        ("P-384", new(&rcgen::PKCS_ECDSA_P384_SHA384), 48),
        ("P-521", new(&rcgen::PKCS_ECDSA_P521_SHA512), 66),
        ("RSA", new(&rcgen::PKCS_RSA_SHA256), 0),
        // Not rcgen's: OpenSSL 3.0 reads no PKCS #8 of version 2.
        ("Ed25519", KeyPair::from_pem(&genpkey("ed25519")).unwrap(), 0),
    ]
}

fn genpkey(algorithm: &str) -> String {
    let output = Command::new("openssl").args(["genpkey", "-algorithm", algorithm]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

impl Challenges {
    fn took(&self, claim: &Claim<'_>, challenge: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        self.take(claim, challenge, signature).map(drop)
    }

    fn took_key(&self, claim: &Claim<'_>, key: &PrivateKey) -> Result<(), Refusal> {
        self.take_key(claim, key).map(drop)
    }
}

const ORIGIN: &str = "https://gate.test:8443";
const ID: &str = "p-aaaaaaaaaaaa";

#[test]
fn every_kind_of_key_signs_as_openssl_does_and_is_believed() {
    for (name, pair, width) in kinds() {
        let key = Key::of(name, pair);
        let challenges = Challenges::new(&Clock::default()).unwrap();
        let claim = key.claim(ORIGIN, ID);
        let challenge = challenges.issue(&claim).unwrap();
        let (openssl, is_raw) = (OpenSsl::new(&key, &challenge), name == "Ed25519");
        let ours = signing::sign(&key.key(), &challenge).unwrap();
        assert!(openssl.verifies(&ours, is_raw), "{name}: OpenSSL does not believe us");
        let theirs = if is_raw { openssl.sign_raw() } else { openssl.sign(&["-sha256"]) };
        assert!(signature::verifies(&key.leaf, &challenge, &theirs), "{name}");
        assert_eq!(challenges.took(&claim, &challenge, &theirs), Ok(()), "{name}");
        if width > 0 {
            let theirs = openssl.sign(&["-sha256"]);
            assert!(signature::verifies(&key.leaf, &challenge, &fixed(&theirs, width)), "{name}: r and s of a fixed width");
            assert!(!signature::verifies(&key.leaf, &challenge, &fixed(&theirs, width)[1..]), "{name}");
        }
        assert_eq!(challenges.took_key(&claim, &key.key()), Ok(()), "{name}: the key itself");
        assert_eq!(challenges.took_key(&claim, &Key::new("another").key()), Err(Refusal::Signature), "{name}: another key");
    }
}

#[test]
fn other_signatures_prove_nothing() {
    for (name, pair, width) in kinds() {
        let key = Key::of(name, pair);
        let challenges = Challenges::new(&Clock::default()).unwrap();
        let claim = key.claim(ORIGIN, ID);
        let challenge = challenges.issue(&claim).unwrap();
        let openssl = OpenSsl::new(&key, &challenge);
        let good = signing::sign(&key.key(), &challenge).unwrap();
        let mut wrong: Vec<(&str, Vec<u8>)> = vec![
            ("nothing", Vec::new()),
            ("zeros", vec![0; good.len()]),
            ("a byte more", [&good[..], &[0]].concat()),
            ("a byte less", good[..good.len() - 1].to_vec()),
            ("another message's", signing::sign(&key.key(), &challenge[1..]).unwrap()),
            ("its digest's, hashed again", signing::sign(&key.key(), crate::pki::Fingerprint::of(&challenge).as_bytes()).unwrap()),
        ];
        for (other, pair, _) in kinds() {
            wrong.push((other, signing::sign(&Key::of(other, pair).key(), &challenge).unwrap()));
        }
        if name == "RSA" {
            let pss = ["-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"];
            wrong.push(("PSS", openssl.sign(&pss)));
        }
        if name != "Ed25519" {
            wrong.push(("SHA-512", openssl.sign(&["-sha512"])));
            wrong.push(("SHA-384", openssl.sign(&["-sha384"])));
            wrong.push(("SHA-1", openssl.sign(&["-sha1"])));
        }
        if width > 0 {
            wrong.push(("r and s of another width", fixed(&good, width + 1)));
            wrong.push(("zeros of the width", vec![0; 2 * width]));
        }
        for (what, signature) in wrong {
            assert_eq!(challenges.took(&claim, &challenge, &signature), Err(Refusal::Signature), "{name}: {what}");
        }
        assert_eq!(challenges.took(&claim, &challenge, &good), Ok(()), "{name}: what is wrong uses nothing up");
        assert_eq!(challenges.took(&claim, &challenge, &good), Err(Refusal::Used), "{name}");
    }
}

#[test]
fn a_challenge_is_bound_to_whom_it_was_made_for() {
    let (key, other) = (Key::new("client"), Key::new("other"));
    let challenges = Challenges::new(&Clock::default()).unwrap();
    let claim = key.claim(ORIGIN, ID);
    let challenge = challenges.issue(&claim).unwrap();
    let sign = |key: &Key, challenge: &[u8]| signing::sign(&key.key(), challenge).unwrap();
    let signature = sign(&key, &challenge);
    for (name, claim, signature) in [
        ("another origin", key.claim("https://evil.test:8443", ID), signature.clone()),
        ("another port", key.claim("https://gate.test", ID), signature.clone()),
        ("another id", key.claim(ORIGIN, "p-aaaaaaaaaaab"), signature.clone()),
        ("no id", key.claim(ORIGIN, ""), signature.clone()),
        ("another certificate, and its own key", other.claim(ORIGIN, ID), sign(&other, &challenge)),
    ] {
        assert_eq!(challenges.took(&claim, &challenge, &signature), Err(Refusal::Foreign), "{name}");
    }
    // A certificate that the pinned key signed is another one, whatever its names.
    let child = {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "client");
        let issuer = rcgen::Issuer::new(CertificateParams::default(), KeyPair::from_pem(&key.key_pem()).unwrap());
        let pair = KeyPair::generate().unwrap();
        let leaf = Certificate::parse(params.signed_by(&pair, &issuer).unwrap().der().clone()).unwrap();
        Key { leaf, pair }
    };
    assert_eq!(challenges.took(&claim, &challenge, &sign(&child, &challenge)), Err(Refusal::Signature), "the key of a child");
    for at in 0..challenge.len() {
        let mut changed = challenge.clone();
        changed[at] ^= 1;
        let signature = sign(&key, &changed);
        assert_eq!(challenges.took(&claim, &changed, &signature), Err(Refusal::Foreign), "byte {at} changed, and signed");
    }
    let theirs = Challenges::new(&Clock::default()).unwrap();
    assert_eq!(theirs.took(&claim, &challenge, &signature), Err(Refusal::Foreign), "another process");
    assert_eq!(challenges.took(&claim, b"", b""), Err(Refusal::Foreign));
    assert_eq!(challenges.took(&claim, &challenge, &signature), Ok(()));
}

#[test]
fn a_challenge_counts_for_sixty_seconds_and_once() {
    let clock = Clock::fixed(1_800_000_000);
    let challenges = Challenges::new(&clock).unwrap();
    let key = Key::new("client");
    let claim = key.claim(ORIGIN, ID);
    let answer = || {
        let challenge = challenges.issue(&claim).unwrap();
        let signature = signing::sign(&key.key(), &challenge).unwrap();
        (challenge, signature)
    };
    let (first, late) = (answer(), answer());
    clock.set(1_800_000_059);
    assert_eq!(challenges.took(&claim, &first.0, &first.1), Ok(()));
    assert_eq!(challenges.took(&claim, &first.0, &first.1), Err(Refusal::Used));
    clock.set(1_800_000_060);
    assert_eq!(challenges.took(&claim, &late.0, &late.1), Err(Refusal::Expired));
    assert_eq!(challenges.took(&claim, &first.0, &first.1), Err(Refusal::Expired), "forgotten, and over");
    assert_eq!(challenges.took(&claim, &late.0, b"no signature"), Err(Refusal::Expired), "what is wrong first is told");
}

#[test]
fn when_as_many_as_are_remembered_were_used_nobody_gets_in_until_some_expire() {
    let clock = Clock::fixed(1_800_000_000);
    let challenges = Challenges::bounded(&clock, 3).unwrap();
    let key = Key::new("client");
    let claim = key.claim(ORIGIN, ID);
    let take = || {
        let challenge = challenges.issue(&claim).unwrap();
        challenges.took(&claim, &challenge, &signing::sign(&key.key(), &challenge).unwrap())
    };
    assert_eq!([take(), take(), take(), take()], [Ok(()), Ok(()), Ok(()), Err(Refusal::Full)]);
    clock.set(1_800_000_059);
    assert_eq!(take(), Err(Refusal::Full));
    clock.set(1_800_000_060);
    assert_eq!(take(), Ok(()));
    assert_eq!(challenges.remembered(), 1, "what has expired is forgotten");
}

#[test]
fn asking_for_challenges_keeps_nothing() {
    let challenges = Challenges::new(&Clock::default()).unwrap();
    let key = Key::new("client");
    for _ in 0..10_000 {
        challenges.issue(&key.claim(ORIGIN, ID)).unwrap();
    }
    assert_eq!(challenges.remembered(), 0);
}
