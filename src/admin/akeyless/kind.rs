//! What a certificate that somebody hands in is good for: to be pinned, or to vouch for others. The original says "certificate" of both;
//! here a pin is never an issuer, so that a guess would be dangerous: where the certificate does not say it clearly, a person does.

use std::fmt;

use serde::Deserialize;

use crate::pki::Certificate;

/// What becomes of a certificate.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A trust anchor.
    Authority,
    /// A client's own.
    Pin,
}

impl Kind {
    /// Reads it from what certificates say of themselves; the error says why it cannot be read there.
    pub(crate) fn of(certificates: &[Certificate]) -> Result<Self, String> {
        let mut found = None;
        for certificate in certificates {
            let kind = Self::of_one(certificate)?;
            if found.is_some_and(|before| before != kind) {
                return Err("holds both a client's certificate and a CA's: give those of one kind, without the others".to_owned());
            }
            found = Some(kind);
        }
        found.ok_or_else(|| "holds no certificate".to_owned())
    }

    fn of_one(certificate: &Certificate) -> Result<Self, String> {
        let is_ca = match certificate.basic_constraints {
            Some(constraints) => Some(constraints.ca),
            // RFC 5280, 4.2.1.9: without the extension a certificate of version 3 is no CA. Older ones have no extensions.
            None => (certificate.version == 3).then_some(false),
        };
        let signs = certificate.key_usage.map(|usage| usage.key_cert_sign);
        let says = match (is_ca, signs) {
            (Some(false), None | Some(false)) => return Ok(Self::Pin),
            (Some(true), Some(true)) => return Ok(Self::Authority),
            (Some(true), None) => "says CA:TRUE and has no keyUsage, as `openssl req -x509` makes them for clients and CAs alike",
            (Some(true), Some(false)) => "says CA:TRUE, and its keyUsage lacks keyCertSign",
            (Some(false), Some(true)) => "says CA:FALSE, and its keyUsage has keyCertSign",
            (None, _) => "is of a version that cannot say whether it is a CA",
        };
        Err(format!(
            "the certificate of {:?} {says}: is it a client's own, to be pinned, or a CA's, to vouch for others?",
            subject(certificate)
        ))
    }
}

fn subject(certificate: &Certificate) -> String {
    certificate.subject.rfc2253().chars().take(MOST_OF_A_SUBJECT).collect()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "authority",
            Self::Pin => "pin",
        })
    }
}

const MOST_OF_A_SUBJECT: usize = 200;

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

    use super::*;

    fn certificate(is_ca: IsCa, usages: Vec<KeyUsagePurpose>) -> Certificate {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = is_ca;
        params.key_usages = usages;
        let made = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed");
        Certificate::parse(made.der().clone()).expect("well-formed")
    }

    #[test]
    fn what_a_certificate_says_clearly_is_taken_and_the_rest_is_asked_for() {
        use KeyUsagePurpose::{DigitalSignature, KeyCertSign};
        let ca = || IsCa::Ca(BasicConstraints::Unconstrained);
        for (name, is_ca, usages, expected) in [
            ("a client's", IsCa::ExplicitNoCa, vec![DigitalSignature], Ok(Kind::Pin)),
            ("a client's that says little", IsCa::ExplicitNoCa, vec![], Ok(Kind::Pin)),
            ("one that says nothing", IsCa::NoCa, vec![], Ok(Kind::Pin)),
            ("a CA's", ca(), vec![KeyCertSign], Ok(Kind::Authority)),
            ("what openssl makes of nothing", ca(), vec![], Err("has no keyUsage")),
            ("a CA's that signs no certificates", ca(), vec![DigitalSignature], Err("lacks keyCertSign")),
            ("no CA's that signs certificates", IsCa::ExplicitNoCa, vec![KeyCertSign], Err("CA:FALSE, and its keyUsage")),
        ] {
            let kind = Kind::of(&[certificate(is_ca, usages)]);
            match expected {
                Ok(expected) => assert_eq!(kind, Ok(expected), "{name}"),
                Err(why) => assert!(kind.as_ref().is_err_and(|said| said.contains(why)), "{name}: {kind:?}"),
            }
        }
        let mixed = [certificate(IsCa::ExplicitNoCa, vec![]), certificate(ca(), vec![KeyCertSign])];
        assert!(Kind::of(&mixed).is_err_and(|why| why.contains("both")));
        assert!(Kind::of(&[]).is_err());
    }
}
