//! Pools and exchanges against upstreams that behave, misbehave, and go away.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;

use super::testing::{Say, Scripted};
use super::*;
use crate::ticker::Ticker;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(crate::http1::Later::default());
        tokio::task::yield_now().await;
        test.await
    })
}

fn pool(settings: Settings) -> Rc<Pool> {
    let upstream = Arc::new(Upstream::compile(settings).unwrap());
    Pools::new(Ticker::new()).of(&upstream)
}

fn request(method: Method) -> crate::message::Request<Upload> {
    http::Request::builder().method(method).uri("/x").header("host", "a").body(Upload::empty()).unwrap().into()
}

/// Asks, and returns the status and the body, whole or broken off.
async fn ask(pool: &Rc<Pool>, method: Method) -> Result<(u16, Result<String, BodyError>), Error> {
    let Answer::Response(response) = pool.send(&mut request(method), None, |_| {}).await? else { panic!("a switch") };
    let status = response.status.as_u16();
    let body = response.body.collect().await;
    Ok((status, body.map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap())))
}

fn whole(body: &str) -> Result<(u16, Result<String, BodyError>), Error> {
    Ok((200, Ok(body.to_owned())))
}

#[test]
fn a_connection_is_used_again() {
    local(async {
        let head = &OK[..OK.len() - 2];
        let upstream = Scripted::start(move |request| Say::Bytes(if request.starts_with("HEAD") { head.into() } else { OK.into() })).await;
        let pool = pool(upstream.settings.clone());
        for _ in 0..5 {
            assert_eq!(ask(&pool, Method::GET).await, whole("ok"));
        }
        assert_eq!(ask(&pool, Method::HEAD).await.unwrap().0, 200);
        assert_eq!((upstream.connections.get(), upstream.seen.borrow().len()), (1, 6));
    });
}

#[test]
fn what_smuggles_in_an_answer_is_refused() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ];
    local(async {
        for answer in answers {
            let upstream = Scripted::start(|_| Say::Bytes(answer.into())).await;
            let pool = pool(upstream.settings.clone());
            for connections in 1..3 {
                assert_eq!(ask(&pool, Method::GET).await, Err(Error::Malformed), "{answer:?}");
                assert_eq!(upstream.connections.get(), connections, "{answer:?}: the connection is used again");
            }
        }
        let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
        let upstream = Scripted::start(move |_| Say::Bytes(large.clone())).await;
        assert_eq!(ask(&pool(upstream.settings), Method::GET).await, Err(Error::Malformed));
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
        let upstream = Scripted::start(move |_| Say::Bytes(hints.clone())).await;
        assert_eq!(ask(&pool(upstream.settings), Method::GET).await, Err(Error::Malformed));
    });
}

#[test]
fn an_answer_with_something_behind_it_poisons_its_connection() {
    let answers = [
        (Method::GET, format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"), 200, "ok"),
        (Method::GET, format!("{OK}\r\n"), 200, "ok"),
        (Method::HEAD, OK.to_owned(), 200, ""),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok".to_owned(), 304, ""),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\nok".to_owned(), 204, ""),
        (Method::GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore".to_owned(), 200, "ok"),
    ];
    local(async {
        for (method, answer, status, body) in answers {
            let said = answer.clone();
            let upstream = Scripted::start(move |_| Say::Bytes(said.clone())).await;
            let pool = pool(upstream.settings.clone());
            for connections in 1..3 {
                assert_eq!(ask(&pool, method.clone()).await, Ok((status, Ok(body.to_owned()))), "{answer:?}");
                assert_eq!(upstream.connections.get(), connections, "{answer:?}: the connection is used again");
            }
        }
    });
}

#[test]
fn an_answer_that_breaks_off_never_ends_cleanly() {
    let answers = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", BodyError::Truncated),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", BodyError::Truncated),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", BodyError::Truncated),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n", BodyError::Malformed),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n", BodyError::Malformed),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n", BodyError::Malformed),
    ];
    local(async {
        for (answer, error) in answers {
            let upstream = Scripted::start(|_| Say::Last(answer.into())).await;
            let answered = ask(&pool(upstream.settings), Method::GET).await;
            assert!(
                matches!(answered, Ok((200, Err(found))) if found == error) || answered == Err(Error::Malformed),
                "{answer:?}: {answered:?}"
            );
        }
        // Until the connection closes: that is this answer's end.
        let upstream = Scripted::start(|_| Say::Last("HTTP/1.0 200 OK\r\n\r\nok".into())).await;
        assert_eq!(ask(&pool(upstream.settings), Method::GET).await, whole("ok"));
    });
}

