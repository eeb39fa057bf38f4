//! Heads by the byte: what is read, and what is refused for being two things at once.

use super::*;

fn request(head: &[u8]) -> Result<Framing, Fault> {
    match find_end(head, 0)? {
        Some(end) => read_request(&Bytes::copy_from_slice(&head[..end])).map(|asking| asking.framing),
        None => panic!("no end in {:?}", String::from_utf8_lossy(head)),
    }
}

fn with(fields: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes()
}

#[test]
fn a_well_formed_request_is_framed() {
    let table: &[(&str, Framing)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Empty),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", Framing::Empty),
        ("GET http://a/x?y HTTP/1.1\r\nhost:a\r\n\r\n", Framing::Empty),
        ("GET HTTPS://a HTTP/1.1\r\nhost:a\r\n\r\n", Framing::Empty),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Empty),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Framing::Empty),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Framing::Empty),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t7 \r\n\r\n", Framing::Length(7)),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked),
        ("POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: Chunked\r\n\r\n", Framing::Chunked),
        ("M-SEARCH / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", Framing::Empty),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\n\r\n", Framing::Empty),
    ];
    for (head, framing) in table {
        assert_eq!(request(head.as_bytes()), Ok(*framing), "{head:?}");
    }
}

#[test]
fn what_smuggles_is_refused_in_requests() {
    let fields = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: 5,6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 05",
        "Content-Length: 00",
        "Content-Length: 007",
        "Content-Length: 0x5",
        "Content-Length: 5a",
        "Content-Length: 5 5",
        "Content-Length: 5.0",
        "Content-Length: \"5\"",
        "Content-Length:",
        "Content-Length: 5;",
        "Content-Length: ٥",
        "Content-Length: 18446744073709551621",
        "Content-Length: 99999999999999999999999999",
        "Content-Length : 5",
        "Content-Length\t: 5",
        " Content-Length: 5",
        "\tContent-Length: 5",
        "Content-Length: \u{b}5",
        "Content-Length: 5\u{c}",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: x, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: \0chunked",
        "Transfer-Encoding: chu\r\n nked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\n chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\n",
        "Transfer-Encoding: chunk\u{e9}d",
        "Host: a",
        "host: b",
        "X: a\0b",
        "X: a\u{1}b",
        "X: a\u{7f}b",
        "X\u{e9}: a",
        "X(: a",
        "X",
        ": a",
        "X Y: a",
    ];
    assert!(fields.len() >= 50);
    for field in fields {
        assert!(matches!(request(&with(field)), Err(Fault::Malformed(_))), "{field:?} is let through");
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let heads: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET /\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/11\r\nHost: a\r\n\r\n",
        b"GET / HTTP/x.1\r\nHost: a\r\n\r\n",
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent\rLength: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHTTP\x12-Settings: x\r\n\r\n",
        b"GET /#fragment HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\x16\x03\x01\x02\n\r\n\r\n",
    ];
    for head in heads {
        assert!(matches!(request(head), Err(Fault::Malformed(_))), "{:?} is let through", String::from_utf8_lossy(head));
    }
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
    assert_eq!(request(many.as_bytes()), Err(Fault::TooLarge));
    // What has no place is refused, and not left out.
    for (length, expected) in [(65_535, Ok(Framing::Empty)), (65_536, Err(Fault::TooLarge))] {
        assert_eq!(request(&with(&format!("Content-Length: 0\r\n{}: x", "n".repeat(length)))), expected, "{length}");
    }
}

#[test]
fn another_version_is_told_from_none() {
    for version in ["0.9", "1.2", "1.9", "2.0", "3.0", "9.9"] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        assert_eq!(request(head.as_bytes()), Err(Fault::Version), "{version}");
        assert_eq!(request(format!("\r\n{head}").as_bytes()), Err(Fault::Version), "{version} behind an empty line");
    }
}

#[test]
fn a_target_that_is_too_long_is_told_from_too_many_headers() {
    let long = "x".repeat(usize::from(u16::MAX));
    assert_eq!(request(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()), Err(Fault::TargetTooLong));
    let table: [(&[u8], Fault); 4] = [
        (b"GET /xxxxxxx", Fault::TargetTooLong),
        (b"\r\nGET /xxxxx", Fault::TargetTooLong),
        (b"GET / HTTP/1.1\r\nHost: a", Fault::TooLarge),
        (b"\r\nGET / HTTP/1.1\r\nHost: a", Fault::TooLarge),
    ];
    for (head, fault) in table {
        assert_eq!(too_large(head), fault, "{}", String::from_utf8_lossy(head));
    }
}

/// What an answer is, with its body's framing where it is the final one.
fn answer(head: &str, asked: Asked) -> Result<(&'static str, Option<Framing>), Fault> {
    let told = |answer| match answer {
        Answer::Final(_, framing, _) => ("final", Some(framing)),
        Answer::Interim(_) => ("interim", None),
        Answer::Switch(_) => ("switch", None),
    };
    match find_end(head.as_bytes(), 0)? {
        Some(end) => read_answer(&Bytes::copy_from_slice(&head.as_bytes()[..end]), asked).map(told),
        None => panic!("no end in {head:?}"),
    }
}

