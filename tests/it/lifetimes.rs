//! How long connections live, and where they may come from: age, idleness, unix sockets, routes that close under open streams.

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;

use crate::support::client::{request, streaming};
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace, eventually, sooner_than, within};

async fn start(more: &str) -> (TestUpstream, TestProxy, Identity) {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), more));
    (upstream, proxy, alice)
}

/// What `[limits] idle` is by default.
const IDLE: Duration = Duration::from_secs(75);

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_ends_after_the_request_under_way() {
    // Old enough to be served first, on a machine that takes its time.
    let (upstream, proxy, alice) = start("[limits]\nmax_connection_age = \"5s\"\n").await;
    for client in [Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice))] {
        let mut idle = client.connect().await.expect("admitted");
        idle.get("/").await.expect("served");
        let mut busy = client.connect().await.expect("admitted");
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let received = upstream.received().len();
        let upload = tokio::spawn(async move {
            let answer = busy.exchange(request("POST", "/upload").map(|_| streaming(receiver))).await;
            (busy, answer)
        });
        sender.send(bytes::Bytes::from_static(b"half")).await.expect("sent");
        sooner_than(IDLE, idle.closed()).await;
        // Its twin has come of age too, and goes on until it is done.
        sender.send(bytes::Bytes::from_static(b"other half")).await.expect("sent");
        drop(sender);
        let (mut busy, answer) = upload.await.expect("no panic");
        assert_eq!(answer.expect("finished").status, 200);
        sooner_than(IDLE, busy.closed()).await;
        assert!(upstream.received().len() > received);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_either_version_is_closed() {
    let (_upstream, proxy, alice) = start("[limits]\nidle = \"3s\"\n").await;
    for client in [Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice))] {
        let mut idle = client.connect().await.expect("admitted");
        idle.get("/").await.expect("served");
        sooner_than(IDLE, idle.closed()).await;
    }
    // Whoever waits for an answer is not idle.
    let mut waiting = Client::http2(&proxy, Some(&alice)).connect().await.expect("admitted");
    let mut body = waiting.send(request("GET", "/endless")).await.expect("served").into_body();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        within("bytes", body.frame()).await.expect("a frame").expect("no end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_and_the_one_that_a_killed_process_left_is_replaced() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let config = Workspace::config("require", &upstream.url(), "").replace("address = \"127.0.0.1:0\"", "address = \"unix:edge.sock\"");
    for _ in 0..2 {
        let mut proxy = workspace.start(&config);
        let (cert, key) = alice.write(proxy.directory(), "curl");
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--unix-socket", "edge.sock", "--cacert", "server.pem", "https://localhost/hello", "--cert"])
            .args([&cert, std::path::Path::new("--key"), &key])
            .current_dir(proxy.directory())
            .output()
            .expect("curl is installed (make test names it)");
        assert_eq!(output.stdout, b"hello", "{}", String::from_utf8_lossy(&output.stderr));
        proxy.signal("KILL");
        proxy.wait();
        assert!(proxy.path("edge.sock").exists(), "killed, it could not tidy");
    }
    let mut proxy = workspace.start(&config);
    UnixStream::connect(proxy.path("edge.sock")).expect("listening");
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
    assert!(!proxy.path("edge.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_asks_for_a_certificate_now_ends_the_streams_of_those_without() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let open = Workspace::config("request", &upstream.url(), "").replace("path = \"/\"\n", "path = \"/\"\nauth = \"optional\"\n");
    let proxy = workspace.start(&open);
    let mut nobody = Client::http2(&proxy, None).connect().await.expect("open to anybody");
    let mut download = nobody.send(request("GET", "/endless")).await.expect("served").into_body();
    let mut somebody = Client::http2(&proxy, Some(&alice)).connect().await.expect("admitted");
    let mut other = somebody.send(request("GET", "/endless")).await.expect("served").into_body();
    let before = proxy.generation();
    proxy.replace("portcullis.toml", Workspace::config("request", &upstream.url(), ""));
    proxy.wait_for_generation_after(before);
    within("the download's end", async { while let Some(Ok(_)) = download.frame().await {} }).await;
    within("bytes", other.frame()).await.expect("a frame").expect("no end");
    assert_eq!(nobody.get("/").await.expect("the connection lives").code(), "no_credential");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_would_take_every_file_hinders_no_removal() {
    let upstream = TestUpstream::start().await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    workspace.allow("bob", &bob);
    let proxy = workspace.start_with_files(&Workspace::config("require", &upstream.url(), ""), 100);
    let mut live = Client::new(&proxy, Some(&alice)).connect().await.expect("admitted");
    live.get("/").await.expect("served");
    let address = Client::new(&proxy, None).address();
    let crowd: Vec<_> = (0..200).filter_map(|_| std::net::TcpStream::connect(address).ok()).collect();
    eventually("the crowd is turned away", || proxy.metric("portcullis_overloads_total{limit=\"connections\"}") > Some(100.0));
    proxy.remove("allowlist/alice.pem");
    live.closed().await;
    assert_eq!(proxy.metric("portcullis_accept_errors_total"), Some(0.0));
    drop(crowd);
    until_served(&Client::new(&proxy, Some(&bob))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_files_it_waits_rather_than_spins_and_comes_back() {
    let (_upstream, proxy, alice) = start("").await;
    let files = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("it runs").count();
    let limit = format!("--nofile={}:{0}", files + 4);
    let limited = Command::new("prlimit").args(["--pid", &proxy.pid().to_string(), &limit]).status();
    assert!(limited.is_ok_and(|status| status.success()), "prlimit is installed (util-linux)");
    let client = Client::new(&proxy, Some(&alice));
    let crowd: Vec<_> = (0..20).filter_map(|_| std::net::TcpStream::connect(client.address()).ok()).collect();
    eventually("no file is left", || proxy.log().contains("cannot accept"));
    drop(crowd);
    until_served(&client).await;
    // One that spins fails a hundred thousand times a second.
    eventually("it is counted", || proxy.monitor("/metrics").is_some());
    let errors = proxy.metric("portcullis_accept_errors_total");
    assert!(errors >= Some(1.0) && errors < Some(1000.0), "{errors:?}");
}

async fn until_served(client: &Client) {
    within("room", async {
        while !client.get("/").await.is_ok_and(|answer| answer.status == 200) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