#[test]
fn a_request_is_sent_again_only_while_that_is_safe() {
    local(async {
        // Each connection answers once, and breaks at the second request.
        let count = std::cell::Cell::new(0);
        let script = move |request: &str| {
            count.set(count.get() + 1);
            if request.starts_with("GET") && count.get() % 2 == 1 { Say::Bytes(OK.into()) } else { Say::Last(String::new()) }
        };
        let upstream = Scripted::start(script).await;
        let pool = pool(upstream.settings.clone());
        assert_eq!(ask(&pool, Method::GET).await, whole("ok"));
        assert_eq!(ask(&pool, Method::GET).await, whole("ok"));
        assert_eq!(upstream.connections.get(), 2);
        assert_eq!(ask(&pool, Method::POST).await, Err(Error::Broken));
        assert_eq!(upstream.seen.borrow().iter().filter(|request| request.starts_with("POST")).count(), 1);
    });
}

#[test]
fn an_upstream_that_closed_an_idle_connection_costs_nobody_a_request() {
    local(async {
        let upstream = Scripted::start(|_| Say::Last(OK.into())).await;
        let pool = pool(upstream.settings.clone());
        for _ in 0..20 {
            assert_eq!(ask(&pool, Method::GET).await, whole("ok"));
        }
    });
}

#[test]
fn the_next_endpoint_is_tried_where_one_takes_no_connection() {
    local(async {
        let upstream = Scripted::start(|_| Say::Bytes(OK.into())).await;
        let mut settings = upstream.settings.clone();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        settings.endpoints.insert(0, format!("http://{closed}").parse().unwrap());
        settings.endpoints.push("unix:/nonexistent/socket".parse().unwrap());
        let pool = pool(settings.clone());
        for _ in 0..6 {
            assert_eq!(ask(&pool, Method::POST).await, whole("ok"));
        }
        settings.endpoints.remove(1);
        assert_eq!(ask(&self::pool(settings), Method::GET).await, Err(Error::Unavailable));
    });
}

#[test]
fn a_silent_upstream_is_left_in_time() {
    local(async {
        let upstream = Scripted::start(|_| Say::Nothing).await;
        let settings = Settings { first_byte: Duration::from_millis(10), ..upstream.settings.clone() };
        assert_eq!(ask(&pool(settings), Method::GET).await, Err(Error::Timeout));
        let upstream = Scripted::start(|_| Say::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok".into())).await;
        let settings = Settings { body_progress: Duration::from_millis(10), ..upstream.settings.clone() };
        assert_eq!(ask(&pool(settings), Method::GET).await, Ok((200, Err(BodyError::TimedOut))));
    });
}

#[test]
fn an_upstream_has_no_more_connections_than_it_may() {
    local(async {
        let upstream = Scripted::start(|_| Say::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok".into())).await;
        let pool = pool(Settings { max_connections: Some(1), ..upstream.settings.clone() });
        let held = pool.send(&mut request(Method::GET), None, |_| {}).await.unwrap();
        assert_eq!(ask(&pool, Method::GET).await, Err(Error::Overloaded));
        drop(held);
        let mut answered = ask(&pool, Method::HEAD).await;
        // The connection is dropped by a task of its own.
        while answered == Err(Error::Overloaded) {
            tokio::task::yield_now().await;
            answered = ask(&pool, Method::HEAD).await;
        }
        assert_eq!(answered, Ok((200, Ok(String::new()))));
    });
}

#[test]
fn unchanged_settings_keep_their_pool() {
    local(async {
        let upstream = Scripted::start(|_| Say::Bytes(OK.into())).await;
        let pools = Pools::new(Ticker::new());
        let before = Upstreams::compile(vec![upstream.settings.clone()], None).unwrap();
        let after = Upstreams::compile(vec![upstream.settings.clone()], Some(&before)).unwrap();
        let changed = Settings { max_idle: 1, ..upstream.settings.clone() };
        let changed = Upstreams::compile(vec![changed], Some(&before)).unwrap();
        let pool = |upstreams: &Upstreams| pools.of(upstreams.find("scripted").unwrap());
        assert!(Rc::ptr_eq(&pool(&before), &pool(&after)));
        assert!(!Rc::ptr_eq(&pool(&before), &pool(&changed)));
    });
}
