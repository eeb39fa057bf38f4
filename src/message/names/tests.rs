//! A name is told apart as the plain rules say, which are written down here once more: in every spelling, and for names that nobody knows.

use super::*;

/// The rules, one name after the other.
fn plainly(name: &[u8]) -> Name {
    let text = str::from_utf8(name).unwrap_or("");
    let lower = text.to_ascii_lowercase();
    let folded = lower.replace(['_', '.'], "-");
    let one = [
        ("accept", Name::Accept),
        ("authorization", Name::Authorization),
        ("connection", Name::Connection),
        ("content-length", Name::ContentLength),
        ("cookie", Name::Cookie),
        ("date", Name::Date),
        ("expect", Name::Expect),
        ("forwarded", Name::Forwarded),
        ("host", Name::Host),
        ("origin", Name::Origin),
        ("sec-fetch-site", Name::SecFetchSite),
        ("te", Name::Te),
        ("trailer", Name::Trailer),
        ("transfer-encoding", Name::TransferEncoding),
        ("upgrade", Name::Upgrade),
        ("vary", Name::Vary),
        ("x-forwarded-for", Name::XForwardedFor),
        ("x-forwarded-host", Name::XForwardedHost),
        ("x-forwarded-proto", Name::XForwardedProto),
        ("x-request-id", Name::XRequestId),
    ];
    let forwarding = ["port", "prefix", "scheme", "server", "ssl"].map(|what| format!("x-forwarded-{what}"));
    let hop = ["http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"];
    let framing = ["connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"].iter().chain(&hop);
    let is_forwarding =
        |name: &String| forwarding.contains(name) || ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"].contains(&name.as_str());
    let begins = |prefix: &&str| folded.starts_with(*prefix);
    if let Some((_, known)) = one.iter().find(|(known, _)| *known == lower) {
        *known
    } else if forwarding.contains(&lower) {
        Name::Forwarding
    } else if hop.contains(&lower.as_str()) {
        Name::Hop
    } else if lower != folded && framing.into_iter().any(|known| *known == folded.trim_matches('-')) {
        Name::Respelled
    } else if ["x-http-method", "x-http-method-override", "x-method-override"].contains(&folded.as_str()) {
        Name::MethodOverride
    } else if CLAIMS.contains(&folded.as_str()) || CLAIMS_BEGIN.iter().any(begins) || (lower != folded && is_forwarding(&folded)) {
        Name::Claimed
    } else {
        Name::Other
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn respelled(name: &str, random: &mut Random) -> Vec<u8> {
    let folds = random.below(2) == 0;
    let mut spelled: Vec<u8> = name
        .bytes()
        .map(|byte| match (byte, random.below(3)) {
            (b'-', 0) if folds => b'_',
            (b'-', 1) if folds => b'.',
            (_, 0) => byte.to_ascii_uppercase(),
            _ => byte,
        })
        .collect();
    match random.below(12) {
        0 => spelled.insert(0, b"-_.xXc"[random.below(6)]),
        1 => spelled.push(b"-_.xs1"[random.below(6)]),
        2 => spelled.extend_from_slice(b"-more"),
        3 => drop(spelled.pop()),
        4 => drop(spelled.remove(0)),
        5 => {
            let at = random.below(spelled.len());
            spelled[at] = TOKEN[random.below(TOKEN.len())];
        }
        _ => {}
    }
    spelled
}

#[test]
fn every_name_that_we_know_is_told_apart_in_every_spelling() {
    let known = KNOWN.iter().map(|(name, _)| *name);
    let names: Vec<&str> = known
        .chain(CLAIMS.iter().copied())
        .chain(CLAIMS_BEGIN.iter().copied())
        .chain(METHOD_OVERRIDES.iter().copied())
        .chain(OTHERS)
        .collect();
    let mut random = Random(11);
    for _ in 0..200_000 {
        let name = respelled(names[random.below(names.len())], &mut random);
        assert_eq!(Name::of(&name), plainly(&name), "{:?}", String::from_utf8_lossy(&name));
    }
    for name in names {
        assert_eq!(Name::of(name.as_bytes()), plainly(name.as_bytes()), "{name}");
        assert_eq!(Name::of(name.to_ascii_uppercase().as_bytes()), plainly(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_name_is_another_one_with_any_other_byte() {
    for (known, _) in KNOWN {
        for at in 0..known.len() {
            for byte in 0..=u8::MAX {
                let mut name = known.as_bytes().to_vec();
                name[at] = byte;
                assert_eq!(Name::of(&name), plainly(&name), "{known}, {at}: {byte:#x}");
            }
        }
    }
}

#[test]
fn names_that_nobody_knows_are_told_apart() {
    let mut random = Random(13);
    for _ in 0..200_000 {
        let name: Vec<u8> = (0..random.below(24)).map(|_| TOKEN[random.below(TOKEN.len())]).collect();
        assert_eq!(Name::of(&name), plainly(&name), "{:?}", String::from_utf8_lossy(&name));
    }
    for name in [&b""[..], b"-", b"_", b".", b"--", b"x", b"\xff\xff", b"host\xff", &[b'x'; 70_000]] {
        assert_eq!(Name::of(name), plainly(name));
    }
}

#[test]
fn each_name_has_its_text() {
    for (text, name) in KNOWN {
        assert_eq!(name.text(), if MANY.has(name) { "" } else { text });
    }
    assert_eq!((Name::Claimed.text(), Name::Other.text()), ("", ""));
}

#[test]
fn sets_know_their_names() {
    let (ab, bc) = (Names::of(&[Name::Accept, Name::XRequestId]), Names::of(&[Name::XRequestId, Name::Cookie]));
    assert!(ab.has(Name::Accept) && !ab.has(Name::Cookie) && ab.meet(bc) && ab.and(bc).has(Name::Cookie));
    assert!(!ab.meet(Names::of(&[Name::Cookie])) && !ab.without(bc).meet(bc) && !Names::default().meet(ab));
}

const CLAIMS: &[&str] = &[
    "x-forwarded-client-cert",
    "x-ssl",
    "x-arr-clientcert",
    "x-forwarded-user",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "client-cert",
    "client-cert-chain",
    "l5d-client-id",
    "true-client-ip",
];

const CLAIMS_BEGIN: &[&str] = &["x-portcullis-", "x-ssl-", "x-amzn-mtls-", "x-client-cert-", "x-forwarded-tls-", "cf-cert-", "ssl-client-"];

const OTHERS: [&str; 12] = [
    "user-agent",
    "server",
    "content-type",
    "last-modified",
    "etag",
    "accept-ranges",
    "x-own",
    "traceparent",
    "client",
    "client-certificate",
    "x-sslx",
    "x-forwarded-port-x",
];

const TOKEN: &[u8] = b"abcdefghilnoprstuvxyzABCDEFGHILNOPRSTUVXYZ0123456789-_.-_.!#$%&'*+^`|~";
