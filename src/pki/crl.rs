//! A certificate revocation list, read once. Whether it counts (signature, issuer, age) is for `admission/revocation.rs` to say.

use super::name::DistinguishedName;

/// A CRL, parsed; entries sorted for lookup.
#[derive(Clone, Debug)]
pub struct Crl {
    pub der: Box<[u8]>,
    pub issuer: DistinguishedName,
    pub authority_key_id: Option<Box<[u8]>>,
    /// CRL number, magnitude without leading zeros.
    pub number: Option<Box<[u8]>>,
    pub this_update: u64,
    pub next_update: Option<u64>,
    /// The raw issuingDistributionPoint, which tells apart the partitions of one issuer.
    pub distribution_point: Option<Box<[u8]>>,
    /// deltaCRLIndicator is present: refused at load.
    pub delta: bool,
    /// indirectCRL is set: refused at load.
    pub indirect: bool,
    serials: Vec<Box<[u8]>>,
}

/// Why a CRL could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlError(pub String);

impl Crl {
    /// Reads a CRL from its DER.
    pub fn parse(der: &[u8]) -> Result<Self, CrlError> {
        let _ = der;
        todo!()
    }

    /// Tells whether a serial (magnitude without leading zeros) is on the list.
    pub fn lists(&self, serial: &[u8]) -> bool {
        let _ = serial;
        todo!()
    }

    /// Returns how many serials are listed.
    pub fn len(&self) -> usize {
        self.serials.len()
    }

    /// Checks the signature against an issuer's SubjectPublicKeyInfo.
    pub fn is_signed_by(&self, spki: &[u8]) -> bool {
        let _ = spki;
        todo!()
    }
}
