//! DER and PEM read once, into types: certificate, fingerprint, pins, names, CRLs, keys, PFX. Names nothing of ours.

pub mod certificate;
pub mod crl;
mod der;
mod extension;
pub mod files;
pub mod fingerprint;
pub mod generate;
pub mod hex;
pub mod name;
mod openssh;
mod pem;
mod pfx;
pub mod pin;
mod private_key;
mod signature;

pub use certificate::{Certificate, CertificateError, San, Validity};
pub use crl::{Covers, Crl, CrlError};
pub use files::{FileError, Located};
pub use fingerprint::{Fingerprint, SpkiPin};
pub use generate::{GenerateError, Generated, NewKey};
pub use name::DistinguishedName;
pub use pin::PinnedCertificate;
pub use private_key::PrivateKey;
pub use signature::ecdsa_of_fixed_width;
