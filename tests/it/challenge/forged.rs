//! Every way to cheat at an answer: all refusals look alike to whoever is refused, and the log has the code.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{CLIENT, DISABLED, OTHER, World, answer_of, cert_data, sign};
use crate::support::{Identity, Leaf, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_looks_alike_and_the_log_has_the_code() {
    let world = World::start("").await;
    let stranger = Leaf::new("stranger").self_signed();
    // What the pinned key signs is another certificate (its holder may make as many as it likes).
    let child = Leaf::new("client").signed_with(&world.client);
    let certificates = cert_data(&world.client);
    let good = |challenge: &[u8]| answer_of(CLIENT, &certificates, challenge, &sign(&world.client, challenge));
    let mut cases: Vec<(&str, Value, &str)> = Vec::new();
    let challenge = world.challenge(&world.client, CLIENT).await;
    assert_eq!(world.call("auth", good(&challenge)).await.status, 200);
    cases.push(("replayed", good(&challenge), "challenge_invalid"));
    let fresh = world.challenge(&world.client, CLIENT).await;
    let signature = sign(&world.client, &fresh);
    cases.push((
        "another certificate",
        answer_of(CLIENT, &cert_data(&world.other), &fresh, &sign(&world.other, &fresh)),
        "challenge_invalid",
    ));
    cases.push(("another id", answer_of(OTHER, &certificates, &fresh, &signature), "challenge_invalid"));
    cases.push(("no challenge", answer_of(CLIENT, &certificates, b"nothing", &sign(&world.client, b"nothing")), "challenge_invalid"));
    for at in [0, 40, fresh.len() - 60, fresh.len() - 1] {
        let mut changed = fresh.clone();
        changed[at] ^= 1;
        cases.push(("a changed byte", good(&changed), "challenge_invalid"));
    }
    let mut another = fresh.clone();
    another[33] ^= 0x20;
    cases.push(("another origin", good(&another), "challenge_invalid"));
    let mut bad = signature.clone();
    *bad.last_mut().expect("not empty") ^= 1;
    cases.push(("a changed signature", answer_of(CLIENT, &certificates, &fresh, &bad), "signature_invalid"));
    cases.push(("another's signature", answer_of(CLIENT, &certificates, &fresh, &sign(&world.other, &fresh)), "signature_invalid"));
    cases.push(("the key of a child", answer_of(CLIENT, &certificates, &fresh, &sign(&child, &fresh)), "signature_invalid"));
    cases.push(("no signature", answer_of(CLIENT, &certificates, &fresh, b"\0"), "signature_invalid"));
    cases.push((
        "no base64",
        json!({ "access-id": CLIENT, "cert-data": certificates, "cert-challenge": STANDARD.encode(&fresh), "signed-cert-challenge": "!" }),
        "signature_invalid",
    ));
    cases.push(("no certificate", answer_of(CLIENT, &STANDARD.encode("nothing"), &fresh, &signature), "unsuitable"));
    let key = STANDARD.encode(&world.client.key_pem);
    let by_key = json!({ "access-type": "cert", "access-id": CLIENT, "cert-data": certificates, "key-data": key });
    cases.push(("the key itself, which nobody asked for", by_key, "signature_invalid"));
    // The key is proven, and that is all.
    for (what, identity, id, code) in [
        ("a stranger", &stranger, CLIENT, "not_listed"),
        ("a child of the pinned key", &child, CLIENT, "not_listed"),
        ("somebody else's id", &world.client, OTHER, "not_listed"),
        ("an id of nobody", &world.client, "p-aaaaaaaaaaaa", "not_listed"),
        ("no id at all", &world.client, "somebody", "not_listed"),
        ("a disabled principal", &world.disabled, DISABLED, "principal_disabled"),
    ] {
        let challenge = world.challenge(identity, id).await;
        cases.push((what, answer_of(id, &cert_data(identity), &challenge, &sign(identity, &challenge)), code));
    }
    for (what, body, code) in cases {
        refused(&world, what, body, code).await;
    }
    // None of them used the challenge up.
    assert_eq!(world.call("auth", good(&fresh)).await.status, 200);
    let log = world.proxy.log();
    assert!(!log.contains(&key) && !log.contains("PRIVATE KEY"), "no key in the log");
    // What was only claimed is nobody's denial.
    let unproven = log.lines().filter(|line| line.contains("signature_invalid"));
    assert!(unproven.clone().count() >= 6 && unproven.clone().all(|line| !line.contains("\"principal\"")), "in nobody's name");
}

/// Answers, and insists on the one refusal that there is, counted and logged under its code.
pub(super) async fn refused(world: &World, what: &str, body: Value, code: &str) {
    let before = world.denied(code);
    let answer = world.call("auth", body).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (401, &br#"{"error":"authentication failed"}"#[..]), "{what}");
    let request_id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
    eventually(&format!("{what}: {code}, counted"), || world.denied(code) >= before + 1.0);
    let (find, code_of) = (world.proxy.log_finder(), format!("\"code\":\"{code}\""));
    eventually(&format!("{what}: {code}, in the log"), || find(&[&request_id, &code_of, "\"denied\""]).is_some());
}

/// A kind of key: its name, its principal's id, how OpenSSL makes it, how wide r and s are.
pub(super) type Kind = (&'static str, &'static str, &'static str, usize);

pub(super) const KINDS: [Kind; 4] = [
    ("rsa", "p-rsarsarsarsa", "-algorithm rsa -pkeyopt rsa_keygen_bits:2048", 0),
    ("p256", "p-ptwofivesixx", "-algorithm ec -pkeyopt ec_paramgen_curve:P-256", 32),
    ("p384", "p-pthreeeightx", "-algorithm ec -pkeyopt ec_paramgen_curve:P-384", 48),
    ("p521", "p-pfivetwoonex", "-algorithm ec -pkeyopt ec_paramgen_curve:P-521", 66),
];

/// Pins a certificate by its fingerprint, in the configuration.
pub(super) fn pinned((name, id, ..): Kind, identity: &Identity) -> String {
    let fingerprint = identity.fingerprint();
    format!("[[principal]]\nname = \"{name}\"\nid = \"{id}\"\nrole = \"Reader\"\nfingerprints = [\"sha256:{fingerprint}\"]\n")
}

/// Keys that OpenSSL made, each pinned, and their signatures over a challenge.
pub(super) struct OpenSsl<'a>(pub(super) &'a Path);

impl OpenSsl<'_> {
    /// Makes a key and its certificate.
    pub(super) fn make(&self, name: &str, how: &str) -> Identity {
        self.run(&format!("openssl genpkey {how} -out {name}.key 2>/dev/null"));
        self.run(&format!("openssl req -x509 -key {name}.key -subj /CN={name} -days 2 -out {name}.pem"));
        Identity::read(name, &self.0.join(format!("{name}.pem")), &self.0.join(format!("{name}.key")))
    }

    pub(super) fn sign(&self, name: &str, challenge: &[u8], how: &str) -> Vec<u8> {
        std::fs::write(self.0.join("challenge"), challenge).expect("written");
        self.run(&format!("openssl dgst {how} -sign {name}.key -out signature challenge"));
        std::fs::read(self.0.join("signature")).expect("readable")
    }

    /// Signs the bytes themselves, as Ed25519 does.
    pub(super) fn sign_bytes(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        std::fs::write(self.0.join("bytes"), bytes).expect("written");
        self.run(&format!("openssl pkeyutl -sign -rawin -inkey {name}.key -in bytes -out signature"));
        std::fs::read(self.0.join("signature")).expect("readable")
    }

    pub(super) fn run(&self, command: &str) {
        let output = Command::new("bash").args(["-c", command]).current_dir(self.0).output().expect("bash");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Writes r and s of a signature in DER in a fixed width, as .NET does.
pub(super) fn fixed(der: &[u8], width: usize) -> Vec<u8> {
    let mut rest = if der[1] == 0x81 { &der[3..] } else { &der[2..] };
    let mut out = Vec::new();
    while let [2, length, tail @ ..] = rest {
        let (number, after) = tail.split_at(usize::from(*length));
        let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        out.extend(std::iter::repeat_n(0, width - number.len()));
        out.extend_from_slice(number);
        rest = after;
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_another_kind_proves_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let openssl = OpenSsl(directory.path());
    let keys = KINDS.map(|(name, _, how, _)| openssl.make(name, how));
    let more: String = KINDS.into_iter().zip(&keys).map(|(kind, identity)| pinned(kind, identity)).collect();
    let world = World::start(&more).await;
    for ((name, id, _, width), identity) in KINDS.into_iter().zip(&keys) {
        let challenge = world.challenge(identity, id).await;
        let answer = |signature: &[u8]| answer_of(id, &cert_data(identity), &challenge, signature);
        let good = openssl.sign(name, &challenge, "-sha256");
        let mut wrong = vec![
            ("SHA-512", openssl.sign(name, &challenge, "-sha512")),
            ("SHA-384", openssl.sign(name, &challenge, "-sha384")),
            ("SHA-1", openssl.sign(name, &challenge, "-sha1")),
            ("another message", openssl.sign(name, &challenge[1..], "-sha256")),
            ("a byte more", [&good[..], &[0]].concat()),
        ];
        for (other, _, _, _) in KINDS.into_iter().filter(|(other, ..)| *other != name) {
            wrong.push((other, openssl.sign(other, &challenge, "-sha256")));
        }
        if width == 0 {
            let pss = "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1";
            wrong.push(("PSS", openssl.sign(name, &challenge, pss)));
        } else {
            wrong.push(("r and s of another width", fixed(&good, width + 1)));
            wrong.push(("r and s of zeros", vec![0; 2 * width]));
            let mut swapped = fixed(&good, width);
            swapped.rotate_left(width);
            wrong.push(("s and r", swapped));
        }
        for (what, signature) in wrong {
            refused(&world, &format!("{name}: {what}"), answer(&signature), "signature_invalid").await;
        }
        // What is wrong used nothing up; what is right counts once, in whichever form.
        let taken = if width == 0 { good.clone() } else { fixed(&good, width) };
        assert_eq!(world.call("auth", answer(&taken)).await.status, 200, "{name}");
        refused(&world, &format!("{name}: again, in the other form"), answer(&good), "challenge_invalid").await;
    }
}
