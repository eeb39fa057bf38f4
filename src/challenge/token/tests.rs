//! Tokens, read by somebody who knows how they are made and has no key.

use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::hmac;

use super::*;
use crate::challenge::jwt::{decode, encode};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn certificate(name: &str) -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().clone()
}

/// Whose tokens all of these are, and what they say.
struct World {
    name: PrincipalName,
    chain: Vec<CertificateDer<'static>>,
}

impl World {
    fn new() -> Self {
        Self { name: "ci/alice".parse().unwrap(), chain: vec![certificate("alice")] }
    }

    fn order(&self, now: u64) -> Order<'_> {
        Order {
            principal: PrincipalId::derived(&self.name),
            name: &self.name,
            chain: &self.chain,
            bound: None,
            now,
            ttl: None,
            valid_until: u64::MAX,
            identifier: None,
            audit: &[],
        }
    }
}

fn in_memory() -> Tokens {
    Tokens::new(Settings::default(), None)
}

fn ours(bearer: Bearer) -> Ours {
    match bearer {
        Bearer::Ours(ours) => *ours,
        other => panic!("{other:?}"),
    }
}

fn told(bearer: &Bearer) -> &'static str {
    match bearer {
        Bearer::Foreign => "foreign",
        Bearer::Ours(_) => "ours",
        Bearer::Refused(_) => "refused",
    }
}

