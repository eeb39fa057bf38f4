//! Private keys in OpenSSH's own form (PROTOCOL.key of its sources), rewritten as PKCS#8, SEC1 or PKCS#1. Encrypted ones
//! are refused with the command that opens them: their key derivation is used nowhere else.

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::der::{self, tag};
use super::private_key::PrivateKey;

/// Reads the content of an `OPENSSH PRIVATE KEY` block.
pub(super) fn read(bytes: &[u8]) -> Result<PrivateKey, &'static str> {
    let mut fields = Fields(bytes.strip_prefix(MAGIC).ok_or(MALFORMED)?);
    let (cipher, _kdf, _options) = (fields.string()?, fields.string()?, fields.string()?);
    if cipher != b"none" {
        return Err(
            "the private key is in OpenSSH's form and has a passphrase; take it away from a copy with `ssh-keygen -p -N '' -f COPY`",
        );
    }
    if fields.number()? != 1 {
        return Err("several private keys in OpenSSH's form; leave one");
    }
    let _public = fields.string()?;
    let mut key = Fields(fields.string()?);
    // Both are the same random number: where they differ, a wrong key decrypted them. Without a cipher, the file is damaged.
    if key.number()? != key.number()? || !fields.0.is_empty() {
        return Err(MALFORMED);
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
    fn what_is_cut_off_or_changed_is_refused_and_never_panics() {
        let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let seed = [string(&[2; 32]), string(&[&[1; 32][..], &[2; 32]].concat())].concat();
        let section = [&[7; 8][..], &string(b"ssh-ed25519"), &seed, &string(b"comment"), &[1, 2, 3]].concat();
        let key = [MAGIC, &string(b"none"), &string(b"none"), &string(b""), &[0, 0, 0, 1], &string(b"public"), &string(&section)].concat();
        assert_eq!(format!("{:?}", read(&key)), "Ok(PrivateKey(PKCS#8))");
        for cut in 0..key.len() {
            assert!(read(&key[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..key.len() {
            let mut changed = key.clone();
            changed[at] ^= 0x80;
            let _ = read(&changed);
        }
    }
}
