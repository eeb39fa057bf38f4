//! What was read of a certificate when its document came: while the change that brings it is made, it is asked for several times.

use crate::admission::Pin;
use crate::pki::{Certificate, Fingerprint};

/// The pin that a certificate is, or why it is none: where any extended key usage is allowed, and where not. Nothing where nobody has
/// read it yet, and nothing that counts when documents are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remembered(Option<(Pin, [Option<&'static str>; 2])>);

impl Remembered {
    pub(super) fn of(certificate: &Certificate) -> Self {
        Self(Some((Pin::from(certificate), [false, true].map(|allow_any_eku| Pin::unsuitable(certificate, allow_any_eku)))))
    }

    /// Returns what was read of the certificate of this fingerprint.
    pub(super) fn pin(&self, fingerprint: &Fingerprint, allow_any_eku: bool) -> Option<Result<Pin, &'static str>> {
        let (pin, unsuitable) = self.0.filter(|(pin, _)| pin.fingerprint == *fingerprint)?;
        Some(unsuitable[usize::from(allow_any_eku)].map_or(Ok(pin), Err))
    }
}

impl PartialEq for Remembered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use rcgen::ExtendedKeyUsagePurpose;

    use super::super::document::{CertificateDocument, CertificateSource, Document};
    use super::*;

    /// A document that came, and the same as it is recorded and read again: who compiles it hears the same.
    #[test]
    fn a_remembered_certificate_is_what_reading_it_again_says() {
        for purpose in [None, Some(ExtendedKeyUsagePurpose::ClientAuth), Some(ExtendedKeyUsagePurpose::ServerAuth)] {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::default();
            params.extended_key_usages.extend(purpose.clone());
            let certificate = Certificate::parse(params.self_signed(&key).expect("signed").der().clone()).expect("a certificate");
            let certificates = vec![CertificateDocument::of(&certificate, CertificateSource::Registered)];
            for allow_any_eku in [false, true] {
                let (id, name) = ("p-aaaaaaaaaaaa".to_owned(), "one".to_owned());
                let came = Document { id, name, allow_any_eku, certificates: certificates.clone(), ..Document::default() };
                let came = came.normalised().expect("good");
                assert!(came.certificates[0].read.0.is_some(), "it was read");
                let again = Document::from_json(&serde_json::to_vec(&came).expect("text")).expect("a document");
                assert!(again.certificates[0].read.0.is_none() && again == came, "nothing of it is written down");
                assert_eq!(format!("{:?}", came.compile(3)), format!("{:?}", again.compile(3)), "{purpose:?}, {allow_any_eku}");
            }
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        let der = rcgen::CertificateParams::default().self_signed(&key).expect("signed").der().clone();
        let read = Remembered::of(&Certificate::parse(der).expect("a certificate"));
        assert!(read.pin(&Fingerprint::of(b"another"), false).is_none(), "what was read of another says nothing");
    }
}
