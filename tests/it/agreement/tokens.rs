//! The token checkpoint: a token that was given for a candidate's certificate is worth what the certificate is, on a connection that
//! shows none.

use std::path::PathBuf;

use hyper::header::AUTHORIZATION;
use portcullis::admission::PrincipalId;
use portcullis::challenge::{Order, Settings, Tokens};
use rustls::version::TLS13;

use super::told;
use crate::support::client::{Connection, request_with};
use crate::support::{Client, Identity, TestProxy};

/// A candidate's certificates, and a connection that outlives the snapshots.
pub struct Bearer {
    identity: Identity,
    state: PathBuf,
    client: Client,
    live: Option<Connection>,
}

impl Bearer {
    pub fn new(proxy: &TestProxy, identity: &Identity) -> Self {
        let client = Client::of_listener(proxy, "people", None, &[&TLS13], true);
        Self { identity: identity.clone(), state: proxy.path("state"), client, live: None }
    }

    /// Holds the answers to a read and a write against `explain`'s, which found this principal. Returns the codes.
    pub async fn agree(&mut self, principal: Option<&str>, expected: [&String; 2], at: &str) -> Vec<String> {
        let owner = principal.and_then(|id| id.parse().ok());
        let nobody = PrincipalId::from_random(&[0; 12]);
        let (token, in_time) = self.token(owner.unwrap_or(nobody));
        let mut codes = Vec::new();
        for (method, expected) in ["GET", "POST"].into_iter().zip(expected) {
            let expected = if in_time { expected } else { "token_expired" };
            codes.push(self.ask(method, &token).await);
            assert_eq!(codes.last().map(String::as_str), Some(expected), "{at}: {method} by a token");
        }
        if in_time && expected[0] == "admitted" {
            let (token, _) = self.token(nobody);
            codes.push(self.ask("GET", &token).await);
            assert_eq!(codes.last().map(String::as_str), Some("token_invalid"), "{at}: in another's name");
        }
        codes
    }

    fn token(&self, principal: PrincipalId) -> (String, bool) {
        let now = portcullis::clock::Clock::default().now().as_secs();
        let name = "somebody".parse().expect("a name");
        let (chain, audit) = (&self.identity.chain, &[]);
        let order = Order { principal, name: &name, chain, bound: None, now, ttl: None, valid_until: u64::MAX, identifier: None, audit };
        let issued = Tokens::new(Settings::default(), Some(&self.state)).issue(&order).expect("a token");
        (issued.token, issued.expires > now)
    }

    pub async fn ask(&mut self, method: &str, token: &str) -> String {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.client.connect().await.expect("the handshake completes"),
        };
        let mut request = request_with(method, "/", "");
        request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
        let answer = live.exchange(request).await.expect("an HTTP answer: no token ends a connection");
        self.live = Some(live);
        told(&answer)
    }
}
