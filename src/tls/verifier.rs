//! Translates the gate's verdict for rustls, once the key is proven. A courtesy, not the lock: for a resumed
//! session rustls calls no verifier, and `Standing::open` asks after every handshake.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};

use super::acceptor::ClientAuth;
use super::current::Current;
use super::provider;

/// Shared by all connections of a listener; finds the one it is called for through `Current`.
#[derive(Debug)]
pub(super) struct Verifier {
    client_auth: ClientAuth,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(client_auth: ClientAuth, hints: Vec<DistinguishedName>) -> Self {
        Self { client_auth, hints, algorithms: provider().signature_verification_algorithms }
    }

    /// Checks a signature of TLS 1.2 by the bare key: webpki's own helper parses the certificate first, and refuses
    /// version 1, and extensions that are critical and unknown, which a pin does not care about.
    fn verify_tls12(&self, message: &[u8], spki: &SubjectPublicKeyInfoDer<'_>, dss: &DigitallySignedStruct) -> Result<(), webpki::Error> {
        let key = webpki::RawPublicKeyEntity::try_from(spki)?;
        let algorithms = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme).map_or(&[][..], |(_, found)| *found);
        // RFC 5246, 4.7: the scheme names a hash and a kind of key, not the curve, so several may fit.
        for algorithm in algorithms {
            match key.verify_signature(*algorithm, message, dss.signature()) {
                Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
                answer => return answer,
            }
        }
        Err(webpki::Error::InvalidSignatureForPublicKey)
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.client_auth == ClientAuth::Require
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        Ok(in_handshake(|current| current.present(&chain))?)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        in_handshake(|current| {
            current.prove(cert, |leaf| {
                let spki = SubjectPublicKeyInfoDer::from(leaf.spki());
                self.verify_tls12(message, &spki, dss).map_err(|_| CertificateError::BadSignature.into())
            })
        })?;
        // The key is proven: now, and not before, the verdict was asked for, and it is no denial.
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        in_handshake(|current| {
            current.prove(cert, |leaf| {
                let spki = SubjectPublicKeyInfoDer::from(leaf.spki());
                verify_tls13_signature_with_raw_key(message, &spki, dss, &self.algorithms).map(|_| ())
            })
        })?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Asks the connection being served; without one nobody is admitted.
fn in_handshake<T>(ask: impl FnOnce(&Current) -> Result<T, CertificateError>) -> Result<T, CertificateError> {
    Current::with(ask).unwrap_or(Err(CertificateError::ApplicationVerificationFailure))
}
