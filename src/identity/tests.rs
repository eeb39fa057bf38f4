//! What is told, parsed back by other parsers: RFC 9440 by `sfv`, XFCC by two that disagree about backslashes.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use sfv::{BareItem, Parser};

use super::*;
use crate::admission::{Admission, Basis, Clearance, Principal, PrincipalId, PrincipalName, Provenance, Terms};
use crate::message;
use crate::pki::{Certificate, Fingerprint};

/// A self-signed leaf. `dns` and `uris` may be no names at all.
fn leaf(common_name: &str, organization: &str, dns: &[&str], uris: &[&str]) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !common_name.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    params.subject_alt_names.extend(dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())));
    params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
    let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Certificate::parse(CertificateDer::from(signed.der().to_vec())).unwrap()
}

fn admission(clearance: Clearance, basis: Basis, identifier: &str) -> Admission {
    let name: PrincipalName = "ci/pipelines".parse().unwrap();
    let principal = Principal {
        id: PrincipalId::derived(&name),
        name,
        display_name: Some("Pipelines\r\nX-Evil: 1".into()),
        terms: Arc::new(Terms { clearance, ..Terms::default() }),
        provenance: Provenance { file: "x".into(), line: 1 },
    };
    Admission { principal: Arc::new(principal), basis, identifier: identifier.into(), access: Some(Access::Write) }
}

fn settings() -> Settings {
    Settings { dialects: vec![Dialect::Xfcc, Dialect::Rfc9440, Dialect::Portcullis], ..Settings::default() }
}

fn written(rendered: &Rendered, asked: &[(&'static str, &'static str)]) -> Fields {
    let mut headers = Fields::default();
    for (name, value) in asked {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    replace(&mut headers, Some(rendered), Access::Read, Some(&HeaderValue::from_static("2001:db8::7")));
    headers
}

fn text<'a>(headers: &'a Fields, name: &str) -> Option<&'a str> {
    assert!(headers.get_all(name).count() <= 1, "{name} stands twice");
    headers.get(name).map(|value| message::text(value).unwrap())
}

type Pairs = Vec<(String, String)>;

/// Knows only the grammar: elements split at `,`, pairs at `;`, outside quotes. `wide`: a backslash escapes
/// whatever follows it, else a quote only. `None`: ends inside quotes, or a pair without a key.
fn parse_xfcc(text: &str, wide: bool) -> Option<Vec<Pairs>> {
    let (mut elements, mut pairs, mut pair, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut rest = text.chars().chain([',']).peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' if quoted && (wide || rest.peek() == Some(&'"')) => pair.extend(rest.next()),
            '"' => quoted = !quoted,
            ';' | ',' if !quoted => {
                let (key, value) = pair.split_once('=')?;
                pairs.push((key.to_owned(), value.to_owned()));
                pair.clear();
                if character == ',' {
                    elements.push(std::mem::take(&mut pairs));
                }
            }
            _ => pair.push(character),
        }
    }
    (!quoted && pair.is_empty()).then_some(elements)
}

