//! A certificate revocation list, read once. Whether it counts (signature, issuer, age) is for `admission/revocation.rs` to say.

use std::sync::OnceLock;

use x509_parser::asn1_rs::FromDer as _;
use x509_parser::extensions::X509Extension;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};

use super::certificate::Certificate;
use super::der::{self, Reader, tag};
use super::extension::{self, AUTHORITY_KEY_ID};
use super::fingerprint::Fingerprint;
use super::name::DistinguishedName;
use super::signature::Signed;

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
    /// What the issuingDistributionPoint confines the list to.
    pub covers: Covers,
    /// deltaCRLIndicator is present: refused at load.
    pub delta: bool,
    /// indirectCRL is set: refused at load.
    pub indirect: bool,
    serials: Vec<Box<[u8]>>,
    found: Found,
}

/// What took a look at the whole list to find out: a long one is hashed and verified once, wherever that was.
#[derive(Clone, Debug, Default)]
struct Found {
    fingerprint: OnceLock<Fingerprint>,
    /// A SubjectPublicKeyInfo that the signature is of.
    signer: OnceLock<Box<[u8]>>,
}

/// Whose revocations a CRL tells (RFC 5280, 5.2.5). Its silence about other certificates means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Covers {
    #[default]
    Everything,
    /// onlyContainsCACerts.
    Issuers,
    /// onlyContainsUserCerts.
    Leaves,
}

/// Why a CRL could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlError(pub String);

impl std::fmt::Display for CrlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a usable CRL: {}", self.0)
    }
}

impl std::error::Error for CrlError {}

impl Crl {
    /// Reads a CRL from its DER, of version 1 or 2. What is critical and unknown is an error (RFC 5280, 5.2 and 5.3: such a
    /// list must not be used to find out that a certificate is good).
    pub fn parse(der: &[u8]) -> Result<Self, CrlError> {
        Signed::read(der).filter(Signed::is_spelled_one_way).ok_or_else(|| error("not DER, or bytes after its end"))?;
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|why| CrlError(why.to_string()))?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let mut crl = Self {
            der: der.into(),
            issuer: DistinguishedName::read(parsed.issuer()),
            authority_key_id: None,
            number: None,
            this_update: seconds(parsed.last_update()),
            next_update: parsed.next_update().map(seconds),
            distribution_point: None,
            covers: Covers::Everything,
            delta: false,
            indirect: false,
            serials: Vec::new(),
            found: Found::default(),
        };
        let extensions = parsed.extensions();
        for (index, extension) in extensions.iter().enumerate() {
            if extensions[..index].iter().any(|before| before.oid == extension.oid) {
                return Err(error("an extension stands in it twice"));
            }
            crl.extend(extension)?;
        }
        for entry in parsed.iter_revoked_certificates() {
            crl.serials.push(crl_entry(entry)?);
        }
        crl.serials.sort_unstable();
        crl.serials.dedup();
        Ok(crl)
    }

    /// Tells whether a serial (magnitude without leading zeros) is on the list.
    pub fn lists(&self, serial: &[u8]) -> bool {
        self.serials.binary_search_by(|listed| (**listed).cmp(serial)).is_ok()
    }

    /// Returns how many serials are listed.
    pub fn len(&self) -> usize {
        self.serials.len()
    }

    /// Tells whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty()
    }

    /// Checks the signature against an issuer's SubjectPublicKeyInfo.
    pub fn is_signed_by(&self, spki: &[u8]) -> bool {
        if self.is_known_to_be_signed_by(spki) {
            return true;
        }
        let holds = Signed::read(&self.der).is_some_and(|signed| signed.verifies(spki));
        if holds {
            // The first key stays: another one that verifies is one more to be asked, and right each time.
            let _ = self.found.signer.set(spki.into());
        }
        holds
    }

    /// Tells whether the signature was checked already, and held.
    pub fn is_known_to_be_signed_by(&self, spki: &[u8]) -> bool {
        self.found.signer.get().is_some_and(|signer| **signer == *spki)
    }

    /// Returns SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        *self.found.fingerprint.get_or_init(|| Fingerprint::of(&self.der))
    }

    /// Tells whether the list speaks of a certificate of its issuer: whether its absence from it means anything.
    pub fn speaks_of(&self, certificate: &Certificate) -> bool {
        let is_issuer = certificate.basic_constraints.is_some_and(|constraints| constraints.ca);
        let of_kind = match self.covers {
            Covers::Everything => true,
            Covers::Issuers => is_issuer,
            Covers::Leaves => !is_issuer,
        };
        let scope = self.distribution_point.as_deref().and_then(|value| der::only(value, tag::SEQUENCE));
        of_kind
            && match scope.and_then(|scope| Reader::new(scope).optional(DISTRIBUTION_POINT)) {
                None => true,
                // RFC 5280, 6.3.3 (b)(2)(i): a name in common with a distribution point of the certificate.
                Some(point) => {
                    let ours = full_name(point.content);
                    let theirs = distribution_points(certificate).unwrap_or_default();
                    ours.iter().any(|name| theirs.contains(name))
                }
            }
    }

    fn extend(&mut self, extension: &X509Extension<'_>) -> Result<(), CrlError> {
        let value = extension.value;
        match extension.oid.as_bytes() {
            CRL_NUMBER => {
                let number = der::only(value, tag::INTEGER).and_then(der::magnitude);
                self.number = Some(number.ok_or_else(|| error("a malformed cRLNumber"))?.into());
            }
            DELTA_INDICATOR => self.delta = true,
            ISSUING_DISTRIBUTION_POINT => {
                (self.covers, self.indirect) = scope(value)?;
                self.distribution_point = Some(value.into());
            }
            AUTHORITY_KEY_ID => {
                let id = extension::authority_key_id(value);
                self.authority_key_id = id.ok_or_else(|| error("a malformed authorityKeyIdentifier"))?;
            }
            other if extension.critical => return Err(CrlError(format!("an unknown critical extension {}", der::dotted(other)))),
            _ => {}
        }
        Ok(())
    }
}

