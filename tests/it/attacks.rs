//! What somebody who has read the source would try: to stay where the policy has closed, to be read differently
//! from how they were judged, to come back as somebody else.

use http_body_util::BodyExt;

use crate::support::client::request;
use crate::support::raw::Raw;
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace, eventually, within};

async fn start(client_auth: &str, route: &str) -> (TestUpstream, TestProxy, Identity, Identity) {
    let upstream = TestUpstream::start().await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    workspace.allow("bob", &bob);
    let proxy = workspace.start(&config(client_auth, &upstream, route));
    (upstream, proxy, alice, bob)
}

fn config(client_auth: &str, upstream: &TestUpstream, route: &str) -> String {
    Workspace::config(client_auth, &upstream.url(), "").replace("path = \"/\"\n", &format!("path = \"/\"\n{route}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_while_denials_were_answers_does_not_stay_when_they_are_not() {
    let open = "auth = \"none\"\n";
    let (upstream, proxy, alice, _) = start("request", open).await;
    let mallory = Leaf::new("mallory").self_signed();
    let mut somebody = Client::http2(&proxy, Some(&alice)).connect().await.expect("admitted");
    let mut strangers = Vec::new();
    for client in
        [Client::new(&proxy, None), Client::http2(&proxy, None), Client::new(&proxy, Some(&mallory)), Client::http2(&proxy, Some(&mallory))]
    {
        let mut idle = client.connect().await.expect("a handshake");
        assert_eq!(idle.get("/").await.expect("open to anybody").status, 200);
        let mut busy = client.connect().await.expect("a handshake");
        let download = busy.send(request("GET", "/endless")).await.expect("open to anybody").into_body();
        strangers.push((idle, busy, download));
    }
    let mut download = somebody.send(request("GET", "/endless")).await.expect("served").into_body();
    let before = proxy.generation();
    proxy.replace("portcullis.toml", config("require", &upstream, open));
    proxy.wait_for_generation_after(before);
    for (mut idle, _busy, mut download) in strangers {
        within("the download's end", async { while let Some(Ok(_)) = download.frame().await {} }).await;
        idle.get("/").await.expect_err("nobody, on a listener that requires somebody");
    }
    within("bytes", download.frame()).await.expect("a frame").expect("no end");
    assert_eq!(somebody.get("/").await.expect("admitted all the while").status, 200);
    assert!(Client::new(&proxy, None).get("/").await.is_err() && Client::new(&proxy, Some(&mallory)).get("/").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_own_clients_whatever_else_changes() {
    let (upstream, proxy, alice, bob) = start("require", "").await;
    for (client, other) in [
        (Client::tls12(&proxy, Some(&alice)), Client::tls12(&proxy, Some(&bob))),
        (Client::tls13(&proxy, Some(&alice)), Client::tls13(&proxy, Some(&bob))),
    ] {
        client.get("/").await.expect("admitted");
        other.get("/").await.expect("admitted");
        let mut resumed = client.connect().await.expect("resumed");
        assert_eq!(resumed.kind, rustls::HandshakeKind::Resumed);
        // Her session under another name, over another SNI: nothing of it is bob's.
        resumed.get("/").await.expect("served");
        assert_eq!(upstream.last().header("x-portcullis-principal"), ["alice"]);
        let moved = client.clone().sni("a.test").connect().await.expect("a handshake");
        assert_eq!(moved.kind, rustls::HandshakeKind::Full, "sessions belong to one name");
    }
    // Listed under another name while she was away: the session speaks for the certificate, not for the name.
    let client = Client::tls13(&proxy, Some(&alice));
    client.get("/").await.expect("admitted");
    let before = proxy.generation();
    std::fs::rename(proxy.path("allowlist/alice.pem"), proxy.path("allowlist/carol.pem")).expect("renamed");
    proxy.wait_for_generation_after(before);
    eventually("the new name is in force", || std::fs::metadata(proxy.path("allowlist/carol.pem")).is_ok());
    client.get("/").await.expect("admitted");
    assert_eq!(upstream.last().header("x-portcullis-principal"), ["carol"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelined_request_behind_what_is_refused_is_never_another_clients() {
    let (upstream, proxy, alice, _) = start("require", "").await;
    let client = Client::new(&proxy, Some(&alice));
    let hidden = "GET /HIDDEN HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = hidden.len();
    // Each ends the connection, or takes the hidden request for a body: never for a request.
    let streams = [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("TRACE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("POST / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 200-ok\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("POST / HTTP/1.1\r\nHost: nowhere.test\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n{hidden}"),
        format!("GET /%00 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!(
            "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: short\r\nContent-Length: {length}\r\n\r\n{hidden}"
        ),
    ];
    for stream in streams {
        let mut raw = Raw::open(&client).await;
        raw.write(stream.as_bytes().to_vec()).await;
        raw.write(b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec()).await;
        raw.read_to_end().await;
        assert!(upstream.received().iter().all(|request| request.target() != "/HIDDEN"), "{stream:?}");
    }
    assert!(upstream.received().iter().all(|request| request.header("x-portcullis-principal") == ["alice"]));
}
