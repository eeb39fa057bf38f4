//! Private keys in OpenSSH's own form (PROTOCOL.key of its sources), rewritten as PKCS#8, SEC1 or PKCS#1; also behind a passphrase, as
//! `ssh-keygen` encrypts them: bcrypt's derivation and AES.

use aws_lc_rs::cipher::{AES_128, AES_256, Algorithm, DecryptingKey, DecryptionContext, OperatingMode, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::der::{self, tag};
use super::private_key::{NO_PASSWORD, PrivateKey, WRONG_PASSWORD};

/// Reads the content of an `OPENSSH PRIVATE KEY` block.
pub(super) fn read(bytes: &[u8], password: Option<&str>) -> Result<PrivateKey, &'static str> {
    let mut fields = Fields(bytes.strip_prefix(MAGIC).ok_or(MALFORMED)?);
    let (cipher, derivation, options) = (fields.string()?, fields.string()?, fields.string()?);
    if fields.number()? != 1 {
        return Err("several private keys in OpenSSH's form; leave one");
    }
    let (_public, section) = (fields.string()?, fields.string()?);
    // Behind it an authenticated cipher has its tag: we read none of those.
    if !fields.0.is_empty() {
        return Err(if cipher == b"none" { MALFORMED } else { UNSUPPORTED });
    }
    let mut section = Zeroizing::new(section.to_vec());
    let damaged = match cipher {
        b"none" => MALFORMED,
        cipher => {
            decrypt(&mut section, (cipher, derivation, options), password)?;
            WRONG_PASSWORD
        }
    };
    let mut key = Fields(&section);
    // Both are the same random number: where they differ, a wrong key decrypted them. Without a cipher, the file is damaged.
    if key.number()? != key.number()? {
        return Err(damaged);
    }
    let der: PrivateKeyDer<'static> = match key.string()? {
        b"ssh-ed25519" => PrivatePkcs8KeyDer::from(ed25519(&mut key)?).into(),
        b"ssh-rsa" => PrivatePkcs1KeyDer::from(rsa(&mut key)?).into(),
        kind if kind.starts_with(b"ecdsa-sha2-") => PrivateSec1KeyDer::from(ecdsa(&mut key)?).into(),
        kind if kind.starts_with(b"sk-") => return Err("the private key is on a security token; this file only names it"),
        _ => return Err("a kind of private key that TLS has no use for"),
    };
    Ok(PrivateKey::new(der))
}

/// Decrypts the section of the private key where it stands.
fn decrypt(section: &mut [u8], encryption: (&[u8], &[u8], &[u8]), password: Option<&str>) -> Result<(), &'static str> {
    let (cipher, derivation, options) = encryption;
    let (_, algorithm, length, mode) =
        CIPHERS.iter().find(|(name, ..)| name.as_bytes() == cipher && derivation == b"bcrypt").ok_or(UNSUPPORTED)?;
    let mut options = Fields(options);
    let (salt, rounds) = (options.string()?, options.number()?);
    if salt.is_empty() || section.is_empty() || !section.len().is_multiple_of(BLOCK) {
        return Err(MALFORMED);
    }
    if !(1..=MAX_ROUNDS).contains(&rounds) {
        return Err(UNSUPPORTED);
    }
    let password = password.filter(|password| !password.is_empty()).ok_or(NO_PASSWORD)?;
    let mut derived = Zeroizing::new(vec![0; length + BLOCK]);
    bcrypt_pbkdf::bcrypt_pbkdf(password.as_bytes(), salt, rounds, &mut derived).map_err(|_| UNSUPPORTED)?;
    let (key, iv) = derived.split_at(*length);
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| UNSUPPORTED)?;
    let iv = DecryptionContext::Iv128(FixedLength::try_from(iv).map_err(|_| UNSUPPORTED)?);
    let key = match mode {
        OperatingMode::CTR => DecryptingKey::ctr(key),
        _ => DecryptingKey::cbc(key),
    };
    key.and_then(|key| key.decrypt(section, iv).map(drop)).map_err(|_| UNSUPPORTED)
}