fn keys(pairs: &Pairs) -> Vec<&str> {
    pairs.iter().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn xfcc_is_what_envoy_writes() {
    let leaf = leaf("client-7", "Example", &["a.example", "b.example"], &["spiffe://x/y"]);
    let by: [Box<str>; 1] = ["spiffe://edge.example/proxy".into()];
    let rendered = Rendered::new(&settings(), &admission(Clearance::User, Basis::Pin, "x"), Some(&leaf), &by);
    let expected = format!(
        "By=spiffe://edge.example/proxy;Hash={};Subject=\"CN=client-7,O=Example\";URI=spiffe://x/y;DNS=a.example;DNS=b.example",
        Fingerprint::of(&leaf.der)
    );
    let headers = written(&rendered, &[("x-forwarded-client-cert", "Hash=forged")]);
    assert_eq!(text(&headers, "x-forwarded-client-cert"), Some(expected.as_str()));
    assert_eq!(rendered.left_out(), []);
}

#[test]
fn a_leaf_without_names_has_an_empty_subject_and_uri() {
    let leaf = leaf("", "", &[], &[]);
    let rendered = Rendered::new(&settings(), &admission(Clearance::User, Basis::Pin, "x"), Some(&leaf), &[]);
    let expected = format!("Hash={};Subject=\"\";URI=", leaf.fingerprint);
    assert_eq!(text(&written(&rendered, &[]), "x-forwarded-client-cert"), Some(expected.as_str()));
}

#[test]
fn cert_and_chain_are_encoded_pem_where_wanted() {
    let (leaf, ca) = (leaf("a", "b", &[], &[]), leaf("ca", "b", &[], &[]));
    let settings = Settings { xfcc_cert: true, xfcc_chain: true, ..settings() };
    let basis = Basis::Authority { chain: [ca.der.clone()].into() };
    let rendered = Rendered::new(&settings, &admission(Clearance::User, basis, "x"), Some(&leaf), &[]);
    let headers = written(&rendered, &[]);
    let elements = parse_xfcc(text(&headers, "x-forwarded-client-cert").unwrap(), false).unwrap();
    assert_eq!(keys(&elements[0]), ["Hash", "Cert", "Chain", "Subject", "URI"]);
    let decode = |value: &str| {
        assert!(!value.contains(['+', '/', '=', ' ', '\n']), "{value}");
        let decoded = value.replace("%20", " ").replace("%0A", "\n").replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        crate::pki::files::certificates(decoded.as_bytes(), None).unwrap().into_iter().map(|found| found.value.der).collect::<Vec<_>>()
    };
    assert_eq!(decode(&elements[0][1].1), std::slice::from_ref(&leaf.der));
    assert_eq!(decode(&elements[0][2].1), [leaf.der.clone(), ca.der.clone()]);
}

#[test]
fn client_cert_parses_as_a_structured_field() {
    let (leaf, intermediate, anchor) = (leaf("a", "b", &[], &[]), leaf("i", "b", &[], &[]), leaf("r", "b", &[], &[]));
    let basis = Basis::Authority { chain: [intermediate.der.clone(), anchor.der.clone()].into() };
    let rendered = Rendered::new(&settings(), &admission(Clearance::User, basis, "x"), Some(&leaf), &[]);
    let headers = written(&rendered, &[("client-cert", "forged"), ("client-cert-chain", "forged")]);
    let item: sfv::Item = Parser::new(text(&headers, "client-cert").unwrap()).parse().unwrap();
    assert_eq!(item.bare_item, BareItem::ByteSequence(leaf.der.to_vec()));
    assert!(item.params.is_empty());
    let list: sfv::List = Parser::new(text(&headers, "client-cert-chain").unwrap()).parse().unwrap();
    let members: Vec<_> = list
        .into_iter()
        .map(|entry| if let sfv::ListEntry::Item(item) = entry { item.bare_item } else { panic!("a list of lists") })
        .collect();
    assert_eq!(members, [&intermediate, &anchor].map(|certificate| BareItem::ByteSequence(certificate.der.to_vec())));
}

#[test]
fn a_pin_has_no_chain() {
    let leaf = leaf("a", "b", &[], &[]);
    for basis in [Basis::Pin, Basis::WellKnownAdmin] {
        let rendered = Rendered::new(&settings(), &admission(Clearance::User, basis, "x"), Some(&leaf), &[]);
        let headers = written(&rendered, &[("client-cert-chain", "forged")]);
        assert!(headers.contains_key("client-cert") && !headers.contains_key("client-cert-chain"));
    }
}

#[test]
fn portcullis_tells_who_and_what_for() {
    let leaf = leaf("a", "b", &[], &[]);
    let admission = admission(Clearance::Operator, Basis::Pin, "Jos\u{e9}, \"the; king\"\r\n100%+");
    let rendered = Rendered::new(&settings(), &admission, Some(&leaf), &[]);
    let headers = written(&rendered, &[("x-portcullis-principal", "admin"), ("x_portcullis_access", "admin")]);
    assert_eq!(text(&headers, "x-portcullis-principal"), Some("ci/pipelines"));
    assert_eq!(text(&headers, "x-portcullis-id"), Some(admission.principal.id.to_string().as_str()));
    assert_eq!(text(&headers, "x-portcullis-identifier"), Some("Jos%C3%A9%2C%20%22the%3B%20king%22%0D%0A100%25%2B"));
    assert_eq!(text(&headers, "x-portcullis-clearance"), Some("operator"));
    assert_eq!(text(&headers, "x-portcullis-access"), Some("write"));
    assert_eq!(text(&headers, "x-portcullis-fingerprint"), Some(leaf.fingerprint.to_string().as_str()));
    assert_eq!(text(&headers, "x-portcullis-client-ip"), Some("2001:db8::7"));
    assert!(!headers.contains_key("x-portcullis-left-out") && !headers.contains_key("x_portcullis_access"));
}

#[test]
fn an_spki_pin_tells_nothing_of_the_leaf() {
    let rendered = Rendered::new(&settings(), &admission(Clearance::User, Basis::SpkiPin, "ci/pipelines"), None, &["spiffe://us".into()]);
    let mut names: Vec<String> =
        written(&rendered, &[("client-cert", "forged")]).iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    let expected = ["access", "clearance", "client-ip", "id", "identifier", "principal"].map(|field| format!("x-portcullis-{field}"));
    assert_eq!(names, expected);
}

#[test]
fn an_open_route_tells_nothing() {
    let mut headers = Fields::default();
    for name in ["x-portcullis-principal", "client-cert", "x-forwarded-client-cert", "x-portcullis-client-ip"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("forged"));
    }
    replace(&mut headers, None, Access::Admin, Some(&HeaderValue::from_static("192.0.2.1")));
    assert!(headers.is_empty(), "{headers:?}");
}

