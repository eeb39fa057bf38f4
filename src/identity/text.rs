//! Attacker-chosen text in a form that can break no structure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Percent-encodes everything but letters, digits and what no reader of a header takes for structure.
pub(super) fn percent_encoded(text: &str) -> String {
    encode(text.as_bytes(), |byte| byte.is_ascii_alphanumeric() || b"-._~/:@!$*'()=".contains(&byte))
}

/// A certificate as PEM, percent-encoded: everything outside the unreserved set, newlines as `%0A`.
pub(super) fn encoded_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 60);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    encode(pem.as_bytes(), |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// Printable ASCII: what a header may hold and every reader reads alike.
pub(super) fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn encode(bytes: &[u8], stays: fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len() + bytes.len() / 4);
    for &byte in bytes {
        if stays(byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', char::from(DIGITS[usize::from(byte >> 4)]), char::from(DIGITS[usize::from(byte & 15)])]);
        }
    }
    out
}
