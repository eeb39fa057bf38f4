//! What certificates and CRLs have in common: something signed, an algorithm, a signature. Verification by
//! the issuer's bare key, and the twin that every ECDSA signature has.

use rustls_pki_types::SubjectPublicKeyInfoDer;
use webpki::{ALL_VERIFICATION_ALGS, RawPublicKeyEntity};

use super::der::{self, Reader, tag};

/// A signed structure, taken apart; strict DER as far as the signature does not cover it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    /// The signed part, whole.
    pub(super) tbs: &'a [u8],
    /// AlgorithmIdentifier, whole.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut fields = Reader::new(der::only(der, tag::SEQUENCE)?);
        let (tbs, algorithm, signature) = (fields.expect(tag::SEQUENCE)?, fields.expect(tag::SEQUENCE)?, fields.expect(tag::BIT_STRING)?);
        if !fields.is_empty() {
            return None;
        }
        Some(Self { tbs: tbs.whole, algorithm: algorithm.whole, signature: der::octets(signature.content)? })
    }

    /// Checks the signature with the key of a SubjectPublicKeyInfo. The key alone: names, usage and time are for others to judge.
    pub(super) fn verifies(&self, spki: &[u8]) -> bool {
        let spki = SubjectPublicKeyInfoDer::from(spki);
        let (Some(id), Ok(key)) = (der::only(self.algorithm, tag::SEQUENCE), RawPublicKeyEntity::try_from(&spki)) else { return false };
        // One identifier names several algorithms of webpki's (ecdsa-with-SHA256: one a curve); the key picks its own.
        let mut named = ALL_VERIFICATION_ALGS.iter().filter(|algorithm| algorithm.signature_alg_id().as_ref() == id);
        named.any(|algorithm| key.verify_signature(*algorithm, self.tbs, self.signature).is_ok())
    }

    /// Tells whether a stranger could not spell the unsigned rest otherwise: the outer algorithm repeats the signed one
    /// (RFC 5280, 4.1.1.2), and an ECDSA signature is two minimal INTEGERs.
    pub(super) fn is_spelled_one_way(&self) -> bool {
        self.signed_algorithm() == Some(self.algorithm) && (!self.is_ecdsa() || self.ecdsa().is_some())
    }

    /// Returns the same with the signature (r, n - s). `None` for other algorithms than ECDSA on the NIST curves.
    pub(super) fn twin(&self) -> Option<Vec<u8>> {
        let (r, s) = self.ecdsa().filter(|_| self.is_ecdsa())?;
        // The issuer's curve is not named here. A number of fewer bits than the order has comes up once in 2^32 signatures at most.
        let order = ORDERS.iter().find(|order| is_below(r, order) && is_below(s, order))?;
        let signature = der::encode(tag::SEQUENCE, &[der::encode_integer(r), der::encode_integer(&difference(order, s))].concat());
        let bit_string = der::encode(tag::BIT_STRING, &[&[0], &signature[..]].concat());
        Some(der::encode(tag::SEQUENCE, &[self.tbs, self.algorithm, &bit_string].concat()))
    }

    /// Returns the AlgorithmIdentifier inside the signed part.
    fn signed_algorithm(&self) -> Option<&'a [u8]> {
        let mut fields = Reader::new(der::only(self.tbs, tag::SEQUENCE)?);
        fields.optional(EXPLICIT_VERSION);
        // Certificates have a serial before it, CRLs maybe a version.
        fields.optional(tag::INTEGER);
        fields.expect(tag::SEQUENCE).map(|algorithm| algorithm.whole)
    }

    fn is_ecdsa(&self) -> bool {
        let oid = der::only(self.algorithm, tag::SEQUENCE).and_then(|id| Reader::new(id).expect(tag::OID));
        oid.is_some_and(|oid| oid.content == ECDSA_WITH_SHA1 || oid.content.starts_with(ECDSA_WITH_SHA2))
    }

    /// Returns the magnitudes of (r, s), both positive.
    fn ecdsa(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut numbers = Reader::new(der::only(self.signature, tag::SEQUENCE)?);
        let r = der::magnitude(numbers.expect(tag::INTEGER)?.content)?;
        let s = der::magnitude(numbers.expect(tag::INTEGER)?.content)?;
        (numbers.is_empty() && !r.is_empty() && !s.is_empty()).then_some((r, s))
    }
}

/// Writes an ECDSA signature of two numbers of one width, as IEEE P1363 has it and .NET signs, in DER (RFC 3279, 2.2.3).
pub fn ecdsa_of_fixed_width(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    der::encode(tag::SEQUENCE, &[der::encode_integer(r), der::encode_integer(s)].concat())
}

/// Compares magnitudes without leading zeros.
fn is_below(a: &[u8], b: &[u8]) -> bool {
    (a.len(), a) < (b.len(), b)
}

/// Returns `a - b` of magnitudes, where `b` is below `a`.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = a.to_vec();
    let mut borrow = false;
    let subtrahend = b.iter().rev().copied().chain(std::iter::repeat(0));
    for (digit, taken) in out.iter_mut().rev().zip(subtrahend) {
        let (once, under) = digit.overflowing_sub(taken);
        let (twice, under_again) = once.overflowing_sub(u8::from(borrow));
        (*digit, borrow) = (twice, under || under_again);
    }
    out
}

const EXPLICIT_VERSION: u8 = 0xa0;
const ECDSA_WITH_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const ECDSA_WITH_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];

/// The orders of P-256, P-384 and P-521 (SEC 2, 2.4.2, 2.5.1, 2.6.1), smallest first.
const ORDERS: [&[u8]; 3] = [
    &[
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
        0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ],
    &[
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a,
        0xcc, 0xc5, 0x29, 0x73,
    ],
    &[
        0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa, 0x51, 0x86, 0x87, 0x83, 0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc,
        0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b, 0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47, 0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
    ],
];
