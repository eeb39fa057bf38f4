//! Which alert tells a denial. One exhaustive match: a new `Denial` has to choose its alert before anything
//! compiles. rustls turns each error below into the alert named beside it (`AlertDescription::from`).

use rustls::{AlertDescription, CertificateError};

use crate::admission::Denial;

/// Returns the error whose alert tells a denial, once the key was proven.
pub(super) fn for_denial(denial: Denial) -> CertificateError {
    match denial {
        // access_denied. Which bound or condition failed is not for a stranger to hear.
        Denial::AmbiguousCommonName
        | Denial::BoundsMismatch
        | Denial::ClientIpDenied
        | Denial::IdentifierMissing
        | Denial::NotListed
        | Denial::PrincipalDisabled
        | Denial::PrincipalExpired
        // webpki's `UnknownRevocationStatus` would be unknown_ca: the anchor is known, its CRL is what we lack.
        | Denial::RevocationUnknown => CertificateError::ApplicationVerificationFailure,
        // access_denied: questions about one request, which no handshake asks.
        Denial::ClearanceTooLow | Denial::NotPermitted | Denial::OriginDenied | Denial::SurfaceDenied => {
            CertificateError::ApplicationVerificationFailure
        }
        // access_denied, should it come here at all: rustls itself answers an absent certificate with certificate_required.
        Denial::NoCredential => CertificateError::ApplicationVerificationFailure,
        // access_denied, likewise: challenges and tokens come in requests.
        Denial::ChallengeExpired
        | Denial::ChallengeInvalid
        | Denial::SignatureInvalid
        | Denial::TokenExpired
        | Denial::TokenInvalid => CertificateError::ApplicationVerificationFailure,
        // unknown_ca
        Denial::ChainInvalid | Denial::IssuerUnknown => CertificateError::UnknownIssuer,
        // certificate_expired
        Denial::Expired => CertificateError::Expired,
        Denial::NotYetValid => CertificateError::NotValidYet,
        // certificate_revoked
        Denial::Revoked => CertificateError::Revoked,
        // unsupported_certificate
        Denial::Unsuitable => CertificateError::InvalidPurpose,
    }
}

/// Names the alert of a denial, for people; `None` where no handshake asks.
pub fn name(denial: Denial) -> Option<&'static str> {
    match denial {
        Denial::ChallengeExpired
        | Denial::ChallengeInvalid
        | Denial::ClearanceTooLow
        | Denial::NotPermitted
        | Denial::OriginDenied
        | Denial::SignatureInvalid
        | Denial::SurfaceDenied
        | Denial::TokenExpired
        | Denial::TokenInvalid => None,
        Denial::NoCredential => Some("certificate_required"),
        _ => Some(match AlertDescription::from(for_denial(denial)) {
            AlertDescription::AccessDenied => "access_denied",
            AlertDescription::CertificateExpired => "certificate_expired",
            AlertDescription::CertificateRevoked => "certificate_revoked",
            AlertDescription::UnknownCA => "unknown_ca",
            AlertDescription::UnsupportedCertificate => "unsupported_certificate",
            other => other.as_str().unwrap_or("an alert"),
        }),
    }
}

/// bad_certificate: the leaf does not parse, so that no key can be proven.
pub(super) const UNPARSABLE: CertificateError = CertificateError::BadEncoding;

/// unsupported_certificate: a key that no signature of ours can be checked with.
pub(super) const UNVERIFIABLE: CertificateError = CertificateError::InvalidPurpose;

/// decrypt_error: whoever answers did not prove the key, whatever else is wrong.
pub(super) const UNPROVEN: CertificateError = CertificateError::BadSignature;

/// The record of a fatal unrecognized_name alert (RFC 6066, 3): rustls says access_denied where there is no certificate to show.
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

#[cfg(test)]
mod tests {
    use rustls::AlertDescription as Alert;

    use super::*;

    #[test]
    fn every_denial_has_the_alert_that_the_table_promises() {
        for denial in Denial::ALL {
            let expected = match denial.code() {
                "chain_invalid" | "issuer_unknown" => Alert::UnknownCA,
                "expired" | "not_yet_valid" => Alert::CertificateExpired,
                "revoked" => Alert::CertificateRevoked,
                "unsuitable" => Alert::UnsupportedCertificate,
                _ => Alert::AccessDenied,
            };
            assert_eq!(Alert::from(for_denial(*denial)), expected, "{}", denial.code());
        }
        assert_eq!(Alert::from(UNPARSABLE), Alert::BadCertificate);
        assert_eq!(Alert::from(UNVERIFIABLE), Alert::UnsupportedCertificate);
        assert_eq!(Alert::from(UNPROVEN), Alert::DecryptError);
        assert_eq!(UNRECOGNIZED_NAME[6], u8::from(Alert::UnrecognisedName));
    }
}
