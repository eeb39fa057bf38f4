//! What an upstream is told, of names that a CA let pass and headers that a client made up. Beyond "no panic":
//! no claim survives, and nothing in a name becomes a field, an element or a pair of its own.
#![no_main]

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::admission::{Access, Admission, Basis, Principal, PrincipalId, PrincipalName, Provenance, Terms};
use portcullis::identity::{self, Dialect, Rendered, Settings};
use portcullis::message::Fields;
use portcullis::pki::{Certificate, San};
use rustls_pki_types::CertificateDer;

const LEAF: &[u8] = include_bytes!("seeds/certificate/leaf.der");

// Parted by NUL, which is in no name: common name, unit, URI, DNS name, identifier, display name, then claimed header lines.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(7, |byte| *byte == 0).map(String::from_utf8_lossy);
    let mut part = || parts.next().unwrap_or_default().into_owned();
    let mut leaf = Certificate::parse(CertificateDer::from(LEAF)).expect("the seed");
    for attribute in leaf.subject.attributes.iter_mut().rev().take(2) {
        attribute.value = Some(part().into());
    }
    // Names reach us printable only: `pki` sorts out the others.
    let printable = |text: String| text.chars().filter(|character| matches!(character, ' '..='~')).collect::<String>();
    leaf.sans.extend([San::Uri(printable(part()).into()), San::Dns(printable(part()).into())]);
    let admission = admission(part(), part(), leaf.fingerprint.as_bytes()[0].is_multiple_of(2));
    let claimed = claims(&part());

    let mut open = claimed.clone();
    identity::replace(&mut open, None, Access::Read, None);
    assert!(open.iter().all(|(name, _)| !identity::is_ours(name)), "no claim survives");

    let settings = Settings { dialects: vec![Dialect::Portcullis, Dialect::Rfc9440, Dialect::Xfcc], xfcc_cert: true, xfcc_chain: false };
    let rendered = Rendered::new(&settings, &admission, Some(&leaf), &["spiffe://gate".into()]);
    let mut told = claimed;
    identity::replace(&mut told, Some(&rendered), Access::Read, Some(&HeaderValue::from_static("192.0.2.1")));
    for (name, value) in told.iter().filter(|(name, _)| identity::is_ours(name)) {
        let name = str::from_utf8(name).expect("a token");
        assert_eq!(told.get_all(name).count(), 1, "{name} stands once");
        assert!(value.iter().all(|byte| matches!(byte, b' '..=b'~')), "{name} is printable ASCII");
    }
    if let Some(value) = told.get("client-cert") {
        let item = sfv::Parser::new(value).parse::<sfv::Item>().expect("RFC 9440 is a structured field");
        assert!(matches!(item.bare_item, sfv::BareItem::ByteSequence(der) if der == LEAF));
    }
    if let Some(value) = told.get("x-forwarded-client-cert") {
        let hash = format!("Hash={}", leaf.fingerprint);
        for wide in [false, true] {
            let pairs = pairs(str::from_utf8(value).expect("printable"), wide);
            assert_eq!(pairs.iter().filter(|pair| pair.starts_with("Hash=")).collect::<Vec<_>>(), [&hash], "one element, ours");
            assert_eq!(pairs.iter().filter(|pair| pair.starts_with("By=")).count(), 1);
        }
    }
});

fn admission(identifier: String, display_name: String, authority: bool) -> Admission {
    let name: PrincipalName = "ci/pipelines".parse().expect("a name");
    let principal = Principal {
        id: PrincipalId::derived(&name),
        name,
        display_name: Some(display_name.into()),
        terms: Arc::new(Terms::default()),
        provenance: Provenance { file: "fuzz".into(), line: 1 },
    };
    let basis = if authority { Basis::Authority { chain: vec![CertificateDer::from(LEAF)].into() } } else { Basis::Pin };
    Admission { principal: Arc::new(principal), basis, identifier: identifier.into(), access: Some(Access::Read) }
}

fn claims(text: &str) -> Fields {
    let mut headers = Fields::default();
    for line in text.lines().take(100) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Splits XFCC at `;` and `,` outside quotes. Parsers disagree about backslashes: `wide` ones let them escape
/// everything, others a quote only.
fn pairs(text: &str, wide: bool) -> Vec<String> {
    let (mut pairs, mut pair, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' if quoted && (wide || rest.peek() == Some(&'"')) => pair.extend(rest.next()),
            '"' => quoted = !quoted,
            ';' | ',' if !quoted => pairs.push(std::mem::take(&mut pair)),
            _ => pair.push(character),
        }
    }
    assert!(!quoted, "ends inside quotes");
    pairs.push(pair);
    pairs
}
