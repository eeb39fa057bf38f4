//! `X-Forwarded-Client-Cert`, in Envoy's grammar and order: By, Hash, Cert, Chain, Subject, URI, DNS. Envoy
//! quotes Subject, Cert and Chain only; we quote wherever a reserved character stands, and leave out what no
//! quoting makes safe: parsers disagree about a backslash before a quote.

use rustls_pki_types::CertificateDer;

use super::text;
use crate::pki::{Certificate, San};

/// The most that one element may take: certificates of Google's budget fit, endless lists of names do not.
pub(super) const MAX_ELEMENT: usize = 16 * 1024;

/// One element, and what had to be left out of it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) text: String,
    pub(super) left_out: Vec<&'static str>,
}

/// Which of the long parts are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Long {
    pub(super) cert: bool,
    pub(super) chain: bool,
}

impl Element {
    /// Describes a leaf. `by`: the URI SANs of our own certificate; `chain`: what the leaf was verified through, without it.
    pub(super) fn of(leaf: &Certificate, chain: &[CertificateDer<'_>], by: &[Box<str>], long: Long) -> Self {
        let mut element = Self::default();
        element.values("xfcc-by", "By", by.iter().map(|uri| &**uri));
        element.pair("xfcc-hash", &format!("Hash={}", leaf.fingerprint));
        if long.cert {
            element.pair("xfcc-cert", &format!("Cert=\"{}\"", text::encoded_pem(&leaf.der)));
        }
        if long.chain {
            let chain: String = std::iter::once(&leaf.der).chain(chain).map(|der| text::encoded_pem(der)).collect();
            element.pair("xfcc-chain", &format!("Chain=\"{chain}\""));
        }
        element.subject(&leaf.subject.rfc2253());
        let uris = leaf.sans.iter().filter_map(|san| if let San::Uri(uri) = san { Some(&**uri) } else { None });
        if !element.values("xfcc-uri", "URI", uris) {
            // As Envoy has it: the key says that it was looked for.
            element.pair("xfcc-uri", "URI=");
        }
        let names = leaf.sans.iter().filter_map(|san| if let San::Dns(name) = san { Some(&**name) } else { None });
        element.values("xfcc-dns", "DNS", names);
        element
    }

    /// Always quoted. RFC 2253's own `\"` and `\\` are written as `\22` and `\5C`, which mean the same there and leave no
    /// backslash for a parser to see before a quote.
    fn subject(&mut self, rfc2253: &str) {
        let mut subject = String::with_capacity(rfc2253.len() + 10);
        let mut rest = rfc2253.chars();
        while let Some(character) = rest.next() {
            match character {
                '\\' => match rest.next() {
                    Some('"') => subject.push_str("\\22"),
                    Some('\\') | None => subject.push_str("\\5C"),
                    Some(other) => subject.extend(['\\', other]),
                },
                '"' => subject.push_str("\\22"),
                _ => subject.push(character),
            }
        }
        if text::is_printable(&subject) {
            self.pair("xfcc-subject", &format!("Subject=\"{subject}\""));
        } else {
            self.left_out.push("xfcc-subject");
        }
    }

    /// One pair a value; all of them or, past the budget, none: half a list of names is another list. Tells whether any was written.
    fn values<'a>(&mut self, field: &'static str, key: &str, values: impl Iterator<Item = &'a str>) -> bool {
        let mut pairs = String::new();
        for value in values {
            let Some(value) = quoted_if_needed(value) else {
                self.left_out.push(field);
                continue;
            };
            if !pairs.is_empty() {
                pairs.push(';');
            }
            pairs.extend([key, "=", &value]);
        }
        !pairs.is_empty() && self.pair(field, &pairs)
    }

    fn pair(&mut self, field: &'static str, pair: &str) -> bool {
        if self.text.len() + pair.len() >= MAX_ELEMENT {
            self.left_out.push(field);
            return false;
        }
        if !self.text.is_empty() {
            self.text.push(';');
        }
        self.text.push_str(pair);
        true
    }
}

/// `None` where nothing makes it safe: empty, not printable, or with a backslash.
fn quoted_if_needed(value: &str) -> Option<String> {
    if value.is_empty() || !text::is_printable(value) || value.contains('\\') {
        return None;
    }
    match value.contains([',', ';', '=', '"', ' ']) {
        true => Some(format!("\"{}\"", value.replace('"', "\\\""))),
        false => Some(value.to_owned()),
    }
}

/// Joins what a node forwarded, so that ours can be appended. `None` where some parser might read past its end, and so
/// take our element for a part of the last one.
pub(super) fn joined<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    for line in lines {
        if !ends_outside_quotes(line) {
            return None;
        }
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(line);
    }
    (!joined.is_empty()).then_some(joined)
}

/// Read both ways: with `\"` as the only escape, and with a backslash escaping whatever follows it.
fn ends_outside_quotes(line: &[u8]) -> bool {
    let (mut narrow, mut wide) = (false, false);
    let mut escaped = false;
    for (at, &byte) in line.iter().enumerate() {
        if !(b' '..=b'~').contains(&byte) {
            return false;
        }
        if byte == b'"' {
            narrow ^= !(narrow && at > 0 && line[at - 1] == b'\\');
            wide ^= !escaped;
        }
        escaped = wide && byte == b'\\' && !escaped;
    }
    !narrow && !wide && !escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_quoted_where_it_has_to_be_and_left_out_where_that_does_not_help() {
        let table = [
            ("spiffe://x/y", Some("spiffe://x/y")),
            ("a.example", Some("a.example")),
            ("a,b", Some("\"a,b\"")),
            ("a;Hash=0", Some("\"a;Hash=0\"")),
            ("a\"b", Some("\"a\\\"b\"")),
            ("a b", Some("\"a b\"")),
            ("a\\", None),
            ("a\\\";Hash=0", None),
            ("a\r\nX: y", None),
            ("a\0", None),
            ("caf\u{e9}", None),
            ("", None),
        ];
        for (value, expected) in table {
            assert_eq!(quoted_if_needed(value).as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn a_nodes_element_must_not_swallow_ours() {
        let table: [(&[&'static str], Option<&str>); 8] = [
            (&["Hash=aa;Subject=\"CN=a,O=b\""], Some("Hash=aa;Subject=\"CN=a,O=b\"")),
            (&["Hash=aa", "Hash=bb"], Some("Hash=aa,Hash=bb")),
            (&["Hash=aa;Subject=\"CN=\\\"a\\\"\""], Some("Hash=aa;Subject=\"CN=\\\"a\\\"\"")),
            (&["Hash=aa;Subject=\"CN=a"], None),
            (&["Hash=aa;Subject=\"CN=a\\\""], None),
            // Closed to one parser, open to the other.
            (&["Hash=aa;Subject=\"CN=a\\\\\""], None),
            (&["Hash=aa", "Subject=\""], None),
            (&[], None),
        ];
        for (lines, expected) in table {
            let joined = joined(lines.iter().map(|line| line.as_bytes()));
            assert_eq!(joined.as_deref(), expected.map(str::as_bytes), "{lines:?}");
        }
    }
}
