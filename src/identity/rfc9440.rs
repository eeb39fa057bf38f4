//! RFC 9440: `Client-Cert`, an item, and `Client-Cert-Chain`, a list, of byte sequences (RFC 9651, 3.3.5).
//! No other attribute: presence means that the proxy authenticated the client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

/// Colon, base64 with its padding, colon.
pub(super) fn item(der: &[u8]) -> String {
    let mut item = String::with_capacity(der.len().div_ceil(3) * 4 + 2);
    push(&mut item, der);
    item
}

/// The chain that the leaf was verified through, without the leaf; in the order of the TLS message.
pub(super) fn list(chain: &[CertificateDer<'_>]) -> String {
    let mut list = String::new();
    for der in chain {
        if !list.is_empty() {
            list.push_str(", ");
        }
        push(&mut list, der);
    }
    list
}

fn push(out: &mut String, der: &[u8]) {
    out.push(':');
    STANDARD.encode_string(der, out);
    out.push(':');
}