#[test]
fn only_behind_a_node_is_xfcc_appended() {
    let leaf = leaf("a", "b", &[], &[]);
    let asked = [("x-forwarded-client-cert", "Hash=aa;Subject=\"CN=far,O=away\""), ("x-forwarded-client-cert", "Hash=bb")];
    for (clearance, expected) in [(Clearance::Node, 3), (Clearance::Admin, 1), (Clearance::Operator, 1), (Clearance::User, 1)] {
        let rendered = Rendered::new(&settings(), &admission(clearance, Basis::Pin, "x"), Some(&leaf), &[]);
        let headers = written(&rendered, &asked);
        let elements = parse_xfcc(text(&headers, "x-forwarded-client-cert").unwrap(), false).unwrap();
        assert_eq!(elements.len(), expected, "{clearance:?}");
        assert_eq!(elements.last().unwrap()[0], ("Hash".to_owned(), leaf.fingerprint.to_string()));
    }
    let node = Rendered::new(&settings(), &admission(Clearance::Node, Basis::Pin, "x"), Some(&leaf), &[]);
    let headers = written(&node, &[("x-forwarded-client-cert", "Hash=aa;Subject=\"open"), ("x_forwarded_client_cert", "Hash=cc")]);
    assert_eq!(parse_xfcc(text(&headers, "x-forwarded-client-cert").unwrap(), false).unwrap().len(), 1, "an open quote is no element");
    let off = Settings { dialects: vec![Dialect::Rfc9440], ..Settings::default() };
    let rendered = Rendered::new(&off, &admission(Clearance::Node, Basis::Pin, "x"), Some(&leaf), &[]);
    assert!(!written(&rendered, &asked).contains_key("x-forwarded-client-cert"), "a dialect that is off is removed from nodes too");
}

