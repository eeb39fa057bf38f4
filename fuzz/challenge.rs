//! What a client sends to prove a key, and shows afterwards: the bodies of `get-cert-challenge`, `auth` and the calls about a token, read as the
//! calls read them; and `cert-data`, a challenge and its signature, a token, bare.
//! Beyond "no panic": nothing that was not made here is taken, and what is read as a token of ours is found wherever it stands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::admin::akeyless::bodies::{Answer, Held, Proof, Wanted};
use portcullis::challenge::{Bearer, CertData, Challenges, Claim, Message, Settings, Tokens, cert_data};
use portcullis::clock::Clock;

const NOW: u64 = 1_800_000_000;

fuzz_target!(|bytes: &[u8]| {
    bodies(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    token(text);
    answer("p-aaaaaaaaaaaa", text, text, text);
});

fn bodies(bytes: &[u8]) {
    if let Ok(Held { token: Some(text) }) = Held::read(bytes) {
        token(&text);
    }
    let wanted = Wanted::read(bytes);
    if let Ok(Wanted { access_id, data }) = &wanted {
        assert!((1..=255).contains(&access_id.len()), "an access id of {} bytes", access_id.len());
        assert!((1..=8).contains(&data.chain().len()), "a chain of {}", data.chain().len());
    }
    let Ok(Answer { access_id, cert_data, proof }) = Answer::read(bytes) else { return };
    // What is an answer asks for a challenge as well, if its certificate can be read.
    assert_eq!(wanted.is_ok(), CertData::read(&cert_data).is_ok(), "the two calls read one body otherwise");
    match proof {
        Proof::Signature { challenge, signature } => answer(&access_id, &cert_data, &challenge, &signature),
        Proof::Key(key) => answer(&access_id, &cert_data, "", &key),
    }
}

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
