//! Leaf to trust anchor: signatures, validity, key usage.

use crate::pki::Certificate;

/// The paths of a candidate, and the trust they were found under.
#[derive(Debug)]
pub struct Paths {}

/// Tells whether a certificate can be read as RFC 5280 has it.
pub(super) fn is_readable_anchor(certificate: &Certificate) -> bool {
    webpki::anchor_from_trusted_cert(&certificate.der).is_ok()
}
