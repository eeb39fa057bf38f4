//! Certificates made on the spot, and clients that present what they like with whatever key they have.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    SignatureAlgorithm, SigningKey,
};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::provider;

/// 2026-06-01: the time of the fixed clock.
pub(super) const NOW: u64 = 1_780_272_000;

/// A chain, and a key that may or may not be its leaf's.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Identity {
    /// An ordinary self-signed client.
    pub(super) fn client(name: &str) -> Self {
        Self::of_kind(name, &PKCS_ECDSA_P256_SHA256, |_| {})
    }

    pub(super) fn of_kind(name: &str, algorithm: &'static SignatureAlgorithm, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let mut params = params(name);
        change(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }

    /// What `openssl req -x509` makes: CA:TRUE, no EKU.
    pub(super) fn like_openssl(name: &str) -> Self {
        Self::of_kind(name, &rcgen::PKCS_ECDSA_P384_SHA384, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.extended_key_usages.clear();
        })
    }

    /// With an extension that is critical and nobody knows.
    pub(super) fn with_critical_extension(name: &str) -> Self {
        Self::of_kind(name, &PKCS_ECDSA_P256_SHA256, |params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55_555, 9], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        })
    }

    /// An X.509 v1 certificate, as `openssl x509 -req -signkey` writes it: no version, no extensions.
    pub(super) fn version_1(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let v3 = params(name).self_signed(&key).expect("a certificate");
        let [tbs, algorithm, _] = elements(content(v3.der()))[..] else { panic!("three parts") };
        let fields = elements(content(tbs));
        // [0] version in front, [3] extensions at the end.
        let kept: Vec<u8> = fields.iter().filter(|field| field[0] != 0xa0 && field[0] != 0xa3).copied().flatten().copied().collect();
        let tbs = wrap(0x30, &kept);
        let mut signature = vec![0];
        signature.extend(key.sign(&tbs).expect("a signature"));
        let der = wrap(0x30, &[tbs, algorithm.to_vec(), wrap(0x03, &signature)].concat());
        Self { chain: vec![der.into()], key: key.serialize_der() }
    }

    pub(super) fn server(names: &[&str]) -> Self {
        Self::of_kind("server", &PKCS_ECDSA_P256_SHA256, |params| {
            *params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
            let uri = format!("spiffe://{}", names.first().copied().unwrap_or_default());
            params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().expect("ASCII")));
        })
    }

    /// The same certificates in the hands of somebody without their key.
    pub(super) fn stolen(&self) -> Self {
        Self { chain: self.chain.clone(), key: KeyPair::generate().expect("a key").serialize_der() }
    }

    /// Whatever bytes in the leaf's place.
    pub(super) fn with_leaf(mut self, der: Vec<u8>) -> Self {
        self.chain[0] = der.into();
        self
    }

    pub(super) fn followed_by(mut self, more: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        self.chain.extend(more);
        self
    }

    /// Writes `cert.der` and `key.der`.
    pub(super) fn write_der(&self, directory: &Path) {
        std::fs::write(directory.join("cert.der"), &self.chain[0]).expect("written");
        std::fs::write(directory.join("key.der"), &self.key).expect("written");
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let key = provider().key_provider.load_private_key(key).expect("a key");
        Arc::new(CertifiedKey::new(self.chain.clone(), key))
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 12, 31);
    params
}

/// Presents one identity, whatever is asked, and never looks whether certificate and key belong together.
#[derive(Debug)]
pub(super) struct Holder {
    certified: Arc<CertifiedKey>,
    /// The names of CAs that the server asked with.
    pub(super) hints: Mutex<Vec<Vec<u8>>>,
}

impl Holder {
    pub(super) fn of(identity: &Identity) -> Self {
        Self { certified: identity.certified(), hints: Mutex::default() }
    }
}

impl ResolvesClientCert for Holder {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.hints.lock().expect("not poisoned") = hints.iter().map(|hint| hint.to_vec()).collect();
        Some(Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Trusts every server: these tests are about the other side.
#[derive(Debug)]
pub(super) struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Splits DER into its elements, each with its header.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (element, rest) = der.split_at(header(der) + length(der));
        found.push(element);
        der = rest;
    }
    found
}

fn content(der: &[u8]) -> &[u8] {
    &der[header(der)..]
}

fn header(der: &[u8]) -> usize {
    if der[1] < 0x80 { 2 } else { 2 + usize::from(der[1] & 0x7f) }
}

fn length(der: &[u8]) -> usize {
    if der[1] < 0x80 { der[1].into() } else { der[2..header(der)].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)) }
}

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    [&[tag, 0x82, high, low], content].concat()
}