#[test]
fn an_answer_is_framed_by_what_was_asked() {
    use Asked::{Head, Plain, Upgrade};
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let table = [
        (length, Plain, ("final", Some(Framing::Length(5)))),
        (length, Head, ("final", Some(Framing::Empty))),
        ("HTTP/1.1 200 OK\r\n\r\n", Plain, ("final", Some(Framing::Close))),
        ("HTTP/1.1 200\r\n\r\n", Plain, ("final", Some(Framing::Close))),
        ("HTTP/1.0 200 OK\r\n\r\n", Plain, ("final", Some(Framing::Close))),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Plain, ("final", Some(Framing::Chunked))),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Plain, ("final", Some(Framing::Empty))),
        ("HTTP/1.1 204 No Content\r\n\r\n", Plain, ("final", Some(Framing::Empty))),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Plain, ("final", Some(Framing::Empty))),
        ("HTTP/1.1 100 Continue\r\n\r\n", Plain, ("interim", None)),
        ("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", Head, ("interim", None)),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Upgrade, ("switch", None)),
    ];
    for (head, asked, expected) in table {
        assert_eq!(answer(head, asked), Ok(expected), "{head:?} to {asked:?}");
    }
}

#[test]
fn what_smuggles_is_refused_in_answers() {
    let heads = [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 600 High\r\n\r\n",
        "HTTP/1.1 999 High\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
    ];
    for head in heads {
        assert!(matches!(answer(head, Asked::Plain), Err(Fault::Malformed(_))), "{head:?} is let through");
    }
    let fields = [
        "Content-Length: +5",
        "Content-Length: 05",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length : 5",
        "Content-Length: 5\r\n 5",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "X: a\0b",
        "X: a\rb",
        "X Y: b",
        "Content\rLength: 5",
        "Transfer\rEncoding: chunked",
        "HTTP\x12-Settings: x",
    ];
    for field in fields {
        let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
        assert!(matches!(answer(&head, Asked::Plain), Err(Fault::Malformed(_))), "{field:?} is let through");
        assert!(matches!(answer(&head, Asked::Head), Err(Fault::Malformed(_))), "{field:?} is let through to HEAD");
    }
}

#[test]
fn trailers_are_fields_and_nothing_else() {
    for good in ["\r\n", "X: y\r\n\r\n", "X: y\r\nZ:\r\n\r\n"] {
        assert_eq!(read_trailers(good.as_bytes()).map(drop), Ok(()), "{good:?}");
    }
    for bad in ["X\r\n\r\n", "X : y\r\n\r\n", "X: y\r\n z\r\n\r\n", "X: a\0\r\n\r\n", "X: y\r\n"] {
        assert!(read_trailers(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_head_says_what_becomes_of_the_connection() {
    let table = [
        ("HTTP/1.1", "", true, false, false),
        ("HTTP/1.1", "Connection: close\r\n", false, false, false),
        ("HTTP/1.1", "Connection: x, CLOSE\r\n", false, false, false),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false, false, false),
        ("HTTP/1.0", "", false, false, false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true, false, false),
        ("HTTP/1.1", "Content-Length: 5\r\nExpect: 100-Continue\r\nTE: trailers\r\n", true, true, true),
        // RFC 9110, 10.1.1: nothing waits where there is no body, and nobody in HTTP/1.0.
        ("HTTP/1.1", "Expect: 100-continue\r\n", true, false, false),
        ("HTTP/1.0", "Content-Length: 5\r\nExpect: 100-continue\r\n", false, false, false),
    ];
    for (version, fields, persists, expects, takes_trailers) in table {
        let head = Bytes::from(format!("POST / {version}\r\nHost: a\r\n{fields}\r\n"));
        let asking = read_request(&head).unwrap();
        assert_eq!((asking.persists, asking.expects, asking.takes_trailers), (persists, expects, takes_trailers), "{version} {fields:?}");
    }
}

#[test]
fn fields_refer_to_the_head_and_keep_their_order_and_case() {
    let head = Bytes::from_static(b"GET /p?q HTTP/1.1\r\nHost: a\r\nX-B: 1\r\nX-A: 2\r\nX-B: 3\r\n\r\n");
    let asking = read_request(&head).unwrap();
    let headers = &asking.head.headers;
    let names: Vec<_> = headers.iter().map(|(name, value)| (str::from_utf8(name).unwrap(), str::from_utf8(value).unwrap())).collect();
    assert_eq!(names, [("Host", "a"), ("X-B", "1"), ("X-A", "2"), ("X-B", "3")]);
    let range = head.as_ptr() as usize..head.as_ptr() as usize + head.len();
    assert!(headers.iter().all(|(_, value)| range.contains(&(value.as_ptr() as usize))));
    assert_eq!(asking.head.uri, "/p?q");
}
