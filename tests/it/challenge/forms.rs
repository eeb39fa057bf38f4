//! Every kind of key, its certificate in every form that clients send; and what is no form of one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use serde_json::{Value, json};

use super::forged::{KINDS, Kind, OpenSsl, fixed, pinned, refused};
use super::{CLIENT, World, answer_of, asking, cert_data, claims, sign};
use crate::support::certificates::pem_of;
use crate::support::client::{request, request_with};
use crate::support::{Client, Identity, Leaf, TestCa, eventually};

const ED25519: Kind = ("ed25519", "p-edtwofiveone", "-algorithm ed25519", 0);

/// What clients send for a certificate, and how many certificates that is.
fn forms(identity: &Identity, beside: &Identity) -> Vec<(&'static str, String, usize)> {
    let (pem, der) = (identity.leaf_pem(), identity.leaf());
    let chain = format!("{pem}{}", beside.leaf_pem());
    let b64 = |text: &str| STANDARD.encode(text);
    let lines = |text: &str, end: &str| -> String {
        text.as_bytes().chunks(64).map(|line| format!("{}{end}", std::str::from_utf8(line).expect("ASCII"))).collect()
    };
    vec![
        ("base64 of PEM", b64(&pem), 1),
        ("base64 of PEM, in lines", lines(&b64(&pem), "\n"), 1),
        ("base64 of PEM, without padding", STANDARD_NO_PAD.encode(format!("{pem}{}", "\n".repeat((4 - pem.len() % 3) % 3))), 1),
        ("base64 of PEM, between blanks", format!(" \r\n\t{}\n \r\n", b64(&pem)), 1),
        ("base64 of PEM between blank lines", b64(&format!("\r\n\n{pem}\n \t\n")), 1),
        ("base64 of PEM with CRLF", b64(&pem.replace('\n', "\r\n")), 1),
        ("base64 of PEM without its last line break", b64(pem.trim_end()), 1),
        ("base64 of PEM behind a text, as OpenSSL writes it", b64(&format!("Certificate:\n    Data:\n{pem}")), 1),
        ("PEM", pem.clone(), 1),
        ("PEM with CRLF", pem.replace('\n', "\r\n"), 1),
        ("PEM between blanks", format!("\n \t{pem}\r\n \n"), 1),
        ("PEM without its last line break", pem.trim_end().to_owned(), 1),
        ("base64 of DER", STANDARD.encode(der), 1),
        ("base64 of DER, without padding, in lines", lines(&STANDARD_NO_PAD.encode(der), "\r\n"), 1),
        ("a chain", b64(&chain), 2),
        ("a chain, in PEM", chain, 2),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_is_proven_in_every_form_of_its_certificate() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let openssl = OpenSsl(directory.path());
    let kinds: Vec<(Kind, Identity)> = KINDS.into_iter().chain([ED25519]).map(|kind| (kind, openssl.make(kind.0, kind.2))).collect();
    let world = World::start(&kinds.iter().map(|(kind, identity)| pinned(*kind, identity)).collect::<String>()).await;
    let edge = Client::of_listener(&world.proxy, "bearer", None, rustls::ALL_VERSIONS, false);
    for ((name, id, _, width), identity) in &kinds {
        let forms = forms(identity, &world.other);
        for (index, (form, asked, _)) in forms.iter().enumerate() {
            // Asked for in one form, answered in the next: it is bound to the certificate.
            let (_, answered, length) = &forms[(index + 1) % forms.len()];
            let asked = world.call("get-cert-challenge", json!({ "access-id": id, "cert-data": asked })).await;
            assert_eq!(asked.status, 200, "{name}, {form}: {}", String::from_utf8_lossy(&asked.body));
            let challenge = STANDARD.decode(asked.json()["challenge"].as_str().expect("a challenge")).expect("base64");
            let signature = match *name {
                "ed25519" => openssl.sign_bytes(name, &challenge),
                _ => openssl.sign(name, &challenge, "-sha256"),
            };
            let signature = if *width > 0 && index % 2 == 1 { fixed(&signature, *width) } else { signature };
            let answer = world.call("auth", answer_of(id, answered, &challenge, &signature)).await;
            assert_eq!(answer.status, 200, "{name}, {form}: {}", String::from_utf8_lossy(&answer.body));
            let answer = answer.json();
            let x5c = claims(answer["token"].as_str().expect("a token"))["x5c"].clone();
            assert_eq!(
                (x5c.as_array().map(Vec::len), &x5c[0]),
                (Some(*length), &json!(STANDARD.encode(identity.leaf()))),
                "{name}, {form}"
            );
            if index == 0 {
                let mut request = request("GET", "/hello");
                let bearer = format!("Bearer {}", answer["token"].as_str().expect("a token"));
                request.headers_mut().insert("authorization", bearer.parse().expect("a header"));
                assert_eq!(edge.send(request).await.expect("an answer").status, 200, "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_form_of_a_certificate_proves_nothing() {
    let world = World::start("[audit]\ndestination = \"access.log\"\n").await;
    let (pem, der) = (world.client.leaf_pem(), world.client.leaf().to_vec());
    let b64 = |bytes: &[u8]| STANDARD.encode(bytes);
    let relabelled =
        |label: &str| pem.replace("BEGIN CERTIFICATE", &format!("BEGIN {label}")).replace("END CERTIFICATE", &format!("END {label}"));
    let indefinite = [&[0x30, 0x80][..], &der[4..], &[0, 0]].concat();
    let texts: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("blanks", " \r\n\t".to_owned()),
        ("no base64", "!!!".to_owned()),
        ("base64 and something behind it", format!("{}*", b64(&der))),
        ("padding in the middle", format!("{}={}", b64(&der), b64(&der))),
        ("another alphabet", format!("-_{}", &URL_SAFE.encode(&der)[2..])),
        ("base64 twice", b64(b64(pem.as_bytes()).as_bytes())),
        ("hex", crate::support::certificates::hex(&der)),
        ("escaped as in a URL", pem.replace('\n', "%0A")),
        ("a data URL", format!("data:application/x-pem-file;base64,{}", b64(pem.as_bytes()))),
        ("the line breaks of PEM lost", pem.replace('\n', " ")),
        ("the line breaks of PEM written out", pem.replace('\n', "\\n")),
        ("a byte order mark", format!("\u{feff}{pem}")),
        ("base64 of nothing much", b64(b"hello")),
        ("half of DER", b64(&der[..der.len() / 2])),
        ("DER and a byte", b64(&[&der[..], &[0]].concat())),
        ("DER and a line break", b64(&[&der[..], b"\n"].concat())),
        ("two of DER", b64(&[&der[..], &der].concat())),
        ("BER of indefinite length", b64(&indefinite)),
        ("half a block", pem[..pem.len() / 2].to_owned()),
        ("a block without its end", pem.replace("-----END CERTIFICATE-----", "")),
        ("a block with another's end", pem.replace("END CERTIFICATE", "END PRIVATE KEY")),
        ("broken base64 in a block", pem.replacen('M', "*", 1)),
        ("a request for a certificate", relabelled("CERTIFICATE REQUEST")),
        ("OpenSSL's trusted certificate", relabelled("TRUSTED CERTIFICATE")),
        ("words behind", format!("{pem}and more\n")),
        ("NUL behind", b64(format!("{pem}\0").as_bytes())),
        ("half a certificate behind", format!("{pem}{}", &pem[..pem.len() / 2])),
        ("its key beside", format!("{pem}{}", world.client.key_pem)),
        ("its key alone", world.client.key_pem.clone()),
        ("nine", pem.repeat(9)),
        ("more than is read", b64(format!("{pem}{}{pem}", "\n".repeat(66 << 10)).as_bytes())),
    ];
    let challenge = world.challenge(&world.client, CLIENT).await;
    let signature = sign(&world.client, &challenge);
    for (what, text) in &texts {
        malformed(&world, what, "get-cert-challenge", &json!({ "access-id": CLIENT, "cert-data": text }).to_string()).await;
        // An answer is an answer: told like any other that proves nothing.
        refused(&world, what, answer_of(CLIENT, text, &challenge, &signature), "unsuitable").await;
    }
    let good = answer_of(CLIENT, &cert_data(&world.client), &challenge, &signature);
    for wrong in [json!(7), Value::Null, json!([pem]), json!({ "pem": pem }), json!(true)] {
        let mut answer = good.clone();
        answer["cert-data"] = wrong.clone();
        for (name, body) in [("get-cert-challenge", json!({ "access-id": CLIENT, "cert-data": wrong })), ("auth", answer)] {
            malformed(&world, &format!("{wrong:.20}"), name, &body.to_string()).await;
        }
    }
    let body = good.to_string();
    let inside = body.strip_prefix('{').and_then(|body| body.strip_suffix('}')).expect("an object");
    for (what, body) in [
        ("a key twice, the same", format!(r#"{{{inside},"cert-data":"{}"}}"#, cert_data(&world.client))),
        ("a key twice", format!(r#"{{{inside},"access-id":"p-otherotherot"}}"#)),
        ("other spellings of keys", body.replace("cert-data", "cert_data")),
        ("something behind it", format!("{body}{{}}")),
        ("a comma too many", format!("{{{inside},}}")),
        ("deeper than anybody looks", format!(r#"{{"cert-data":{}{}}}"#, "[".repeat(200), "]".repeat(200))),
        ("a key with something in front of it", body.replace("cert-challenge", "\u{fffd}cert-challenge")),
        ("a form", "access-id=p-clientclient&cert-data=x".to_owned()),
        ("nothing", String::new()),
    ] {
        malformed(&world, what, "auth", &body).await;
    }
    assert_eq!(world.call("auth", good).await.status, 200, "none of them used the challenge up");
    let log = world.proxy.log();
    assert!(!log.contains("PRIVATE KEY") && !log.contains(&world.client.key_pem[40..80]), "no key in the log");
}

/// Calls with what is no call: 400, and the access log has the code.
async fn malformed(world: &World, what: &str, name: &str, body: &str) {
    let mut call = asking(name, "localhost", &Value::Null);
    *call.body_mut() = request_with("POST", "/", body.to_owned()).into_body();
    let answer = world.client(None).send(call).await.expect("an answer");
    assert_eq!(answer.status, 400, "{name}: {what}: {}", String::from_utf8_lossy(&answer.body));
    assert!(answer.json()["error"].as_str().is_some_and(|error| !error.is_empty() && !error.contains("PRIVATE")), "{name}: {what}");
    let request_id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
    eventually(&format!("{name}: {what}: a line"), || {
        let log = std::fs::read_to_string(world.proxy.path("access.log")).unwrap_or_default();
        log.lines().any(|line| line.contains(&request_id) && line.contains("\"code\":\"malformed_request\""))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_leads_its_leaf_to_an_anchor_in_one_order_only() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = TestCa::new("root");
    let middle = root.intermediate("middle");
    let job = middle.issue(Leaf::new("job-1"));
    let anchor = directory.path().join("root.pem");
    std::fs::write(&anchor, root.pem()).expect("written");
    let id = "p-jobsjobsjobs";
    let world = World::start(&format!(
        "[[principal]]\nname = \"jobs\"\nid = \"{id}\"\nrole = \"Reader\"\n[principal.authority]\ncertificates = [\"{}\"]\ncommon_names = [\"job-*\"]\n",
        anchor.display()
    ))
    .await;
    let (leaf, middle) = (job.leaf_pem(), middle.pem());
    let stranger = Leaf::new("stranger").self_signed();
    for (what, chain, code) in [
        ("the chain", vec![&leaf, &middle], None),
        ("with its root", vec![&leaf, &middle, &root.pem()], None),
        ("with what does not belong to it", vec![&leaf, &stranger.leaf_pem(), &middle], None),
        ("with its leaf again", vec![&leaf, &leaf, &middle], None),
        ("the leaf alone", vec![&leaf], Some("not_listed")),
        ("with a twin of its issuer", vec![&leaf, &pem_of(TestCa::twin("middle").identity.leaf())], Some("not_listed")),
        // Whoever has the leaf's key has not the issuer's.
        ("the wrong way round", vec![&middle, &leaf], Some("signature_invalid")),
    ] {
        let data = STANDARD.encode(chain.into_iter().map(String::as_str).collect::<String>());
        let asked = world.call("get-cert-challenge", json!({ "access-id": id, "cert-data": data })).await;
        let challenge = STANDARD.decode(asked.json()["challenge"].as_str().expect("a challenge")).expect("base64");
        let body = answer_of(id, &data, &challenge, &sign(&job, &challenge));
        match code {
            None => assert_eq!(world.call("auth", body).await.status, 200, "{what}"),
            Some(code) => refused(&world, what, body, code).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_too_weak_or_unknown_prove_nothing() {
    const WEAK: [Kind; 6] = [
        ("rsa1024", "p-rsaonezerotw", "-algorithm rsa -pkeyopt rsa_keygen_bits:1024", 0),
        ("p224", "p-ptwotwofourx", "-algorithm ec -pkeyopt ec_paramgen_curve:P-224", 28),
        ("secp256k1", "p-koblitzcurve", "-algorithm ec -pkeyopt ec_paramgen_curve:secp256k1", 32),
        ("brainpool", "p-brainpoolxxx", "-algorithm ec -pkeyopt ec_paramgen_curve:brainpoolP256r1", 32),
        ("pss", "p-pssonlyxxxxx", "-algorithm rsa-pss -pkeyopt rsa_keygen_bits:2048", 0),
        ("ed448", "p-edfourfourei", "-algorithm ed448", 0),
    ];
    let directory = tempfile::tempdir().expect("temporary directory");
    let openssl = OpenSsl(directory.path());
    let keys: Vec<(Kind, Identity)> = WEAK.into_iter().map(|kind| (kind, openssl.make(kind.0, kind.2))).collect();
    let world = World::start(&keys.iter().map(|(kind, identity)| pinned(*kind, identity)).collect::<String>()).await;
    for ((name, id, ..), identity) in &keys {
        let challenge = world.challenge(identity, id).await;
        let signature = match *name {
            "ed448" => openssl.sign_bytes(name, &challenge),
            _ => openssl.sign(name, &challenge, "-sha256"),
        };
        refused(&world, name, answer_of(id, &cert_data(identity), &challenge, &signature), "signature_invalid").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ed25519_signs_the_challenge_itself_and_nothing_else() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let openssl = OpenSsl(directory.path());
    let [identity, _] = ["ed25519", "another"].map(|name| openssl.make(name, ED25519.2));
    let world = World::start(&pinned(ED25519, &identity)).await;
    let (name, id, ..) = ED25519;
    let challenge = world.challenge(&identity, id).await;
    let digest = |algorithm| aws_lc_rs::digest::digest(algorithm, &challenge).as_ref().to_vec();
    let good = openssl.sign_bytes(name, &challenge);
    // The order of the group, little-endian: s and s + l are one number to whoever does not look (RFC 8032, 5.1.7).
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0x10u8,
    ];
    let mut twin = good.clone();
    let mut carry = 0;
    for (byte, more) in twin[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    for (what, signature) in [
        ("its digest", openssl.sign_bytes(name, &digest(&aws_lc_rs::digest::SHA256))),
        ("its longer digest", openssl.sign_bytes(name, &digest(&aws_lc_rs::digest::SHA512))),
        ("its base64", openssl.sign_bytes(name, STANDARD.encode(&challenge).as_bytes())),
        ("by another key", openssl.sign_bytes("another", &challenge)),
        ("a byte less", good[..63].to_vec()),
        ("a byte more", [&good[..], &[0]].concat()),
        ("zeros", vec![0; 64]),
        ("the same number, written otherwise", twin),
    ] {
        refused(&world, what, answer_of(id, &cert_data(&identity), &challenge, &signature), "signature_invalid").await;
    }
    let body = answer_of(id, &cert_data(&identity), &challenge, &good);
    assert_eq!(world.call("auth", body.clone()).await.status, 200);
    refused(&world, "again", body, "challenge_invalid").await;
}
