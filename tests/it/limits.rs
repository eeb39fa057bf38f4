//! Slow, greedy and hostile clients; draining. The proxy goes on for everybody else.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::request;
use crate::support::raw::Raw;
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace, eventually, eventually_async, sooner_than, within};

async fn start(limits: &str) -> (TestUpstream, TestProxy, Identity) {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), &format!("[limits]\n{limits}\n")));
    (upstream, proxy, alice)
}

/// What the limits are by default.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(10);
const BODY_PROGRESS: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(75);

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_is_ended() {
    let (_upstream, proxy, alice) = start("handshake = \"1s\"").await;
    let mut silent = TcpStream::connect(proxy.address("edge")).await.expect("accepted");
    let mut halting = TcpStream::connect(proxy.address("edge")).await.expect("accepted");
    halting.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.expect("written");
    for stream in [&mut silent, &mut halting] {
        let mut rest = Vec::new();
        let _ = sooner_than(HANDSHAKE, stream.read_to_end(&mut rest)).await;
    }
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("others are served").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_after_the_handshake_and_half_a_head_are_ended() {
    let (upstream, proxy, alice) = start("head = \"1s\"\nidle = \"1s\"").await;
    let client = Client::new(&proxy, Some(&alice));
    let mut silent = Raw::open(&client).await;
    let mut halting = Raw::open(&client).await;
    halting.write("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow").await;
    assert!(sooner_than(IDLE, silent.read_to_end()).await.closed);
    assert!(sooner_than(HEAD, halting.read_to_end()).await.closed);
    assert!(upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_is_ended() {
    let (_upstream, proxy, alice) = start("body_progress = \"1s\"").await;
    let mut halting = Raw::open(&Client::new(&proxy, Some(&alice))).await;
    halting.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nsome").await;
    assert!(sooner_than(BODY_PROGRESS, halting.read_to_end()).await.closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_beyond_the_limit_is_431_and_a_body_413() {
    let (upstream, proxy, alice) = start("head_bytes = \"16KiB\"\nbody_bytes = 1000").await;
    let client = Client::new(&proxy, Some(&alice));
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(Raw::exchange(&client, head).await.statuses(), [431]);
    let back = Raw::exchange(&client, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n").await;
    assert_eq!(back.statuses(), [413], "{}", back.text);
    let body = "x".repeat(1001);
    let mut streamed = Raw::open(&client).await;
    streamed
        .write(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3e9\r\n{body}\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(streamed.read_to_end().await.statuses(), [413]);
    assert!(upstream.received().iter().all(|request| request.body.len() <= 1100));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_turned_away_and_come_back() {
    let (_upstream, proxy, alice) = start("connections = 4").await;
    let client = Client::new(&proxy, Some(&alice));
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut connection = client.connect().await.expect("within the limit");
        connection.get("/").await.expect("served");
        open.push(connection);
    }
    client.get("/").await.expect_err("one too many");
    drop(open.pop());
    eventually_async("room comes back", async || client.get("/").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_under_way_and_refuses_what_is_new() {
    let (upstream, mut proxy, alice) = start("drain = \"60s\"").await;
    let mut idle = Client::new(&proxy, Some(&alice)).connect().await.expect("admitted");
    idle.get("/").await.expect("served");
    let mut busy = Client::new(&proxy, Some(&alice)).connect().await.expect("admitted");
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let upload = tokio::spawn(async move {
        let upload = request("POST", "/upload").map(|_| crate::support::client::streaming(receiver));
        busy.exchange(upload).await
    });
    sender.send(bytes::Bytes::from_static(b"half")).await.expect("sent");
    eventually("the upload has reached the upstream", || upstream.begun() == 2);
    let client = Client::new(&proxy, Some(&alice));
    proxy.signal("TERM");
    idle.closed().await;
    eventually("nobody new is accepted", || std::net::TcpStream::connect(client.address()).is_err());
    sender.send(bytes::Bytes::from_static(b"other half")).await.expect("sent");
    drop(sender);
    assert_eq!(upload.await.expect("no panic").expect("finished").status, 200);
    assert_eq!(proxy.wait(), Some(0), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_by_its_deadline_whatever_is_open() {
    let (_upstream, mut proxy, alice) = start("drain = \"1s\"").await;
    let mut endless = Client::new(&proxy, Some(&alice)).connect().await.expect("admitted");
    let mut body = endless.send(request("GET", "/endless")).await.expect("served").into_body();
    within("bytes", body.frame()).await.expect("a frame").expect("bytes");
    proxy.signal("TERM");
    let ended = loop {
        match within("the download's end", body.frame()).await {
            Some(Ok(_)) => {}
            ended => break ended,
        }
    };
    assert!(matches!(ended, Some(Err(_))), "a clean end would be a lie");
    assert_eq!(proxy.wait(), Some(0), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploading_stranger_reads_the_alert_and_not_a_reset() {
    let (_upstream, proxy, _) = start("").await;
    let mallory = Leaf::new("mallory").self_signed();
    for _ in 0..10 {
        let mut stream = Client::tls13(&proxy, Some(&mallory)).handshake().await.expect("the client's half");
        // It pushes before it listens, as uploading clients do.
        let _ = stream.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n").await;
        let _ = stream.write_all(&[b'x'; 100_000]).await;
        let mut rest = Vec::new();
        let error = within("the alert", stream.read_to_end(&mut rest)).await.expect_err("a denial");
        let refused = crate::support::Refused::from_error(&error);
        assert_eq!(refused.alert, Some(rustls::AlertDescription::AccessDenied), "{}", refused.why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_is_ended_and_others_are_served() {
    let (_upstream, proxy, alice) = start("").await;
    let stream = Client::http2(&proxy, Some(&alice)).handshake().await.expect("admitted");
    let (mut sender, driver) = h2::client::handshake(stream).await.expect("HTTP/2");
    let driver = tokio::spawn(driver);
    for _ in 0..20_000 {
        let Ok(ready) = sender.clone().ready().await else { break };
        sender = ready;
        let request = http::Request::get("https://localhost/swallow").body(()).expect("a request");
        let Ok((_, mut stream)) = sender.send_request(request, false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
    }
    let error = within("the connection's end", driver).await.expect("no panic").expect_err("GOAWAY");
    // Who still writes may meet a closed socket before it reads the GOAWAY.
    assert!(error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) || error.is_io(), "{error}");
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("others are served").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_file_descriptors_neither_stops_it_nor_admits_anyone() {
    let (_upstream, proxy, alice) = start("").await;
    let mallory = Leaf::new("mallory").self_signed();
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("a process of ours").count();
    let limit = |number: usize| {
        let status =
            std::process::Command::new("prlimit").args(["--pid", &proxy.pid().to_string(), &format!("--nofile={number}:")]).status();
        assert!(status.expect("prlimit").success());
    };
    let address = proxy.address("edge");
    limit(open + 4);
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(TcpStream::connect(address).await.expect("the backlog takes it"));
    }
    eventually("the proxy says that it cannot accept", || proxy.log().contains("accept"));
    limit(4096);
    drop(held);
    assert_eq!(
        Client::new(&proxy, Some(&mallory)).get("/").await.expect_err("unlisted").alert,
        Some(rustls::AlertDescription::AccessDenied)
    );
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("served again").status, 200);
}