/// RFC 8410, 7.
fn ed25519(key: &mut Fields<'_>) -> Result<Vec<u8>, &'static str> {
    let (public, both) = (key.string()?, key.string()?);
    let seed = both.strip_suffix(public).filter(|seed| seed.len() == 32).ok_or(MALFORMED)?;
    let seed = Zeroizing::new(der::encode(tag::OCTET_STRING, seed));
    let parts = Zeroizing::new([&[2, 1, 0], ED25519_ALGORITHM, &Zeroizing::new(der::encode(tag::OCTET_STRING, &seed))].concat());
    Ok(der::encode(tag::SEQUENCE, &parts))
}

/// RFC 5915, 3.
fn ecdsa(key: &mut Fields<'_>) -> Result<Vec<u8>, &'static str> {
    let (curve, point, scalar) = (key.string()?, key.string()?, key.magnitude()?);
    let (_, oid, size) =
        CURVES.iter().find(|(name, _, _)| name.as_bytes() == curve).ok_or("a private key on a curve that TLS has no use for")?;
    let mut padded = Zeroizing::new(vec![0; size.checked_sub(scalar.len()).ok_or(MALFORMED)?]);
    padded.reserve_exact(scalar.len());
    padded.extend_from_slice(scalar);
    let scalar = Zeroizing::new(der::encode(tag::OCTET_STRING, &padded));
    let curve = der::encode(PARAMETERS, &der::encode(tag::OID, oid));
    let point = der::encode(PUBLIC_KEY, &der::encode(tag::BIT_STRING, &[&[0], point].concat()));
    let parts = Zeroizing::new([&[2, 1, 1], &scalar[..], &curve, &point].concat());
    Ok(der::encode(tag::SEQUENCE, &parts))
}

/// RFC 8017, A.1.2: OpenSSH leaves out what can be computed.
fn rsa(key: &mut Fields<'_>) -> Result<Vec<u8>, &'static str> {
    let (n, e, d) = (key.magnitude()?, key.magnitude()?, key.magnitude()?);
    let (coefficient, p, q) = (key.magnitude()?, key.magnitude()?, key.magnitude()?);
    let (by_p, by_q) = (remainder_below(d, p).ok_or(MALFORMED)?, remainder_below(d, q).ok_or(MALFORMED)?);
    let mut parts = Zeroizing::new(Vec::with_capacity(9 * n.len()));
    for number in [&[], n, e, d, p, q, &by_p, &by_q, coefficient] {
        parts.extend_from_slice(&Zeroizing::new(der::encode_integer(number)));
    }
    Ok(der::encode(tag::SEQUENCE, &parts))
}

/// Returns `a mod (prime - 1)`, bit by bit: once for each key that is read, so that plain suffices.
fn remainder_below(a: &[u8], prime: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut modulus = Zeroizing::new(prime.to_vec());
    // A prime is odd: taking one away borrows nothing.
    let last = modulus.last_mut().filter(|last| **last & 1 == 1)?;
    *last -= 1;
    if modulus.iter().all(|byte| *byte == 0) {
        return None;
    }
    // A byte more than the modulus: doubled, the rest still fits.
    modulus.insert(0, 0);
    let mut rest = Zeroizing::new(vec![0_u8; modulus.len()]);
    for bit in a.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if *rest >= *modulus {
            let mut borrow = false;
            for (byte, taken) in rest.iter_mut().zip(modulus.iter()).rev() {
                let (once, under) = byte.overflowing_sub(*taken);
                let (twice, under_again) = once.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (twice, under || under_again);
            }
        }
    }
    Some(rest)
}

/// RFC 4251, 5: what SSH writes one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u32, &'static str> {
        let (number, rest) = self.0.split_first_chunk().ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Result<&'a [u8], &'static str> {
        let length = usize::try_from(self.number()?).map_err(|_| MALFORMED)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(string)
    }

    /// Reads a number of several bytes, not negative, without its leading zeros.
    fn magnitude(&mut self) -> Result<&'a [u8], &'static str> {
        let number = self.string()?;
        if number.len() > MAX_NUMBER || number.first().is_some_and(|byte| *byte >= 0x80) {
            return Err(MALFORMED);
        }
        Ok(der::strip_zeros(number))
    }
}

const MAGIC: &[u8] = b"openssh-key-v1\0";
const MALFORMED: &str = "the private key is malformed";
const UNSUPPORTED: &str = "the private key is encrypted by a method that is not supported, or at too high a cost; encrypt it anew with \
                           `ssh-keygen -p -Z aes256-ctr -f COPY`";
/// Name, cipher, length of the key, mode. `ssh-keygen` takes the first by default since 2013, and took the second before.
const CIPHERS: [(&str, &Algorithm, usize, OperatingMode); 4] = [
    ("aes256-ctr", &AES_256, 32, OperatingMode::CTR),
    ("aes256-cbc", &AES_256, 32, OperatingMode::CBC),
    ("aes128-ctr", &AES_128, 16, OperatingMode::CTR),
    ("aes128-cbc", &AES_128, 16, OperatingMode::CBC),
];
const BLOCK: usize = 16;
/// Some seconds of work; `ssh-keygen` takes 24 by default, careful people a hundred.
const MAX_ROUNDS: u32 = 1_000;
const ED25519_ALGORITHM: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
const CURVES: [(&str, &[u8], usize); 3] = [
    ("nistp256", &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], 32),
    ("nistp384", &[0x2b, 0x81, 4, 0, 34], 48),
    ("nistp521", &[0x2b, 0x81, 4, 0, 35], 66),
];
const PARAMETERS: u8 = 0xa0;
const PUBLIC_KEY: u8 = 0xa1;
/// Of 16384 bits and a sign: no larger RSA key is in use.
const MAX_NUMBER: usize = 2049;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_arithmetic() {
        for (a, prime, expected) in
            [(100_u32, 7_u32, 100 % 6), (0xffff_fffe, 0x1_0001, 0xffff_fffe % 0x1_0000), (5, 0xffff_fffb, 5), (0, 3, 0)]
        {
            let rest = remainder_below(&a.to_be_bytes(), der::strip_zeros(&prime.to_be_bytes())).unwrap();
            assert_eq!(rest.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)), expected, "{a} mod {prime} - 1");
        }
        for prime in [&[] as &[u8], &[0], &[1], &[4]] {
            assert!(remainder_below(&[9], prime).is_none(), "{prime:?}");
        }
    }

    #[test]
    fn a_cost_that_nobody_pays_is_refused_before_it_is_paid() {
        let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let key = |cipher: &[u8], derivation: &[u8], salt: &[u8], rounds: u32, section: usize| {
            let options = [string(salt), rounds.to_be_bytes().to_vec()].concat();
            let head = [MAGIC, &string(cipher), &string(derivation), &string(&options), &[0, 0, 0, 1], &string(b"public")].concat();
            [head, string(&vec![7; section])].concat()
        };
        let (ctr, salt) = (b"aes256-ctr", &[9; 16]);
        for (what, key, expected) in [
            ("too many rounds", key(ctr, b"bcrypt", salt, u32::MAX, 64), UNSUPPORTED),
            ("no round", key(ctr, b"bcrypt", salt, 0, 64), UNSUPPORTED),
            ("no salt", key(ctr, b"bcrypt", b"", 1, 64), MALFORMED),
            ("half a block", key(ctr, b"bcrypt", salt, 1, 24), MALFORMED),
            ("nothing", key(ctr, b"bcrypt", salt, 1, 0), MALFORMED),
            ("another cipher", key(b"rot13", b"bcrypt", salt, 1, 64), UNSUPPORTED),
            ("another derivation", key(ctr, b"none", salt, 1, 64), UNSUPPORTED),
            ("another passphrase", key(ctr, b"bcrypt", salt, 1, 64), WRONG_PASSWORD),
        ] {
            assert_eq!(read(&key, Some("secret")).map(drop), Err(expected), "{what}");
        }
        assert_eq!(read(&key(ctr, b"bcrypt", salt, 1, 64), None).map(drop), Err(NO_PASSWORD));
    }

    #[test]
    fn what_is_cut_off_or_changed_is_refused_and_never_panics() {
        let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let seed = [string(&[2; 32]), string(&[&[1; 32][..], &[2; 32]].concat())].concat();
        let section = [&[7; 8][..], &string(b"ssh-ed25519"), &seed, &string(b"comment"), &[1, 2, 3]].concat();
        let key = [MAGIC, &string(b"none"), &string(b"none"), &string(b""), &[0, 0, 0, 1], &string(b"public"), &string(&section)].concat();
        assert_eq!(format!("{:?}", read(&key, None)), "Ok(PrivateKey(PKCS#8))");
        for cut in 0..key.len() {
            assert!(read(&key[..cut], None).is_err(), "cut at {cut}");
        }
        for at in 0..key.len() {
            let mut changed = key.clone();
            changed[at] ^= 0x80;
            let _ = read(&changed, None);
        }
    }
}
