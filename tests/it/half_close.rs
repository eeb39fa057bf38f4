//! A client that says goodbye behind its request still hears the answer; one that breaks off, or is reset, does not keep its request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http2::{PING, RST_STREAM, frame, head, request, usual};
use crate::support::raw::Raw;
use crate::support::{Client, Leaf, TestProxy, TestUpstream, Workspace, eventually, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A proxy in front of an upstream that the test itself plays.
async fn start() -> (TcpListener, TestProxy, Client, Client) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", upstream.local_addr().expect("bound"));
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &url, ""));
    let (client, http2) = (Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice)));
    (upstream, proxy, client, http2)
}

/// Waits for a request, head and all.
async fn asked(upstream: &TcpListener) -> TcpStream {
    let (mut stream, _) = within("a connection to the upstream", upstream.accept()).await.expect("accepted");
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(within("a request", stream.read_buf(&mut head)).await.expect("read"), 0, "no request came");
    }
    stream
}

/// RFC 8446, 6.1: a close_notify ends one direction.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_that_it_sends_nothing_more_hears_its_answer() {
    let (upstream, _proxy, client, _) = start().await;
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
    let (upstream, _proxy, client, _) = start().await;
    let mut raw = Raw::open(&client).await;
    raw.write(GET).await;
    let mut stream = asked(&upstream).await;
    drop(raw);
    left(&mut stream).await;
}

/// Nor does it by what it sent ahead: it is read on, and with it that nobody is there any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_a_request_whatever_was_sent_behind_it() {
    let (upstream, _proxy, client, _) = start().await;
    for behind in ["", "GE", "GET /2 HTTP/1.1\r\nHost: localhost\r\n\r\n", "\r\n", "no request"] {
        for reset in [true, false] {
            let mut raw = Raw::open(&client).await;
            raw.write(format!("{GET}{behind}")).await;
            let mut stream = asked(&upstream).await;
            if reset {
                raw.0.get_ref().0.set_zero_linger().expect("a socket");
            }
            drop(raw);
            left(&mut stream).await;
        }
    }
}

/// A request whose body still comes, and an answer that still goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_a_request_whose_bodies_are_under_way() {
    let (upstream, _proxy, client, _) = start().await;
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst"] {
        let mut raw = Raw::open(&client).await;
        raw.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nfirst").await;
        let mut stream = asked(&upstream).await;
        stream.write_all(answer.as_bytes()).await.expect("written");
        if !answer.is_empty() {
            raw.read_until("first").await;
        }
        raw.0.get_ref().0.set_zero_linger().expect("a socket");
        drop(raw);
        let mut rest = Vec::new();
        let _ = within("the upstream's connection to end", stream.read_to_end(&mut rest)).await;
        assert!(b"first".ends_with(&rest), "{:?}", String::from_utf8_lossy(&rest));
    }
}

/// Over HTTP/2 a connection takes its requests along, whether or not their bodies are whole; a stream is taken back alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_http_2_ends_its_requests() {
    let (upstream, _proxy, _, client) = start().await;
    for begun in [request(&usual(&[], &[]), b""), head(&usual(&[], &[]))] {
        for reset in [true, false] {
            let mut raw = Raw::open(&client).await;
            raw.write(&begun).await;
            let mut stream = asked(&upstream).await;
            if reset {
                raw.0.get_ref().0.set_zero_linger().expect("a socket");
            }
            drop(raw);
            left(&mut stream).await;
        }
        let mut raw = Raw::open(&client).await;
        raw.write(&begun).await;
        let mut stream = asked(&upstream).await;
        // RFC 9113, 6.4 and 7: CANCEL.
        raw.write(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).await;
        left(&mut stream).await;
        raw.write(frame(PING, 0, 0, b"on it is")).await;
        while raw.frame().await.expect("the connection goes on").kind != PING {}
    }
}

/// Waits until the proxy has left an upstream's connection: reset or ended, it is no longer kept for an answer.
async fn left(stream: &mut TcpStream) {
    let mut rest = Vec::new();
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
