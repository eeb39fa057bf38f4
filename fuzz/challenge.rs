//! What a client sends to prove a key, and shows afterwards: `cert-data`, a challenge and its signature, a token; from a JSON body or bare.
//! Beyond "no panic": nothing that was not made here is taken, and what is read as a token of ours is found wherever it stands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::challenge::{Bearer, CertData, Challenges, Claim, Message, Settings, Tokens, cert_data};
use portcullis::clock::Clock;

const NOW: u64 = 1_800_000_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| body[name].as_str().unwrap_or(text);
    token(field("token"));
    answer(field("access-id"), field("cert-data"), field("cert-challenge"), field("signed-cert-challenge"));
});

fn token(text: &str) {
    let tokens = Tokens::new(Settings::default(), None);
    match tokens.read(text, NOW) {
        Bearer::Foreign => {}
        Bearer::Ours(_) => panic!("nobody signed it"),
        Bearer::Refused(_) => {
            for wrapped in [text.to_owned(), format!("Bearer {text}"), format!("a=b; c={text}; d"), format!("{text}.more"), format!("\"{text}\"")] {
                assert!(Tokens::mentions(wrapped.as_bytes()), "not found in {wrapped:?}");
            }
        }
    }
}

fn answer(access_id: &str, data: &str, challenge: &str, signature: &str) {
    let decode = |text: &str| cert_data::base64(text, 16 << 10).unwrap_or_default();
    let (challenge, signature) = (decode(challenge), decode(signature));
    if let Ok(message) = Message::read(&challenge) {
        assert!(message.origin.len() < challenge.len(), "an origin longer than its challenge");
    }
    let Ok(data) = CertData::read(data) else { return };
    assert!((1..=8).contains(&data.chain().len()), "a chain of {}", data.chain().len());
    let clock = Clock::fixed(NOW);
    let challenges = Challenges::new(&clock).expect("randomness");
    let claim = Claim { origin: "https://gate.test", access_id, leaf: data.leaf() };
    assert!(challenges.take(&claim, &challenge, &signature).is_err(), "no challenge of ours was answered");
    // One of ours, and none of its holder's signatures.
    let ours = challenges.issue(&claim).expect("a challenge");
    assert_eq!(Message::read(&ours).expect("ours").origin, claim.origin);
    assert!(challenges.take(&claim, &ours, &signature).is_err(), "nobody signed it");
}
