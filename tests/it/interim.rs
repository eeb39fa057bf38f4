//! Interim answers of an upstream (RFC 9110, 15.2): passed on to who knows them, bounded, and never taken for the final one.

use crate::support::raw::Raw;
use crate::support::upstream::Reply;
use crate::support::{Client, Leaf, TestProxy, TestUpstream, Workspace};

async fn start() -> (TestProxy, Client, Client) {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nConnection: X-Own\r\nX-Own: y\r\nKeep-Alive: 5\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let upstream = TestUpstream::replying(move |target| {
        Reply::Raw(match target {
            "/hints" => format!("HTTP/1.1 100 Continue\r\n\r\n{hint}HTTP/1.1 102 Processing\r\n\r\n{last}").into_bytes(),
            "/flood" => hint.repeat(40).into_bytes(),
            "/with-a-body" => format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello{last}").into_bytes(),
            _ => format!("HTTP/1.1 103 Early Hints\r\nX : y\r\n\r\n{last}").into_bytes(),
        })
    })
    .await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    let (client, http2) = (Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice)));
    (proxy, client, http2)
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_reach_a_client_of_http_1_1_and_no_other() {
    let (_proxy, client, http2) = start().await;
    let get = |version: &str| format!("GET /hints HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let back = Raw::exchange(&client, get("1.1")).await;
    assert_eq!(back.statuses(), [103, 102, 200], "{}", back.text);
    let hint = back.text.split("\r\n\r\n").next().expect("a head").to_ascii_lowercase();
    assert!(hint.contains("link: </style.css>; rel=preload"), "{hint}");
    for gone in ["x-own", "keep-alive", "connection"] {
        assert!(!hint.contains(gone), "{gone} concerned one hop: {hint}");
    }
    assert_eq!(Raw::exchange(&client, get("1.0")).await.statuses(), [200]);
    assert_eq!(http2.get("/hints").await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_are_judged_and_come_to_an_end() {
    let (_proxy, client, http2) = start().await;
    for path in ["/flood", "/with-a-body", "/malformed"] {
        let back = Raw::exchange(&client, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        let statuses = back.statuses();
        let (last, hints) = statuses.split_last().expect("an answer");
        assert_eq!(*last, 502, "{path}: {statuses:?}");
        assert!(hints.len() <= 32 && hints.iter().all(|status| *status == 103), "{path}: {statuses:?}");
        assert_eq!(http2.get(path).await.expect("an answer").status, 502, "{path}");
    }
}
