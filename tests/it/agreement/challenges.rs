//! The challenge checkpoint: whoever signs a challenge with a candidate's key hears what its certificate is worth, and the log has the
//! code; what proves nothing is refused whoever the certificate's principal is.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::challenge::signing;
use portcullis::pki::files;
use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::support::client::{Answer, request_with};
use crate::support::{Client, Identity, TestProxy, eventually};

type Finder = Box<dyn Fn(&[&str]) -> Option<String> + Send + Sync>;

/// A candidate's certificates and key, and the way to the listener that serves challenges.
pub struct Prover {
    identity: Identity,
    client: Client,
    log: Finder,
}

/// A challenge that is kept until it has expired.
pub struct Late {
    prover: Prover,
    challenge: Vec<u8>,
    asked: Instant,
}

impl Prover {
    pub fn new(proxy: &TestProxy, identity: &Identity) -> Self {
        // No certificate in the handshake: the key is proven by the answer alone.
        let client = Client::of_listener(proxy, "prove", None, &[&TLS13], true);
        Self { identity: identity.clone(), client, log: Box::new(proxy.log_finder()) }
    }

    /// Holds what an answer is worth against `explain`, which found this principal. Returns the codes, and the token if one was given.
    pub async fn agree(&self, principal: Option<&str>, expected: &str, at: &str) -> (Vec<String>, Option<String>) {
        let id = principal.unwrap_or(NOBODY);
        let challenge = self.challenge(id).await;
        let signature = self.sign(&challenge);
        let mut changed = signature.clone();
        *changed.last_mut().expect("not empty") ^= 1;
        let (forged, _) = self.answer(id, &challenge, &changed).await;
        assert_eq!(forged, "signature_invalid", "{at}: a changed signature");
        let (told, token) = self.answer(id, &challenge, &signature).await;
        assert_eq!(told, expected, "{at}: an answered challenge");
        let (again, _) = self.answer(id, &challenge, &signature).await;
        assert_eq!(again, "challenge_invalid", "{at}: the same answer again");
        let mut codes = vec![forged, told, again];
        if token.is_some() {
            let (in_another_s_name, none) = self.prove(NOBODY).await;
            assert_eq!((in_another_s_name.as_str(), none), ("not_listed", None), "{at}: in another's name");
            codes.push(in_another_s_name);
        }
        (codes, token)
    }

    async fn prove(&self, id: &str) -> (String, Option<String>) {
        let challenge = self.challenge(id).await;
        self.answer(id, &challenge, &self.sign(&challenge)).await
    }

    async fn challenge(&self, id: &str) -> Vec<u8> {
        let answer = self.call("get-cert-challenge", json!({ "access-id": id, "cert-data": self.cert_data() })).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        STANDARD.decode(answer.json()["challenge"].as_str().expect("a challenge")).expect("base64")
    }

    /// Answers a challenge: `admitted` with a token, or the code, which only the log has.
    async fn answer(&self, id: &str, challenge: &[u8], signature: &[u8]) -> (String, Option<String>) {
        let body = json!({
            "access-type": "cert",
            "access-id": id,
            "cert-data": self.cert_data(),
            "cert-challenge": STANDARD.encode(challenge),
            "signed-cert-challenge": STANDARD.encode(signature),
        });
        let answer = self.call("auth", body).await;
        if answer.status == 200 {
            return ("admitted".to_owned(), answer.json()["token"].as_str().map(str::to_owned));
        }
        assert_eq!((answer.status.as_u16(), &*answer.body), (401, &br#"{"error":"authentication failed"}"#[..]));
        let request_id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
        let mut line = None;
        eventually("a line about the answer", || {
            line = (self.log)(&[&request_id, "\"checkpoint\":\"challenge\""]);
            line.is_some()
        });
        let line: Value = line.and_then(|line| serde_json::from_str(&line).ok()).expect("JSON");
        (line["code"].as_str().or(line["fields"]["code"].as_str()).expect("a code").to_owned(), None)
    }

    async fn call(&self, name: &str, body: Value) -> Answer {
        let mut request = request_with("POST", &format!("/api/v2/{name}"), body.to_string());
        request.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
        self.client.send(request).await.expect("an answer: nobody is turned away below HTTP")
    }

    fn cert_data(&self) -> String {
        STANDARD.encode(self.identity.chain_pem())
    }

    fn sign(&self, challenge: &[u8]) -> Vec<u8> {
        let key = files::private_key(self.identity.key_pem.as_bytes(), None).expect("a key");
        signing::sign(&key, challenge).expect("a signature")
    }
}

impl Late {
    pub async fn new(proxy: &TestProxy, identity: &Identity) -> Self {
        let prover = Prover::new(proxy, identity);
        let asked = Instant::now();
        Self { challenge: prover.challenge(NOBODY).await, prover, asked }
    }

    /// Waits until the challenge counts no more. Returns the code.
    pub async fn expires(&self) -> String {
        let before = self.code().await;
        if self.asked.elapsed() < LIFE - Duration::from_secs(1) {
            // The first answer that comes in time uses it up: whatever the rules of now say of its certificate, to nobody.
            assert!(["challenge_invalid", "not_listed", "revoked"].contains(&&*before), "{before}");
        }
        // Of the second in which it was made the challenge has a part only.
        eventually("the challenge's time is over", || self.asked.elapsed() > LIFE + Duration::from_secs(1));
        let code = self.code().await;
        assert_eq!(code, "challenge_expired");
        code
    }

    async fn code(&self) -> String {
        let (code, token) = self.prover.answer(NOBODY, &self.challenge, &self.prover.sign(&self.challenge)).await;
        assert_eq!(token, None, "it is nobody's");
        code
    }
}

/// Of a challenge.
const LIFE: Duration = Duration::from_secs(60);
/// No principal's.
const NOBODY: &str = "p-aaaaaaaaaaaa";
