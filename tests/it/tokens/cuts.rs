//! What is open by a token ends with it, and others lose nothing: by the list, by time, by its being taken back.

use std::time::Instant;

use http_body_util::BodyExt;

use super::{World, bearer, told, with};
use crate::support::client::Connection;
use crate::support::{CUT, Flow, eventually, within};

/// Opens an endless download by a token, and reads some of it.
async fn download(connection: &mut Connection, token: &str) -> hyper::body::Incoming {
    let response = within("a head", connection.send(with("/endless", &[token]))).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    within("some of it", body.frame()).await.expect("a frame").expect("no error");
    body
}

async fn end(mut body: hyper::body::Incoming) {
    within("its end", async move { while matches!(body.frame().await, Some(Ok(_))) {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_taken_off_the_list_has_no_token_either_and_others_lose_nothing() {
    let world = World::start().await;
    let [alice, bob] = [("alice", &world.alice), ("bob", &world.bob)].map(|(name, who)| bearer(&world.token(name, who)));
    let mut alone = world.client("edge", None, false).connect().await.expect("a connection");
    let mut shared = world.client("edge", None, true).connect().await.expect("a connection");
    let open = [download(&mut alone, &alice).await, download(&mut shared, &alice).await];
    let mut others = download(&mut shared, &bob).await;
    world.remove("alice");
    for body in open {
        end(body).await;
    }
    // The connection and what is open by another token go on.
    for _ in 0..3 {
        within("more of it", others.frame()).await.expect("a frame").expect("no error");
    }
    assert_eq!(told(&shared.exchange(with("/a", &[&alice])).await.expect("an answer")), "not_listed");
    assert_eq!(told(&shared.exchange(with("/a", &[&bob])).await.expect("an answer")), "admitted");
    // And back: no connection remembers that it was off.
    let before = world.proxy.generation();
    world.proxy.allow("alice", &world.alice);
    world.proxy.wait_for_generation_after(before);
    assert_eq!(told(&shared.exchange(with("/a", &[&alice])).await.expect("an answer")), "admitted");
    drop(others);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_by_a_token_ends_with_it() {
    let world = World::start().await;
    let short = bearer(&world.issue("alice", &world.alice, |order| order.ttl = Some(3)).token);
    let mut connection = world.client("edge", None, true).connect().await.expect("a connection");
    let open = download(&mut connection, &short).await;
    end(open).await;
    assert_eq!(told(&connection.exchange(with("/a", &[&short])).await.expect("an answer")), "token_expired");
    eventually("a line about the cut", || {
        world.proxy.log().lines().any(|line| line.contains("\"checkpoint\":\"live\"") && line.contains("token_expired"))
    });
    // Where tokens count no more, neither does what was opened by one.
    let long = bearer(&world.token("alice", &world.alice));
    let open = download(&mut connection, &long).await;
    let config = std::fs::read_to_string(world.proxy.path("portcullis.toml")).expect("the configuration");
    world.proxy.replace("portcullis.toml", config.replace("tokens = true", "tokens = false"));
    end(open).await;
    assert_eq!(told(&connection.exchange(with("/a", &[&long])).await.expect("an answer")), "no_credential");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_back_ends_what_is_open_by_it_wherever_it_stands() {
    let world = World::start().await;
    let [taken, kept] = [world.token("alice", &world.alice), world.token("alice", &world.alice)];
    let bob = world.token("bob", &world.bob);
    let by = |token: &str, http2| world.client("edge", None, http2).authorization(&bearer(token));
    let ends = [
        ("an HTTP/2 download", Flow::download(by(&taken, true), "/endless").await),
        ("an HTTP/1.1 download", Flow::download(by(&taken, false), "/endless").await),
        ("an HTTP/1.1 upload", Flow::upload(by(&taken, false), "/swallow?1", &world.upstream).await),
        ("an HTTP/2 upload", Flow::upload(by(&taken, true), "/swallow?2", &world.upstream).await),
        ("a WebSocket", Flow::web_socket(by(&taken, false), "/ws").await),
    ];
    let others = [
        ("her WebSocket by another token", Flow::web_socket(by(&kept, false), "/ws").await),
        ("his WebSocket", Flow::web_socket(by(&bob, false), "/ws").await),
        ("his upload", Flow::upload(by(&bob, true), "/swallow?3", &world.upstream).await),
    ];
    let mut shared = world.client("edge", None, true).connect().await.expect("a connection");
    assert_eq!(told(&shared.exchange(with("/a", &[&bearer(&taken)])).await.expect("an answer")), "admitted");
    let revoked = Instant::now();
    assert_eq!(world.take_back(&taken).await, 200);
    for (what, flow) in ends {
        let ended = within(what, flow.end).await.expect("no panic");
        assert!(ended.saturating_duration_since(revoked) < CUT, "{what} went on for {:?}", ended - revoked);
    }
    for (what, flow) in &others {
        flow.goes_on(what);
    }
    for (token, expected) in [(&taken, "token_invalid"), (&kept, "admitted"), (&bob, "admitted"), (&taken, "token_invalid")] {
        assert_eq!(told(&shared.exchange(with("/a", &[&bearer(token)])).await.expect("an answer")), expected, "the connection lives");
    }
    eventually("a line about a cut", || {
        world.proxy.log().lines().any(|line| line.contains("\"checkpoint\":\"live\"") && line.contains("token_invalid"))
    });
}

/// Where nobody is asked for a credential a token opens nothing, and ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_to_anybody_goes_on_whatever_becomes_of_a_token_beside_it() {
    let world = World::start().await;
    let mut shared = world.client("edge", None, true).connect().await.expect("a connection");
    let [taken, of_bob] = [("alice", &world.alice), ("bob", &world.bob)].map(|(name, who)| world.token(name, who));
    let short = world.issue("alice", &world.alice, |order| order.ttl = Some(3)).token;
    // By each, a stream where somebody is asked: when it has ended, what is open to anybody had its chance to.
    let mut ends = Vec::new();
    for token in [&short, &taken, &of_bob] {
        ends.push(download(&mut shared, &bearer(token)).await);
    }
    let judged = world.upstream.received().len();
    let beside = |token: &str, http2| world.client("edge", None, http2).authorization(&bearer(token));
    let open = [
        ("a download beside a token that expires", Flow::download(beside(&short, false), "/open/endless").await),
        ("a download beside one that is taken back", Flow::download(beside(&taken, true), "/open/endless").await),
        ("an upload beside one that is taken back", Flow::upload(beside(&taken, true), "/open/swallow?1", &world.upstream).await),
        ("a WebSocket beside one that is taken back", Flow::web_socket(beside(&taken, false), "/open/ws").await),
        ("a WebSocket beside one whose holder is taken off", Flow::web_socket(beside(&of_bob, false), "/open/ws").await),
    ];
    for received in &world.upstream.received()[judged..] {
        assert!(received.header("authorization").is_empty() && received.header("x-portcullis-principal").is_empty(), "{received:?}");
        assert!([&short, &taken, &of_bob].iter().all(|token| !received.head.contains(*token)), "{received:?}");
    }
    assert_eq!(world.take_back(&taken).await, 200);
    world.remove("bob");
    for body in ends {
        end(body).await;
    }
    for (what, flow) in &open {
        flow.goes_on(what);
    }
    for (token, code) in [(&short, "token_expired"), (&taken, "token_invalid"), (&of_bob, "not_listed")] {
        assert_eq!(told(&shared.exchange(with("/a", &[&bearer(token)])).await.expect("an answer")), code);
        assert_eq!(told(&shared.exchange(with("/open/a", &[&bearer(token)])).await.expect("an answer")), "admitted");
    }
}
