//! The table of calls against the document, and what the library refuses told in our form.

use std::collections::BTreeSet;

use http::Request;

use super::*;
use crate::drain;

#[test]
fn the_table_of_calls_and_the_document_have_the_same() {
    let (_, api) = routes();
    let ours = serde_json::to_value(&api).unwrap();
    let (status, adapters) = call("GET", "/v1/adapters.json", None, "");
    assert_eq!(status, 200);
    let rows = |is_ours: bool| needs::rows().filter(|(_, path)| path.starts_with("/v1/") == is_ours).collect::<BTreeSet<_>>();
    assert_eq!(documented(&ours), rows(true));
    assert_eq!(documented(&adapters), rows(false));
    for document in [ours, adapters] {
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

/// Every call that a description has, with `{}` for each parameter.
fn documented(document: &serde_json::Value) -> BTreeSet<(String, String)> {
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let pattern: Vec<&str> = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect();
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            documented.insert((method.to_uppercase(), pattern.join("/")));
        }
    }
    documented
}

fn call(method: &str, uri: &str, kind: Option<&str>, body: &str) -> (u16, serde_json::Value) {
    let (_starter, drain) = drain::channel();
    let admin = Admin::new(Metrics::new(1), drain);
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    let request = request.body(Bytes::from(body.to_owned())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let response = runtime.block_on(admin.call(Call { request, caller: Caller::local("r-1") }));
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
}

#[test]
fn every_refusal_has_the_one_form() {
    for (method, uri, kind, body, status, code) in [
        ("GET", "/v1/nothing", None, "", 404, "no_route"),
        ("GET", "/v1/reload", None, "", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/whoami", None, "", 405, "method_not_allowed"),
        ("POST", "/v1/reload", Some("text/plain"), "{}", 415, "unsupported_media_type"),
        ("POST", "/v1/reload", Some("application/x-www-form-urlencoded"), "", 415, "unsupported_media_type"),
        ("POST", "/v1/reload", None, "{}", 415, "unsupported_media_type"),
        ("POST", "/v1/reload?force=perhaps", None, "", 400, "invalid"),
        ("POST", "/v1/reload?farce=true", Some("application/json"), "{}", 400, "invalid"),
        ("POST", "/v1/reload", Some("application/merge-patch+json; charset=utf-8"), "{}", 503, "overloaded"),
        ("GET", "/v1/status", None, "", 503, "overloaded"),
    ] {
        let (got, answer) = call(method, uri, kind, body);
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{method} {uri} {kind:?}: {answer}");
        assert_eq!(answer["error"]["request_id"], "r-1");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    let (_, answer) = call("POST", "/v1/reload?farce=true", None, "");
    assert!(answer["error"]["details"][0]["why"].as_str().unwrap().contains("farce"), "{answer}");
}

#[test]
fn a_program_in_a_loop_is_told_to_wait_and_others_are_answered() {
    use crate::admission::{Basis, Clearance};
    use crate::request::service::{CallingPrincipal, Via};
    let (_starter, drain) = drain::channel();
    let admin = Admin::new(Metrics::new(1), drain);
    let principal = |id: &str| CallingPrincipal {
        id: id.parse().unwrap(),
        name: "ci/loop".parse().unwrap(),
        clearance: Clearance::Operator,
        basis: Basis::Pin,
    };
    let ask = |id: &str| {
        let caller = Caller { principal: Some(principal(id)), via: Via::Tls, ..Caller::local("r-1") };
        let request = Request::builder().method("GET").uri("/v1/whoami").body(Bytes::new()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(admin.call(Call { request, caller }))
    };
    let enter = || admin.shared.calls.enter(&principal("p-aaaaaaaaaaaa").id, &limits(), Instant::now());
    // As many as may be under way at once.
    let under_way: Vec<_> = (0..limits().principal_concurrency).map(|_| enter().unwrap()).collect();
    let refused = ask("p-aaaaaaaaaaaa");
    let body: serde_json::Value = serde_json::from_slice(refused.body()).unwrap();
    assert_eq!((refused.status().as_u16(), &body["error"]["code"]), (429, &"rate_limited".into()));
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(ask("p-bbbbbbbbbbbb").status().as_u16(), 200, "somebody else");
    drop(under_way);
    assert_eq!(ask("p-aaaaaaaaaaaa").status().as_u16(), 200);
}

#[test]
fn whoever_uses_the_socket_is_told_so() {
    let (status, answer) = call("GET", "/v1/whoami", None, "");
    assert_eq!((status, answer["via"].as_str(), answer["clearance"].as_str()), (200, Some("socket"), Some("admin")), "{answer}");
}
