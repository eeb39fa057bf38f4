//! From which page a request comes: browsers attach client certificates by themselves, so a page of a foreign
//! origin may look and not touch, unless it is listed; preflights are answered here and never forwarded.

use crate::support::client::{Answer, request};
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace};

const LISTED: &str = "https://app.partner.example";

/// Alice, whose pages are listed, and a route that leaves the rule to its upstream.
async fn start() -> (TestUpstream, TestProxy, Identity) {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    alice.write(workspace.directory.path(), "alice");
    let more = r#"
[[route]]
name = "lax"
path = "/lax/"
upstream = "app"
csrf = "off"

[[principal]]
name = "alice"
role = "Contributor"
certificates = ["alice.pem"]
cors_origins = ["https://*.partner.example"]
"#;
    let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), more));
    (upstream, proxy, alice)
}

async fn send(client: &Client, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = request(method, path);
    for (name, value) in headers {
        request.headers_mut().append(http::HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
    }
    client.send(request).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_foreign_origin_may_look_and_not_touch() {
    let (_upstream, proxy, alice) = start().await;
    for http2 in [false, true] {
        let client = if http2 { Client::http2(&proxy, Some(&alice)) } else { Client::new(&proxy, Some(&alice)) };
        for (method, path, headers, expected) in [
            ("POST", "/x", &[][..], 200),
            ("POST", "/x", &[("origin", "https://localhost")], 200),
            ("POST", "/x", &[("origin", "https://localhost:1")], 403),
            ("POST", "/x", &[("origin", LISTED)], 200),
            ("POST", "/x", &[("origin", "https://evil.example")], 403),
            ("POST", "/x", &[("origin", "https://partner.example.evil.example")], 403),
            ("POST", "/x", &[("origin", "http://app.partner.example")], 403),
            ("POST", "/x", &[("origin", "null")], 403),
            ("DELETE", "/x", &[("sec-fetch-site", "cross-site")], 403),
            ("DELETE", "/x", &[("sec-fetch-site", "same-origin")], 200),
            ("GET", "/x", &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], 200),
            ("POST", "/lax/x", &[("origin", "https://evil.example")], 200),
        ] {
            let answer = send(&client, method, path, headers).await;
            assert_eq!(answer.status.as_u16(), expected, "{method} {path} {headers:?}, HTTP/2 {http2}: {:?}", answer.body);
            if expected == 403 {
                assert_eq!(answer.code(), "origin_denied");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_before_authentication_and_never_forwarded() {
    let (upstream, proxy, _alice) = start().await;
    let anonymous = Client::new(&proxy, None);
    let asking = |origin| [("origin", origin), ("access-control-request-method", "PUT"), ("access-control-request-headers", "x-own")];
    let answer = send(&anonymous, "OPTIONS", "/x", &asking(LISTED)).await;
    assert_eq!(answer.status, 204, "{:?}", answer.body);
    assert_eq!(answer.headers["access-control-allow-origin"], LISTED);
    assert_eq!(answer.headers["access-control-allow-credentials"], "true");
    assert_eq!(answer.headers["access-control-allow-methods"], "PUT");
    assert_eq!(answer.headers["access-control-allow-headers"], "x-own");
    assert!(answer.headers.get_all("vary").iter().any(|vary| vary.to_str().is_ok_and(|vary| vary.contains("Origin"))));
    for origin in ["https://evil.example", "null", "*"] {
        let answer = send(&anonymous, "OPTIONS", "/x", &asking(origin)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "origin_denied"), "{origin}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_page_may_read_the_answer_and_no_other() {
    let (_upstream, proxy, alice) = start().await;
    let client = Client::new(&proxy, Some(&alice));
    let answer = send(&client, "GET", "/x", &[("origin", LISTED)]).await;
    assert_eq!(answer.headers["access-control-allow-origin"], LISTED);
    let answer = send(&client, "GET", "/x", &[("origin", "https://evil.example")]).await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "{:?}", answer.headers);
}
