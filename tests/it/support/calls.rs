//! Calls of the operator API, and what they are answered.

use http::{HeaderValue, Request};
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use super::client::{Answer, Body, request, request_with};
use super::{Client, Identity, TestProxy};

/// A listener of our own surfaces, beside those of a usual configuration.
pub const CONTROL: &str = r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["admin"]
certificates = [{ cert = "server.pem", key = "server.key" }]
"#;

/// Somebody who calls.
pub struct Caller(pub Client);

impl Caller {
    pub fn new(proxy: &TestProxy, identity: &Identity) -> Self {
        Self(Client::of_listener(proxy, "control", Some(identity), ALL_VERSIONS, false))
    }

    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.call_with(method, path, body, &[]).await
    }

    pub async fn call_with(&self, method: &str, path: &str, body: &Value, fields: &[(&'static str, &str)]) -> Answer {
        self.0.send(json_request(method, path, body, fields)).await.unwrap_or_else(|refused| panic!("{method} {path}: {}", refused.why))
    }

    /// Calls, and tells what came of it.
    pub async fn told(&self, method: &str, path: &str, body: &Value) -> String {
        told(&self.call(method, path, body).await)
    }

    /// Registers a principal by its certificate, with what `more` says; returns its id.
    pub async fn register(&self, name: &str, identity: &Identity, more: Value) -> String {
        let mut body = json!({ "name": name, "certificates": [{ "der": identity.leaf_pem() }] });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let made = self.call("POST", "/v1/principals", &body).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        made.json()["principal"]["id"].as_str().expect("an id").to_owned()
    }
}

pub fn json_request(method: &str, path: &str, body: &Value, fields: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = if body.is_null() { request(method, path) } else { request_with(method, path, body.to_string()) };
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    request
}

/// The status; with the code of a refusal.
pub fn told(answer: &Answer) -> String {
    match answer.status.as_u16() {
        status @ 200..=299 => status.to_string(),
        status => format!("{status} {}", answer.code()),
    }
}
