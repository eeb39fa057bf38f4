//! Whose word on the address counts, in tables.

use http::HeaderName;

use super::*;
use crate::message::text;

fn trust(header: ForwardingHeader) -> Trust {
    Trust {
        proxy_from: vec!["192.0.2.0/24".parse().unwrap()],
        forwarded_from: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        header,
    }
}

fn headers(fields: &[(&'static str, &[u8])]) -> Fields {
    let mut headers = Fields::default();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_header_may_still_speak_for_a_trusted_forwarder_only() {
    let trust = trust(ForwardingHeader::XForwardedFor);
    for (peer, expected) in [
        (Some("198.51.100.7"), ClientAddress::Settled(ip("198.51.100.7"))),
        (Some("::ffff:198.51.100.7"), ClientAddress::Settled(ip("198.51.100.7"))),
        (Some("10.1.2.3"), ClientAddress::Unsettled(ip("10.1.2.3"))),
        (Some("::ffff:10.1.2.3"), ClientAddress::Unsettled(ip("10.1.2.3"))),
        (None, ClientAddress::Unknown),
    ] {
        assert_eq!(trust.connection(peer.map(ip)), expected, "{peer:?}");
    }
    assert!(trust.takes_proxy_from(Some(ip("::ffff:192.0.2.9"))) && trust.takes_proxy_from(None));
    assert!(!trust.takes_proxy_from(Some(ip("10.1.2.3"))) && !Trust::default().takes_proxy_from(Some(ip("127.0.0.1"))));
}

#[test]
fn the_header_is_walked_from_the_right_past_trusted_addresses() {
    use ForwardingHeader::*;
    let table: &[(ForwardingHeader, &str, &[&[u8]], &str)] = &[
        (XForwardedFor, "198.51.100.7", &[b"203.0.113.1"], "198.51.100.7"),
        (XForwardedFor, "10.0.0.1", &[], "10.0.0.1"),
        (XForwardedFor, "10.0.0.1", &[b"203.0.113.1"], "203.0.113.1"),
        (XForwardedFor, "10.0.0.1", &[b"6.6.6.6, 203.0.113.1"], "203.0.113.1"),
        (XForwardedFor, "10.0.0.1", &[b"6.6.6.6, 203.0.113.1 ,10.0.0.2"], "203.0.113.1"),
        (XForwardedFor, "10.0.0.1", &[b"203.0.113.1", b"10.0.0.2"], "203.0.113.1"),
        (XForwardedFor, "10.0.0.1", &[b"10.0.0.3,10.0.0.2"], "10.0.0.3"),
        (XForwardedFor, "10.0.0.1", &[b"203.0.113.1, garbage, 10.0.0.2"], "10.0.0.2"),
        (XForwardedFor, "10.0.0.1", &[b"203.0.113.1,"], "10.0.0.1"),
        (XForwardedFor, "10.0.0.1", &[b"203.0.113.1, unknown"], "10.0.0.1"),
        (XForwardedFor, "10.0.0.1", &[b"203.0.113.1, \xff"], "10.0.0.1"),
        (XForwardedFor, "10.0.0.1", &[b"203.0.113.1:4711"], "203.0.113.1"),
        (XForwardedFor, "10.0.0.1", &[b"2a00::7"], "2a00::7"),
        (XForwardedFor, "10.0.0.1", &[b"[2a00::7]"], "2a00::7"),
        (XForwardedFor, "10.0.0.1", &[b"[2a00::7]:99"], "2a00::7"),
        (XForwardedFor, "10.0.0.1", &[b"203.0.113.1, ::ffff:10.0.0.9"], "203.0.113.1"),
        (XForwardedFor, "2001:db8::1", &[b"203.0.113.1"], "203.0.113.1"),
        (XForwardedFor, "10.0.0.1", &[b"0203.0.113.1"], "10.0.0.1"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1"], "203.0.113.1"),
        (Forwarded, "10.0.0.1", &[b"For=\"203.0.113.1:99\";proto=https;by=10.0.0.9"], "203.0.113.1"),
        (Forwarded, "10.0.0.1", &[b"for=6.6.6.6, for=\"[2a00::7]:99\""], "2a00::7"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1, for=10.0.0.2"], "203.0.113.1"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1, for=unknown"], "10.0.0.1"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1, for=_hidden"], "10.0.0.1"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1, proto=https"], "10.0.0.1"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1;for=6.6.6.6"], "10.0.0.1"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1:99"], "10.0.0.1"),
        (Forwarded, "10.0.0.1", &[b"for=\"2a00::7\""], "10.0.0.1"),
        // An open quote on the client's side must not swallow what the forwarder added.
        (Forwarded, "10.0.0.1", &[b"for=\"6.6.6.6, for=203.0.113.1"], "203.0.113.1"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1;host=\"a, for=6.6.6.6\""], "203.0.113.1"),
        (Forwarded, "10.0.0.1", &[b"for=203.0.113.1;host=\"a\\\", for=6.6.6.6\""], "203.0.113.1"),
    ];
    for (header, peer, lines, expected) in table {
        let name = if *header == Forwarded { "forwarded" } else { "x-forwarded-for" };
        let other = if *header == Forwarded { "x-forwarded-for" } else { "forwarded" };
        let mut fields: Vec<(&'static str, &[u8])> = lines.iter().map(|line| (name, *line)).collect();
        fields.push((other, b"for=7.7.7.7"));
        let trust = trust(*header);
        let origin = trust.request(trust.connection(Some(ip(peer))), &[], &headers(&fields));
        assert_eq!(origin.address, ClientAddress::Settled(ip(expected)), "{header:?} from {peer}: {:?}", headers(&fields));
    }
}

#[test]
fn a_gateway_of_the_principal_counts_for_it_alone() {
    let trust = Trust::default();
    let headers = headers(&[("x-forwarded-for", b"203.0.113.1")]);
    let connection = trust.connection(Some(ip("10.20.0.5")));
    let with = trust.request(connection, &["10.20.0.5/32".parse().unwrap()], &headers);
    assert_eq!(with, Origin { address: ClientAddress::Settled(ip("203.0.113.1")), trusted: true });
    let without = trust.request(connection, &[], &headers);
    assert_eq!(without, Origin { address: ClientAddress::Settled(ip("10.20.0.5")), trusted: false });
    assert_eq!(trust.request(ClientAddress::Unknown, &[], &headers).address, ClientAddress::Unknown);
}

#[test]
fn the_upstream_is_told_by_one_header_only() {
    let asked: &[(&str, &[u8])] = &[
        ("x-forwarded-for", b"6.6.6.6"),
        ("x-forwarded-for", b"203.0.113.1"),
        ("x-forwarded-proto", b"http"),
        ("x-forwarded-host", b"evil"),
        ("x-forwarded-port", b"1"),
        ("forwarded", b"for=7.7.7.7"),
    ];
    let host = HeaderValue::from_static("api.example.com");
    let written = |header, peer: Option<&str>| {
        let trust = trust(header);
        let mut headers = headers(asked);
        let connection = trust.connection(peer.map(ip));
        let origin = trust.request(connection, &[], &headers);
        trust.write(&mut headers, origin, &Peer::new(connection), "https", &host);
        let mut fields: Vec<String> =
            headers.iter().map(|(name, value)| format!("{}: {}", str::from_utf8(name).unwrap(), text(value).unwrap())).collect();
        fields.sort();
        fields
    };
    use ForwardingHeader::*;
    assert_eq!(
        written(XForwardedFor, Some("198.51.100.7")),
        ["x-forwarded-for: 198.51.100.7", "x-forwarded-host: api.example.com", "x-forwarded-proto: https"]
    );
    assert_eq!(
        written(XForwardedFor, Some("10.0.0.1")),
        ["x-forwarded-for: 6.6.6.6, 203.0.113.1, 10.0.0.1", "x-forwarded-host: evil", "x-forwarded-port: 1", "x-forwarded-proto: http"]
    );
    assert_eq!(written(XForwardedFor, None), ["x-forwarded-host: api.example.com", "x-forwarded-proto: https"]);
    assert_eq!(written(Forwarded, Some("2a00::7")), ["forwarded: for=\"[2a00::7]\";host=\"api.example.com\";proto=https"]);
    assert_eq!(
        written(Forwarded, Some("10.0.0.1")),
        ["forwarded: for=7.7.7.7, for=10.0.0.1;host=\"api.example.com\";proto=https", "x-forwarded-port: 1"]
    );
    assert_eq!(written(Forwarded, None), ["forwarded: for=unknown;host=\"api.example.com\";proto=https"]);
}