#[test]
fn a_token_says_what_was_ordered() {
    let (world, tokens) = (World::new(), in_memory());
    let bound = Fingerprint::of(b"a leaf");
    let audit = [("common_name".to_owned(), "alice".to_owned())];
    let order = Order { bound: Some(bound), identifier: Some("alice"), audit: &audit, ..world.order(NOW) };
    let issued = tokens.issue(&order).unwrap();
    let read = ours(tokens.read(&issued.token, NOW));
    assert_eq!((read.principal, read.name.as_str(), &read.chain), (PrincipalId::derived(&world.name), "ci/alice", &world.chain));
    assert_eq!((read.token.id.to_string(), read.token.issued, read.token.expires), (issued.jti, NOW, NOW + 3_600));
    assert_eq!((read.token.bound, read.identifier.as_deref()), (Some(bound), Some("alice")));
    assert_eq!(read.sub_claims.into_iter().collect::<Vec<_>>(), audit);
    let header = String::from_utf8(decode(issued.token.split('.').next().unwrap()).unwrap()).unwrap();
    assert!(header.contains(r#""typ":"portcullis+jwt""#) && header.contains(r#""alg":"ES256""#), "{header}");
}

#[test]
fn no_token_outlives_what_it_stands_for() {
    let (world, tokens) = (World::new(), in_memory());
    let not_after = Certificate::parse(world.chain[0].clone()).unwrap().not_after;
    for (order, expires) in [
        (world.order(NOW), NOW + 3_600),
        (Order { ttl: Some(60), ..world.order(NOW) }, NOW + 60),
        (Order { ttl: Some(99 * DAY), ..world.order(NOW) }, NOW + DAY),
        (Order { ttl: Some(0), ..world.order(NOW) }, NOW + 1),
        (Order { valid_until: NOW + 7, ..world.order(NOW) }, NOW + 7),
        (world.order(not_after - 5), not_after),
    ] {
        assert_eq!(tokens.issue(&order).unwrap().expires, expires, "{order:?}");
    }
}

#[test]
fn whoever_has_no_key_makes_no_token() {
    let (world, tokens) = (World::new(), in_memory());
    let good = tokens.issue(&world.order(NOW)).unwrap().token;
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let text = |part: &str| String::from_utf8(decode(part).unwrap()).unwrap();
    let head = |from: &str, to: &str| {
        assert!(text(header).contains(from), "{from}");
        format!("{}.{payload}.{signature}", encode(text(header).replace(from, to).as_bytes()))
    };
    let body = |from: &str, to: &str| {
        assert!(text(payload).contains(from), "{from}");
        format!("{header}.{}.{signature}", encode(text(payload).replace(from, to).as_bytes()))
    };
    let kid = tokens.keys.all(NOW)[0].kid.clone();
    // The public key as the secret of an HMAC: works where the header chooses the algorithm.
    let confused = {
        let signed = format!("{}.{payload}", encode(text(header).replace("ES256", "HS256").as_bytes()));
        let jwk = tokens.jwks(NOW);
        format!("{signed}.{}", encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, jwk.as_bytes()), signed.as_bytes()).as_ref()))
    };
    let other = encode(&certificate("mallory"));
    let mut flipped = decode(signature).unwrap();
    flipped[40] ^= 1;
    for (what, token, expected) in [
        ("as it is", good.clone(), "ours"),
        ("without a signature", format!("{header}.{payload}."), "refused"),
        ("two parts", format!("{header}.{payload}"), "foreign"),
        ("four parts", format!("{good}.{signature}"), "foreign"),
        ("a bit of the signature", format!("{header}.{payload}.{}", encode(&flipped)), "refused"),
        ("a padded signature", format!("{good}="), "refused"),
        ("a signature of zeros", format!("{header}.{payload}.{}", encode(&[0; 64])), "refused"),
        ("a signature in DER", format!("{header}.{payload}.{}", encode(&[0x30, 6, 2, 1, 1, 2, 1, 1])), "refused"),
        ("alg none", head("ES256", "none"), "refused"),
        ("alg None, and no signature", head("ES256", "None").replace(signature, ""), "refused"),
        ("alg in another case", head("ES256", "es256"), "refused"),
        ("alg HS256 with the public key", confused, "refused"),
        ("alg of another curve", head("ES256", "ES384"), "refused"),
        ("a kid that is a path", head(&kid, "../../../etc/passwd"), "refused"),
        ("a kid with NUL", head(&kid, "\\u0000"), "refused"),
        ("no kid", head(&format!(r#""kid":"{kid}","#), ""), "refused"),
        ("a key of its own", head(r#""alg""#, r#""jwk":{"kty":"EC"},"alg""#), "refused"),
        ("a key from elsewhere", head(r#""alg""#, r#""jku":"https://evil.test/jwks.json","alg""#), "refused"),
        ("something critical", head(r#""alg""#, r#""crit":["b64"],"b64":false,"alg""#), "refused"),
        ("the algorithm twice", head(r#""alg""#, r#""alg":"none","alg""#), "refused"),
        ("another type", head("portcullis+jwt", "JWT"), "foreign"),
        ("its type in another spelling", head("portcullis+jwt", "application/Portcullis+JWT"), "refused"),
        ("another time", body(r#""exp":18"#, r#""exp":28"#), "refused"),
        ("another principal", body(r#""sub":"p-"#, r#""sub":"q-"#), "refused"),
        ("another certificate", body(r#""x5c":[""#, &format!(r#""x5c":["{other}",""#)), "refused"),
        ("no binding", body(r#""nbf""#, r#""cnf":null,"nbf""#), "refused"),
        ("too long", format!("{header}.{}.{signature}", "A".repeat(20_000)), "refused"),
        ("another instance's", in_memory().issue(&world.order(NOW)).unwrap().token, "refused"),
        ("nothing", String::new(), "foreign"),
        ("no JSON", format!("{}.{payload}.{signature}", encode(b"{")), "foreign"),
    ] {
        assert_eq!(told(&tokens.read(&token, NOW)), expected, "{what}");
    }
}

#[test]
fn a_token_for_another_issuer_or_audience_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new();
    let own = Tokens::new(Settings::default(), Some(directory.path()));
    for settings in [
        Settings { issuer: "elsewhere".to_owned(), ..Settings::default() },
        Settings { audience: "elsewhere".to_owned(), ..Settings::default() },
    ] {
        // The same keys: two services of one operator.
        let other = own.with(settings, Some(directory.path()));
        let token = other.issue(&world.order(NOW)).unwrap().token;
        assert_eq!((told(&other.read(&token, NOW)), told(&own.read(&token, NOW))), ("ours", "refused"));
    }
}

#[test]
fn a_token_is_found_however_it_is_wrapped() {
    let token = in_memory().issue(&World::new().order(NOW)).unwrap().token;
    for value in [
        format!("Bearer {token}"),
        format!("bearer\t\"{token}\""),
        format!("Basic abc, Bearer {token}"),
        format!("Token token={token};"),
        format!("a=b; session={token}; c=d"),
        format!("{token}.more"),
        format!("a.{token}"),
        token.rsplit_once('.').unwrap().0.to_owned(),
    ] {
        assert!(Tokens::mentions(value.as_bytes()), "{value}");
    }
    let foreign = format!("Bearer {}.e30.AAAA", encode(br#"{"alg":"RS256","typ":"JWT"}"#));
    for value in [foreign.as_str(), "Bearer abc", "Basic YTpi", "", "Bearer ..", "\u{ff}.\u{ff}.\u{ff}"] {
        assert!(!Tokens::mentions(value.as_bytes()), "{value}");
    }
}

#[test]
fn no_token_is_refused_because_a_key_changed() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new();
    let settings = Settings { rotate: Duration::from_secs(DAY), ..Settings::default() };
    let tokens = Tokens::new(settings.clone(), Some(directory.path()));
    // Another process of the same directory, which started before there was any key.
    let beside = Tokens::new(settings, Some(directory.path()));
    assert_eq!(told(&beside.read("a.b.c", NOW)), "foreign");
    let kid = |token: &str| serde_json::from_slice::<Header>(&decode(token.split('.').next().unwrap()).unwrap()).unwrap().kid;
    let mut kids = Vec::new();
    let mut live: Vec<(u64, String)> = Vec::new();
    for hour in 0..24 * 40 {
        let now = NOW + hour * 3_600;
        for now in [now, now + 200, now + 400] {
            let issued = tokens.issue(&Order { ttl: Some(DAY), ..world.order(now) }).unwrap();
            let shown = beside.jwks(now);
            assert!(shown.contains(&kid(&issued.token)), "a key is shown before it signs");
            if kids.last() != Some(&kid(&issued.token)) {
                kids.push(kid(&issued.token));
            }
            live.retain(|(expires, _)| *expires > now);
            live.push((issued.expires, issued.token));
            let (first, last) = (&live[0].1, &live[live.len() - 1].1);
            assert_eq!([told(&tokens.read(first, now)), told(&beside.read(last, now))], ["ours"; 2]);
        }
    }
    assert!((38..=41).contains(&kids.len()), "{}", kids.len());
    let mut each_once = kids.clone();
    each_once.dedup();
    assert_eq!(kids, each_once, "no key signs again once another did");
    let kept = std::fs::read_dir(directory.path().join("tokens")).unwrap().count();
    assert!((30..=34).contains(&kept), "{kept} files: old keys go");
}

#[test]
fn keys_are_kept_for_our_eyes_only_and_a_broken_one_is_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new();
    let tokens = || Tokens::new(Settings::default(), Some(directory.path()));
    let token = tokens().issue(&world.order(NOW)).unwrap().token;
    let kept = directory.path().join("tokens");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
    assert_eq!((mode(&kept), mode(&file)), (0o700, 0o600));
    assert_eq!(told(&tokens().read(&token, NOW)), "ours", "after a restart");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..20]).unwrap();
    assert!(matches!(tokens().issue(&world.order(NOW)), Err(TokenError::Keys(_))));
    assert_eq!(told(&tokens().read(&token, NOW)), "refused");
    std::fs::write(&file, whole).unwrap();
    assert_eq!(told(&tokens().read(&token, NOW)), "ours");
}