/// Returns the serial of an entry, when it concerns a certificate of the list's own issuer.
fn crl_entry(entry: &RevokedCertificate<'_>) -> Result<Box<[u8]>, CrlError> {
    for extension in entry.extensions() {
        match extension.oid.as_bytes() {
            // Either says what the extension cannot undo, since we take every listed serial for revoked.
            REASON_CODE | INVALIDITY_DATE => {}
            CERTIFICATE_ISSUER => return Err(error("entries of other issuers (an indirect CRL)")),
            other if extension.critical => {
                return Err(CrlError(format!("an unknown critical entry extension {}", der::dotted(other))));
            }
            _ => {}
        }
    }
    Ok(der::strip_zeros(entry.raw_serial()).into())
}

/// Reads an issuingDistributionPoint: what it covers, and whether it is indirect.
fn scope(value: &[u8]) -> Result<(Covers, bool), CrlError> {
    let malformed = || error("a malformed issuingDistributionPoint");
    let mut fields = Reader::new(der::only(value, tag::SEQUENCE).ok_or_else(malformed)?);
    let (mut covers, mut indirect) = (Covers::Everything, false);
    while !fields.is_empty() {
        let field = fields.next().ok_or_else(malformed)?;
        let set = field.content != [0];
        match field.tag {
            DISTRIBUTION_POINT => {}
            ONLY_LEAVES if set && covers == Covers::Everything => covers = Covers::Leaves,
            ONLY_ISSUERS if set && covers == Covers::Everything => covers = Covers::Issuers,
            INDIRECT if set => indirect = true,
            ONLY_LEAVES | ONLY_ISSUERS | INDIRECT | ONLY_ATTRIBUTES if !set => {}
            // A list of some reasons says nothing of the others: it could only ever seem to answer.
            ONLY_REASONS => return Err(error("only some reasons of revocation are in it")),
            ONLY_ATTRIBUTES => return Err(error("only attribute certificates are in it")),
            _ => return Err(malformed()),
        }
    }
    Ok((covers, indirect))
}

/// Returns the names of a DistributionPointName; none for the form that is relative to the issuer, which nobody uses.
fn full_name(point: &[u8]) -> Vec<&[u8]> {
    let Some(names) = der::only(point, DISTRIBUTION_POINT) else { return Vec::new() };
    let mut reader = Reader::new(names);
    std::iter::from_fn(|| reader.next().map(|name| name.whole)).collect()
}

/// Tells whether a certificate says where its issuer's CRL is to be had.
pub fn names_distribution_point(certificate: &Certificate) -> bool {
    distribution_points(certificate).is_some_and(|names| !names.is_empty())
}

/// Returns the names of a certificate's CRL distribution points (RFC 5280, 4.2.1.13), those for some reasons or of other issuers left out.
fn distribution_points(certificate: &Certificate) -> Option<Vec<&[u8]>> {
    let extension = certificate.extensions.iter().find(|extension| &*extension.oid == "2.5.29.31")?;
    let mut points = Reader::new(der::only(&extension.value, tag::SEQUENCE)?);
    let mut names = Vec::new();
    while let Some(point) = points.expect(tag::SEQUENCE) {
        let mut fields = Reader::new(point.content);
        match (fields.optional(DISTRIBUTION_POINT), fields.is_empty()) {
            (Some(name), true) => names.extend(full_name(name.content)),
            _ => continue,
        }
    }
    Some(names)
}

fn error(why: &str) -> CrlError {
    CrlError(why.to_owned())
}

/// id-ce 20, 21, 24, 27, 28, 29.
const CRL_NUMBER: &[u8] = &[0x55, 29, 20];
const REASON_CODE: &[u8] = &[0x55, 29, 21];
const INVALIDITY_DATE: &[u8] = &[0x55, 29, 24];
const DELTA_INDICATOR: &[u8] = &[0x55, 29, 27];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 29, 28];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 29, 29];

const DISTRIBUTION_POINT: u8 = 0xa0;
const ONLY_LEAVES: u8 = 0x81;
const ONLY_ISSUERS: u8 = 0x82;
const ONLY_REASONS: u8 = 0x83;
const INDIRECT: u8 = 0x84;
const ONLY_ATTRIBUTES: u8 = 0x85;

#[cfg(test)]
#[path = "crl_tests.rs"]
mod tests;
