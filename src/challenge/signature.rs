//! Whether a leaf's key signed a challenge. SHA-256 whatever the curve, as the published samples of the third system sign; Ed25519
//! signs the bytes themselves.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P521_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};

use crate::pki::certificate::KeyKind;
use crate::pki::{Certificate, ecdsa_of_fixed_width};

/// Checks a signature by the leaf's key; the key alone chooses how.
pub fn verifies(leaf: &Certificate, message: &[u8], signature: &[u8]) -> bool {
    let by = |algorithm: &'static dyn VerificationAlgorithm, signature: &[u8]| {
        UnparsedPublicKey::new(algorithm, leaf.spki()).verify(message, signature).is_ok()
    };
    let (ecdsa, width): (&'static dyn VerificationAlgorithm, usize) = match leaf.key {
        KeyKind::Ec { bits: 256 } => (&ECDSA_P256_SHA256_ASN1, 64),
        KeyKind::Ec { bits: 384 } => (&ECDSA_P384_SHA256_ASN1, 96),
        KeyKind::Ec { bits: 521 } => (&ECDSA_P521_SHA256_ASN1, 132),
        KeyKind::Ed25519 => return by(&ED25519, signature),
        // Between 2048 and 8192 bits.
        KeyKind::Rsa { .. } => return by(&RSA_PKCS1_2048_8192_SHA256, signature),
        // The library would take PSS of a key that is for that alone.
        KeyKind::Ec { .. } | KeyKind::Other | KeyKind::RsaPss { .. } => return false,
    };
    // DER may happen to have that length as well.
    by(ecdsa, signature) || (signature.len() == width && by(ecdsa, &ecdsa_of_fixed_width(signature)))
}
