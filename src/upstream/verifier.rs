//! Who a TLS server has to be: one that an anchor of the operator's file vouches for; or that shows exactly a certificate of that
//! file, as curl has it: the self-signed certificate that `openssl req -x509` makes is CA:TRUE, and no path may end in a CA.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::UpstreamError;
use crate::pki::Certificate;

/// Judges the certificate of a server.
#[derive(Debug)]
pub(super) struct Verifier {
    by_anchor: Arc<WebPkiServerVerifier>,
    /// The certificates of the file, by equality.
    pins: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// `pins`: empty where the system's store is what counts. Its anchors vouch for others, and are no servers.
    pub(super) fn new(
        roots: RootCertStore,
        pins: &[CertificateDer<'static>],
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, UpstreamError> {
        let by_anchor = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let by_anchor = by_anchor.map_err(|error| UpstreamError::NoTrust(error.to_string()))?;
        Ok(Self { by_anchor, pins: pins.to_vec() })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.pins.contains(leaf) {
            return self.by_anchor.verify_server_cert(leaf, intermediates, server_name, ocsp_response, now);
        }
        fit(leaf, now)?;
        verify_server_name(&ParsedCertificate::try_from(leaf)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_anchor.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_anchor.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_anchor.supported_verify_schemes()
    }
}

/// What holds for every server's certificate: in its time, and not for something else.
fn fit(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let leaf = Certificate::parse(leaf.clone().into_owned()).map_err(|_| CertificateError::BadEncoding)?;
    if now.as_secs() > leaf.not_after {
        return Err(CertificateError::Expired);
    }
    if now.as_secs() < leaf.not_before {
        return Err(CertificateError::NotValidYet);
    }
    match leaf.extended_key_usage {
        Some(usage) if !usage.any && !usage.server_auth => Err(CertificateError::InvalidPurpose),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::pki::files;

    /// Makes a certificate as the README does, and reads it.
    fn made(directory: &Path, name: &str, more: &[&str]) -> CertificateDer<'static> {
        let file = directory.join(format!("{name}.pem"));
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
        ]);
        command
            .args(["-addext", "subjectAltName=DNS:localhost", "-keyout"])
            .arg(directory.join("key.pem"))
            .arg("-out")
            .arg(&file)
            .args(more);
        let output = command.output().expect("openssl");
        assert!(output.status.success(), "{output:?}");
        files::certificates(&std::fs::read(file).unwrap(), None).unwrap().remove(0).value.der
    }

    #[test]
    fn a_servers_own_certificate_in_the_file_is_enough_and_nothing_of_it_is_waived() {
        let directory = tempfile::tempdir().unwrap();
        let made = |name: &str, more: &[&str]| made(directory.path(), name, more);
        let (ours, twin) = (made("ours", &[]), made("twin", &[]));
        let client = made("client", &["-addext", "extendedKeyUsage=clientAuth"]);
        let both = made("both", &["-addext", "extendedKeyUsage=clientAuth,serverAuth"]);
        let leaf = made("leaf", &["-addext", "basicConstraints=critical,CA:FALSE"]);
        let parsed = Certificate::parse(ours.clone()).unwrap();
        assert!(parsed.basic_constraints.is_some_and(|constraints| constraints.ca), "as the README makes it");
        let (now, year) = (parsed.not_before + 3600, 365 * 24 * 3600);
        let judged = |file: &[&CertificateDer<'static>], leaf: &CertificateDer<'static>, name: &str, at: u64| {
            let mut roots = RootCertStore::empty();
            let file: Vec<_> = file.iter().map(|der| (*der).clone()).collect();
            file.iter().for_each(|der| roots.add(der.clone()).unwrap());
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let verifier = Verifier::new(roots, &file, provider).unwrap();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::since_unix_epoch(Duration::from_secs(at))).is_ok()
        };
        for (what, file, leaf, name, at, expected) in [
            ("the very certificate", &[&ours][..], &ours, "localhost", now, true),
            ("among others", &[&twin, &ours], &ours, "localhost", now, true),
            ("that is no CA", &[&leaf], &leaf, "localhost", now, true),
            ("for servers too", &[&both], &both, "localhost", now, true),
            ("another of the same name", &[&ours], &twin, "localhost", now, false),
            ("another name", &[&ours], &ours, "elsewhere.example", now, false),
            ("too late", &[&ours], &ours, "localhost", now + year, false),
            ("too early", &[&ours], &ours, "localhost", now - year, false),
            ("for clients only", &[&client], &client, "localhost", now, false),
        ] {
            assert_eq!(judged(file, leaf, name, at), expected, "{what}");
        }
    }
}
