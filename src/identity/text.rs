//! Attacker-chosen text in a form that can break no structure.

use crate::pki::files;

/// Percent-encodes everything but letters, digits and what no reader of a header takes for structure.
pub(super) fn percent_encoded(text: &str) -> String {
    encode(text.as_bytes(), |byte| byte.is_ascii_alphanumeric() || b"-._~/:@!$*'()=".contains(&byte))
}

/// A certificate as PEM, percent-encoded: everything outside the unreserved set, newlines as `%0A`.
pub(super) fn encoded_pem(der: &[u8]) -> String {
    encode(files::pem_of(der).as_bytes(), |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
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
