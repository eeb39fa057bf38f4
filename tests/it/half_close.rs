//! A client that says goodbye behind its request still hears the answer; one that breaks off does not keep its request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::raw::Raw;
use crate::support::{Client, Leaf, TestProxy, TestUpstream, Workspace, eventually, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A proxy in front of an upstream that the test itself plays.
async fn start() -> (TcpListener, TestProxy, Client) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", upstream.local_addr().expect("bound"));
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &url, ""));
    let client = Client::new(&proxy, Some(&alice));
    (upstream, proxy, client)
}

/// Waits for a request, head and all.
async fn asked(upstream: &TcpListener) -> TcpStream {
    let (mut stream, _) = within("a connection to the upstream", upstream.accept()).await.expect("accepted");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(within("a request", stream.read_buf(&mut head)).await.expect("read"), 0, "no request came");
    }
    stream
}

/// RFC 8446, 6.1: a close_notify ends one direction.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_that_it_sends_nothing_more_hears_its_answer() {
    let (upstream, _proxy, client) = start().await;
    let mut raw = Raw::open(&client).await;
    raw.write(GET).await;
    let mut stream = asked(&upstream).await;
    raw.0.shutdown().await.expect("a goodbye");
    // Two pieces, so that the second one is written when the goodbye was read for certain.
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await.expect("written");
    assert!(raw.read_until("first").await.text.contains(" 200 OK"));
    stream.write_all(b" last").await.expect("written");
    let back = raw.read_to_end().await;
    assert!(back.text.ends_with(" last"), "{}", back.text);
}

/// RFC 9112, 9.8: without a close_notify the client is gone, and its request with it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_off_does_not_keep_its_request() {
    let (upstream, _proxy, client) = start().await;
    let mut raw = Raw::open(&client).await;
    raw.write(GET).await;
    let mut stream = asked(&upstream).await;
    drop(raw);
    let mut rest = Vec::new();
    // Reset or ended: the connection is no longer kept for an answer.
    let _ = within("the upstream's connection to end", stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_whoever_said_goodbye_is_cut_like_any_other() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start_with_somebody(&Workspace::config("require", &upstream.url(), ""));
    let mut raw = Raw::open(&Client::new(&proxy, Some(&alice))).await;
    raw.write("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    raw.0.shutdown().await.expect("a goodbye");
    raw.read_until("\r\n\r\n").await;
    proxy.remove("allowlist/alice.pem");
    raw.read_to_end().await;
    eventually("the upstream is left", || upstream.open() == 0);
}
