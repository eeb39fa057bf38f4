//! TLS to an upstream: always verified, by the configured certificates or the system's anchors.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use super::UpstreamError;
use super::settings::{Protocol, Tls};
use super::verifier::Verifier;

/// Compiles what connections of one protocol use.
pub(super) fn client_config(tls: &Tls, protocol: Protocol) -> Result<Arc<ClientConfig>, UpstreamError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new(roots(tls)?, &tls.ca, Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(UpstreamError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.client {
        Some(certified) => {
            let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(CertifiedKey::clone(certified)));
            builder.with_client_cert_resolver(resolver)
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![if protocol.is_http2() { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(Arc::new(config))
}

fn roots(tls: &Tls) -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    if tls.ca.is_empty() {
        let found = rustls_native_certs::load_native_certs();
        let errors = found.errors;
        // The system's store may hold a certificate that rustls does not read: the others still count.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = errors.first().map_or_else(|| "the system has no trust store".to_owned(), ToString::to_string);
            return Err(UpstreamError::NoTrust(why));
        }
        return Ok(roots);
    }
    for (index, anchor) in tls.ca.iter().enumerate() {
        let refused = |error| UpstreamError::NoTrust(format!("certificate {} of tls.ca is no trust anchor: {error}", index + 1));
        roots.add(anchor.clone()).map_err(refused)?;
    }
    Ok(roots)
}
