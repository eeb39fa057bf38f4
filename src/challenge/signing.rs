//! The other side: a private key signs a challenge, as `signature` checks it. It signs bytes; whether they are a challenge, and of the
//! gateway that was dialled, its caller has asked `Message` before.

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA256, SHA384, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;

use crate::pki::PrivateKey;

/// Why a key signs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningError {
    /// Neither RSA, nor EC on P-256, P-384 or P-521, nor Ed25519; or damaged.
    Kind,
    Unspecified,
}

/// Signs: RSA by PKCS #1 v1.5 and ECDSA in DER, both with SHA-256; Ed25519.
pub fn sign(key: &PrivateKey, message: &[u8]) -> Result<Vec<u8>, SigningError> {
    if let Some(pair) = rsa(key.der()) {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)?;
        return Ok(signature);
    }
    let bytes = key.der().secret_der();
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Ok(pair.try_sign(message)?.as_ref().to_vec());
    }
    if let Ok(pair) = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, bytes) {
        // FIPS 186-5, 6.4.1: a digest shorter than the order is the number that it is. The library has no P-384 with SHA-256, and to it
        // this is a digest of SHA-384: the same number.
        let short = digest(&SHA256, message);
        let long = Digest::import_less_safe(&[&[0; 16], short.as_ref()].concat(), &SHA384)?;
        return Ok(pair.sign_digest(&long)?.as_ref().to_vec());
    }
    let others = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P521_SHA256_ASN1_SIGNING];
    let pair = others.into_iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, bytes).ok()).ok_or(SigningError::Kind)?;
    Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec())
}

fn rsa(key: &PrivateKeyDer<'_>) -> Option<RsaKeyPair> {
    match key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        _ => None,
    }
}

impl From<Unspecified> for SigningError {
    fn from(_: Unspecified) -> Self {
        Self::Unspecified
    }
}

impl fmt::Display for SigningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "the key is damaged, or neither RSA, nor EC on P-256, P-384 or P-521, nor Ed25519",
            Self::Unspecified => "the key does not sign: RSA of 2048 bits at least, or damaged",
        })
    }
}

impl std::error::Error for SigningError {}