#[test]
fn what_does_not_fit_is_left_out_whole_and_said() {
    let names: Vec<String> = (0..1200).map(|n| format!("host-{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let leaf = leaf("a", "b", &names, &["spiffe://x/y"]);
    let rendered = Rendered::new(&settings(), &admission(Clearance::User, Basis::Pin, "x"), Some(&leaf), &[]);
    let headers = written(&rendered, &[]);
    let elements = parse_xfcc(text(&headers, "x-forwarded-client-cert").unwrap(), false).unwrap();
    assert_eq!(keys(&elements[0]), ["Hash", "Subject", "URI"]);
    assert!(!headers.contains_key("client-cert"));
    assert_eq!(text(&headers, "x-portcullis-left-out"), Some("xfcc-dns, client-cert"));
    assert_eq!(rendered.left_out(), [(Dialect::Xfcc, "xfcc-dns"), (Dialect::Rfc9440, "client-cert")]);
}

/// A self-signed client picks its own names. Whatever it picks: one element to either parser, with our keys and nothing else.
#[test]
fn no_name_breaks_the_structure() {
    let pieces = ["\"", "\\", ",", ";", "=", " ", "Hash=", "a", "%22", "\r\n", "\t", "\u{e9}", "\u{1f980}", "#", "+", "<", "\\\"", "\x7f"];
    let mut state = 99_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..400 {
        let mut hostile = |ascii: bool| {
            let text: String = (0..=random(6)).map(|_| pieces[random(pieces.len())]).filter(|piece| !ascii || piece.is_ascii()).collect();
            if text.is_empty() { "a".to_owned() } else { text }
        };
        let (name, organization, dns, uri) = (hostile(false), hostile(false), hostile(true), hostile(true));
        let leaf = leaf(&name, &organization, &[&dns], &[&uri]);
        let settings = Settings { xfcc_cert: true, ..settings() };
        let rendered = Rendered::new(&settings, &admission(Clearance::User, Basis::Pin, &name), Some(&leaf), &[]);
        let headers = written(&rendered, &[]);
        assert!(headers.iter().all(|(_, value)| value.iter().all(|byte| (b' '..=b'~').contains(byte))), "{headers:?}");
        let xfcc = text(&headers, "x-forwarded-client-cert").unwrap();
        for wide in [false, true] {
            let elements = parse_xfcc(xfcc, wide).unwrap_or_else(|| panic!("{xfcc}"));
            assert_eq!(elements.len(), 1, "{xfcc}");
            let keys = keys(&elements[0]);
            let all = ["Hash", "Cert", "Subject", "URI", "DNS"];
            assert!(keys == all || keys == all[..4], "{xfcc}");
            assert_eq!(elements[0][0].1, leaf.fingerprint.to_string());
        }
        let value = |key: &str| parse_xfcc(xfcc, false).unwrap()[0].iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        if let Some(dns_told) = value("DNS") {
            assert_eq!(dns_told, dns, "told as it is, or not at all");
        }
        assert!(value("URI").is_some_and(|told| told.is_empty() || told == uri), "{xfcc}");
    }
}

#[test]
fn vary_on_either_field_becomes_a_star() {
    let table: [(&[&'static str], &[&str]); 6] = [
        (&["Client-Cert"], &["*"]),
        (&["Accept, client-cert-chain"], &["*"]),
        (&["Accept", "CLIENT-CERT , X"], &["*"]),
        (&["Accept", "Origin"], &["Accept", "Origin"]),
        (&["X-Client-Cert"], &["X-Client-Cert"]),
        (&[], &[]),
    ];
    for (lines, expected) in table {
        let mut headers = Fields::default();
        for line in lines {
            headers.append(Name::Vary, HeaderValue::from_static(line));
        }
        guard_vary(&mut headers);
        let left: Vec<&str> = headers.get_all(&Name::Vary).map(|value| message::text(value).unwrap()).collect();
        assert_eq!(left, expected, "{lines:?}");
    }
}
